"""What the orderings share: checks of options, the rankings they end with, and games played in lock step.

A *game* is an ordering without a model: a generator that yields a list of questions, is sent one answer to each, and
returns what it found. The same game is asked of a model by `relay`, and of a perfect oracle by `rankrl.strategies.plans`.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from typing import TypeVar

from rankrl.contracts import Reranker, request_of
from rankrl.errors import ConfigError, OutOfBudget
from rankrl.strategies import COMPAT
from rankrl.types import Answer, CandidateList, Ranking, Request

Q = TypeVar("Q")
A = TypeVar("A")
R = TypeVar("R")

Posed = tuple[list[Request], Callable[[list[Answer]], list[A]]]
"""The requests that some questions need, and what makes of the model's answers one answer per question."""


def check_counts(**given: int) -> None:
    """Raises ConfigError unless all are 1 or more."""
    if min(given.values()) < 1:
        spelled = ", ".join(f"{name}={value}" for name, value in given.items())
        what = f"{next(iter(given))} must be 1 or more" if len(given) == 1 else f"{_listed(given)} must be 1 or more"
        raise ConfigError(f"{what}, got {spelled}")


def check_compat(compat: str) -> None:
    """Raises ConfigError unless it is a member of `COMPAT`."""
    if compat not in COMPAT:
        raise ConfigError(f"compat is {compat!r}; it can be {' or '.join(map(repr, COMPAT))}")


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}"


def first_stage(n: int) -> Ranking:
    """The order in which the candidates came."""
    return Ranking(tuple(range(n)))


def top_first(top: Sequence[int], n: int) -> Ranking:
    """`top` in its order, then the others of n in first-stage order."""
    chosen = set(top)
    return Ranking((*top, *(i for i in range(n) if i not in chosen)))


def by_score(scores: Sequence[float | None], *, k: int | None = None) -> Ranking:
    """Highest score first, equal scores by first-stage rank, those without a score (None, NaN) last in first-stage order.

    k: only the k best come first and all others follow in first-stage order.
    """
    known = tuple(None if score is None or math.isnan(score) else score for score in scores)
    best = sorted((i for i, score in enumerate(known) if score is not None), key=lambda i: -(known[i] or 0.0))
    return Ranking(top_first(best[:k], len(known)).order, known)


def drawn_orders(positions: Sequence[int], count: int, key: str) -> list[list[int]]:
    """`count` orders of the positions, the i-th drawn from (key, i); none comes again before all have come equally often."""
    drawn: Counter[tuple[int, ...]] = Counter()
    there_are = math.factorial(len(positions))
    orders = []
    for number in range(count):
        order, rng = list(positions), random.Random(f"{key}:{number}")
        rng.shuffle(order)
        while drawn[tuple(order)] > number // there_are:
            rng.shuffle(order)
        drawn[tuple(order)] += 1
        orders.append(order)
    return orders


def requests_of(reranker: Reranker, listing: CandidateList, shown: Iterable[Sequence[int]]) -> list[Request]:
    """One request per order shown; an order that is shown again asks for another answer, not for the one it had."""
    times: Counter[tuple[int, ...]] = Counter()
    requests = []
    for order in map(tuple, shown):
        requests.append(request_of(reranker, listing.pick(order), sample=times[order]))
        times[order] += 1
    return requests


def lockstep(games: Sequence[Generator[list[Q], list[A], R]]) -> Generator[list[Q], list[A], list[R]]:
    """What the games return, in their order; the questions of all that are not over go out together.

    `OutOfBudget` is passed on to every game: it may return, or let it pass, and then the whole lets it pass.
    """
    results: dict[int, R] = {}
    asked: dict[int, int] = {}  # how many questions each game that is not over waits for
    batch: list[Q] = []

    def play(i: int, move: Callable[[], list[Q]]) -> None:
        try:
            questions = move()
        except StopIteration as stop:
            asked.pop(i, None)
            results[i] = stop.value
        else:
            asked[i] = len(questions)
            batch.extend(questions)

    for i, game in enumerate(games):
        play(i, game.__next__)
    while asked:
        try:
            answers = yield _taken(batch)
        except OutOfBudget as spent:
            for i in list(asked):
                play(i, partial(games[i].throw, spent))
            continue
        start = 0
        for i, many in list(asked.items()):
            given = answers[start : start + many]
            start += many
            play(i, partial(games[i].send, given))
    return [results[i] for i in range(len(games))]


def _taken(batch: list[Q]) -> list[Q]:
    """What is in the batch, which is empty then: prompts are large, and not to be held here while they are answered."""
    taken = list(batch)
    batch.clear()
    return taken


def relay(
    game: Generator[list[Q], list[A], R], pose: Callable[[list[Q]], Posed[A]]
) -> Generator[list[Request], list[Answer], R]:
    """What the game returns when a model answers its questions, asked as `pose` says."""
    try:
        questions = next(game)
        while True:
            requests, read = pose(questions)
            try:
                answers = yield _taken(requests)
            except OutOfBudget as spent:
                questions = game.throw(spent)
            else:
                questions = game.send(read(answers))
    except StopIteration as stop:
        result: R = stop.value
        return result


def waves(spans: Iterable[range]) -> list[list[range]]:
    """The spans of slots, in groups that can be worked on at once with the result of working on them one after another.

    A span waits for every earlier one that shares a slot with it, and for nothing else.
    """
    levels: list[list[range]] = []
    free: dict[int, int] = {}  # slot -> first level at which nothing earlier touches it
    for span in spans:
        level = max((free.get(slot, 0) for slot in span), default=0)
        if level == len(levels):
            levels.append([])
        levels[level].append(span)
        free.update(dict.fromkeys(span, level + 1))
    return levels
