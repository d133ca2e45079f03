"""Significance tests, intervals and power for per-topic values; randomness comes in as `rng`: same generator, same number.

No function depends on the order of the topics, and differences of the other sign give the same p and the mirrored interval:
to the last digit. The t, noncentral t and Wilcoxon distributions are SciPy's (it comes with pytrec_eval); the resampling is
ours, because it must be bounded in memory and exact where it can be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_CELLS = 400_000  # numbers drawn at a time: 3 MB, which a processor keeps at hand
_NOISE = 1e-12  # two sums that are equal on paper differ by less than this part of their size
_EXACT_UP_TO = 20
_NORMAL_FROM = 10_000_000  # topics from which t and normal distribution differ by less than a topic


def paired_t(differences: Sequence[float]) -> tuple[float, float]:
    """(t, two-sided p) of the paired t-test that the mean difference is zero, with n - 1 degrees of freedom.

    Differences that are all zero, or a single one, give (0.0, 1.0) where the textbook has 0/0.

    Raises:
        ValueError: no differences, or one that is not finite.
    """
    from scipy import special

    d = _checked(differences)
    if len(d) < 2 or not d.any():
        return 0.0, 1.0
    effect = standardised_difference(d)
    if effect is None:
        return math.copysign(math.inf, d[0]), 0.0
    t = effect * math.sqrt(len(d))
    return t, float(2.0 * special.stdtr(len(d) - 1, -abs(t)))


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


def randomisation_tests(
    differences_PT: Sequence[Sequence[float]] | np.ndarray, *, rng: np.random.Generator, draws: int = 100_000
) -> list[float]:
    """Two-sided p of Fisher's randomisation test for each row: how often random signs give a mean at least as far from 0.

    Exact for up to 20 differences that are not zero (the zeros change nothing, whatever their sign); otherwise `draws`
    random sign patterns, the same ones for every such row, and p = (count + 1) / (draws + 1), which is never 0. All zero
    gives 1.0; no row gives []. A row's p does not depend on the other rows.

    Raises:
        ValueError: no differences, rows of unequal length, one that is not finite, or draws < 1.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    rows = _checked_rows(differences_PT)
    nonzero = [row[row != 0] for row in rows]
    ps = [_sign_flip_p_exact(d) if 0 < len(d) <= _EXACT_UP_TO else 1.0 for d in nonzero]
    many = [i for i, d in enumerate(nonzero) if len(d) > _EXACT_UP_TO]
    if many:
        for i, p in zip(many, _sign_flip_ps_drawn([rows[i] for i in many], rng, draws), strict=True):
            ps[i] = p
    return ps


def randomisation_test(differences: Sequence[float], *, rng: np.random.Generator, draws: int = 100_000) -> float:
    """The p of one row: see `randomisation_tests`, which gives the same number for the same generator.

    Raises:
        ValueError: as there.
    """
    return randomisation_tests([differences], rng=rng, draws=draws)[0]


def _sign_flip_p_exact(d: np.ndarray) -> float:
    sizes = np.sort(np.abs(d))  # each pattern of signs is as likely as any other, whatever the signs that were observed
    sums = sizes[:1]  # the first sign stays: each pattern's mirror image has the same size
    for size in sizes[1:]:
        sums = np.concatenate((sums + size, sums - size))
    return float(np.mean(np.abs(sums) >= _as_large_as(d)))


def _sign_flip_ps_drawn(rows: Sequence[np.ndarray], rng: np.random.Generator, draws: int) -> list[float]:
    sizes_TP = np.sort(np.abs(np.column_stack(rows)), axis=0)
    totals_P = sizes_TP.sum(axis=0)
    observed_P = np.array([_as_large_as(row) for row in rows])
    topics = len(sizes_TP)
    counts_P = np.zeros(len(rows), dtype=np.int64)
    at_a_time = max(1, _CELLS // topics)
    for start in range(0, draws, at_a_time):
        octets = rng.integers(0, 256, size=(min(at_a_time, draws - start), (topics + 7) // 8), dtype=np.uint8)
        flips = np.unpackbits(octets, axis=1, count=topics).astype(np.float64)
        counts_P += np.sum(np.abs(totals_P - 2.0 * (flips @ sizes_TP)) >= observed_P, axis=0)
    return [(int(count) + 1) / (draws + 1) for count in counts_P]


def _as_large_as(d: np.ndarray) -> float:
    """The size from which a sum counts as at least as large as the observed one, in spite of rounding."""
    return abs(math.fsum(d)) - _NOISE * math.fsum(np.abs(d))


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
    (value, value).

    It is the percentile interval (Efron 1979), not BCa, whose acceleration is poorly estimated from the short lists of 0s
    and 1s that some measures give. A 95 % interval covered the mean in 91 % of simulated samples of 10 topics, 92-93 % of 20,
    93-94 % of 43 and 93-95 % of 100 (2,000 samples each of normal and of two-humped values).

    Raises:
        ValueError: no topics, rows of unequal length, a value that is not finite, level outside (0, 1), or resamples < 1.
    """
    if not 0.0 < level < 1.0 or resamples < 1:
        raise ValueError(f"level must lie in (0, 1) and resamples be at least 1, got {level} and {resamples}")
    rows = _checked_rows(values_MT)
    if not rows:
        return []
    signs = [_sign(row) for row in rows]
    upright = [np.sort(row if sign >= 0 else -row) for row, sign in zip(rows, signs, strict=True)]
    topics = len(rows[0])
    means_MR = np.empty((len(rows), resamples))
    at_a_time = max(1, _CELLS // topics)
    for start in range(0, resamples, at_a_time):
        stop = min(start + at_a_time, resamples)
        drawn = rng.integers(0, topics, size=(stop - start, topics))
        for row, means_R in zip(upright, means_MR, strict=True):
            means_R[start:stop] = row.take(drawn).mean(axis=1)
    lows, highs = np.quantile(means_MR, [(1.0 - level) / 2.0, (1.0 + level) / 2.0], axis=1)
    return [_turned(float(low), float(high), sign) for low, high, sign in zip(lows, highs, signs, strict=True)]


def _sign(row: np.ndarray) -> int:
    """1, -1 or 0: which of a row and its negative is resampled, so that both meet the same draws; 0 when they are alike."""
    unlike = (ascending := np.sort(row)) != (mirrored := -ascending[::-1])
    if not unlike.any():
        return 0
    first = int(np.argmax(unlike))
    return 1 if ascending[first] > mirrored[first] else -1


def _turned(low: float, high: float, sign: int) -> tuple[float, float]:
    if sign > 0:
        return low, high
    if sign < 0:
        return 0.0 - high, 0.0 - low  # 0.0 - 0.0 is 0.0, where -0.0 would be printed with its sign
    return 0.0 - (high - low) / 2.0, (high - low) / 2.0


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


def standard_deviation(values: Sequence[float] | np.ndarray) -> float:
    """The sample standard deviation (n - 1); 0.0 for a single value, and for values that differ by rounding only."""
    v = _checked(values)
    if len(v) < 2 or np.ptp(v) <= _NOISE * np.abs(v).max():
        return 0.0
    mean = math.fsum(v) / len(v)  # exactly rounded, so that the order of the topics cannot change it
    return math.sqrt(math.fsum((v - mean) ** 2) / (len(v) - 1))


def standardised_difference(differences: Sequence[float] | np.ndarray) -> float | None:
    """The effect size d_z: the mean of the paired differences over their standard deviation (Cohen 1988, §2.3.5).

    0.0 when all are zero; None when they have no spread otherwise, which includes a single one.

    Raises:
        ValueError: no differences, or one that is not finite.
    """
    d = _checked(differences)
    if not d.any():
        return 0.0
    d = d / np.abs(d).max()  # the squares of tiny differences would vanish
    spread = standard_deviation(d)
    return math.fsum(d) / len(d) / spread if spread else None


def paired_t_power(effect: float, topics: int, *, level: float = 0.05) -> float:
    """The chance in [0, 1] that the two-sided paired t-test finds a true effect size (d_z), with the right sign.

    Exact for differences that are normal; a significant difference of the wrong sign is not counted as found.

    Raises:
        ValueError: fewer than 2 topics, an effect that is not finite, or level outside (0, 1).
    """
    if topics < 2 or not math.isfinite(effect) or not 0.0 < level < 1.0:
        raise ValueError(
            f"power needs 2 topics, a finite effect and a level in (0, 1), got {topics}, {effect} and {level}"
        )
    return _upper_tail(abs(effect) * math.sqrt(topics), topics, level)


def detectable_difference(spread: float, topics: int, *, level: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest true mean difference that the two-sided paired t-test finds with this power, at this standard deviation.

    None where there is nothing to tell from: a single topic, or no spread. See `paired_t_power`.

    Raises:
        ValueError: level or power outside (0, 1), or power not above level / 2, the chance without any difference.
    """
    _check_power(level, power)
    if topics < 2 or not spread > 0.0:
        return None
    from scipy import optimize

    high = 1.0
    while _upper_tail(high, topics, level) < power:
        high *= 2.0
    shift = optimize.brentq(lambda shift: _upper_tail(shift, topics, level) - power, 0.0, high)
    return float(shift) * spread / math.sqrt(topics)


def topics_needed(effect: float, *, level: float = 0.05, power: float = 0.8) -> int | None:
    """The fewest topics with which the two-sided paired t-test finds a true effect size (d_z) with this power; None for 0.

    Raises:
        ValueError: as `detectable_difference`, or an effect that is not finite.
    """
    _check_power(level, power)
    if not math.isfinite(effect):
        raise ValueError(f"the effect must be finite, got {effect}")
    if not effect:
        return None
    from scipy import special

    # The normal distribution's answer is a lower bound, and the exact one a few topics above it.
    normal = float((special.ndtri(1.0 - level / 2.0) + special.ndtri(power)) / abs(effect)) ** 2
    topics = max(2, math.ceil(normal))
    while topics < _NORMAL_FROM and paired_t_power(effect, topics, level=level) < power:
        topics += 1
    return topics


def _upper_tail(shift: float, topics: int, level: float) -> float:
    """The chance that a t with this noncentrality exceeds the two-sided critical value."""
    from scipy import special, stats

    critical = -special.stdtrit(topics - 1, level / 2.0)
    if shift > 40.0 * max(1.0, critical):  # the rest is below the smallest number, and SciPy's series ends in nan
        return 1.0
    return float(stats.nct.sf(critical, topics - 1, shift))


def _check_power(level: float, power: float) -> None:
    if not 0.0 < level < 1.0 or not level / 2.0 < power < 1.0:
        raise ValueError(f"level must lie in (0, 1) and power in (level / 2, 1), got {level} and {power}")


def _checked_rows(values: Sequence[Sequence[float]] | np.ndarray) -> list[np.ndarray]:
    rows = [_checked(row) for row in values]
    if len(lengths := {len(row) for row in rows}) > 1:
        raise ValueError(f"every row must hold the same topics, got rows of {sorted(lengths)[:5]} values")
    return rows


def _checked(values: Sequence[float] | np.ndarray) -> np.ndarray:
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 1 or not len(v):
        raise ValueError(f"expected one value per topic, got {'none' if not v.size else f'shape {v.shape}'}")
    if not np.isfinite(v).all():
        raise ValueError(f"values must be finite, got {v[~np.isfinite(v)][:5].tolist()}")
    return v
