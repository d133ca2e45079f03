"""What driving many queries together brings with a real model on the CPU: `python benchmarks/reranking_model.py`.

A random model (built here, offline) reranks 50 synthetic queries by five protocols, in three ways: all queries driven together,
one query after the other (which still batches what a query asks at once), and the same requests in one flat batch, which no
ordering could have asked: the ceiling. Seconds are wall time and the process's own CPU time, the least of `--runs` rounds that
take the ways in turn. Ratios are of CPU time with one thread (the default), so that a busy machine does not count, and of wall
time with more. Rankings must be equal: near ties of a random model may fall otherwise in another batch, and are counted.

A random model never ends an answer, so each is as long as the protocol's column says. `--sweep` repeats it for several sizes of
models. `bound` says what limits the ratio: it is how many times as fast a batch could be at most if everything
but the arithmetic of the model's matrices were free, which is taken at the speed of a plain product of matrices on one thread
(measured at the start; with one thread only). A core computes a prompt of 250 tokens at that speed when it comes alone, so
batching cannot make prompts cheaper; what it shares is what a call costs besides, and the steps of one token each.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rankrl.engines.drive import drive
from rankrl.engines.ledger import Ledger
from rankrl.engines.transformers import TransformersEngine
from rankrl.rerankers.listwise import Listwise
from rankrl.rerankers.prp import PRP
from rankrl.rerankers.rank_r1 import RankR1
from rankrl.rerankers.setwise import Setwise
from rankrl.types import Answer, Candidate, CandidateList, Query, Ranking, Request

CUT: dict[str, Any] = {"query_tokens": 16, "passage_tokens": 32}
PROTOCOLS: dict[str, tuple[Any, int]] = {
    "setwise heap, generation": (Setwise(num_child=3, k=3, **CUT), 4),
    "setwise heap, likelihood": (Setwise(num_child=3, k=3, mode="likelihood", **CUT), 4),
    "PRP sliding, generation": (PRP(passes=1, **CUT), 4),
    "listwise windows": (Listwise(window=6, stride=3, **CUT), 24),
    "Rank-R1, reasoning": (RankR1(num_child=3, k=1, **CUT), 64),
}
"""Protocol -> (reranker, new tokens of an answer)."""

AIMS = {"alone": (5.0, "times as fast as one query at a time"), "flat": (0.9, "of the speed of a flat batch")}

SIZES = {"tiny": (64, 2), "small": (256, 4), "medium": (512, 8)}
"""Name -> (hidden size, layers)."""


def listings(queries: int, candidates: int) -> list[CandidateList]:
    """Synthetic queries with as many passages of 10 to 40 words."""
    chance = random.Random(7)
    words = _beside("tiny_model").TEXT.lower().split()

    def text(low: int, high: int) -> str:
        return " ".join(chance.choices(words, k=chance.randint(low, high)))

    return [
        CandidateList(Query(f"q{q}", text(4, 9)), tuple(Candidate(f"d{d}", text(10, 40)) for d in range(candidates)))
        for q in range(queries)
    ]


def _beside(name: str) -> Any:
    """A builder of tiny models from the tests of this checkout."""
    path = Path(__file__).resolve().parents[1] / "tests" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Recorder:
    """An engine around an engine that keeps what was asked and answered."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.answered: dict[str, tuple[Request, Answer]] = {}

    def generate(self, requests: Sequence[Request], on_answer: Any = None) -> list[Answer]:
        answers: list[Answer] = self.engine.generate(requests, on_answer)
        self.answered |= {r.key: (r, a) for r, a in zip(requests, answers, strict=True)}
        return answers


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """(what it returns, wall seconds, CPU seconds)."""
    wall, cpu = time.perf_counter(), time.process_time()
    made = work()
    return made, time.perf_counter() - wall, time.process_time() - cpu


def measure(reranker: Any, engine: TransformersEngine, lists: Sequence[CandidateList], runs: int) -> dict[str, Any]:
    """Seconds of the three ways, the calls and tokens of one round, and how many rankings or answers differ."""
    ours = reranker.__class__(
        **{name: getattr(reranker, name) for name in reranker.__slots__ if name != "clip"}, clip=engine.clip
    )
    recorder = Recorder(engine)
    ledger = Ledger(recorder)
    together, *first = timed(lambda: drive([ours.order(listing) for listing in lists], ledger))
    asked = [request for request, _ in recorder.answered.values()]
    ways: dict[str, Callable[[], Any]] = {
        "together": lambda: drive([ours.order(listing) for listing in lists], engine),
        "alone": lambda: [drive([ours.order(listing)], engine)[0] for listing in lists],
        "flat": lambda: engine.generate(asked),
    }
    seconds: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    seconds["together"].append((first[0], first[1]))
    made: dict[str, Any] = {}
    for run in range(runs):
        for way, work in ways.items():
            if run == 0 and way == "together":
                continue
            made[way], wall, cpu = timed(work)
            seconds[way].append((wall, cpu))
    return {
        "calls": ledger.cost.calls,
        "rounds": ledger.cost.rounds,
        "tokens": ledger.cost.prompt_tokens + ledger.cost.completion_tokens,
        "computed": sum(a.prompt_tokens - a.cached_tokens + a.completion_tokens for _, a in recorder.answered.values()),
        "wall": {way: min(wall for wall, _ in taken) for way, taken in seconds.items()},
        "cpu": {way: min(cpu for _, cpu in taken) for way, taken in seconds.items()},
        "rankings": _unlike(together, made["alone"]),
        "answers": sum(
            _said(a) != _said(recorder.answered[r.key][1]) for r, a in zip(asked, made["flat"], strict=True)
        ),
    }


def product_speed(size: int = 512) -> float:
    """Multiplications and additions per CPU second of a plain product of matrices, float32."""
    import torch

    a, b = torch.randn(4 * size, size), torch.randn(size, size)
    a @ b
    return 10 * 2 * 4 * size**3 / min(timed(lambda: [a @ b for _ in range(10)])[2] for _ in range(5))


def arithmetic(model: Any) -> int:
    """Multiplications and additions per token in the matrices of the layers; the attention itself is left out."""
    return 2 * sum(w.numel() for name, w in model.named_parameters() if w.dim() == 2 and "embed" not in name)


def _unlike(some: Sequence[Ranking], others: Sequence[Ranking]) -> int:
    return sum(one.order != other.order for one, other in zip(some, others, strict=True))


def _said(answer: Answer) -> Any:
    """What a protocol reads: the text, or the best choice."""
    return answer.text or max(range(len(answer.scores)), key=lambda i: answer.scores[i] or 0.0, default=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["tiny", "small"])
    parser.add_argument("--sweep", action="store_true", help="all sizes")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    lists = listings(options.queries, options.candidates)
    print(
        f"{options.queries} queries of {options.candidates} passages, batches of {options.batch_size}, {options.threads} threads "
        f"on {os.cpu_count()} cores, torch {torch.__version__}, load average {os.getloadavg()[0]:.1f}; CPU seconds in brackets"
    )
    speed = product_speed()
    print(f"a plain product of matrices: {speed / 1e9:.0f} GFLOP per CPU second")
    head = f"{'model':<7}{'protocol':<27}{'new':>4}{'calls':>6}{'rounds':>7}{'together s':>16}{'alone s':>16}{'flat s':>16}"
    print(f"{head}{'tokens/s':>10}{'alone/tog.':>12}{'bound':>7}{'flat/tog.':>11}{'unequal':>9}", flush=True)
    ratios: dict[str, list[float]] = {way: [] for way in AIMS}
    for size in list(SIZES) if options.sweep else options.sizes:
        hidden, layers = SIZES[size]
        with tempfile.TemporaryDirectory() as folder:
            _beside("tiny_model").build(folder, hidden_size=hidden, layers=layers, initializer_range=0.05)
            engine = TransformersEngine(folder, batch_size=options.batch_size, device="cpu", max_new_tokens=4)
        engine.generate([Request([{"role": "user", "content": "warm"}])])
        for name, (reranker, new_tokens) in PROTOCOLS.items():
            engine.max_new_tokens = new_tokens
            row = measure(reranker, engine, lists, options.runs)
            kind = row["cpu" if options.threads == 1 else "wall"]
            least = row["computed"] * arithmetic(engine.model) / speed / options.threads
            print(f"{size:<7}{name:<27}{new_tokens:>4}{cells(row, kind, least)}", flush=True)
            for way, found in ratios.items():
                found.append(kind[way] / kind["together"])
    print(
        f"load average {os.getloadavg()[0]:.1f} at the end; unequal: rankings of alone, answers of flat, beside together"
    )
    for way, (aim, text) in AIMS.items():
        print(f"aim {aim} {text}: reached in {sum(r >= aim for r in ratios[way])} of {len(ratios[way])} rows")


def cells(row: dict[str, Any], kind: dict[str, float], least: float) -> str:
    """A row of the table. kind: the seconds of which ratios are made. least: those of the arithmetic alone."""
    seconds = "".join(f"{row['wall'][way]:>8.2f} ({row['cpu'][way]:5.1f})" for way in ("together", "alone", "flat"))
    faster, bound, ceiling = kind["alone"] / kind["together"], kind["alone"] / least, kind["flat"] / kind["together"]
    ratios = f"{faster:>12.2f}{bound:>7.1f}{ceiling:>11.2f}{row['rankings']:>5}/{row['answers']}"
    return f"{row['calls']:>6}{row['rounds']:>7}{seconds}{row['tokens'] / kind['together']:>10.0f}{ratios}"


if __name__ == "__main__":
    main()
