"""Setwise: prompts for chat models and for T5, letters read or scored, three ways to order a list."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.contracts import request_of
from rankrl.engines.drive import drive
from rankrl.errors import ConfigError
from rankrl.rerankers._templates import variants
from rankrl.rerankers.setwise import Setwise
from rankrl.types import PLAIN, Answer, Candidate, CandidateList, Query

sys.path.insert(0, str(Path(__file__).resolve().parent))
from graded import Oracle, Saying, best_first, graded

LISTING = CandidateList(
    Query("q1", "who wrote faust?"),
    (Candidate("d7", "Goethe wrote it.", "Faust"), Candidate("d3", "A river\nin two lines."), Candidate("d9", "")),
)
LABEL = r"Passage ([A-W])"


def test_the_published_softmax():
    reading = Setwise(mode="likelihood").read(Answer("", scores=(1.0, 3.0, 2.0)), 3)
    assert [round(score, 4) for score in reading.scores] == [0.0900, 0.6652, 0.2447]
    assert reading.ranking.order == (1, 2, 0)


@given(st.lists(st.one_of(st.none(), st.floats(-800, 0)), min_size=1, max_size=23))
def test_scores_are_a_distribution_and_the_order_that_of_the_log_probabilities(scores):
    reading = Setwise(mode="likelihood").read(Answer("", scores=tuple(scores)), len(scores))
    known = [i for i, score in enumerate(scores) if score is not None]
    assert reading.report.unreadable == (not known)
    if known:
        assert math.isclose(sum(reading.scores[i] for i in known), 1.0)
        # softmax may be 0.0 for several: the order tells them apart all the same
        assert list(reading.ranking.order[: len(known)]) == sorted(known, key=lambda i: -scores[i])
    assert [reading.scores[i] for i in range(len(scores)) if i not in known] == [None] * (len(scores) - len(known))


def test_infinite_log_probabilities_do_not_end_a_run():
    reading = Setwise(mode="likelihood").read(Answer("", scores=(-math.inf, -1.0, -math.inf)), 3)
    assert reading.scores == (0.0, 1.0, 0.0)
    assert Setwise(mode="likelihood").read(Answer("", scores=(-math.inf, -math.inf)), 2).scores == (0.5, 0.5)


def test_the_prompt_of_a_chat_model():
    (user,) = Setwise().prompt(LISTING)
    assert user["role"] == "user"
    shown = '\n\nPassage A: "Faust Goethe wrote it."\n\nPassage B: "A river in two lines."\n\nPassage C: ""\n\n'
    assert shown in user["content"]
    assert user["content"].index('"who wrote faust?"') < user["content"].index(shown)
    assert request_of(Setwise(), LISTING).choices == ()
    assert request_of(Setwise(mode="likelihood"), LISTING).choices == ("A", "B", "C")


def test_the_prompt_of_t5_has_no_turns_and_begins_the_answer():
    asked = request_of(Setwise(template="plain", mode="likelihood"), LISTING)
    assert [message["role"] for message in asked.prompt] == [PLAIN, "assistant"]
    assert asked.begun == "Passage"
    assert asked.choices == (" A", " B", " C")
    assert '\n\nPassage C: ""\n\n' in asked.prompt[0]["content"]


@pytest.mark.parametrize(
    ("text", "winner", "status"),
    [
        ("B", 1, "ok"),
        ("Passage B", 1, "ok"),
        (" B", 1, "ok"),
        ("[B]", 1, "ok"),
        ('"B".', 1, "ok"),
        ("**Passage: C**", 2, "ok"),
        ("b", 1, "ok"),
        ("<think>A or C?</think>\n\nB", 1, "ok"),
        ("B: it names the author", 1, "repaired"),
        ("(C) because", 2, "repaired"),
        ("I think that Passage C answers it best, not Passage A.", 2, "repaired"),
        ("The answer is B", 1, "repaired"),
        ("Answer: **C**.", 2, "repaired"),
        ("Passage Z, or else Passage B", 1, "repaired"),
        ("A passage about rivers is of no use", None, "failed"),
        ("I cannot choose", None, "failed"),
        ("Z", None, "failed"),
        ("<think>Passage B", None, "failed"),
        ("B is the most relevant.", 1, "repaired"),
        ("A answers it", 0, "repaired"),
        ("The best passage would be C", 2, "repaired"),
        ("It is B, since the others do not", 1, "repaired"),
        ("The answer is A because it says so", 0, "repaired"),
        ("\\boxed{B}", 1, "repaired"),
        ("<answer>C</answer>", 2, "repaired"),
        ("B cells are the subject", None, "failed"),
        ("The subject is B cells", None, "failed"),
        ("The answer is a list", None, "failed"),
        ("A list of rivers", None, "failed"),
        ("", None, "failed"),
    ],
)
def test_answers_that_choose_and_answers_that_do_not(text, winner, status):
    reading = Setwise().parse(text, 3)
    assert reading.report.status == status
    assert reading.ranking.order == ((0, 1, 2) if winner is None else (winner, *(i for i in range(3) if i != winner)))


@pytest.mark.parametrize("compat", ["rankrl", "upstream"])
@pytest.mark.parametrize("blank", [" ", "\n", " :"])
def test_blanks_after_the_name_of_a_label_cost_no_more_than_other_text(compat, blank):
    text = "passage" + blank * 50_000 + "zz"  # 100 kB took three minutes
    start = time.process_time()
    assert Setwise(compat=compat).parse(text, 3).report.unreadable
    assert time.process_time() - start < 0.1


def test_upstream_takes_a_letter_and_nothing_else():
    upstream = Setwise(compat="upstream")
    assert upstream.parse(" b\n", 3).ranking.order == (1, 0, 2)
    assert upstream.parse("Passage B", 3).ranking.order == (1, 0, 2)
    for text in ("B.", "The answer is B", "Z", "<think></think>B"):
        assert upstream.parse(text, 3).report.unreadable


@given(st.text(alphabet="[]AB Zz.:'\n<think>/Passage", max_size=40), st.integers(0, 6))
def test_whatever_is_said_a_permutation_is_read(text, n):
    for compat in ("rankrl", "upstream"):
        assert sorted(Setwise(compat=compat).parse(text, n).ranking.order) == list(range(n))


@pytest.mark.parametrize("template", variants("setwise"))
@given(st.integers(1, 23))
def test_the_ideal_answer_is_read_back(template, label):
    reranker = Setwise(template=template, num_child=22)
    reading = reranker.parse(reranker.answer(label), 23)
    assert reading.ranking.order[0] == label - 1
    assert reading.report.clean


@pytest.mark.parametrize(
    "options", [{}, {"mode": "likelihood"}, {"shuffle": True}, {"votes": 3}, {"template": "plain"}]
)
@pytest.mark.parametrize("sort", ["heap", "bubble"])
@pytest.mark.parametrize("num_child", [2, 9, 22])
def test_the_ten_best_of_sixty_are_found(options, sort, num_child):
    listing, reranker = graded(60, seed=4), Setwise(num_child=num_child, sort=sort, **options)
    oracle = Oracle(lambda labels: f"Passage {labels[0]}", label=LABEL)
    (ranking,) = drive([reranker.order(listing)], oracle)
    best = best_first(listing)[:10]
    assert ranking.docids(listing) == best + [docid for docid in listing.docids if docid not in best]
    plan = reranker.plan(60)
    assert max(len(request.shown) for request in oracle.requests) == reranker.shown == plan.shown
    assert plan.calls_min <= len(oracle.requests)
    assert len({request.key for request in oracle.requests}) <= plan.calls_max


def test_likelihood_slides_a_window_too():
    listing, reranker = graded(60), Setwise(mode="likelihood", sort="window", window=8, stride=4, passes=3)
    (ranking,) = drive([reranker.order(listing)], Oracle(None, label=LABEL))
    assert ranking.docids(listing)[:12] == best_first(listing)[:12]
    assert reranker.shown == 8
    assert Setwise(mode="likelihood", sort="window").plan(100).calls_max == 245  # as the paper counts


@pytest.mark.parametrize("sort", ["heap", "bubble"])
def test_when_nothing_can_be_read(sort):
    listing = graded(100)
    for mode in ("generation", "likelihood"):
        (ranking,) = drive([Setwise(sort=sort, mode=mode).order(listing)], Saying("I cannot"))
        assert ranking.order == tuple(range(100))
    (ranking,) = drive([Setwise(compat="upstream").order(listing)], engine := Saying("I cannot"))
    assert [position + 1 for position in ranking.order[:12]] == [1, 100, 99, 98, 97, 96, 95, 94, 93, 92, 2, 3]
    assert engine.asked <= 59  # equal questions are asked once


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_child": 23}, "num_child must be at most 22, got 23"),
        ({"mode": "scoring"}, "mode must be one of 'generation', 'likelihood'"),
        ({"sort": "quick"}, "sort must be one of 'heap', 'bubble', 'window'"),
        ({"sort": "window"}, 'give mode="likelihood"'),
        ({"window": 24, "stride": 2}, "window must be at most 23"),
        ({"stride": 5}, "stride must be at most window=4"),
        ({"shuffle": "yes"}, "shuffle must be true or false"),
    ],
)
def test_a_field_out_of_range_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        Setwise(**wrong)


def test_a_choice_without_a_label_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("one: {user: '{{ query }} {{ passages|join }}', choice: 'Passage'}")
    with pytest.raises(ConfigError, match=r"choice of template .* must hold \"{label}\", got 'Passage'"):
        Setwise(template=str(path))


def asked(reranker):
    """What a perfect oracle was shown, in order, and what came first."""
    listing = graded(30, seed=2)
    (ranking,) = drive([reranker.order(listing)], oracle := Oracle(lambda labels: labels[0], label=LABEL))
    shown = [request.shown.docids for request in oracle.requests]
    return shown, ranking.docids(listing)


def test_the_fields_reach_the_ordering_and_the_plan():
    best = best_first(graded(30, seed=2))
    shown, order = asked(Setwise(k=2))
    assert order[:2] == best[:2] and order[2:] != best[2:]
    bubbles, _ = asked(Setwise(k=2, sort="bubble"))
    assert graded(30, seed=2).docids[-3:] in bubbles and graded(30, seed=2).docids[-3:] not in shown
    assert 2 * len(shown) < len(asked(Setwise(k=2, votes=3))[0]) <= 3 * len(shown)  # equal orders are asked once
    orders = [asked(Setwise(k=2, shuffle=True, seed=seed))[0] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert set(map(frozenset, orders[0])) == set(map(frozenset, shown))
    windows = {"mode": "likelihood", "sort": "window"}
    assert [len(asked(Setwise(**windows, passes=passes))[0]) for passes in (1, 2)] == [14, 28]
    assert [Setwise(**windows, passes=passes).plan(30).calls_max for passes in (1, 2)] == [14, 28]
    for options in ({"votes": 3}, {"k": 3}, {"num_child": 5}, {"sort": "bubble"}, {"sort": "bubble", "votes": 2}):
        plan = Setwise(**options).plan(30)
        assert plan != Setwise(**{**options, "votes": 1, "k": 10, "num_child": 2, "sort": "heap"}).plan(30)
        assert plan.calls_min <= len(set(map(tuple, asked(Setwise(**options))[0]))) <= plan.calls_max
