"""Every candidate against every other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

from rankrl.contracts import Reranker, Steps, reading_of
from rankrl.errors import OutOfBudget
from rankrl.strategies._common import by_score, check_compat, check_counts, first_stage, requests_of, top_first
from rankrl.strategies._comparisons import preferred
from rankrl.types import CandidateList, Ranking, Reading


def allpair(
    reranker: Reranker,
    listing: CandidateList,
    *,
    soft: bool = False,
    both_orders: bool = True,
    compat: str = "rankrl",
    k: int | None = None,
) -> Steps:
    """All candidates by the points they win against the others, which are the scores; one batch of N(N-1) prompts.

    A pair is asked about in both orders: 1 point to the one that both answers prefer, half a point to each otherwise. The
    points sum to N(N-1)/2; ties go to the better first-stage rank. soft: a pair's point is divided by probabilities,
    p_ij = (P(i | i shown first) + 1 - P(j | j shown first)) / 2, P being the softmax over the reading's two scores; a
    reading without scores counts as P = 1 or 0, an unreadable one as a half. both_orders=False asks with the better
    first-stage rank shown first only. k: only the k best come first, the others follow in first-stage order.

    PRP (arXiv:2306.17563) and duoT5 (arXiv:2101.05667): with `soft` and one order, duoT5's s_i += p, s_j += 1 - p; with both
    orders its sums are twice ours. `compat="upstream"` breaks ties as ielab/llm-rankers does, by which candidate got its
    first point first; one that never got any goes behind all others.
    """
    check_compat(compat)
    if k is not None:
        check_counts(k=k)
    n = len(listing)
    if n < 2:
        return first_stage(n)
    try:
        answers = yield requests_of(reranker, listing, _orders(n, both_orders))
    except OutOfBudget:
        return first_stage(n)
    share = _soft if soft else _hard
    shares = (share(reading_of(reranker, answer, 2)) for answer in answers)
    points = [0.0] * n
    joined: dict[int, None] = {}  # in the order of their first points
    for i, j in combinations(range(n), 2):
        p = next(shares)
        if both_orders:
            p = _agreed(p, 1 - next(shares), soft)
        for position, gained in ((i, p), (j, 1 - p)):
            if gained > 0:
                points[position] += gained
                joined[position] = None
    if compat == "upstream":
        best = sorted(joined, key=lambda i: -points[i])
        return Ranking(top_first(best[:k], n).order, tuple(points))
    return by_score(points, k=k)


def _orders(n: int, both_orders: bool) -> Iterator[tuple[int, int]]:
    for i, j in combinations(range(n), 2):
        yield i, j
        if both_orders:
            yield j, i


def _agreed(first: float, second: float, soft: bool) -> float:
    """The share of a pair's point that goes to i, of what i got when shown first and when shown second."""
    if soft:
        return (first + second) / 2
    return first if first == second else 0.5


def _hard(reading: Reading) -> float:
    """1 when the first shown is preferred, 0 when the second is, a half when neither."""
    index = preferred(reading)
    return 0.5 if index is None else 1.0 - index


def _soft(reading: Reading) -> float:
    """The probability of the first shown: softmax over two scores."""
    if reading.scores is None:
        return _hard(reading)
    a, b = reading.scores
    if reading.report.unreadable or a is None or b is None or math.isnan(a - b):
        return 0.5
    return 1 / (1 + math.exp(b - a)) if b - a < 700 else 0.0
