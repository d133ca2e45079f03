"""The pure metrics: worked examples, edge cases, and the two rank correlations against their definitions."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rankrl.metrics import (
    average_precision,
    kendall_tau,
    ndcg,
    precision,
    rank_biased_overlap,
    recall,
    reciprocal_rank,
    success,
)
from rankrl.runs import ranked

TOY_RUN = ["d2", "d3", "d1", "d9", "d4"]
TOY = {"d1": 3, "d2": 2, "d3": 0, "d4": 1, "d5": -1}
ORDERS = st.permutations([f"d{i}" for i in range(7)])


def test_ndcg_of_the_worked_example_has_linear_gain_and_keeps_the_rank_of_unjudged_documents():
    assert ndcg(TOY_RUN, TOY) == pytest.approx(0.816247, abs=1e-6)
    assert ndcg(TOY_RUN, TOY, k=3) == pytest.approx(0.735007, abs=1e-6)


def test_the_ideal_is_over_all_judged_documents_not_over_those_listed():
    relevant = {f"r{i}": 1 for i in range(12)}
    assert ndcg(list(relevant)[:5], relevant) == pytest.approx(0.648932, abs=1e-6)
    assert recall(list(relevant)[:5], relevant, k=10) == pytest.approx(0.416667, abs=1e-6)


@pytest.mark.parametrize(("relevant", "gain", "rr"), [("a", 0.5, 1 / 3), ("c", 1.0, 1.0)])
def test_tied_documents_are_graded_in_descending_docid_order(relevant, gain, rr):
    docids = ranked({"a": 1.0, "b": 1.0, "c": 1.0})
    assert docids == ["c", "b", "a"]
    assert ndcg(docids, {relevant: 1}) == pytest.approx(gain)
    assert reciprocal_rank(docids, {relevant: 1}) == pytest.approx(rr)


@pytest.mark.parametrize("judgments", [{}, {"d1": 0}, {"d1": -2}])
def test_nothing_relevant_is_zero(judgments):
    for metric in (ndcg, reciprocal_rank, recall, average_precision, success):
        assert metric(["d1", "d2"], judgments) == 0.0
        assert metric([], {"d1": 1}) == 0.0
    assert precision(["d1"], judgments, k=5) == 0.0


def test_the_grade_that_counts_as_relevant_can_be_raised():
    judged = {"d1": 1, "d2": 2}
    assert reciprocal_rank(["d1", "d2"], judged, grade=2) == 0.5
    assert recall(["d1"], judged, grade=2) == 0.0
    assert average_precision(["d1", "d2"], judged, grade=2) == 0.5
    assert (success(["d1", "d2"], judged, k=1, grade=2), success(["d1", "d2"], judged, k=2, grade=2)) == (0.0, 1.0)
    assert precision(["d1", "d2"], judged, k=4, grade=2) == 0.25


@given(a=ORDERS, b=ORDERS)
def test_kendall_tau_counts_pairs_and_is_scipys_without_ties(a, b):
    pairs = [(a.index(x) - a.index(y)) * (b.index(x) - b.index(y)) > 0 for x, y in itertools.combinations(a, 2)]
    assert kendall_tau(a, b) == pytest.approx((sum(pairs) - pairs.count(False)) / len(pairs))
    expected = stats.kendalltau([a.index(d) for d in a], [b.index(d) for d in a]).statistic
    assert kendall_tau(a, b) == pytest.approx(expected)


def test_kendall_tau_needs_the_same_docids():
    assert kendall_tau(["a"], ["a"]) == kendall_tau([], []) == 1.0
    with pytest.raises(ValueError, match="same docids"):
        kendall_tau(["a", "b"], ["a", "c"])


def summed_to_infinity(a: list[str], b: list[str], p: float, depth: int = 4000) -> float:
    """RBO_EXT from its meaning: agreement is A(d) = X(d)/d, with the unseen tails extended at the last known agreement."""
    short, long_ = sorted((a, b), key=len)
    s, length = len(short), len(long_)
    overlap = [len(set(short[:d]) & set(long_[:d])) for d in range(length + 1)]
    total = 0.0
    for d in range(1, depth + 1):
        seen = min(d, length)
        assumed = overlap[seen] + overlap[s] / s * max(0, seen - s)  # the short list goes on as it was at its end
        total += assumed / seen * p ** (d - 1)
    return (1 - p) * total


@given(data=st.data(), p=st.sampled_from([0.5, 0.9, 0.98]))
def test_rank_biased_overlap_is_the_sum_of_its_extrapolated_agreements(data, p):
    a = data.draw(ORDERS)[: data.draw(st.integers(1, 7))]
    b = data.draw(ORDERS)[: data.draw(st.integers(1, 7))]
    assert rank_biased_overlap(a, b, p=p) == pytest.approx(summed_to_infinity(a, b, p), abs=1e-9)
    assert rank_biased_overlap(a, b, p=p) == pytest.approx(rank_biased_overlap(b, a, p=p))


def test_rank_biased_overlap_of_equal_disjoint_and_empty_rankings():
    abc = ["a", "b", "c"]
    assert rank_biased_overlap(abc, abc) == pytest.approx(1.0)
    assert rank_biased_overlap(abc, ["x", "y"]) == 0.0
    assert (rank_biased_overlap([], []), rank_biased_overlap(abc, [])) == (1.0, 0.0)
    assert math.isclose(rank_biased_overlap(["a", "b"], ["b", "a"], p=0.9), 0.9)
    with pytest.raises(ValueError, match="p must"):
        rank_biased_overlap(abc, abc, p=1.0)
