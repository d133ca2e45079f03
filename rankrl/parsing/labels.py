"""From the labels that an answer names, or from a score of each, to a Reading."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rankrl.types import ParseReport, Ranking, Reading


def unread(n: int, *, out_of_range: int = 0, reasoning: str = "") -> Reading:
    """The presented order, reported as unreadable."""
    return Reading(
        Ranking(tuple(range(n))), ParseReport(out_of_range=out_of_range, unreadable=True), reasoning=reasoning
    )


def number_at(digits: str) -> int:
    """The position (0-based) that a numeric label names; -1, a position out of range, for one of more than nine digits."""
    return int(digits) - 1 if len(digits) <= 9 else -1


def reading_of_labels(positions: Iterable[int], n: int, *, malformed: bool = False, reasoning: str = "") -> Reading:
    """The order named by `positions` (0-based): the first mention counts, those out of range do not, the others follow."""
    seen: dict[int, None] = {}
    repeated = out_of_range = 0
    for position in positions:
        if not 0 <= position < n:
            out_of_range += 1
        elif position in seen:
            repeated += 1
        else:
            seen[position] = None
    rest = [i for i in range(n) if i not in seen]
    report = ParseReport(
        repeated=repeated,
        out_of_range=out_of_range,
        missing=len(rest),
        unreadable=not seen and n > 0,
        malformed=malformed and bool(seen),
    )
    return Reading(Ranking((*seen, *rest)), report, reasoning=reasoning)


def reading_of_choice(positions: Iterable[int], n: int, *, malformed: bool = False, reasoning: str = "") -> Reading:
    """The first of `positions` (0-based) that is in range is put first, the others follow as presented."""
    out_of_range = 0
    for position in positions:
        if 0 <= position < n:
            order = (position, *(i for i in range(n) if i != position))
            report = ParseReport(out_of_range=out_of_range, malformed=malformed)
            return Reading(Ranking(order), report, reasoning=reasoning)
        out_of_range += 1
    return unread(n, out_of_range=out_of_range, reasoning=reasoning)


def reading_of_scores(scores: Sequence[float | None]) -> Reading:
    """The order of the scores, highest first, equal ones as presented; those without a score (None, NaN) come last.

    missing: how many have none. All without: the presented order, unreadable.
    """
    kept = tuple(None if score is None or math.isnan(score) else float(score) for score in scores)
    scored = [(-score, i) for i, score in enumerate(kept) if score is not None]
    order = (*(i for _, i in sorted(scored)), *(i for i, score in enumerate(kept) if score is None))
    report = ParseReport(missing=len(kept) - len(scored), unreadable=bool(kept) and not scored)
    return Reading(Ranking(order), report, scores=kept)


def softmax(logits: Sequence[float | None]) -> tuple[float | None, ...]:
    """exp(x) over the sum of exp(x); None stays None and has no share."""
    known = [x for x in logits if x is not None]
    highest = max(known, default=0.0)
    if not math.isfinite(highest):  # -inf everywhere, or +inf somewhere: the highest share what there is
        shares = [x if x is None else float(x == highest) for x in logits]
    else:
        shares = [x if x is None else math.exp(x - highest) for x in logits]
    total = sum(x for x in shares if x is not None)
    return tuple(x if x is None else x / total for x in shares)
