"""Tests and intervals against SciPy, brute force and worked examples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rankrl.statistics import bootstrap_interval, holm, paired_t, randomisation_test, wilcoxon

A = [0.40, 0.55, 0.31, 0.72, 0.60, 0.48, 0.66, 0.52]
B = [0.45, 0.61, 0.30, 0.80, 0.63, 0.47, 0.75, 0.60]
WORKED = [b - a for a, b in zip(A, B, strict=True)]
TENTHS = st.lists(st.integers(-9, 9).map(lambda i: i / 10), min_size=1, max_size=9)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_worked_example():
    t, p = paired_t(WORKED)
    assert (t, p) == (pytest.approx(3.301842, abs=1e-6), pytest.approx(0.013088, abs=1e-6))
    assert wilcoxon(WORKED) == pytest.approx(0.039063, abs=1e-6)
    assert randomisation_test(WORKED, rng=rng()) == 8 / 256
    assert bootstrap_interval(WORKED, rng=rng()) == pytest.approx((0.020, 0.071), abs=0.001)


def test_holm_of_the_worked_example_keeps_the_order_given():
    assert holm([0.004, 0.030, 0.012, 0.20]) == pytest.approx([0.016, 0.060, 0.036, 0.20])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize("n", [2, 8, 50, 300])
def test_paired_t_is_scipys(n):
    a, b = rng(n).random(n), rng(n + 1).random(n)
    expected = stats.ttest_rel(b, a)
    assert paired_t(b - a) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9)


@given(differences=TENTHS)
def test_the_exact_randomisation_test_counts_every_sign_pattern(differences):
    tenths = [round(10 * d) for d in differences]  # whole numbers: no rounding in the reference
    sums = [
        abs(sum(s * d for s, d in zip(signs, tenths, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(tenths))
    ]
    expected = sum(value >= abs(sum(tenths)) for value in sums) / len(sums)
    assert randomisation_test(differences, rng=rng()) == expected


@given(differences=TENTHS.filter(any))
def test_exact_wilcoxon_counts_every_sign_pattern_of_the_ranks(differences):
    kept = [d for d in differences if d]
    ranks = stats.rankdata([round(10 * abs(d)) for d in kept])
    observed = abs(sum(np.sign(d) * r for d, r in zip(kept, ranks, strict=True)))
    sums = [abs(np.dot(signs, ranks)) for signs in itertools.product((1, -1), repeat=len(ranks))]
    assert wilcoxon(differences) == sum(value >= observed for value in sums) / len(sums)


def test_exact_tests_of_20_differences_are_scipys():
    d = rng(5).normal(0.2, 0.5, 20)
    assert wilcoxon(d) == pytest.approx(stats.wilcoxon(d, method="exact").pvalue, rel=1e-9)
    drawn = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=20_000, rng=rng())
    assert randomisation_test(d, rng=rng()) == pytest.approx(drawn.pvalue, abs=0.015)


@pytest.mark.parametrize("shift", [0.0, 0.03, 0.06])
def test_the_drawn_randomisation_test_is_near_the_t_test_on_many_topics(shift):
    d = rng(11).normal(shift, 0.3, 400)
    assert randomisation_test(d, rng=rng()) == pytest.approx(paired_t(d)[1], abs=0.006)
    assert wilcoxon(d) == pytest.approx(stats.wilcoxon(d).pvalue, rel=1e-6)


def test_the_drawn_p_is_never_zero_and_the_exact_one_is_at_least_2_in_2_to_the_n():
    assert randomisation_test([0.5] * 60, rng=rng(), draws=999) == 1 / 1000
    assert randomisation_test([0.5] * 10, rng=rng()) == 2 / 2**10


def test_zero_differences_do_not_change_a_randomisation_test():
    assert randomisation_test([*WORKED, *[0.0] * 500], rng=rng()) == 8 / 256


@pytest.mark.parametrize("differences", [[0.0], [0.0] * 30])
def test_all_zero_differences_are_no_difference(differences):
    assert paired_t(differences) == (0.0, 1.0)
    assert wilcoxon(differences) == randomisation_test(differences, rng=rng()) == 1.0
    assert bootstrap_interval(differences, rng=rng()) == (0.0, 0.0)


def test_equal_differences_have_no_spread_and_p_0():
    assert paired_t([0.1] * 5) == (np.inf, 0.0)
    assert paired_t([-0.1] * 5) == (-np.inf, 0.0)


def test_the_bootstrap_interval_is_near_scipys():
    values = rng(3).random(80)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=rng(1)
    ).confidence_interval
    assert bootstrap_interval(values, rng=rng()) == pytest.approx(tuple(expected), abs=0.003)


def test_the_bootstrap_interval_covers_the_mean_as_often_as_it_says():
    covered = 0
    for trial in range(300):
        low, high = bootstrap_interval(rng(trial).normal(1.0, 1.0, 60), rng=rng(trial), resamples=500)
        covered += low <= 1.0 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others():
    d = rng(2).normal(0.0, 1.0, 100)
    assert randomisation_test(d, rng=rng(7)) == randomisation_test(d, rng=rng(7)) != randomisation_test(d, rng=rng(8))
    assert bootstrap_interval(d, rng=rng(7)) == bootstrap_interval(d, rng=rng(7)) != bootstrap_interval(d, rng=rng(8))


def test_what_cannot_be_tested_is_refused():
    for function in (paired_t, wilcoxon):
        with pytest.raises(ValueError, match="none"):
            function([])
        with pytest.raises(ValueError, match="finite"):
            function([0.1, float("nan")])
    with pytest.raises(ValueError, match="draws"):
        randomisation_test(WORKED, rng=rng(), draws=0)
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval(WORKED, rng=rng(), level=1.0)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([0.5, 1.5])
