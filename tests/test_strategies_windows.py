"""Sliding windows, setwise bubble sort and scores: against published counts, plain loops and known answers."""

from __future__ import annotations

import itertools
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
from rankrl.strategies.groups import groups, starts
from rankrl.strategies.pointwise import pointwise
from rankrl.strategies.sliding_window import sliding_window, windows

sys.path.insert(0, str(Path(__file__).resolve().parent))
from toy_orderings import Toy, arbitrary, best, in_order, in_scores, listing_of, play

LENGTHS = (5, 10, 20, 21, 25, 30, 31, 40, 50, 95, 99, 100)


@pytest.mark.parametrize(
    ("size", "stride", "compat", "calls"),
    [
        (20, 10, "rankrl", (1, 1, 1, 2, 2, 2, 3, 3, 4, 9, 9, 9)),
        (20, 10, "upstream", (0, 0, 1, 1, 1, 2, 2, 3, 4, 8, 8, 9)),
        (10, 5, "rankrl", (1, 1, 3, 4, 4, 5, 6, 7, 9, 18, 19, 19)),
        (10, 5, "upstream", (0, 1, 3, 3, 4, 5, 5, 7, 9, 18, 18, 19)),
        (4, 2, "rankrl", (2, 4, 9, 10, 12, 14, 15, 19, 24, 47, 49, 49)),
        (20, 20, "rankrl", (1, 1, 1, 2, 2, 2, 2, 2, 3, 5, 5, 5)),
        (30, 15, "rankrl", (1, 1, 1, 1, 1, 1, 2, 2, 3, 6, 6, 6)),
    ],
)
def test_windows_are_as_many_as_those_of_rank_llm_and_rankgpt(size, stride, compat, calls):
    assert tuple(len(windows(n, size=size, stride=stride, compat=compat)) for n in LENGTHS) == calls
    for n, expected in zip(LENGTHS, calls, strict=True):
        game = play(sliding_window(Toy(), listing_of(range(n)), size=size, stride=stride, compat=compat), in_order)
        assert game.calls == expected


def test_windows_by_hand():
    assert windows(25, size=20, stride=10) == [range(5, 25), range(0, 15)]
    assert windows(25, size=20, stride=10, compat="upstream") == [range(5, 25)]
    assert windows(9, size=4, stride=2) == [range(5, 9), range(3, 7), range(1, 5), range(0, 3)]
    assert windows(10, size=20, stride=10) == [range(10)]  # an unclamped window would ask nothing here
    assert windows(5, size=10, stride=5) == [range(5)]
    assert windows(1, size=4, stride=2) == windows(0, size=4, stride=2) == []


@given(st.integers(2, 300), st.integers(2, 40), st.integers(1, 40))
def test_windows_overlap_reach_both_ends_and_are_as_many_as_the_formula_says(n, size, stride):
    stride = min(stride, size)
    spans = windows(n, size=size, stride=stride)
    assert len(spans) == (1 if n <= size else -(-(n - size) // stride) + 1)
    assert spans[0].stop == n and spans[-1].start == 0
    assert all(1 <= len(span) <= size for span in spans)
    assert all(upper.stop >= lower.start for lower, upper in itertools.pairwise(spans))


def test_one_pass_over_ten_reversed_candidates():
    game = play(sliding_window(Toy(), listing_of(range(10)), size=4, stride=2), in_order)
    assert [9 - i for i in game.order] == [0, 1, 8, 9, 6, 7, 4, 5, 2, 3]
    assert game.ranking.scores is None


@pytest.mark.parametrize(("size", "stride"), [(20, 10), (20, 5), (10, 5)])
@pytest.mark.parametrize("passes", [1, 2, 3])
def test_a_perfect_oracle_puts_the_best_on_top_as_deep_as_passes_times_size_less_stride(size, stride, passes):
    for seed in range(5):
        grades = random.Random(seed).sample(range(100), 100)
        game = play(sliding_window(Toy(), listing_of(grades), size=size, stride=stride, passes=passes), in_order)
        sure = passes * (size - stride)
        assert [grades[i] for i in game.order][:sure] == list(range(99, 99 - sure, -1))
    worst = play(sliding_window(Toy(), listing_of(range(100)), size=size, stride=stride, passes=passes), in_order)
    assert worst.order[sure] != 99 - sure, "the bound is not tight"


def windows_one_after_another(grades, spans, answer):
    order, shown = list(range(len(grades))), []
    for span in spans:
        text = " ".join(str(grades[i]) for i in order[span.start : span.stop])
        shown.append(text)
        reading = Toy().parse(answer([{"content": text}]), len(span))
        order[span.start : span.stop] = [order[span.start + i] for i in reading.ranking.order]
    return order, shown


@given(
    st.integers(2, 45),
    st.integers(2, 12),
    st.integers(1, 12),
    st.integers(1, 4),
    st.sampled_from(["rankrl", "upstream"]),
    st.integers(),
)
@settings(max_examples=200)
def test_passes_that_overlap_in_time_are_passes_one_after_another(n, size, stride, passes, compat, seed):
    stride, answer, grades = min(stride, size), arbitrary(seed, "order"), range(n)
    steps = sliding_window(Toy(), listing_of(grades), size=size, stride=stride, passes=passes, compat=compat)
    game = play(steps, answer)
    spans = windows(n, size=size, stride=stride, compat=compat) * passes
    order, shown = windows_one_after_another(grades, spans, answer)
    assert game.order == order and sorted(game.shown) == sorted(shown)
    assert len(game.batches) <= len(shown)


def test_the_window_is_20_candidates_that_move_by_10_unless_said():
    shown = play(sliding_window(Toy(), listing_of(range(100))), lambda _: "?").shown
    assert [text.split()[0] for text in shown] == ["80", "70", "60", "50", "40", "30", "20", "10", "0"]
    assert {len(text.split()) for text in shown} == {20}


def test_a_further_pass_adds_two_rounds_not_nine():
    rounds = [
        len(play(sliding_window(Toy(), listing_of(range(100)), passes=passes), in_order).batches)
        for passes in (1, 2, 3, 10)
    ]
    assert rounds == [9, 11, 13, 27]


@pytest.mark.parametrize(
    "wrong", [{"size": 0}, {"size": 1, "stride": 1}, {"stride": 0}, {"size": 5, "stride": 6}, {"passes": 0}, {"compat": "x"}]
)  # fmt: skip
def test_windows_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        play(sliding_window(Toy(), listing_of(range(5)), **wrong), in_order)


# bubble sort


def bubble_of(grades, answer=best, **options):
    return play(bubble(Toy(), listing_of(grades), **{"k": 10, **options}), answer)


@pytest.mark.parametrize(("children", "calls"), [(2, 475), (3, 318), (9, 109), (19, 54)])
def test_bubble_asks_as_often_as_the_published_standard_variant(children, calls):
    grades = random.Random(children).sample(range(100), 100)
    game = bubble_of(grades, children=children)
    assert game.calls == calls
    assert [grades[i] for i in game.order[:10]] == list(range(99, 89, -1))
    assert game.order[10:] == sorted(game.order[10:])


@given(st.permutations(range(17)), st.integers(1, 18), st.integers(1, 20), st.booleans(), st.integers(1, 2))
@settings(max_examples=100)
def test_bubble_with_a_perfect_oracle_gives_the_exact_top_k(grades, children, k, shuffle, votes):
    order = bubble_of(grades, children=children, k=k, shuffle=shuffle, votes=votes).order
    assert order[:k] == sorted(range(17), key=lambda i: -grades[i])[:k]
    assert order[k:] == sorted(order[k:])


def bubble_one_after_another(n, children, k, answer):
    order, shown = list(range(n)), []
    for done in range(min(k, n - 1)):
        end = n
        while True:
            start = max(end - children - 1, done)
            text = " ".join(map(str, order[start:end]))
            shown.append(text)
            reading = Toy().parse(answer([{"content": text}]), end - start)
            if reading.report.unreadable:
                won = order.index(min(order[start:end]))
            else:
                won = start + reading.ranking.order[0]
            order[start], order[won] = order[won], order[start]
            if start == done:
                break
            end = start + 1
    top = order[:k]
    return [*top, *sorted(set(range(n)) - set(top))], shown


@given(st.integers(2, 30), st.integers(1, 8), st.integers(1, 32), st.integers())
@settings(max_examples=150)
def test_bubble_passes_that_overlap_in_time_are_passes_one_after_another(n, children, k, seed):
    answer = arbitrary(seed, "winner")
    game = bubble_of(range(n), answer, children=children, k=k, shuffle=False)
    order, shown = bubble_one_after_another(n, children, k, answer)
    assert game.order == order and sorted(game.shown) == sorted(shown)


@pytest.mark.parametrize(("children", "mean"), [(2, 463), (3, 307), (9, 98), (19, 46)])
def test_upstreams_bubble_asks_as_often_as_the_shipped_code(children, mean):
    rng = random.Random(1)
    calls = [bubble_of(rng.sample(range(100), 100), children=children, compat="upstream").calls for _ in range(60)]
    assert statistics.mean(calls) == pytest.approx(mean, rel=0.015)


@pytest.mark.parametrize(("children", "calls"), [(2, 59 - 8 - 1), (19, 15 - 5 - 1)])
def test_upstreams_bubble_on_a_sorted_list_without_its_empty_prompts_and_the_one_of_one_passage(children, calls):
    game = bubble_of(range(100, 0, -1), children=children, compat="upstream")
    assert game.calls == calls and game.order == list(range(100))


def bubble_as_shipped(n, children, k, answer):
    """The shipped control flow; (order, windows of two or more that it shows)."""
    order, shown, last_start = list(range(n)), [], n - (children + 1)
    for done in range(k):
        start, end, changed = last_start, last_start + children + 1, False
        while True:
            start = max(start, done)
            window = order[start:end]
            text = " ".join(map(str, window))
            won = 0
            if len(window) > 1:
                shown.append(text)
                said = answer([{"content": text}])
                won = int(said) if said.isdigit() else 0
            if won:
                order[start], order[start + won] = order[start + won], order[start]
                if not changed and last_start != n - (children + 1) and won == len(window) - 1:
                    last_start += len(window) - 1
                changed = True
            if start == done:
                break
            if not changed:
                last_start -= children
            start, end = start - children, end - children
    return [*order[:k], *sorted(set(range(n)) - set(order[:k]))], shown


@given(st.integers(0, 30), st.integers(1, 8), st.integers(1, 32), st.integers(), st.sampled_from([0.0, 0.3, 0.8]))
@settings(max_examples=200)
def test_upstreams_bubble_is_the_shipped_code_under_any_answers(n, children, k, seed, unreadable):
    answer = arbitrary(seed, "winner", unreadable)
    game = bubble_of(range(n), answer, children=children, k=k, compat="upstream", shuffle=False)
    assert (game.order, game.shown) == bubble_as_shipped(n, children, k, answer)


def test_upstreams_bubble_loses_some_of_the_top_10_with_many_children_and_none_with_few():
    rng = random.Random(2)
    lists = [rng.sample(range(100), 100) for _ in range(150)]
    wrong = {
        children: sum(
            [grades[i] for i in bubble_of(grades, children=children, compat="upstream").order[:10]]
            != list(range(99, 89, -1))
            for grades in lists
        )
        for children in (9, 19)
    }
    assert wrong[9] == 0
    assert 5 <= wrong[19] <= 35  # 34 of 300 were published


@pytest.mark.parametrize(("compat", "top"), [("rankrl", [4, 0]), ("upstream", [4, 1])])
def test_an_unreadable_choice_goes_to_the_best_first_stage_rank_or_to_the_front(compat, top):
    def answer(messages):  # the first pass is right, the second is silent
        return best(messages) if "4" in messages[0]["content"] else "?"

    game = bubble_of(range(5), answer, children=2, k=2, compat=compat, shuffle=False)
    assert game.shown == ["2 3 4", "0 1 4", "0 3 2", "1 0"] and game.order[:2] == top


@pytest.mark.parametrize("wrong", [{"children": 0}, {"k": 0}, {"votes": 0}, {"compat": "upstraem"}])
def test_bubbles_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        bubble_of(range(5), **{"children": 2, **wrong})


# one candidate at a time, and groups


def test_pointwise_is_one_batch_of_one_prompt_per_candidate():
    game = play(pointwise(Toy(), listing_of([3, 9, 3, 5])), in_scores)
    assert game.batches == [["3", "9", "3", "5"]]
    assert game.order == [1, 3, 0, 2]
    assert game.ranking.scores == (3.0, 9.0, 3.0, 5.0)


def test_pointwise_puts_those_without_a_score_last_and_keeps_infinite_ones():
    said = {"0": "s -", "1": "s -5", "2": "s nan", "3": "??", "4": "s inf", "5": "s -inf"}
    game = play(pointwise(Toy(), listing_of(range(6))), lambda messages: said[messages[0]["content"]])
    assert game.order == [4, 1, 5, 0, 2, 3]
    assert game.ranking.scores == (None, -5.0, None, None, float("inf"), float("-inf"))


def test_a_single_candidate_is_scored_too():
    game = play(pointwise(Toy(), listing_of([7])), in_scores)
    assert (game.order, game.ranking.scores) == ([0], (7.0,))
    assert play(groups(Toy(), listing_of([7])), in_scores).ranking.scores == (7.0,)


@pytest.mark.parametrize(("n", "calls"), [(0, 0), (1, 1), (19, 1), (20, 1), (21, 2), (50, 3), (100, 5)])
def test_groups_are_as_many_as_published(n, calls):
    assert len(starts(n, size=20, interval=20)) == calls
    game = play(groups(Toy(), listing_of(range(n)), size=20, rounds=6), in_scores)
    assert game.calls == 6 * calls and len(game.batches) == min(calls, 1)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 20), st.integers(1, 4), st.integers())
def test_every_round_shows_every_candidate_and_the_mean_is_theirs(n, size, interval, rounds, seed):
    interval = min(size, interval)
    steps = groups(Toy(), listing_of(range(n)), size=size, rounds=rounds, interval=interval, seed=seed)
    answer = arbitrary(seed, "scores")
    game = play(steps, answer)
    per_round = 1 if n <= size else -(-(n - size) // interval) + 1
    assert game.calls == rounds * per_round and len(game.batches) == 1
    given_to = {i: [] for i in range(n)}
    for turn in range(rounds):
        shown = game.shown[turn * per_round : (turn + 1) * per_round]
        assert {int(word) for text in shown for word in text.split()} == set(range(n))
        assert all(1 <= len(text.split()) <= size for text in shown)
        for text in shown:
            scores = answer([{"content": text}]).split()[1:] or ["-"] * n
            for word, score in zip(text.split(), scores, strict=False):
                if score not in ("-", "nan"):
                    given_to[int(word)].append(float(score))
    means = [statistics.fmean(given_to[i]) if given_to[i] else None for i in range(n)]
    assert game.ranking.scores == pytest.approx(tuple(means))
    assert game.order == sorted(range(n), key=lambda i: (means[i] is None, -(means[i] or 0), i))


def test_a_failed_round_is_no_observation():
    turn = iter(["8 5", "6 -"])

    def answer(messages):
        scores = dict(zip("01", next(turn).split(), strict=True))  # of the two candidates, however they are shown
        return " ".join(["s", *(scores[word] for word in messages[0]["content"].split())])

    game = play(groups(Toy(), listing_of([0, 1]), size=2, rounds=2), answer)
    assert game.ranking.scores == (7.0, 5.0)  # the published code has 7 and 2.5: a round without a score counts 0


@pytest.mark.parametrize("n", [1, 2, 3])
def test_rounds_over_a_short_list_are_answers_of_their_own(n):
    game = play(groups(Toy(), listing_of(range(n)), size=20, rounds=7), in_scores)
    assert game.distinct == 7  # two rounds that show the same order were one request, and drew one answer
    orders = math.factorial(n)
    assert max(game.counted.values()) == -(-7 // orders) and len(game.counted) == min(7, orders)


def test_rounds_differ_and_seeds_and_queries_decide_them():
    def shown(seed=1, qid="q"):
        return play(groups(Toy(), listing_of(range(30), qid), size=10, rounds=2, seed=seed), in_scores).shown

    assert shown() == shown() and shown()[:3] != shown()[3:]
    assert shown() != shown(seed=2) and shown() != shown(qid="p")


@pytest.mark.parametrize("wrong", [{"size": 0}, {"rounds": 0}, {"interval": 0}, {"interval": 21}])
def test_groups_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        play(groups(Toy(), listing_of(range(5)), **wrong), in_scores)
