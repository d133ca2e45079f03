"""The k best by a heap of setwise choices."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress

from rankrl.contracts import Reranker, Steps, reading_of, request_of
from rankrl.errors import ConfigError, OutOfBudget
from rankrl.strategies import COMPAT
from rankrl.types import Answer, CandidateList, Ranking, Reading, Request

_Sift = Generator[list[int], int, None]
"""One path down the heap: yields the positions to compare (parent first), is sent the index of the winner among them."""


def heap(
    reranker: Reranker,
    listing: CandidateList,
    *,
    children: int,
    k: int,
    seed: int = 929,
    shuffle: bool = True,
    votes: int = 1,
    compat: str = "rankrl",
) -> Steps:
    """The k best by a max-heap in which every node has up to `children` children; the others follow in first-stage order.

    One comparison shows a parent with its children, `children` + 1 candidates at most, and asks for the best. With N
    candidates the build compares ceil((N-1)/children) nodes or more, each extraction but the last one path to a leaf.
    A comparison is shown in an order drawn from (seed, qid, the candidates compared, vote) alone, so it does not depend on
    what else is in flight. `votes` > 1 asks about each group in that many orders; the majority wins.

    Setwise (arXiv:2310.09497) and Rank-R1 (arXiv:2503.06034) as in ielab/llm-rankers, with these deviations:
    1. An unreadable answer: the member with the best first-stage rank wins, so total failure returns the first-stage
       order; `compat="upstream"` keeps the parent (which, while extracting, is the last leaf: 1, 100, 99, 98, ...).
    2. The nodes of one level are compared together, level by level from the bottom: their subtrees are disjoint, so the
       heap is the same and the chain of dependent calls shorter.
    3. Votes that tie go to the best first-stage rank, not to chance.
    4. The order shown is drawn per comparison, not from one generator that all queries share.
    """
    if children < 1 or k < 1 or votes < 1:
        raise ConfigError(f"children, k and votes must be 1 or more, got children={children}, k={k}, votes={votes}")
    if compat not in COMPAT:
        raise ConfigError(f"compat is {compat!r}; it can be {' or '.join(map(repr, COMPAT))}")
    slots = list(range(len(listing)))  # slot of the heap -> position in the listing
    orders = _Orders(f"{seed}:{listing.query.qid}", votes=votes, shuffle=shuffle)

    top: list[int] = []
    with suppress(OutOfBudget):  # those found so far come first
        for level in reversed(list(_levels(len(slots), children))):
            sifts = [_sift(slots, node, len(slots), children) for node in level]
            yield from _together(sifts, reranker, listing, orders, compat)
        for size in range(len(slots) - 1, -1, -1):
            top.append(slots[0])
            if len(top) == k:
                break
            slots[0] = slots[size]
            yield from _together([_sift(slots, 0, size, children)], reranker, listing, orders, compat)
    chosen = set(top)
    return Ranking((*top, *(i for i in range(len(listing)) if i not in chosen)))


def _levels(n: int, children: int) -> Iterator[range]:
    """The slots of each level of a heap of n, root first."""
    start, width = 0, 1
    while start < n:
        yield range(start, min(start + width, n))
        start, width = start + width, width * children


def _sift(slots: list[int], node: int, size: int, children: int) -> _Sift:
    """Lets what stands at `node` sink until nothing below it wins; reads and writes `slots[:size]`."""
    while (first := children * node + 1) < size:
        group = [node, *range(first, min(first + children, size))]
        winner = group[(yield [slots[slot] for slot in group])]
        if winner == node:
            return
        slots[node], slots[winner] = slots[winner], slots[node]
        node = winner


class _Orders:
    """The orders in which a group is shown: one list of positions per vote, drawn from the group itself."""

    def __init__(self, key: str, *, votes: int, shuffle: bool) -> None:
        self.key, self.votes, self.shuffle = key, votes, shuffle

    def __call__(self, group: Sequence[int]) -> list[list[int]]:
        shown = [list(group) for _ in range(self.votes)]
        if self.shuffle or self.votes > 1:
            for vote, order in enumerate(shown):
                random.Random(f"{self.key}:{','.join(map(str, group))}:{vote}").shuffle(order)
        return shown


def _together(
    sifts: Iterable[_Sift], reranker: Reranker, listing: CandidateList, orders: _Orders, compat: str
) -> Generator[list[Request], list[Answer], None]:
    """Runs sifts over disjoint parts of the heap in lock step: one batch of prompts per depth."""
    waiting = [(sift, group) for sift in sifts if (group := next(sift, None)) is not None]
    while waiting:
        shown = [orders(group) for _, group in waiting]
        answers = iter((yield [request_of(reranker, listing.pick(order)) for votes in shown for order in votes]))
        still = []
        for (sift, group), votes in zip(waiting, shown, strict=True):
            readings = [reading_of(reranker, next(answers), len(order)) for order in votes]
            winner = _winner(group, votes, readings, compat)
            with suppress(StopIteration):  # it has sunk as far as it goes
                still.append((sift, sift.send(group.index(winner))))
        waiting = still


def _winner(group: Sequence[int], shown: Sequence[Sequence[int]], readings: Sequence[Reading], compat: str) -> int:
    """The position in the listing that most readable votes put first."""
    votes = Counter(
        order[reading.ranking.order[0]]
        for order, reading in zip(shown, readings, strict=True)
        if not reading.report.unreadable
    )
    if not votes:
        return group[0] if compat == "upstream" else min(group)
    most = max(votes.values())
    return min(position for position, count in votes.items() if count == most)
