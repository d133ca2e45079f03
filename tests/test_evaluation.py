"""Which topics count, what is refused, and what a comparison says."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from rankrl.comparison import compare
from rankrl.errors import ConfigError, DataError
from rankrl.evaluation import evaluate, mean_interval
from rankrl.measures import parse_measures

QRELS = {"1": {"a": 1}, "2": {"b": 2, "c": 0}, "3": {"d": 0, "e": -1}, "4": {"f": 1}}
RUN = {"1": {"a": 2.0, "z": 1.0}, "2": {"c": 2.0, "b": 1.0}, "3": {"d": 1.0}, "9": {"a": 1.0}}


def test_all_judged_topics_with_a_relevant_document_count_and_missing_ones_are_zero():
    found = evaluate(QRELS, RUN, ["RR"])
    assert found.values == {"RR": {"1": 1.0, "2": 0.5, "4": 0.0}}
    assert found.totals == {"RR": pytest.approx(0.5)}
    assert (found.topics, found.missing) == (("1", "2", "4"), ("4",))
    assert (found.unjudged, found.without_relevant) == (("9",), ("3",))


def test_retrieved_topics_are_averaged_as_trec_eval_does_without_c():
    found = evaluate(QRELS, RUN, ["RR"], topics="retrieved")
    assert found.values == {"RR": {"1": 1.0, "2": 0.5, "3": 0.0}}
    assert found.missing == ()


def test_exactly_the_topics_given_count():
    found = evaluate(QRELS, RUN, ["RR"], topics=["2", "3", "4"])
    assert found.values == {"RR": {"2": 0.5, "3": 0.0, "4": 0.0}}
    with pytest.raises(DataError, match=r"without judgements: \['9'\]"):
        evaluate(QRELS, RUN, ["RR"], topics=["2", "9"])


def test_a_topic_with_an_empty_result_list_is_missing():
    assert evaluate(QRELS, {**RUN, "4": {}}, ["RR"]) == evaluate(QRELS, RUN, ["RR"])


def test_measures_that_count_are_summed_over_missing_topics_too():
    assert evaluate(QRELS, RUN, ["NumQ", "NumRel", "NumRet"]).totals == {"NumQ": 3.0, "NumRel": 3.0, "NumRet": 4.0}


def test_measures_of_several_providers_see_one_order():
    tied = {"q": {"a": 1.0, "b": 1.0, "c": 1.0}}
    found = evaluate({"q": {"b": 1, "a": 0}}, tied, ["nDCG@10", "RR", "RR@10", "Judged@1", "P(rel=1)@1", "Compat"])
    assert found.totals["RR"] == found.totals["RR@10"] == 0.5
    assert found.totals["Judged@1"] == found.totals["P@1"] == 0.0


@pytest.mark.skipif(shutil.which("perl") is None, reason="ir_measures computes ERR with perl, which is not here")
def test_docids_with_spaces_and_qids_with_letters_reach_every_provider():
    qrels, run = {"topic x": {"a b": 3, "c": 0}}, {"topic x": {"c": 2.0, "a b": 1.0}}
    found = evaluate(qrels, run, ["ERR@10", "nDCG(dcg='exp-log2')@10", "nDCG@10"])
    assert found.totals["nDCG@10"] == pytest.approx(0.63093, abs=1e-5)
    assert found.totals["nDCG(dcg='exp-log2')@10"] == pytest.approx(0.63093, abs=1e-5)
    assert found.totals["ERR@10"] == pytest.approx(7 / 16 / 2, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ndgc@10", "did you mean 'nDCG@10'"),
        ("mrr@10", "did you mean 'RR@10'"),
        ("ndcg_cut_10", "did you mean 'nDCG@10'"),
        ("recall_100", "did you mean 'R@100'"),
        ("banana", "there are: AP, "),
        ("", "not a measure"),
        ("a.trec", "not a measure: 'a.trec'"),
        ("nDCG@x", "not a measure|wrong or missing parameter"),
        ("P", r"P takes cutoff=int \(required\)"),
        ("P(foo=1)@3", "wrong or missing parameter"),
        ("P(rel=0)@3", "rel must be a whole number from 1, got 0"),
        ("BPM(max_rel=3)@5", r"pip install \"ir-measures\[cwl_eval\]\""),
    ],
)
def test_a_measure_that_cannot_be_computed_is_named_with_what_can(name, says):
    with pytest.raises(ConfigError, match=says):
        evaluate(QRELS, RUN, [name])


@pytest.mark.parametrize("name", ["R@0", "P@0", "Success@0", "Judged@0"])
def test_bug_trec_eval_ends_the_process_at_a_cutoff_of_0(name):
    """Checked in a process of its own: without the check the interpreter aborts."""
    code = f"from rankrl.measures import parse_measures\nparse_measures([{name!r}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cutoff must be a whole number from 1, got 0" in done.stderr


def test_a_measure_given_twice_is_computed_once():
    assert [str(m) for m in parse_measures(["nDCG@10", "NDCG@10", "AP"])] == ["nDCG@10", "AP"]
    with pytest.raises(ConfigError, match="no measure given"):
        parse_measures([])


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(DataError, match="topic '1': the score of document 'b' is nan"):
        evaluate(QRELS, {"1": {"a": 1.0, "b": float("nan")}}, ["AP"])


def test_a_grade_that_trec_eval_would_overflow_is_refused():
    with pytest.raises(DataError, match="beyond 32 bits"):
        evaluate({"1": {"a": 2**31}}, {"1": {"a": 1.0}}, ["nDCG@10"])


def test_a_run_over_other_topics_and_qrels_without_relevant_documents_are_refused():
    with pytest.raises(DataError, match="share no topic"):
        evaluate(QRELS, {"77": {"a": 1.0}}, ["AP"])
    with pytest.raises(DataError, match="no judged topic has a relevant document"):
        evaluate({"1": {"a": 0}}, {"1": {"a": 1.0}}, ["AP"])
    with pytest.raises(ConfigError, match="'judgd', did you mean 'judged'"):
        evaluate(QRELS, RUN, ["AP"], topics="judgd")


def many_topics(better_on: int):
    """50 topics; the baseline has the relevant document second, the other first on `better_on` topics and third on 5 others."""
    qrels = {f"q{i}": {"r": 1} for i in range(50)}
    second = {qid: {"x": 3.0, "r": 2.0, "y": 1.0} for qid in qrels}
    other = dict(second)
    for i in range(better_on):
        other[f"q{i}"] = {"r": 3.0, "x": 2.0, "y": 1.0}
    for i in range(45, 50):
        other[f"q{i}"] = {"x": 3.0, "y": 2.0, "r": 1.0}
    return qrels, second, other


def test_a_comparison_counts_wins_ties_and_losses_and_says_the_verdict():
    qrels, second, other = many_topics(better_on=30)
    (found,) = compare(qrels, {"base": second, "new": other}, ["RR"]).differences
    assert (found.wins, found.ties, found.losses) == (30, 15, 5)
    assert found.difference == pytest.approx((30 * 0.5 - 5 / 6) / 50) == found.system_mean - found.baseline_mean
    assert 0 < found.low < found.difference < found.high
    assert found.p == found.p_holm < 0.001
    assert found.verdict == "significantly better at the 5 % level"
    (back,) = compare(qrels, {"new": other, "base": second}, ["RR"]).differences
    assert back.verdict == "significantly worse at the 5 % level"


def test_few_wins_are_no_significant_difference_and_equal_runs_none():
    qrels, second, other = many_topics(better_on=3)
    few, none = compare(qrels, {"base": second, "few": other, "same": dict(second)}, ["RR"]).differences
    assert few.verdict == "no significant difference" and few.low < 0 < few.high
    assert (none.difference, none.low, none.high, none.p, none.ties) == (0.0, 0.0, 0.0, 1.0, 50)
    assert none.verdict == "no difference on any topic"


def test_several_systems_are_adjusted_by_holm_within_each_measure():
    qrels, second, other = many_topics(better_on=14)
    alone = compare(qrels, {"base": second, "new": other}, ["RR", "AP"]).differences
    both = compare(qrels, {"base": second, "new": other, "again": dict(other)}, ["RR", "AP"]).differences
    assert [d.measure for d in both] == ["RR", "RR", "AP", "AP"]
    assert both[0].p == alone[0].p  # what is compared beside it does not change a system's own numbers
    assert both[0].p_holm == pytest.approx(2 * alone[0].p_holm)


def test_the_same_seed_gives_the_same_comparison():
    qrels, second, other = many_topics(better_on=14)
    runs = {"base": second, "new": other}
    assert compare(qrels, runs, ["RR"], seed=3) == compare(qrels, runs, ["RR"], seed=3)
    assert compare(qrels, runs, ["RR"], seed=3) != compare(qrels, runs, ["RR"], seed=4)


def test_a_topic_that_one_system_misses_is_a_loss_not_left_out():
    qrels, second, _ = many_topics(better_on=0)
    partial = {qid: scores for qid, scores in second.items() if qid != "q0"}
    (found,) = compare(qrels, {"base": second, "partial": partial}, ["RR"]).differences
    assert (found.wins, found.ties, found.losses) == (0, 49, 1)


def test_comparisons_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="at least two runs"):
        compare(QRELS, {"a": RUN}, ["AP"])
    with pytest.raises(ConfigError, match="NumRet is a sum"):
        compare(QRELS, {"a": RUN, "b": RUN}, ["NumRet"])
    with pytest.raises(ConfigError, match="same topics"):
        compare(QRELS, {"a": RUN, "b": RUN}, ["AP"], topics="retrieved")
    with pytest.raises(DataError, match="b: the run and the qrels share no topic"):
        compare(QRELS, {"a": RUN, "b": {"x": {"a": 1.0}}}, ["AP"])


def test_the_interval_of_a_mean_lies_around_it():
    qrels, _, other = many_topics(better_on=25)
    found = evaluate(qrels, other, ["RR"])
    low, high = mean_interval(found, "RR")
    assert 0 < low < found.totals["RR"] < high < 1
    assert mean_interval(found, "RR", seed=1) != (low, high)
