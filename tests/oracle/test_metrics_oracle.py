"""`rankrl.metrics` and `rankrl.evaluation` against ir_measures and pytrec_eval, on random runs full of trouble."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
import pytrec_eval

from rankrl import metrics
from rankrl.evaluation import evaluate
from rankrl.runs import ranked
from rankrl.types import Qrels, Run

OURS = {
    "nDCG": lambda d, j: metrics.ndcg(d, j, k=None),
    "nDCG@10": lambda d, j: metrics.ndcg(d, j, k=10),
    "nDCG@3": lambda d, j: metrics.ndcg(d, j, k=3),
    "RR": lambda d, j: metrics.reciprocal_rank(d, j),
    "RR(rel=2)": lambda d, j: metrics.reciprocal_rank(d, j, grade=2),
    "AP": lambda d, j: metrics.average_precision(d, j),
    "AP@5": lambda d, j: metrics.average_precision(d, j, k=5),
    "AP(rel=2)": lambda d, j: metrics.average_precision(d, j, grade=2),
    "R@5": lambda d, j: metrics.recall(d, j, k=5),
    "R(rel=2)@100": lambda d, j: metrics.recall(d, j, k=100, grade=2),
    "P@5": lambda d, j: metrics.precision(d, j, k=5),
    "P(rel=2)@20": lambda d, j: metrics.precision(d, j, k=20, grade=2),
    "Success@1": lambda d, j: metrics.success(d, j, k=1),
    "Success(rel=2)@3": lambda d, j: metrics.success(d, j, k=3, grade=2),
}
TREC_NAMES = {
    "nDCG": "ndcg", "nDCG@10": "ndcg_cut_10", "nDCG@3": "ndcg_cut_3", "RR": "recip_rank", "AP": "map", "AP@5": "map_cut_5",
    "R@5": "recall_5", "P@5": "P_5", "Success@1": "success_1",
}  # fmt: skip


def random_run_and_qrels(seed: int) -> tuple[Run, Qrels]:
    """40 topics: coarse scores (ties), some topics missing, unjudged documents, grades from -2 to 3, docids of all lengths."""
    rng = np.random.default_rng(seed)
    docids = [f"d{i}" for i in range(60)] + ["9", "10", "Z", "é", "文", "a-b"]
    run, qrels = {}, {}
    for topic in range(40):
        judged = rng.choice(docids, size=rng.integers(1, 30), replace=False)
        qrels[f"q{topic}"] = {str(d): int(rng.integers(-2, 4)) for d in judged}
        if rng.random() < 0.8:
            found = rng.choice(docids, size=rng.integers(1, 40), replace=False)
            run[f"q{topic}"] = {str(d): float(rng.integers(0, 5)) / 2 for d in found}
    return run, qrels


@pytest.mark.parametrize("seed", range(5))
def test_metrics_and_evaluation_equal_ir_measures_on_every_topic(seed):
    run, qrels = random_run_and_qrels(seed)
    reference = ir_measures.iter_calc([ir_measures.parse_measure(name) for name in OURS], qrels, run)
    expected = {(str(m.measure), m.query_id): m.value for m in reference}
    evaluation = evaluate(qrels, run, list(OURS), topics=list(qrels))
    assert len(expected) == 40 * len(OURS)
    for name, metric in OURS.items():
        for qid, judgments in qrels.items():
            docids = ranked(run.get(qid, {}))
            assert metric(docids, judgments) == pytest.approx(expected[name, qid], abs=1e-9), (name, qid)
            assert evaluation.values[name][qid] == pytest.approx(expected[name, qid], abs=1e-9), (name, qid)


@pytest.mark.parametrize("seed", range(5, 8))
def test_metrics_equal_pytrec_eval_on_every_retrieved_topic(seed):
    run, qrels = random_run_and_qrels(seed)
    names = {"ndcg", "ndcg_cut.3,10", "recip_rank", "map", "map_cut.5", "recall.5", "P.5", "success.1"}
    expected = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run)
    assert 0 < len(expected) < len(qrels)
    evaluation = evaluate(qrels, run, list(TREC_NAMES), topics="retrieved")
    assert set(evaluation.topics) == set(expected)
    for name, trec_name in TREC_NAMES.items():
        for qid, values in expected.items():
            assert OURS[name](ranked(run[qid]), qrels[qid]) == pytest.approx(values[trec_name], abs=1e-9)
        mean = sum(values[trec_name] for values in expected.values()) / len(expected)
        assert evaluation.totals[name] == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_bug_ir_measures_breaks_the_ties_of_rr_at_k_in_the_other_order(seed):
    """Its RR@k is not trec_eval's; ours is: RR where the first relevant document is within k, else 0, one order for all."""
    run, qrels = random_run_and_qrels(seed)
    whole = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(run)
    expected = {qid: values["recip_rank"] if values["recip_rank"] > 0.3 else 0.0 for qid, values in whole.items()}
    evaluation = evaluate(qrels, run, ["RR@3"], topics="retrieved")
    assert evaluation.values["RR@3"] == pytest.approx(expected)
    ours = {qid: metrics.reciprocal_rank(ranked(run[qid]), qrels[qid], k=3) for qid in expected}
    assert ours == pytest.approx(expected)
    theirs = {m.query_id: m.value for m in ir_measures.iter_calc([ir_measures.RR @ 3], qrels, run) if m.query_id in run}
    assert theirs != pytest.approx(expected)  # should they ever agree, this test has done its work


def test_bug_pytrec_eval_ties_scores_that_differ_beyond_single_precision():
    """It keeps scores as float32; the evaluator must rank by the doubles all the same."""
    scores = {"a": 1.0 + 2e-9, "b": 1.0 + 1e-9, "c": 1.0}
    qrels, run = {"q": {"a": 1}}, {"q": scores}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(run)["q"]["ndcg_cut_10"]
    assert theirs == pytest.approx(0.5)  # should it ever say 1.0, the detour in rankrl.evaluation can go
    assert ranked(scores) == ["a", "b", "c"]
    assert evaluate(qrels, run, ["nDCG@10", "RR"]).totals == {"nDCG@10": 1.0, "RR": 1.0}


EVERY = [
    "nDCG", "nDCG@1", "nDCG@10", "nDCG@100", "RR", "RR(rel=2)", "RR@10", "RR(rel=3)@5", "AP", "AP@10",
    "AP(rel=2)@100", "P@1", "P@5", "P(rel=2)@50", "R@10", "R(rel=2)@100", "Success@1", "Success(rel=2)@5", "Judged@1",
    "Judged@10", "Judged@1000", "Judged", "Bpref", "Bpref(rel=2)", "Rprec", "Rprec(rel=3)", "infAP", "IPrec@0.1",
    "IPrec(rel=2)@0.5", "SetP", "SetR", "SetF", "SetF(beta=2.0)", "SetAP", "NumRet", "NumRet(rel=1)", "NumRet(rel=2)",
    "NumRel", "NumQ", "Compat", "Compat(p=0.8)", "Accuracy", "Accuracy(rel=2)", "P(judged_only=True)@10", "RR(judged_only=True)",
    "AP(judged_only=True)@5", "nDCG(judged_only=True)@10",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
def test_every_measure_equals_ir_measures_to_the_last_digit_where_nothing_ties(seed):
    """Batches, groups and rankings cut at a measure's k change nothing: each measure is asked alone over the whole run."""
    rng = np.random.default_rng(seed)
    docids = [f"d{i}" for i in range(300)]
    qrels, run = {}, {}
    for topic in range(300):
        judged = rng.choice(docids, size=rng.integers(2, 40), replace=False)
        qrels[str(topic)] = {
            str(d): int(grade) for d, grade in zip(judged, [0, 1, *rng.integers(0, 4, 38)], strict=False)
        }
        if topic % 10:
            found = rng.choice(docids, size=rng.integers(1, 200), replace=False)
            run[str(topic)] = {str(d): float(score) for d, score in zip(found, rng.permutation(500), strict=False)}
            run[str(topic)]["last"] = -1.0  # of relevant documents alone, Accuracy of ir_measures divides by zero
    evaluation = evaluate(qrels, run, EVERY, topics=list(qrels))
    for name, ours in zip(EVERY, evaluation.measures, strict=True):
        expected = {m.query_id: m.value for m in ir_measures.iter_calc([ir_measures.parse_measure(name)], qrels, run)}
        if name in ("NumRel", "NumQ"):  # trec_eval -c counts them for missing topics too; ir_measures does not
            expected |= {q: evaluation.values[ours][q] for q in evaluation.missing}
        if name.startswith("Accuracy"):  # says nothing of a topic without a relevant document
            expected = dict.fromkeys(qrels, 0.0) | expected
        assert evaluation.values[ours] == expected, name
