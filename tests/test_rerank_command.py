"""`rankrl rerank` on a small collection in BEIR layout, with an engine that compares and with a tiny model."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from rankrl import __version__
from rankrl.cli import main
from rankrl.provenance import read_provenance, write_provenance
from rankrl.reranking import load_reranker
from rankrl.runs import ranked, read_run

DOCUMENTS = {f"d{i}": f"{'faust ' * i}text number {i}" for i in range(8)}
ENGINE = '''
import re
from rankrl.types import Answer

class CountingEngine:
    """Names the passage that says faust most often, or scores the choices by how often the only one does."""

    fingerprint = "counting"

    def __init__(self, model, *, max_new_tokens=1, temperature=0.0, base_url="", seed=0, echo=""):
        self.max_new_tokens, self.seed, self.echo = max_new_tokens, seed, echo

    def generate(self, requests, on_answer=None):
        with open("asked.log", "a") as log:
            log.writelines(request.key + "\\n" for request in requests)
        return [self.answer(request) for request in requests]

    def answer(self, request):
        prompt = request.prompt[-1]["content"]
        if request.choices:
            return Answer("", 7, 0, scores=(float(prompt.count("faust")), 0.0))
        passages = re.findall(r"^\\[(\\d+)\\] (.*)$", prompt, re.MULTILINE)
        label = max(passages, key=lambda passage: passage[1].count("faust"))[0]
        return Answer(f"<think>{self.max_new_tokens}{self.echo}</think><answer>[{label}]</answer>", 300, 5)
'''
SCORING = '''
from dataclasses import dataclass
from rankrl.contracts import request_of
from rankrl.strategies.pointwise import pointwise
from rankrl.types import ParseReport, Ranking, Reading, Request

@dataclass(frozen=True, slots=True)
class Scoring:
    """One passage, one score; no plan."""

    shown: int = 1

    def prompt(self, listing):
        return [{"role": "user", "content": " ".join(candidate.text for candidate in listing.candidates)}]

    def request(self, listing):
        return Request(self.prompt(listing), choices=("yes", "no"), shown=listing)

    def read(self, answer, n):
        score = answer.scores[0] if answer.scores else None
        return Reading(Ranking(tuple(range(n))), ParseReport(unreadable=score is None), (score,) * n)

    def parse(self, text, n):
        return Reading(Ranking(tuple(range(n))), ParseReport(unreadable=True), (None,) * n)

    def order(self, listing):
        return pointwise(self, listing)

@dataclass(frozen=True, slots=True)
class Begun(Scoring):
    """Begins the answer."""

    def prompt(self, listing):
        return [*Scoring.prompt(self, listing), {"role": "assistant", "content": "Relevant:"}]

@dataclass(frozen=True, slots=True)
class Twice(Scoring):
    """Asks the same question twice."""

    def order(self, listing):
        yield [request_of(self, listing, sample=sample) for sample in (0, 1)]
        return Ranking(tuple(range(len(listing))))
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A collection `c`, a first stage `bm25.trec` that puts d0 first, and the engine `counting_engine`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "counting_engine.py").write_text(ENGINE)
    (tmp_path / "own_reranker.py").write_text(SCORING)
    (tmp_path / "c" / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": docid, "title": "", "text": text}) for docid, text in DOCUMENTS.items()]
    (tmp_path / "c" / "corpus.jsonl").write_text("\n".join(lines))
    queries = [json.dumps({"_id": qid, "text": "who wrote faust"}) for qid in ("q1", "q2", "q3")]
    (tmp_path / "c" / "queries.jsonl").write_text("\n".join(queries))
    (tmp_path / "c" / "qrels" / "test.tsv").write_text("q1\td7\t1\nq2\td6\t1\nq3\td5\t1\n")
    rows = [f"{qid} Q0 d{i} {i + 1} {9 - i} bm25" for qid in ("q1", "q2", "other") for i in range(8)]
    (tmp_path / "bm25.trec").write_text("\n".join(rows) + "\n")
    return tmp_path


def rerank(*more, engine="counting_engine:CountingEngine", model="x", reranker="rank_r1"):
    where = ["--run", "bm25.trec", "--collection", "./c", "--model", str(model), "-o", "out/new.trec"]
    return main(["rerank", reranker, *where, "--engine", engine, *more])


def lines(path):
    """The rows of a file of JSON lines."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def asked():
    """The keys that the engine was asked, in order."""
    with open("asked.log") as log:
        return log.read().split()


def test_the_best_documents_come_first_and_the_account_is_given(folder, capsys):
    assert rerank() == 0
    run = read_run("out/new.trec")
    assert list(run) == ["q1", "q2"]
    assert ranked(run["q1"]) == [f"d{i}" for i in range(7, -1, -1)]
    said = capsys.readouterr().err
    assert "1 of 3 topics are not in bm25.trec" in said
    assert "1 topics of bm25.trec are not in the split 'test' and are left out" in said
    # the two topics ask the same, but each shows the passages in an order of its own
    assert "rank_r1 over c (test): 2 topics, 14 calls in 7 rounds, depth 7, 4200 prompt + 70 completion tokens" in said
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


def test_every_call_is_explained_below_a_line_that_says_what_asked(folder):
    assert rerank("--explain", "calls.jsonl", "--option", "k=1", "--max-new-tokens", "77") == 0
    header, *calls = lines("calls.jsonl")
    assert header["rankrl"] == __version__ and (header["reranker"], header["run"]) == ("rank_r1", "bm25.trec")
    assert header["settings"]["k"] == 1 and header["depth"] == 100 and len(header["prompt_sha256"]) == 64
    assert [call["qid"] for call in calls] == ["q1", "q2"]
    first = calls[0]
    assert sorted(first["docids"]) == sorted(DOCUMENTS) != first["docids"]
    assert first["order"][0] == "d7" and first["status"] == "ok"
    assert first["report"] == {
        "repeated": 0, "out_of_range": 0, "missing": 0, "unreadable": False, "malformed": False
    }  # fmt: skip
    assert first["text"].startswith("<think>77</think>") and first["reasoning"] == "77"
    assert (first["choices"], first["scores"], first["sample"], first["begun"]) == ([], [], 0, "")
    assert (first["prompt_tokens"], first["completion_tokens"], first["finish_reason"]) == (300, 5, "stop")
    assert [call["key"] for call in calls] == asked() and first["cached"] is False
    assert "prompt" not in first


def test_prompts_are_explained_on_demand(folder):
    assert rerank("--explain", "calls.jsonl", "--explain-prompts", "--depth", "2", "--limit", "1") == 0
    _, call = lines("calls.jsonl")
    assert [message["role"] for message in call["prompt"]] == ["system", "user"]
    assert "text number 0" in call["prompt"][1]["content"]


def test_odd_characters_of_an_answer_keep_to_their_line(folder):
    odd = "\\ud800 \\u2028 \\x85 ü"
    (folder / "odd_engine.py").write_text(ENGINE.replace("CountingEngine", "OddEngine").replace("{self.echo}", odd))
    assert rerank("--explain", "calls.jsonl", engine="odd_engine:OddEngine") == 0
    rows = (folder / "calls.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(rows) == 15
    assert all("\ud800 \u2028 \x85 ü</think>" in json.loads(row)["text"] for row in rows[1:])


def test_scored_calls_are_explained_with_their_choices(folder):
    assert rerank("--explain", "calls.jsonl", "--limit", "1", reranker="own_reranker:Scoring") == 0
    calls = {call["docids"][0]: call for call in lines("calls.jsonl")[1:]}
    assert list(calls) == list(DOCUMENTS)
    assert calls["d3"]["choices"] == ["yes", "no"] and calls["d3"]["scores"] == [3.0, 0.0]
    assert calls["d3"]["passage_scores"] == [3.0] and calls["d3"]["text"] == ""


def test_scores_of_the_protocol_stand_beside_the_run_which_has_its_own(folder, capsys):
    assert rerank("--depth", "3", reranker="own_reranker:Scoring") == 0
    run = read_run("out/new.trec")
    assert ranked(run["q2"]) == ["d2", "d1", "d0", "d3", "d4", "d5", "d6", "d7"]
    assert list(run["q2"].values()) == [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    rows = lines("out/new.trec.scores.jsonl")
    assert [row["qid"] for row in rows] == ["q1"] * 3 + ["q2"] * 3
    assert rows[3] == {
        "qid": "q2", "docid": "d2", "rank": 1, "score": 2.0, "first_stage_rank": 3, "first_stage_score": 7.0
    }  # fmt: skip
    assert "scores to out/new.trec.scores.jsonl" in capsys.readouterr().err
    recorded = read_provenance("out/new.trec")["scores"]
    digest = hashlib.sha256((folder / "out/new.trec.scores.jsonl").read_bytes()).hexdigest()
    assert recorded == {"path": "out/new.trec.scores.jsonl", "sha256": digest}


def test_scores_go_where_they_are_asked_for_and_are_null_where_there_are_none(folder):
    assert rerank("--depth", "2", "--limit", "1", "--scores", "s.tsv", reranker="own_reranker:Scoring") == 0
    assert (folder / "s.tsv").read_text().splitlines() == [
        "qid\tdocid\trank\tscore\tfirst_stage_rank\tfirst_stage_score",
        "q1\td1\t1\t1.0\t2\t8.0",
        "q1\td0\t2\t0.0\t1\t9.0",
    ]
    assert rerank("--depth", "2", "--limit", "1", "--scores", "s.jsonl") == 0
    assert [(row["docid"], row["score"]) for row in lines("s.jsonl")] == [("d1", None), ("d0", None)]
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["new.trec", "new.trec.json"]


def test_scores_of_an_earlier_run_are_not_taken_for_this_one(folder, capsys):
    assert rerank(reranker="own_reranker:Scoring") == 0
    kept = (folder / "out/new.trec.scores.jsonl").read_bytes()
    capsys.readouterr()
    assert rerank() == 0
    assert "out/new.trec.scores.jsonl is of an earlier run; it was left as it is" in capsys.readouterr().err
    assert (folder / "out/new.trec.scores.jsonl").read_bytes() == kept
    assert read_provenance("out/new.trec")["scores"] is None
    assert rerank("--no-scores", "-o", "other.trec", reranker="own_reranker:Scoring") == 0
    assert not (folder / "other.trec.scores.jsonl").exists()


def test_the_run_goes_to_standard_output(folder, capsys):
    assert rerank("-o", "-", "--limit", "1") == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[0] == "q1 Q0 d7 1 8.0 rank_r1" and "written to stdout" in said.err
    assert not (folder / "-").exists() and not (folder / "-.json").exists()


def test_scores_may_be_named_as_they_would_be_anyway_and_devices_more_than_once(folder):
    assert rerank("--scores", "out/new.trec.scores.jsonl", reranker="own_reranker:Scoring") == 0
    assert rerank("-o", os.devnull, "--explain", os.devnull, "--scores", os.devnull) == 0


def test_generated_tokens_are_explained_where_the_engine_gives_them(folder):
    (folder / "telling_engine.py").write_text(
        ENGINE.replace("CountingEngine", "TellingEngine")
        .replace("import Answer", "import Answer, Token")
        .replace(", 300, 5)", ", 300, 5, tokens=(Token('a', -0.5), Token('b', -1.5, (('b', -1.5), ('c', -2.0)))))")
    )
    assert rerank("--explain", "calls.jsonl", "--limit", "1", engine="telling_engine:TellingEngine") == 0
    assert lines("calls.jsonl")[1]["tokens"] == [["a", -0.5, []], ["b", -1.5, [["b", -1.5], ["c", -2.0]]]]


def test_samples_of_one_prompt_are_told_apart(folder):
    assert rerank("--explain", "calls.jsonl", "--limit", "1", reranker="own_reranker:Twice") == 0
    assert [call["sample"] for call in lines("calls.jsonl")[1:]] == [0, 1]
    assert len(set(asked())) == 2


def test_queries_of_ones_own(folder, capsys):
    (folder / "mine.tsv").write_text("q2\tsomething else\nq9\tnever searched\n")
    assert rerank("--queries", "mine.tsv", "--explain", "calls.jsonl", "--explain-prompts") == 0
    assert list(read_run("out/new.trec")) == ["q2"]
    said = capsys.readouterr().err
    assert "1 of 2 topics are not in bm25.trec" in said and "2 topics of bm25.trec are not in mine.tsv" in said
    assert 'Query: "something else"' in lines("calls.jsonl")[1]["prompt"][1]["content"]
    digest = hashlib.sha256((folder / "mine.tsv").read_bytes()).hexdigest()
    assert read_provenance("out/new.trec")["queries"] == {"file": "mine.tsv", "sha256": digest}


def test_all_queries_of_the_collection(folder):
    with (folder / "c" / "queries.jsonl").open("a") as queries:
        queries.write('\n{"_id": "other", "text": "not judged"}')
    assert rerank("--split", "all") == 0
    assert list(read_run("out/new.trec")) == ["q1", "q2", "other"]


def test_passes_and_shuffles_repeat_the_calls(folder):
    assert rerank(reranker="own_reranker:Scoring") == 0
    once = len(asked())
    assert once == 8  # both topics have the same texts: each is asked once
    assert rerank("--option", "k=1", "--option", "shuffle=true") == 0
    single = len(asked()) - once
    assert rerank("--option", "k=1", "--shuffles", "3") == 0
    assert len(asked()) - once - single == 3 * single
    found = read_provenance("out/new.trec")
    assert (found["passes"], found["shuffles"]) == (1, 3)
    assert ranked(read_run("out/new.trec")["q1"])[0] == "d7"


def test_options_of_the_engine_reach_it(folder):
    more = [
        "--engine-option",
        "echo= so",
        "--base-url",
        "http://x",
        "--max-new-tokens",
        "3",
        "--engine-option",
        "seed=4",
    ]
    assert rerank("--explain", "calls.jsonl", "--limit", "1", "--depth", "2", *more) == 0
    assert lines("calls.jsonl")[1]["text"].startswith("<think>3 so</think>")
    found = read_provenance("out/new.trec")["reranker"]
    assert found["options"] == {"echo": " so", "base_url": "http://x", "max_new_tokens": 3, "seed": 4}
    assert found["settings"]["seed"] == 4


def test_a_wording_of_ones_own(folder):
    wordings = {"one": "First of {{ n }}: {{ query }}", "two": "Second {{ query }}"}
    texts = (
        f"{name}:\n  user: |-\n    {text}\n    {{{{ passages|join('\\n') }}}}\n" for name, text in wordings.items()
    )
    (folder / "mine.yaml").write_text("".join(texts))
    for name, start in (("mine.yaml", "First of 2"), ("mine.yaml:two", "Second who")):
        more = ["--explain", "calls.jsonl", "--explain-prompts", "--limit", "1", "--depth", "2"]
        assert rerank("--prompt-template", name, *more) == 0
        (message,) = lines("calls.jsonl")[1]["prompt"]
        assert message["content"].startswith(start)
        assert read_provenance("out/new.trec")["reranker"]["settings"]["template"] == name
    assert rerank("--prompt-template", name, reranker="own_reranker:Scoring") == 1


def test_a_run_that_a_limit_stops_is_written_and_says_so_and_goes_on_with_its_journal(folder, capsys):
    assert rerank("-o", "whole.trec") == 0
    whole = asked()
    (folder / "asked.log").unlink()
    codes = []
    more = ["--journal", "j.sqlite", "--max-calls", "5", "--max-live", "1"]
    while not codes or codes[-1] == 3:
        capsys.readouterr()
        codes.append(rerank(*more))
        found = read_provenance("out/new.trec")
        if len(codes) == 1:
            assert found["unfinished"] == ["q1", "q2"]
        if len(codes) == 2:  # 7 calls finish a topic
            said = capsys.readouterr().err
            assert "stopped by max_calls 5" in said and "1 of 2 topics are finished, 1 are not" in said
            assert "run the same command again to go on: what is in j.sqlite is not asked again" in said
            assert "max_calls 5" in found["stopped"] and found["unfinished"] == ["q2"]
            assert set(read_run("out/new.trec")) == {"q1", "q2"}
            assert found["cost"]["cached"] == 5 and found["limits"] == {"max_calls": 5}
    assert codes == [3, 3, 0]
    assert found["stopped"] is None and found["unfinished"] == [] and found["journal"] == "j.sqlite"
    assert sorted(asked()) == sorted(whole) and len(set(whole)) == len(whole)
    assert (folder / "out/new.trec").read_bytes() == (folder / "whole.trec").read_bytes()


def test_a_limit_without_a_journal_says_that_nothing_is_kept(folder, capsys):
    assert rerank("--max-calls", "3") == 3
    assert "stopped by max_calls 3" in (said := capsys.readouterr().err)
    assert "0 of 2 topics are finished, 2 are not" in said and "with --journal FILE" in said
    assert len(asked()) <= 3
    assert [len(scores) for scores in read_run("out/new.trec").values()] == [8, 8]


def test_tokens_and_money_are_limits_too(folder, capsys):
    short = ["--max-live", "1", "--max-new-tokens", "20"]  # the first answer is expected to be a quarter as long
    assert rerank("--max-tokens", "2000", *short) == 3
    assert 3 <= len(asked()) <= 7 and "stopped by max_tokens 2000" in capsys.readouterr().err
    (folder / "asked.log").unlink()
    prices = ["--price-in", "1000", "--price-out", "20000"]  # an answer costs 0.3 + 0.1
    assert rerank("--max-cost", "2.2", *short, *prices) == 3
    assert 3 <= len(asked()) <= 6 and "stopped by max_cost 2.2" in (said := capsys.readouterr().err)
    assert f"cost {len(asked()) * 0.4:,.4f}, malformed" in said
    assert rerank(*prices) == 0
    assert read_provenance("out/new.trec")["cost"]["cost"] == pytest.approx(14 * 0.4)


def test_what_was_answered_before_a_failure_is_kept_and_said(folder, capsys):
    (folder / "dying_engine.py").write_text(
        ENGINE.replace("CountingEngine", "DyingEngine").replace(
            "        return [self", "        self.rounds = getattr(self, 'rounds', 0) + 1\n"
            "        if self.rounds == 3: raise KeyboardInterrupt\n        return [self",
        )
    )  # fmt: skip
    assert rerank("--journal", "j.sqlite", engine="dying_engine:DyingEngine") == 130
    assert "what was answered is in j.sqlite: the same command goes on" in capsys.readouterr().err
    assert not (folder / "out").exists()
    asked_before = asked()
    (folder / "failing_engine.py").write_text(
        "class FailingEngine:\n    fingerprint = 'f'\n    def __init__(self, model): ...\n"
        "    def generate(self, requests, on_answer=None): raise KeyboardInterrupt\n"
    )
    assert rerank("--journal", "k.sqlite", engine="failing_engine:FailingEngine") == 130
    assert "k.sqlite" not in capsys.readouterr().err  # nothing was answered
    assert rerank("--journal", "j.sqlite") == 0
    again = asked()[len(asked_before) :]
    assert len(again) == 14 - 4 and not set(again) & set(asked_before[:4])
    assert "(4 from the journal)" in capsys.readouterr().err


def test_a_tiny_model_that_says_nothing_readable_leaves_the_first_stage_order(folder, tiny_model_dir, capsys):
    assert rerank("--max-new-tokens", "4", engine="transformers", model=tiny_model_dir) == 0
    assert ranked(read_run("out/new.trec")["q2"]) == list(DOCUMENTS)
    assert "malformed 100.0% of 14 readings (unreadable 100.0%), truncated 100.0%" in capsys.readouterr().err


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
    assert (cost["prompt_tokens"], cost["completion_tokens"]) == (300 * cost["calls"], 5 * cost["calls"])
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


def test_a_device_gets_no_scores_beside_it(folder):
    (folder / "null").symlink_to(os.devnull)
    assert rerank("-o", "null", reranker="own_reranker:Scoring") == 0
    assert not (folder / "null.scores.jsonl").exists()
    assert rerank("-o", "null", "--scores", "s.tsv", reranker="own_reranker:Scoring") == 0
    assert len((folder / "s.tsv").read_text().splitlines()) == 1 + 16


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
        (["--passes", "0"], "--passes is 0; it must be at least 1"),
        (["--shuffles", "0"], "--shuffles is 0; it must be at least 1"),
        (["--max-live", "0"], "--max-live is 0; it must be at least 1"),
        (["--max-calls", "0"], "--max-calls is 0; it must be at least 1"),
        (["--max-tokens", "-5"], "--max-tokens is -5; it must be at least 1"),
        (
            ["--max-cost", "0", "--price-in", "1", "--price-out", "1"],
            "--max-cost is 0.0; it must be a number, more than 0",
        ),
        (["--max-cost", "nan", "--price-in", "1", "--price-out", "1"], "--max-cost is nan; it must be a number"),
        (["--price-in", "-1", "--price-out", "1"], "--price-in is -1.0; it must be a number, 0 or more"),
        (["--price-in", "1", "--price-out", "inf"], "--price-out is inf; it must be a number, 0 or more"),
        (["--max-cost", "5"], "--max-cost needs --price-in and --price-out"),
        (["--max-cost", "5", "--price-in", "1"], "a cost needs both prices: give --price-out too"),
        (["--price-out", "1"], "a cost needs both prices: give --price-in too"),
        (["--json"], "--json belongs to --dry-run"),
        (["--explain-prompts"], "--explain-prompts belongs to --explain FILE"),
        (["--scores", "s.tsv", "--no-scores"], "--scores and --no-scores exclude each other"),
        (["--option", "k"], "option 'k': give NAME=VALUE"),
        (["--option", "k=1", "--option", "k=2"], "option 'k' is given twice"),
        (["--option", "name=x"], "--option name is not an option of a part: it is the first word"),
        (["--option", "card=false"], "--option card is not an option of a part: give --ignore-card"),
        (["--engine-option", "journal=x"], "--engine-option journal is not an option of a part: give --journal"),
        (["--option", "on_answer=1"], "no option of rank_r1 'on_answer'"),
        (["--option", "k=many"], "k must be a whole number of 1 or more, got 'many'"),
        (["--option", "num_chld=3"], "no option of rank_r1 'num_chld', did you mean 'num_child'"),
        (["--batch-size", "3"], "no option of the engine counting_engine:CountingEngine 'batch_size'"),
        (
            ["--engine-option", "sed=3"],
            "no option of the engine counting_engine:CountingEngine 'sed', did you mean 'seed'",
        ),
        (["--engine-option", "num_child=3"], "no option of the engine counting_engine:CountingEngine 'num_child'"),
        (
            ["--option", "seed=1", "--engine-option", "seed=2"],
            "'seed' is given twice: by --option and by --engine-option",
        ),
        (["--option", "max_new_tokens=1", "--max-new-tokens", "2"], "'max_new_tokens' is given twice: by --option and"),
        (["--prompt-template", "mine.txt"], "--prompt-template mine.txt: give a file whose name ends in .yaml or .yml"),
        (["--prompt-template", "mine.yaml"], "--prompt-template: there is no file mine.yaml"),
        (["--engine", "transfomers"], "no engine 'transfomers', did you mean 'transformers'"),
        (["--run", "bm52.trec"], "run not found: bm52.trec"),
        (["--collection", "scifacts"], "no collection 'scifacts', did you mean 'scifact'"),
        (["--split", "dev"], "dev"),
        (["--queries", "mine.tsv"], "queries not found: mine.tsv"),
        (["-o", "c"], "-o c is a folder"),
        (["-o", "bm25.trec"], "-o bm25.trec is one of the files to read"),
        (["-o", "bm25.trec/new.trec"], "is not a folder that you may write to"),
        (["--explain", "out/new.trec"], "-o and --explain are the same file"),
        (["--explain", "x", "--scores", "./x"], "--explain and --scores are the same file"),
        (["--explain", "out/new.trec.json"], "the description of -o and --explain are the same file"),
        (["--explain", "out/new.trec.scores.jsonl"], "the default of --scores and --explain are the same file"),
        (["--journal", "out/../out/new.trec"], "-o and --journal are the same file"),
        (["-o", "c/corpus"], "c/corpus.json describes no run and was left as it is"),
        (["--queries", "mine.jsonl", "-o", "mine.jsonl"], "-o mine.jsonl is one of the files to read"),
        (["--explain", "-"], "--explain cannot go to standard output"),
        (["--scores", "c"], "--scores c is a folder"),
        (["--journal", "c"], "--journal c is a folder"),
        (["--journal", "bm25.trec"], "--journal bm25.trec is one of the files to read"),
        (["--journal", "counting_engine.py"], "counting_engine.py"),
        (["--engine", "transformers", "--model", "./gone"], "no model at ./gone"),
    ],
)
def test_a_mistake_is_one_clear_line_and_no_file(folder, capsys, more, message):
    before = (folder / "bm25.trec").read_bytes()
    (folder / "c" / "corpus.json").write_text("{}")
    (folder / "mine.jsonl").write_text('{"_id": "q1", "text": "mine"}')
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
    (folder / "broken_engine.py").write_text(
        "class BrokenEngine:\n    def __init__(self, model): ...\n    def generate(self, requests, on_answer=None): 1 / 0\n"
    )
    with pytest.raises(ZeroDivisionError):
        rerank("--explain", "calls.jsonl", engine="broken_engine:BrokenEngine")
    left = sorted(path.name for path in folder.iterdir() if not path.name.startswith("__pycache__"))
    assert left == ["bm25.trec", "broken_engine.py", "c", "counting_engine.py", "own_reranker.py"]


@pytest.mark.parametrize(
    ("left_out", "message"), [("-o", "give -o RUN"), ("--model", "give --model, what is to answer")]
)
def test_a_run_needs_a_model_and_a_place(folder, capsys, left_out, message):
    words = {"--run": "bm25.trec", "--collection": "./c", "--model": "x", "-o": "new.trec"}
    del words[left_out]
    assert main(["rerank", "rank_r1", *(word for pair in words.items() for word in pair)]) == 1
    assert message in capsys.readouterr().err


def test_a_mistake_is_said_before_the_engine_is_made(folder, capsys, monkeypatch):
    (folder / "loud_engine.py").write_text(
        "class LoudEngine:\n    def __init__(self, model): raise SystemExit('made')\n"
    )
    for more in (["--option", "k=0"], ["--explain", "c"], ["--split", "dev"], ["--run", "gone"], ["--max-calls", "0"]):
        assert rerank(*more, engine="loud_engine:LoudEngine") == 1
    with pytest.raises(SystemExit, match="made"):
        rerank(engine="loud_engine:LoudEngine")


def test_an_answer_that_is_read_again_is_said_to_be(folder, capsys):
    assert rerank("--passes", "2", reranker="own_reranker:Scoring") == 0
    said = capsys.readouterr().err
    calls = len(asked())
    assert f"{calls} calls" in said and f"malformed 0.0% of {4 * calls} readings (unreadable 0.0%)" in said


def test_explained_calls_tell_what_was_begun_and_what_the_journal_gave(folder):
    more = ["--explain", "calls.jsonl", "--journal", "j.sqlite", "--depth", "2", "--limit", "1"]
    for cached in (False, True):
        assert rerank(*more, reranker="own_reranker:Begun") == 0
        _, *calls = lines("calls.jsonl")
        assert [(call["begun"], call["cached"]) for call in calls] == [("Relevant:", cached)] * 2


def test_a_foreign_file_in_the_place_of_the_description_is_said_before_anything_is_asked(folder, capsys):
    (folder / "out").mkdir()
    (folder / "out" / "new.trec.json").mkdir()
    assert rerank() != 0
    assert "new.trec.json" in capsys.readouterr().err and not (folder / "asked.log").exists()


@pytest.mark.parametrize(
    ("given", "engine"),
    [
        ((), "transformers"),
        (("--engine=openai",), "openai"),
        (("--engine", "classifier", "--engine=openai"), "openai"),
        (("--engine=classifier", "--engine", "openai"), "openai"),
    ],
)
def test_help_ends_with_the_fields_and_the_options_of_the_engine_that_counts(capsys, given, engine):
    with pytest.raises(SystemExit):
        main(["rerank", "rank_r1", *given, "--help"])
    said = capsys.readouterr().out
    assert "fields of rank_r1 (--option):\n  num_child=" in said and f"options of the engine {engine} (" in said
    assert ("base_url" in said.rpartition("options of the engine")[2]) == (engine == "openai")


def test_a_failure_without_a_journal_speaks_of_none(folder, capsys, monkeypatch):
    (folder / "failing.py").write_text(
        "from counting_engine import CountingEngine\nclass Failing(CountingEngine):\n"
        "    def answer(self, request):\n        from rankrl.errors import DataError\n"
        "        self.n = getattr(self, 'n', 0) + 1\n"
        "        if self.n > 3:\n            raise DataError('gone')\n        return super().answer(request)\n"
    )
    assert rerank("--depth", "3", engine="failing:Failing") != 0
    said = capsys.readouterr().err
    assert "gone" in said and "None" not in said and "goes on from there" not in said


def test_a_card_of_another_reranker_is_refused_unless_it_is_ignored(folder, capsys):
    (folder / "m").mkdir()
    card = {"reranker": "setwise", "options": {}, "engine_options": {}, "prompt_sha256": "0"}
    (folder / "m" / "rankrl.json").write_text(json.dumps(card))
    assert rerank("--depth", "2", model="m") != 0
    assert "was trained as 'setwise'" in capsys.readouterr().err and not (folder / "asked.log").exists()
    assert rerank("--depth", "2", "--ignore-card", model="m") == 0
