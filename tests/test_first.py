"""FIRST: letters scored as the next token, whole answers in letters, windows of one token each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.contracts import reading_of, request_of
from rankrl.engines.drive import drive
from rankrl.errors import ConfigError
from rankrl.rerankers._templates import variants
from rankrl.rerankers.first import First
from rankrl.types import Answer, Candidate, CandidateList, Query

sys.path.insert(0, str(Path(__file__).resolve().parent))
from graded import Oracle, Saying, best_first, graded

LISTING = CandidateList(
    Query("q1", "who wrote faust?"),
    (Candidate("d7", "Goethe wrote it.", "Faust"), Candidate("d3", "A river\nin two lines."), Candidate("d9", "")),
)


def test_the_published_vector():
    reading = First().read(Answer("", scores=(-1.9, -0.2, None, -4.0, None)), 5)
    assert [chr(ord("A") + i) for i in reading.ranking.order] == ["B", "A", "D", "C", "E"]
    assert reading.scores == (-1.9, -0.2, None, -4.0, None)
    assert (reading.report.missing, reading.report.unreadable) == (2, False)


def test_equal_scores_keep_the_presented_order_and_what_is_no_number_is_missing():
    assert First().read(Answer("", scores=(-1.0, -1.0, -0.5, -1.0)), 4).ranking.order == (2, 0, 1, 3)
    odd = First().read(Answer("", scores=(float("nan"), float("-inf"), -3.0)), 3)
    assert odd.ranking.order == (2, 1, 0)
    assert odd.scores == (None, float("-inf"), -3.0)


@given(st.lists(st.one_of(st.none(), st.floats(-50, 0)), max_size=20))
def test_the_order_is_that_of_the_scores(scores):
    order = First().read(Answer("", scores=tuple(scores)), len(scores)).ranking.order
    assert sorted(order) == list(range(len(scores)))
    seen = [scores[i] for i in order if scores[i] is not None]
    assert seen == sorted(seen, reverse=True)
    assert all(scores[i] is None for i in order[len(seen) :])


def test_the_prompt_begins_the_answer_and_the_request_asks_for_letters():
    asked = request_of(First(), LISTING)
    assert [message["role"] for message in asked.prompt] == ["system", "user", "assistant"]
    assert asked.begun == "["
    assert asked.choices == ("A", "B", "C")
    user = asked.prompt[1]["content"]
    parts = [
        " 3 passages",
        "\n[A] Faust Goethe wrote it.\n[B] A river in two lines.\n[C]\n",
        "Search Query: who",
        "[D] > [B]",
    ]
    places = [user.index(part) for part in parts]
    assert places == sorted(places)


def test_an_answer_in_words_is_read_too():
    assert reading_of(First(), Answer("C] > [A] > [B]"), 3).ranking.order == (2, 0, 1)


@pytest.mark.parametrize(
    ("text", "order", "status"),
    [
        ("[C] > [A] > [B]", (2, 0, 1), "ok"),
        ("C] > [A] > [B]", (2, 0, 1), "ok"),
        ("C > A > B", (2, 0, 1), "repaired"),
        ("C > B > A", (2, 1, 0), "repaired"),
        ("C, A, B", (2, 0, 1), "repaired"),
        ("[C] > [C] > [Z]", (2, 0, 1), "repaired"),
        ("<think>[A] or [B]</think>[C] > [A] > [B]", (2, 0, 1), "ok"),
        ("I think [B] > [A]", (1, 0, 2), "repaired"),
        ("A fine list, and I cannot choose", (0, 1, 2), "failed"),
        ("C is best", (0, 1, 2), "failed"),
        ("[a] > [b]", (0, 1, 2), "failed"),
        ("<think>[C]", (0, 1, 2), "failed"),
        ("", (0, 1, 2), "failed"),
    ],
)
def test_whole_answers_in_letters(text, order, status):
    reading = First().parse(text, 3)
    assert (reading.ranking.order, reading.report.status) == (order, status)


def test_upstream_takes_every_letter_for_a_label():
    upstream = First(compat="upstream")
    assert upstream.parse("I rank: [B] > [A]", 20).ranking.order[:3] == (8, 1, 0)  # the pronoun is the ninth passage
    assert upstream.parse("AB", 20).ranking.order[:2] == (11, 0)  # 1 and 2 are twelve
    assert upstream.parse("[B] > [a] > [C]", 3).ranking.order == (1, 2, 0)  # small letters are beyond 26
    assert upstream.parse("B</think>[C]", 3).ranking.order == (2, 0, 1)
    assert First().parse("I rank: [B] > [A]", 20).ranking.order[:3] == (1, 0, 2)


@given(st.text(alphabet="[]AB Zz>é\n<think>/", max_size=40), st.integers(0, 6))
def test_whatever_is_said_a_permutation_is_read(text, n):
    for compat in ("rankrl", "upstream"):
        assert sorted(First(compat=compat).parse(text, n).ranking.order) == list(range(n))


@pytest.mark.parametrize("template", variants("first"))
@given(st.permutations(range(1, 8)))
def test_the_ideal_answer_is_read_back(template, labels):
    reranker = First(template=template)
    spelled = reranker.spell(labels)
    assert ("[" + spelled).startswith(f"[{chr(ord('A') + labels[0] - 1)}] > [")
    reading = reranker.parse(spelled, 7)
    assert reading.ranking.order == tuple(label - 1 for label in labels)
    assert reading.report.clean


def test_nine_calls_of_one_token_bring_the_ten_best_of_a_hundred_up():
    listing = graded(100)
    (ranking,) = drive([First().order(listing)], oracle := Oracle(None, label=r"\[([A-T])\]"))
    assert ranking.docids(listing)[:10] == best_first(listing)[:10]
    assert len(oracle.requests) == 9 == First().plan(100).calls_max
    assert all(len(request.choices) == 20 for request in oracle.requests)
    (ranking,) = drive([First().order(listing)], Saying(""))
    assert ranking.order == tuple(range(100))


def test_two_passes_bring_twenty_up():
    listing, reranker = graded(100), First(passes=2)
    (ranking,) = drive([reranker.order(listing)], Oracle(None, label=r"\[([A-T])\]"))
    assert ranking.docids(listing)[:20] == best_first(listing)[:20]
    assert reranker.plan(100).calls_max == 18


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": 27}, "window must be at most 26, got 27"),
        ({"window": 1, "stride": 1}, "window must be 2 or more"),
        ({"stride": 30}, "stride must be at most window=20"),
        ({"compat": "first"}, "compat must be one of"),
        ({"template": "turns"}, "no template of first 'turns'"),
    ],
)
def test_a_field_out_of_range_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        First(**wrong)
