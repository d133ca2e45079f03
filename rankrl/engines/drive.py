"""Many sans-IO orderings, one stream of batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from rankrl.contracts import Engine, Steps
from rankrl.types import Answer, Messages, Ranking

PromptKey = tuple[tuple[tuple[str, str], ...], ...]


def prompt_key(messages: Messages) -> PromptKey:
    """A hashable value that is equal for equal prompts."""
    return tuple(tuple(sorted(message.items())) for message in messages)


def drive(
    orders: Iterable[Steps],
    engine: Engine,
    *,
    max_live: int = 512,
    on_round: Callable[[int, int], None] | None = None,
) -> list[Ranking]:
    """One Ranking per ordering, in their order; the orderings advance in lock step.

    A round collects what all live orderings ask for, sends each distinct prompt to the engine once, and gives every
    ordering its answers. At most `max_live` orderings run at a time, others start as those finish. `on_round` is called
    after each round with (orderings finished, prompts sent in this round).

    What an engine or an ordering raises is passed on, after the orderings in flight have been closed.
    """
    if max_live < 1:
        raise ValueError(f"max_live must be 1 or more, got {max_live}")
    waiting = deque(enumerate(orders))
    rankings: list[Ranking | None] = [None] * len(waiting)
    live: dict[int, tuple[Steps, list[Messages]]] = {}

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
            answers_by_prompt = _answers([messages for _, wanted in live.values() for messages in wanted], engine)
            for i, (steps, wanted) in list(live.items()):
                advance(i, steps, [answers_by_prompt[prompt_key(messages)] for messages in wanted])
            if on_round is not None:
                on_round(len(rankings) - len(waiting) - len(live), len(answers_by_prompt))
    finally:
        for steps, _ in live.values():
            steps.close()
    return [ranking for ranking in rankings if ranking is not None]


def _answers(requests: Sequence[Messages], engine: Engine) -> dict[PromptKey, Answer]:
    """Prompt -> answer, one engine call for all distinct prompts."""
    distinct = {prompt_key(messages): messages for messages in requests}
    if not distinct:
        return {}
    answers = engine.generate(list(distinct.values()))
    if len(answers) != len(distinct):
        raise ValueError(f"{type(engine).__name__} gave {len(answers)} answers to {len(distinct)} prompts")
    return dict(zip(distinct, answers, strict=True))
