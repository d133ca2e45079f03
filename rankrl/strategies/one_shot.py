"""One prompt over the whole list."""

from __future__ import annotations

from rankrl.contracts import Reranker, Steps, reading_of, request_of
from rankrl.errors import OutOfBudget
from rankrl.strategies._common import first_stage
from rankrl.types import CandidateList, Ranking


def one_shot(reranker: Reranker, listing: CandidateList) -> Steps:
    """The order read from one prompt over the whole list."""
    if len(listing) < 2:
        return first_stage(len(listing))
    try:
        (answer,) = yield [request_of(reranker, listing)]
    except OutOfBudget:
        return first_stage(len(listing))
    reading = reading_of(reranker, answer, len(listing))
    return Ranking(reading.ranking.order, reading.scores)
