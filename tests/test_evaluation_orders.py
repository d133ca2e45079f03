"""Evaluation topic by topic and under other orders: streams, ceilings, ties, and what must change nothing."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.errors import ConfigError, DataError
from rankrl.evaluation import (
    Ties,
    best_of_ties,
    by_score,
    ceiling,
    evaluate,
    evaluate_stream,
    mean_interval,
    mean_intervals,
    ties_of,
    worst_of_ties,
)
from rankrl.evaluation.scoring import _BATCH
from rankrl.runs import ranked

UNIT = [
    "nDCG",
    "nDCG@3",
    "RR",
    "RR@3",
    "AP",
    "AP(rel=2)@5",
    "P@3",
    "R@3",
    "Rprec",
    "Success@1",
    "Judged@3",
    "Bpref",
    "Compat",
    "11pt_avg",
]
RELEVANCE = ["nDCG", "nDCG@3", "RR", "RR@3", "AP", "AP(rel=2)@5", "P@3", "R@3", "Rprec", "Success@1", "Bpref"]
DOCIDS = [f"d{i}" for i in range(8)]

topic_scores = st.dictionaries(st.sampled_from(DOCIDS), st.sampled_from([0.0, 0.5, 1.0, 2.0, -3.25]), min_size=1)
topic_grades = st.dictionaries(st.sampled_from(DOCIDS), st.integers(-1, 3), min_size=1)
qids = st.sampled_from([f"q{i}" for i in range(6)])
runs = st.dictionaries(qids, topic_scores, min_size=1)
all_qrels = st.dictionaries(qids, topic_grades, min_size=1)


def comparable(qrels, run) -> bool:
    return bool(run.keys() & qrels.keys()) and any(grade > 0 for judged in qrels.values() for grade in judged.values())


def shuffled(draw_from, mapping):
    return {key: mapping[key] for key in draw_from.draw(st.permutations(list(mapping)))}


@settings(max_examples=60, deadline=None)
@given(qrels=all_qrels, run=runs)
def test_values_lie_in_range_and_the_total_is_their_mean(qrels, run):
    if not comparable(qrels, run):
        return
    found = evaluate(qrels, run, UNIT)
    for measure, values in found.values.items():
        assert all(0.0 <= value <= 1.0 for value in values.values()), (measure, values)
        assert found.totals[measure] == pytest.approx(sum(values.values()) / len(values))
        assert all(values[qid] == 0.0 for qid in found.missing)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), qrels=all_qrels, run=runs)
def test_the_order_of_topics_and_documents_in_the_files_changes_nothing(data, qrels, run):
    if not comparable(qrels, run):
        return
    found = evaluate(qrels, run, UNIT)
    other_run = {qid: shuffled(data, scores) for qid, scores in shuffled(data, run).items()}
    other_qrels = {qid: shuffled(data, judged) for qid, judged in shuffled(data, qrels).items()}
    other = evaluate(other_qrels, other_run, UNIT)
    assert other.values == found.values
    assert other.totals == pytest.approx(found.totals)  # a sum of other order


@settings(max_examples=60, deadline=None)
@given(data=st.data(), qrels=all_qrels, run=runs)
def test_names_of_documents_matter_only_where_ties_decide(data, qrels, run):
    if not comparable(qrels, run):
        return
    new = dict(zip(DOCIDS, data.draw(st.permutations([f"n {i}" for i in range(8)])), strict=True))
    renamed_run = {qid: {new[d]: score for d, score in scores.items()} for qid, scores in run.items()}
    renamed_qrels = {qid: {new[d]: grade for d, grade in judged.items()} for qid, judged in qrels.items()}
    found, renamed = evaluate(qrels, run, UNIT), evaluate(renamed_qrels, renamed_run, UNIT)
    free = [q for q in found.topics if not ties_of(run.get(q, {}), qrels[q]).deciding_pairs]
    for measure in UNIT:
        for qid in free:
            assert renamed.values[str_of(measure, renamed)][qid] == found.values[str_of(measure, found)][qid]
    kept = {old: f"x{old}" for old in DOCIDS}  # names in the same order break every tie alike
    again = evaluate(
        {q: {kept[d]: g for d, g in judged.items()} for q, judged in qrels.items()},
        {q: {kept[d]: s for d, s in scores.items()} for q, scores in run.items()},
        UNIT,
    )
    assert again == found


def str_of(measure, evaluation):
    return evaluation.measures[UNIT.index(measure)]


@settings(max_examples=40, deadline=None)
@given(qrels=all_qrels, run=runs)
def test_the_bounds_of_ties_hold_every_order_of_them_and_are_reached(qrels, run):
    """Brute force: all the orders of each topic that its scores allow."""
    qid = next((q for q in run if q in qrels and any(g > 0 for g in qrels[q].values())), None)
    if qid is None:
        return
    judged, scores = {qid: qrels[qid]}, run[qid]
    levels = sorted(set(scores.values()), reverse=True)
    tied = [[d for d in scores if scores[d] == level] for level in levels]
    orders = itertools.islice(itertools.product(*(itertools.permutations(group) for group in tied)), 200)
    every = [
        evaluate(judged, {qid: scores}, RELEVANCE, order=lambda *_, o=order: [d for group in o for d in group]).totals
        for order in orders
    ]
    worst = evaluate(judged, {qid: scores}, RELEVANCE, order=worst_of_ties).totals
    best = evaluate(judged, {qid: scores}, RELEVANCE, order=best_of_ties).totals
    complete = len(every) < 200
    for measure in worst:
        values = [totals[measure] for totals in every]
        assert worst[measure] <= min(values) + 1e-12 and max(values) - 1e-12 <= best[measure]
        if complete:
            assert worst[measure] == pytest.approx(min(values)) and best[measure] == pytest.approx(max(values))
    ties = ties_of(scores, qrels[qid])
    if not ties.deciding_pairs:
        assert worst == best
    assert ties.pairs == sum(scores[a] == scores[b] for a, b in itertools.combinations(scores, 2))


@settings(max_examples=40, deadline=None)
@given(qrels=all_qrels, scores=topic_scores, depth=st.one_of(st.none(), st.integers(1, 5)))
def test_no_order_of_the_candidates_beats_the_ceiling(qrels, scores, depth):
    judged = {q: j for q, j in qrels.items() if any(g > 0 for g in j.values())}
    if not judged:
        return
    qid = next(iter(judged))
    top = evaluate({qid: judged[qid]}, {qid: scores}, RELEVANCE, order=ceiling(depth)).totals
    order = ranked(scores)
    head, tail = order[:depth], order[depth:] if depth else []
    for first in itertools.islice(itertools.permutations(head), 150):
        other = evaluate({qid: judged[qid]}, {qid: scores}, RELEVANCE, order=lambda *_, f=first: [*f, *tail]).totals
        assert all(other[measure] <= top[measure] + 1e-12 for measure in top)


def test_a_ceiling_reorders_the_first_documents_only_and_keeps_equal_grades_in_place():
    scores = {"a": 5.0, "b": 4.0, "c": 3.0, "d": 2.0, "e": 1.0}
    judgments = {"b": 1, "c": -2, "d": 2, "e": 3}
    assert ceiling()(scores, judgments) == ["e", "d", "b", "a", "c"]
    assert ceiling(4)(scores, judgments) == ["d", "b", "a", "c", "e"]
    assert ceiling(1)(scores, judgments) == ranked(scores)
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        ceiling(0)


def test_a_negative_grade_counts_as_0_in_every_order():
    judgments = {"a": -2, "c": 0}
    assert ceiling()({"a": 3.0, "b": 2.0, "c": 1.0}, judgments) == ["a", "b", "c"]
    tied = {"a": 1.0, "c": 1.0}
    assert worst_of_ties(tied, judgments) == best_of_ties(tied, judgments) == ranked(tied) == ["c", "a"]
    assert ties_of(tied, judgments).deciding_pairs == 0


def test_an_unjudged_document_and_one_of_grade_0_decide_what_is_judged():
    tied, judgments = {"a": 1.0, "b": 1.0}, {"a": 0, "z": 1}
    assert ties_of(tied, judgments).deciding_pairs == 1
    judged = [
        evaluate({"q": judgments}, {"q": tied}, ["Judged@1"], order=order).totals["Judged@1"]
        for order in (worst_of_ties, best_of_ties)
    ]
    assert judged == [0.0, 1.0]


def test_ties_are_counted():
    scores = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 2.0, "e": 2.0, "f": 3.0}
    assert ties_of(scores, {"a": 1, "b": 1}) == Ties(1, 5, 4, 1, 2, 0)
    assert ties_of(scores, {}) == Ties(1, 5, 4, 0, 0, 0)
    assert ties_of({"a": 1.0 + 1e-9, "b": 1.0}, {"a": 1}) == Ties(single_precision_topics=1)
    assert ties_of({"a": 1e300, "b": -1e300, "c": 1e-300}, {}) == Ties()
    assert ties_of(scores, {}) + ties_of({"a": 1.0}, {}) == Ties(1, 5, 4, 0, 0, 0)


def many(count: int):
    qrels = {f"q{i}": {"a": i % 3, "b": (i + 1) % 3, "u": 1} for i in range(count)}
    run = {f"q{i}": {d: float((i * n) % 7) for n, d in enumerate("abcde", start=1)} for i in range(0, count, 2)}
    return qrels, run


def test_topics_are_scored_alike_in_one_batch_and_in_many():
    measures = ["nDCG@3", "RR@10", "AP", "R@2", "Judged@3", "NumRel", "NumRet", "NumQ", "binG"]
    qrels, run = many(2 * _BATCH + 37)
    whole = evaluate(qrels, run, measures)
    assert len(whole.missing) == _BATCH + 18
    for qid in list(qrels)[:: _BATCH // 2 - 1]:
        alone = evaluate({qid: qrels[qid]}, {qid: run.get(qid, {})}, measures)
        assert {m: whole.values[m][qid] for m in whole.measures} == {m: alone.values[m][qid] for m in alone.measures}


def test_a_stream_gives_what_the_whole_run_gives_under_each_order():
    qrels, run = many(300)
    measures = ["nDCG@3", "AP", "NumRel"]
    orders = {"run": by_score, "ceiling": ceiling(2), "worst": worst_of_ties}
    streamed = evaluate_stream(qrels, iter(run.items()), measures, orders=orders)
    for name, order in orders.items():
        assert streamed[name] == evaluate(qrels, run, measures, order=order)


def test_of_two_results_for_a_topic_the_later_counts():
    qrels = {"1": {"a": 1}, "2": {"a": 1}}
    results = [("1", {"b": 1.0}), ("2", {"a": 1.0}), ("1", {"b": 1.0, "a": 2.0})]
    found = evaluate_stream(qrels, results, ["RR", "NumRet"], orders={"": by_score})[""]
    assert found == evaluate(qrels, {"1": {"b": 1.0, "a": 2.0}, "2": {"a": 1.0}}, ["RR", "NumRet"])


@pytest.mark.parametrize("between", [0, 2 * _BATCH])
def test_bug_a_result_that_gives_a_provider_nothing_to_say_kept_the_value_of_an_earlier_one(between):
    """Accuracy is silent where no relevant document is found: a topic comes with one, and again with none."""
    qrels = {str(t): {"a": 1, "b": 1} for t in range(between + 3)}
    later = {"0": {"x": 3.0, "y": 2.0}, "1": {"x": 4.0, "y": 3.0, "a": 2.0, "z": 1.0}}
    run = {**{qid: {"x": 2.0, "a": 1.0} for qid in qrels}, **later}
    earlier = [(qid, {"a": 2.0, "x": 1.0}) for qid in qrels]
    found = evaluate_stream(qrels, [*earlier, *run.items()], ["Accuracy", "RR"], orders={"": by_score})[""]
    assert found == evaluate(qrels, run, ["Accuracy", "RR"])
    assert found.values["Accuracy"]["0"] == 0.0 and found.values["Accuracy"]["1"] == pytest.approx(1 / 3)
    emptied = evaluate_stream(qrels, [*earlier, ("0", {})], ["Accuracy", "RR"], orders={"": by_score})[""]
    assert emptied.missing == ("0",) and emptied.values["RR"]["0"] == emptied.values["Accuracy"]["0"] == 0.0


def test_what_is_wrong_with_the_topics_is_said_before_the_run_is_read():
    def never():
        raise AssertionError("read")
        yield

    with pytest.raises(DataError, match="topics without judgements"):
        evaluate_stream({"1": {"a": 1}}, never(), ["AP"], topics=["2"], orders={"": by_score})
    with pytest.raises(ConfigError, match="choice of topics"):
        evaluate_stream({"1": {"a": 1}}, never(), ["AP"], topics="jduged", orders={"": by_score})


def test_intervals_of_all_measures_are_those_of_each():
    qrels, run = many(80)
    found = evaluate(qrels, run, ["nDCG@3", "NumRet", "AP", "gm_map"])
    together = mean_intervals(found, seed=5)
    assert list(together) == ["nDCG@3", "AP"]
    assert mean_intervals(found) == mean_intervals(found, seed=0) != together
    for measure, interval in together.items():
        assert interval == mean_interval(found, measure, seed=5)
        assert interval[0] <= found.totals[measure] <= interval[1]


def test_bug_pytrec_eval_counts_no_relevant_document_for_an_empty_ranking():
    for missing in ({}, {"2": {}}):
        assert evaluate({"1": {"a": 1}, "2": {"b": 2, "c": 1}}, {"1": {"x": 1.0}, **missing}, ["NumRel"]).totals == {
            "NumRel": 3
        }
        assert evaluate({"2": {"b": 2, "c": 1}}, missing, ["NumRel"]).totals == {"NumRel": 2}


def test_bug_a_topic_of_negative_grades_alone_ends_the_process_in_pytrec_eval():
    """In a process of its own: without the detour the interpreter crashes, sooner or later."""
    code = """
from rankrl.evaluation import evaluate
qrels = {f"q{i}": {"a": -2, "b": -2} for i in range(40)} | {"x": {"a": 1}}
run = {qid: {"a": 2.0, "z": 1.0} for qid in qrels}
for _ in range(60):
    found = evaluate(qrels, run, ["nDCG", "AP", "Bpref", "P@5", "Judged@1"], topics=list(qrels))
print(found.totals["AP"] * 41, found.totals["Judged@1"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["1.0", "1.0"]), done.stderr[-300:]
