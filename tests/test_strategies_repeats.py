"""Any ordering again: passes over its own result, shuffles that are averaged; and what holds for every ordering."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import sys
import weakref
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.errors import ConfigError, OutOfBudget
from rankrl.strategies._common import by_score, drawn_orders, lockstep, waves
from rankrl.strategies.allpair import allpair
from rankrl.strategies.bubble import bubble
from rankrl.strategies.groups import groups
from rankrl.strategies.heap import heap
from rankrl.strategies.one_shot import one_shot
from rankrl.strategies.pair_heap import pair_heap
from rankrl.strategies.pointwise import pointwise
from rankrl.strategies.repeats import repeated
from rankrl.strategies.sliding_pairs import sliding_pairs
from rankrl.strategies.sliding_window import sliding_window
from rankrl.strategies.tournament import tournament

sys.path.insert(0, str(Path(__file__).resolve().parent))
from toy_orderings import Toy, arbitrary, best, grades_of, in_order, in_scores, listing_of, nothing, play

from rankrl.types import Answer


@dataclass
class Ordering(Toy):
    """The toy with an ordering of its own."""

    ordered: object

    def order(self, listing):
        return self.ordered(self, listing)


ORDERINGS = {
    "one_shot": (one_shot, "order"),
    "pointwise": (pointwise, "scores"),
    "groups": (partial(groups, size=4, rounds=2), "scores"),
    "overlapping groups": (partial(groups, size=4, interval=2), "scores"),
    "sliding_window": (partial(sliding_window, size=4, stride=2, passes=2), "order"),
    "sliding_window upstream": (partial(sliding_window, size=4, stride=2, compat="upstream"), "order"),
    "heap": (partial(heap, children=3, k=5, votes=2), "winner"),
    "bubble": (partial(bubble, children=3, k=5, votes=2), "winner"),
    "bubble upstream": (partial(bubble, children=3, k=5, compat="upstream"), "winner"),
    "allpair": (allpair, "winner"),
    "allpair soft": (partial(allpair, soft=True), "scores"),
    "allpair upstream": (partial(allpair, compat="upstream", k=5), "winner"),
    "allpair one order": (partial(allpair, both_orders=False), "winner"),
    "pair_heap": (partial(pair_heap, k=5), "winner"),
    "pair_heap upstream": (partial(pair_heap, k=5, compat="upstream"), "winner"),
    "sliding_pairs": (partial(sliding_pairs, passes=3), "winner"),
    "sliding_pairs upstream": (partial(sliding_pairs, passes=3, compat="upstream"), "winner"),
    "tournament": (partial(tournament, rounds=2), "order"),
    "repeated": (lambda toy, listing: repeated(Ordering(partial(heap, children=3, k=5)), listing, passes=2), "winner"),
    "shuffled": (
        lambda toy, listing: repeated(Ordering(partial(heap, children=3, k=5)), listing, shuffles=3),
        "winner",
    ),
}

every = pytest.mark.parametrize("name", ORDERINGS)


@every
@given(n=st.integers(0, 26), seed=st.integers())
@settings(max_examples=25)
def test_any_answers_give_a_permutation(name, n, seed):
    ordering, kind = ORDERINGS[name]
    game = play(ordering(Toy(), listing_of(range(n))), arbitrary(seed, kind))
    assert sorted(game.order) == list(range(n))
    assert game.ranking.scores is None or len(game.ranking.scores) == n


@pytest.mark.parametrize("name", [name for name in ORDERINGS if name != "pair_heap upstream"])  # tested by hand
@given(n=st.integers(0, 26))
@settings(max_examples=15)
def test_total_failure_gives_the_first_stage_order(name, n):
    ordering, _ = ORDERINGS[name]
    assert play(ordering(Toy(), listing_of(range(n))), nothing).order == list(range(n))


@every
@given(n=st.integers(0, 26), seed=st.integers(), budget=st.integers(1, 6))
@settings(max_examples=25)
def test_a_spent_budget_ends_every_ordering_with_what_it_has(name, n, seed, budget):
    ordering, kind = ORDERINGS[name]
    game = play(ordering(Toy(), listing_of(range(n))), arbitrary(seed, kind), budget=budget)
    assert sorted(game.order) == list(range(n))
    assert len(game.batches) <= budget
    first = play(ordering(Toy(), listing_of(range(n))), nothing, budget=1)
    assert first.order == list(range(n))


@every
def test_lists_without_a_choice(name):
    ordering, _ = ORDERINGS[name]
    assert play(ordering(Toy(), listing_of([])), nothing).batches == []
    alone = play(ordering(Toy(), listing_of([5])), in_scores)
    assert alone.order == [0]
    assert alone.calls == 0 or name in ("pointwise", "groups", "overlapping groups")


@every
def test_two_lists_of_one_qid_do_not_disturb_each_other(name):
    ordering, kind = ORDERINGS[name]
    answer = arbitrary(5, kind)
    lists = [listing_of(random.Random(i).sample(range(30), 18)) for i in range(2)]
    alone = [play(ordering(Toy(), listing), answer) for listing in lists]
    together = play(both(lists, ordering), answer).ranking
    assert [ranking.order for ranking in together] == [game.ranking.order for game in alone]


def both(lists, ordering):
    return (yield from lockstep([ordering(Toy(), listing) for listing in lists]))


# what they are made of


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5)), max_size=30))
def test_waves_keep_the_order_of_what_overlaps_and_wait_for_nothing_else(drawn):
    spans = [range(start, start + width) for start, width in drawn]
    levels = waves(spans)
    assert sorted(itertools.chain(*levels), key=str) == sorted(spans, key=str)
    assert all(levels)
    for level in levels:
        assert all(not set(a) & set(b) for a, b in itertools.combinations(level, 2))
    for level, after in itertools.pairwise(levels):
        assert all(any(set(span) & set(before) for before in level) for span in after)


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=True)), max_size=20))
def test_scores_order_with_ties_by_first_stage_rank_and_none_last(scores):
    ranking = by_score(scores)
    known = [None if s is None or s != s else s for s in scores]
    assert list(ranking.order) == sorted(range(len(scores)), key=lambda i: (known[i] is None, -(known[i] or 0), i))
    assert ranking.scores == tuple(known)


def game_of(rounds, *, forgiving):
    """Asks `rounds` times about its own number of rounds; returns what it heard."""
    heard = []
    for turn in range(rounds):
        try:
            (answer,) = yield [(rounds, turn)]
        except OutOfBudget:
            if not forgiving:
                raise
            return heard
        heard.append(answer)
    return heard


@given(st.lists(st.integers(0, 5), max_size=6), st.integers(0, 4))
def test_lockstep_gives_each_game_its_own_answers_and_a_spent_budget(lengths, budget):
    def run(forgiving):
        steps = lockstep([game_of(rounds, forgiving=forgiving) for rounds in lengths])
        replies = None
        for turn in itertools.count():
            try:
                asked = steps.throw(OutOfBudget("spent")) if turn == budget and turn else steps.send(replies)
            except StopIteration as stop:
                return stop.value
            assert asked == [(rounds, turn) for rounds in lengths if rounds > turn]
            replies = [("answer to", *question) for question in asked]

    limit = budget or 99
    ended = [[("answer to", rounds, turn) for turn in range(rounds)] for rounds in lengths]
    cut = [[("answer to", rounds, turn) for turn in range(min(rounds, max(limit - 1, 0)))] for rounds in lengths]
    if any(rounds >= limit for rounds in lengths):
        assert run(True) == cut
        with pytest.raises(OutOfBudget):
            run(False)
    else:
        assert run(True) == ended


# repeats


@given(st.integers(0, 40), st.integers(1, 4), st.integers())
@settings(max_examples=50)
def test_passes_of_windows_are_the_windows_passes(n, passes, seed):
    answer = arbitrary(seed, "order")
    once = Ordering(partial(sliding_window, size=6, stride=3))
    game = play(repeated(once, listing_of(range(n)), passes=passes), answer)
    own = play(sliding_window(Toy(), listing_of(range(n)), size=6, stride=3, passes=passes), answer)
    assert game.order == own.order and sorted(game.shown) == sorted(own.shown)


def test_one_pass_over_the_list_itself_is_the_ordering_with_its_scores():
    toy = Ordering(pointwise)
    game = play(repeated(toy, listing_of([3, 9, 3, 5])), in_scores)
    assert (game.order, game.ranking.scores, game.shown) == ([1, 3, 0, 2], (3.0, 9.0, 3.0, 5.0), ["3", "9", "3", "5"])
    assert play(repeated(toy, listing_of([3, 9]), passes=2), in_scores).ranking.scores is None
    assert play(repeated(toy, listing_of([3, 9]), shuffles=2), in_scores).ranking.scores is None


def test_the_second_pass_has_the_first_ones_result_as_its_first_stage():
    turn = iter(["2,1,0", "?"])
    game = play(repeated(Ordering(one_shot), listing_of([1, 2, 3]), passes=2), lambda _: next(turn))
    assert game.shown == ["1 2 3", "3 2 1"] and game.order == [2, 1, 0]


@given(st.integers(2, 20), st.integers(2, 6), st.integers(1, 3), st.integers())
@settings(max_examples=60)
def test_shuffles_are_averaged_by_mean_rank(n, shuffles, passes, seed):
    answer = arbitrary(seed, "order", 0.0)
    game = play(repeated(Ordering(one_shot), listing_of(range(n)), passes=passes, shuffles=shuffles, seed=seed), answer)
    assert len(game.batches) == passes and game.calls == passes * min(shuffles, math.factorial(n))
    ranks = {i: [] for i in range(n)}
    for text in game.batches[-1]:
        shown = [int(word) for word in text.split()]
        for rank, index in enumerate(map(int, answer([{"content": text}]).split(","))):
            ranks[shown[index]].append(rank)
    assert game.order == sorted(range(n), key=lambda i: (sum(ranks[i]), i))
    assert len(set(game.batches[0])) > 1 or n < 5 or shuffles < 3


def test_shuffles_make_a_model_that_only_prefers_places_fair():
    grades = random.Random(3).sample(range(10), 10)

    def biased(messages):  # puts the last two shown first, else it is right
        shown = grades_of(messages)
        right = sorted(range(len(shown) - 2), key=lambda i: -shown[i])
        return ",".join(map(str, (len(shown) - 1, len(shown) - 2, *right)))

    once = play(repeated(Ordering(one_shot), listing_of(grades)), biased).order
    many = play(repeated(Ordering(one_shot), listing_of(grades), shuffles=60), biased).order
    truth = sorted(range(10), key=lambda i: -grades[i])

    def off(order):
        return sum(abs(order.index(i) - truth.index(i)) for i in range(10))

    assert off(many) < off(once)
    assert many[0] == truth[0]


def test_a_shuffle_without_a_readable_answer_is_left_out():
    said = iter(["?", "in order", "?"])

    def answer(messages):
        return in_order(messages) if next(said) == "in order" else "?"

    game = play(repeated(Ordering(one_shot), listing_of([1, 3, 2]), shuffles=3), answer)
    assert game.order == [1, 2, 0]
    assert play(repeated(Ordering(one_shot), listing_of([1, 3, 2]), shuffles=3), nothing).order == [0, 1, 2]


@pytest.mark.parametrize(("n", "shuffles", "lists"), [(2, 6, 2), (3, 4, 4), (3, 50, 6), (4, 24, 24), (1, 3, 1)])
def test_no_shuffle_of_a_short_list_is_made_twice(n, shuffles, lists):
    game = play(repeated(Ordering(pointwise), listing_of(range(n)), shuffles=shuffles), in_scores)
    shown = [tuple(game.batches[0][i : i + n]) for i in range(0, len(game.batches[0]), n)]
    assert len(shown) == len(set(shown)) == lists


@given(st.integers(0, 5), st.integers(1, 40), st.text())
def test_orders_are_drawn_equally_often_and_the_first_ones_do_not_depend_on_how_many(n, count, key):
    orders = drawn_orders(range(10, 10 + n), count, key)
    assert all(sorted(order) == list(range(10, 10 + n)) for order in orders) and len(orders) == count
    times = Counter(map(tuple, orders))
    assert max(times.values()) - (min(times.values()) if len(times) == math.factorial(n) else 0) <= 1
    assert drawn_orders(range(10, 10 + n), count + 7, key)[:count] == orders


class Referenced(list):
    """A prompt that tells when it is gone."""


@pytest.mark.parametrize("name", [name for name in ORDERINGS if name not in ("repeated", "shuffled")])
def test_no_ordering_holds_its_prompts_while_they_are_answered(name):
    ordering, kind = ORDERINGS[name]
    made = []

    class Watched(Ordering):
        def prompt(self, listing):
            prompt = Referenced(super().prompt(listing))
            made.append(weakref.ref(prompt))
            return prompt

    answer = arbitrary(3, kind)
    for steps in (
        ordering(Watched(ordering), listing_of(range(12))),
        repeated(Watched(ordering), listing_of(range(12)), passes=2, shuffles=2),
    ):
        made.clear()
        batch = next(steps)
        with contextlib.suppress(StopIteration):
            while True:
                answers = [Answer(answer(request.prompt)) for request in batch]
                batch = None
                assert made and not any(prompt() for prompt in made)
                batch = steps.send(answers)


def test_after_a_spent_budget_no_further_pass_is_begun_and_what_is_there_counts():
    toy = Ordering(partial(heap, children=2, k=3))
    whole = play(toy.order(listing_of(range(12))), best)
    cut = play(repeated(toy, listing_of(range(12)), passes=3), best, budget=len(whole.batches) + 1)
    assert cut.order == whole.order  # the second pass had not found anything yet
    inside = play(repeated(toy, listing_of(range(12)), passes=3), best, budget=len(whole.batches) - 1)
    assert inside.order[0] == 11  # of the first pass, two of three had been found


def test_an_ordering_that_lets_a_spent_budget_pass_leaves_the_list():
    def stubborn(toy, listing):
        yield from game_over(toy, listing)

    def game_over(toy, listing):
        from rankrl.contracts import request_of

        yield [request_of(toy, listing)]
        raise AssertionError("not reached")

    for options in ({}, {"passes": 2}, {"shuffles": 2}):
        game = play(repeated(Ordering(stubborn), listing_of(range(4)), **options), best, budget=1)
        assert game.order == [0, 1, 2, 3]


@pytest.mark.parametrize("wrong", [{"passes": 0}, {"shuffles": 0}])
def test_repeats_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        play(repeated(Ordering(one_shot), listing_of(range(3)), **wrong), nothing)


def test_closing_a_game_in_flight_is_quiet():
    for ordering, _ in ORDERINGS.values():
        steps = ordering(Toy(), listing_of(range(9)))
        assert isinstance(next(steps), list)
        steps.close()
