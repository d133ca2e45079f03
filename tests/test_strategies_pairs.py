"""Pairwise orderings: all pairs, sliding pairs and the pair heap, against the vectors of their papers and plain loops."""

from __future__ import annotations

import math
import random
import statistics
import sys
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.errors import ConfigError
from rankrl.strategies.allpair import allpair
from rankrl.strategies.pair_heap import pair_heap
from rankrl.strategies.sliding_pairs import sliding_pairs

sys.path.insert(0, str(Path(__file__).resolve().parent))
from toy_orderings import Toy, arbitrary, best, listing_of, nothing, play

NAMES = "abcdefgh"

BY_HAND = {
    "ab": "b", "ba": "b", "ac": "a", "ca": "c", "ad": "a", "da": "a",
    "bc": "b", "cb": "b", "bd": "?", "db": "b", "cd": "d", "dc": "d",
}  # fmt: skip
"""What is preferred of the two, in the order shown; a and c contradict themselves, and one answer cannot be read."""


def by_hand(messages):
    shown = "".join(NAMES[int(word)] for word in messages[0]["content"].split())
    preferred = BY_HAND[shown]
    return str(shown.index(preferred)) if preferred in shown else preferred


def named(game, names=NAMES):
    return "".join(names[i] for i in game.order)


def first_shown(messages):
    return "0"


def inverted(answer):
    def other(messages):
        said = answer(messages)
        return {"0": "1", "1": "0"}.get(said, said)

    return other


# all pairs


def test_all_pairs_by_hand():
    game = play(allpair(Toy(), listing_of(range(4))), by_hand)
    assert game.ranking.scores == (1.5, 2.5, 0.5, 1.5)
    assert named(game) == "badc"
    assert game.calls == 12 and len(game.batches) == 1


@given(st.integers(0, 15), st.integers())
def test_points_sum_to_the_number_of_pairs_and_order_the_list(n, seed):
    game = play(allpair(Toy(), listing_of(range(n))), arbitrary(seed, "winner"))
    assert game.calls == game.distinct == n * (n - 1)
    if n > 1:
        scores = game.ranking.scores
        assert sum(scores) == n * (n - 1) / 2
        assert game.order == sorted(range(n), key=lambda i: (-scores[i], i))


@given(st.integers(2, 12), st.integers())
def test_swapping_all_answers_maps_s_to_its_complement(n, seed):
    answer = arbitrary(seed, "winner")
    said = play(allpair(Toy(), listing_of(range(n))), answer).ranking.scores
    swapped = play(allpair(Toy(), listing_of(range(n))), inverted(answer)).ranking.scores
    assert swapped == tuple(n - 1 - s for s in said)


def probabilities(table):
    """Answers whose two scores are the logarithms of P(first shown) and of what is left."""

    def answer(messages):
        p = table[messages[0]["content"]]
        return f"s {math.log(p)} {math.log(1 - p)}"

    return answer


DUO = {"0 1": 0.9, "1 0": 0.2, "0 2": 0.6, "2 0": 0.5, "1 2": 0.3, "2 1": 0.8}


def test_duot5_by_hand():
    both = play(allpair(Toy(), listing_of(range(3)), soft=True), probabilities(DUO))
    assert [2 * s for s in both.ranking.scores] == pytest.approx([2.8, 0.8, 2.4])  # duoT5 adds up both orders
    one = play(allpair(Toy(), listing_of(range(3)), soft=True, both_orders=False), probabilities(DUO))
    assert one.ranking.scores == pytest.approx((1.5, 0.4, 1.1))
    assert one.shown == ["0 1", "0 2", "1 2"]
    assert both.order == one.order == [0, 2, 1]


def test_a_soft_pair_by_hand():
    said = {"0 1": "s -0.4 -1.1", "1 0": "s -0.3 -1.5"}
    game = play(allpair(Toy(), listing_of(range(2)), soft=True), lambda messages: said[messages[0]["content"]])
    assert game.ranking.scores == pytest.approx((0.449831, 1 - 0.449831), abs=1e-6)
    assert game.order == [1, 0]
    hard = play(allpair(Toy(), listing_of(range(2))), lambda messages: said[messages[0]["content"]])
    assert hard.ranking.scores == (0.5, 0.5)
    single = play(allpair(Toy(), listing_of(range(2)), soft=True, both_orders=False), lambda _: "s -0.4 -1.1")
    assert single.ranking.scores == pytest.approx((0.668188, 1 - 0.668188), abs=1e-6)


@pytest.mark.parametrize(
    ("said", "share"),
    [
        ("s 0 2000", 0.0),
        ("s 2000 0", 1.0),
        ("s -inf -1", 0.0),
        ("s -1 -inf", 1.0),
        ("s -inf -inf", 0.5),
        ("s - -1", 0.5),
        ("s nan -1", 0.5),
        ("??", 0.5),
        ("1", 0.0),
        ("0", 1.0),
    ],
)
def test_soft_shares_at_the_edges(said, share):
    game = play(allpair(Toy(), listing_of(range(2)), soft=True, both_orders=False), lambda _: said)
    assert game.ranking.scores == pytest.approx((share, 1 - share))


def test_one_order_without_probabilities_counts_wins_and_halves_what_cannot_be_read():
    game = play(allpair(Toy(), listing_of(range(4)), both_orders=False), by_hand)
    assert game.ranking.scores == (2.0, 2.5, 0.0, 1.5)  # ab b, ac a, ad a, bc b, bd ?, cd d
    assert game.calls == 6


def points_as_upstream(n, answer):
    """The dictionary of points in the order of their first points, as the pairs come."""
    points = {}
    for i, j in combinations(range(n), 2):
        won = {answer([{"content": f"{i} {j}"}]) + "x", "y" + answer([{"content": f"{j} {i}"}])}
        gains = [(i, 1.0)] if won == {"0x", "y1"} else [(j, 1.0)] if won == {"1x", "y0"} else [(i, 0.5), (j, 0.5)]
        for position, gained in gains:
            points[position] = points.get(position, 0.0) + gained
    return points


@given(st.integers(2, 9), st.integers(1, 10), st.integers(), st.sampled_from([0.0, 0.3]))
@settings(max_examples=150)
def test_upstreams_ties_go_by_first_points_and_its_losers_to_the_tail(n, k, seed, unreadable):
    answer = arbitrary(seed, "winner", unreadable)
    game = play(allpair(Toy(), listing_of(range(n)), compat="upstream", k=k), answer)
    points = points_as_upstream(n, answer)
    top = sorted(points, key=lambda i: -points[i])[:k]
    assert game.order == [*top, *sorted(set(range(n)) - set(top))]


def test_upstreams_ties_differ_from_ours_where_the_second_of_a_pair_got_the_first_points():
    said = {"0 1": "1", "1 0": "0", "0 2": "0", "2 0": "1", "1 2": "1", "2 1": "0"}  # 1 > 0 > 2 > 1
    answers = lambda messages: said[messages[0]["content"]]  # noqa: E731
    assert play(allpair(Toy(), listing_of(range(3))), answers).order == [0, 1, 2]
    assert play(allpair(Toy(), listing_of(range(3)), compat="upstream"), answers).order == [1, 0, 2]


def test_k_sends_the_others_back_to_first_stage_order():
    game = play(allpair(Toy(), listing_of([1, 5, 2, 4, 3]), k=2), best)
    assert game.order == [1, 3, 0, 2, 4]
    assert game.ranking.scores == (0.0, 4.0, 1.0, 3.0, 2.0)


# sliding pairs

EIGHT = (1, 0, 5, 2, 7, 3, 6, 4)


@pytest.mark.parametrize(("passes", "order"), [(1, "eabcdgfh"), (2, "egabcdhf"), (3, "egcabhdf"), (8, "egchfdab")])
@pytest.mark.parametrize("shrinking", [False, True])
def test_sliding_pairs_by_hand(passes, order, shrinking):
    game = play(sliding_pairs(Toy(), listing_of(EIGHT), passes=passes, shrinking=shrinking), best)
    assert named(game) == order
    comparisons = passes * 7 - (passes * (passes - 1) // 2 if shrinking else 0)
    assert game.calls == 2 * comparisons


def test_a_pass_over_the_pairs_by_hand_and_nothing_more_to_change():
    one = play(sliding_pairs(Toy(), listing_of(range(4)), passes=1), by_hand)
    assert named(one) == "badc" and one.calls == 6
    assert named(play(sliding_pairs(Toy(), listing_of(range(4)), passes=2), by_hand)) == "badc"


@pytest.mark.parametrize(("shrinking", "prompts", "depth"), [(False, 1980, 117), (True, 1890, 108)])
def test_sliding_10_over_100_asks_what_is_published_in_fewer_rounds(shrinking, prompts, depth):
    grades = random.Random(0).sample(range(100), 100)
    game = play(sliding_pairs(Toy(), listing_of(grades), passes=10, shrinking=shrinking), best)
    assert game.calls == prompts
    assert [grades[i] for i in game.order[:10]] == list(range(99, 89, -1))
    assert len(game.batches) == depth  # made one after another: 990 and 945 comparisons


def slid_one_after_another(n, passes, shrinking, answer):
    order, shown = list(range(n)), []
    for done in range(passes):
        for lower in range(n - 1, min(done, n) if shrinking else 0, -1):
            a, b = order[lower - 1], order[lower]
            shown += [f"{a} {b}", f"{b} {a}"]
            said = [answer([{"content": text}]) for text in shown[-2:]]
            if said == ["1", "0"]:
                order[lower - 1], order[lower] = b, a
    return order, shown


@given(st.integers(2, 25), st.integers(1, 30), st.booleans(), st.integers(), st.sampled_from([0.0, 0.3]))
@settings(max_examples=150)
def test_passes_of_pairs_that_overlap_in_time_are_passes_one_after_another(n, passes, shrinking, seed, unreadable):
    answer = arbitrary(seed, "winner", unreadable)
    game = play(sliding_pairs(Toy(), listing_of(range(n)), passes=passes, shrinking=shrinking), answer)
    order, shown = slid_one_after_another(n, passes, shrinking, answer)
    assert game.order == order and sorted(game.shown) == sorted(shown)
    if not shrinking:
        assert len(game.batches) == (n - 1) + (min(2, n - 1)) * (passes - 1)


@given(st.permutations(range(13)), st.integers(1, 13))
def test_sliding_pairs_find_the_top_as_deep_as_they_have_passes(grades, passes):
    for options in ({}, {"shrinking": False}, {"compat": "upstream"}):
        game = play(sliding_pairs(Toy(), listing_of(grades), passes=passes, **options), best)
        assert game.order[:passes] == sorted(range(13), key=lambda i: -grades[i])[:passes]


@given(st.permutations(range(14)), st.integers(1, 14), st.integers(), st.sampled_from([0.0, 0.3]))
@settings(max_examples=200)
def test_upstreams_early_skip_changes_nothing_in_the_top(grades, passes, seed, conflicts):

    def answer(messages):
        pair = sorted(messages[0]["content"].split())
        return first_shown(messages) if random.Random(f"{seed}:{pair}").random() < conflicts else best(messages)

    standard = play(sliding_pairs(Toy(), listing_of(grades), passes=passes), answer)
    skipping = play(sliding_pairs(Toy(), listing_of(grades), passes=passes, compat="upstream"), answer)
    assert skipping.order[:passes] == standard.order[:passes]
    assert skipping.order[passes:] == sorted(skipping.order[passes:])
    assert skipping.calls <= standard.calls


def test_upstreams_early_skip_asks_as_often_as_published():
    rng = random.Random(3)
    calls = [
        play(sliding_pairs(Toy(), listing_of(rng.sample(range(100), 100)), passes=10, compat="upstream"), best).calls
        / 2
        for _ in range(60)
    ]
    assert statistics.mean(calls) == pytest.approx(933.7, abs=3.5)
    assert min(calls) >= 900 and max(calls) <= 945
    sorted_list = play(sliding_pairs(Toy(), listing_of(range(100, 0, -1)), passes=10, compat="upstream"), best)
    assert sorted_list.calls == 2 * 99 and sorted_list.order == list(range(100))


# the heap


@pytest.mark.parametrize(
    ("k", "order", "comparisons"), [(3, [6, 1, 3, 0, 2, 4, 5], 16), (7, [6, 1, 3, 4, 0, 2, 5], 22)]
)
def test_pair_heap_by_hand(k, order, comparisons):
    game = play(pair_heap(Toy(), listing_of([2, 5, 1, 4, 3, 0, 6]), k=k), best)
    assert game.order == order and game.calls == 2 * comparisons


def test_pair_heap_asks_as_often_as_published():
    rng = random.Random(4)
    lists = [rng.sample(range(100), 100) for _ in range(60)]
    calls = [play(pair_heap(Toy(), listing_of(grades), k=10), best).calls / 2 for grades in lists]
    assert statistics.mean(calls) == pytest.approx(278.2, abs=2.5)
    assert min(calls) >= 255 and max(calls) <= 296
    assert play(pair_heap(Toy(), listing_of(range(100, 0, -1)), k=10), best).calls == 2 * 203
    assert play(pair_heap(Toy(), listing_of(range(100)), k=10), best).calls == 2 * 292
    build = [play(pair_heap(Toy(), listing_of(grades), k=1), best).calls / 2 for grades in lists]
    assert statistics.mean(build) == pytest.approx(177.3, abs=1.5)
    full = [play(pair_heap(Toy(), listing_of(grades), k=100), best).calls / 2 for grades in lists[:10]]
    assert min(full) >= 1002 and max(full) <= 1053 and statistics.mean(full) == pytest.approx(1028.5, abs=8)


@given(st.permutations(range(19)), st.integers(1, 25), st.sampled_from(["rankrl", "upstream"]))
def test_pair_heap_with_a_perfect_oracle_gives_the_exact_top_k(grades, k, compat):
    order = play(pair_heap(Toy(), listing_of(grades), k=k, compat=compat), best).order
    assert order[:k] == sorted(range(19), key=lambda i: -grades[i])[:k]
    assert order[k:] == sorted(order[k:])


def heapsorted(n, k, above):
    """The k best by the textbook's recursive heapsort; `above(a, b)` compares positions."""
    slots, found = list(range(n)), []

    def heapify(size, node):
        largest = node
        for child in (2 * node + 1, 2 * node + 2):
            if child < size and above(slots[child], slots[largest]):
                largest = child
        if largest != node:
            slots[node], slots[largest] = slots[largest], slots[node]
            heapify(size, largest)

    for node in range(n // 2, -1, -1):
        heapify(n, node)
    for last in range(n - 1, -1, -1):
        found.append(slots[0])
        slots[0], slots[last] = slots[last], slots[0]
        if len(found) == k:
            break
        heapify(last, 0)
    return [*found, *sorted(set(range(n)) - set(found))]


@given(st.integers(1, 40), st.integers(1, 45), st.sampled_from(["rankrl", "upstream"]), st.integers())
@settings(max_examples=150)
def test_pair_heap_is_the_textbooks_heapsort_under_any_answers(n, k, compat, seed):
    answer, asked = arbitrary(seed, "winner"), []

    def above(a, b):
        asked.append((a, b))
        said = (answer([{"content": f"{a} {b}"}]), answer([{"content": f"{b} {a}"}]))
        won, lost = said == ("0", "1"), said == ("1", "0")
        return won or (not lost and compat == "rankrl" and a < b)

    game = play(pair_heap(Toy(), listing_of(range(n)), k=k, compat=compat), answer)
    assert game.order == heapsorted(n, k, above)
    assert game.calls == 2 * len(asked)


def test_a_model_that_prefers_what_comes_first_turns_upstreams_heap_upside_down_and_not_ours():
    game = play(pair_heap(Toy(), listing_of(range(100)), k=10, compat="upstream"), first_shown)
    assert game.order == [0, *range(99, 90, -1), *range(1, 91)]
    for steps in (
        pair_heap(Toy(), listing_of(range(100)), k=10),
        sliding_pairs(Toy(), listing_of(range(100)), passes=10),
        allpair(Toy(), listing_of(range(30))),
    ):
        ours = play(steps, first_shown).order
        assert ours == list(range(len(ours)))


@pytest.mark.parametrize(
    ("steps", "wrong"),
    [
        (pair_heap, {"k": 0}),
        (pair_heap, {"k": 1, "compat": "x"}),
        (sliding_pairs, {"passes": 0}),
        (sliding_pairs, {"passes": 1, "compat": "x"}),
        (allpair, {"k": 0}),
        (allpair, {"compat": "x"}),
    ],
)
def test_pairwise_options_that_cannot_be_are_refused(steps, wrong):
    with pytest.raises(ConfigError, match=list(wrong)[-1]):
        play(steps(Toy(), listing_of(range(5)), **wrong), nothing)
