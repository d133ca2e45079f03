"""`rankrl collections` and `rankrl list collections`, as a user runs them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rankrl.cli import main
from retrieval.collections import load_collection

RECORDED = "154a75771a103d599b0fdeda71cc75f7eef24a414de06967d72b5bbb07df8e8a"  # of the bundled queries.jsonl
DATA = Path(__file__).parents[2] / "shared" / "data"


def told(capsys, *arguments: str, code: int = 0) -> str:
    assert main(list(arguments)) == code
    found = capsys.readouterr()
    return found.out if code == 0 else found.out + found.err


@pytest.fixture
def scifact(tmp_path) -> Path:
    """A copy of the bundled collection, to break."""
    return Path(shutil.copytree(load_collection("scifact").folder, tmp_path / "scifact"))


def test_both_lists_have_names_and_ways_of_naming(capsys):
    found = told(capsys, "collections", "list")
    assert found == told(capsys, "list", "collections")
    for name in (
        "scifact",
        "msmarco",
        "trec-dl-19",
        "trec-dl-20",
        "beir:NAME",
        "bright:TASK",
        "hf:ORG/NAME",
        "FILE.jsonl",
    ):
        assert any(line.split()[0] == name and len(line.split()) > 3 for line in found.splitlines()), name


def test_show_says_what_facts_says(capsys):
    found = told(capsys, "collections", "show", "scifact")
    assert "scifact: 5,183 documents, 1,109 queries" in found and "CC BY 4.0" in found
    assert "test      300         339       339       1         0               0" in found
    assert all(digest in found for digest in load_collection("scifact").provenance["sha256"].values())
    whole = json.loads(told(capsys, "collections", "show", "scifact", "--format", "json"))
    assert whole["splits"]["test"] == load_collection("scifact").facts("test")
    assert whole["about"] == load_collection("scifact").provenance


def test_show_says_when_equal_ids_mean_nothing(capsys):
    if not (DATA / "cranfield").is_dir():
        pytest.skip("Cranfield is not here")
    assert "225 documents with a topic's id: kept" in told(capsys, "collections", "show", str(DATA / "cranfield"))


def test_audit_of_scifact_finds_the_topics_that_train_has_not_seen(capsys, tmp_path):
    found = told(capsys, "collections", "audit", "scifact", "--examples", "1")
    assert "196 of 300 test topics have a relevant document that is relevant in train, 193 no other" in found
    assert "104 of 300 have none (test-unseen), 104 of these no near duplicate either" in found
    assert "2 pairs of topics with the same words, 60 more nearly so" in found
    assert "871: Obesity decreases life quality." not in found and "1291: There is no association" in found
    told(
        capsys,
        "collections",
        "audit",
        "scifact",
        "--splits",
        "train",
        "test",
        "--format",
        "json",
        "-o",
        str(tmp_path / "a"),
    )
    (one,) = json.loads((tmp_path / "a").read_text())["overlaps"]
    assert len(one["unseen"]) == len(one["clean"]) == 104
    assert {(pair["left"], pair["right"]) for pair in one["duplicate_topics"]} == {("1291", "1292"), ("871", "870")}


def test_audit_compares_each_pair_of_splits_and_the_corpus_on_request(capsys, tmp_path):
    folder = tmp_path / "few"
    (folder / "qrels").mkdir(parents=True)
    rows = [("d1", "a long enough text"), ("d2", "A long, enough text!"), ("d3", "something else")]
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in rows))
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{i}", "text": f"{i}"}) + "\n" for i in range(3))
    )
    for i, split in enumerate(("dev", "test", "train")):
        (folder / "qrels" / f"{split}.tsv").write_text(f"q{i}\td{i + 1}\t1\n")
    whole = json.loads(told(capsys, "collections", "audit", str(folder), "--corpus", "--format", "json"))
    assert [(one["left"], one["right"]) for one in whole["overlaps"]] == [
        ("train", "dev"),
        ("train", "test"),
        ("dev", "test"),
    ]
    last = whole["overlaps"][2]
    assert last["near_documents"] == [{"left": "d1", "right": "d2", "similarity": 1.0}]
    assert (last["unseen"], last["clean"]) == (["q1"], [])
    assert whole["near_in_corpus"] == last["near_documents"]
    found = told(capsys, "collections", "audit", str(folder), "--corpus")
    assert "1 pairs of nearly equal documents in the corpus" in found and "d2: A long, enough text!" in found


def test_verify_is_content_with_the_bundled_collection(capsys):
    found = told(capsys, "collections", "verify", "scifact")
    assert "FAILED" not in found and found.count("\nok ") == 14


def test_verify_names_the_file_that_is_another(capsys, scifact):
    path = scifact / "queries.jsonl.xz"
    path.unlink()
    original = load_collection("scifact").queries()
    rows = [{"_id": q.qid, "text": q.text.replace("obesity", "thinness")} for q in original]
    (scifact / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = told(capsys, "collections", "verify", str(scifact), code=1)
    failed = [line for line in found.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 1 and failed[0].split()[1:6] == ["SHA-256", "of", "queries.jsonl", "recorded", f"{RECORDED},"]


def test_verify_counts_what_is_missing_and_reads_to_the_end_whatever_it_finds(capsys, scifact):
    packed = scifact / "corpus.jsonl.xz"
    packed.write_bytes(packed.read_bytes()[:-1000])
    found = told(capsys, "collections", "verify", str(scifact), code=1)
    assert "cannot be " in found and "Traceback" not in found
    packed.unlink()
    documents = list(load_collection("scifact").documents())[:-1]
    rows = [{"_id": d.docid, "title": d.title, "text": d.text} for d in documents]
    (scifact / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = told(capsys, "collections", "verify", str(scifact), "--format", "json", code=1)
    by_name = {check["what"]: check for check in json.loads(found)["checks"]}
    assert by_name["documents"] == {"what": "documents", "passed": False, "detail": "recorded 5183, found 5182"}
    assert by_name["SHA-256 of corpus.jsonl"]["passed"] is False
    assert by_name["topics of test"]["passed"] is True


def test_a_partial_corpus_is_a_remark_and_nothing_recorded_is_said(capsys):
    if not (DATA / "dl19").is_dir():
        pytest.skip("DL19 is not here")
    found = told(capsys, "collections", "verify", str(DATA / "dl19"))
    assert "nothing is recorded to compare with" in found
    assert "are not in the corpus" in found and "FAILED" not in found


def test_judged_documents_that_the_corpus_lacks_are_a_remark(capsys, tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": "x"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "x"}\n')
    (tmp_path / "qrels" / "test.tsv").write_text("q1\td1\t1\nq1\td2\t1\nq1\td3\t0\n")
    found = json.loads(told(capsys, "collections", "verify", str(tmp_path), "--format", "json"))
    (one,) = [check for check in found["checks"] if check["what"] == "judged documents of test"]
    assert one["passed"] is None and one["detail"] == "2 of 3 are not in the corpus, 1 of them relevant"


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["show", "scifcat"], "did you mean 'scifact'"),
        (["audit", "scifact", "--splits", "train"], "--splits needs two splits or more; scifact has: test, train"),
        (["audit", "scifact", "--splits", "train", "tset"], "did you mean 'test'"),
        (["audit", "scifact", "--splits", "test", "test"], "names a split twice"),
        (["audit", "scifact", "--threshold", "0"], "the threshold is 0"),
        (["verify", "/no/such/folder"], "no collection '/no/such/folder'"),
    ],
)
def test_what_cannot_be_done_is_one_line(capsys, arguments, complaint):
    said = told(capsys, "collections", *arguments, code=1)
    assert said.startswith("rankrl: error: ") and said.count("\n") == 1 and complaint in said
