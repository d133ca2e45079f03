"""Many sans-IO orderings, one stream of batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rankrl.contracts import Engine, OnAnswer, Steps
from rankrl.engines._continuous import Continuous
from rankrl.engines._running import Live, OnCall, OnRound, Running, asked, release
from rankrl.errors import OutOfBudget
from rankrl.types import Answer, Ranking, Request


@dataclass(frozen=True, slots=True)
class Driven:
    """What came of many orderings.

    rankings: one per ordering; None for one that a limit stopped and that had nothing yet. unfinished: the positions of those
    that a limit stopped. stopped: the limit in words, "" when there was none to stop at.
    """

    rankings: list[Ranking | None]
    unfinished: frozenset[int] = frozenset()
    stopped: str = ""


def drive(
    orders: Iterable[Steps],
    engine: Engine,
    *,
    max_live: int = 512,
    on_round: OnRound | None = None,
    on_call: OnCall | None = None,
    on_answer: OnCall | None = None,
) -> list[Ranking]:
    """One Ranking per ordering, in their order; see `drive_all`.

    Raises:
        OutOfBudget: a limit stopped an ordering that had no Ranking yet.
    """
    driven = drive_all(orders, engine, max_live=max_live, on_round=on_round, on_call=on_call, on_answer=on_answer)
    rankings = [ranking for ranking in driven.rankings if ranking is not None]
    if len(rankings) < len(driven.rankings):
        raise OutOfBudget(
            f"stopped at {driven.stopped}: {len(rankings)} of {len(driven.rankings)} lists have a ranking"
        )
    return rankings


def drive_all(
    orders: Iterable[Steps],
    engine: Engine,
    *,
    max_live: int = 512,
    on_round: OnRound | None = None,
    on_call: OnCall | None = None,
    on_answer: OnCall | None = None,
) -> Driven:
    """The rankings of many orderings that run together, at most `max_live` at a time; others start as those finish.

    Fewer run together while what they ask at once is much (`HELD`): the pairs of a hundred candidates are 9,900 prompts.

    In lock step: a round collects what all live orderings ask for, sends each distinct request to the engine once, prompts with
    a common beginning side by side, and gives every ordering its answers. An engine with `concurrent` > 1 is asked from so many
    threads instead, one request each, and an ordering goes on as soon as its own answers are there. Both give the same rankings.
    What an ordering has asked before it gets from memory, and what an engine can `recall` (a journal) at once, without a call.

    An engine that can `reserve` (a ledger) is asked before requests are sent. Orderings are served in their order as far as it
    allows; the first that does not fit although nothing is under way gets `OutOfBudget` thrown in, and may return what it has.

    on_answer: told every answer of the engine as it comes. on_call: told every request that an ordering has asked, with its
    answer, as soon as the ordering goes on. on_round: told (orderings finished, requests answered) after each round, in
    continuous mode after each step of an ordering. All are called in the caller's thread.

    What an engine or an ordering raises is passed on, after the orderings in flight have been closed.
    """
    if max_live < 1:
        raise ValueError(f"max_live must be 1 or more, got {max_live}")
    run = Running(orders, engine, max_live, on_round, on_call, on_answer)
    workers = int(getattr(engine, "concurrent", 1) or 1)
    try:
        if workers > 1:
            Continuous(run, workers).drive()
        else:
            _in_lock_step(run)
    finally:
        run.close()
    return Driven(run.rankings, frozenset(run.unfinished), run.limit() if run.unfinished else "")


def told(answers: Sequence[Answer], on_answer: OnAnswer | None) -> list[Answer]:
    """The answers, after `on_answer` has been told each: for engines that know all of them at once."""
    if on_answer is not None:
        for i, answer in enumerate(answers):
            on_answer(i, answer)
    return list(answers)


def _in_lock_step(run: Running) -> None:
    while run.waiting or run.live:
        run.start_more()
        served: list[Live] = []
        for live in run.live.values():
            if not run.fits(list(live.missing.values())):
                break
            served.append(live)
        if served:
            run.report(_round(run, served))
        elif run.live:
            run.stop(next(iter(run.live.values())))
        elif run.recalled:
            run.report(0)


def _round(run: Running, served: list[Live]) -> int:
    """Asks what these orderings want, and lets them go on; how many answers there were."""
    distinct: dict[str, Request] = {}
    for live in served:
        for key, request in live.missing.items():
            if distinct.setdefault(key, request) is not request:
                run.echoes.append(request)
    answers = _answers(run, sorted(distinct.values(), key=_beginning))
    for live in served:
        live.memory.update((key, answers[key]) for key in live.missing)
        run.go_on(live)
    return len(answers)


def _beginning(request: Request) -> list[str]:
    """Sorts prompts with a common beginning side by side, so that an engine can share its work."""
    return [message["content"] for message in request.prompt]


def _answers(run: Running, requests: list[Request]) -> dict[str, Answer]:
    """Key -> answer, from one call of the engine."""
    heard: set[int] = set()

    def hear(i: int, answer: Answer) -> None:
        heard.add(i)
        if run.on_answer is not None:
            run.on_answer(requests[i], answer)

    try:
        answers = asked(run.engine, requests, hear)
    except BaseException:
        release(run.engine, requests)
        raise
    for i, answer in enumerate(answers):
        if i not in heard:
            hear(i, answer)
    return {request.key: answer for request, answer in zip(requests, answers, strict=True)}
