"""`rankrl replay`: runs built again from real logs of other tools, from our own calls and journals, without a model."""

from __future__ import annotations

import gzip
import json
import re
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.cli import main
from rankrl.errors import DataError
from rankrl.lookup import lookup, names
from rankrl.parsing.permutation import parse_permutation
from rankrl.provenance import read_provenance
from rankrl.replaying.candidates import shown_candidates
from rankrl.replaying.engine import replay_orders, textless
from rankrl.replaying.recordings import Asker, Recording, _keep
from rankrl.replaying.windows import Window, read_windows, replay_windows
from rankrl.runs import ranked, read_run
from rankrl.types import Answer, Candidate, CandidateList, Query, Request

sys.path.insert(0, str(Path(__file__).resolve().parent))
from random_answers import answer_to

EXCERPT = Path(__file__).with_name("data") / "rankvicuna_logs"
SHARED = Path(__file__).parents[2] / "shared" / "data"
LOGS = sorted(path.name for path in EXCERPT.glob("*.jsonl"))


def rows_of(path):
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def replayed_by_hand(rows):
    """qid -> labels d1..d100 after all windows; every number is a label. Nothing of rankrl is used."""
    orders = defaultdict(lambda: [f"d{i}" for i in range(1, 101)])
    for row in rows:
        window = orders[row["qid"]][row["start"] : row["end"]]
        named = []
        for label in map(int, re.findall("[0-9]+", row["response"])):
            if 1 <= label <= row["n"] and window[label - 1] not in named:
                named.append(window[label - 1])
        orders[row["qid"]][row["start"] : row["end"]] = named + [docid for docid in window if docid not in named]
    return dict(orders)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A first stage d1..d120 for every topic of the excerpt and for one more."""
    monkeypatch.chdir(tmp_path)
    qids = [*sorted({row["qid"] for name in LOGS for row in rows_of(EXCERPT / name)}), "more"]
    lines = [f"{qid} Q0 d{i} {i} {200 - i} bm25\n" for qid in qids for i in range(1, 121)]
    (tmp_path / "bm25.trec").write_text("".join(lines))
    return tmp_path


def replay(log, *more, output="out.trec"):
    where = ["-o", output] if output else []
    return main(["replay", str(log), "--run", "bm25.trec", *where, *more])


def refused(capsys, *args, **more):
    assert replay(*args, **more) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("name", LOGS)
def test_real_answers_give_the_order_worked_out_apart(folder, name):
    assert replay(EXCERPT / name) == 0
    expected = replayed_by_hand(rows_of(EXCERPT / name))
    run = read_run("out.trec")
    assert set(run) == set(expected)
    for qid, docids in expected.items():
        assert ranked(run[qid]) == [*docids, *(f"d{i}" for i in range(101, 121))]
        assert len(set(run[qid].values())) == 120


def test_what_was_replayed_stands_beside_the_run_and_is_said(folder, capsys):
    assert replay(EXCERPT / "vicuna-13b-v1.5.jsonl", "--report") == 0
    said = capsys.readouterr()
    numbers = [re.findall("[0-9]+", row["response"]) for row in rows_of(EXCERPT / "vicuna-13b-v1.5.jsonl")]
    different = sum(len(set(found)) for found in numbers)
    heads, line = (re.split(r"  +", text) for text in said.out.splitlines())
    assert dict(zip(heads, line, strict=True)) == {
        "log": "vicuna-13b-v1.5.jsonl", "read by": "digits", "topics": "3", "answers": "27", "ok": "0", "repaired": "27",
        "failed": "0", "repeated": str(sum(map(len, numbers)) - different), "out of range": "0",
        "missing": str(27 * 20 - different), "malformed": "27", "truncated": "0",
        "unrecorded": "0",
    }  # fmt: skip
    assert "27 answers, 0 ok, 27 repaired, 0 failed; 8 of 11 topics of bm25.trec are not in it" in said.err
    found = read_provenance("out.trec")
    assert found["replay"]["rule"] == "digits" and found["replay"]["depth"] == 100 and found["topics"] == 3
    assert len(found["replay"]["sha256"]) == len(found["first_stage"]["sha256"]) == 64
    assert found["answers"]["repaired"] == 27


@pytest.mark.parametrize("more", [[], ["--rule", "brackets"], ["--reranker", "listwise"]])
def test_a_run_built_of_windows_calls_itself_a_replay(folder, more):
    assert replay(EXCERPT / "rankvicuna.jsonl", *more) == 0
    assert {line.split()[5] for line in Path("out.trec").read_text().splitlines()} == {"replay"}


def test_windows_whose_passages_another_rule_has_moved_are_counted(folder, capsys):
    """The answer to a window was about what the log's own rule had put there."""
    rows = [
        {"qid": "264014", "start": 2, "end": 4, "response": "1. [2] > [1]"},
        {"qid": "264014", "start": 1, "end": 3, "response": "[1]"},
        {"qid": "264014", "start": 0, "end": 2, "response": "[1]"},
    ]
    Path("log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert replay("log.jsonl", "--rule", "brackets") == 0
    assert "in 1 of 3 windows, other passages or another order stand now" in capsys.readouterr().err
    assert read_provenance("out.trec")["replay"]["windows_about_others"] == 1
    assert replay("log.jsonl") == 0
    assert "other passages" not in capsys.readouterr().err
    assert read_provenance("out.trec")["replay"]["windows_about_others"] == 0


def test_windows_that_a_reranker_reads_are_compared_with_how_they_were_asked(folder, capsys):
    """Rank-R1 reads none of these answers, so that every window moves nothing where the log's own rule did."""
    assert replay(EXCERPT / "rankvicuna.jsonl", "--reranker", "rank_r1") == 0
    rows = rows_of(EXCERPT / "rankvicuna.jsonl")
    moved = int(re.search(rf"in (\d+) of {len(rows)} windows, other passages", capsys.readouterr().err)[1])
    assert 0 < moved == read_provenance("out.trec")["replay"]["windows_about_others"] <= len(rows)


def test_a_better_parser_reads_an_old_log_anew(folder):
    """Of "20 passages are provided." the digits rule puts passage 20 first; the bracket rule sees no order."""
    log = EXCERPT / "vicuna-13b-v1.5.jsonl"
    for more in (["--rule", "brackets"], ["--reranker", "listwise"]):
        assert replay(log, *more) == 0
        assert ranked(read_run("out.trec")["264014"]) == [f"d{i}" for i in range(1, 121)]
    assert replay(log, "--reranker", "listwise", "--option", "compat=upstream") == 0
    by_hand = replayed_by_hand(rows_of(log))["264014"]
    assert ranked(read_run("out.trec")["264014"])[:100] == by_hand != [f"d{i}" for i in range(1, 101)]


def test_calls_are_explained_and_topics_limited(folder):
    assert replay(EXCERPT / "rankvicuna.jsonl", "--limit", "1", "--explain", "calls.jsonl", output=None) == 0
    calls = rows_of("calls.jsonl")
    assert len(calls) == 9 and {call["qid"] for call in calls} == {"489204"}
    first = rows_of(EXCERPT / "rankvicuna.jsonl")[0]
    assert calls[0]["docids"] == [f"d{i}" for i in range(81, 101)] and calls[0]["text"] == first["response"]
    reading = parse_permutation(first["response"], 20, rule="digits")
    assert calls[0]["order"] == [f"d{i + 81}" for i in reading.ranking.order]
    assert calls[0]["status"] == "repaired" and calls[0]["report"]["malformed"]


def test_a_packed_log_is_read_as_it_is(folder):
    plain = EXCERPT / "rankvicuna.jsonl"
    (folder / "log.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert replay(plain, output="a.trec") == replay("log.jsonl.gz", output="b.trec") == 0
    assert Path("a.trec").read_bytes() == Path("b.trec").read_bytes()


@pytest.mark.skipif(not (SHARED / "rankvicuna-logs").is_dir(), reason="the twelve logs are not here")
@pytest.mark.parametrize("entry", range(12))
def test_each_of_the_twelve_logs_gives_its_published_ndcg(entry, tmp_path, capsys):
    log = json.loads((SHARED / "rankvicuna-logs" / "index.json").read_text())[entry]
    path, run = SHARED / "rankvicuna-logs" / log["file"], tmp_path / "out.trec"
    first_stage = SHARED / log["first_stage_run"]
    assert main(["replay", str(path), "--run", str(first_stage), "--depth", str(log["depth"]), "-o", str(run)]) == 0
    capsys.readouterr()
    measure = ["--metrics", "nDCG@10", "--format", "json", "--collection", str(SHARED / "dl19")]
    assert main(["evaluate", str(run), *measure]) == 0
    (found,) = json.loads(capsys.readouterr().out)["runs"].values()
    assert f"{found['measures']['nDCG@10']['mean']:.4f}" == f"{log['ndcg_cut_10_after_replay']:.4f}"
    assert read_provenance(run)["answers"]["answers"] == log["responses"]


ROW = {"qid": "q", "window": 0, "start": 0, "end": 3, "n": 3, "response": "[2]"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**ROW, "qid": "x"}], "log.jsonl:1: the first stage has no topic 'x'"),
        ([{**ROW, "end": 0}], "log.jsonl:1: the window goes from 0 to 0"),
        ([{**ROW, "start": -1, "n": 4}], "log.jsonl:1: the window goes from -1 to 3"),
        ([{**ROW, "n": 4}], "log.jsonl:1: n is 4, but the window from 0 to 3 has 3 places"),
        ([{**ROW, "end": 3.0}], "log.jsonl:1: end is 3.0; expected a whole number"),
        ([{**ROW, "start": True}], "log.jsonl:1: start is True; expected a whole number"),
        ([{**ROW, "response": None}], "log.jsonl:1: the response is None; expected a text"),
        ([ROW, {**ROW, "window": 2}], "log.jsonl:2: topic 'q': window 2 where 1 is next; a row is missing"),
        (
            [ROW, {**ROW, "window": 1}] * 2,
            "log.jsonl:3: topic 'q': window 0 where 2 is next; are two logs in one file?",
        ),
        ([ROW, *[{**ROW, "window": 1}] * 2], "log.jsonl:3: topic 'q': window 1 where 2 is next; a row is there twice"),
        ([{**ROW, "window": 1}], "log.jsonl:1: topic 'q': window 1 where 0 is next; a row is missing"),
        ([ROW, ROW], "log.jsonl:2: topic 'q': window 0 where 1 is next; are two logs in one file?"),
        ([ROW, {"text": "x"}], "log.jsonl:2: not the row of a window"),
        ([ROW, 7], "log.jsonl:2: not the row of a window"),
        ([{**ROW, "start": 2, "end": 6, "n": 4}], "log.jsonl:1: topic 'q': the window ends at 6, but there are only 5"),
        ([], "log.jsonl is empty"),
        ([7], "log.jsonl:1: not a call of --explain: 7"),
        ([{"qid": "q", "text": "x"}], "log.jsonl:1: a call without docids"),
    ],
)
def test_a_log_that_cannot_be_right_is_refused_with_its_line(tmp_path, monkeypatch, capsys, rows, message):
    monkeypatch.chdir(tmp_path)
    Path("bm25.trec").write_text("".join(f"q Q0 d{i} {i} {9 - i} bm25\n" for i in range(5)))
    Path("log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert message in refused(capsys, "log.jsonl")
    assert not Path("out.trec").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--depth", "0"], "--depth is 0"),
        (["--depth", "50"], "there are only 50 candidates; give the first stage and the --depth"),
        (["--passes", "2"], "--passes is for what rankrl recorded"),
        (["--collection", "scifact"], "--collection is for what rankrl recorded"),
        (["--missing", "stop"], "--missing is for what rankrl recorded"),
        (["--option", "k=5"], "has rows of windows: give --reranker too"),
        (["--rule", "digits", "--reranker", "listwise"], "give it or --reranker"),
        (["--rule", "digits", "--option", "size=3"], "--rule has none"),
        (["--reranker", "listwize"], "no reranker 'listwize', did you mean 'listwise'"),
        (["--reranker", "listwise", "--option", "windov=3"], "no option of listwise 'windov', did you mean 'window'"),
        (["--explain", "out.trec"], "-o and --explain are the same file"),
    ],
)
def test_options_that_do_not_fit_are_refused(folder, capsys, more, message):
    assert message in refused(capsys, EXCERPT / "rankvicuna.jsonl", *more)
    assert not (folder / "out.trec").exists()


def test_nothing_is_read_for_nothing_and_no_input_is_replaced(folder, capsys):
    assert "give -o RUN, --report or --explain" in refused(capsys, EXCERPT / "rankvicuna.jsonl", output=None)
    assert "-o bm25.trec is one of the files to read" in refused(capsys, EXCERPT / LOGS[0], output="bm25.trec")
    assert "log not found: nowhere.jsonl" in refused(capsys, "nowhere.jsonl")


def test_a_log_that_lacks_its_last_rows_is_read_and_said_to_be_cut_off(folder, capsys):
    rows = [json.dumps(row) + "\n" for row in rows_of(EXCERPT / "rankvicuna.jsonl")]
    Path("whole.jsonl").write_text("".join(rows))
    Path("cut.jsonl").write_text("".join(rows[:-2]))
    assert replay("whole.jsonl") == 0 and "cut off" not in capsys.readouterr().err
    assert replay("cut.jsonl") == 0
    qid = json.loads(rows[-1])["qid"]
    assert (
        f"cut.jsonl seems cut off: of 1 topics ({qid!r} first) the windows end at place 20" in capsys.readouterr().err
    )


@given(st.data())
def test_windows_only_ever_reorder_what_they_hold(data):
    docids = [f"d{i}" for i in range(data.draw(st.integers(1, 12)))]
    windows = []
    for number in range(data.draw(st.integers(0, 5))):
        start = data.draw(st.integers(0, len(docids) - 1))
        end = data.draw(st.integers(start + 1, len(docids)))
        windows.append(Window(f"log:{number}", "q", start, end, data.draw(st.text("[]0123456789 >", max_size=20))))
    order = list(docids)
    for window in windows:
        before = list(order)
        order = replay_windows([window], {"q": order}, parse_permutation).orders["q"]
        assert sorted(order) == sorted(docids)
        assert order[: window.start] == before[: window.start] and order[window.end :] == before[window.end :]
    if windows:
        assert replay_windows(windows, {"q": docids}, parse_permutation).orders["q"] == order


def test_windows_without_numbers_are_taken_in_file_order(tmp_path):
    (tmp_path / "log").write_text('{"qid": 7, "start": 1, "end": 3, "response": "[2]"}\n' * 2)
    assert [(w.qid, w.start, len(w)) for w in read_windows(tmp_path / "log")] == [("7", 1, 2)] * 2


# what rankrl itself recorded


def candidates(qid, n, score=None):
    texts = (f"passage {qid} {i} of many words about the query" for i in range(n))
    return CandidateList(
        Query(qid, f"what is {qid}"), tuple(Candidate(f"{qid}-{i}", t, score=float(n - i)) for i, t in enumerate(texts))
    )


def recorded(reranker, listings, *, seed=0):
    """(orders, recording) of orderings that are answered by `answer_to`."""
    recording, orders = Recording(Asker("it")), {}
    for listing in listings:
        steps, answers = reranker.order(listing), None
        while True:
            try:
                asked = next(steps) if answers is None else steps.send(answers)
            except StopIteration as stop:
                orders[listing.query.qid] = stop.value.docids(listing)
                break
            answers = [answer_to(request, seed=seed) for request in asked]
            for request, answer in zip(asked, answers, strict=True):
                at = (request.shown.query.qid, request.shown.docids, request.choices, request.sample)
                _keep(recording.answers, at, request.key, request.begun, answer)
    return orders, recording


@pytest.mark.parametrize("name", names("rerankers"))
@pytest.mark.parametrize("n", [1, 2, 7, 25])
def test_every_reranker_comes_out_again_without_a_text(name, n):
    reranker = lookup(name, "rerankers")()
    listings = [candidates(qid, n) for qid in ("a", "b")]
    for seed in range(3):
        orders, recording = recorded(reranker, listings, seed=seed)
        lists = textless({one.query.qid: [(c.docid, c.score) for c in one.candidates] for one in listings})
        replay = replay_orders(reranker, lists, recording)
        assert replay.orders == orders
        assert replay.tally.answers >= sum(map(len, recording.answers.values()))
        assert replay.tally.unrecorded == 0


@pytest.mark.parametrize("left", [0, 2, 5])
def test_every_request_that_was_never_recorded_is_counted(left):
    reranker = lookup("yes_no", "rerankers")()  # a request for each passage, all in one batch
    _, recording = recorded(reranker, [candidates("a", 5)])
    for at in list(recording.answers)[left:]:
        del recording.answers[at]
    lists = textless({"a": [(docid, 1.0) for docid in candidates("a", 5).docids]})
    told = []
    replay = replay_orders(reranker, lists, recording, missing="first_stage", on_call=lambda *call: told.append(call))
    assert (replay.tally.answers, replay.tally.unrecorded) == (left, 5 - left)
    assert len(told) == 5 and all(len(answer.scores) == len(asked.choices) == 2 for asked, answer, _ in told)
    if left < 5:
        with pytest.raises(DataError, match=f"^{5 - left} requests of 1 topics were never recorded"):
            replay_orders(reranker, lists, recording)


def test_answers_that_were_cut_are_counted():
    reranker = lookup("listwise", "rerankers")()
    _, recording = recorded(reranker, [candidates("a", 40)])
    for number, kept in enumerate(recording.answers.values()):
        for key, (begun, answer) in kept.items():
            kept[key] = (begun, replace(answer, finish_reason="stop" if number else "length"))
    lists = textless({"a": [(docid, 1.0) for docid in candidates("a", 40).docids]})
    tally = replay_orders(reranker, lists, recording).tally
    assert (tally.answers, tally.truncated) == (3, 1)


def test_two_topics_without_texts_are_never_asked_alike():
    one, two = textless({"a": [("d1", 1.0), ("d2", 0.5)], "b": [("d1", 1.0), ("d2", 0.5)]})
    texts = [one.query.text, two.query.text, *(c.text for c in one.candidates)]
    assert len(set(texts)) == 4 and all(len(text.split()) == 1 for text in texts)


def test_different_answers_about_the_same_passages_are_not_guessed_between():
    reranker = lookup("rank_r1", "rerankers")()
    _, recording = recorded(reranker, [candidates("a", 3)])
    found = next(iter(recording.answers.values()))
    found["other key"] = ("", Answer("something else"))
    lists = textless({"a": [(docid, 1.0) for docid in candidates("a", 3).docids]})
    with pytest.raises(DataError, match="2 different answers to prompts about topic 'a': a-"):
        replay_orders(reranker, lists, recording)


def test_of_several_prompts_about_a_passage_the_one_that_began_alike_was_answered():
    listing = candidates("a", 1)
    recording = Recording(Asker("it"))
    for begun in ("", "so far", "further"):
        _keep(recording.answers, ("a", listing.docids, (), 0), f"key {begun}", begun, Answer(f"after {begun}"))
    prompt = [{"role": "user", "content": "?"}]
    for begun in ("so far", "further"):
        request = Request([*prompt, {"role": "assistant", "content": begun}], shown=listing)
        assert recording.answer(request) == Answer(f"after {begun}")
    assert recording.answer(Request(prompt, shown=listing)) == Answer("after ")
    assert recording.answer(Request(prompt, shown=listing, sample=1)) is None
    with pytest.raises(DataError, match="does not say what its requests show"):
        recording.answer(Request(prompt))


@pytest.mark.parametrize(
    ("shown", "depth", "reranked", "below"),
    [
        ({"q": ["d1", "d3"]}, None, ["d1", "d2", "d3"], ["q", "d4"]),
        ({"q": ["d1", "d3"]}, 2, None, None),
        ({"q": ["d1"]}, 3, ["d1", "d2", "d3"], ["q", "d4"]),
        ({"q": ["d1", "d4"]}, None, ["d1", "d2", "d3", "d4"], []),
        ({"q": ["q"]}, 4, ["d1", "d2", "d3", "q"], ["d4"]),
        ({"q": ["d1"]}, 4, ["d1", "d2", "d3", "d4"], []),
    ],
)
def test_the_candidates_are_those_that_rerank_had(shown, depth, reranked, below):
    """A document whose id is the topic's is left out where it would have been a candidate and was never shown."""
    first_stage = {"other": {"x": 1.0}, "q": {"d1": 5.0, "d2": 4.0, "d3": 3.0, "q": 2.0, "d4": 1.0}}
    if reranked is None:
        with pytest.raises(DataError, match="the log shows 'd3'"):
            shown_candidates(first_stage, shown, depth=depth)
        return
    found = shown_candidates(first_stage, shown, depth=depth)
    assert (found.reranked, found.below) == ({"q": reranked}, {"q": below})
    assert list(found.with_tails({"q": reranked})["q"]) == [*reranked, *below]


def test_exclusions_that_are_known_count_and_a_topic_that_is_not_there_is_refused():
    first_stage = {"q": {"d1": 5.0, "d2": 4.0, "q": 2.0}}
    found = shown_candidates(first_stage, {"q": ["d2"]}, depth=1, exclusions={"q": ["d1"]})
    assert (found.reranked, found.below) == ({"q": ["d2"]}, {"q": ["q"]})
    with pytest.raises(DataError, match="no topic 'p'"):
        shown_candidates(first_stage, {"p": ["d2"]})


# the commands, one after the other

SCRIPTED = """
import sys
sys.path.insert(0, {here!r})
from random_answers import RandomEngine
"""


@pytest.fixture
def collection(tmp_path, monkeypatch):
    """A collection `c` with topics b, a, of which a document is one, and a first stage `bm25.trec` in another order."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    here = str(Path(__file__).resolve().parent)
    (tmp_path / "scripted_engine.py").write_text(SCRIPTED.format(here=here))
    (tmp_path / "c" / "qrels").mkdir(parents=True)
    docids = [*(f"d{i}" for i in range(30)), "a"]
    corpus = [json.dumps({"_id": docid, "title": "", "text": f"text of {docid}"}) for docid in docids]
    (tmp_path / "c" / "corpus.jsonl").write_text("\n".join(corpus))
    queries = [json.dumps({"_id": qid, "text": f"question {qid}"}) for qid in ("b", "one", "a")]
    (tmp_path / "c" / "queries.jsonl").write_text("\n".join(queries))
    (tmp_path / "c" / "qrels" / "test.tsv").write_text("b\td7\t1\none\td3\t1\na\td6\t1\n")
    lists = {"other": docids, "a": docids[::-1], "one": ["d3"], "b": docids}
    lines = [f"{qid} Q0 {d} {i} {99 - i} bm25\n" for qid, listed in lists.items() for i, d in enumerate(listed)]
    (tmp_path / "bm25.trec").write_text("".join(lines))
    return tmp_path


def rerank(reranker, *more, output="new.trec"):
    where = ["--run", "bm25.trec", "--collection", "./c", "--model", "x", "-o", output]
    return main(["rerank", reranker, *where, "--engine", "scripted_engine:RandomEngine", "--depth", "12", *more])


@pytest.mark.parametrize("reranker", names("rerankers"))
def test_the_run_of_rerank_comes_out_byte_for_byte(collection, reranker):
    assert rerank(reranker, "--explain", "calls.jsonl", "--journal", "calls.sqlite") == 0
    original = Path("new.trec").read_bytes()
    assert replay("calls.jsonl", output="again.trec") == 0
    assert Path("again.trec").read_bytes() == original
    assert "a Q0 a " not in original.decode() and [*read_run("again.trec")] == ["b", "one", "a"]
    assert replay("calls.sqlite", "--collection", "./c", "--depth", "12", output="third.trec") == 0
    assert Path("third.trec").read_bytes() == original
    assert (
        replay("calls.sqlite", output="fourth.trec") == 0
    )  # only what was asked, in the first stage's order of topics
    fourth, first = read_run("fourth.trec"), read_run("new.trec")
    assert [qid for qid in fourth if qid != "one"] == ["a", "b"]
    assert fourth == {qid: first[qid] for qid in fourth}


@pytest.mark.parametrize("more", [["--passes", "2"], ["--shuffles", "3"], ["--passes", "2", "--shuffles", "2"]])
def test_passes_and_shuffles_are_read_from_the_log(collection, more):
    assert rerank("rank_r1", *more, "--explain", "calls.jsonl", "--option", "k=3") == 0
    assert replay("calls.jsonl", output="again.trec") == 0
    assert Path("again.trec").read_bytes() == Path("new.trec").read_bytes()


def test_a_replay_can_be_replayed(collection):
    assert rerank("listwise", "--explain", "calls.jsonl", "--option", "window=4", "--option", "stride=2") == 0
    assert replay("calls.jsonl", "--explain", "again.jsonl", output=None) == 0
    assert replay("again.jsonl", output="again.trec") == 0
    assert Path("again.trec").read_bytes() == Path("new.trec").read_bytes()


def test_the_same_answers_give_fewer_best_ones_or_are_read_another_way(collection, capsys):
    assert rerank("rank_r1", "--explain", "calls.jsonl", "--option", "k=6", "--option", "num_child=3") == 0
    assert rerank("rank_r1", "--option", "k=2", "--option", "num_child=3", output="two.trec") == 0
    assert replay("calls.jsonl", "--option", "k=2", output="again.trec") == 0
    assert Path("again.trec").read_bytes() == Path("two.trec").read_bytes()
    assert read_provenance("again.trec")["replay"]["reranker"]["settings"]["k"] == 2
    assert read_provenance("again.trec")["replay"]["recorded"]["settings"]["k"] == 6


def test_the_same_calls_are_read_by_another_rule(collection):
    assert rerank("listwise", "--explain", "calls.jsonl", "--option", "window=12") == 0
    header, *calls = rows_of("calls.jsonl")
    calls = [{**call, "text": "1. [3] > 2. [5]"} for call in calls]
    Path("calls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [header, *calls]))
    for compat, first in (("rankrl", ["d2", "d4", "d0", "d1", "d3"]), ("upstream", ["d0", "d2", "d1", "d4", "d3"])):
        assert replay("calls.jsonl", "--option", f"compat={compat}", "--report") == 0
        assert ranked(read_run("out.trec")["b"])[:5] == first


def test_another_reranker_reads_calls_with_its_own_settings_and_without_a_remark_on_its_words(collection, capsys):
    assert rerank("listwise", "--explain", "calls.jsonl", "--option", "passage_words=7") == 0
    capsys.readouterr()
    assert replay("calls.jsonl", "--reranker", "reasonrank", output="again.trec") == 0
    said = capsys.readouterr().err
    assert "read by reasonrank: 3 topics, 2 answers" in said and "other words" not in said
    assert read_provenance("again.trec")["replay"]["reranker"]["settings"]["window"] == 20


def test_what_was_never_asked_is_counted_named_and_can_be_read_as_unreadable(collection, capsys):
    assert rerank("rank_r1", "--explain", "calls.jsonl", "--option", "num_child=3", "--option", "shuffle=false") == 0
    lines = Path("calls.jsonl").read_text().splitlines()
    Path("calls.jsonl").write_text("\n".join(lines[:3]) + "\n")
    capsys.readouterr()
    line = refused(capsys, "calls.jsonl", output="again.trec")
    assert re.search(r"\d+ requests of 2 topics were never recorded \(topic 'b': d\d+, ", line)
    assert replay("calls.jsonl", "--missing", "first_stage", "--report", output="again.trec") == 0
    said = capsys.readouterr()
    assert "2 answers" in said.err and "requests never recorded" in said.err
    assert int(said.out.splitlines()[1].split()[-1]) > 2


def test_a_run_that_a_limit_stopped_comes_out_as_it_was(collection):
    scored = ["--option", "mode=likelihood", "--max-calls", "30"]
    assert rerank("setwise", "--explain", "calls.jsonl", "--option", "compat=upstream", *scored) == 3
    assert replay("calls.jsonl", "--missing", "stop", output="again.trec") == 0
    assert Path("again.trec").read_bytes() == Path("new.trec").read_bytes()
    assert replay("calls.jsonl", output="x.trec") == 1
    assert replay("calls.jsonl", "--missing", "first_stage", output="x.trec") == 0
    assert Path("x.trec").read_bytes() != Path("new.trec").read_bytes()


def test_of_several_recordings_in_a_journal_one_is_chosen(collection, capsys):
    settings = ["--journal", "calls.sqlite", "--option", "num_child=3"]
    assert rerank("rank_r1", *settings, "--option", "k=2", output="two.trec") == 0
    assert rerank("rank_r1", *settings, "--option", "k=6", output="six.trec") == 0
    assert rerank("listwise", "--journal", "calls.sqlite", output="list.trec") == 0
    capsys.readouterr()
    line = refused(capsys, "calls.sqlite")
    assert "3 recordings fit; choose with --reranker, --fingerprint or --recording NUMBER: 1. rank_r1 (" in line
    for more, original in (
        (["--recording", "1"], "two.trec"),
        (["--recording", "2"], "six.trec"),
        (["--reranker", "listwise"], "list.trec"),
    ):
        assert replay("calls.sqlite", *more, "--collection", "./c", "--depth", "12") == 0
        assert Path("out.trec").read_bytes() == Path(original).read_bytes()
    capsys.readouterr()
    assert "no recording fits" in refused(capsys, "calls.sqlite", "--fingerprint", "ffff")
    assert "no recording fits" in refused(capsys, "calls.sqlite", "--recording", "4")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [rows[0], *rows], "calls.jsonl:2: a second header; are two logs in one file?"),
        (lambda rows: rows[1:], "does not say which reranker asked; give --reranker NAME"),
        (lambda rows: rows[:1], "no calls in calls.jsonl"),
        (
            lambda rows: [rows[0], {**rows[1], "docids": "d1"}],
            "calls.jsonl:2: docids is 'd1'; expected a list of texts",
        ),
        (lambda rows: [rows[0], {**rows[1], "sample": 1.5}], "calls.jsonl:2: sample is 1.5; expected a whole number"),
        (lambda rows: [rows[0], {**rows[1], "text": None}], "calls.jsonl:2: text and begun must be texts"),
        (lambda rows: [rows[0], {**rows[1], "scores": [1.0]}], "calls.jsonl:2: 1 scores for 0 choices"),
        (
            lambda rows: [rows[0], {**rows[1], "scores": "x"}],
            "calls.jsonl:2: scores is 'x'; expected a list of numbers",
        ),
        (lambda rows: [rows[0], {**rows[1], "tokens": [["a"]]}], "calls.jsonl:2: tokens is [['a']]; expected [text,"),
        (lambda rows: [{**rows[0], "settings": 3}, *rows[1:]], "calls.jsonl:1: a header has the name of a reranker"),
        (lambda rows: [rows[0], {**rows[1], "qid": "p"}], "no topic"),
        (lambda rows: [rows[0], {**rows[1], "docids": ["x"]}], "the log shows 'x'"),
    ],
)
def test_calls_that_cannot_be_right_are_refused(collection, capsys, change, message):
    assert rerank("rank_r1", "--explain", "calls.jsonl") == 0
    rows = change(rows_of("calls.jsonl"))
    Path("calls.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    assert message in refused(capsys, "calls.jsonl")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rule", "brackets"], "--rule is for rows of windows"),
        (["--fingerprint", "ab"], "--fingerprint is for journals"),
        (["--depth", "3"], "which is not among the first 3 of the first stage"),
        (["--option", "num_child=x"], "num_child must be a whole number"),
    ],
)
def test_options_that_do_not_fit_calls_are_refused(collection, capsys, more, message):
    assert rerank("rank_r1", "--explain", "calls.jsonl") == 0
    capsys.readouterr()
    assert message in refused(capsys, "calls.jsonl", *more)
