"""Passes of adjacent comparisons from the bottom of the list to its top."""

from __future__ import annotations

from contextlib import suppress

from rankrl.contracts import Reranker, Steps
from rankrl.errors import OutOfBudget
from rankrl.strategies._common import check_compat, check_counts, relay, top_first, waves
from rankrl.strategies._comparisons import BothOrders, Duels
from rankrl.types import CandidateList, Ranking


def sliding_pairs(
    reranker: Reranker, listing: CandidateList, *, passes: int, shrinking: bool = True, compat: str = "rankrl"
) -> Steps:
    """The list after `passes` backward passes of adjacent comparisons; the lower one moves up when both answers prefer it.

    With transitive answers the first p are the best p after pass p, so `shrinking` passes stop there: K passes over N
    candidates are K(N-1) - K(K-1)/2 comparisons, else K(N-1), of two prompts each.

    PRP-Sliding (arXiv:2306.17563). Deviation: a pass starts before the one below it has ended, as soon as the slots that it
    compares are done with. Comparisons and result are those of passes made one after another; the chain of dependent calls
    is about (N-1) + 2(K-1), not K(N-1).
    `compat="upstream"` is the bubble sort of ielab/llm-rankers: passes skip the bottom where the pass before changed
    nothing (which makes them wait for one another), and only the first `passes` candidates keep their new places, the
    others return to first-stage order. `shrinking` is always on there.
    """
    check_counts(passes=passes)
    check_compat(compat)
    pose = BothOrders(reranker, listing)
    if compat == "upstream":
        slots = yield from relay(skipping(len(listing), passes), pose)
        return top_first(slots[:passes], len(listing))
    slots = yield from relay(in_passes(spans(len(listing), passes=passes, shrinking=shrinking), len(listing)), pose)
    return Ranking(tuple(slots))


def spans(n: int, *, passes: int, shrinking: bool = True) -> list[range]:
    """The two slots of every comparison, in the order of passes made one after another."""
    return [
        range(lower - 1, lower + 1)
        for done in range(min(passes, n) if shrinking else passes)
        for lower in range(n - 1, done if shrinking else 0, -1)
    ]


def in_passes(compared: list[range], n: int) -> Duels:
    slots = list(range(n))
    with suppress(OutOfBudget):  # what has moved so far has moved
        for wave in waves(compared):
            winners = yield [(slots[span[0]], slots[span[1]]) for span in wave]
            for (upper, lower), winner in zip(wave, winners, strict=True):
                if winner == slots[lower]:
                    slots[upper], slots[lower] = slots[lower], slots[upper]
    return slots


def skipping(n: int, passes: int) -> Duels:
    slots = list(range(n))
    bottom = n - 1  # the lowest slot where the next pass starts
    with suppress(OutOfBudget):
        for done in range(min(passes, n)):
            changed = False
            for lower in range(bottom, done, -1):
                (winner,) = yield [(slots[lower - 1], slots[lower])]
                if winner == slots[lower]:
                    slots[lower - 1], slots[lower] = slots[lower], slots[lower - 1]
                    if not changed and bottom != n - 1:
                        bottom += 1
                    changed = True
                if not changed:
                    bottom -= 1
    return slots
