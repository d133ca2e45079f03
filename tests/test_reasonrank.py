"""ReasonRank: prompts, answers with reasoning read our way and the published way, and windows."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.engines.drive import drive
from rankrl.errors import ConfigError
from rankrl.parsing.reasoned import parse_reasoned
from rankrl.rerankers._templates import variants
from rankrl.rerankers.reasonrank import ReasonRank
from rankrl.types import Candidate, CandidateList, ParseReport, Query

sys.path.insert(0, str(Path(__file__).resolve().parent))
from graded import Oracle, Saying, best_first, graded

LISTING = CandidateList(
    Query("q1", "who wrote faust?"),
    (Candidate("d7", "Goethe wrote it.", "Faust"), Candidate("d3", "A river\nin two lines."), Candidate("d9", "")),
)


def answer(inside):
    return f"<think>some thoughts</think>\n<answer>{inside}</answer>"


@pytest.mark.parametrize(
    ("text", "ours", "upstream"),
    [
        (answer("[3] > [1] > [2] > [5] > [4]"), (2, 0, 1, 4, 3), (2, 0, 1, 4, 3)),
        (answer("[4] > [4] > [9]"), (3, 0, 1, 2, 4), (3, 0, 1, 2, 4)),
        ("<think>compare [2] with [1]", (0, 1, 2, 3, 4), (1, 0, 2, 3, 4)),
        ("<answer>[2] > [1]", (1, 0, 2, 3, 4), (1, 0, 2, 3, 4)),
        ("", (0, 1, 2, 3, 4), (0, 1, 2, 3, 4)),
        (answer("[0] > [1]"), (0, 1, 2, 3, 4), (0, 1, 2, 3, 4)),
        (answer("1. [3]\n2. [1]"), (2, 0, 1, 3, 4), (0, 2, 1, 3, 4)),
        (answer("[2] > ²"), (1, 0, 2, 3, 4), (0, 1, 2, 3, 4)),
        (answer("[10] > [2]"), (1, 0, 2, 3, 4), (1, 0, 2, 3, 4)),
        (answer("[3] > [1]").upper(), (2, 0, 1, 3, 4), (2, 0, 1, 3, 4)),
        ("I like [3]. <ANSWER>[2] > [1]", (1, 0, 2, 3, 4), (1, 0, 2, 3, 4)),
    ],
)
def test_the_vectors_of_the_published_parser_and_of_ours(text, ours, upstream):
    assert ReasonRank().parse(text, 5).ranking.order == ours
    assert ReasonRank(compat="upstream").parse(text, 5).ranking.order == upstream


@pytest.mark.parametrize(
    ("text", "order", "status"),
    [
        (answer("[2] > [1] > [3]"), (1, 0, 2), "ok"),
        (
            "so [3] it is</think><answer>[2] > [1] > [3]</answer>",
            (1, 0, 2),
            "ok",
        ),  # the chat template has opened the thought
        (answer("[2] > [1] > [3]") + " I hope this helps, [3].", (1, 0, 2), "repaired"),
        (answer("2, 1, 3"), (1, 0, 2), "repaired"),
        ("<think>or <answer>[3]</answer>?</think><answer>[2] > [1] > [3]</answer>", (1, 0, 2), "repaired"),
        ("<think>[3]</think>[2] > [1] > [3]", (1, 0, 2), "repaired"),
        ("<think>[3] <answer>[2] > [1] > [3]</answer>", (1, 0, 2), "repaired"),  # a thought that ends in an answer
        ("<think>I could say <answer>[3]</answer> or", (0, 1, 2), "failed"),
        ("<think>done</think><answer>[2] > [1]</answer><think>or [3]", (1, 0, 2), "repaired"),
        ("<think>[3] > [2]</think> I rank these 2 passages", (0, 1, 2), "failed"),
        ("3 passages are provided", (0, 1, 2), "failed"),
        ("2 > 1 > 3", (1, 0, 2), "repaired"),
        (answer(""), (0, 1, 2), "failed"),
        (answer("none of them"), (0, 1, 2), "failed"),
        (answer("[7]"), (0, 1, 2), "failed"),
        (answer(f"[{'1' * 5000}] > [2]"), (1, 0, 2), "repaired"),
        ("<think>a</think><answer>[1]</answer> or no: <answer>[3] > [2] > [1]</answer>", (2, 1, 0), "repaired"),
        (answer("[ 2 ] > [１]"), (1, 0, 2), "repaired"),
        (answer("[1] > [2]") + answer("[3] > [2] > [1]"), (2, 1, 0), "repaired"),
    ],
)
def test_answers_that_are_not_quite_what_was_asked_for(text, order, status):
    reading = ReasonRank().parse(text, 3)
    assert (reading.ranking.order, reading.report.status) == (order, status)


def test_the_reasoning_is_kept_apart():
    assert ReasonRank().parse("<think> why? </think><answer>[1]</answer>", 1).reasoning == "why?"
    assert ReasonRank(compat="upstream").parse(answer("[1]"), 1).reasoning == "some thoughts"
    reading = ReasonRank().parse(answer("[1] > [1] > [8]"), 3)
    assert (reading.report.repeated, reading.report.out_of_range, reading.report.missing) == (1, 1, 2)
    assert reading.scores is None
    assert ReasonRank().parse("I cannot.", 3).report == ParseReport(missing=3, unreadable=True)


TOKENS = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "</ANSWER>",
        "[1]",
        "[2]",
        "[99]",
        "²",
        "3",
        " > ",
        "x",
        "\n",
        "[",
        "]",
    ]
)


@given(st.lists(TOKENS, max_size=12).map("".join), st.integers(0, 6))
def test_whatever_is_said_a_permutation_is_read(text, n):
    for compat in ("rankrl", "upstream"):
        assert sorted(parse_reasoned(text, n, compat=compat).ranking.order) == list(range(n))


@given(st.lists(TOKENS, max_size=8).map("".join))
def test_nothing_in_a_finished_thought_decides(thought):
    closed = thought.replace("<answer>", "").replace(
        "</answer>", ""
    )  # those that are left open are taken for the answer
    said = ReasonRank().parse(f"<think>{closed}</think><answer>[2] > [3] > [1]</answer>", 3)
    assert said.ranking.order == (1, 2, 0)


def test_the_prompt_in_full_where_there_is_no_prose():
    assert ReasonRank(template="brief").prompt(LISTING) == [
        {
            "role": "user",
            "content": "[1] Title: Faust Content: Goethe wrote it.\n[2] A river in two lines.\n[3]\nQuery: who wrote faust?",
        }
    ]


@pytest.mark.parametrize("template", ["reasoning", "user_turn"])
def test_the_parts_of_the_prompt_in_their_order(template):
    messages = ReasonRank(template=template).prompt(LISTING)
    assert [m["role"] for m in messages] == (["user"] if template == "user_turn" else ["system", "user"])
    explained = messages[0 if template == "reasoning" else -1]["content"]
    assert all(tag in explained for tag in ("<think>", "</think>", "<answer>", "</answer>"))
    user = messages[-1]["content"]
    parts = [" 3 passages", "who wrote faust?", "\n[1] Title: Faust", "\n[2] A river in two lines.\n[3]\n"]
    parts += ["Search Query: who wrote faust?", "all 3 passages", "[] > []", "[2] > [1]"]
    places = [user.index(part) for part in parts]
    assert places == sorted(places)


def test_a_text_cannot_add_a_title_to_itself():
    listing = CandidateList(Query("q", "?"), (Candidate("a", "x Title: y", "Content: z"), Candidate("b", "title : w")))
    lines = ReasonRank(template="brief").prompt(listing)[0]["content"].splitlines()
    assert lines[:2] == ["[1] Title: Content - z Content: x Title - y", "[2] title - w"]


def test_passages_are_cut_at_a_hundred_tokens_by_default():
    listing = CandidateList(Query("q", "w " * 600), (Candidate("a", "v " * 600, "t"), Candidate("b", "")))
    first, _, query = ReasonRank(template="brief").prompt(listing)[0]["content"].splitlines()
    assert first.split() == ["[1]", "Title:", "t", "Content:"] + ["v"] * 97
    assert query.count("w") == 512
    assert ReasonRank.decoding["max_new_tokens"] == 3172


@pytest.mark.parametrize("template", variants("reasonrank"))
@given(st.permutations(range(1, 8)))
def test_the_ideal_answer_is_read_back(template, labels):
    reranker = ReasonRank(template=template)
    reading = reranker.parse(reranker.spell(labels), 7)
    assert reading.ranking.order == tuple(label - 1 for label in labels)
    assert reading.report.clean


@pytest.mark.parametrize(("n", "calls"), [(100, 9), (95, 9), (20, 1), (10, 1), (25, 2), (1, 0)])
def test_nine_windows_bring_the_ten_best_of_a_hundred_up(n, calls):
    listing = graded(n)
    oracle = Oracle(lambda labels: ReasonRank().spell(labels))
    (ranking,) = drive([ReasonRank().order(listing)], oracle)
    assert ranking.docids(listing)[:10] == best_first(listing)[:10]
    assert ranking.scores is None
    assert len(oracle.requests) == calls == ReasonRank().plan(n).calls_max


@pytest.mark.parametrize("compat", ["rankrl", "upstream"])
def test_when_nothing_can_be_read_the_first_stage_order_comes_out(compat):
    (ranking,) = drive([ReasonRank(compat=compat).order(graded(50))], Saying("I cannot."))
    assert ranking.order == tuple(range(50))


def test_two_passes_bring_twenty_up():
    listing, reranker = graded(100), ReasonRank(passes=2)
    (ranking,) = drive([reranker.order(listing)], Oracle(lambda labels: ReasonRank().spell(labels)))
    assert ranking.docids(listing)[:20] == best_first(listing)[:20]
    assert reranker.plan(100).calls_max == 18


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": 0}, "window must be a whole number of 1 or more, got 0"),
        ({"window": 1, "stride": 1}, "window must be 2 or more, got 1"),
        ({"stride": 21}, "stride must be at most window=20, got 21"),
        ({"passes": True}, "passes must be"),
        ({"passage_tokens": "100"}, "passage_tokens must be"),
        ({"compat": "reasonrank"}, "compat must be one of 'rankrl', 'upstream'"),
        ({"template": "r1"}, "no template of reasonrank 'r1'"),
    ],
)
def test_a_field_out_of_range_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        ReasonRank(**wrong)
