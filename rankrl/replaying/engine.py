"""Orderings answered from a recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Literal

from rankrl.contracts import Reranker, Steps, reading_of
from rankrl.errors import ConfigError, DataError, OutOfBudget
from rankrl.replaying.recordings import Recording, described
from rankrl.replaying.tally import Replay
from rankrl.types import Answer, Candidate, CandidateList, Query, Ranking, Reading, Request

Missing = Literal["error", "first_stage", "stop"]
MISSING: tuple[Missing, ...] = ("error", "first_stage", "stop")
"""What becomes of a request that was never recorded: refused; read as unreadable; or the end of the topic's budget."""

UNRECORDED = "unrecorded"
"""The finish reason of an answer that no log has."""


def textless(candidates: Mapping[str, Sequence[tuple[str, float]]]) -> list[CandidateList]:
    """Lists of candidates without their texts, from qid -> (docid, score) in first-stage order.

    Query and texts are single words that differ, so that no two prompts are equal that were not.
    """
    return [
        CandidateList(
            Query(qid, f"query{number}"),
            tuple(Candidate(docid, f"passage{i}", score=score) for i, (docid, score) in enumerate(listed)),
        )
        for number, (qid, listed) in enumerate(candidates.items())
    ]


def replay_orders(
    reranker: Reranker,
    listings: Sequence[CandidateList],
    recording: Recording,
    *,
    order: Callable[[CandidateList], Steps] | None = None,
    missing: Missing = "error",
    on_call: Callable[[Request, Answer, Reading], None] | None = None,
) -> Replay:
    """What the reranker's own ordering makes of the recorded answers, list by list.

    order: the ordering, `reranker.order` by default. missing: see `MISSING`; "stop" throws `OutOfBudget` into an ordering at
    the first request without an answer, as a spent budget does, so that a run that was stopped comes out as it was.
    on_call is told every request with its answer and reading.

    Raises:
        DataError: requests without an answer (their number and the first of them), when `missing` is "error".
    """
    if missing not in MISSING:
        raise ConfigError(f"missing is {missing!r}; it can be {', '.join(map(repr, MISSING))}")
    replay, lacking = Replay(), dict[str, list[str]]()
    for listing in listings:
        steps = (order or reranker.order)(listing)
        ranking = _replayed(steps, reranker, recording, replay, missing, lacking, on_call)
        replay.orders[listing.query.qid] = list(listing.docids) if ranking is None else ranking.docids(listing)
    if lacking and missing == "error":
        raise DataError(_lacking(lacking, replay.tally.unrecorded))
    return replay


def _replayed(
    steps: Steps,
    reranker: Reranker,
    recording: Recording,
    replay: Replay,
    missing: Missing,
    lacking: dict[str, list[str]],
    on_call: Callable[[Request, Answer, Reading], None] | None,
) -> Ranking | None:
    """The ranking of one ordering; None where it has none, because it was stopped or could not go on."""
    with suppress(OutOfBudget):
        try:
            asked = next(steps)
            while True:
                found = [recording.answer(request) for request in asked]
                unknown = [request for request, answer in zip(asked, found, strict=True) if answer is None]
                replay.tally.unrecorded += len(unknown)
                if unknown and missing == "error":
                    lacking.setdefault(_qid(unknown[0]), []).extend(map(_described, unknown))
                    steps.close()
                    return None
                if unknown and missing == "stop":
                    asked = steps.throw(OutOfBudget("the log ends here"))
                    continue
                answers = [_or_unreadable(request, answer) for request, answer in zip(asked, found, strict=True)]
                for request, answer in zip(asked, answers, strict=True):
                    _tell(reranker, request, answer, replay, on_call)
                asked = steps.send(answers)
        except StopIteration as stop:
            ranking: Ranking = stop.value
            return ranking
    return None


def _or_unreadable(request: Request, answer: Answer | None) -> Answer:
    if answer is not None:
        return answer
    return Answer("", finish_reason=UNRECORDED, scores=(None,) * len(request.choices))


def _tell(
    reranker: Reranker,
    request: Request,
    answer: Answer,
    replay: Replay,
    on_call: Callable[[Request, Answer, Reading], None] | None,
) -> None:
    """Count an answer that was recorded, and pass every one on."""
    shown = request.shown
    if shown is None:  # `Recording.answer` has refused it
        return
    reading = reading_of(reranker, answer, len(shown))
    if answer.finish_reason != UNRECORDED:
        replay.tally.add(reading.report, truncated=answer.finish_reason == "length")
    if on_call is not None:
        on_call(request, answer, reading)


def _qid(request: Request) -> str:
    return "" if request.shown is None else request.shown.query.qid


def _described(request: Request) -> str:
    docids = () if request.shown is None else request.shown.docids
    return described((_qid(request), docids, request.choices, request.sample))


def _lacking(lacking: Mapping[str, Sequence[str]], requests: int) -> str:
    first = [text for texts in lacking.values() for text in texts][:3]
    return (
        f"{requests} requests of {len(lacking)} topics were never recorded ({'; '.join(first)}{'; …' * (requests > 3)}); give "
        "the first stage, depth, reranker and options that the log was made with, or --missing first_stage to read them as "
        "unreadable, or --missing stop to end the topic there"
    )
