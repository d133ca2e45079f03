"""Evaluation of a whole run file, side by side with what a user would run instead: time, memory, and the same numbers.

python benchmarks/evaluation.py [--topics 6980] [--documents 1000] [--rounds 5] [--skip ranx] [--folder DIR]

A synthetic run and its qrels (seeded; one or two relevant documents a topic) are written to a folder of their own. Each side is
a process of its own that reads both files and prints nDCG@10, RR@10 and R@100, as its documentation shows; the sides take
turns. `rankrl evaluate` also gives a bootstrap interval of each; the others do not. pytrec_eval has no RR@10 and computes
RR. Times include start-up and imports: wall clock, and the processor's, which a busy machine disturbs less. Memory is the
process's peak. A library that is not installed is skipped. The last lines are the bootstrap alone: 10,000 resamples of the
topics. Set OMP_NUM_THREADS deliberately: it is printed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PYTREC_EVAL = """
import sys, pytrec_eval
with open(sys.argv[1]) as file: qrels = pytrec_eval.parse_qrel(file)
with open(sys.argv[2]) as file: run = pytrec_eval.parse_run(file)
values = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recip_rank", "recall.100"}).evaluate(run)
for name in ("ndcg_cut_10", "recip_rank", "recall_100"):
    print(name, sum(v[name] for v in values.values()) / len(values))
"""
IR_MEASURES = """
import sys, ir_measures
from ir_measures import R, RR, nDCG
qrels = list(ir_measures.read_trec_qrels(sys.argv[1]))
run = ir_measures.read_trec_run(sys.argv[2])
for measure, value in ir_measures.calc_aggregate([nDCG @ 10, RR @ 10, R @ 100], qrels, run).items():
    print(measure, value)
"""
RANX = """
import sys
from ranx import Qrels, Run, evaluate
qrels = Qrels.from_file(sys.argv[1], kind="trec")
run = Run.from_file(sys.argv[2], kind="trec")
for name, value in evaluate(qrels, run, ["ndcg@10", "mrr@10", "recall@100"]).items():
    print(name, value)
"""
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
print(time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""
SCRIPTS = {"pytrec_eval-terrier": PYTREC_EVAL, "ir-measures": IR_MEASURES, "ranx": RANX}
OUR_NAMES = {
    "ndcg_cut_10": "nDCG@10",
    "recall_100": "R@100",
    "ndcg@10": "nDCG@10",
    "mrr@10": "RR@10",
    "recall@100": "R@100",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One process: its wall and processor time, its peak memory, and measure -> value of what it printed."""

    seconds: float
    cpu_s: float
    peak_mb: float
    values: dict[str, float]


def write_files(folder: Path, topics: int, documents: int) -> tuple[Path, Path]:
    """(qrels, run): the run is grouped by topic and sorted by score, as retrieval systems write it."""
    rng = np.random.default_rng(0)
    pool = rng.permutation(8_841_823)[: max(200_000, 2 * documents)]
    qrels_path, run_path = folder / "qrels.txt", folder / "run.trec"
    with qrels_path.open("w") as qrels, run_path.open("w") as run:
        for topic in range(topics):
            qid = 1_000_000 + 7 * topic
            docids = rng.choice(pool, documents, replace=False).tolist()
            scores = np.sort(rng.gamma(2.0, 3.0, documents))[::-1].tolist()
            pairs = enumerate(zip(docids, scores, strict=True), start=1)
            run.write("".join(f"{qid} Q0 {docid} {rank} {score:.6f} synthetic\n" for rank, (docid, score) in pairs))
            relevant = {docids[int(rng.integers(documents) ** 2 / documents)] for _ in range(1 + (topic % 16 == 0))}
            qrels.write("".join(f"{qid} 0 {docid} 1\n" for docid in sorted(relevant)))
    return qrels_path, run_path


def measured(command: list[str], read: Callable[[str], dict[str, float]]) -> Measured:
    """One run of a command, timed and weighed by a small process between: Linux counts the memory of who starts a process."""
    done = subprocess.run([sys.executable, "-S", "-c", LAUNCHER, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)[:200]} ended with {done.returncode}: {done.stderr[-500:]}")
    seconds, cpu_s, kilobytes = done.stderr.splitlines()[-1].split()
    return Measured(float(seconds), float(cpu_s), int(kilobytes) / 1024, read(done.stdout))


def printed(text: str) -> dict[str, float]:
    """The values of a script, under our names."""
    pairs = [line.split() for line in text.splitlines()]
    return {OUR_NAMES.get(name, name): float(value) for name, value in pairs}


def ours(text: str) -> dict[str, float]:
    """The values of `rankrl evaluate --format json`."""
    (run,) = json.loads(text)["runs"].values()
    return {name: value["mean"] for name, value in run["measures"].items()}


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def equal(theirs: dict[str, float], our: dict[str, float]) -> str:
    """Whether the measures that both have are the same."""
    shared = theirs.keys() & our.keys()
    largest = max(abs(theirs[name] - our[name]) for name in shared)
    return f"{len(shared)} measures, " + ("equal" if largest < 1e-9 else f"up to {largest:.1e} apart")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topics", type=int, default=6980)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip", nargs="*", choices=["ir-measures", "ranx"], default=[], help="peers to leave out")
    parser.add_argument("--folder", type=Path, help="where the files are written (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        qrels, run = write_files(folder, args.topics, args.documents)
        compare(qrels, run, args)
    bootstrap(args.topics, args.rounds)


def compare(qrels: Path, run: Path, args: argparse.Namespace) -> None:
    """Time the sides in turn and print the table."""
    cli = [sys.executable, "-m", "rankrl", "evaluate", str(run), "--qrels", str(qrels), "--format", "json"]
    sides: dict[str, tuple[list[str], Callable[[str], dict[str, float]]]] = {"rankrl evaluate": (cli, ours)}
    for package, script in SCRIPTS.items():
        if package in args.skip:
            continue
        if known := version(package):
            sides[f"{package} {known}"] = ([sys.executable, "-c", script, str(qrels), str(run)], printed)
        else:
            print(f"{package} is not installed: skipped")
    for command, read in sides.values():  # once unmeasured: files in the page cache, and what compiles at first use
        measured(command, read)
    found: dict[str, list[Measured]] = {name: [] for name in sides}
    for _ in range(args.rounds):
        for name, (command, read) in sides.items():
            found[name].append(measured(command, read))
    base = found[next(name for name in sides if name.startswith("pytrec_eval"))]
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    print(
        f"{args.topics:,} topics x {args.documents:,} documents, {run.stat().st_size / 1e6:.0f} MB, {args.rounds} rounds "
        f"in turn, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, OMP_NUM_THREADS {threads}, "
        f"Python {platform.python_version()}"
    )
    print(f"{'':28}  median    spread        ratio     CPU  ratio   peak    values against ours")
    for name, many in found.items():
        seconds = [one.seconds for one in many]
        ratio = statistics.median(one.seconds / other.seconds for one, other in zip(many, base, strict=True))
        cpu_s = statistics.median(one.cpu_s for one in many)
        cpu_ratio = statistics.median(one.cpu_s / other.cpu_s for one, other in zip(many, base, strict=True))
        peak = statistics.median(one.peak_mb for one in many)
        same = "" if name == "rankrl evaluate" else equal(many[0].values, found["rankrl evaluate"][0].values)
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        wall = f"{statistics.median(seconds):5.2f} s  {spread:>14}  {ratio:5.2f}"
        print(f"{name:28}  {wall}  {cpu_s:4.1f} s  {cpu_ratio:5.2f}  {peak:5.0f} MB  {same}")


def bootstrap(topics: int, rounds: int) -> None:
    """Time the intervals of one measure and of ten over the topics."""
    from rankrl.statistics import bootstrap_intervals

    values_MT = np.random.default_rng(1).random((10, topics))
    for measures in (1, 10):
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            bootstrap_intervals(values_MT[:measures], rng=np.random.default_rng(0))
            times.append(time.perf_counter() - start)
        print(f"bootstrap, 10,000 x {topics:,}, {measures:2} measures: {statistics.median(times):.2f} s")


if __name__ == "__main__":
    main()
