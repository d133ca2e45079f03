"""The orderings of a `drive`: those that wait, those that run, what they want, and what came of the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rankrl.contracts import Engine, OnAnswer, Steps
from rankrl.errors import OutOfBudget
from rankrl.types import Answer, Ranking, Request

OnRound = Callable[[int, int], None]
OnCall = Callable[[Request, Answer], None]

HELD, _REQUEST = 2**28, 600
"""Bytes of unanswered requests, about, beyond which no ordering starts beside those that run; those of a request itself."""


@dataclass(slots=True, eq=False)
class Live:
    """An ordering that runs: what it wants, its bytes, what of it has no answer yet, and all it has heard so far."""

    index: int
    steps: Steps
    wanted: list[Request] = field(default_factory=list)
    missing: dict[str, Request] = field(default_factory=dict)
    memory: dict[str, Answer] = field(default_factory=dict)
    depth: int = 0
    size: int = 0


class Running:
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
        self.live: dict[int, Live] = {}  # in the order of the orderings
        self.size = 0  # bytes of what they want
        self.unfinished: set[int] = set()
        self.echoes: list[Request] = []
        self.recalled = 0  # answers since the last report
        self._reserve: Callable[[Sequence[Request]], bool] | None = getattr(engine, "reserve", None)
        self._chain: Callable[[int], None] | None = getattr(engine, "chain", None)
        self._recall: Callable[[Sequence[Request]], dict[str, Answer]] | None = getattr(engine, "recall", None)
        self._also_asked: Callable[[Sequence[Request]], None] | None = getattr(engine, "also_asked", None)

    def start_more(self) -> list[Live]:
        """The orderings that start now and want something."""
        started = []
        while self.waiting and len(self.live) < self.max_live and self.size < HELD:
            index, steps = self.waiting.popleft()
            live = self.live[index] = Live(index, steps)
            if self._advance(live, None):
                started.append(live)
        return started

    def go_on(self, live: Live) -> bool:
        """Gives an ordering its answers; True when it wants more that it has not heard yet."""
        return self._advance(live, self._heard(live))

    def _advance(self, live: Live, answers: list[Answer] | None) -> bool:
        while True:
            try:
                live.wanted = next(live.steps) if answers is None else live.steps.send(answers)
            except StopIteration as stop:
                self._finish(live, stop.value)
                return False
            self._weigh(live)
            for request in live.wanted:
                if request.key not in live.memory and live.missing.setdefault(request.key, request) is request:
                    continue
                self.echoes.append(request)
            live.depth += bool(live.missing)
            self._remember(live)
            if live.missing:
                return True
            answers = self._heard(live)

    def _weigh(self, live: Live) -> None:
        self.size -= live.size
        live.size = sum(_REQUEST + sum(len(m["content"]) for m in request.prompt) for request in live.wanted)
        self.size += live.size

    def _remember(self, live: Live) -> None:
        """Takes from a journal what it has of what an ordering wants."""
        if self._recall is None or not live.missing:
            return
        for key, answer in self._recall(list(live.missing.values())).items():
            live.memory[key] = answer
            request = live.missing.pop(key)
            self.recalled += 1
            if self.on_answer is not None:
                self.on_answer(request, answer)

    def _heard(self, live: Live) -> list[Answer]:
        live.missing.clear()
        answers = [live.memory[request.key] for request in live.wanted]
        if self.on_call is not None:
            for request, answer in zip(live.wanted, answers, strict=True):
                self.on_call(request, answer)
        return answers

    def _finish(self, live: Live, ranking: Any) -> None:
        if not isinstance(ranking, Ranking):
            raise TypeError(f"an ordering must return a Ranking, got {ranking!r}")
        self.rankings[live.index] = ranking
        self._leave(live)

    def _leave(self, live: Live) -> None:
        del self.live[live.index]
        self.size -= live.size
        live.wanted, live.memory = [], {}
        if self._chain is not None:
            self._chain(live.depth)

    def fits(self, requests: Sequence[Request]) -> bool:
        """True when the engine's limits allow these too; they are reserved then."""
        return self._reserve is None or self._reserve(requests)

    def limit(self) -> str:
        """The limit that is reached, in words."""
        return str(getattr(self.engine, "stopped_by", "")) or "a limit"

    def stop(self, live: Live) -> None:
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


def asked(engine: Engine, requests: Sequence[Request], on_answer: OnAnswer | None = None) -> list[Answer]:
    """The engine's answers, after making sure that there is one for each request."""
    answers = engine.generate(requests, on_answer)
    if len(answers) != len(requests):
        raise ValueError(f"{type(engine).__name__} gave {len(answers)} answers to {len(requests)} requests")
    return answers


def release(engine: Engine, requests: Iterable[Request]) -> None:
    """Tells a ledger that these are not asked after all."""
    if (give_back := getattr(engine, "release", None)) is not None:
        give_back(requests)
