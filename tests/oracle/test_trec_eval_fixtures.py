"""`rankrl.evaluation` against trec_eval's own reference outputs, to the four decimals that it prints.

pytrec_eval holds trec_eval 9's sums. Version 10 interpolates precision (IPrec, 11pt_avg) in another way, so these measures are
compared with the outputs of 9.0.8 only; everything else with both. What has no number (runid, relstring) and what version 10
added (rbp, unj) is left out; the counts say how many values that leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import ir_measures
import pytest

from rankrl.cli import main
from rankrl.evaluation import Evaluation, evaluate
from rankrl.measures import TREC_ONLY, at_level
from rankrl.runs import ranked, read_qrels, read_run
from rankrl.types import Qrels, Run

FIXTURES = Path(__file__).parents[1] / "data" / "trec_eval"
DIFFERENT_IN_10 = ("IPrec", "11pt_avg")


def named(trec_name: str) -> str | None:
    """What we call one of trec_eval's measures; None for what is no number (runid, relstring) or has no name here."""
    if TREC_ONLY.fullmatch(trec_name):
        return trec_name
    try:
        (measure,) = ir_measures.parse_trec_measure(trec_name)
    except ValueError:
        return None
    return str(measure)


def printed(path: Path) -> dict[tuple[str, str], float]:
    """(measure, qid or "all") -> value of every measure that we have too, as ours are called."""
    found = {}
    for line in path.read_text().splitlines():
        trec_name, qid, value = line.split("\t")
        name = named(trec_name.strip())
        if name is None or (path.parent == FIXTURES and name.startswith(DIFFERENT_IN_10)):
            continue
        found[name, qid] = float(value)
    return found


def at_grade_2(measure: str) -> str:
    (ours,) = at_level([measure], 2)
    return ours if measure != "NumRet(rel=1)" else "NumRet(rel=2)"


def run_and_qrels(run: str, qrels: str = "qrels.test") -> tuple[Run, Qrels]:
    return read_run(FIXTURES / f"{run}.gz"), read_qrels(FIXTURES / f"{qrels}.gz")


def disagreements(expected: Mapping[tuple[str, str], float], found: Evaluation, names: Mapping[str, str]) -> list[str]:
    wrong = []
    for (name, qid), value in expected.items():
        ours = found.totals[names[name]] if qid == "all" else found.values[names[name]].get(qid)
        if ours is None or abs(ours - value) > 0.00005 + 1e-9:
            wrong.append(f"{name} {qid}: trec_eval {value}, ours {ours}")
    return wrong


def compared(
    output: str, run: Run, qrels: Qrels, *, rename: Callable[[str], str | None] = lambda name: name
) -> tuple[int, list[str]]:
    """How many values both sides have, and where they differ."""
    printed_here = printed(FIXTURES / output)
    names = {name: ours for name, _ in printed_here if (ours := rename(name)) is not None}
    expected = {key: value for key, value in printed_here.items() if key[0] in names}
    return len(expected), disagreements(expected, evaluate(qrels, run, list(names.values())), names)


@pytest.mark.parametrize(
    ("output", "count"),
    [
        ("out.test", 18),
        ("out.test.a", 81),
        ("out.test.aq", 315),
        ("v9.0.8/out.test.a", 93),
        ("v9.0.8/out.test.aq", 363),
    ],
)
def test_a_whole_run_scores_as_trec_eval_says(output, count):
    run, qrels = run_and_qrels("results.test")
    assert compared(output, run, qrels) == (count, [])


@pytest.mark.parametrize(("output", "count"), [("out.test.aqc", 315), ("v9.0.8/out.test.aqc", 273)])
def test_a_topic_missing_from_the_run_counts_as_zero_as_with_c(output, count):
    run, qrels = run_and_qrels("results.trunc")
    assert compared(output, run, qrels) == (count, [])
    assert evaluate(qrels, run, ["AP"]).missing == ("302",)


@pytest.mark.parametrize(("output", "count"), [("out.test.aqcM", 315), ("v9.0.8/out.test.aqcM", 273)])
def test_the_first_100_of_our_order_are_those_of_trec_eval_M100(output, count):
    run, qrels = run_and_qrels("results.trunc")
    cut = {qid: {docid: scores[docid] for docid in ranked(scores)[:100]} for qid, scores in run.items()}
    assert compared(output, cut, qrels) == (count, [])


@pytest.mark.parametrize(("output", "count"), [("out.test.aql", 315), ("v9.0.8/out.test.aql", 363)])
def test_relevance_level_2_is_rel_2_with_graded_and_negative_judgements(output, count):
    run, qrels = run_and_qrels("results.test", "qrels.rel_level")
    assert min(grade for judged in qrels.values() for grade in judged.values()) == -1
    assert compared(output, run, qrels, rename=at_grade_2) == (count, [])


@pytest.mark.parametrize("output", ["v9.0.8/out.test.aq", "v9.0.8/out.test.aql"])
def test_every_number_of_a_topic_in_the_outputs_of_9_is_among_those_compared(output):
    lines = [line.split("\t") for line in (FIXTURES / output).read_text().splitlines()]
    numbers = {(name.strip(), qid) for name, qid, value in lines if qid != "all" and not value.startswith("'")}
    assert len(numbers) == sum(qid != "all" for _, qid in printed(FIXTURES / output)) == 270


def test_topics_retrieved_averages_without_the_missing_topic():
    run, qrels = run_and_qrels("results.trunc")
    expected = printed(FIXTURES / "out.test.aqc")
    found = evaluate(qrels, run, ["AP", "nDCG@10"], topics="retrieved")
    assert found.topics == ("301", "303") and found.missing == ()
    for name in found.measures:
        assert found.totals[name] == pytest.approx((expected[name, "301"] + expected[name, "303"]) / 2, abs=1e-4)


def test_qrels_with_comments_and_hashes_in_docids_read_as_without():
    with_comments = read_qrels(FIXTURES / "qrels.test.with-comments.gz")
    plain = read_qrels(FIXTURES / "qrels.test.gz")
    assert {q: list(j.values()) for q, j in with_comments.items()} == {q: list(j.values()) for q, j in plain.items()}
    assert "CR#93E-1860" in with_comments["301"]


def test_the_command_prints_trec_evals_numbers(capsys):
    run, qrels = FIXTURES / "results.trunc.gz", FIXTURES / "qrels.test.gz"
    assert main(["evaluate", str(run), "--qrels", str(qrels), "--metrics", "AP", "nDCG@10", "NumRet"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    shown = {line[1]: line[2] for line in lines[1:]}
    assert shown == {"AP": "0.1016", "nDCG@10": "0.1717", "NumRet": "584"}
