"""Tournaments: the best of each group go on, and every selection is a point."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

from rankrl.contracts import Reranker, Steps, reading_of
from rankrl.errors import ConfigError, OutOfBudget
from rankrl.strategies._common import by_score, check_counts, requests_of
from rankrl.types import CandidateList, Reading


class Stage(NamedTuple):
    """The candidates still in are dealt to `groups` groups, and `pick` of each are to be selected."""

    groups: int
    pick: int


def tournament(
    reranker: Reranker,
    listing: CandidateList,
    *,
    rounds: int = 1,
    seed: int = 929,
    stages: Sequence[tuple[int, int]] | None = None,
) -> Steps:
    """All candidates by the points of `rounds` independent tournaments, which are the scores; one batch per stage.

    stages: (groups, pick) each, see `stages_of`. The candidates of a stage are dealt to its groups in turn, best first, and
    shuffled inside as (seed, qid, round, stage, group) say. Every selected candidate gets a point, however many an answer
    selects; the groups * pick with the most points in this tournament go on, equal points by first-stage rank. An answer
    that cannot be read selects nobody. A reranker with a field `pick` is asked through a copy with that field set; which
    candidates an answer selects are those that its reading scores above 0, or without scores the first `pick` of its order.

    TourRank (arXiv:2406.11678): 13 calls in 5 stages for 100 candidates. Deviations: 1. lists of other lengths (`stages_of`);
    2. the shuffles are drawn per group and repeatable.
    """
    check_counts(rounds=rounds)
    n = len(listing)
    played = stages_of(n, stages)
    points = [[0] * n for _ in range(rounds)]
    alive = [list(range(n)) for _ in range(rounds)]
    for number, stage in enumerate(played):
        picking = _picking(reranker, stage.pick)
        shown = []
        for turn, still in enumerate(alive):
            for group, positions in enumerate(deal(still, stage.groups)):
                random.Random(f"{seed}:{listing.query.qid}:{turn}:{number}:{group}").shuffle(positions)
                shown.append((turn, positions))
        try:
            answers = yield requests_of(picking, listing, (positions for _, positions in shown))
        except OutOfBudget:
            break  # the stages that are over count
        for (turn, positions), answer in zip(shown, answers, strict=True):
            for index in _selected(reading_of(picking, answer, len(positions)), stage.pick):
                points[turn][positions[index]] += 1
        for still, won in zip(alive, points, strict=True):
            still.sort(key=lambda position: (-won[position], position))
            del still[stage.groups * stage.pick :]
    return by_score([float(sum(won)) for won in zip(*points, strict=True)])


def stages_of(n: int, stages: Sequence[tuple[int, int]] | None = None) -> list[Stage]:
    """The stages over n candidates: those given, or those of TourRank for n = 100, or what they become for other n.

    Above 50 candidates: groups of at most 20, half of each go on. From 21 to 50: groups of at most 10, four of each go on.
    Then one group, of which 10, then 5, then 2 go on (1 of 2 candidates). A stage that everybody would survive is left
    out, of given ones too, so that a list shorter than the stages were made for is played from where they fit.

    Raises:
        ConfigError: no stage is given, or one has less than 1 group or pick.
    """
    if stages is not None and not stages:
        raise ConfigError("stages is empty; give (groups, pick) of one stage or more, or None for TourRank's")
    for groups, pick in stages or ():
        check_counts(groups=groups, pick=pick)
    fitting = []
    for stage in _ladder(n) if stages is None else [Stage(*given) for given in stages]:
        left = stage.groups * stage.pick
        if left < n:
            fitting.append(stage)
            n = left
    return fitting


def _ladder(n: int) -> list[Stage]:
    stages = []
    while n > 20:
        groups = -(-n // (20 if n > 50 else 10))
        pick = -(-n // groups) // 2 if n > 50 else 4
        stages.append(Stage(groups, pick))
        n = groups * pick
    return stages + [Stage(1, pick) for pick in ((10, 5, 2) if n > 2 else (1,))]


def deal(positions: Sequence[int], groups: int) -> list[list[int]]:
    """The positions dealt to at most `groups` groups in turn; none is empty."""
    return [list(positions[start::groups]) for start in range(min(groups, len(positions)))]


def _picking(reranker: Any, pick: int) -> Reranker:
    """The reranker that asks for `pick` candidates; itself when it has no such field."""
    has = is_dataclass(reranker) and "pick" in {field.name for field in fields(reranker)}
    asked: Reranker = replace(reranker, pick=pick) if has else reranker
    return asked


def _selected(reading: Reading, pick: int) -> list[int]:
    """The indices of the presented candidates that an answer selects."""
    if reading.report.unreadable:
        return []
    if reading.scores is None:
        return list(reading.ranking.order[:pick])
    return [index for index, score in enumerate(reading.scores) if score is not None and score > 0]
