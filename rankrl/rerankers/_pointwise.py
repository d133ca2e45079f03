"""What protocols that judge one document at a time share: room for the two texts, scores of two choices, second steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rankrl.errors import ConfigError
from rankrl.rerankers import _text
from rankrl.rerankers._templates import Passage
from rankrl.types import Candidate, CandidateList, Message, Messages, ParseReport, Query, Ranking, Reading

SHARE = 0.75
"""The part of the room for query and document that the query can take."""

_CERTAIN = -1e-12
"""The largest log-probability that leaves something for others: float arithmetic rounds certainty to 0."""


def pointed(score: float | None, n: int, report: ParseReport | None = None, reasoning: str = "") -> Reading:
    """The reading of an answer about the first of n candidates; the others, if any, keep their places without a score.

    report: by default clean, or unreadable where there is no score (None, NaN).
    """
    score = None if score is None or math.isnan(score) else score
    scores = (score, *[None] * (n - 1)) if n else ()
    made = ParseReport(unreadable=score is None) if report is None else report
    return Reading(Ranking(tuple(range(n))), made, scores, reasoning)


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x), for any x."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def log_odds(yes: float | None, no: float | None, *, missing: float | None = None) -> float | None:
    """yes - no, of two log-probabilities of exclusive continuations; None when neither is known.

    This is the difference of the two logits where both are single tokens, and unlike the probability it does not saturate.
    missing: stands for one that is not known. None: the unknown one is taken as likely as it can be, which makes the
    difference as small as it can be: an engine names the likeliest tokens, so it is not above the known one, and the two
    probabilities sum to 1 at most. Infinite and undefined log-probabilities are not known.
    """
    known_yes, known_no = _finite(yes), _finite(no)
    if missing is not None:
        return (missing if known_yes is None else known_yes) - (missing if known_no is None else known_no)
    if known_yes is not None and known_no is not None:
        return known_yes - known_no
    if known_yes is not None:
        return known_yes - most_left(known_yes)
    return None if known_no is None else most_left(known_no) - known_no


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def most_left(other: float) -> float:
    """The largest log-probability of a continuation that is not above `other` and shares 1 with it."""
    return min(other, math.log(-math.expm1(min(other, _CERTAIN))))


def fitted(listing: CandidateList, clip: _text.Clip, most: int, *, taken: str = "") -> tuple[str, Passage]:
    """The query and the first document, so that together with `taken` they have at most `most` tokens.

    The query (with `taken`, such as an instruction, which is never cut) keeps up to three quarters; the document is what is cut.
    """
    used = _length(clip(taken, most), clip, most) if taken else 0
    query = _text.query(listing, clip, max(1, int(SHARE * most) - used))
    (document,) = _text.passages(listing.pick([0]), clip, most)
    if _bytes(query) + _bytes(document.text) + used > most:
        room = max(1, most - used - _length(query, clip, most))
        (document,) = _text.passages(listing.pick([0]), clip, room)
    return query, document


def _bytes(text: str) -> int:
    """A bound of the number of tokens: no tokenizer makes more tokens than bytes, the mark of a beginning aside."""
    return len(text.encode("utf-8", "surrogatepass")) + 1 if text else 0


def _length(text: str, clip: _text.Clip, most: int) -> int:
    """How many tokens `text` has by the measure of `clip`: the smallest limit that leaves it whole, at most `most`."""
    low, high = 0, min(most, _bytes(text))
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if clip(text, middle) == text else (middle + 1, high)
    return low


def rescored(ranking: Ranking, score: Callable[[float], float]) -> Ranking:
    """The same order with other scores: those that saturate may tie where the order was made of better ones."""
    if ranking.scores is None:
        return ranking
    return replace(ranking, scores=tuple(None if value is None else score(value) for value in ranking.scores))


def ranked(scores: Sequence[float | None], last: Sequence[bool] | None = None) -> Ranking:
    """Positions by score, best first; ties by position; those without a score, or marked `last`, follow in list order."""
    marked = last or [False] * len(scores)
    after = [value is None or mark for value, mark in zip(scores, marked, strict=True)]
    order = sorted(range(len(scores)), key=lambda i: (after[i], 0.0 if after[i] else -(scores[i] or 0.0), i))
    return Ranking(tuple(order), tuple(scores))


def continued(prompt: Messages, text: str) -> Messages:
    """The prompt with `text` as the beginning of the answer, after what of it the prompt gives already."""
    begun: Message = {"role": "assistant", "content": text}
    if prompt[-1]["role"] != "assistant":
        return [*prompt, begun]
    return [*prompt[:-1], {**prompt[-1], "content": prompt[-1]["content"] + text}]


def two_choices(name: str, found: object, where: str) -> tuple[str, str]:
    """The two continuations that a wording gives as `choices`, the positive one first.

    Raises:
        ConfigError: not two different texts.
    """
    if isinstance(found, (list, tuple)) and len(found) == 2 and all(isinstance(text, str) and text for text in found):
        first, second = found
        if first != second:
            return first, second
    raise ConfigError(f"{name}: choices of template {where!r} must be two different texts, got {found!r}")


def check_texts(name: str, **texts: object) -> None:
    """Refuse fields that are no text.

    Raises:
        ConfigError: what was given.
    """
    for field, value in texts.items():
        if not isinstance(value, str):
            raise ConfigError(f"{name}: {field} must be a text, got {value!r}")


def check_wording(name: str, reranker: Any, shown: int = 1) -> None:
    """Refuse a template that fails where `shown` documents are shown, or says the same whatever they are.

    Raises:
        ConfigError: what is wrong with it.
    """
    tried = []
    for text in ("x", "y"):
        listing = CandidateList(Query("q", "x"), tuple(Candidate(str(i), text) for i in range(shown)))
        try:
            tried.append(reranker.prompt(listing))
        except ConfigError as error:
            raise ConfigError(f"{name}: template {reranker.template!r}, with {shown} shown: {error}") from None
    if tried[0] == tried[1]:
        raise ConfigError(f"{name}: template {reranker.template!r} shows no document: passages are not used in it")
