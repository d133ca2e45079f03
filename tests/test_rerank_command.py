"""`rankrl rerank` on a small collection in BEIR layout, with an engine that compares and with a tiny model."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from rankrl.cli import main
from rankrl.provenance import read_provenance, write_provenance
from rankrl.reranking import load_reranker
from rankrl.runs import ranked, read_run

DOCUMENTS = {f"d{i}": f"{'faust ' * i}text number {i}" for i in range(8)}
OVERLAP = '''
import re
from rankrl.types import Answer

class CountingEngine:
    """Names the passage that says faust most often."""

    def __init__(self, model, *, max_new_tokens=1):
        self.max_new_tokens = max_new_tokens

    def generate(self, requests, on_answer=None):
        return [self.answer(request.prompt[-1]["content"]) for request in requests]

    def answer(self, prompt):
        passages = re.findall(r"^\\[(\\d+)\\] (.*)$", prompt, re.MULTILINE)
        label = max(passages, key=lambda passage: passage[1].count("faust"))[0]
        return Answer(f"<think>{self.max_new_tokens}</think><answer>[{label}]</answer>", 10, 5)
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A collection `c`, a first stage `bm25.trec` that puts d0 first, and the engine `counting_engine`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "counting_engine.py").write_text(OVERLAP)
    (tmp_path / "c" / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": docid, "title": "", "text": text}) for docid, text in DOCUMENTS.items()]
    (tmp_path / "c" / "corpus.jsonl").write_text("\n".join(lines))
    queries = [json.dumps({"_id": qid, "text": "who wrote faust"}) for qid in ("q1", "q2", "q3")]
    (tmp_path / "c" / "queries.jsonl").write_text("\n".join(queries))
    (tmp_path / "c" / "qrels" / "test.tsv").write_text("q1\td7\t1\nq2\td6\t1\nq3\td5\t1\n")
    rows = [f"{qid} Q0 d{i} {i + 1} {9 - i} bm25" for qid in ("q1", "q2", "other") for i in range(8)]
    (tmp_path / "bm25.trec").write_text("\n".join(rows) + "\n")
    return tmp_path


def rerank(*more, engine="counting_engine:CountingEngine", model="x"):
    where = ["--run", "bm25.trec", "--collection", "./c", "--model", str(model), "-o", "out/new.trec"]
    return main(["rerank", "rank_r1", *where, "--engine", engine, *more])


def test_the_best_documents_come_first_and_the_account_is_given(folder, capsys):
    assert rerank() == 0
    run = read_run("out/new.trec")
    assert list(run) == ["q1", "q2"]
    assert ranked(run["q1"]) == [f"d{i}" for i in range(7, -1, -1)]
    said = capsys.readouterr().err
    assert "1 of 3 topics are not in bm25.trec" in said
    assert "1 topics of bm25.trec are not in the split 'test' and are left out" in said
    # the two topics ask the same, but each shows the passages in an order of its own
    assert "rank_r1 over c (test): 2 topics, 14 calls in 7 rounds, 140 prompt + 70 completion tokens" in said
    assert "malformed 0.0% (unreadable 0.0%), truncated 0.0%" in said


def test_below_the_depth_first_stage_order_follows_with_scores_that_cannot_tie(folder):
    assert rerank("--depth", "3", "--limit", "1") == 0
    run = read_run("out/new.trec")
    assert list(run) == ["q1"]
    assert ranked(run["q1"]) == ["d2", "d1", "d0", "d3", "d4", "d5", "d6", "d7"]
    assert len(set(run["q1"].values())) == 8


def test_a_document_that_is_the_query_itself_is_neither_reranked_nor_put_back(folder):
    with (folder / "c" / "corpus.jsonl").open("a") as corpus:
        corpus.write('\n{"_id": "q1", "title": "", "text": "faust faust faust who wrote faust"}')
    with (folder / "bm25.trec").open("a") as run:
        run.write("q1 Q0 q1 9 99 bm25\nq2 Q0 q1 9 0.5 bm25\n")
    for depth in ("3", "100"):
        assert rerank("--depth", depth) == 0
        run = read_run("out/new.trec")
        assert set(run["q1"]) == set(DOCUMENTS)
        assert set(run["q2"]) == {*DOCUMENTS, "q1"}


def test_every_call_is_explained(folder):
    assert rerank("--explain", "calls.jsonl", "--option", "k=1", "--max-new-tokens", "77") == 0
    calls = [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]
    assert [call["qid"] for call in calls] == ["q1", "q2"]
    assert sorted(calls[0]["docids"]) == sorted(DOCUMENTS)
    assert calls[0]["order"][0] == "d7" and calls[0]["status"] == "ok"
    assert calls[0]["text"].startswith("<think>77</think>")


def test_a_tiny_model_that_says_nothing_readable_leaves_the_first_stage_order(folder, tiny_model_dir, capsys):
    assert rerank("--max-new-tokens", "4", engine="transformers", model=tiny_model_dir) == 0
    assert ranked(read_run("out/new.trec")["q2"]) == list(DOCUMENTS)
    assert "malformed 100.0% (unreadable 100.0%), truncated 100.0%" in capsys.readouterr().err


def test_what_the_run_was_made_of_stands_beside_it(folder, capsys):
    write_provenance("bm25.trec", {"retriever": {"engine": "bm25s"}})
    described = read_provenance("bm25.trec")
    digest = hashlib.sha256((folder / "bm25.trec").read_bytes()).hexdigest()
    assert rerank("--depth", "3", "--limit", "2", "--option", "num_child=2") == 0
    found = read_provenance("out/new.trec")
    assert found["collection"]["name"] == "c" and found["collection"]["documents"] == 8
    assert found["first_stage"] == {"path": "bm25.trec", "sha256": digest, "described_as": described}
    reranker = found["reranker"]
    assert (reranker["name"], reranker["model"]) == ("rank_r1", "x")
    assert reranker["engine"] == "counting_engine:CountingEngine"
    assert reranker["options"] == {"num_child": 2} and len(reranker["prompt_sha256"]) == 64
    assert (found["split"], found["depth"], found["topics"], found["limit"]) == ("test", 3, 2, 2)
    assert found["seconds"] + 1e-6 >= found["cost"]["seconds"] > 0  # microseconds are written
    cost = found["cost"]
    assert (cost["prompt_tokens"], cost["completion_tokens"]) == (10 * cost["calls"], 5 * cost["calls"])
    assert cost["readings"] == {"ok": cost["calls"]} and f"{cost['calls']} calls" in capsys.readouterr().err


def test_the_settings_that_nobody_gave_are_recorded_too_and_the_weights_by_their_fingerprint(folder, tiny_model_dir):
    prints = []
    for tokens in ("4", "4", "5"):
        assert rerank("--max-new-tokens", tokens, engine="transformers", model=tiny_model_dir) == 0
        found = read_provenance("out/new.trec")["reranker"]
        assert found["options"] == {"max_new_tokens": int(tokens)}
        assert found["settings"]["num_child"] == load_reranker("rank_r1", engine=object()).reranker.num_child
        assert (found["settings"]["temperature"], found["settings"]["max_new_tokens"]) == (0.0, int(tokens))
        prints.append(found["engine_fingerprint"])
    assert prints[0] == prints[1] != prints[2]


def test_a_first_stage_from_a_pipe_has_no_hash(folder):
    reading, writing = os.pipe()
    os.write(writing, (folder / "bm25.trec").read_bytes())
    os.close(writing)
    assert rerank("--run", run := f"/dev/fd/{reading}") == 0
    os.close(reading)
    assert read_provenance("out/new.trec")["first_stage"] == {"path": run, "sha256": None, "described_as": None}


def test_a_device_gets_no_description_beside_it(folder, monkeypatch):
    written = []
    monkeypatch.setattr("rankrl.provenance.write_provenance", lambda *given: written.append(given))
    assert rerank("-o", os.devnull) == 0
    assert written == []


def test_a_stale_description_of_the_first_stage_is_said_and_left_out(folder, capsys):
    (folder / "bm25.trec.json").write_text('{"run_sha256": "0", "retriever": "x"}')
    assert rerank() == 0
    assert "left out of the new description: bm25.trec.json describes another version" in capsys.readouterr().err
    assert read_provenance("out/new.trec")["first_stage"]["described_as"] is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--depth", "0"], "--depth is 0; it must be at least 1"),
        (["--limit", "-1"], "--limit is -1; it must be at least 1"),
        (["--option", "k"], "option 'k': give NAME=VALUE"),
        (["--option", "k=1", "--option", "k=2"], "option 'k' is given twice"),
        (["--option", "name=x"], "--option name is no field"),
        (["--option", "card=false"], "--option card is no field"),
        (["--option", "on_answer=1"], "no option of rank_r1 'on_answer'"),
        (["--option", "k=many"], "k must be a whole number of 1 or more, got 'many'"),
        (["--option", "num_chld=3"], "no option of rank_r1 'num_chld', did you mean 'num_child'"),
        (["--temperature", "0.5"], "no option of rank_r1 'temperature'"),
        (["--run", "bm52.trec"], "run not found: bm52.trec"),
        (["--collection", "scifacts"], "no collection 'scifacts', did you mean 'scifact'"),
        (["--split", "dev"], "dev"),
        (["-o", "c"], "-o c is a folder"),
        (["-o", "bm25.trec"], "-o bm25.trec is one of the files to read"),
        (["-o", "bm25.trec/new.trec"], "is not a folder that you may write to"),
        (["--explain", "out/new.trec"], "-o and --explain are the same file"),
        (["--engine", "transformers", "--model", "./gone"], "no model at ./gone"),
    ],
)
def test_a_mistake_is_one_clear_line_and_no_file(folder, capsys, more, message):
    before = (folder / "bm25.trec").read_bytes()
    assert rerank(*more) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("rankrl: error: ") and message in said[-1]
    assert not (folder / "out" / "new.trec").exists()
    assert (folder / "bm25.trec").read_bytes() == before


def test_a_run_over_another_split_is_noticed(folder, capsys):
    (folder / "bm25.trec").write_text("q9 Q0 d1 1 1.0 x\n")
    assert rerank() == 1
    assert "none of the 1 topics of bm25.trec is in the split 'test' of ./c" in capsys.readouterr().err


def test_a_failing_engine_leaves_no_half_written_file(folder):
    (folder / "failing_engine.py").write_text(
        "class FailingEngine:\n    def __init__(self, model): ...\n    def generate(self, requests, on_answer=None): 1 / 0\n"
    )
    with pytest.raises(ZeroDivisionError):
        rerank("--explain", "calls.jsonl", engine="failing_engine:FailingEngine")
    left = sorted(path.name for path in folder.iterdir() if not path.name.startswith("__pycache__"))
    assert left == ["bm25.trec", "c", "counting_engine.py", "failing_engine.py"]
