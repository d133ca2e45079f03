"""Real runs of others evaluate to their published numbers; the traps of partial runs and of ties among them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import pytrec_eval

from rankrl.evaluation import best_of_ties, evaluate, ties_of, worst_of_ties
from rankrl.runs import RunNotes, read_qrels, read_run

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
DL19, NFCORPUS, SCIFACT, CRANFIELD = (DATA / name for name in ("dl19", "nfcorpus", "scifact", "cranfield"))
NAMES = sorted(json.loads((DL19 / "runs" / "expected.json").read_text())) if DL19.is_dir() else []
needs_dl19 = pytest.mark.skipif(not NAMES, reason=f"needs the runs of TREC DL 2019 in {DL19}")


@needs_dl19
def test_every_run_of_the_folder_is_expected():
    assert {path.name.removesuffix(".trec") for path in (DL19 / "runs").glob("*.trec")} == set(NAMES)


@needs_dl19
@pytest.mark.parametrize("name", NAMES)
def test_runs_of_dl19_evaluate_to_their_published_numbers(name):
    expected = json.loads((DL19 / "runs" / "expected.json").read_text())[name]
    qrels, run = read_qrels(DL19 / "qrels" / "test.tsv"), read_run(DL19 / "runs" / f"{name}.trec")
    found = evaluate(qrels, run, ["nDCG@10", "AP(rel=2)@100", "R@20", "R@100"])
    assert len(found.topics) == 43 and not found.missing
    assert round(found.totals["nDCG@10"], 4) == expected["ndcg_cut_10_by_score"]
    published = expected.get("published", {})
    ours = {
        "ndcg_cut_10": "nDCG@10",
        "map_cut_100": "AP(rel=2)@100",
        "recall_20": "R@20",
        "recall_100": "R@100",
    }
    assert {key: round(found.totals[ours[key]], 4) for key in published} == published


@needs_dl19
def test_where_score_and_rank_give_two_numbers_ties_and_not_contradictions_are_the_reason():
    expected = json.loads((DL19 / "runs" / "expected.json").read_text())["rep_llama"]
    qrels, notes = read_qrels(DL19 / "qrels" / "test.tsv"), RunNotes()
    run = read_run(DL19 / "runs" / "rep_llama.trec", notes=notes)
    assert notes.contradicting == 0
    assert sum(ties_of(run[qid], qrels[qid]).deciding_topics for qid in run) == 42
    worst = evaluate(qrels, run, ["nDCG@10"], order=worst_of_ties).totals["nDCG@10"]
    best = evaluate(qrels, run, ["nDCG@10"], order=best_of_ties).totals["nDCG@10"]
    assert worst < expected["ndcg_cut_10_by_score"] < expected["ndcg_cut_10_by_rank"] < best


@needs_dl19
def test_our_candidate_rows_are_the_run_they_were_made_from():
    run = read_run(DL19 / "runs" / "bm25.trec")
    rows = read_run(DL19 / "candidates" / "bm25.top100.jsonl")
    assert rows == run


@pytest.mark.skipif(not NFCORPUS.is_dir(), reason=f"needs NFCorpus in {NFCORPUS}")
def test_nfcorpus_averages_over_all_323_topics_not_the_308_that_retrieve_something():
    qrels = read_qrels(NFCORPUS / "qrels" / "test.tsv")
    run = read_run(NFCORPUS / "runs" / "bm25.test.trec")
    found = evaluate(qrels, run, ["nDCG@10"])
    assert (len(found.topics), len(found.missing)) == (323, 15)
    assert found.totals["nDCG@10"] == pytest.approx(0.320, abs=0.003)
    retrieved = evaluate(qrels, run, ["nDCG@10"], topics="retrieved")
    assert len(retrieved.topics) == 308
    assert retrieved.totals["nDCG@10"] > 0.33  # what a peer that averages over what came back would print


@pytest.mark.parametrize(
    ("folder", "run", "published"), [(SCIFACT, "bm25.test.trec", 0.6804), (CRANFIELD, "bm25.trec", 0.490)]
)
def test_bm25_runs_evaluate_to_their_known_numbers(folder, run, published):
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    qrels, found = read_qrels(folder / "qrels" / "test.tsv"), read_run(folder / "runs" / run)
    assert evaluate(qrels, found, ["nDCG@10"]).totals["nDCG@10"] == pytest.approx(published, abs=0.0005)


@needs_dl19
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")
def test_ndcg_of_ranx_agrees():
    ranx = pytest.importorskip("ranx")
    qrels, run = read_qrels(DL19 / "qrels" / "test.tsv"), read_run(DL19 / "runs" / "bm25.trec")
    ours = evaluate(qrels, run, ["nDCG@10", "AP", "RR@10", "R@100", "P@5"]).totals
    theirs = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(run), ["ndcg@10", "map", "mrr@10", "recall@100", "precision@5"])
    assert list(ours.values()) == pytest.approx(list(theirs.values()), abs=1e-9)


def test_a_run_of_4_topics_is_not_worth_seven_times_as_much_as_over_all_30():
    """The shape and the numbers of Pyserini's trec_run filter example: .0550 over what came back, .0073 over all topics."""
    qrels = {str(t): {f"r{t}-{i}": 1 for i in range(12)} for t in range(1, 31)}
    qrels["1"]["010vptx3"] = 1
    run = {
        "1": {"010vptx3": 2.4, "whati123": 1.3},
        "2": {"02f0opkr": 4.1, "sbnugd2g": 3.3},
        "3": {"hanxiao2": 123.0},
        "4": {"athjtu2j": 561.0},
    }
    found = evaluate(qrels, run, ["nDCG@10", "Judged@20"])
    assert [round(found.values["nDCG@10"][qid], 4) for qid in "1234"] == [0.2201, 0.0, 0.0, 0.0]
    assert found.values["Judged@20"]["1"] == 0.5
    assert round(found.totals["nDCG@10"], 4) == 0.0073 and len(found.missing) == 26
    partial = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10"}).evaluate(run)
    inflated = sum(values["ndcg_cut_10"] for values in partial.values()) / len(partial)
    assert (
        round(inflated, 4) == round(evaluate(qrels, run, ["nDCG@10"], topics="retrieved").totals["nDCG@10"], 4) == 0.055
    )
