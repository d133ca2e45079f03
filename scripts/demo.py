"""The whole of rankrl on one machine, in minutes: retrieve, warm up, train, rerank, evaluate. `make demo` runs it.

python scripts/demo.py [--out runs/demo] [--quick]

Real data (SciFact, bundled), a real policy (9 million weights, built here), real measurements: the numbers at the end are
printed as they come out, whichever way. Every step is a command that is shown before it runs, so each can be run again by hand.
What a step has made is kept in the output folder: a second demo goes on from the warm start of the first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import subprocess
import sys
import time
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
RANKRL = [sys.executable, "-m", "rankrl"]
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--num_machines", "1",
          "--mixed_precision", "no", "--dynamo_backend", "no", "--cpu"]  # fmt: skip

HELD_OUT, SEED = 100, 42
"""Train topics kept away from both trainings, by document; the draw."""

FULL = {"warm_up_steps": 400, "pairs": 6000, "steps": 40, "topics": 300, "evaluate": True}
QUICK = {"warm_up_steps": 12, "pairs": 200, "steps": 2, "topics": 12, "evaluate": False}


def threads() -> dict[str, str]:
    """Two threads that sleep while they wait: with the usual spinning, one other busy process makes two slower than one."""
    return {"OMP_NUM_THREADS": os.environ.get("RANKRL_DEMO_THREADS", "2"), "OMP_WAIT_POLICY": "PASSIVE"}


class Demo:
    """Runs the steps, each a process of its own, and keeps their times."""

    def __init__(self, out: Path, settings: dict[str, int]) -> None:
        self.out, self.settings = out, settings
        self.seconds: dict[str, float] = {}
        self._environment = {
            **os.environ, **threads(), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
            "PYTHONWARNINGS": "ignore::FutureWarning", "TRANSFORMERS_VERBOSITY": "error",
        }  # fmt: skip

    def step(self, title: str, *command: str | Path) -> None:
        """Show the command, run it, and stop the demo when it fails."""
        shown = shlex.join(str(part) for part in command)
        shown = shown.replace(shlex.join(RANKRL), "rankrl").replace(shlex.join(LAUNCH), "accelerate launch")
        print(f"\n── {title}\n$ {shown.replace(sys.executable, 'python')}", flush=True)
        start_s = time.perf_counter()
        done = subprocess.run([str(part) for part in command], env=self._environment)
        self.seconds[title] = self.seconds.get(title, 0.0) + time.perf_counter() - start_s
        if done.returncode != 0:
            print(f"\nthe step failed with exit code {done.returncode}; its message stands above", file=sys.stderr)
            sys.exit(done.returncode)

    def retrieve(self) -> None:
        for split in ("train", "test"):
            run = self.out / f"bm25.{split}.trec"
            self.step(
                "first stage", *RANKRL, "retrieve", "bm25", "--engine", "bm25s", "--collection", "scifact",
                "--split", split, "-o", run,
            )  # fmt: skip

    def warm_up(self) -> None:
        wanted = {
            "steps": self.settings["warm_up_steps"],
            "pairs": self.settings["pairs"],
            "held_out": HELD_OUT,
            "seed": SEED,
        }
        made = self.out / "warm" / "build.json"
        if made.is_file():
            settings = json.loads(made.read_text(encoding="utf-8"))["settings"]
            if all(settings.get(name) == str(value) for name, value in wanted.items()):
                print(f"\n── warm start\n{self.out / 'warm'} is there already; delete it to build it again")
                return
        flags = [word for name, value in wanted.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        self.step("warm start", sys.executable, SCRIPTS / "build_tiny_policy.py", self.out / "warm", *flags)

    def train(self) -> None:
        self.step(
            "policy gradient", *LAUNCH, SCRIPTS / "train_grpo.py", "--reward", "unlikeliness", "--reranker", "rank_r1",
            "--collection", "scifact", "--model", self.out / "warm", "--first_stage", self.out / "bm25.train.trec",
            "--config", SCRIPTS / "recipes" / "demo.yaml", "--max_steps", str(self.settings["steps"]),
            "--held_out_topics", str(HELD_OUT), "--seed", str(SEED), "--output_dir", self.out / "trained",
            *([] if self.settings["evaluate"] else ["--held_out_depth", "2"]),
        )  # fmt: skip

    def rerank(self) -> None:
        for name in ("warm", "trained"):
            self.step(
                "reranking", *RANKRL, "rerank", "rank_r1", "--run", self.out / "bm25.test.trec", "--collection", "scifact",
                "--model", self.out / name, "--depth", "10", "--batch-size", "48", "--limit", str(self.settings["topics"]),
                "-o", self.out / f"{name}.trec",
            )  # fmt: skip

    def evaluate(self) -> None:
        runs = [self.out / "bm25.test.trec", self.out / "warm.trec", self.out / "trained.trec"]
        for split in ("test", "test-unseen"):
            judged = ["--collection", "scifact", "--split", split]
            self.step(f"evaluation ({split})", *RANKRL, "evaluate", *runs, *judged, "--metrics", "nDCG@10", "RR@10")
            self.step(f"evaluation ({split})", *RANKRL, "compare", *runs, *judged)
            self.step(f"evaluation ({split})", *RANKRL, "compare", *runs[1:], *judged)

    def account(self) -> None:
        total_s = sum(self.seconds.values())
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print("\n── time")
        for title, seconds in self.seconds.items():
            print(f"{title:<26} {seconds:7.1f} s")
        print(f"{'all':<26} {total_s:7.1f} s, largest process {peak_mb:,.0f} MB")


READING = """
── how to read this
bm25 is the first stage, warm the policy after its supervised warm-up, trained the same policy after a short policy-gradient
run with the unlikeliness reward. `test` is all 300 test topics; `test-unseen` the 104 none of whose relevant documents was
relevant to a training topic, since a policy can simply learn which documents are answers. "significantly" means p < .05 in a
paired randomisation test. The policy compares words by construction (scripts/tiny_policy.py says how) and reads 64 tokens of each
passage; the point of this demo is that every part runs and that its measurement can be trusted, not that a model of this size
beats BM25."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="folder for everything (default: %(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="the same path in a minute, with numbers that mean nothing"
    )
    args = parser.parse_args()
    demo = Demo(args.out, QUICK if args.quick else FULL)
    demo.retrieve()
    demo.warm_up()
    demo.train()
    demo.rerank()
    demo.evaluate()
    demo.account()
    print("\n--quick: too little training and too few topics to mean anything" if args.quick else READING)
    return 0


if __name__ == "__main__":
    sys.exit(main())
