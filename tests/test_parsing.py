"""Parsers against the worked vectors of Rank-R1, and their promise for any text."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rankrl.parsing import parse_permutation, parse_winner
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


@pytest.mark.parametrize("parse", [parse_winner, parse_permutation])
@given(NASTY, st.integers(0, 25))
@example("<think></think><answer>[²]</answer>", 3)
@example("<think></think><answer>[٣]</answer>", 3)
@example("[" + "9" * 5000 + "]", 3)
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
