"""ProRank: the difference of two logits from one look, and the room that query and document share."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.engines.drive import drive
from rankrl.errors import ConfigError, OutOfBudget
from rankrl.parsing.verdict import parse_verdict
from rankrl.rerankers._pointwise import fitted, log_odds, most_left, sigmoid
from rankrl.rerankers._text import clip_words
from rankrl.rerankers.prorank import ProRank
from rankrl.types import Answer, Candidate, CandidateList, Query

LISTING = CandidateList(
    Query("q1", "who wrote faust?"), (Candidate("d7", "Goethe wrote it.", "Faust"), Candidate("d3", "A river."))
)
FINITE = st.floats(-500, 500)


class Logits:
    """An engine of which log P("1"), log P("0") of each document is known."""

    def __init__(self, logprobs):
        self.logprobs = logprobs

    def generate(self, requests, on_answer=None):
        assert all(request.choices == ("1", "0") for request in requests)
        return [Answer("", scores=self.logprobs[request.shown.docids[0]]) for request in requests]


def order_of(reranker, *logprobs):
    documents = tuple(Candidate(f"d{i}", f"text {i}") for i in range(len(logprobs)))
    engine = Logits({f"d{i}": pair for i, pair in enumerate(logprobs)})
    (ranking,) = drive([reranker.order(CandidateList(Query("q", "?"), documents))], engine)
    return ranking


def test_the_prompt_is_one_turn_with_the_task_after_the_document():
    (message,) = ProRank(instruction="Find facts.").prompt(LISTING)
    lines = message["content"].split("\n")
    assert message["role"] == "user"
    assert lines[:3] == [
        "instruction: Find facts.",
        "query: who wrote faust?",
        "document: Faust Goethe wrote it.",
    ]
    assert lines[-1] == "Relevance:" and "1" in lines[-2] and "0" in lines[-2]


def test_without_an_instruction_there_is_no_line_for_it():
    (message,) = ProRank().prompt(LISTING)
    assert message["content"].startswith("query: who wrote faust?\ndocument: ")


@pytest.mark.parametrize(
    ("x", "base", "large"),
    [(9.0, 0.989013, 0.952574), (4.5, 0.5, 0.182426), (0.0, 0.010987, 0.002473), (-3.0, 0.000553, 0.000123),
     (12.0, 0.999447, 0.997527)],
)  # fmt: skip
def test_the_published_normalisations(x, base, large):
    answer = Answer("", scores=(x - 20.0, -20.0))
    assert ProRank().read(answer, 1).scores[0] == pytest.approx(x)
    assert ProRank(score="base").read(answer, 1).scores[0] == pytest.approx(base, abs=5e-7)
    assert ProRank(score="large").read(answer, 1).scores[0] == pytest.approx(large, abs=5e-7)


def test_the_two_way_softmax_is_the_sigmoid_of_the_difference():
    assert sigmoid(2.1 - 0.6) == pytest.approx(0.817574, abs=5e-7)
    assert sigmoid(2.1 - 0.6) == pytest.approx(math.exp(2.1) / (math.exp(2.1) + math.exp(0.6)))
    assert (sigmoid(-1000.0), sigmoid(1000.0)) == (0.0, 1.0)


@given(FINITE, FINITE, FINITE)
def test_a_constant_added_to_both_changes_nothing_and_swapping_negates(one, zero, constant):
    score = log_odds(one, zero)
    assert log_odds(one + constant, zero + constant) == pytest.approx(score, abs=1e-9)
    assert log_odds(zero, one) == -score


@given(st.lists(st.tuples(st.floats(-60, 0), st.floats(-60, 0)), max_size=8))
def test_the_order_is_that_of_the_logits_whatever_the_scores_are_mapped_to(logprobs):
    expected = sorted(range(len(logprobs)), key=lambda i: -(logprobs[i][0] - logprobs[i][1]))
    for score in ("logit", "base", "large"):
        assert list(order_of(ProRank(score=score), *logprobs).order) == expected


def test_saturated_probabilities_are_still_told_apart():
    ranking = order_of(ProRank(score="base"), (0.0, -60.0), (0.0, -70.0))
    assert ranking.order == (1, 0) and ranking.scores == (1.0, 1.0)


def test_equal_scores_keep_the_first_stages_order_and_unknown_ones_follow():
    ranking = order_of(ProRank(), (None, None), (-1.0, -1.0), (-2.0, -2.0), (-1.0, -9.0))
    assert ranking.order == (3, 1, 2, 0)
    assert ranking.scores == (None, 0.0, 0.0, 8.0)


@given(st.floats(-30, -1e-6))
def test_an_unknown_choice_is_taken_as_likely_as_it_can_be(known):
    bound = most_left(known)
    assert bound <= known and math.exp(bound) + math.exp(known) <= 1 + 1e-9
    assert log_odds(known, None) == known - bound >= 0
    assert log_odds(None, known) == -log_odds(known, None)
    for truth in (bound, bound - 1, bound - 10):
        assert log_odds(known, None) <= known - truth, "it must never flatter the known one"


def test_certainty_that_is_rounded_to_zero_is_a_finite_score():
    assert 20 < log_odds(0.0, None) < 40
    assert log_odds(float("nan"), float("-inf")) is None
    assert log_odds(float("-inf"), -1.0) == log_odds(None, -1.0)
    assert log_odds(None, None, missing=-10.0) == 0.0


def test_out_of_budget_leaves_the_first_stages_order():
    steps = ProRank().order(LISTING)
    assert len(next(steps)) == 2
    with pytest.raises(StopIteration) as stop:
        steps.throw(OutOfBudget("spent"))
    assert stop.value.value.order == (0, 1)


@pytest.mark.parametrize(
    ("text", "score", "status"),
    [
        ("1", 1.0, "ok"), ("0", 0.0, "ok"), (" 1\n", 1.0, "ok"), ("1.", 1.0, "repaired"), ("Relevance: 0", 0.0, "repaired"),
        ("<think>0 or 1?</think>1", 1.0, "ok"), ("10", None, "failed"), ("0.5", None, "failed"), ("1 or 0", None, "failed"),
        ("", None, "failed"), ("yes", None, "failed"), ("٠", None, "failed"), ("<think>1", None, "failed"),
    ],
)  # fmt: skip
def test_the_word_of_a_model_in_training(text, score, status):
    reading = ProRank().parse(text, 1)
    assert (reading.scores, reading.report.status) == ((score,), status)


@given(st.text(alphabet="01 .,yesno<thik/>\n", max_size=30), st.integers(0, 3))
def test_a_verdict_is_total(text, n):
    reading = parse_verdict(text, n)
    assert reading.ranking.order == tuple(range(n)) and len(reading.scores) == n
    assert reading.report.unreadable == (not n or reading.scores[0] is None) or n == 0


@pytest.mark.parametrize("relevant", [True, False])
def test_the_ideal_answer_is_read_back(relevant):
    reading = ProRank().parse(ProRank().spell(relevant), 1)
    assert reading.report.clean and reading.scores == (float(relevant),)


def characters(text, limit):
    return text[:limit]


def words_of(n, word="w"):
    return " ".join([word] * n)


@given(
    st.integers(1, 40),
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(0, 12),
    st.sampled_from([clip_words, characters]),
)
def test_query_and_document_share_the_room(room, query, document, taken, clip):
    listing = CandidateList(Query("q", words_of(query, "q")), (Candidate("d", words_of(document, "d")),))
    instruction = words_of(taken, "i")

    def length(text):
        return len(text.split()) if clip is clip_words else len(text)

    shown, cut = fitted(listing, clip, room, taken=instruction)
    used = min(length(instruction), room)
    assert length(shown) <= max(1, int(0.75 * room) - used)
    assert length(shown) + length(cut.text) + used <= max(room, used + 2)
    whole = length(listing.query.text), length(listing.candidates[0].text)
    if whole[0] <= int(0.75 * room) - used:
        assert shown == listing.query.text
        assert length(cut.text) == min(whole[1], max(1, room - used - whole[0])), "the room is used"


def test_a_tokenizer_that_marks_the_beginning_of_a_text_is_believed():
    listing = CandidateList(Query("q", "qqq"), (Candidate("d", "dddddd"),))
    query, document = fitted(listing, lambda text, limit: text[: max(0, limit - 1)], 10)
    assert (query, document.text) == ("qqq", "ddddd")


def test_the_document_is_what_is_cut():
    listing = CandidateList(Query("q", words_of(4, "q")), (Candidate("d", words_of(30, "d")),))
    content = ProRank(max_length=10).prompt(listing)[0]["content"]
    assert content.startswith("query: q q q q\ndocument: d d d d d d\n")
    content = ProRank(max_length=4).prompt(listing)[0]["content"]
    assert content.startswith("query: q q q\ndocument: d\n")


@pytest.mark.parametrize("wrong", [{"max_length": 0}, {"max_length": True}, {"score": "m9"}, {"instruction": None}])
def test_a_field_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=f"prorank: {next(iter(wrong))} must be"):
        ProRank(**wrong)


def test_of_several_documents_the_first_is_shown_whole_or_cut():
    assert ProRank.shown == 1
    for most, shown in ((100, "Faust Goethe wrote it."), (5, "Faust Goethe")):
        query, document = fitted(LISTING, clip_words, most)
        assert (query, document.text) == ("who wrote faust?", shown)
