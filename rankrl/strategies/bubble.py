"""The k best by passes of setwise choices."""

from __future__ import annotations

from contextlib import suppress

from rankrl.contracts import Reranker, Steps
from rankrl.errors import OutOfBudget
from rankrl.strategies._common import check_compat, check_counts, relay, top_first, waves
from rankrl.strategies._comparisons import Choices, Setwise
from rankrl.types import CandidateList


def bubble(
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
    """The k best by k passes of choices from the bottom up; the others follow in first-stage order.

    A choice shows `children` + 1 neighbours and brings the best to their front; the next one shows that front with the
    `children` above it. Pass i ends at position i with what is left there. Over N candidates pass i asks
    ceil((N - children - 1 - i) / children) + 1 times, once when all fit. Seed, shuffle, votes: see `rankrl.strategies.heap`.

    Setwise (arXiv:2310.09497), the variant that skips nothing. Deviations: 1. an unreadable answer brings the member with
    the best first-stage rank to the front; 2. a pass starts before the one below it has ended, as soon as the slots that it
    shows are done with: choices and result are those of passes made one after another.
    `compat="upstream"` is the shipped code of ielab/llm-rankers: passes skip the bottom where the pass before changed
    nothing, which with many children loses some of the k best even when every answer is right (34 of 300 random orders of
    100 with children = 19, k = 10), and an unreadable answer leaves the front. Where that code sends prompts that show one
    passage or none, nothing is asked.
    """
    check_counts(children=children, k=k, votes=votes)
    check_compat(compat)
    pose = Setwise(reranker, listing, seed=seed, shuffle=shuffle, votes=votes, compat=compat)
    n = len(listing)
    game = skipping(n, children, k) if compat == "upstream" else in_passes(n, children, k)
    top = yield from relay(game, pose)
    return top_first(top, n)


def spans(n: int, *, children: int, k: int) -> list[range]:
    """The slots of every choice, in the order of passes made one after another."""
    made = []
    for done in range(min(k, n - 1)):
        start, end = n - children - 1, n
        while True:
            made.append(range(max(start, done), end))
            if start <= done:
                break
            start, end = start - children, end - children
    return made


def in_passes(n: int, children: int, k: int) -> Choices:
    slots = list(range(n))
    placed = 0
    with suppress(OutOfBudget):  # the places that are settled so far come first
        for wave in waves(spans(n, children=children, k=k)):
            winners = yield [[slots[slot] for slot in span] for span in wave]
            for span, winner in zip(wave, winners, strict=True):
                _to_front(slots, span, winner)
                placed += span.start == placed  # where a pass ends
        placed = k
    return slots[:placed]


def skipping(n: int, children: int, k: int) -> Choices:
    slots = list(range(n))
    lowest = n - children - 1  # where the first choice of the next pass starts
    placed = 0
    with suppress(OutOfBudget):
        for done in range(min(k, n)):
            start, end, changed = lowest, lowest + children + 1, False
            while True:
                span = range(max(start, done), min(end, n))
                if len(span) > 1:
                    (winner,) = yield [[slots[slot] for slot in span]]
                    won = slots.index(winner)
                    if won != span.start:
                        _to_front(slots, span, winner)
                        if not changed and lowest != n - children - 1 and won == span.stop - 1:
                            lowest += len(span) - 1
                        changed = True
                if start <= done:
                    break
                if not changed:
                    lowest -= children
                start, end = start - children, end - children
            placed = done + 1
    return slots[:placed]


def _to_front(slots: list[int], span: range, winner: int) -> None:
    """The winner and what stands at the front of the span change places."""
    won = slots.index(winner, span.start, span.stop)
    slots[span.start], slots[won] = slots[won], slots[span.start]
