"""What the answers cost, and where to stop: an engine around an engine that counts."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rankrl.contracts import Engine, OnAnswer
from rankrl.errors import ConfigError
from rankrl.types import Answer, Request

CHARACTERS_PER_TOKEN = 4
"""How long a token is taken to be before any has been counted."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Sums over the answers so far.

    calls: requests answered, by the engine or by a journal. rounds: times the engine was asked, for orderings in lock step the
    batches. depth: the longest chain of dependent calls of one ordering. truncated: answers cut at the token limit. cached:
    answers that cost nothing (not in the token sums). seconds: time in which at least one request was waited for. cost: what
    the tokens cost, in the currency of the prices; None without prices. cached_tokens: prompt tokens that the engine had computed
    before, where it tells; they are in `prompt_tokens` too.
    """

    calls: int = 0
    rounds: int = 0
    depth: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    truncated: int = 0
    cached: int = 0
    seconds: float = 0.0
    cost: float | None = None
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Where reranking stops; None = no limit. What a journal answers costs nothing and does not count.

    max_calls: answers of the engine; never exceeded. max_tokens: prompt and completion tokens together. max_cost: what they cost
    at `price_in` and `price_out`, the prices of a million prompt and completion tokens. Tokens are known only afterwards, so
    these two are kept by estimates from the answers so far, and what is asked at once is expected to take at most half of what
    is left: the limit can be passed by as much as the last such answers are longer than the mean.

    Raises:
        ConfigError: a limit or price out of range; `max_cost` without both prices.
    """

    max_calls: int | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    price_in: float | None = None
    price_out: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = field.name in ("max_calls", "max_tokens")
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or not value >= 0:
                wanted = "a whole number of 0 or more" if whole else "a number of 0 or more"
                raise ConfigError(f"{field.name} must be {wanted}, got {value!r}")
        if (self.price_in is None) != (self.price_out is None):
            raise ConfigError("give both prices, price_in and price_out (per million tokens; 0 for what is free)")
        if self.max_cost is not None and self.price_in is None:
            raise ConfigError("max_cost needs price_in and price_out, the prices of a million tokens")

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float | None:
        """What so many tokens cost; None without prices."""
        if self.price_in is None or self.price_out is None:
            return None
        return (prompt_tokens * self.price_in + completion_tokens * self.price_out) / 1e6


@dataclass(slots=True)
class _Spent:
    """What is spent, or expected to be: calls, tokens, money."""

    calls: int = 0
    tokens: float = 0.0
    cost: float = 0.0

    def add(self, other: _Spent, sign: int = 1) -> None:
        self.calls += sign * other.calls
        self.tokens += sign * other.tokens
        self.cost += sign * other.cost


class Ledger:
    """An engine that passes requests on to `engine`, keeps `cost`, and knows how much more may be asked.

    Safe to use from several threads. limited: True when there is a limit. Has all that `drive` uses of an engine, see `Engine`.
    """

    def __init__(
        self, engine: Engine, limits: Limits | None = None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.engine, self.limits = engine, limits or Limits()
        self.limited = any(
            limit is not None for limit in (self.limits.max_calls, self.limits.max_tokens, self.limits.max_cost)
        )
        self._clock, self._lock = clock, threading.Lock()
        self._calls = self._rounds = self._depth = self._truncated = self._cached = self._cached_tokens = 0
        self._prompt_tokens = self._completion_tokens = self._characters = 0
        self._seconds, self._active, self._since = 0.0, 0, 0.0
        self._longest = _longest_answer(engine)
        self._reserved: dict[str, _Spent] = {}
        self._expected = _Spent()

    @property
    def concurrent(self) -> int:
        """From how many threads the engine inside may be asked."""
        return int(getattr(self.engine, "concurrent", 1) or 1)

    @property
    def cost(self) -> Cost:
        """Sums over all answers so far."""
        return Cost(
            self._calls,
            self._rounds,
            self._depth,
            self._prompt_tokens,
            self._completion_tokens,
            self._truncated,
            self._cached,
            self._seconds,
            self.limits.cost(self._prompt_tokens, self._completion_tokens),
            self._cached_tokens,
        )

    def generate(self, requests: Sequence[Request], on_answer: OnAnswer | None = None) -> list[Answer]:
        """The answers of the engine inside, counted as they come."""
        heard: set[int] = set()

        def hear(i: int, answer: Answer) -> None:
            if i not in heard:
                heard.add(i)
                self._count(requests[i], answer)
            if on_answer is not None:
                on_answer(i, answer)

        self._start()
        try:
            answers = self.engine.generate(requests, hear)
        finally:
            self._stop()
        if len(answers) != len(requests):
            raise ValueError(f"{type(self.engine).__name__} gave {len(answers)} answers to {len(requests)} requests")
        for i, answer in enumerate(answers):
            if i not in heard:
                hear(i, answer)
        return answers

    def chain(self, length: int) -> None:
        """An ordering has asked `length` times, each time after the answers to the time before."""
        self._depth = max(self._depth, length)

    def recall(self, requests: Sequence[Request]) -> dict[str, Answer]:
        """Key -> answer of those that a journal inside has stored; they are free."""
        find = getattr(self.engine, "recall", None)
        found: dict[str, Answer] = find(requests) if find is not None else {}
        for request in requests:
            if request.key in found:
                self._count(request, found[request.key])
        return found

    def also_asked(self, requests: Sequence[Request]) -> None:
        """Passes on to a journal what was answered without being sent, because an equal request was."""
        if (tell := getattr(self.engine, "also_asked", None)) is not None:
            tell(requests)

    def reserve(self, requests: Sequence[Request]) -> bool:
        """True when all of these may be asked, beside what is spent and what is reserved; they are reserved then.

        False can become True when reserved requests turn out cheaper than expected.
        """
        if not self.limited:
            return True
        with self._lock:
            expected = {r.key: self._expect(r) for r in requests if r.key not in self._reserved}
            total = _Spent()
            for one in expected.values():
                total.add(one)
            if expected and not self._fits(total):
                return False
            self._reserved |= expected
            self._expected.add(total)
        return True

    def room(self, request: Request) -> float:
        """About how many more requests like this one fit; infinite without limits."""
        one, limits = self._expect(request), self.limits
        paid, tokens = self._calls - self._cached, self._prompt_tokens + self._completion_tokens
        left = [
            (limit - spent) / max(each, 1e-12)
            for limit, spent, each in (
                (limits.max_calls, paid, 1),
                (limits.max_tokens, tokens, one.tokens),
                (limits.max_cost, self.cost.cost or 0.0, one.cost),
            )
            if limit is not None
        ]
        return max(0.0, min(left, default=math.inf))

    @property
    def stopped_by(self) -> str:
        """The limit that is nearest to be reached, in words; for what is said when a run stops."""
        limits, tokens = self.limits, self._prompt_tokens + self._completion_tokens
        shares = []
        if limits.max_calls is not None:
            paid = self._calls - self._cached
            shares.append((_share(paid, limits.max_calls), f"max_calls {limits.max_calls} ({paid} spent)"))
        if limits.max_tokens is not None:
            shares.append((_share(tokens, limits.max_tokens), f"max_tokens {limits.max_tokens} ({tokens} spent)"))
        if limits.max_cost is not None:
            cost = self.cost.cost or 0.0
            shares.append((_share(cost, limits.max_cost), f"max_cost {limits.max_cost:g} ({cost:.4g} spent)"))
        return max(shares)[1] if shares else ""

    def release(self, requests: Iterable[Request]) -> None:
        """Gives back what was reserved for requests that will not be asked after all."""
        with self._lock:
            for request in requests:
                self._settle(request.key)

    def _settle(self, key: str) -> None:
        if (one := self._reserved.pop(key, None)) is not None:
            self._expected.add(one, sign=-1)

    def _expect(self, request: Request) -> _Spent:
        """What a request is expected to take, by the tokens per character and the length of the answers so far.

        Before there is any, a free answer is taken to be a quarter as long as it may become.
        """
        paid, characters = self._calls - self._cached, sum(len(message["content"]) for message in request.prompt)
        per_character = self._prompt_tokens / self._characters if self._characters else 1 / CHARACTERS_PER_TOKEN
        prompt = characters * per_character
        completion = self._completion_tokens / paid if paid else 0.0 if request.choices else self._longest / 4
        return _Spent(1, prompt + completion, self.limits.cost(prompt, completion) or 0.0)

    def _fits(self, more: _Spent) -> bool:
        """True when `more` may be reserved too."""
        limits, alone = self.limits, not self._reserved
        paid, tokens = self._calls - self._cached, self._prompt_tokens + self._completion_tokens
        if limits.max_calls is not None and paid + self._expected.calls + more.calls > limits.max_calls:
            return False
        if limits.max_tokens is None and limits.max_cost is None:
            return True
        if not alone and not paid:
            return False  # nothing is known of the length of answers: wait for the first ones
        part = 1 if alone else 2
        for limit, spent, expected, new in (
            (limits.max_tokens, tokens, self._expected.tokens, more.tokens),
            (limits.max_cost, self.cost.cost or 0.0, self._expected.cost, more.cost),
        ):
            if limit is not None and (spent >= limit or expected + new > (limit - spent) / part):
                return False
        return True

    def _start(self) -> None:
        with self._lock:
            self._rounds += 1
            if not self._active:
                self._since = self._clock()
            self._active += 1

    def _stop(self) -> None:
        with self._lock:
            self._active -= 1
            if not self._active:
                self._seconds += self._clock() - self._since

    def _count(self, request: Request, answer: Answer) -> None:
        with self._lock:
            self._settle(request.key)
            self._calls += 1
            self._truncated += answer.finish_reason == "length"
            if answer.cached:
                self._cached += 1
                return
            self._prompt_tokens += answer.prompt_tokens
            self._completion_tokens += answer.completion_tokens
            self._cached_tokens += answer.cached_tokens
            if self.limited:
                self._characters += sum(len(message["content"]) for message in request.prompt)


def _longest_answer(engine: Any) -> int:
    """Where the engine cuts answers, 0 when it does not say."""
    while not hasattr(engine, "max_new_tokens") and hasattr(engine, "engine"):
        engine = engine.engine
    longest = getattr(engine, "max_new_tokens", 0)
    return longest if isinstance(longest, int) else 0


def _share(spent: float, limit: float) -> float:
    return spent / limit if limit else 1.0
