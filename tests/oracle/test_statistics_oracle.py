"""Tests, intervals and adjustments against SciPy, ranx, numerical integration and definitions taken literally."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from rankrl.statistics import (
    bootstrap_interval,
    holm,
    paired_t,
    paired_t_power,
    randomisation_test,
    wilcoxon,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def values_of_two_systems(seed: int, topics: int) -> tuple[np.ndarray, np.ndarray]:
    """Values in [0, 1] as reciprocal ranks are: many ties between the systems, some topics at 0."""
    source = rng(seed)
    ranks = source.integers(1, 8, (2, topics))
    values = np.where(source.random((2, topics)) < 0.1, 0.0, 1.0 / ranks)
    values[1] = np.where(source.random(topics) < 0.3, values[0], values[1])
    return values[0], values[1]


@pytest.mark.parametrize("topics", [5, 30, 300])
@pytest.mark.parametrize("seed", range(4))
def test_paired_t_is_scipys_ttest_rel(seed, topics):
    a, b = values_of_two_systems(seed, topics)
    expected = stats.ttest_rel(b, a)
    assert paired_t(b - a) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_wilcoxon_is_scipys_exact_and_approximate(seed):
    few = rng(seed).normal(0.1, 0.4, 14)
    assert wilcoxon(few) == pytest.approx(stats.wilcoxon(few, method="exact").pvalue, rel=1e-9)
    a, b = values_of_two_systems(seed, 300)  # ties and zeros
    d = np.round(b - a, 12)
    expected = stats.wilcoxon(d, zero_method="wilcox", correction=False, method="asymptotic")
    assert wilcoxon(b - a) == pytest.approx(expected.pvalue, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_the_randomisation_test_is_scipys_permutation_test_over_every_sign(seed):
    a, b = rng(seed).random((2, 10))
    expected = stats.permutation_test(
        (b, a), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert randomisation_test(b - a, rng=rng()) == pytest.approx(expected.pvalue, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.1])
def test_drawn_signs_agree_with_scipys_within_the_error_of_drawing(shift):
    d = rng(7).normal(shift, 0.25, 40)
    drawn = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=50_000, rng=rng(1)).pvalue
    error = math.sqrt(drawn * (1 - drawn) * (1 / 50_000 + 1 / 100_000))
    assert randomisation_test(d, rng=rng()) == pytest.approx(drawn, abs=4 * error + 1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_percentile_interval_is_scipys_within_the_error_of_drawing(seed):
    a, b = values_of_two_systems(seed, 60)
    found = stats.bootstrap((b - a,), np.mean, method="percentile", n_resamples=20_000, rng=rng(1))
    spread = found.standard_error
    expected = tuple(found.confidence_interval)
    assert bootstrap_interval(b - a, rng=rng(), resamples=20_000) == pytest.approx(expected, abs=0.06 * spread)


@pytest.mark.slow
def test_ranx_finds_the_same_p_values():
    pytest.importorskip("ranx", reason="ranx is not installed (extra `bench`)")
    from ranx.statistical_tests.fisher_randomization_test import fisher_randomization_test
    from ranx.statistical_tests.paired_student_t_test import paired_student_t_test

    a, b = values_of_two_systems(3, 100)
    theirs, _ = fisher_randomization_test(a, b, n_permutations=20_000)
    assert randomisation_test(b - a, rng=rng()) == pytest.approx(theirs, abs=4 * math.sqrt(theirs * (1 - theirs) / 2e4))
    assert paired_t(b - a)[1] == pytest.approx(paired_student_t_test(a, b)[0], rel=1e-9)


@given(ps=st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.012, 0.02, 0.04, 0.2, 0.6, 1.0]), min_size=1, max_size=7))
def test_holm_is_the_closed_test_of_bonferronis(ps):
    """A hypothesis is rejected when every set of hypotheses that holds it is, and a set by its smallest p times its size."""
    for i, adjusted in enumerate(holm(ps)):
        sets = [s for r in range(1, len(ps) + 1) for s in itertools.combinations(range(len(ps)), r) if i in s]
        assert adjusted == pytest.approx(max(min(1.0, len(s) * min(ps[j] for j in s)) for s in sets), rel=1e-12)


@pytest.mark.parametrize(("effect", "topics"), [(0.1, 5), (0.5, 34), (0.05, 300), (1.5, 6), (0.02, 6980)])
def test_power_is_the_integral_over_the_estimated_spread(effect, topics):
    """P(Z + shift > critical * S), with S the square root of a chi-square over its degrees of freedom."""
    freedom, shift = topics - 1, effect * math.sqrt(topics)
    for level in (0.05, 0.005):
        critical = stats.t.isf(level / 2, freedom)
        scale = stats.chi(freedom, scale=1 / math.sqrt(freedom))
        expected, _ = integrate.quad(
            lambda s, critical=critical, scale=scale: stats.norm.sf(critical * s - shift) * scale.pdf(s),
            scale.ppf(1e-12),
            scale.isf(1e-12),
            epsabs=1e-9,
        )
        assert paired_t_power(effect, topics, level=level) == pytest.approx(expected, abs=1e-6)
