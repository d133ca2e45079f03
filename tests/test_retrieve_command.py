"""`rankrl retrieve`, as a user runs it."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rankrl.commands._options import keyword_only
from rankrl.commands._queries import read_queries
from rankrl.commands.retrieve import add_arguments, add_named_arguments
from rankrl.errors import DataError
from rankrl.files import content_sha256
from rankrl.lookup import lookup, names
from rankrl.provenance import read_provenance
from rankrl.runs import parse_run, read_run
from rankrl.types import CandidateList
from retrieval.bm25 import BM25, lucene_problem
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
    options = ["--collection", "scifact", "--split", "test-unseen", "--k", "20", "--engine", "bm25s"]
    done = retrieve("bm25", *options, "-o", "runs/bm25.trec", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.count("\n") == 1
    assert "104 topics, 0 with nothing found" in done.stderr
    assert "runs/bm25.trec" in done.stderr
    scifact = load_collection("scifact")
    bm25 = BM25.from_collection(scifact, engine="bm25s")
    lists = bm25.search(scifact.queries("test-unseen"), 20)
    written = read_run(tmp_path / "runs" / "bm25.trec")
    assert {qid: list(scores.items()) for qid, scores in written.items()} == {
        found.query.qid: [(c.docid, c.score) for c in found.candidates] for found in lists
    }
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["bm25.trec", "bm25.trec.json"]
    described = read_provenance(tmp_path / "runs" / "bm25.trec")
    assert described["retriever"] == bm25.provenance
    assert described["collection"] == json.loads(json.dumps(scifact.facts("test-unseen")))
    assert (described["split"], described["k"], described["topics"], described["empty_topics"]) == (
        "test-unseen", 20, 104, 0,
    )  # fmt: skip
    assert 0 < described["build_seconds"] < described["seconds"]


def test_without_an_output_file_the_run_goes_to_stdout(folder):
    for extra in ([], ["-o", "-"]):
        done = retrieve("bm25", "--collection", str(folder), "--engine", "bm25s", *extra, cwd=folder.parent)
        assert done.returncode == 0
        run = parse_run(done.stdout.splitlines(), "stdout")
        assert {qid: list(scores) for qid, scores in run.items()} == {"q1": ["d2", "d1"], "q3": ["d3"]}
        assert "3 topics, 1 with nothing found, 3 documents listed" in done.stderr
        assert all(line.endswith(" bm25") for line in done.stdout.splitlines())


def test_all_takes_queries_without_judgements(folder):
    options = ["--split", "all", "--k", "1", "--engine", "bm25s"]
    done = retrieve("bm25", "--collection", str(folder), *options, cwd=folder.parent)
    assert [line.split()[:3] for line in done.stdout.splitlines()] == [
        ["q1", "Q0", "d2"],
        ["q3", "Q0", "d3"],
        ["q4", "Q0", "d1"],
    ]
    (folder / "qrels" / "all.tsv").write_text("q4\td1\t1\n")  # a split of that name goes before
    done = retrieve("bm25", "--collection", str(folder), *options, cwd=folder.parent)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["q4"]


def test_k1_and_b_reach_the_retriever(folder):
    done = retrieve(
        "bm25", "--collection", str(folder), "--engine", "bm25s", "--k1", "0", "--b", "0", cwd=folder.parent
    )
    expected = BM25.from_collection(load_collection(folder), engine="bm25s", k1=0.0, b=0.0).search(
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
        (["bm25", "--collection", "{folder}", "--engine", "bm25s", "--rm3"], "rm3 needs the engine lucene"),
        (["bm25", "--collection", "{folder}", "--fbdocs", "3"], "'--fbdocs', did you mean '--fb-docs'"),
        (["bm25", "--collektion=x", "--collection", "{folder}"], "'--collektion', did you mean '--collection'"),
        (["--k", "3", "bm25", "--kk", "3", "--collection", "{folder}"], "no option of `rankrl retrieve bm25` '--kk'"),
        (["bm25", "--collection", "{folder}", "--queries", "nix.tsv"], "queries not found: nix.tsv"),
        (["bm25", "--collection", "{folder}", "-o", "{folder}"], "is a folder; give the name of a file to write"),
        (
            ["bm25", "--collection", "{folder}", "-o", "{folder}/corpus.jsonl/x"],
            "is not a folder that you may write to",
        ),
        (["bm25", "--collection", "{folder}", "-o", "{folder}/corpus.jsonl"], "is one of the files to read"),
        (
            ["bm25", "--collection", "{folder}", "--queries", "sailors/queries.jsonl", "-o", "{folder}/queries.jsonl"],
            "is one of the files to read",
        ),
        (["bm25", "--collection", "{folder}/qrels"], "has no corpus.jsonl"),
        (["rankrl.types:Query", "--collection", "{folder}"], "is not a retriever that can be built here"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_no_file(folder, arguments, complaint):
    filled = [argument.format(folder=folder) for argument in arguments]
    output = [] if "-o" in filled else ["-o", "out/run.trec"]
    done = retrieve(*filled, *output, cwd=folder.parent)
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
    done = retrieve("bm25", "--collection", str(folder), "--engine", "bm25s", "-o", "old.trec", cwd=folder.parent)
    assert (done.returncode, "no results" in done.stderr) == (1, True)
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "x"}\n{"_id": "d1", "text": "y"}\n')
    done = retrieve("bm25", "--collection", str(folder), "--engine", "bm25s", "-o", "old.trec", cwd=folder.parent)
    assert (done.returncode, "corpus.jsonl:2: document 'd1' appears twice" in done.stderr) == (1, True)
    assert old.read_text() == "kept\n"


OWN_RETRIEVER = """
from collections.abc import Sequence
from typing import Literal
from rankrl.types import CandidateList

OPTIONS = {"backwards": "the last first, 100 % of them", "only": "this one"}

class First:
    def __init__(self, documents):
        self.documents = documents

    @classmethod
    def from_collection(cls, collection, *, backwards: bool = False, only: "Literal['d1', 'd2'] | None" = None,
                        skip: Sequence[int] = (), price: float | None = None, unsettable: dict = {},
                        neither_set: "Sequence[Sequence[int]]" = ()):
        documents = [d for i, d in enumerate(collection.corpus.values()) if only in (None, d.docid) and i not in skip]
        return cls(documents[::-1] if backwards else documents)

    def search(self, queries, k):
        return [CandidateList(q, tuple(d.candidate(float(-i)) for i, d in enumerate(self.documents[:k]))) for q in queries]
"""


def test_a_retriever_of_ones_own_is_named_in_full_and_keeps_its_options_apart(folder):
    (folder.parent / "mine.py").write_text(OWN_RETRIEVER)
    here = str(folder.parent)
    done = retrieve("mine:First", "--collection", str(folder), "--k", "2", cwd=folder.parent, path=here)
    run = parse_run(done.stdout.splitlines(), "stdout")
    assert {qid: list(scores) for qid, scores in run.items()} == {qid: ["d1", "d2"] for qid in ("q1", "q2", "q3")}
    refused = retrieve("mine:First", "--collection", str(folder), "--k1", "1", cwd=folder.parent, path=here)
    assert (refused.returncode, "no option of `rankrl retrieve mine:First` '--k1'" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    "options, found",
    [
        (["--backwards"], ["d3", "d2", "d1"]),
        (["--no-backwards"], ["d1", "d2", "d3"]),
        (["--only", "d2"], ["d2"]),
        (["--skip", "0", "2", "--price", "0.5"], ["d2"]),
    ],
)
def test_keyword_only_parameters_are_options(folder, options, found):
    (folder.parent / "mine.py").write_text(OWN_RETRIEVER)
    for words in (["mine:First", *options], [*options, "mine:First"]):
        done = retrieve(*words, "--collection", str(folder), cwd=folder.parent, path=str(folder.parent))
        run = parse_run(done.stdout.splitlines(), "stdout")
        assert {qid: list(scores) for qid, scores in run.items()} == {qid: found for qid in ("q1", "q2", "q3")}


def test_help_shows_the_options_of_the_retriever_that_is_named(folder):
    (folder.parent / "mine.py").write_text(OWN_RETRIEVER)
    general = retrieve("--help", cwd=folder.parent)
    assert (general.returncode, "--fb-terms" in general.stdout) == (0, False)
    assert "`rankrl retrieve bm25 --help` shows them" in general.stdout
    own = retrieve("mine:First", "--help", cwd=folder.parent, path=str(folder.parent))
    text = " ".join(own.stdout.split())
    assert "options of mine:First: --backwards, --no-backwards the last first, 100 % of them (default: no)" in text
    assert "--only {d1,d2} this one" in text
    assert "--skip N [N ...]" in text
    assert "unsettable" not in text and "neither" not in text
    bm25 = " ".join(retrieve("bm25", "--help", cwd=folder.parent).stdout.split())
    assert "--engine {auto,lucene,bm25s}" in bm25
    assert "--original-query-weight X RM3: the weight of the query's own terms, 0 to 1 (default: 0.5)" in bm25


@pytest.mark.parametrize("name", [name for name in names("retrievers")])
def test_every_option_of_a_retriever_on_the_shelf_has_a_line_of_help(name):
    part = lookup(name, "retrievers")
    make = getattr(part, "from_collection", None)
    if make is None:
        pytest.skip(f"{name} is not built over a collection")
    parameters = keyword_only(make)
    assert set(sys.modules[make.__module__].OPTIONS) == set(parameters)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    add_named_arguments(parser, [name, "--collection", "c"])
    flags = {flag for action in parser._actions for flag in action.option_strings}
    assert {f"--{parameter.replace('_', '-')}" for parameter in parameters} <= flags


def test_an_option_called_like_one_of_the_command_is_refused(folder):
    (folder.parent / "mine.py").write_text(OWN_RETRIEVER.replace("backwards: bool", "k: bool"))
    done = retrieve("mine:First", "--collection", str(folder), cwd=folder.parent, path=str(folder.parent))
    assert (done.returncode, "has an option 'k', and so has the command" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "name, text",
    [
        ("mine.tsv", "a\tsea\n\nb 2\t harpoon \n"),
        ("mine.tsv.gz", "a\tsea\r\nb 2\tharpoon\r\n"),
        ("mine.jsonl", '\ufeff{"qid": "a", "text": "sea"}\n{"_id": "b 2", "query": "harpoon", "more": 1}\n'),
    ],
)
def test_queries_of_ones_own_are_searched(folder, name, text):
    path = folder.parent / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    assert [(query.qid, query.text) for query in read_queries(str(path))] == [("a", "sea"), ("b 2", "harpoon")]
    path.write_bytes(gzip.compress(b"a\tsea") if name.endswith("gz") else b"a\tsea\n")
    options = ["--collection", str(folder), "--queries", name, "--engine", "bm25s", "-o", "mine.trec"]
    done = retrieve("bm25", *options, cwd=folder.parent)
    assert (done.returncode, f"sailors ({name}): 1 topics" in done.stderr) == (0, True)
    assert list(read_run(folder.parent / "mine.trec")["a"]) == ["d2", "d1"]
    described = read_provenance(folder.parent / "mine.trec")
    assert described["queries"] == {"file": name, "sha256": content_sha256(path)}
    assert described["collection"]["split"] is None


def test_queries_from_a_pipe_are_recorded_without_the_hash_of_nothing(folder):
    command = [sys.executable, "-m", "rankrl", "retrieve", "bm25", "--collection", str(folder), "--engine", "bm25s"]
    done = subprocess.run(
        [*command, "--queries", "/dev/stdin", "-o", "mine.trec"],
        input="a\tsea\n",
        text=True,
        cwd=folder.parent,
        timeout=60,
    )
    assert done.returncode == 0
    assert read_provenance(folder.parent / "mine.trec")["queries"] == {"file": "/dev/stdin", "sha256": None}


def test_a_qid_that_no_run_can_hold_is_refused_before_the_search(folder):
    (folder.parent / "mine.tsv").write_text("a b\tsea\n")
    done = retrieve("bm25", "--collection", str(folder), "--queries", "mine.tsv", "--k1", "-1", cwd=folder.parent)
    assert (done.returncode, done.stderr.count("\n"), "qid 'a b' cannot be written" in done.stderr) == (1, 1, True)


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", "no queries in"),
        ("a sea\n", r"mine.txt:1: no tab between qid and text"),
        ("a\tsea\na\tship\n", "mine.txt:2: query 'a' appears twice"),
        ("\n\tsea\n", "mine.txt:2: no tab"),
        ('{"qid": "a"}\n', "mine.txt:1: no text or query"),
        ('{"qid": "a", "text": "sea"\n', "mine.txt:1: not JSON"),
        ('{"qid": null, "text": "sea"}\n', "mine.txt:1: qid is None"),
        ("a\tsea\n\xff\tx\n", "not UTF-8"),
    ],
)
def test_a_line_that_is_no_query_is_refused_with_its_number(tmp_path, text, complaint):
    path = tmp_path / "mine.txt"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=complaint):
        read_queries(str(path))


def test_what_must_not_be_returned_is_removed_before_the_cut(folder):
    """The document called like the query is left out, as BEIR does it, and the next one moves up."""
    rows = [{"_id": "d2", "text": "sea"}, {"_id": "q3", "text": "harpoon"}]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels" / "test.tsv").write_text("d2\td1\t1\nq3\td3\t1\n")
    done = retrieve("bm25", "--collection", str(folder), "--engine", "bm25s", "--k", "1", cwd=folder.parent)
    run = parse_run(done.stdout.splitlines(), "stdout")
    assert {qid: list(scores) for qid, scores in run.items()} == {"d2": ["d1"], "q3": ["d3"]}


@pytest.mark.skipif(bool(lucene_problem()), reason=lucene_problem())
def test_auto_is_lucene_where_it_can_run_and_the_run_says_so(folder):
    options = ["--collection", str(folder), "--index-dir", "kept", "-o", "run.trec"]
    done = retrieve("bm25", *options, cwd=folder.parent)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (0, "", 1)
    assert done.stderr.startswith("bm25 (lucene) over sailors (test): 3 topics, 1 with nothing found, 3 documents")
    described = read_provenance(folder.parent / "run.trec")["retriever"]
    assert (described["engine"], described["index"]["folder"]) == ("lucene", "kept")
    again = retrieve("bm25", *options[:4], cwd=folder.parent)
    assert again.stdout == (folder.parent / "run.trec").read_text()
    (folder / "corpus.jsonl").write_text('{"_id": "d1", "text": "another sea"}\n')
    refused = retrieve("bm25", *options, cwd=folder.parent)
    assert (refused.returncode, "kept is over other documents" in refused.stderr) == (1, True)


def test_search_results_are_candidate_lists_with_scores(folder):
    collection = load_collection(folder)
    (found,) = BM25.from_collection(collection, engine="bm25s").search(collection.queries("test")[:1], 5)
    assert isinstance(found, CandidateList)
    assert all(candidate.score is not None for candidate in found.candidates)
