"""One run out of several: reciprocal rank fusion, sums of min-max or z-scores, weighted sums of raw scores, CombMNZ.

What holds for every method:
- A run's list for a topic is read as trec_eval reads it, by score and then docid, both descending; a rank column that says
  something else has no say.
- Sums are exact before they are rounded once (`math.fsum`), so the order in which runs are given changes no bit.
- Equal fused scores are ordered by docid, descending, also where `k` cuts.
- A topic is fused from the runs that have it. A run with weight 0 is left out altogether.

Deviations from pyserini.fusion:
1. Reciprocal ranks are of the list as it is, 1, 2, 3 …; pyserini takes the rank column of the file, gaps included.
2. z-scores and CombMNZ are here and not there.
Deviations from ranx: all topics of all runs are fused, not those of the first; a list whose scores are all equal gets 1 by
min-max (as in pyserini), not 0, which would make being found no better than being absent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from rankrl.errors import ConfigError, DataError, unknown_name
from rankrl.runs import ranked
from rankrl.types import Run

Scores = Mapping[str, float]
"""docid -> score, for one topic of one run."""

RRF_CONSTANT = 60.0
"""Cormack, Clarke and Büttcher 2009."""


def reciprocal_ranks(scores: Scores, *, constant: float = RRF_CONSTANT) -> dict[str, float]:
    """docid -> 1 / (constant + rank), rank from 1; in (0, 1), best first."""
    return {docid: 1.0 / (constant + rank) for rank, docid in enumerate(ranked(scores), start=1)}


def min_max(scores: Scores) -> dict[str, float]:
    """docid -> (score - lowest) / (highest - lowest), in [0, 1]; 1 for all when all scores are equal; {} for {}."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if low == high:
        return dict.fromkeys(scores, 1.0)
    if math.isinf(high - low):  # scores near the ends of what a float holds
        return min_max({docid: score / 2 for docid, score in scores.items()})
    return {docid: (score - low) / (high - low) for docid, score in scores.items()}


def z_scores(scores: Scores) -> dict[str, float]:
    """docid -> (score - mean) / standard deviation (over n, not n - 1); 0 for all when all scores are equal; {} for {}."""
    units = min_max(scores)  # z-scores do not change, and nothing can overflow
    mean = math.fsum(units.values()) / max(1, len(units))
    deviation = math.sqrt(math.fsum((unit - mean) ** 2 for unit in units.values()) / max(1, len(units)))
    if len(set(scores.values())) < 2 or deviation == 0.0:
        return dict.fromkeys(scores, 0.0)
    return {docid: (unit - mean) / deviation for docid, unit in units.items()}


def reciprocal_rank_fusion(
    runs: Sequence[Run],
    *,
    weights: Sequence[float] | None = None,
    constant: float = RRF_CONSTANT,
    depth: int | None = None,
    k: int | None = None,
) -> dict[str, dict[str, float]]:
    """The sum over runs of weight / (constant + rank); a document that a run does not list gets 0 from it.

    weights: one per run, None: 1 each. depth: how much of each list counts. k: how much of the fused list is kept.

    Raises:
        ConfigError, DataError: as `fuse`.
    """
    if not (math.isfinite(constant) and constant >= 0):
        raise ConfigError(f"the constant of reciprocal rank fusion is {constant}; it must be a number of at least 0")
    return _fused(runs, lambda scores: reciprocal_ranks(scores, constant=constant), weights, depth, k)


def min_max_fusion(
    runs: Sequence[Run], *, weights: Sequence[float] | None = None, depth: int | None = None, k: int | None = None
) -> dict[str, dict[str, float]]:
    """The weighted sum of min-max scores; a document that a run does not list gets 0 from it, as its last one does."""
    return _fused(runs, min_max, weights, depth, k)


def z_score_fusion(
    runs: Sequence[Run], *, weights: Sequence[float] | None = None, depth: int | None = None, k: int | None = None
) -> dict[str, dict[str, float]]:
    """The weighted sum of z-scores; a document that a run does not list for a topic gets the run's lowest z-score there.

    With 0 instead, the mean, being absent would beat being listed in the lower half.
    """
    return _fused(runs, z_scores, weights, depth, k, absent_is_lowest=True)


def weighted_fusion(
    runs: Sequence[Run], *, weights: Sequence[float] | None = None, depth: int | None = None, k: int | None = None
) -> dict[str, dict[str, float]]:
    """The weighted sum of the scores as they are (CombSUM with weights 1); a document that a run does not list gets 0.

    Interpolation is weights a and 1 - a, the mean is weights 1/n. The runs' scores have to share a scale.
    """
    return _fused(runs, dict, weights, depth, k)


def comb_mnz(
    runs: Sequence[Run], *, weights: Sequence[float] | None = None, depth: int | None = None, k: int | None = None
) -> dict[str, dict[str, float]]:
    """The weighted sum of min-max scores times the number of runs that list the document (Fox & Shaw 1994, Lee 1997)."""
    return _fused(runs, min_max, weights, depth, k, times_votes=True)


METHODS: dict[str, Callable[..., dict[str, dict[str, float]]]] = {
    "rrf": reciprocal_rank_fusion,
    "minmax": min_max_fusion,
    "zscore": z_score_fusion,
    "weighted": weighted_fusion,
    "combmnz": comb_mnz,
}
"""Method name -> function of runs with `weights`, `depth` and `k`."""


def fuse(
    runs: Sequence[Run],
    method: str = "rrf",
    *,
    weights: Sequence[float] | None = None,
    depth: int | None = None,
    k: int | None = None,
) -> dict[str, dict[str, float]]:
    """qid -> docid -> fused score, best first, of all topics of all runs; see the function of the method in `METHODS`.

    Raises:
        ConfigError: an unknown method, no run, weights that are not one non-negative number per run or all 0, depth or
            k < 1.
        DataError: a score that is not finite, or a sum of raw scores that no float holds.
    """
    if method not in METHODS:
        raise unknown_name("fusion method", method, METHODS)
    return METHODS[method](runs, weights=weights, depth=depth, k=k)


def _fused(
    runs: Sequence[Run],
    normalised: Callable[[Scores], dict[str, float]],
    weights: Sequence[float] | None,
    depth: int | None,
    k: int | None,
    *,
    absent_is_lowest: bool = False,
    times_votes: bool = False,
) -> dict[str, dict[str, float]]:
    pairs = _weighted(runs, weights)
    for name, limit in (("depth", depth), ("k", k)):
        if limit is not None and limit < 1:
            raise ConfigError(f"{name} is {limit}; it must be at least 1")
    fused = {}
    for qid in dict.fromkeys(qid for run, _ in pairs for qid in run):
        lists = [(normalised(_cut(qid, run[qid], depth)), weight) for run, weight in pairs if run.get(qid)]
        lowest = [min(scores.values()) if absent_is_lowest else 0.0 for scores, _ in lists]
        sums = {}
        for docid in dict.fromkeys(docid for scores, _ in lists for docid in scores):
            parts = [w * scores.get(docid, low) for (scores, w), low in zip(lists, lowest, strict=True)]
            votes = sum(docid in scores for scores, _ in lists) if times_votes else 1
            sums[docid] = _sum(parts, qid, docid) * votes
        fused[qid] = {docid: sums[docid] for docid in ranked(sums)[:k]}
    return fused


def _weighted(runs: Sequence[Run], weights: Sequence[float] | None) -> list[tuple[Run, float]]:
    """The runs that count, each with its weight."""
    if not runs:
        raise ConfigError("no runs to fuse; give two or more")
    given = [1.0] * len(runs) if weights is None else [float(weight) for weight in weights]
    if len(given) != len(runs):
        raise ConfigError(f"{len(given)} weights for {len(runs)} runs; give one for each run, in the same order")
    if not all(math.isfinite(weight) and weight >= 0 for weight in given) or not any(given):
        raise ConfigError(f"the weights are {given}; they must be numbers of at least 0, and not all 0")
    return [(run, weight) for run, weight in zip(runs, given, strict=True) if weight]


def _cut(qid: str, scores: Scores, depth: int | None) -> Scores:
    if not all(map(math.isfinite, scores.values())):
        docid = next(docid for docid, score in scores.items() if not math.isfinite(score))
        raise DataError(f"topic {qid!r}: the score of document {docid!r} is {scores[docid]}; scores must be finite")
    return scores if depth is None else {docid: scores[docid] for docid in ranked(scores)[:depth]}


def _sum(parts: Sequence[float], qid: str, docid: str) -> float:
    try:
        found = math.fsum(parts)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise DataError(
            f"topic {qid!r}: the fused score of document {docid!r} is beyond what a float holds; scale the runs"
        )
    return found
