"""Ranking metrics as pure functions of docids, best first, and judgments; trec_eval's definitions.

Unjudged documents count as grade 0 but keep their rank; negative grades count as 0. "Relevant" means a grade of at least
`grade`. Where nothing is relevant the value is 0.0, as in trec_eval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from rankrl.types import Judgments


def ndcg(docids: Sequence[str], judgments: Judgments, *, k: int | None = 10) -> float:
    """nDCG@k in [0, 1] with linear gain and log2(rank + 1) discount, as trec_eval's ndcg_cut (Järvelin & Kekäläinen 2002).

    The ideal is over all judged documents of the query, not over those in the list. k=None takes the whole list.
    """
    gained = _dcg([max(judgments.get(d, 0), 0) for d in docids[:k]])
    ideal = _dcg(sorted((g for g in judgments.values() if g > 0), reverse=True)[:k])
    return gained / ideal if ideal else 0.0


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1) if gain)


def reciprocal_rank(docids: Sequence[str], judgments: Judgments, *, k: int | None = None, grade: int = 1) -> float:
    """1/rank of the first relevant document within the first k, in [0, 1]."""
    for rank, docid in enumerate(docids[:k], start=1):
        if judgments.get(docid, 0) >= grade:
            return 1.0 / rank
    return 0.0


def recall(docids: Sequence[str], judgments: Judgments, *, k: int | None = None, grade: int = 1) -> float:
    """The part of all relevant documents of the query that stand within the first k, in [0, 1]."""
    relevant = _relevant(judgments, grade)
    return len(relevant.intersection(docids[:k])) / len(relevant) if relevant else 0.0


def precision(docids: Sequence[str], judgments: Judgments, *, k: int, grade: int = 1) -> float:
    """The part of the first k places that relevant documents hold, in [0, 1]; a list shorter than k is still divided by k."""
    return len(_relevant(judgments, grade).intersection(docids[:k])) / k


def average_precision(docids: Sequence[str], judgments: Judgments, *, k: int | None = None, grade: int = 1) -> float:
    """Mean, over all relevant documents of the query, of the precision at each one's rank (0 if not retrieved), in [0, 1]."""
    relevant = _relevant(judgments, grade)
    found, total = 0, 0.0
    for rank, docid in enumerate(docids[:k], start=1):
        if docid in relevant:
            found += 1
            total += found / rank
    return total / len(relevant) if relevant else 0.0


def success(docids: Sequence[str], judgments: Judgments, *, k: int = 1, grade: int = 1) -> float:
    """1.0 when a relevant document stands within the first k, else 0.0."""
    return float(any(judgments.get(d, 0) >= grade for d in docids[:k]))


def _relevant(judgments: Judgments, grade: int) -> set[str]:
    return {docid for docid, given in judgments.items() if given >= grade}


def rank_biased_overlap(a: Sequence[str], b: Sequence[str], *, p: float = 0.9) -> float:
    """Rank-biased overlap in [0, 1] of two finite rankings without repeats, extrapolated (Webber et al. 2010, eq. 32, RBO_EXT).

    p in (0, 1): the chance that a reader goes on to the next rank. Both empty: 1.0; one empty: 0.0.
    """
    if not 0.0 < p < 1.0:
        raise ValueError(f"p must lie in (0, 1), got {p}")
    if not a or not b:
        return float(not a and not b)
    short, long_ = sorted((a, b), key=len)
    s, depth = len(short), len(long_)
    seen_short: set[str] = set()
    seen_long: set[str] = set()
    overlap_at: list[int] = [0]
    for i in range(depth):
        seen_long.add(long_[i])
        if i < s:
            seen_short.add(short[i])
        overlap_at.append(len(seen_short & seen_long))
    x_s, x_d = overlap_at[s], overlap_at[depth]
    total = sum(overlap_at[d] / d * p**d for d in range(1, depth + 1))
    total += sum(x_s * (d - s) / (s * d) * p**d for d in range(s + 1, depth + 1))
    return (1 - p) / p * total + ((x_d - x_s) / depth + x_s / s) * p**depth


def kendall_tau(a: Sequence[str], b: Sequence[str]) -> float:
    """Kendall's tau-a in [-1, 1] of two orders of the same docids; 1.0 for fewer than two.

    Raises:
        ValueError: the two do not hold the same docids.
    """
    position = {docid: i for i, docid in enumerate(b)}
    if len(a) != len(b) or set(a) != position.keys():
        raise ValueError("kendall_tau needs two orders of the same docids")
    places = [position[d] for d in a]
    n = len(places)
    if n < 2:
        return 1.0
    agreeing = sum((x < y) - (x > y) for i, x in enumerate(places) for y in places[i + 1 :])
    return agreeing / (n * (n - 1) / 2)
