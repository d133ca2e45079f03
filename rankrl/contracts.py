"""The contracts every shelf is built to, on one page. A new part is one new file that satisfies one of these.

`rankrl.testing` holds the checks behind each contract; they run over every module of a shelf and are exported for parts
that live in other packages.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar, overload

from rankrl.types import (
    Answer,
    CandidateList,
    Judgments,
    Messages,
    Query,
    Ranking,
    Reading,
    Request,
    Rollout,
    RolloutGroup,
)

Steps = Generator[list[Request], list[Answer], Ranking]
"""A sans-IO ordering: yields requests, is sent one answer per request, returns the final Ranking.

When the budget is spent, `OutOfBudget` is thrown into it; it may return what it has so far, or let it pass.
"""


class Reward(Protocol):
    """A pure function of one rollout, named like its module. None = does not apply; a crash is never turned into a number."""

    def __call__(self, rollout: Rollout, judgments: Judgments, /, **options: Any) -> float | None: ...


class GroupReward(Protocol):
    """A reward marked `@over_group`: compares the answers of one prompt and returns one value per rollout."""

    def __call__(self, group: RolloutGroup, /, **options: Any) -> Sequence[float | None]: ...


class Shaper(Protocol):
    """Marked `@over_group(shapes=True)`: sees a group and its summed rewards, returns the rewards the advantage is made of."""

    def __call__(
        self, group: RolloutGroup, rewards: Sequence[float | None], /, **options: Any
    ) -> Sequence[float | None]: ...


class Reranker(Protocol):
    """What to ask, how to read the answer, how to order a list with it. Training uses the first two, inference all three.

    A protocol that scores choices, stops early or reads log-probabilities also has `request(listing) -> Request` and
    `read(answer, n) -> Reading`; without them a request is the prompt alone, and a reading is `parse(answer.text, n)`.
    """

    def prompt(self, listing: CandidateList) -> Messages: ...
    def parse(self, text: str, n: int) -> Reading: ...
    def order(self, listing: CandidateList) -> Steps: ...


def request_of(reranker: Reranker, listing: CandidateList, *, sample: int = 0) -> Request:
    """What `reranker` asks about `listing`; the request says what it shows."""
    own = getattr(reranker, "request", None)
    if own is None:
        return Request(reranker.prompt(listing), sample=sample, shown=listing)
    made: Request = own(listing)
    if made.shown is listing and made.sample == sample:
        return made
    return replace(made, shown=listing, sample=sample)


def reading_of(reranker: Reranker, answer: Answer, n: int) -> Reading:
    """How `reranker` reads an answer about n candidates."""
    own = getattr(reranker, "read", None)
    reading: Reading = reranker.parse(answer.text, n) if own is None else own(answer, n)
    return reading


class Retriever(Protocol):
    """A first stage: one CandidateList per query, best first, at most k candidates each."""

    def search(self, queries: Sequence[Query], k: int) -> list[CandidateList]: ...


OnAnswer = Callable[[int, Answer], None]
"""Told (index of the request, its answer) as soon as an answer is there, so that it can be stored and counted."""


class Engine(Protocol):
    """Answers requests, in order. What wraps an engine (ledger, journal) is an engine.

    Optional: `fingerprint` (str, what decides the answers besides the request; a journal needs it), `clip` (text, max_tokens)
    -> text (rerankers cut with it), `concurrent` (int > 1: `generate` may be called from so many threads at a time),
    `tokenizer` and `chat_template_kwargs` (for the fingerprint of the tokens that prompts are spelled in).

    Optional too, and used by `drive`; `Journal` and `Ledger` have them:
    recall(requests) -> {request.key: Answer}: those of which the answer is known without asking.
    also_asked(requests): these were not sent, because equal ones were or the answer was remembered.
    reserve(requests) -> bool: True when all of these may be sent; asked before they are. False: not now, or never again.
    release(requests): these were reserved and will not be answered.
    stopped_by: str, the limit that `reserve` is stopped by, in words.
    chain(length): an ordering has ended, after so many rounds of requests that waited for one another.
    """

    def generate(self, requests: Sequence[Request], on_answer: OnAnswer | None = None) -> list[Answer]: ...


F = TypeVar("F", bound=Callable[..., Any])


@overload
def over_group(function: F) -> F: ...
@overload
def over_group(*, shapes: bool = False) -> Callable[[F], F]: ...
def over_group(function: F | None = None, *, shapes: bool = False) -> F | Callable[[F], F]:
    """Mark a reward that compares the rollouts of one prompt; `shapes=True` marks a shaper. The function stays itself."""

    def mark(marked: F) -> F:
        marked.__over_group__ = True  # type: ignore[attr-defined]
        marked.__shapes__ = shapes  # type: ignore[attr-defined]
        return marked

    return mark if function is None else mark(function)


def is_over_group(function: object) -> bool:
    """True for a function marked `@over_group`."""
    return bool(getattr(function, "__over_group__", False))


def is_shaper(function: object) -> bool:
    """True for a function marked `@over_group(shapes=True)`."""
    return bool(getattr(function, "__shapes__", False))
