"""The k best by a binary heap of pairwise comparisons."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress

from rankrl.contracts import Reranker, Steps
from rankrl.errors import OutOfBudget
from rankrl.strategies._common import check_compat, check_counts, lockstep, relay, top_first
from rankrl.strategies._comparisons import BothOrders, Duels, Pair
from rankrl.strategies.heap import levels
from rankrl.types import CandidateList


def pair_heap(reranker: Reranker, listing: CandidateList, *, k: int, compat: str = "rankrl") -> Steps:
    """The k best by heapsort; the others follow in first-stage order. Each comparison is two prompts, one per order.

    About 278 comparisons for the best 10 of 100 in random order. A candidate comes before another when both answers say
    so, or when they do not agree and it has the better first-stage rank: total failure returns the first-stage order.

    PRP-Sorting (arXiv:2306.17563) as in ielab/llm-rankers; deviation: the nodes of one level of the heap are compared
    together while it is built. `compat="upstream"`: a tie leaves the candidate that is higher in the heap (so a model that
    always prefers what is shown first returns 1, 100, 99, 98, ...).
    """
    check_counts(k=k)
    check_compat(compat)
    top = yield from relay(best(len(listing), k=k, compat=compat), BothOrders(reranker, listing))
    return top_first(top, len(listing))


def best(n: int, *, k: int, compat: str = "rankrl") -> Duels:
    """The k best of n positions, as a game."""
    slots = list(range(n))  # slot of the heap -> position in the listing
    ties = compat != "upstream"
    top: list[int] = []
    with suppress(OutOfBudget):  # those found so far come first
        for level in reversed(list(levels(n, 2))):
            yield from lockstep([_sift(slots, node, n, ties) for node in level])
        for size in range(n - 1, -1, -1):
            top.append(slots[0])
            if len(top) == k:
                break
            slots[0] = slots[size]
            yield from _sift(slots, 0, size, ties)
    return top


def _sift(slots: list[int], node: int, size: int, ties: bool) -> Generator[list[Pair], list[int | None], None]:
    """Lets what stands at `node` sink until nothing below it wins; reads and writes `slots[:size]`.

    ties: a tie is won by the better first-stage rank, else by what is higher.
    """
    while True:
        highest = node
        for child in range(2 * node + 1, min(2 * node + 3, size)):
            (winner,) = yield [(slots[child], slots[highest])]
            if winner == slots[child] or (winner is None and ties and slots[child] < slots[highest]):
                highest = child
        if highest == node:
            return
        slots[node], slots[highest] = slots[highest], slots[node]
        node = highest
