"""The heap of choices, and one prompt over the whole list."""

from __future__ import annotations

import math
import random
import statistics
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.errors import ConfigError
from rankrl.strategies.bubble import bubble
from rankrl.strategies.heap import heap
from rankrl.strategies.one_shot import one_shot

sys.path.insert(0, str(Path(__file__).resolve().parent))
from toy_orderings import Toy, best, listing_of, play


def played(steps, answer=best):
    """(order, number of prompts, number of batches) of a game against `answer`."""
    game = play(steps, answer)
    return game.order, game.calls, len(game.batches)


def heap_of(grades, **options):
    return heap(Toy(), listing_of(grades), **{"children": 3, "k": 3, **options})


@pytest.mark.parametrize(("children", "calls"), [(2, 8), (3, 6), (6, 3)])
def test_heap_on_seven_candidates_by_hand(children, calls):
    order, prompts, _ = played(heap_of([2, 5, 1, 4, 3, 0, 6], children=children))
    assert (order, prompts) == ([6, 1, 3, 0, 2, 4, 5], calls)


@given(st.permutations(range(23)), st.integers(1, 22), st.integers(1, 30), st.booleans(), st.integers(1, 3))
@settings(max_examples=150, deadline=None)
def test_a_perfect_oracle_gives_the_exact_top_k_and_the_tail_in_first_stage_order(grades, children, k, shuffle, votes):
    order, _, _ = played(heap_of(grades, children=children, k=k, shuffle=shuffle, votes=votes))
    assert order[:k] == sorted(range(23), key=lambda i: -grades[i])[:k]
    assert order[k:] == sorted(order[k:])


@pytest.mark.parametrize(
    ("children", "mean", "least", "most", "best_first", "worst_first"),
    [
        (2, 140.1, 129, 148, 102, 147),
        (3, 81.8, 75, 85, 69, 83),
        (4, 60.9, 58, 64, 54, 70),
        (9, 31.4, 30, 34, 30, 39),
        (10, 28.8, 27, 29, 27, 29),
        (19, 23.3, 20, 25, 19, 25),
    ],
)
def test_calls_for_the_top_10_of_100_are_those_of_the_published_protocol(
    children, mean, least, most, best_first, worst_first
):
    rng = random.Random(children)
    calls = [played(heap_of(rng.sample(range(100), 100), children=children, k=10))[1] for _ in range(300)]
    assert statistics.mean(calls) == pytest.approx(mean, abs=0.35)
    assert least - 2 <= min(calls) and max(calls) <= most + 2
    assert played(heap_of(range(100, 0, -1), children=children, k=10))[1] == best_first
    assert played(heap_of(range(100), children=children, k=10))[1] == worst_first


@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 12), st.integers(1, 3))
@settings(deadline=None)
def test_total_failure_returns_first_stage_order(n, children, k, votes):
    order, _, _ = played(heap_of(range(n), children=children, k=k, votes=votes), answer=lambda _: "I am sorry")
    assert order == list(range(n))


@pytest.mark.parametrize(("children", "calls"), [(19, 15), (2, 59)])
def test_upstreams_fallback_lets_the_last_leaves_win(children, calls):
    steps = heap_of(range(100), children=children, k=10, compat="upstream")
    order, prompts, _ = played(steps, answer=lambda _: "")
    assert order == [0, *range(99, 90, -1), *range(1, 91)]
    assert prompts == calls


def test_nodes_of_one_level_are_asked_about_together():
    _, prompts, rounds = played(heap_of(range(100, 0, -1), children=9, k=1))
    assert prompts == 11  # ceil(99 / 9) internal nodes: the root, 9 below it, and one below those
    assert rounds == 3


def test_a_comparison_shows_at_most_the_parent_and_its_children():
    sizes = []
    played(
        heap_of(range(100), children=4, k=10), answer=lambda m: sizes.append(len(m[0]["content"].split())) or best(m)
    )
    assert max(sizes) == 5 and min(sizes) >= 2


def test_what_is_shown_depends_on_seed_and_query_only():
    def shown(**options):
        seen = []
        played(heap_of(range(50), **options), answer=lambda m: seen.append(m[0]["content"]) or best(m))
        return seen

    assert shown(seed=1) == shown(seed=1)
    assert shown(seed=1) != shown(seed=2)
    assert shown(shuffle=False)[0].split() == ["13", "40", "41", "42"]


def test_a_biased_judge_is_outvoted_by_first_stage_rank():
    always_first = played(heap_of([5, 5, 5, 5], children=3, k=1, votes=5), answer=lambda _: "0")
    assert sorted(always_first[0]) == [0, 1, 2, 3] and always_first[1] == 5


def test_unreadable_votes_do_not_count():
    turn = iter(["nothing", "nothing", None])
    order, _, _ = played(heap_of([1, 2], k=1, votes=3), answer=lambda m: next(turn) or best(m))
    assert order == [1, 0]


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_is_asked_about_a_list_without_a_choice(n):
    assert played(heap_of(range(n))) == (list(range(n)), 0, 0)
    assert played(one_shot(Toy(), listing_of(range(n)))) == (list(range(n)), 0, 0)


def test_one_shot_is_one_prompt_over_the_whole_list():
    assert played(one_shot(Toy(), listing_of([3, 1, 9]))) == ([2, 0, 1], 1, 1)


@pytest.mark.parametrize("wrong", [{"children": 0}, {"k": 0}, {"votes": 0}, {"compat": "upstraem"}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        played(heap_of(range(5), **wrong))


def voted(*wanted):
    """The order after votes for the passages with these texts; each vote shows them in an order of its own."""
    turn = iter(wanted)
    steps = heap_of([1, 2, 3], children=2, k=1, votes=len(wanted))
    return played(steps, answer=lambda messages: str(messages[0]["content"].split().index(next(turn))))[0]


@pytest.mark.parametrize("cast", [("1", "2", "3"), ("3", "2", "1"), ("2", "3", "1")])
def test_votes_that_tie_go_to_the_best_first_stage_rank(cast):
    assert voted(*cast) == [0, 1, 2]


@pytest.mark.parametrize("sort", [heap, bubble])
@pytest.mark.parametrize(("n", "votes"), [(2, 5), (3, 4), (3, 7)])
def test_votes_on_a_small_group_are_answers_of_their_own_in_different_orders(sort, n, votes):
    game = play(sort(Toy(), listing_of(range(n)), children=n - 1, k=1, votes=votes), best)
    assert game.distinct == game.calls == votes  # equal orders were one request, so that one answer had several votes
    orders = math.factorial(n)
    assert max(game.counted.values()) == -(-votes // orders) and len(game.counted) == min(votes, orders)


def test_two_votes_beat_one_for_a_better_first_stage_rank():
    assert voted("1", "3", "3") == [2, 0, 1]
    assert voted("2", "3", "3", "2") == [1, 0, 2]
