"""What scheduling costs and how parallel it is, with answers that cost nothing or 20 ms; `python benchmarks/reranking.py`.

An oracle that knows every grade answers in each protocol's own words, so that all that is measured is ours: prompts, parsing,
orderings, `drive` and the ledger. The two columns in ms per call are CPU time, so that a busy machine does not count: the
building of prompts (clipping and defusing 20 passages, say), and all else. The oracle comes in two kinds: a *batch* engine
takes the latency once for a whole batch (a GPU), a *server* once for each request, 64 of them at a time.

Beside ours, the same protocol as a plain loop over one topic and one call after another, which is how llm-rankers runs setwise
and pairwise heapsort, and as rank_llm runs listwise windows: window by window, alone or as one batch over all topics. These
loops are our own few lines with their control flow, prompts and parsing by our parts; their packages are not run. The loops get
the same answers, and the best 10 are compared.

Topics of the plain loops are measured until their time is spent (8 s) and their seconds scaled to all topics; said by "~".

Then, unless --no-model is given, a second table: a small real model on this CPU (`reranking_model.py`, which also runs alone).
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from rankrl.contracts import Engine, OnAnswer, Reranker, reading_of, request_of
from rankrl.rerankers.listwise import Listwise
from rankrl.rerankers.prp import PRP
from rankrl.rerankers.rank_r1 import RankR1
from rankrl.rerankers.setwise import Setwise
from rankrl.reranking import LoadedReranker
from rankrl.types import Answer, Candidate, CandidateList, Query, Request

TOPICS, CANDIDATES, BEST = 43, 100, 10
LATENCIES_S = (0.0, 0.020)
CONNECTIONS = 64
LOOP_S = 8.0
"""After so many seconds a plain loop starts no further topic."""


def listings(topics: int, candidates: int) -> list[CandidateList]:
    """Topics whose documents have distinct grades, in a random order; the docid is the grade."""
    rng = random.Random(7)
    words = [f"word{i}" for i in range(2_000)]
    made = []
    for topic in range(topics):
        grades = rng.sample(range(candidates), candidates)
        texts = (" ".join(rng.choices(words, k=60)) for _ in grades)
        found = tuple(Candidate(f"{grade:03}", text) for grade, text in zip(grades, texts, strict=True))
        made.append(CandidateList(Query(f"q{topic}", " ".join(rng.choices(words, k=8))), found))
    return made


def renewed(lists: Sequence[CandidateList], word: str) -> list[CandidateList]:
    """The same with a word more in every text, so that what is kept of texts helps no way with what another has done."""
    return [
        replace(listing, candidates=tuple(replace(c, text=f"{word} {c.text}") for c in listing.candidates))
        for listing in lists
    ]


Say = Callable[[list[int]], str]
"""Positions of the shown passages (0-based), best first -> the answer."""


class Oracle:
    """A batch engine that knows the grades: the latency once for each batch. calls, batches: answered so far."""

    concurrent = 1

    def __init__(self, say: Say, latency_s: float) -> None:
        self.say, self.latency_s = say, latency_s
        self.calls = self.batches = 0
        self.answering_s = 0.0
        self._lock = threading.Lock()

    def generate(self, requests: Sequence[Request], on_answer: OnAnswer | None = None) -> list[Answer]:
        start = time.thread_time()
        answers = [self._answer(request) for request in requests]
        with self._lock:
            self.calls += len(requests)
            self.batches += 1
            self.answering_s += time.thread_time() - start
        if self.latency_s:
            time.sleep(self.latency_s)
        for i, answer in enumerate(answers):
            if on_answer is not None:
                on_answer(i, answer)
        return answers

    def _answer(self, request: Request) -> Answer:
        assert request.shown is not None
        docids = request.shown.docids
        return Answer(self.say(sorted(range(len(docids)), key=lambda i: docids[i], reverse=True)), 1, 1)


class Server(Oracle):
    """The same, asked from many threads: the latency for each request."""

    concurrent = CONNECTIONS


def ask(reranker: Reranker, engine: Engine, lists: Sequence[CandidateList]) -> list[list[int]]:
    """The order read from one batch of prompts."""
    answers = engine.generate([request_of(reranker, listing) for listing in lists])
    return [
        list(reading_of(reranker, answer, len(listing)).ranking.order)
        for answer, listing in zip(answers, lists, strict=True)
    ]


def heapsort(listing: CandidateList, children: int, best: Callable[[list[int]], int]) -> list[str]:
    """A heap in an array, built from the last parent up, one comparison after another; the best 10 are taken off it."""
    heap = list(range(len(listing)))

    def sink(node: int, size: int) -> None:
        while (first := children * node + 1) < size:
            group = [node, *range(first, min(first + children, size))]
            winner = group[best([heap[i] for i in group])]
            if winner == node:
                return
            heap[node], heap[winner], node = heap[winner], heap[node], winner

    for node in range((len(heap) - 2) // children, -1, -1):
        sink(node, len(heap))
    top = []
    for size in range(len(heap) - 1, len(heap) - 1 - BEST, -1):
        top.append(listing.candidates[heap[0]].docid)
        heap[0] = heap[size]
        if len(top) < BEST:
            sink(0, size)
    return top


def setwise_loop(reranker: Any, engine: Engine, listing: CandidateList) -> list[str]:
    """llm-rankers' setwise heapsort: each comparison one call."""
    return heapsort(listing, reranker.num_child, lambda group: ask(reranker, engine, [listing.pick(group)])[0][0])


def pairwise_loop(reranker: Any, engine: Engine, listing: CandidateList) -> list[str]:
    """llm-rankers' pairwise heapsort: both orders of a pair in one batch; parent with its first child, winner with the next."""

    def beats(i: int, j: int) -> bool:
        forth, back = ask(reranker, engine, [listing.pick([i, j]), listing.pick([j, i])])
        return forth[0] == 0 and back[0] == 1

    def best(group: list[int]) -> int:
        leader = 0
        for other in range(1, len(group)):
            if beats(group[other], group[leader]):
                leader = other
        return leader

    return heapsort(listing, 2, best)


def windows_loop(reranker: Any, engine: Engine, lists: Sequence[CandidateList]) -> list[list[str]]:
    """rank_llm's sliding windows over topics that are asked about together, one batch a window."""
    orders = [list(range(len(listing))) for listing in lists]
    end = len(lists[0])
    while True:
        start = max(0, end - reranker.window)
        asked = [listing.pick(order[start:end]) for listing, order in zip(lists, orders, strict=True)]
        for order, read in zip(orders, ask(reranker, engine, asked), strict=True):
            order[start:end] = [order[start:end][i] for i in read]
        if start == 0:
            break
        end -= reranker.stride
    return [[listing.candidates[i].docid for i in order] for listing, order in zip(lists, orders, strict=True)]


def one_by_one(loop: Callable[[Any, Engine, CandidateList], list[str]]) -> Callable[..., list[list[str]]]:
    """The loop over topics, one after the other, until the time is spent."""

    def run(reranker: Any, engine: Engine, lists: Sequence[CandidateList]) -> list[list[str]]:
        until, orders = time.perf_counter() + LOOP_S, list[list[str]]()
        for listing in lists:
            if time.perf_counter() > until:
                break
            orders.append(loop(reranker, engine, listing))
        return orders

    return run


def windows_alone(reranker: Any, engine: Engine, listing: CandidateList) -> list[str]:
    """rank_llm's sliding windows over one topic."""
    return windows_loop(reranker, engine, [listing])[0]


def ours(reranker: Any, engine: Engine, lists: Sequence[CandidateList]) -> list[list[str]]:
    """The rankings of rankrl, all topics at once."""
    rankings = LoadedReranker("it", reranker, engine).rerank_lists(lists)
    return [ranking.docids(listing) for ranking, listing in zip(rankings, lists, strict=True) if ranking is not None]


def watched(reranker: Any) -> tuple[Any, list[float]]:
    """(the reranker, what the building of its prompts takes: CPU seconds, summed in a list of one)."""
    spent = [0.0]

    def prompt(self: Any, listing: CandidateList) -> Any:
        start = time.thread_time()
        messages = type(reranker).prompt(self, listing)
        spent[0] += time.thread_time() - start
        return messages

    made: Any = type("Watched", (type(reranker),), {"__slots__": (), "prompt": prompt})
    return made(**{field.name: getattr(reranker, field.name) for field in fields(reranker)}), spent


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to rerank all topics. topics: as far as it came; all others: for these. seconds: of the clock.

    own_s, building_s: CPU seconds of everything but the oracle's thinking, and of that what the prompts took.
    """

    orders: list[list[str]]
    topics: int
    calls: int
    batches: int
    seconds: float
    own_s: float
    building_s: float

    @property
    def all_topics_s(self) -> float:
        """Seconds for all topics, scaled where not all were measured."""
        return self.seconds * TOPICS / self.topics


def measured(
    run: Callable[..., list[list[str]]], reranker: Any, engine: Oracle, lists: Sequence[CandidateList]
) -> Measured:
    """Seconds, calls and orders of one way."""
    reranker, building_s = watched(reranker)
    start, busy = time.perf_counter(), time.process_time()
    orders = run(reranker, engine, lists)
    seconds, own_s = time.perf_counter() - start, time.process_time() - busy - engine.answering_s
    return Measured(orders, len(orders), engine.calls, engine.batches, seconds, own_s, building_s[0])


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol, how the oracle answers it, and the loops that it is compared with."""

    name: str
    reranker: Any
    say: Say
    loops: dict[str, Callable[..., list[list[str]]]]


def letters(order: list[int]) -> str:
    """The label of the best, as a letter."""
    return f"Passage {chr(65 + order[0])}"


PROTOCOLS = (
    Protocol("setwise heap, c=2", Setwise(), letters, {"llm-rankers' loop": one_by_one(setwise_loop)}),
    Protocol(
        "Rank-R1 heap, c=19",
        RankR1(shuffle=False),
        lambda order: f"<think>so</think><answer>[{order[0] + 1}]</answer>",
        {"llm-rankers' loop": one_by_one(setwise_loop)},
    ),
    Protocol("pairwise heap", PRP(sort="heap"), letters, {"llm-rankers' loop": one_by_one(pairwise_loop)}),
    Protocol(
        "listwise 20/10",
        Listwise(),
        lambda order: " > ".join(f"[{i + 1}]" for i in order),
        {"rank_llm's loop, alone": one_by_one(windows_alone), "rank_llm's loop, batched": windows_loop},
    ),
)

HEADS = ("protocol", "engine", "latency ms", "way", "calls", "batches", "seconds", "prompt ms/call", "all else ms/call",
         "in parallel", "best 10 right")  # fmt: skip


def rows(protocol: Protocol, latency_s: float, lists: Sequence[CandidateList]) -> Iterable[list[str]]:
    """The table's lines of a protocol at a latency."""
    ways: list[tuple[str, Callable[..., list[list[str]]], type[Oracle]]] = [("rankrl", ours, Oracle)]
    ways += [("rankrl", ours, Server)] + [(name, loop, Oracle) for name, loop in protocol.loops.items()]
    best = [sorted(listing.docids, reverse=True)[:BEST] for listing in lists]
    for number, (name, run, kind) in enumerate(ways):
        fresh = renewed(lists, f"way{number} {latency_s}")
        found = measured(run, protocol.reranker, kind(protocol.say, latency_s), fresh)
        right = sum(order[:BEST] == expected for order, expected in zip(found.orders, best, strict=False))
        scaled = "~" if found.topics < TOPICS else ""
        wall = f"{scaled}{found.all_topics_s:.2f}"
        per_call = [found.building_s / found.calls, (found.own_s - found.building_s) / found.calls]
        own = [f"{seconds * 1e3:.3f}" for seconds in per_call]
        parallel = f"{found.calls * latency_s / found.seconds:.1f}" if latency_s else ""
        per_topic = found.calls / found.topics
        yield [
            protocol.name, "server" if kind is Server else "batch", f"{latency_s * 1e3:.0f}", name,
            f"{per_topic:.1f}/topic", str(found.batches), wall, *own, parallel, f"{right}/{found.topics}",
        ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", help="also write the table there, as Markdown")
    parser.add_argument("--no-model", action="store_true", help="the scripted oracle alone, without a real model")
    args = parser.parse_args()
    output = args.output
    lists = listings(TOPICS, CANDIDATES)
    print(f"{TOPICS} topics, {CANDIDATES} candidates each; Python {sys.version.split()[0]}")
    lines = ["| " + " | ".join(HEADS) + " |", "|---|---|---:|---|" + "---:|" * (len(HEADS) - 4)]
    print("\n".join(lines))
    for protocol in PROTOCOLS:
        for latency_s in LATENCIES_S:
            for row in rows(protocol, latency_s, lists):
                lines.append("| " + " | ".join(row) + " |")
                print(lines[-1], flush=True)
    if output:
        Path(output).write_text("\n".join(lines) + "\n", encoding="utf-8")
    if not args.no_model:
        subprocess.run([sys.executable, Path(__file__).with_name("reranking_model.py")], check=True)


if __name__ == "__main__":
    main()
