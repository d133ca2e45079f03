"""Tournaments: the published schedule, what becomes of it for other lists, and how selections turn into points."""

from __future__ import annotations

import itertools
import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.errors import ConfigError
from rankrl.strategies.tournament import deal, stages_of, tournament
from rankrl.types import ParseReport, Ranking, Reading

sys.path.insert(0, str(Path(__file__).resolve().parent))
from toy_orderings import Toy, grades_of, in_order, listing_of, nothing, play

PUBLISHED = [(5, 10), (5, 4), (1, 10), (1, 5), (1, 2)]


@dataclass(frozen=True)
class Selecting:
    """Asks for `pick` candidates; an answer holds the indices of those selected."""

    pick: int = 0

    def prompt(self, listing):
        return [{"role": "user", "content": f"{self.pick}: " + " ".join(c.text for c in listing.candidates)}]

    def parse(self, text, n):
        if not text[:1].isdigit():
            return Reading(Ranking(tuple(range(n))), ParseReport(unreadable=True))
        chosen = {int(word) for word in text.split()}
        order = sorted(range(n), key=lambda i: i not in chosen)
        missing = max(0, self.pick - len(chosen))
        scores = tuple(float(i in chosen) for i in range(n))
        return Reading(Ranking(tuple(order)), ParseReport(missing=missing), scores=scores)


def shown_in(messages):
    asked, _, grades = messages[0]["content"].partition(": ")
    return int(asked), [int(grade) for grade in grades.split()]


def selects(messages):
    """Always right about the `pick` best."""
    pick, grades = shown_in(messages)
    return " ".join(map(str, sorted(range(len(grades)), key=lambda i: -grades[i])[:pick]))


def tournament_of(grades, answer=selects, qid="q", **options):
    return play(tournament(Selecting(), listing_of(grades, qid), **options), answer)


def test_the_schedule_for_100_is_the_published_one():
    assert stages_of(100) == PUBLISHED
    game = tournament_of(range(100))
    assert [len(batch) for batch in game.batches] == [5, 5, 1, 1, 1]
    shown = [[len(text.split()) - 1 for text in batch] for batch in game.batches]
    assert shown == [[20] * 5, [10] * 5, [20], [10], [5]]
    assert sum(map(sum, shown)) == 185
    assert [text.split(":")[0] for batch in game.batches for text in batch] == [*["10"] * 5, *["4"] * 5, "10", "5", "2"]


@given(st.permutations(range(100)), st.integers(0, 5))
@settings(max_examples=30)
def test_points_of_one_tournament_with_a_perfect_oracle(grades, seed):
    game = tournament_of(grades, seed=seed)
    assert Counter(game.ranking.scores) == {0: 50, 1: 30, 2: 10, 3: 5, 4: 3, 5: 2}
    assert {grades[i] for i in game.order[:2]} == {99, 98}
    assert game.order == sorted(range(100), key=lambda i: (-game.ranking.scores[i], i))


def test_the_top_10_of_a_shuffled_list_is_found_in_about_914_of_1000_cases():
    rng = random.Random(7)
    found = 0
    for _ in range(200):
        grades = rng.sample(range(100), 100)
        found += {grades[i] for i in tournament_of(grades).order[:10]} == set(range(90, 100))
    assert 0.86 <= found / 200 <= 0.96  # 2.7 standard deviations around .914


def test_a_perfect_input_keeps_its_top_10():
    assert tournament_of(range(100, 0, -1)).order[:10] == list(range(10))


@given(st.integers(0, 1200))
def test_a_schedule_fits_any_list(n):
    alive = n
    for stage in stages_of(n):
        groups = deal(range(alive), stage.groups)
        assert sorted(itertools.chain(*groups)) == list(range(alive))
        assert all(2 <= len(group) <= 20 for group in groups)
        assert max(map(len, groups)) - min(map(len, groups)) <= 1
        assert 1 <= stage.pick < len(groups[0])
        assert stage.groups * stage.pick < alive
        alive = stage.groups * stage.pick
    assert alive == min(n, 2 if n > 2 else 1)


@given(st.integers(3, 130), st.integers())
@settings(max_examples=40)
def test_the_top_2_of_any_list_are_found(n, seed):
    grades = random.Random(seed).sample(range(n), n)
    assert {grades[i] for i in tournament_of(grades).order[:2]} == {n - 1, n - 2}


def test_stages_that_everybody_would_survive_are_left_out():
    assert stages_of(30, PUBLISHED) == PUBLISHED[1:]
    assert stages_of(10, PUBLISHED) == PUBLISHED[3:]
    assert stages_of(2, PUBLISHED) == stages_of(0, PUBLISHED) == []
    assert tournament_of(range(30), stages=PUBLISHED).calls == 8
    assert tournament_of(range(12), stages=[(20, 1), (3, 1)]).calls == 3
    assert sorted(map(len, map(str.split, tournament_of(range(4), stages=[(3, 1)]).batches[0]))) == [2, 2, 3]


def test_candidates_are_dealt_in_turn():
    assert deal([5, 6, 7, 8, 9], 2) == [[5, 7, 9], [6, 8]]
    assert deal([5, 6], 4) == [[5], [6]]
    first = [set(text.split()[1:]) for text in tournament_of(range(100)).batches[0]]
    assert first == [{str(i) for i in range(start, 100, 5)} for start in range(5)]


def test_rounds_are_independent_share_a_batch_per_stage_and_add_up():
    grades = random.Random(1).sample(range(100), 100)
    game = tournament_of(grades, rounds=10)
    assert [len(batch) for batch in game.batches] == [50, 50, 10, 10, 10]
    assert game.distinct == 130
    assert sum(game.ranking.scores) == 870


def test_rounds_that_show_the_same_order_are_answers_of_their_own():
    game = play(tournament(Toy(), listing_of([1, 2]), rounds=9), in_order)
    assert len(game.counted) == 2 and game.distinct == game.calls == 9


def test_too_many_and_too_few_selections_are_absorbed():
    def everybody(messages):
        return " ".join(map(str, range(len(shown_in(messages)[1]))))

    game = tournament_of(range(100, 0, -1), everybody)
    assert game.order == list(range(100))  # all of a stage have the same points: the first stage decides who goes on
    assert Counter(game.ranking.scores) == {1: 50, 2: 30, 3: 10, 4: 5, 5: 5}

    def one(messages):
        return selects(messages).split()[0]

    assert tournament_of(range(100), one).order[0] == 99

    def silent_about_99(messages):
        return "?" if "99" in messages[0]["content"].split() else selects(messages)

    game = tournament_of(range(100), silent_about_99)
    assert game.ranking.scores[99] == 0 and game.order[:2] == [97, 98]


def test_survivors_are_those_with_the_most_points_so_far_not_the_winners_of_each_group():
    def answer(messages):
        pick, grades = shown_in(messages)
        if pick == 10 and len(grades) == 20 and 0 in grades:  # the first group of the first stage selects all
            return " ".join(map(str, range(20)))
        return selects(messages)

    game = tournament_of(range(100), answer)
    second = {int(grade) for text in game.batches[1] for grade in text.split()[1:]}
    assert len(second) == 50
    first_group = set(range(0, 100, 5))
    assert (
        len(second & first_group) > 10
    )  # more than its 10 places, at the cost of the others' worst by first-stage rank


def test_a_reranker_that_only_orders_selects_the_top_of_its_order():
    game = play(tournament(Toy(), listing_of(range(100))), in_order)
    assert set(game.order[:2]) == {98, 99} and sum(game.ranking.scores) == 87


def test_the_order_inside_groups_is_drawn_and_repeatable():
    def first(seed=1, qid="q"):
        return tournament_of(range(100), seed=seed, qid=qid).batches[0][0]

    assert first() == first() != first(seed=2) != first(qid="p")
    assert grades_of([{"content": first().partition(": ")[2]}]) != list(range(0, 100, 5))


@given(st.integers(0, 130), st.integers(1, 3), st.integers(0, 9))
@settings(max_examples=50)
def test_any_selection_gives_an_order_by_points(n, rounds, seed):
    def answer(messages):
        rng, shown = random.Random(f"{seed}{messages}"), len(shown_in(messages)[1])
        return "?" if rng.random() < 0.3 else " ".join(map(str, rng.sample(range(shown), rng.randint(1, shown))))

    game = tournament_of(range(n), answer, rounds=rounds)
    scores = game.ranking.scores
    assert game.order == sorted(range(n), key=lambda i: (-scores[i], i))
    assert all(0 <= score <= rounds * len(stages_of(n)) for score in scores)
    assert tournament_of(range(n), nothing, rounds=rounds).order == list(range(n))


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"stages": [(0, 2)]}, {"stages": [(2, 0)]}])
def test_tournaments_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match="must be 1 or more"):
        tournament_of(range(5), **wrong)
    with pytest.raises(ConfigError, match="stages is empty"):
        tournament_of(range(5), stages=[])
