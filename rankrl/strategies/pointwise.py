"""One prompt per candidate."""

from __future__ import annotations

from rankrl.contracts import Reranker, Steps, reading_of, request_of
from rankrl.errors import OutOfBudget
from rankrl.strategies._common import by_score, first_stage
from rankrl.types import CandidateList


def pointwise(reranker: Reranker, listing: CandidateList) -> Steps:
    """All candidates by the score that each got alone; N prompts in one batch, which a list of one candidate asks too.

    The score is what the reading gives to its only candidate. Equal scores keep first-stage order; a candidate without a
    score (None, NaN) follows after those that have one, in first-stage order.
    """
    n = len(listing)
    if n == 0:
        return first_stage(0)
    try:
        answers = yield [request_of(reranker, listing.pick([i])) for i in range(n)]
    except OutOfBudget:
        return first_stage(n)
    readings = [reading_of(reranker, answer, 1) for answer in answers]
    return by_score([reading.scores[0] if reading.scores else None for reading in readings])
