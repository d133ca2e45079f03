"""Many sans-IO orderings, one stream of batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from rankrl.contracts import Engine, OnAnswer, Steps
from rankrl.types import Answer, Ranking, Request


def drive(
    orders: Iterable[Steps],
    engine: Engine,
    *,
    max_live: int = 512,
    on_round: Callable[[int, int], None] | None = None,
    on_call: Callable[[Request, Answer], None] | None = None,
) -> list[Ranking]:
    """One Ranking per ordering, in their order; the orderings advance in lock step.

    A round collects what all live orderings ask for, sends each distinct request to the engine once, and gives every
    ordering its answers. At most `max_live` orderings run at a time, others start as those finish. `on_round` is called
    after each round with (orderings finished, requests sent in this round), `on_call` for every request that an ordering
    has asked, with its answer.

    What an engine or an ordering raises is passed on, after the orderings in flight have been closed.
    """
    if max_live < 1:
        raise ValueError(f"max_live must be 1 or more, got {max_live}")
    waiting = deque(enumerate(orders))
    rankings: list[Ranking | None] = [None] * len(waiting)
    live: dict[int, tuple[Steps, list[Request]]] = {}

    def advance(i: int, steps: Steps, answers: list[Answer] | None) -> None:
        try:
            live[i] = (steps, next(steps) if answers is None else steps.send(answers))
        except StopIteration as stop:
            live.pop(i, None)
            rankings[i] = stop.value

    try:
        while waiting or live:
            while waiting and len(live) < max_live:
                advance(*waiting.popleft(), None)
            if not live:
                continue
            answered = _answers([request for _, wanted in live.values() for request in wanted], engine)
            for i, (steps, wanted) in list(live.items()):
                if on_call is not None:
                    for request in wanted:
                        on_call(request, answered[request.key])
                advance(i, steps, [answered[request.key] for request in wanted])
            if on_round is not None:
                on_round(len(rankings) - len(waiting) - len(live), len(answered))
    finally:
        for steps, _ in live.values():
            steps.close()
    return [ranking for ranking in rankings if ranking is not None]


def _answers(requests: Sequence[Request], engine: Engine) -> dict[str, Answer]:
    """Key -> answer, one engine call for all distinct requests."""
    distinct = {request.key: request for request in requests}
    if not distinct:
        return {}
    answers = engine.generate(list(distinct.values()))
    if len(answers) != len(distinct):
        raise ValueError(f"{type(engine).__name__} gave {len(answers)} answers to {len(distinct)} requests")
    return dict(zip(distinct, answers, strict=True))


def told(answers: Sequence[Answer], on_answer: OnAnswer | None) -> list[Answer]:
    """The answers, after `on_answer` has been told each: for engines that know all of them at once."""
    if on_answer is not None:
        for i, answer in enumerate(answers):
            on_answer(i, answer)
    return list(answers)
