"""What the answers cost: an engine around an engine that counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rankrl.contracts import Engine, OnAnswer
from rankrl.types import Answer, Request


@dataclass(frozen=True, slots=True)
class Cost:
    """Sums over the answers so far.

    calls: prompts answered. rounds: batches of prompts, hence, for orderings driven together, the longest chain of
    dependent calls. truncated: answers cut at the token limit. cached: answers that cost nothing (not in the token sums).
    seconds: time spent waiting for the engine.
    """

    calls: int = 0
    rounds: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    truncated: int = 0
    cached: int = 0
    seconds: float = 0.0


class Ledger:
    """An engine that passes requests on to `engine` and keeps `cost`."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.engine = engine
        self.cost = Cost()
        self._clock = clock

    def generate(self, requests: Sequence[Request], on_answer: OnAnswer | None = None) -> list[Answer]:
        """The answers of the engine inside."""
        start = self._clock()
        answers = self.engine.generate(requests, on_answer)
        seconds = self._clock() - start
        paid = [answer for answer in answers if not answer.cached]
        self.cost = replace(
            self.cost,
            calls=self.cost.calls + len(answers),
            rounds=self.cost.rounds + 1,
            prompt_tokens=self.cost.prompt_tokens + sum(answer.prompt_tokens for answer in paid),
            completion_tokens=self.cost.completion_tokens + sum(answer.completion_tokens for answer in paid),
            truncated=self.cost.truncated + sum(answer.finish_reason == "length" for answer in answers),
            cached=self.cost.cached + len(answers) - len(paid),
            seconds=self.cost.seconds + seconds,
        )
        return answers
