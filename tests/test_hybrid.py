"""`retrieval.hybrid` and `retrieval.stored`: several first stages as one, and a run as a first stage."""

from __future__ import annotations

import json
from pathlib import Path

import ir_measures
import pytest

from rankrl.cli import main
from rankrl.errors import ConfigError, DataError
from rankrl.files import content_sha256
from rankrl.provenance import read_provenance
from rankrl.runs import read_run, write_run
from rankrl.types import CandidateList, Query
from retrieval.bm25 import BM25
from retrieval.collections import load_collection
from retrieval.fusion import METHODS, fuse
from retrieval.hybrid import Hybrid
from retrieval.stored import Stored

TEXTS = {"d1": "ships at sea", "d2": "the sea", "d3": "a harpoon", "d4": "sea and harpoon and ships"}
QUERIES = {"q1": "sea ships", "q2": "submarine", "q3": "harpoon"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "sailors"
    (made / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", TEXTS), ("queries", QUERIES)):
        text = "".join(json.dumps({"_id": key, "text": value}) + "\n" for key, value in rows.items())
        (made / f"{name}.jsonl").write_text(text)
    (made / "qrels" / "test.tsv").write_text("q1\td1\t1\nq2\td1\t1\nq3\td3\t1\n")
    return made


@pytest.fixture
def collection(folder):
    return load_collection(folder)


def scores(lists: list[CandidateList]) -> dict[str, dict[str, float]]:
    return {found.query.qid: {c.docid: c.score for c in found.candidates} for found in lists}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_hybrid_gives_what_fusing_its_stages_gives(collection, method):
    stages = [BM25.from_collection(collection, engine="bm25s", k1=k1) for k1 in (0.2, 2.0)]
    queries = collection.queries("test")
    weights = [0.3, 0.7]
    found = Hybrid(stages, method=method, weights=weights).search(queries, 3)
    runs = [scores(stage.search(queries, 1000)) for stage in stages]
    assert scores(found) == fuse(runs, method, weights=weights, k=3)
    assert [list(one) for one in scores(found).values()] == [
        list(one) for one in fuse(runs, method, weights=weights, k=3).values()
    ]
    assert [candidate.text for candidate in found[2].candidates] == [TEXTS[docid] for docid in found[2].docids]


SCIFACT = {
    "rrf": (0.6828, 0.9249),
    "minmax": (0.6906, 0.9216),
    "zscore": (0.6908, 0.9216),
    "weighted": (0.6874, 0.9253),
    "combmnz": (0.6906, 0.9249),
}
"""nDCG@10 and recall@100 of two BM25 rankings of 100 documents, .6777 and .6883, fused outside this library by sums written
out for the purpose (`statistics` for z-scores) and counted by pytrec_eval."""


@pytest.mark.slow
def test_two_rankings_of_scifact_fuse_to_the_quality_that_was_measured():
    scifact = load_collection("scifact")
    queries, qrels = scifact.queries("test"), scifact.qrels("test")
    stages = [BM25.from_collection(scifact, engine="bm25s", k1=k1, b=b) for k1, b in ((0.9, 0.4), (3.0, 0.9))]
    measures = [ir_measures.nDCG @ 10, ir_measures.R @ 100]
    found = {}
    for method in METHODS:
        run = scores(Hybrid(stages, method=method, depth=100).search(queries, 100))
        values = ir_measures.calc_aggregate(measures, qrels, run)
        found[method] = tuple(round(values[measure], 4) for measure in measures)
    assert found == {method: pytest.approx(expected, abs=2e-4) for method, expected in SCIFACT.items()}


def test_depth_is_how_far_each_stage_looks_and_k_changes_no_score_unless_it_is_more(collection):
    write_run("a.trec", {"q1": {"d1": 3.0, "d2": 2.0, "d3": 1.0}}, tag="a")
    write_run("b.trec", {"q1": {"d3": 4.0, "d2": 3.0, "d1": 0.0}}, tag="b")
    stages = [Stored.from_collection(collection, run=Path(name)) for name in ("a.trec", "b.trec")]

    def found(k, **options):
        return scores(Hybrid(stages, method="minmax", **options).search([Query("q1", "x")], k))["q1"]

    assert found(10) == {"d2": 1.25, "d3": 1.0, "d1": 1.0}
    assert found(1) == {"d2": 1.25}
    assert found(1, depth=1) == {"d3": 1.0}
    assert found(2, depth=1) == {"d3": 1.0, "d1": 1.0}
    assert found(3, depth=1) == {"d2": 1.25, "d3": 1.0, "d1": 1.0}


class Unscored:
    """Gives documents in an order, the scores of only some of them or of none."""

    def __init__(self, collection, docids, scores=()):
        self.candidates = tuple(
            collection.corpus[docid].candidate(score)
            for docid, score in zip(docids, [*scores, *[None] * len(docids)], strict=False)
        )

    def search(self, queries, k):
        return [CandidateList(query, self.candidates[:k]) for query in queries]


def test_a_stage_without_scores_is_fused_by_its_order(collection):
    found = Hybrid([Unscored(collection, ["d2", "d1"]), Unscored(collection, ["d1", "d3"])]).search(
        [Query("q", "x")], 5
    )
    assert scores(found)["q"] == {"d1": 1 / 62 + 1 / 61, "d2": 1 / 61, "d3": 1 / 62}
    half = Unscored(collection, ["d2", "d1"], [1.0])
    with pytest.raises(ConfigError, match="query 'q': document 'd1' has no score"):
        Hybrid([half, half]).search([Query("q", "x")], 5)


def test_the_command_builds_stages_with_options_and_records_them(folder):
    stages = ["bm25(engine='bm25s', k1=0.2)", "bm25(engine='bm25s', k1=2.0, b=0.9)"]
    options = [
        "--stages",
        *stages,
        "--method",
        "zscore",
        "--weights",
        "0.3",
        "0.7",
        "--depth",
        "50",
        "-o",
        "hybrid.trec",
    ]
    assert main(["retrieve", "hybrid", "--collection", str(folder), *options]) == 0
    for number, (k1, b) in enumerate(((0.2, 0.4), (2.0, 0.9))):
        own = ["--engine", "bm25s", "--k1", str(k1), "--b", str(b), "-o", f"{number}.trec"]
        assert main(["retrieve", "bm25", "--collection", str(folder), *own]) == 0
    assert main(["fuse", "0.trec", "1.trec", "--method", "zscore", "--weights", "0.3", "0.7", "-o", "fused.trec"]) == 0
    assert read_run("hybrid.trec") == read_run("fused.trec")
    found = read_provenance("hybrid.trec")["retriever"]
    assert (found["method"], found["weights"], found["depth"]) == ("zscore", [0.3, 0.7], 50)
    assert [(stage["retriever"], stage["k1"], stage["b"]) for stage in found["stages"]] == [
        ("bm25", 0.2, 0.4),
        ("bm25", 2.0, 0.9),
    ]


@pytest.mark.parametrize(
    "options, complaint",
    [
        (["--stages", "bm25", "bm52"], "no retriever 'bm52' for a stage"),
        (["--stages", "bm25", "fusion"], "'fusion' is not a retriever"),
        (["--stages", "bm25", "collections"], "'collections' is not a retriever"),
        (["--stages", "bm25", "hybrid"], "no retriever 'hybrid' for a stage"),
        (["--stages", "bm25", "bm25("], "the stage 'bm25(' cannot be read"),
        (["--stages", "bm25", "bm25(0.9)"], "the stage 'bm25(0.9)' cannot be read"),
        (["--stages", "bm25", "bm25(k1=__import__('os'))"], "cannot be read"),
        (["--stages", "bm25", "bm25(k2=1)"], "the retriever 'bm25' has no option 'k2'; there are: engine, k1"),
        (["--stages", "bm25"], "1 retriever cannot be fused"),
        (["--stages", "bm25", "bm25", "--weights", "1"], "1 weights for 2 runs"),
        (["--stages", "bm25", "bm25", "--depth", "0"], "depth is 0"),
        (["--stages", "bm25", "bm25", "--rrf-k", "-1"], "constant of reciprocal rank fusion"),
    ],
)
def test_stages_and_options_that_cannot_be_used_are_refused_before_anything_is_built(
    folder, capsys, options, complaint
):
    (folder / "corpus.jsonl").write_text("broken: whoever builds a stage would say so\n")
    (folder / "qrels" / "test.tsv").write_text("q1\td1\t1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "retrieval.collections.Collection.exclusions", lambda *_: {}
        )  # asked before the retriever is built
        assert main(["retrieve", "hybrid", "--collection", str(folder), *options]) == 1
    said = capsys.readouterr().err
    assert said.startswith("rankrl: error: ") and complaint in said and said.count("\n") == 1


def test_a_run_file_is_a_first_stage_again(folder, collection):
    assert main(["retrieve", "bm25", "--collection", str(folder), "--engine", "bm25s", "-o", "bm25.trec"]) == 0
    assert main(["retrieve", "stored", "--collection", str(folder), "--run", "bm25.trec", "-o", "again.trec"]) == 0
    assert read_run("again.trec") == read_run("bm25.trec")
    assert read_provenance("again.trec")["retriever"] == {
        "retriever": "stored", "run": "bm25.trec", "sha256": content_sha256("bm25.trec")
    }  # fmt: skip
    (found,) = Stored.from_collection(collection, run=Path("bm25.trec")).search([Query("q1", "whatever")], 1)
    assert found.docids == (next(iter(read_run("bm25.trec")["q1"])),)


def test_the_candidates_of_query_lines_are_a_first_stage(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = {"query": "who?", "passages": ["a", "b", "c"], "docids": ["z", "y", "x"], "grades": [0, 1, 0]}
    unjudged = {"query": "what?", "passages": ["d"], "docids": ["w"], "split": "train"}
    Path("lines.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(unjudged) + "\n")
    assert main(["retrieve", "stored", "--collection", "lines.jsonl", "--k", "2", "-o", "run.trec"]) == 0
    assert read_run("run.trec") == {"1": {"z": 3.0, "y": 2.0}}
    assert main(["retrieve", "stored", "--collection", "lines.jsonl", "--split", "all", "-o", "all.trec"]) == 0
    assert read_run("all.trec") == {"1": {"z": 3.0, "y": 2.0, "x": 1.0}, "2": {"w": 1.0}}
    assert main(["evaluate", "run.trec", "--collection", "lines.jsonl", "--metrics", "RR@10"]) == 0
    assert "0.5000" in capsys.readouterr().out


def test_a_stage_that_finds_nothing_is_told_and_recorded(folder, capsys):
    """A run over other topics would otherwise leave the other stage alone, and nobody would know."""
    write_run("other.trec", {"PLAIN-1": {"d1": 1.0}}, tag="t")
    stages = ["--stages", "stored(run='other.trec')", "bm25(engine='bm25s')"]
    assert main(["retrieve", "hybrid", "--collection", str(folder), *stages, "-o", "hybrid.trec"]) == 0
    said = capsys.readouterr().err
    assert "stage 1 found nothing for 3 of 3 topics; they are fused from the others" in said
    assert "stage 2 found nothing for 1 of 3 topics" in said  # no document has the word submarine
    assert read_provenance("hybrid.trec")["retriever"]["found_nothing"] == [3, 1]


def test_what_stages_did_not_find_is_counted_over_all_batches(collection):
    stages = [Stored(collection, {"q1": {"d1": 1.0}}), Stored(collection, {"q1": {"d2": 1.0}, "q2": {"d1": 1.0}})]
    hybrid = Hybrid(stages)
    assert hybrid.remarks() == []
    for qid in ("q1", "q2", "q3"):
        hybrid.search([Query(qid, "x")], 1)
    assert hybrid.provenance["found_nothing"] == [2, 1]
    assert hybrid.remarks() == [
        f"stage {stage} found nothing for {count} of 3 topics; they are fused from the others"
        for stage, count in ((1, 2), (2, 1))
    ]


def test_what_a_stored_run_cannot_give_is_said(collection):
    with pytest.raises(ConfigError, match="comes without candidates; give a run file"):
        Stored.from_collection(collection)
    write_run("other.trec", {"q1": {"d9": 1.0}}, tag="t")
    stored = Stored.from_collection(collection, run=Path("other.trec"))
    with pytest.raises(DataError, match="topic 'q1': the run lists document 'd9', which is not in the collection"):
        stored.search([Query("q1", "x")], 1)
    assert [len(listing) for listing in stored.search([Query("q7", "x")], 1)] == [0]
    with pytest.raises(ConfigError, match="k is 0"):
        stored.search([Query("q1", "x")], 0)
