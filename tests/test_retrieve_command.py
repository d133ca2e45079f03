"""`rankrl retrieve`, as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rankrl.runs import parse_run, read_run
from rankrl.types import CandidateList
from retrieval.bm25 import BM25
from retrieval.collections import load_collection

TEXTS = {"d1": "ships at sea", "d2": "the sea", "d3": "a harpoon"}
QUERIES = {"q1": "sea", "q2": "submarine", "q3": "harpoon", "q4": "ships"}


def retrieve(*arguments: str, cwd: Path, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": path} if path else None
    command = [sys.executable, "-m", "rankrl", "retrieve", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "sailors"
    (made / "qrels").mkdir(parents=True)
    for name, rows in (("corpus", TEXTS), ("queries", QUERIES)):
        text = "".join(json.dumps({"_id": key, "text": value}) + "\n" for key, value in rows.items())
        (made / f"{name}.jsonl").write_text(text)
    (made / "qrels" / "test.tsv").write_text("q1\td1\t1\nq2\td1\t1\nq3\td3\t1\n")
    return made


def test_the_readme_command_writes_what_the_retriever_finds(tmp_path):
    options = ["--collection", "scifact", "--split", "test-unseen", "--k", "20"]
    done = retrieve("bm25", *options, "-o", "runs/bm25.trec", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.count("\n") == 1
    assert "104 topics, 0 with nothing found" in done.stderr
    assert "runs/bm25.trec" in done.stderr
    scifact = load_collection("scifact")
    lists = BM25.from_collection(scifact).search(scifact.queries("test-unseen"), 20)
    written = read_run(tmp_path / "runs" / "bm25.trec")
    assert {qid: list(scores.items()) for qid, scores in written.items()} == {
        found.query.qid: [(c.docid, c.score) for c in found.candidates] for found in lists
    }
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["bm25.trec"]


def test_without_an_output_file_the_run_goes_to_stdout(folder):
    for extra in ([], ["-o", "-"]):
        done = retrieve("bm25", "--collection", str(folder), *extra, cwd=folder.parent)
        assert done.returncode == 0
        run = parse_run(done.stdout.splitlines(), "stdout")
        assert {qid: list(scores) for qid, scores in run.items()} == {"q1": ["d2", "d1"], "q3": ["d3"]}
        assert "3 topics, 1 with nothing found, 3 documents listed" in done.stderr
        assert all(line.endswith(" bm25") for line in done.stdout.splitlines())


def test_all_takes_queries_without_judgements(folder):
    done = retrieve("bm25", "--collection", str(folder), "--split", "all", "--k", "1", cwd=folder.parent)
    assert [line.split()[:3] for line in done.stdout.splitlines()] == [
        ["q1", "Q0", "d2"],
        ["q3", "Q0", "d3"],
        ["q4", "Q0", "d1"],
    ]


def test_k1_and_b_reach_the_retriever(folder):
    done = retrieve("bm25", "--collection", str(folder), "--k1", "0", "--b", "0", cwd=folder.parent)
    expected = BM25.from_collection(load_collection(folder), k1=0.0, b=0.0).search(
        load_collection(folder).queries("test")[:1], 10
    )
    run = parse_run(done.stdout.splitlines(), "stdout")
    assert run["q1"] == {c.docid: c.score for c in expected[0].candidates}
    assert len(set(run["q1"].values())) == 1


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["bm52", "--collection", "{folder}"], "no retriever 'bm52', did you mean 'bm25'?"),
        (["bm25", "--collection", "scifcat"], "no collection 'scifcat', did you mean 'scifact'?"),
        (["bm25", "--collection", "{folder}", "--split", "tset"], "did you mean 'test'?"),
        (["bm25", "--collection", "{folder}", "--k", "0"], "--k is 0; it must be at least 1"),
        (["bm25", "--collection", "{folder}", "--b", "7"], "b is 7.0"),
        (["bm25", "--collection", "{folder}/qrels"], "has no corpus.jsonl"),
        (["rankrl.types:Query", "--collection", "{folder}"], "is not a retriever that can be built here"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_no_file(folder, arguments, complaint):
    filled = [argument.format(folder=folder) for argument in arguments]
    done = retrieve(*filled, "-o", "out/run.trec", cwd=folder.parent)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("rankrl: error: ")
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (folder.parent / "out").exists()


def test_a_broken_corpus_and_a_run_without_results_are_refused(folder):
    old = folder.parent / "old.trec"
    old.write_text("kept\n")
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "the"}\n')
    (folder / "qrels" / "test.tsv").write_text("q1\td1\t1\n")
    done = retrieve("bm25", "--collection", str(folder), "-o", "old.trec", cwd=folder.parent)
    assert (done.returncode, "no results" in done.stderr) == (1, True)
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "x"}\n{"_id": "d1", "text": "y"}\n')
    done = retrieve("bm25", "--collection", str(folder), "-o", "old.trec", cwd=folder.parent)
    assert (done.returncode, "corpus.jsonl:2: document 'd1' appears twice" in done.stderr) == (1, True)
    assert old.read_text() == "kept\n"


OWN_RETRIEVER = """
from rankrl.types import CandidateList

class First:
    def __init__(self, documents):
        self.documents = documents

    @classmethod
    def from_collection(cls, collection):
        return cls(list(collection.corpus.values()))

    def search(self, queries, k):
        return [CandidateList(q, tuple(d.candidate(float(-i)) for i, d in enumerate(self.documents[:k]))) for q in queries]
"""


def test_a_retriever_of_ones_own_is_named_in_full_and_keeps_its_options_apart(folder):
    (folder.parent / "mine.py").write_text(OWN_RETRIEVER)
    here = str(folder.parent)
    done = retrieve("mine:First", "--collection", str(folder), "--k", "2", cwd=folder.parent, path=here)
    run = parse_run(done.stdout.splitlines(), "stdout")
    assert {qid: list(scores) for qid, scores in run.items()} == {qid: ["d1", "d2"] for qid in ("q1", "q2", "q3")}
    refused = retrieve("mine:First", "--collection", str(folder), "--b", "1", cwd=folder.parent, path=here)
    assert (refused.returncode, "takes no --b" in refused.stderr) == (1, True)


def test_search_results_are_candidate_lists_with_scores(folder):
    collection = load_collection(folder)
    (found,) = BM25.from_collection(collection).search(collection.queries("test")[:1], 5)
    assert isinstance(found, CandidateList)
    assert all(candidate.score is not None for candidate in found.candidates)
