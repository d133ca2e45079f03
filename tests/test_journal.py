"""The journal: what is stored is not asked again, by nobody; what is no journal is refused in one line."""

from __future__ import annotations

import math
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from rankrl.engines._records import answer_as_json, answer_of, request_as_json, request_of
from rankrl.engines.drive import drive
from rankrl.engines.journal import Asker, Journal, check_journal, recorded
from rankrl.engines.ledger import Ledger
from rankrl.errors import ConfigError, DataError
from rankrl.types import Answer, Candidate, CandidateList, Query, Ranking, Request, Token


class Counting:
    """Answers "0", "1", … in the order in which it is asked; tells each answer as it comes when `tells`."""

    def __init__(self, fingerprint="counting", *, tells=False, breaks_after=None):
        self.fingerprint, self.tells, self.breaks_after, self.asked = fingerprint, tells, breaks_after, []

    def generate(self, requests, on_answer=None):
        answers = []
        for i, request in enumerate(requests):
            if len(self.asked) == self.breaks_after:
                raise RuntimeError("broken")
            answers.append(Answer(str(len(self.asked)), 10, 3))
            self.asked.append(request.prompt[-1]["content"])
            if self.tells:
                on_answer(i, answers[-1])
        return answers


def ask(text, shown=None, **more):
    return Request([{"role": "user", "content": text}], shown=shown, **more)


def showing(qid, *docids):
    return CandidateList(Query(qid, "query text"), tuple(Candidate(docid, "text of " + docid) for docid in docids))


def texts(answers):
    return [answer.text for answer in answers]


@pytest.mark.parametrize("tells", [False, True])
def test_what_is_stored_is_not_asked_again(tmp_path, tells):
    engine = Counting(tells=tells)
    with Journal(engine, tmp_path / "j") as journal:
        assert texts(journal.generate([ask("a"), ask("b"), ask("a")])) == ["0", "1", "0"]
        told = []
        again = journal.generate([ask("c"), ask("b"), ask("a")], lambda i, answer: told.append((i, answer.text)))
    assert texts(again) == ["2", "1", "0"] and sorted(told) == [(0, "2"), (1, "1"), (2, "0")]
    assert [answer.cached for answer in again] == [False, True, True]
    other = Counting()
    with Journal(other, tmp_path / "j") as journal:
        assert texts(journal.generate([ask("a"), ask("b"), ask("c")])) == ["0", "1", "2"]
        assert journal.generate([]) == []
    assert engine.asked == ["a", "b", "c"] and other.asked == []


def test_another_engine_another_sample_other_choices_are_other_questions(tmp_path):
    variants = [
        ask("a"),
        ask("a", sample=1),
        ask("a", choices=("yes",)),
        ask("a", stop=("x",)),
        ask("a", logprobs=True),
    ]
    first, second = Counting(), Counting("another")
    Journal(first, tmp_path / "j").generate(variants)
    Journal(second, tmp_path / "j").generate(variants)
    assert len(first.asked) == len(second.asked) == 5
    assert [found.fingerprint for found in recorded(tmp_path / "j")] == ["counting"] * 5 + ["another"] * 5


def test_answers_that_were_told_before_an_engine_broke_are_kept(tmp_path):
    engine = Counting(tells=True, breaks_after=2)
    with pytest.raises(RuntimeError, match="broken"), Journal(engine, tmp_path / "j") as journal:
        journal.generate([ask(text) for text in "abcd"])
    assert [found.request for found in recorded(tmp_path / "j")] == [ask("a"), ask("b")]
    whole = Counting()
    Journal(whole, tmp_path / "j").generate([ask(text) for text in "abcd"])
    assert whole.asked == ["c", "d"]


def test_what_is_recorded_is_enough_to_read_it_again(tmp_path):
    asker = Asker("rank_r1", {"k": 3, "path": Path("x")}, "abc")
    listing = showing("q1", "d2", "d1")
    requests = [ask("a", listing, choices=("A", "B")), ask("b", listing.pick([1])), ask("c")]
    with Journal(Counting(), tmp_path / "sub" / "j", asker=asker) as journal:
        journal.generate(requests)
    found = list(recorded(tmp_path / "sub" / "j"))
    assert [(one.qid, one.docids) for one in found] == [("q1", ("d2", "d1")), ("q1", ("d1",)), ("", ())]
    assert [one.request for one in found] == requests and [one.request.key for one in found] == [
        r.key for r in requests
    ]
    assert [one.answer for one in found] == [Answer(str(i), 10, 3) for i in range(3)]
    assert {(one.reranker, one.prompt_sha256, one.fingerprint) for one in found} == {("rank_r1", "abc", "counting")}
    assert found[0].settings == {"k": 3, "path": "x"}
    assert len({one.key for one in found}) == 3 and sorted(one.time for one in found) == [one.time for one in found]
    assert b"text of d2" not in (tmp_path / "sub" / "j").read_bytes(), (
        "what is shown stands in the prompt, and only there"
    )


def test_one_answer_is_recorded_for_everybody_who_asked(tmp_path):
    """Equal texts make equal prompts: for a replay, each list that was shown has its answer."""
    one, other = showing("q1", "d1", "d2"), showing("q2", "d8", "d9")
    with Journal(Counting(), tmp_path / "j", asker=Asker("r")) as journal:
        journal.generate([ask("same", one), ask("same", other)])
        journal.generate([ask("same", one)])
    with Journal(Counting(), tmp_path / "j", asker=Asker("s")) as journal:
        journal.generate([ask("same", other)])
    found = [(one.reranker, one.qid, one.docids) for one in recorded(tmp_path / "j")]
    assert sorted(found) == [("r", "q1", ("d1", "d2")), ("r", "q2", ("d8", "d9")), ("s", "q2", ("d8", "d9"))]


@pytest.mark.parametrize("concurrent", [1, 4])
def test_so_it_is_when_orderings_run_together(tmp_path, concurrent):
    def about(qid):
        yield [ask("same", showing(qid, "d"))]
        yield [ask("same", showing(qid, "e")), ask(qid, showing(qid, "d"))]
        return Ranking((0,))

    engine = Counting()
    engine.concurrent = concurrent
    with Journal(engine, tmp_path / "j") as journal:
        ledger = Ledger(journal)
        drive([about("q1"), about("q2")], ledger)
    assert sorted(engine.asked) == ["q1", "q2", "same"]
    shown = {(found.request.prompt[0]["content"], found.qid, found.docids[0]) for found in recorded(tmp_path / "j")}
    assert shown == {("same", q, d) for q in ("q1", "q2") for d in "de"} | {(q, q, "d") for q in ("q1", "q2")}


def test_an_engine_without_fingerprint_is_refused(tmp_path):
    for fingerprint in (None, "", 7):
        with pytest.raises(ConfigError, match="Counting has no fingerprint; give the engine a string `fingerprint`"):
            Journal(Counting(fingerprint), tmp_path / "j")
    assert not (tmp_path / "j").exists()


TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # with half characters and NUL
NUMBER = st.floats(allow_nan=False)
ANSWERS = st.builds(
    Answer,
    TEXT,
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.sampled_from(["stop", "length", "content_filter"]),
    scores=st.lists(st.none() | NUMBER, max_size=3).map(tuple),
    tokens=st.lists(
        st.builds(Token, TEXT, NUMBER, st.lists(st.tuples(TEXT, NUMBER), max_size=2).map(tuple)), max_size=3
    ).map(tuple),
    cached_tokens=st.integers(0, 9),
)
REQUESTS = st.builds(
    Request,
    st.lists(st.fixed_dictionaries({"role": st.sampled_from(["user", "plain"]), "content": TEXT}), min_size=1, max_size=3),
    choices=st.lists(TEXT, max_size=3).map(tuple),
    stop=st.lists(TEXT, max_size=2).map(tuple),
    logprobs=st.booleans(),
    sample=st.integers(0, 3),
    shown=st.none() | st.builds(lambda qid, docids: showing(qid, *docids), TEXT, st.lists(TEXT, unique=True, max_size=3)),
)  # fmt: skip


@tried(max_examples=150)
@given(request=REQUESTS, answer=ANSWERS)
def test_what_is_read_back_equals_what_was_written(request, answer):
    assert request_of(request_as_json(request)) == request
    assert request_of(request_as_json(request)).key == request.key
    assert answer_of(answer_as_json(answer)) == answer
    assert answer_of(answer_as_json(answer)).cached_tokens == answer.cached_tokens
    request_as_json(request).encode() + answer_as_json(answer).encode()


@tried(max_examples=30)
@given(asked=st.lists(st.tuples(REQUESTS, ANSWERS), min_size=1, max_size=4))
def test_any_answer_to_any_request_comes_back_from_the_file(asked, tmp_path_factory):
    said = {request.key: answer for request, answer in asked}

    class Saying:
        fingerprint = "saying"

        def generate(self, requests, on_answer=None):
            return [said[request.key] for request in requests]

    path, requests = tmp_path_factory.mktemp("any") / "j", [request for request, _ in asked]
    with Journal(Saying(), path) as journal:
        first = journal.generate(requests)
        again = journal.generate(requests)
    assert first == [said[request.key] for request in requests]
    assert [(a.text, a.scores, a.tokens) for a in again] == [(a.text, a.scores, a.tokens) for a in first]
    assert all(answer.cached for answer in again)
    found = list(recorded(path))
    assert {one.request.key: one.answer for one in found} == said
    for request in requests:
        docids = request.shown.docids if request.shown else ()
        assert any(one.docids == docids and one.request == request for one in found)


def test_scores_that_json_has_no_word_for_are_kept():
    answer = Answer("", scores=(-math.inf, math.nan, None))
    back = answer_of(answer_as_json(answer)).scores
    assert back[0] == -math.inf and math.isnan(back[1]) and back[2] is None


def other_database(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (text)")


def newer(path):
    Journal(Counting(), path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def damaged(path):
    Journal(Counting(), path).generate([ask("x" * 20_000)])
    bytes_ = path.read_bytes()
    path.write_bytes(bytes_[:4096] + b"\xff" * (len(bytes_) - 4096))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("q1 Q0 d1 1 9.5 bm25\n" * 100), "is no journal of rankrl, or a damaged one"),
        (other_database, "is no journal of rankrl; give another file"),
        (newer, "was written by a newer rankrl .tables 99, this one knows 1.; upgrade"),
        (lambda path: path.mkdir(), "is a folder|cannot be used|not found"),
        (damaged, "damaged one|cannot be used"),
    ],
)
def test_what_is_no_journal_is_refused_in_one_line_and_left_alone(tmp_path, make, message):
    path = tmp_path / "j"
    make(path)
    for other in tmp_path.glob("j-*"):
        other.unlink()
    before = path.read_bytes() if path.is_file() else None
    uses = [lambda: Journal(Counting(), path).generate([ask("a")]), lambda: list(recorded(path))]
    if make is not damaged:  # of which the first page says that all is well
        uses.append(lambda: check_journal(path))
    for use in uses:
        with pytest.raises(DataError, match=message) as refused:
            use()
        assert "\n" not in str(refused.value) and str(path) in str(refused.value)
    if make is not damaged:
        assert (path.read_bytes() if path.is_file() else None) == before


def test_a_journal_that_is_not_there_cannot_be_read_and_an_empty_file_is_one_to_write(tmp_path):
    with pytest.raises(DataError, match="journal not found"):
        list(recorded(tmp_path / "j"))
    (tmp_path / "j").touch()
    with pytest.raises(DataError, match="is no journal"):
        list(recorded(tmp_path / "j"))
    check_journal(tmp_path / "j")
    assert list(recorded(tmp_path / "j")) == []


def test_a_place_that_cannot_be_written_is_said_before_anything_is_asked(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"journal .*file/j cannot be used: "):
        check_journal(tmp_path / "file" / "j")
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder = tmp_path / "locked"
    folder.mkdir()
    Journal(Counting(), folder / "j").close()
    (folder / "j").chmod(stat.S_IRUSR)
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(DataError, match="cannot be used"):
            check_journal(folder / "j")
        assert list(recorded(folder / "j")) == []
    finally:
        folder.chmod(stat.S_IRWXU)


def test_a_full_disk_is_said_in_one_line_and_what_was_stored_stays(tmp_path):
    """SQLite's own limit of pages stands for the disk: it fails with the same error."""
    journal = Journal(Counting(tells=True), tmp_path / "j")
    journal.generate([ask("a")])
    with journal._using() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DataError, match=r"journal .* cannot be used: database or disk is full"):
        journal.generate([ask("b" * 100_000)])
    assert texts(journal.generate([ask("a")])) == ["0"]
    assert [found.answer.text for found in recorded(tmp_path / "j")] == ["0"]


def test_threads_share_a_journal(tmp_path):
    """Eight threads, each asking the same hundred in its own order: one answer each, the same for all."""

    class Slow(Counting):
        lock = threading.Lock()

        def generate(self, requests, on_answer=None):
            with self.lock:
                return super().generate(requests)

    journal, heard = Journal(Slow(), tmp_path / "j"), {}

    def work(seed):
        order = random.Random(seed).sample(range(100), 100)
        heard[seed] = {i: journal.generate([ask(str(i))])[0].text for i in order}

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heard) == 8 and all(one == heard[0] for one in heard.values())
    assert len(list(recorded(tmp_path / "j"))) == 100


SHARING = """
import os, random, sys
from rankrl.engines.journal import Journal
from rankrl.types import Answer, Request

class Own:
    fingerprint = "shared"
    def generate(self, requests, on_answer=None):
        answers = []
        for i, _ in enumerate(requests):
            answers.append(Answer(f"{os.getpid()}-{random.random()}"))
            on_answer(i, answers[-1])
        return answers

journal, heard = Journal(Own(), sys.argv[1]), {}
for i in random.Random(int(sys.argv[2])).sample(range(300), 300):
    heard[i] = journal.generate([Request([{"role": "user", "content": str(i)}])])[0].text
print(sorted(heard.items()))
"""


def test_processes_share_a_new_journal_and_agree_on_every_answer(tmp_path):
    """Each would say something else; what was stored first is what all of them hear."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-c", SHARING, str(tmp_path / "j")]
    processes = [
        subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for seed in range(4)
    ]  # fmt: skip
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert len({out for out, _ in said}) == 1
    assert len(list(recorded(tmp_path / "j"))) == 300


def test_a_fork_leaves_its_parent_s_file_alone(tmp_path):
    journal = Journal(Counting(), tmp_path / "j")
    journal.generate([ask("a")])
    child = os.fork()
    if not child:
        try:
            good = texts(journal.generate([ask("a"), ask("b")])) == ["0", "1"]
            journal.close()
        finally:
            os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert texts(journal.generate([ask("a"), ask("b"), ask("c")])) == ["0", "1", "1"], "b was asked by the child"
    assert len(list(recorded(tmp_path / "j"))) == 3


def test_a_closed_journal_opens_again_and_leaves_one_file(tmp_path):
    journal = Journal(Counting(), tmp_path / "j")
    journal.generate([ask("a")])
    journal.close()
    assert [path.name for path in tmp_path.iterdir()] == ["j"], "the log has been worked in: one file to copy"
    shutil.copy(tmp_path / "j", tmp_path / "copy")
    assert len(list(recorded(tmp_path / "copy"))) == 1
    assert texts(journal.generate([ask("a"), ask("b")])) == ["0", "1"]
    del journal
    assert [path.name for path in tmp_path.iterdir() if path.name != "copy"] == ["j"], "also without a word"


def test_a_journal_is_read_while_it_is_written(tmp_path):
    journal = Journal(Counting(), tmp_path / "j")
    journal.generate([ask(str(i)) for i in range(50)])
    reading = recorded(tmp_path / "j")
    next(reading)
    journal.generate([ask("more")])
    assert len(list(reading)) == 49


def test_an_engine_that_loses_answers_is_caught(tmp_path):
    class Lossy(Counting):
        def generate(self, requests, on_answer=None):
            return super().generate(requests)[1:]

    with pytest.raises(ValueError, match="Lossy gave 1 answers to 2 requests"):
        Journal(Lossy(), tmp_path / "j").generate([ask("a"), ask("b")])


@pytest.mark.parametrize("name", [":memory:", "file:x.db?mode=memory", "a b/ü?#%41'.db"])
def test_every_name_is_that_of_a_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Journal(Counting(), name) as journal:
        journal.generate([ask("a")])
    assert (tmp_path / name).is_file() and len(list(recorded(name))) == 1


def test_a_link_is_followed_also_to_a_file_that_is_not_there_yet(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "there")
    with Journal(Counting(), tmp_path / "link") as journal:
        journal.generate([ask("a")])
    assert len(list(recorded(tmp_path / "there"))) == 1
