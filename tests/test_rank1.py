"""Rank1: the verdict's probability from the last token, and a second step for thoughts that did not end."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.engines.drive import drive
from rankrl.errors import ConfigError, OutOfBudget
from rankrl.rerankers.rank1 import Rank1, finished
from rankrl.strategies.plans import Plan
from rankrl.types import PLAIN, Answer, Candidate, CandidateList, Query, Token


def listing(*docids):
    return CandidateList(Query("q", "who?"), tuple(Candidate(docid, f"text {docid}") for docid in docids))


def verdict(word, *alternatives, text=None):
    """An answer that ends in the verdict, with the likeliest tokens of its place."""
    tokens = (
        Token("so", -0.1),
        Token("</think>", -0.1),
        Token(word, alternatives[0][1] if alternatives else -0.5, alternatives),
    )
    return Answer(f"so</think>{word}" if text is None else text, tokens=tokens)


SURE = verdict(" true", (" true", -0.1), (" false", -2.4))
UNSURE = verdict(" false", (" false", -0.6), (" true", -0.8))
FALSE = verdict(" false", (" false", -0.01), (" true", -6.0))


class Scripted:
    """Gives every document its answer, and the two words their log-probabilities where they are asked for."""

    def __init__(self, answers, forced=None):
        self.answers, self.forced, self.asked = answers, forced or {}, []

    def generate(self, requests, on_answer=None):
        self.asked.append(list(requests))
        return [
            Answer("", scores=self.forced.get(docid, (None, None))) if request.choices else self.answers[docid]
            for request in requests
            for docid in request.shown.docids
        ]


def ranked(reranker, answers, forced=None):
    candidates = listing(*answers)
    (ranking,) = drive([reranker.order(candidates)], engine := Scripted(answers, forced))
    return "".join(ranking.docids(candidates)), ranking.scores, engine


def test_the_prompt_is_plain_text_that_ends_in_an_opened_thought():
    (message,) = Rank1().prompt(listing("a"))
    lines = message["content"].split("\n")
    assert message["role"] == PLAIN
    assert "true or false" in lines[0] and lines[1:] == ["Query: who?", "Passage: text a", "<think>"]
    assert Rank1(instruction="Find it.").prompt(listing("a"))[0]["content"].split("\n")[1] == "Find it."
    request = Rank1().request(listing("a"))
    assert request.stop == ("</think> true", "</think> false") and request.logprobs


def test_the_probability_is_that_of_true_among_the_two():
    assert Rank1().read(SURE, 1).scores == pytest.approx((0.908877,), abs=5e-7)
    reading = Rank1().read(UNSURE, 1)
    assert reading.scores == pytest.approx((math.exp(-0.8) / (math.exp(-0.8) + math.exp(-0.6)),))
    assert reading.report.clean and reading.reasoning == "so"


def test_finished_thoughts_need_one_step():
    order, scores, engine = ranked(Rank1(), {"a": FALSE, "b": UNSURE, "c": SURE})
    assert order == "cba" and len(engine.asked) == 1
    assert scores == pytest.approx([1 / (1 + math.exp(5.99)), 1 / (1 + math.exp(0.2)), 0.908877], abs=5e-7)


def test_thoughts_that_did_not_end_are_cut_ended_and_judged_in_a_second_step_of_their_own():
    cut = Answer("It is. Is it? Well, e.g.x it", finish_reason="length", tokens=(Token("it", -1.0),))
    order, scores, engine = ranked(Rank1(), {"a": FALSE, "b": cut, "c": SURE}, {"b": (-0.1, -3.4)})
    assert order == "bca"
    assert scores[1] == pytest.approx(1 / (1 + math.exp(-3.3)))
    first, second = engine.asked
    assert [request.shown.docids for request in second] == [("b",)]
    (request,) = second
    assert request.choices == (" true", " false")
    assert request.prompt == [
        *next(r.prompt for r in first if r.shown.docids == ("b",)),
        {"role": "assistant", "content": "It is. Is it?\n</think>"},
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two. Thr", "One. Two.\n</think>"),
        ("One! Two", "One!\n</think>"),
        ("Costs 3.5 or so", "Costs 3.5 or so\n</think>"),
        ("no sentence  \n", "no sentence\n</think>"),
        ("", "\n</think>"),
        ("Done. I say</think>\ntrue", "Done. I say</think>"),
    ],
)
def test_where_a_thought_is_cut(text, expected):
    assert finished(text) == expected


def test_a_verdict_in_other_words_is_judged_after_its_own_thought():
    other = Answer("so.</think> True.", tokens=(Token("so.</think>", -1.0), Token(" True", -1.0), Token(".", -0.1)))
    _, scores, engine = ranked(Rank1(), {"a": other}, {"a": (-1.0, -1.0)})
    assert engine.asked[1][0].prompt[-1]["content"] == "so.</think>" and scores == (0.5,)
    _, scores, engine = ranked(Rank1(), {"a": other})
    assert scores == (1.0,), "the engine cannot score; the word stands"


def test_an_engine_without_log_probabilities_gives_certain_verdicts_and_is_not_asked_again():
    answers = {"a": Answer("x</think> false"), "b": Answer("x</think> true"), "c": Answer("x")}
    order, scores, engine = ranked(Rank1(), answers)
    assert (order, scores) == ("bac", (0.0, 1.0, None))
    assert [request.shown.docids for request in engine.asked[1]] == [("c",)]


def test_a_missing_word_makes_the_other_no_more_certain_than_it_must_be_and_upstream_gives_a_half():
    alone = verdict(" true", (" true", -0.05), (" maybe", -3.5))
    assert Rank1().read(alone, 1).scores == pytest.approx((math.exp(-0.05),))
    assert Rank1(compat="upstream").read(alone, 1).scores == (0.5,)
    for compat, expected in (("rankrl", None), ("upstream", 0.5)):
        _, scores, _ = ranked(Rank1(compat=compat), {"a": Answer("x"), "b": FALSE})
        assert scores[0] == expected
    assert ranked(Rank1(), {"a": Answer("x"), "b": FALSE})[0] == "ba"
    assert ranked(Rank1(compat="upstream"), {"a": Answer("x"), "b": FALSE})[0] == "ab"


def test_tokens_without_their_space_are_found_and_those_with_it_come_first():
    bare = verdict("true", ("true", -0.1), ("false", -2.4), text="so</think> true")
    assert Rank1().read(bare, 1).scores == pytest.approx((0.908877,), abs=5e-7)
    both = verdict(" true", (" true", -0.1), ("false", -0.2), (" false", -2.4), ("true", -9.0))
    assert Rank1().read(both, 1).scores == pytest.approx((0.908877,), abs=5e-7)


@pytest.mark.parametrize(
    ("text", "score", "status"),
    [
        ("t</think> true", 1.0, "ok"), ("t</think> false", 0.0, "ok"), ("<think>t</think>false", 0.0, "ok"),
        ("t</think> True.", 1.0, "repaired"), ("true", None, "failed"), ("t true", None, "failed"),
        ("t</think> dunno", None, "failed"), ("", None, "failed"),
    ],
)  # fmt: skip
def test_only_what_follows_a_thought_is_a_verdict(text, score, status):
    reading = Rank1().parse(text, 1)
    assert (reading.scores, reading.report.status) == ((score,), status)


def test_out_of_budget_leaves_what_was_judged():
    steps = Rank1().order(listing("a", "b", "c"))
    next(steps)
    assert len(steps.send([Answer("cut"), FALSE, SURE])) == 1
    with pytest.raises(StopIteration) as stop:
        steps.throw(OutOfBudget("spent"))
    assert stop.value.value.order == (2, 1, 0)
    steps = Rank1().order(listing("a", "b"))
    next(steps)
    with pytest.raises(StopIteration) as stop:
        steps.throw(OutOfBudget("spent"))
    assert stop.value.value.order == (0, 1)


@given(
    st.lists(st.sampled_from(["x. ", "<think>", "</think>", " true", " false", "!", "\n"]), max_size=12).map("".join)
)
def test_any_text_is_read_and_can_be_finished(text):
    for compat in ("rankrl", "upstream"):
        assert Rank1(compat=compat).parse(text, 1).ranking.order == (0,)
    assert finished(text).lower().endswith("</think>")


@pytest.mark.parametrize("relevant", [True, False])
def test_the_ideal_answer_is_read_back(relevant):
    text = Rank1().spell(relevant, "a thought.")
    reading = Rank1().parse(text, 1)
    assert reading.report.clean and reading.scores == (float(relevant),) and reading.reasoning == "a thought."
    assert text.endswith(Rank1().request(listing("a")).stop[0 if relevant else 1])


def test_the_plan_says_that_unfinished_thoughts_are_asked_about_again():
    plan = Rank1().plan(100)
    assert (plan.calls_min, plan.calls_mean, plan.calls_max, plan.depth, plan.shown) == (100, 100.0, 200, 2, 1)
    assert Rank1().plan(0) == Plan(0, 0.0, 0, 0, 0)


@pytest.mark.parametrize("wrong", [{"compat": "half"}, {"passage_tokens": 0}, {"instruction": 1}])
def test_a_field_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=f"rank1: {next(iter(wrong))} must be"):
        Rank1(**wrong)
