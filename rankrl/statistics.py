"""Significance tests and intervals for per-topic values. Randomness comes in as `rng`; the same generator, the same number.

The t and Wilcoxon distributions are SciPy's (it comes with pytrec_eval); the resampling is ours, because it must be bounded
in memory and exact where it can be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_CELLS = 400_000  # numbers drawn at a time: 3 MB, which a processor keeps at hand
_NOISE = 1e-12  # two sums that are equal on paper differ by less than this part of their size
_EXACT_UP_TO = 20


def paired_t(differences: Sequence[float]) -> tuple[float, float]:
    """(t, two-sided p) of the paired t-test that the mean difference is zero, with n - 1 degrees of freedom.

    Differences that are all zero, or a single one, give (0.0, 1.0) where the textbook has 0/0.

    Raises:
        ValueError: no differences, or one that is not finite.
    """
    from scipy import stats

    d = _checked(differences)
    if len(d) < 2 or not d.any():
        return 0.0, 1.0
    if np.ptp(d) <= _NOISE * abs(d).max():  # no spread at all: scipy would warn about the digits it has left
        return math.copysign(math.inf, d[0]), 0.0
    t, p = stats.ttest_1samp(d, 0.0)
    return float(t), float(p)


def wilcoxon(differences: Sequence[float]) -> float:
    """Two-sided p of the Wilcoxon signed-rank test; zero differences are dropped, all zero gives 1.0.

    Exact for up to 20 differences that are not zero, with ties or without; the normal approximation beyond.

    Raises:
        ValueError: no differences, or one that is not finite.
    """
    from scipy import stats

    d = _checked(differences)
    d = np.round(d, 12)  # so that differences equal on paper share a rank
    d = d[d != 0]
    if not len(d):
        return 1.0
    ranks = stats.rankdata(np.abs(d))
    if len(d) <= _EXACT_UP_TO:
        return _sign_flip_p_exact(np.copysign(ranks, d))
    return float(stats.wilcoxon(d, method="asymptotic").pvalue)


def randomisation_test(differences: Sequence[float], *, rng: np.random.Generator, draws: int = 100_000) -> float:
    """Two-sided p of Fisher's randomisation test: how often random signs give a mean difference at least as large.

    Exact for up to 20 differences that are not zero (the zeros change nothing, whatever their sign); otherwise `draws`
    random sign patterns, p = (count + 1) / (draws + 1), which is never 0. All zero gives 1.0.

    Raises:
        ValueError: no differences, one that is not finite, or draws < 1.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    d = _checked(differences)
    d = d[d != 0]
    if not len(d):
        return 1.0
    return _sign_flip_p_exact(d) if len(d) <= _EXACT_UP_TO else _sign_flip_p_drawn(d, rng, draws)


def _sign_flip_p_exact(d: np.ndarray) -> float:
    sums = np.array([d[0]])  # the first sign stays: each pattern's mirror image has the same size
    for value in d[1:]:
        sums = np.concatenate((sums + value, sums - value))
    return float(np.mean(np.abs(sums) >= _as_large_as(d)))


def _sign_flip_p_drawn(d: np.ndarray, rng: np.random.Generator, draws: int) -> float:
    count, left = 0, draws
    while left:
        rows = min(left, max(1, _CELLS // len(d)))
        octets = rng.integers(0, 256, size=(rows, (len(d) + 7) // 8), dtype=np.uint8)
        flips = np.unpackbits(octets, axis=1, count=len(d)).astype(np.float64)
        count += int(np.sum(np.abs(d.sum() - 2.0 * (flips @ d)) >= _as_large_as(d)))
        left -= rows
    return (count + 1) / (draws + 1)


def _as_large_as(d: np.ndarray) -> float:
    """The size from which a sum counts as at least as large as the observed one, in spite of rounding."""
    return float(abs(d.sum()) - _NOISE * np.abs(d).sum())


def bootstrap_intervals(
    values_MT: Sequence[Sequence[float]] | np.ndarray,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = 10_000,
) -> list[tuple[float, float]]:
    """(low, high) of the percentile bootstrap interval of the mean, for each row: a measure's values, or paired differences.

    Topics are drawn with replacement, once for all rows, in bounded memory. Each row is drawn from in sorted order, so its
    interval depends neither on the order of the topics nor on the other rows. No row gives []; a single topic gives
    (value, value). The percentile interval (Efron 1979), not BCa: it needs no acceleration estimate, which is poor for
    the short lists of 0s and 1s that some measures give; it is a little too narrow below some 20 topics.

    Raises:
        ValueError: no topics, rows of unequal length, a value that is not finite, level outside (0, 1), or resamples < 1.
    """
    if not 0.0 < level < 1.0 or resamples < 1:
        raise ValueError(f"level must lie in (0, 1) and resamples be at least 1, got {level} and {resamples}")
    rows = [np.sort(_checked(values)) for values in values_MT]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(
            f"every row must hold the same topics, got rows of {sorted({len(row) for row in rows})} values"
        )
    if not rows:
        return []
    topics = len(rows[0])
    means_MR = np.empty((len(rows), resamples))
    at_a_time = max(1, _CELLS // topics)
    for start in range(0, resamples, at_a_time):
        stop = min(start + at_a_time, resamples)
        drawn = rng.integers(0, topics, size=(stop - start, topics))
        for row, means_R in zip(rows, means_MR, strict=True):
            means_R[start:stop] = row.take(drawn).mean(axis=1)
    lows, highs = np.quantile(means_MR, [(1.0 - level) / 2.0, (1.0 + level) / 2.0], axis=1)
    return [(float(low), float(high)) for low, high in zip(lows, highs, strict=True)]


def bootstrap_interval(
    values: Sequence[float], *, rng: np.random.Generator, level: float = 0.95, resamples: int = 10_000
) -> tuple[float, float]:
    """(low, high) of one row: see `bootstrap_intervals`, which gives the same numbers for the same generator.

    Raises:
        ValueError: as there.
    """
    return bootstrap_intervals([values], rng=rng, level=level, resamples=resamples)[0]


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values adjusted for their number by Holm's step-down method (Holm 1979), in the order given, at most 1.

    Raises:
        ValueError: a p outside [0, 1].
    """
    if wrong := [p for p in ps if not 0.0 <= p <= 1.0]:
        raise ValueError(f"p-values must lie in [0, 1], got {wrong[:5]}")
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = largest
    return adjusted


def _checked(values: Sequence[float]) -> np.ndarray:
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 1 or not len(v):
        raise ValueError(f"expected one value per topic, got {'none' if not v.size else f'shape {v.shape}'}")
    if not np.isfinite(v).all():
        raise ValueError(f"values must be finite, got {v[~np.isfinite(v)][:5].tolist()}")
    return v
