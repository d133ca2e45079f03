"""Any ordering again: over its own result, and over shuffled lists whose results are averaged."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rankrl.contracts import Reranker, Steps, reading_of
from rankrl.errors import OutOfBudget
from rankrl.strategies._common import check_counts, drawn_orders, first_stage, lockstep
from rankrl.types import CandidateList, Ranking


@dataclass(slots=True)
class _Heard:
    """What has passed through an ordering: whether any answer could be read, and whether the budget ended it."""

    read: bool = False
    spent: bool = False


def repeated(
    reranker: Reranker, listing: CandidateList, *, passes: int = 1, shuffles: int = 1, seed: int = 929
) -> Steps:
    """The result of `reranker.order`, `passes` times over its own result, or the mean of that over `shuffles` shuffled lists.

    passes: each goes over the list as the one before left it, whose order is its first-stage order. shuffles: with more than
    one, every list is a permutation drawn from (seed, qid, its number), none of them twice (n candidates have n! at most);
    they are ordered in lock step, and candidates come by their mean rank, equal ones by first-stage rank (permutation
    self-consistency, arXiv:2310.07712, with the mean rank for its Kendall-optimal order). A shuffled list of which no answer
    could be read is left out; when that is all of them, the first-stage order comes out. Scores are those of a single pass
    over the list itself, else None.
    """
    check_counts(passes=passes, shuffles=shuffles)
    n = len(listing)
    if shuffles == 1:
        heard = _Heard()
        return (yield from _again(reranker, listing, passes, heard))
    lists = drawn_orders(range(n), min(shuffles, math.factorial(n)), f"{seed}:{listing.query.qid}")
    heards = [_Heard() for _ in lists]
    games = [
        _again(reranker, listing.pick(positions), passes, heard) for positions, heard in zip(lists, heards, strict=True)
    ]
    rankings = yield from lockstep(games)
    ranks = [0] * n  # summed over the same number of lists for all, so that sums order as means do
    for positions, ranking, heard in zip(lists, rankings, heards, strict=True):
        if heard.read:
            for rank, index in enumerate(ranking.order):
                ranks[positions[index]] += rank
    return Ranking(tuple(sorted(range(n), key=lambda position: (ranks[position], position))))


def _again(reranker: Reranker, listing: CandidateList, passes: int, heard: _Heard) -> Steps:
    """`passes` orderings, each over the result of the one before; positions are those of `listing`."""
    ranking = yield from _listening(reranker, reranker.order(listing), len(listing), heard)
    order = ranking.order
    for _ in range(passes - 1):
        if heard.spent:
            break
        ranking = yield from _listening(reranker, reranker.order(listing.pick(order)), len(listing), heard)
        order = tuple(order[index] for index in ranking.order)
    return ranking if passes == 1 else Ranking(order)


def _listening(reranker: Reranker, steps: Steps, n: int, heard: _Heard) -> Steps:
    """The ordering itself; notes what passes through. When it lets a spent budget pass, the list stays as it is."""
    try:
        held = [next(steps)]  # the batch, until it is handed on: prompts are large
        while True:
            sizes = [] if heard.read else [0 if request.shown is None else len(request.shown) for request in held[0]]
            try:
                answers = yield held.pop()
            except OutOfBudget as spent:
                heard.spent = True
                held.append(steps.throw(spent))
                continue
            heard.read = heard.read or any(
                size and not reading_of(reranker, answer, size).report.unreadable
                for size, answer in zip(sizes, answers, strict=True)
            )
            held.append(steps.send(answers))
    except StopIteration as stop:
        ranking: Ranking = stop.value
        return ranking
    except OutOfBudget:
        return first_stage(n)
