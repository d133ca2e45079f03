"""Tests and intervals against SciPy, brute force and worked examples."""

from __future__ import annotations

import itertools
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rankrl.statistics import (
    bootstrap_interval,
    bootstrap_intervals,
    detectable_difference,
    holm,
    paired_t,
    paired_t_power,
    randomisation_test,
    randomisation_tests,
    standard_deviation,
    standardised_difference,
    topics_needed,
    wilcoxon,
)

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


@given(differences=st.lists(st.floats(-1, 1), min_size=1, max_size=40), seed=st.integers(0, 3), data=st.data())
def test_neither_the_order_of_the_topics_nor_of_the_systems_changes_a_digit(differences, seed, data):
    shuffled = data.draw(st.permutations(differences))
    swapped = [-d for d in differences]
    assert paired_t(shuffled) == paired_t(differences)
    assert paired_t(swapped) == (-paired_t(differences)[0], paired_t(differences)[1])
    assert wilcoxon(shuffled) == wilcoxon(differences) == wilcoxon(swapped)
    assert standardised_difference(shuffled) == standardised_difference(differences)
    ps = [randomisation_test(d, rng=rng(seed), draws=200) for d in (differences, shuffled, swapped)]
    assert ps[0] == ps[1] == ps[2]
    low, high = bootstrap_interval(differences, rng=rng(seed), resamples=50)
    assert bootstrap_interval(shuffled, rng=rng(seed), resamples=50) == (low, high)
    assert bootstrap_interval(swapped, rng=rng(seed), resamples=50) == (-high, -low)


def test_an_interval_of_values_that_mirror_themselves_does_so_too_and_no_zero_has_a_sign():
    low, high = bootstrap_interval([-0.3, -0.1, 0.1, 0.3], rng=rng(), resamples=50)
    assert low == -high < 0
    low, high = bootstrap_interval([-0.5, *[0.0] * 40], rng=rng())
    assert low < 0 and str(high) == "0.0"


def test_bug_differences_too_small_to_be_squared_had_no_spread():
    assert paired_t([1e-200, -1e-200]) == (0.0, 1.0)
    assert standardised_difference([3e-200, 1e-200]) == pytest.approx(2**0.5)


def test_many_rows_give_each_row_its_own_numbers():
    rows = rng(9).normal(0.02, 0.3, (5, 70))
    rows[3] = np.where(np.arange(70) < 8, rows[3], 0.0)  # few enough for the exact test
    rows[4] = 0.0
    assert bootstrap_intervals(rows, rng=rng(1)) == [bootstrap_interval(row, rng=rng(1)) for row in rows]
    assert randomisation_tests(rows, rng=rng(1)) == [randomisation_test(row, rng=rng(1)) for row in rows]
    assert bootstrap_intervals([], rng=rng()) == randomisation_tests([], rng=rng()) == []


def test_the_bootstrap_interval_is_the_quantiles_of_the_resampled_means():
    values = rng(4).random(900)  # enough for several rounds of drawing
    drawn = np.sort(values)[rng(2).integers(0, 900, size=(3000, 900))]
    expected = np.quantile(drawn.mean(axis=1), [0.05, 0.95])
    assert bootstrap_interval(values, rng=rng(2), level=0.9, resamples=3000) == pytest.approx(
        tuple(expected), rel=1e-12
    )


def test_the_bootstrap_interval_of_few_values_is_near_that_of_every_resample():
    values = [0.0, 0.1, 0.35, 0.5, 0.8, 1.0]
    means = np.array(list(itertools.product(values, repeat=6))).mean(axis=1)
    assert len(means) == 6**6
    expected = tuple(np.quantile(means, [0.025, 0.975]))
    assert bootstrap_interval(values, rng=rng(), resamples=40_000) == pytest.approx(expected, abs=0.01)


def test_10000_resamples_of_6980_topics_take_less_than_two_seconds_and_little_memory():
    values = rng(1).random((3, 6980))
    started = time.process_time()
    bootstrap_intervals(values[:1], rng=rng())
    one = time.process_time() - started
    assert one < 2.0
    tracemalloc.start()
    bootstrap_intervals(values, rng=rng())
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 20e6  # the resamples alone would be 558 MB


@given(values=st.lists(st.floats(-1, 1).map(lambda x: round(x, 6)), min_size=2, max_size=30))
def test_standard_deviation_and_effect_are_numpys(values):
    expected = np.std(values, ddof=1)
    assert standard_deviation(values) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    if standard_deviation(values):
        effect = standardised_difference(values)
        assert effect == pytest.approx(np.mean(values) / expected, rel=1e-9, abs=1e-12)
        assert paired_t(values)[0] == pytest.approx(effect * len(values) ** 0.5, rel=1e-9, abs=1e-12)


def test_an_effect_without_spread_is_none_and_no_effect_is_zero():
    assert standardised_difference([0.0, 0.0]) == standardised_difference([0.0]) == 0.0
    assert standardised_difference([0.1] * 7) is standardised_difference([0.4]) is None
    assert standard_deviation([0.1 + 0.2, 0.3, 0.3]) == 0.0  # different by rounding only


@pytest.mark.parametrize(("effect", "topics"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_topics_needed_are_those_of_the_published_tables(effect, topics):
    """Small, medium and large d_z, two-sided 5 %, power .8: the numbers that G*Power gives for a paired t-test."""
    assert topics_needed(effect) == topics_needed(-effect) == topics
    assert paired_t_power(effect, topics) >= 0.8 > paired_t_power(effect, topics - 1)


@given(effect=st.floats(0.005, 5), level=st.sampled_from([0.05, 0.01, 0.05 / 45]), power=st.sampled_from([0.5, 0.8]))
def test_the_topics_needed_are_enough_and_one_less_is_not(effect, level, power):
    topics = topics_needed(effect, level=level, power=power)
    assert paired_t_power(effect, topics, level=level) >= power
    assert topics == 2 or paired_t_power(effect, topics - 1, level=level) < power


@given(topics=st.integers(2, 10_000), spread=st.floats(0.01, 1), level=st.sampled_from([0.05, 0.05 / 45]))
def test_the_detectable_difference_has_the_power_that_was_asked_for(topics, spread, level):
    difference = detectable_difference(spread, topics, level=level)
    assert paired_t_power(difference / spread, topics, level=level) == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize(("topics", "level"), [(8, 0.05), (43, 0.05), (43, 0.005)])
def test_the_detectable_difference_is_found_four_times_in_five_in_simulation(topics, level):
    difference = detectable_difference(0.3, topics, level=level)
    samples = rng(topics).normal(difference, 0.3, (20_000, topics))
    found = stats.ttest_1samp(samples, 0.0, axis=1)
    assert np.mean((found.pvalue < level) & (found.statistic > 0)) == pytest.approx(0.8, abs=0.01)


def test_power_without_a_difference_is_half_the_level_and_grows_with_topics():
    assert paired_t_power(0.0, 50) == pytest.approx(0.025)
    assert paired_t_power(0.1, 10) < paired_t_power(0.1, 100) < paired_t_power(0.1, 1000) < 1.0
    assert paired_t_power(1e12, 2) == paired_t_power(1e200, 50) == 1.0  # SciPy alone says nan
    assert detectable_difference(0.0, 50) is detectable_difference(0.3, 1) is topics_needed(0.0) is None
    assert topics_needed(1e-6) == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) ** 2 * 1e12, rel=1e-9)


def test_each_test_rejects_a_true_null_hypothesis_as_often_as_it_says():
    """600 sets of 30 skewed differences whose signs are random: each test's p is below 5 % about 5 % of the time."""
    source = rng(21)
    below = np.zeros(3)
    for _ in range(600):
        d = source.exponential(0.1, 30) * source.choice([-1, 1], 30)
        ps = paired_t(d)[1], wilcoxon(d), randomisation_test(d, rng=source, draws=999)
        below += [p < 0.05 for p in ps]
    assert np.all((below / 600 > 0.03) & (below / 600 < 0.07)), below / 600


def test_power_and_rows_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"same topics, got rows of \[2, 3\]"):
        bootstrap_intervals([[0.1, 0.2], [0.1, 0.2, 0.3]], rng=rng())
    with pytest.raises(ValueError, match="finite"):
        randomisation_tests([[0.1, 0.2], [0.1, np.inf]], rng=rng())
    with pytest.raises(ValueError, match="power"):
        detectable_difference(0.3, 50, power=0.02)
    with pytest.raises(ValueError, match="finite"):
        topics_needed(np.inf)
    with pytest.raises(ValueError, match="2 topics"):
        paired_t_power(0.5, 1)
