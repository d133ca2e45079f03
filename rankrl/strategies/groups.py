"""Groups drawn at random, whose members are scored beside each other."""

from __future__ import annotations

import math

from rankrl.contracts import Reranker, Steps, reading_of
from rankrl.errors import ConfigError, OutOfBudget
from rankrl.strategies._common import by_score, check_counts, drawn_orders, first_stage, requests_of
from rankrl.types import CandidateList


def groups(
    reranker: Reranker,
    listing: CandidateList,
    *,
    size: int = 20,
    rounds: int = 1,
    seed: int = 929,
    interval: int | None = None,
) -> Steps:
    """All candidates by the mean of the scores that they got; all rounds in one batch of rounds * ceil(N / size) prompts.

    Each round shuffles the list anew, as (seed, qid, round) say, and cuts it into groups of `size`; a list with fewer orders
    than rounds is asked about each of them equally often. interval: a group begins every `interval` candidates of the
    shuffled list, until one reaches its end; below `size` the groups overlap.
    A candidate that a reading does not score (None, NaN), and everything in an answer that could not be read, adds nothing
    to the mean; a candidate that never got a score follows after the others in first-stage order.

    GroupRank (arXiv:2511.11653); deviation: a failed group is no observation, where the published code scores all of it 0.
    """
    interval = size if interval is None else interval
    check_counts(size=size, rounds=rounds, interval=interval)
    if interval > size:
        raise ConfigError(f"interval={interval} is more than size={size}: candidates in between would never be shown")
    n = len(listing)
    if n == 0:
        return first_stage(0)
    shown = []
    for shuffled in drawn_orders(range(n), rounds, f"{seed}:{listing.query.qid}"):
        shown += [shuffled[start : start + size] for start in starts(n, size=size, interval=interval)]
    try:
        answers = yield requests_of(reranker, listing, shown)
    except OutOfBudget:
        return first_stage(n)
    given: list[list[float]] = [[] for _ in range(n)]
    for positions, answer in zip(shown, answers, strict=True):
        reading = reading_of(reranker, answer, len(positions))
        if reading.scores is None or reading.report.unreadable:
            continue
        for position, score in zip(positions, reading.scores, strict=True):
            if score is not None and not math.isnan(score):
                given[position].append(score)
    return by_score([math.fsum(scores) / len(scores) if scores else None for scores in given])


def starts(n: int, *, size: int, interval: int) -> range:
    """Where the groups of one round over n candidates begin: ceil((n - size) / interval) + 1 of them, one for n <= size."""
    return range(0, max(n - size, 0) + interval, interval) if n else range(0)
