"""Parsers against the worked vectors of Rank-R1, and their promise for any text."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rankrl.parsing.permutation import parse_permutation
from rankrl.parsing.winner import parse_winner
from rankrl.types import ParseReport

OK, MALFORMED = ParseReport(), ParseReport(malformed=True)
UNREADABLE, BEYOND = ParseReport(unreadable=True), ParseReport(unreadable=True, out_of_range=1)

NASTY = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from(
            [
                "<think>",
                "</think>",
                "<answer>",
                "</answer>",
                "[1]",
                "[2]",
                "[99]",
                "[0]",
                "[",
                "]",
                "3",
                " > ",
                "\n",
                "x",
            ]
        )
    ).map("".join),
)


@pytest.mark.parametrize(
    ("completion", "winner", "report"),
    [
        ("<think>r</think> <answer>[3]</answer>", 2, OK),
        ("<think>r</think><answer> [3]\n</answer>", 2, OK),
        ("<THINK>r</THINK><Answer>[3]</Answer>", 2, OK),
        ("<think>line\nline</think>\n<answer>[5]</answer>", 4, OK),
        ("<think>r</think><answer>3</answer>", None, UNREADABLE),
        ("<think>r</think><answer>[3], [2]</answer>", None, UNREADABLE),
        ("<think>r</think><answer></answer>", None, UNREADABLE),
        ("<answer>[3]</answer>", None, UNREADABLE),
        ("<think>r <answer>[3]</answer>", None, UNREADABLE),
        ("", None, UNREADABLE),
        ("<think>r</think><answer>[9]</answer>", None, BEYOND),
        ("<think>r</think><answer>[0]</answer>", None, BEYOND),
        ("<think>a <answer>[1]</answer></think><answer>[2]</answer>", 1, OK),
        ("Sure! <think>r</think><answer>[2]</answer>", 1, MALFORMED),
        ("<think>r</think><answer>[2]</answer> Hope this helps.", 1, MALFORMED),
    ],
)
def test_the_winner_of_five(completion, winner, report):
    reading = parse_winner(completion, 5)
    expected = range(5) if winner is None else [winner, *(i for i in range(5) if i != winner)]
    assert reading.ranking.order == tuple(expected)
    assert reading.report == report


def test_the_reasoning_is_kept():
    assert parse_winner("<think> because </think><answer>[1]</answer>", 2).reasoning == "because"


@pytest.mark.parametrize(
    ("completion", "order", "report"),
    [
        ("[2] > [1] > [3]", (1, 0, 2), OK),
        ("[2] > [2] > [7]", (1, 0, 2), ParseReport(repeated=1, out_of_range=1, missing=2)),
        ("I cannot", (0, 1, 2), ParseReport(missing=3, unreadable=True)),
    ],
)
def test_a_listwise_order_of_three(completion, order, report):
    reading = parse_permutation(completion, 3)
    assert (reading.ranking.order, reading.report) == (order, report)


SPEC_OF_FIVE = [
    ("[3] > [1] > [2] > [5] > [4]", (2, 0, 1, 4, 3), (2, 0, 1, 4, 3)),
    ("[4] > [4] > [9]", (3, 0, 1, 2, 4), (3, 0, 1, 2, 4)),
    ("compare [2] with [1]", (1, 0, 2, 3, 4), (1, 0, 2, 3, 4)),
    ("[2] > [1]", (1, 0, 2, 3, 4), (1, 0, 2, 3, 4)),
    ("", (0, 1, 2, 3, 4), (0, 1, 2, 3, 4)),
    ("[0] > [1]", (0, 1, 2, 3, 4), (0, 1, 2, 3, 4)),
    ("1. [3]\n2. [1]", (2, 0, 1, 3, 4), (0, 2, 1, 3, 4)),
    ("[2] > ²", (1, 0, 2, 3, 4), (1, 0, 2, 3, 4)),
    ("[10] > [2]", (1, 0, 2, 3, 4), (1, 0, 2, 3, 4)),
]
"""A completion over five passages, its order by the bracket rule and by the digits rule; worked by hand."""


@pytest.mark.parametrize(("completion", "by_brackets", "by_digits"), SPEC_OF_FIVE)
def test_the_two_rules_over_five(completion, by_brackets, by_digits):
    assert parse_permutation(completion, 5).ranking.order == by_brackets
    assert parse_permutation(completion, 5, rule="digits").ranking.order == by_digits


@pytest.mark.parametrize(
    ("completion", "order", "malformed"),
    [
        ("4] > [2] > [1] > [3]", (3, 1, 0, 2), True),
        ("4 > [2] > [1] > [3]", (3, 1, 0, 2), True),
        ("\n 4 ]>[2]", (3, 1, 0, 2), True),
        (" [4]>[2]\n> [1] > [3]\n", (3, 1, 0, 2), False),
        ("[ 4 ] > [2]", (3, 1, 0, 2), False),
        ("2 > 4", (1, 3, 0, 2), True),
        ("[2, 4]", (1, 3, 0, 2), True),
        ("Passage 2, then 4", (1, 3, 0, 2), True),
        ("2", (1, 0, 2, 3), True),
        ("Sorry. [2] > [4] > [1] > [3] is all I have", (1, 3, 0, 2), True),
        ("[2] > [4] > [1] > [3] >", (1, 3, 0, 2), True),
        ("[2] > [4] > [1] > [3]. Done", (1, 3, 0, 2), True),
        ("4. [2]", (1, 0, 2, 3), True),
        ("[２] > ［４］ > [①] > [₃]", (1, 3, 0, 2), False),
        ("④②", (3, 1, 0, 2), True),
        ("[⑫] > [²]", (1, 0, 2, 3), False),
    ],
)
def test_brackets_that_are_missing_or_strange(completion, order, malformed):
    reading = parse_permutation(completion, 4)
    assert (reading.ranking.order, reading.report.malformed) == (order, malformed)


@pytest.mark.parametrize(
    "completion", ["20 passages are provided.", "Home / News", "[] > []", "zzz", "<think>[2] > [1]", "[x]", "½ ໑"]
)
def test_what_is_no_order_leaves_the_presented_one(completion):
    reading = parse_permutation(completion, 20)
    assert reading.ranking.order == tuple(range(20))
    assert reading.report == ParseReport(missing=20, unreadable=True)


def test_the_digits_rule_takes_counts_for_labels_as_upstream_does():
    assert parse_permutation("20 passages are provided.", 20, rule="digits").ranking.order[:2] == (19, 0)
    assert parse_permutation("<think>[2] > [1]", 3, rule="digits").ranking.order == (1, 0, 2)


@pytest.mark.parametrize("rule", ["brackets", "digits"])
@pytest.mark.parametrize(
    ("completion", "order", "reasoning"),
    [
        ("<think>[1] is bad</think> [3] > [2]", (2, 1, 0), "[1] is bad"),
        ("[1] is bad </THINK>[3] > [2]", (2, 1, 0), "[1] is bad"),
        ("<think>a</think>[1]<think>b</think>[3] > [2]", (2, 1, 0), "a</think>[1]<think>b"),
        ("[3] > [2]", (2, 1, 0), ""),
    ],
)
def test_no_label_is_read_in_a_thought(completion, order, reasoning, rule):
    reading = parse_permutation(completion, 3, rule=rule)
    assert (reading.ranking.order, reading.reasoning, reading.report.malformed) == (order, reasoning, False)


def test_a_thought_without_an_end_is_no_answer_and_what_precedes_it_is():
    reading = parse_permutation("<think>a</think> [2] > [1] <think>or [1]", 2)
    assert (reading.ranking.order, reading.reasoning, reading.report.clean) == ((1, 0), "a\nor [1]", True)


def parse_digits(text, n):
    return parse_permutation(text, n, rule="digits")


@given(st.lists(st.integers(0, 40) | st.sampled_from([" > ", "\n", "x", "[", "]", ". "])), st.integers(0, 25))
def test_the_digits_rule_is_rank_llms(parts, n):
    """Everything but digits is a space; the words left are the labels, first occurrence first, then the rest."""
    text = "".join(map(str, parts))
    words = "".join(c if c in "0123456789" else " " for c in text).split()
    named = list(dict.fromkeys(int(word) for word in words if 1 <= int(word) <= n))
    expected = [*named, *(i for i in range(1, n + 1) if i not in named)]
    reading = parse_digits(text, n)
    assert [i + 1 for i in reading.ranking.order] == expected
    assert reading.report.missing == n - len(named)
    assert reading.report.repeated + reading.report.out_of_range == len(words) - len(named)


@pytest.mark.parametrize("rule", ["brackets", "digits"])
@pytest.mark.parametrize(
    "piece", ["[", "]", "[1", "1 ", "1", "[ ", " ", "<think>", "</think>", "> ", "[1] > ", "[1]\n", "①", "\u0663"]
)
def test_a_listwise_answer_that_loops_is_read_in_no_time(piece, rule):
    """100 kB each; milliseconds when the time is linear, many minutes when it is quadratic."""
    text = piece * (100_000 // len(piece))
    start = time.thread_time()
    for whole in (text, "[" + text, "1 " + text + "]", "<think>" + text):
        assert len(parse_permutation(whole, 20, rule=rule).ranking.order) == 20
    assert time.thread_time() - start < 4 * 0.5


@pytest.mark.parametrize("parse", [parse_winner, parse_permutation, parse_digits])
@given(NASTY, st.integers(0, 25))
@example("<think></think><answer>[²]</answer>", 3)
@example("<think></think><answer>[٣]</answer>", 3)
@example("[" + "9" * 5000 + "]", 3)
@example("[" + "0" * 5000 + "1]", 3)
def test_any_text_is_a_permutation_and_an_unreadable_one_leaves_the_presented_order(parse, text, n):
    reading = parse(text, n)
    assert sorted(reading.ranking.order) == list(range(n))
    if reading.report.unreadable:
        assert reading.ranking.order == tuple(range(n))


@given(st.permutations(range(1, 13)))
def test_a_clean_listwise_answer_is_read_back_exactly(labels):
    reading = parse_permutation(" > ".join(f"[{label}]" for label in labels), 12)
    assert reading.ranking.order == tuple(label - 1 for label in labels)
    assert reading.report.clean and reading.report.status == "ok"


def test_a_label_with_a_leading_zero_is_not_that_label():
    assert parse_winner("<think>r</think><answer>[03]</answer>", 5).report.unreadable


@pytest.mark.parametrize(
    "looping", ["<think>", "</think>", "</think><answer>", "<think></think><answer>", "</answer>", "</think> "]
)
def test_an_answer_that_loops_is_read_in_no_time(looping):
    """The greedy pattern that this replaces needed 1.9 s for 8,000 times the first, and four times that for twice as many."""
    for text in (looping * 60_000, "<think>" + looping * 60_000, looping * 60_000 + "</answer>"):
        assert len(parse_winner(text, 5).ranking.order) == 5


@settings(max_examples=500, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["<think>", "</think>", "<answer>", "</answer>", "[1]", "[2]", " ", "x", "<ANSWER>", "</Think>"]
        )
    )
)
def test_the_last_answer_is_the_one_the_greedy_pattern_finds(parts):
    text = "".join(parts)
    for compat in ("rankrl", "upstream"):
        said = text if compat == "upstream" or "<think>" in text else f"<think>{text}"
        greedy = re.search(r"<think>(.*)</think>\s*<answer>(.*?)</answer>", said, re.DOTALL | re.IGNORECASE)
        reading = parse_winner(text, 2, compat=compat)
        label = re.fullmatch(r"\[([12])\]", greedy[2].strip()) if greedy else None
        assert reading.report.unreadable == (label is None)
        if label:
            assert reading.ranking.order[0] == int(label[1]) - 1 and reading.reasoning == greedy[1].strip()
            assert reading.report.malformed or "<think>" in text


@pytest.mark.parametrize("thought", ["because [2]", ""])
def test_a_thought_that_the_chat_template_has_opened_is_read(thought):
    text = f"{thought}</think>\n<answer>[3]</answer>"  # was unreadable: every answer of such a model
    reading = parse_winner(text, 5)
    assert (reading.ranking.order[0], reading.report, reading.reasoning) == (2, MALFORMED, thought)
    assert parse_winner(text, 5, compat="upstream").report == UNREADABLE


@pytest.mark.parametrize(
    ("text", "winner"),
    [
        ("<think>r</think><answer>[2]</answer></think></answer>", 1),
        ("<think>r</think><answer>[2]</answer> and </think> then </answer>", 1),
    ],
)
def test_a_closing_tag_that_no_answer_follows_is_stepped_over(text, winner):
    reading = parse_winner(text, 3)
    assert reading.ranking.order[0] == winner and reading.report.malformed
