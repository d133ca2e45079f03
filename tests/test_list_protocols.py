"""The published vectors of list-shaped protocols through the rerankers themselves: prompt, answer, reading and ordering."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from rankrl.contracts import reading_of
from rankrl.engines.drive import drive
from rankrl.errors import OutOfBudget
from rankrl.rerankers.first import First
from rankrl.rerankers.listwise import Listwise
from rankrl.rerankers.rank_r1 import RankR1
from rankrl.rerankers.reasonrank import ReasonRank
from rankrl.rerankers.setwise import Setwise
from rankrl.rerankers.tourrank import TourRank
from rankrl.types import Answer, Candidate, CandidateList, Query

sys.path.insert(0, str(Path(__file__).resolve().parent))
from random_answers import answer_to


def listing_of(grades):
    return CandidateList(Query("q", "?"), tuple(Candidate(f"d{i}", f"text {g}") for i, g in enumerate(grades)))


class Knowing:
    """Answers in the protocol's own layout with the truth about what is shown; refuses from request `readable` on."""

    def __init__(self, reranker, readable=10**9):
        self.reranker, self.readable, self.shown = reranker, readable, []

    def generate(self, requests, on_answer=None):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        self.shown.append([int(candidate.text.split()[1]) for candidate in request.shown.candidates])
        if len(self.shown) > self.readable:
            return Answer("I am sorry", scores=(None,) * len(request.choices))
        grades = self.shown[-1]
        if request.choices:
            return Answer("", scores=tuple(grade - 1000.0 for grade in grades))
        labels = sorted(range(1, len(grades) + 1), key=lambda label: -grades[label - 1])
        if isinstance(self.reranker, TourRank):
            wanted = int(request.prompt[-1]["content"].split("Name the ")[1].split()[0])
            return Answer(self.reranker.spell(labels[:wanted]))
        one = isinstance(self.reranker, RankR1 | Setwise)
        return Answer(self.reranker.answer(labels[0]) if one else self.reranker.spell(labels))


def ordered(reranker, grades, **options):
    """(order, calls)"""
    engine = Knowing(reranker, **options)
    (ranking,) = drive([reranker.order(listing_of(grades))], engine)
    return list(ranking.order), len(engine.shown)


@pytest.mark.parametrize(("num_child", "calls"), [(2, 8), (3, 6), (6, 3)])
@pytest.mark.parametrize("make", [RankR1, Setwise])
def test_the_heap_of_seven(make, num_child, calls):
    order, asked = ordered(make(num_child=num_child, k=3), [2, 5, 1, 4, 3, 0, 6])
    assert (order, asked) == ([6, 1, 3, 0, 2, 4, 5], calls)


@pytest.mark.parametrize(("make", "num_child", "best_first", "worst_first", "failing"), [
    (RankR1, 19, 19, 25, 15), (Setwise, 2, 102, 147, 59), (Setwise, 3, 69, 83, None), (Setwise, 4, 54, 70, None),
    (Setwise, 9, 30, 39, None), (Setwise, 10, 27, 29, None),
])  # fmt: skip
def test_calls_of_a_heap_over_sorted_lists_and_of_one_that_fails(make, num_child, best_first, worst_first, failing):
    reranker = make(num_child=num_child)
    order, calls = ordered(reranker, range(100, 0, -1))
    assert (order, calls) == (list(range(100)), best_first)
    order, calls = ordered(reranker, range(100))
    assert (order, calls) == ([*range(99, 89, -1), *range(90)], worst_first)
    order, calls = ordered(reranker, range(100), readable=0)
    assert order == list(range(100))
    if failing is not None:
        upstream = make(num_child=num_child, compat="upstream")
        assert ordered(upstream, range(100), readable=0) == ([0, *range(99, 90, -1), *range(1, 91)], failing)


WINNERS = [
    ("<think>r</think> <answer>[3]</answer>", 2),
    ("<think>r</think><answer> [3]\n</answer>", 2),
    ("<think>r</think><answer>3</answer>", None),
    ("<think>r</think><answer>[3], [2]</answer>", None),
    ("<answer>[3]</answer>", None),
    ("<think>r</think><answer>[9]</answer>", None),
    ("<think>a <answer>[1]</answer></think><answer>[2]</answer>", 1),
]


@pytest.mark.parametrize(("text", "winner"), WINNERS)
def test_the_published_winners_of_rank_r1(text, winner):
    reading = RankR1().parse(text, 5)
    assert reading.report.unreadable == (winner is None)
    assert reading.ranking.order[0] == (winner or 0)


@pytest.mark.parametrize(
    ("num_child", "calls", "sorted_calls"), [(2, 475, 59 - 8), (3, 318, None), (9, 109, None), (19, 54, 15 - 5)]
)
def test_bubbles_ask_as_often_as_published(num_child, calls, sorted_calls):
    grades = random.Random(0).sample(range(100), 100)
    ours = Setwise(num_child=num_child, sort="bubble")
    order, asked = ordered(ours, grades)
    assert order[:10] == sorted(range(100), key=lambda i: -grades[i])[:10]
    assert ours.plan(100).calls_max == calls >= asked
    assert ordered(ours, range(100), readable=0)[0] == list(range(100))
    if sorted_calls is not None:  # the published code sends prompts without a choice beside these
        upstream = Setwise(num_child=num_child, sort="bubble", compat="upstream")
        order, asked = ordered(upstream, range(100, 0, -1))
        assert order == list(range(100)) and asked <= sorted_calls


@pytest.mark.parametrize("make", [Listwise, ReasonRank, First])
@pytest.mark.parametrize(
    ("window", "stride", "passes", "top"), [(20, 10, 1, 10), (20, 10, 2, 20), (20, 5, 1, 15), (10, 5, 1, 5)]
)
def test_windows_bring_up_the_best_as_far_as_they_can(make, window, stride, passes, top):
    reranker = make(window=window, stride=stride, passes=passes)
    for seed in range(3):
        grades = random.Random(seed).sample(range(100), 100)
        order, calls = ordered(reranker, grades)
        assert order[:top] == sorted(range(100), key=lambda i: -grades[i])[:top]
        assert calls <= reranker.plan(100).calls_max == passes * (-(-(100 - window) // stride) + 1)


@pytest.mark.parametrize("make", [Listwise, ReasonRank, First])
def test_ten_reversed_candidates_in_windows_of_four(make):
    assert ordered(make(window=4, stride=2), range(10))[0] == [9, 8, 1, 0, 3, 2, 5, 4, 7, 6]


@pytest.mark.parametrize(
    ("n", "ours", "rankgpt"), [(5, 1, 0), (21, 2, 1), (25, 2, 1), (31, 3, 2), (99, 9, 8), (100, 9, 9)]
)
def test_rankgpts_windows_leave_the_top_of_other_lengths_alone(n, ours, rankgpt):
    assert ordered(Listwise(), range(n))[1] == ours
    order, calls = ordered(Listwise(template="rankgpt", compat="upstream"), range(n))
    left = n if n < 20 else (n - 20) % 10
    assert calls == rankgpt and order[:left] == list(range(left))


def test_points_of_one_tournament():
    grades = range(100, 0, -1)
    reranker = TourRank()
    engine = Knowing(reranker)
    (ranking,) = drive([reranker.order(listing_of(grades))], engine)
    points = [int(score) for score in ranking.scores]
    assert [points.count(p) for p in range(6)] == [50, 30, 10, 5, 3, 2] and sum(points) == 87
    assert len(engine.shown) == 13 and sum(map(len, engine.shown)) == 185
    assert list(ranking.order[:10]) == list(range(10))


PROTOCOLS = {
    "rank_r1": RankR1(num_child=3, k=5), "rank_r1 votes": RankR1(num_child=2, k=4, votes=3),
    "setwise": Setwise(k=5), "bubble": Setwise(sort="bubble", num_child=3, k=5), "likelihood": Setwise(mode="likelihood", k=5),
    "setwise window": Setwise(mode="likelihood", sort="window", passes=3), "listwise": Listwise(window=6, stride=3, passes=2),
    "reasonrank": ReasonRank(window=6, stride=3), "first": First(window=6, stride=2), "tourrank": TourRank(rounds=2),
    "tourrank stages": TourRank(stages=((4, 3), (1, 4), (1, 2))),
}  # fmt: skip


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_budget_that_ends_anywhere_leaves_a_permutation_that_comes_closer_to_the_whole(name):
    reranker, grades = PROTOCOLS[name], random.Random(4).sample(range(26), 26)

    def until(stop, engine):
        """The order when the budget is spent before round `stop`, and whether it was."""
        steps, answers = reranker.order(listing_of(grades)), None
        try:
            for _ in range(stop):
                answers = engine.generate(steps.send(answers))
            steps.send(answers)
            steps.throw(OutOfBudget("no more"))
        except StopIteration as over:
            return list(over.value.order), over.value is not None
        raise AssertionError("it asks on")

    whole = until(10**6, Knowing(reranker))[0]
    truth = sorted(range(26), key=lambda i: -grades[i])
    orders, stop = [], 0
    while not orders or orders[-1] != whole:
        orders.append(until(stop, Knowing(reranker))[0])
        stop += 1
        assert sorted(orders[-1]) == list(range(26))
    gains = [sum((26 - rank) * grades[i] for rank, i in enumerate(order[:5])) for order in orders]
    assert orders[0] == list(range(26)) and gains == sorted(gains)
    assert gains[-1] <= sum((26 - rank) * grades[i] for rank, i in enumerate(truth[:5]))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_no_answer_breaks_the_order_and_no_readable_answer_keeps_the_first_stage(name):
    reranker = PROTOCOLS[name]
    assert ordered(reranker, range(26), readable=0)[0] == list(range(26))
    for seed in range(5):

        class Random:
            def generate(self, requests, on_answer=None, seed=seed):
                return [answer_to(request, seed=seed) for request in requests]

        (ranking,) = drive([reranker.order(listing_of(range(26)))], Random())
        assert sorted(ranking.order) == list(range(26))


def test_the_letters_and_scores_of_the_papers():
    read = reading_of(First(), Answer("", scores=(-1.9, -0.2, None, -4.0, None)), 5)
    assert read.ranking.order == (1, 0, 3, 2, 4)
    read = reading_of(Setwise(mode="likelihood"), Answer("", scores=(1.0, 3.0, 2.0)), 3)
    assert read.scores == pytest.approx((0.0900, 0.6652, 0.2447), abs=5e-5) and read.ranking.order == (1, 2, 0)
