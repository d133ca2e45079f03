"""Many sans-IO orderings, one stream of batches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from rankrl.contracts import Engine, OnAnswer, Steps
from rankrl.errors import OutOfBudget
from rankrl.types import Answer, Ranking, Request

OnRound = Callable[[int, int], None]
OnCall = Callable[[Request, Answer], None]

GRACE_S, INTERRUPTED_GRACE_S = 5.0, 0.5
"""How long answers under way are waited for after an error, so that a journal can keep them, and after an interruption."""


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
    run = _Run(orders, engine, max_live, on_round, on_call, on_answer)
    workers = int(getattr(engine, "concurrent", 1) or 1)
    try:
        if workers > 1:
            _Continuous(run, workers).drive()
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


@dataclass(slots=True, eq=False)
class _Live:
    """An ordering that runs: what it wants, what of that has no answer yet, and all it has heard so far."""

    index: int
    steps: Steps
    wanted: list[Request] = field(default_factory=list)
    missing: dict[str, Request] = field(default_factory=dict)
    memory: dict[str, Answer] = field(default_factory=dict)
    depth: int = 0


class _Run:
    """The orderings: those that wait, those that run, and what came of the others."""

    def __init__(
        self,
        orders: Iterable[Steps],
        engine: Engine,
        max_live: int,
        on_round: OnRound | None,
        on_call: OnCall | None,
        on_answer: OnCall | None,
    ) -> None:
        self.engine, self.max_live = engine, max_live
        self.on_round, self.on_call, self.on_answer = on_round, on_call, on_answer
        self.waiting = deque(enumerate(orders))
        self.rankings: list[Ranking | None] = [None] * len(self.waiting)
        self.live: dict[int, _Live] = {}  # in the order of the orderings
        self.unfinished: set[int] = set()
        self.echoes: list[Request] = []
        self.recalled = 0  # answers since the last report
        self._reserve: Callable[[Sequence[Request]], bool] | None = getattr(engine, "reserve", None)
        self._chain: Callable[[int], None] | None = getattr(engine, "chain", None)
        self._recall: Callable[[Sequence[Request]], dict[str, Answer]] | None = getattr(engine, "recall", None)
        self._also_asked: Callable[[Sequence[Request]], None] | None = getattr(engine, "also_asked", None)

    def start_more(self) -> list[_Live]:
        """The orderings that start now and want something."""
        started = []
        while self.waiting and len(self.live) < self.max_live:
            index, steps = self.waiting.popleft()
            live = self.live[index] = _Live(index, steps)
            if self._advance(live, None):
                started.append(live)
        return started

    def go_on(self, live: _Live) -> bool:
        """Gives an ordering its answers; True when it wants more that it has not heard yet."""
        return self._advance(live, self._heard(live))

    def _advance(self, live: _Live, answers: list[Answer] | None) -> bool:
        while True:
            try:
                live.wanted = next(live.steps) if answers is None else live.steps.send(answers)
            except StopIteration as stop:
                self._finish(live, stop.value)
                return False
            for request in live.wanted:
                if request.key not in live.memory and live.missing.setdefault(request.key, request) is request:
                    continue
                self.echoes.append(request)
            live.depth += bool(live.missing)
            self._remember(live)
            if live.missing:
                return True
            answers = self._heard(live)

    def _remember(self, live: _Live) -> None:
        """Takes from a journal what it has of what an ordering wants."""
        if self._recall is None or not live.missing:
            return
        for key, answer in self._recall(list(live.missing.values())).items():
            live.memory[key] = answer
            request = live.missing.pop(key)
            self.recalled += 1
            if self.on_answer is not None:
                self.on_answer(request, answer)

    def _heard(self, live: _Live) -> list[Answer]:
        live.missing.clear()
        answers = [live.memory[request.key] for request in live.wanted]
        if self.on_call is not None:
            for request, answer in zip(live.wanted, answers, strict=True):
                self.on_call(request, answer)
        return answers

    def _finish(self, live: _Live, ranking: Any) -> None:
        if not isinstance(ranking, Ranking):
            raise TypeError(f"an ordering must return a Ranking, got {ranking!r}")
        self.rankings[live.index] = ranking
        self._leave(live)

    def _leave(self, live: _Live) -> None:
        del self.live[live.index]
        if self._chain is not None:
            self._chain(live.depth)

    def fits(self, requests: Sequence[Request]) -> bool:
        """True when the engine's limits allow these too; they are reserved then."""
        return self._reserve is None or self._reserve(requests)

    def limit(self) -> str:
        """The limit that is reached, in words."""
        return str(getattr(self.engine, "stopped_by", "")) or "a limit"

    def stop(self, live: _Live) -> None:
        """Ends an ordering at a limit, with what it has so far."""
        self.unfinished.add(live.index)
        live.depth -= 1  # what it wanted last is not asked
        try:
            live.steps.throw(OutOfBudget(f"stopped at {self.limit()}"))
        except StopIteration as stop:
            self._finish(live, stop.value)
        except OutOfBudget:
            self._leave(live)
        else:
            live.steps.close()  # it would ask on
            self._leave(live)

    def report(self, answered: int) -> None:
        """Tells how far things are, and a journal what was asked besides."""
        if self.echoes and self._also_asked is not None:
            self._also_asked(self.echoes)
        self.echoes.clear()
        answered, self.recalled = answered + self.recalled, 0
        if self.on_round is not None:
            self.on_round(len(self.rankings) - len(self.waiting) - len(self.live), answered)

    def close(self) -> None:
        """Ends what is still running."""
        for live in self.live.values():
            with suppress(RuntimeError):  # one that does not let itself be closed
                live.steps.close()


def _in_lock_step(run: _Run) -> None:
    while run.waiting or run.live:
        run.start_more()
        served: list[_Live] = []
        for live in run.live.values():
            if not run.fits(list(live.missing.values())):
                break
            served.append(live)
        if not served:
            if run.live:
                run.stop(next(iter(run.live.values())))
            elif run.recalled:
                run.report(0)
            continue
        distinct: dict[str, Request] = {}
        for live in served:
            for key, request in live.missing.items():
                if distinct.setdefault(key, request) is not request:
                    run.echoes.append(request)
        answers = _answers(run, sorted(distinct.values(), key=_beginning))
        for live in served:
            live.memory.update((key, answers[key]) for key in live.missing)
            run.go_on(live)
        run.report(len(answers))


def _beginning(request: Request) -> list[str]:
    """Sorts prompts with a common beginning side by side, so that an engine can share its work."""
    return [message["content"] for message in request.prompt]


def _answers(run: _Run, requests: list[Request]) -> dict[str, Answer]:
    """Key -> answer, from one call of the engine."""
    heard: set[int] = set()

    def hear(i: int, answer: Answer) -> None:
        heard.add(i)
        if run.on_answer is not None:
            run.on_answer(requests[i], answer)

    try:
        answers = _asked(run.engine, requests, hear)
    except BaseException:
        _release(run.engine, requests)
        raise
    for i, answer in enumerate(answers):
        if i not in heard:
            hear(i, answer)
    return {request.key: answer for request, answer in zip(requests, answers, strict=True)}


def _asked(engine: Engine, requests: Sequence[Request], on_answer: OnAnswer | None = None) -> list[Answer]:
    answers = engine.generate(requests, on_answer)
    if len(answers) != len(requests):
        raise ValueError(f"{type(engine).__name__} gave {len(answers)} answers to {len(requests)} requests")
    return answers


def _release(engine: Engine, requests: Iterable[Request]) -> None:
    if (release := getattr(engine, "release", None)) is not None:
        release(requests)


class _Continuous:
    """Asks an engine from several threads; an ordering goes on as soon as its own answers are there."""

    def __init__(self, run: _Run, workers: int) -> None:
        self.run, self.workers = run, workers
        self.todo: SimpleQueue[Request | None] = SimpleQueue()
        self.done: SimpleQueue[tuple[str, Answer | None, BaseException | None]] = SimpleQueue()
        self.flying: dict[str, tuple[Request, list[_Live]]] = {}
        self.held: dict[int, _Live] = {}
        self.threads: list[threading.Thread] = []
        self.closing = False

    def drive(self) -> None:
        """Runs all orderings to their end."""
        run, answered, grace_s = self.run, 0, 0.0
        try:
            while run.waiting or run.live:
                self.held.update((live.index, live) for live in run.start_more())
                self._send()
                if not self.flying:
                    if self.held:
                        run.stop(self.held.pop(min(self.held)))
                    elif run.recalled:
                        run.report(0)
                    continue
                stepped = self._receive()
                answered += 1
                if stepped:
                    run.report(answered)
                    answered = 0
        except Exception:
            grace_s = GRACE_S
            raise
        except BaseException:
            grace_s = INTERRUPTED_GRACE_S
            raise
        finally:
            self._end(grace_s)

    def _send(self) -> None:
        """Sends what the orderings want that hold still, in their order, as far as the limits allow."""
        for index in sorted(self.held):
            live = self.held[index]
            new = [request for key, request in live.missing.items() if key not in self.flying]
            if not self.run.fits(new):
                return
            del self.held[index]
            for key, request in live.missing.items():
                asked, waiting = self.flying.setdefault(key, (request, []))
                waiting.append(live)
                if asked is not request:
                    self.run.echoes.append(request)
            for request in new:
                if len(self.threads) < min(self.workers, len(self.flying)):
                    self.threads.append(threading.Thread(target=self._work, name="rankrl-engine", daemon=True))
                    self.threads[-1].start()
                self.todo.put(request)

    def _receive(self) -> bool:
        """Waits for one answer; True when an ordering has gone on with it."""
        key, answer, error = self.done.get()
        if error is not None or answer is None:
            raise error or ValueError("no answer")
        request, waiting = self.flying.pop(key)
        if self.run.on_answer is not None:
            self.run.on_answer(request, answer)
        stepped = False
        for live in waiting:
            live.memory[key] = answer
            del live.missing[key]
            if not live.missing:
                stepped = True
                if self.run.go_on(live):
                    self.held[live.index] = live
        return stepped

    def _work(self) -> None:
        while (request := self.todo.get()) is not None and not self.closing:
            try:
                (answer,) = _asked(self.run.engine, [request])
            except BaseException as error:
                self.done.put((request.key, None, error))
            else:
                self.done.put((request.key, answer, None))

    def _end(self, grace_s: float) -> None:
        """Lets the threads go; those in the middle of an answer are waited for a moment, so that a journal can keep it."""
        self.closing = True
        _release(self.run.engine, [request for request, _ in self.flying.values()])
        for _ in self.threads:
            self.todo.put(None)
        until = time.monotonic() + grace_s
        for thread in self.threads:
            thread.join(max(0.0, until - time.monotonic()) if self.flying else None)
