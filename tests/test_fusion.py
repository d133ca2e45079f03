"""`retrieval.fusion`: what must hold for every run, and what is refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.errors import ConfigError, DataError
from rankrl.runs import ranked
from retrieval.fusion import METHODS, fuse, min_max, reciprocal_rank_fusion, z_scores

METHOD = st.sampled_from(sorted(METHODS))
SCORE = st.one_of(st.integers(-3, 3).map(float), st.floats(-1e6, 1e6))
RUN = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3"]), st.dictionaries(st.sampled_from("abcdef"), SCORE, max_size=6), max_size=3
)
RUNS = st.lists(RUN, min_size=1, max_size=4)


@given(runs=RUNS, method=METHOD, data=st.data())
def test_the_order_of_the_runs_changes_no_bit(runs, method, data):
    weights = data.draw(st.lists(st.sampled_from([0.1, 0.3, 1.0, 7.0]), min_size=len(runs), max_size=len(runs)))
    order = data.draw(st.permutations(range(len(runs))))
    turned = fuse([runs[i] for i in order], method, weights=[weights[i] for i in order])
    straight = fuse(runs, method, weights=weights)
    assert turned == straight
    assert {qid: list(scores) for qid, scores in turned.items()} == {qid: list(s) for qid, s in straight.items()}


@given(runs=RUNS, method=METHOD)
def test_every_listed_document_comes_out_once_best_first_and_finite(runs, method):
    fused = fuse(runs, method)
    assert fused.keys() == {qid for run in runs for qid in run}
    for qid, scores in fused.items():
        assert scores.keys() == {docid for run in runs for docid in run.get(qid, {})}
        assert all(map(math.isfinite, scores.values()))
        assert list(scores) == ranked(scores)


@given(runs=RUNS, method=METHOD, k=st.integers(1, 4))
def test_k_keeps_the_head_of_the_whole_list(runs, method, k):
    whole = fuse(runs, method)
    assert fuse(runs, method, k=k) == {qid: dict(list(scores.items())[:k]) for qid, scores in whole.items()}


@given(runs=RUNS, method=METHOD, depth=st.integers(1, 4))
def test_depth_is_the_same_as_fusing_shorter_runs(runs, method, depth):
    shorter = [{qid: {d: scores[d] for d in ranked(scores)[:depth]} for qid, scores in run.items()} for run in runs]
    assert fuse(runs, method, depth=depth) == fuse(shorter, method)


@given(run=RUN, method=METHOD)
def test_one_run_alone_keeps_its_order_of_distinct_scores(run, method):
    for qid, scores in fuse([run], method).items():
        given_order, fused_order = ranked(run[qid]), list(scores)
        if method != "rrf":  # min-max and z-scores may round two neighbours to one number; docids then decide
            given_order.sort(key=lambda docid: (scores[docid], docid), reverse=True)
        assert fused_order == given_order


@given(runs=RUNS, extra=RUN, method=METHOD)
def test_a_run_with_weight_0_is_as_if_it_were_not_there(runs, extra, method):
    assert fuse([*runs, extra], method, weights=[1.0] * len(runs) + [0.0]) == fuse(runs, method)


@settings(max_examples=50)
@given(
    scores=st.dictionaries(st.sampled_from("abcdef"), st.integers(-50, 50).map(float), min_size=1),
    scale=st.sampled_from([0.5, 2.0, 1024.0]),
    shift=st.integers(-100, 100),
)
def test_min_max_and_z_scores_forget_the_scale(scores, scale, shift):
    moved = {docid: score * scale + shift for docid, score in scores.items()}
    assert min_max(moved) == min_max(scores)
    assert z_scores(moved) == z_scores(scores)
    assert all(0.0 <= unit <= 1.0 for unit in min_max(scores).values())


def test_min_max_of_the_largest_floats_does_not_overflow():
    largest = 1.7e308
    assert min_max({"a": largest, "b": -largest, "c": 0.0}) == {"a": 1.0, "b": 0.0, "c": 0.5}
    assert z_scores({"a": largest, "b": -largest})["a"] == 1.0


def test_lists_of_one_score():
    assert (min_max({}), z_scores({})) == ({}, {})
    assert min_max({"a": 3.0, "b": 3.0}) == {"a": 1.0, "b": 1.0}
    assert z_scores({"a": 0.1, "b": 0.1, "c": 0.1}) == {"a": 0.0, "b": 0.0, "c": 0.0}


def test_what_a_missing_document_gets():
    left, right = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}, {"q": {"a": 1.0, "d": 2.0}}
    assert fuse([left, right], "weighted")["q"] == {"a": 4.0, "d": 2.0, "b": 2.0, "c": 1.0}
    assert fuse([left, right], "minmax")["q"] == {"d": 1.0, "a": 1.0, "b": 0.5, "c": 0.0}
    z = math.sqrt(1.5)
    found = fuse([left, right], "zscore")["q"]
    assert found == {
        "a": pytest.approx(z - 1), "d": pytest.approx(1 - z), "b": pytest.approx(-1.0), "c": pytest.approx(-z - 1)
    }  # fmt: skip
    assert fuse([left, right], "combmnz")["q"] == {"a": 2.0, "d": 1.0, "b": 0.5, "c": 0.0}
    assert reciprocal_rank_fusion([left, right])["q"]["d"] == 1 / 61


def test_a_topic_that_one_run_lacks_is_fused_from_the_others():
    assert fuse([{"q1": {"a": 5.0, "b": 4.0}}, {"q2": {"c": 1.0}}], "zscore") == {
        "q1": {"a": 1.0, "b": -1.0},
        "q2": {"c": 0.0},
    }
    assert fuse([{"q": {}}, {"q": {"a": 2.0}}], "weighted") == {"q": {"a": 2.0}}


def test_equal_scores_are_ordered_by_docid_descending_also_where_k_cuts():
    runs = [{"q": {"a": 1.0, "b": 0.0}}, {"q": {"b": 1.0, "a": 0.0}}, {"q": {"c": 1.0}}]
    assert list(fuse(runs, "minmax")["q"]) == ["c", "b", "a"]
    assert list(fuse(runs, "minmax", k=2)["q"]) == ["c", "b"]


@pytest.mark.parametrize(
    "runs, method, options, complaint",
    [
        ([], "rrf", {}, "no runs to fuse"),
        ([{"q": {"a": 1.0}}], "rff", {}, "no fusion method 'rff', did you mean 'rrf'"),
        ([{"q": {"a": 1.0}}], "rrf", {"weights": [1.0, 2.0]}, "2 weights for 1 runs"),
        ([{"q": {"a": 1.0}}], "rrf", {"weights": [-1.0]}, "at least 0"),
        ([{"q": {"a": 1.0}}], "rrf", {"weights": [0.0]}, "not all 0"),
        ([{"q": {"a": 1.0}}], "rrf", {"weights": [math.nan]}, "at least 0"),
        ([{"q": {"a": 1.0}}], "rrf", {"depth": 0}, "depth is 0"),
        ([{"q": {"a": 1.0}}], "rrf", {"k": 0}, "k is 0"),
    ],
)
def test_options_that_cannot_be_used_are_refused(runs, method, options, complaint):
    with pytest.raises(ConfigError, match=complaint):
        fuse(runs, method, **options)


@pytest.mark.parametrize("constant", [-1.0, math.nan, math.inf])
def test_a_constant_that_is_no_constant_is_refused(constant):
    with pytest.raises(ConfigError, match="constant of reciprocal rank fusion"):
        reciprocal_rank_fusion([{"q": {"a": 1.0}}], constant=constant)


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_scores_that_are_not_finite_are_named(method, score):
    with pytest.raises(DataError, match="topic 'q': the score of document 'a'"):
        fuse([{"q": {"b": 1.0, "a": score}}], method)


def test_a_sum_that_no_float_holds_is_refused():
    with pytest.raises(DataError, match="topic 'q': the fused score of document 'a'"):
        fuse([{"q": {"a": 1.7e308}}, {"q": {"a": 1.7e308}}], "weighted")
