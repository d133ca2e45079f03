"""What was there to be reranked, as far as a first stage and a log tell."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rankrl.errors import DataError
from rankrl.runs import ranked, strictly_decreasing
from rankrl.types import Run


@dataclass(frozen=True, slots=True)
class Candidates:
    """qid -> docids in first-stage order: `reranked` those that the log is about, `below` those that follow them."""

    reranked: Mapping[str, list[str]]
    below: Mapping[str, list[str]]

    def with_tails(self, orders: Mapping[str, list[str]]) -> Run:
        """A run of the new orders, each followed by what is below; scores strictly decrease."""
        return {qid: strictly_decreasing([*docids, *self.below[qid]]) for qid, docids in orders.items()}


def first_places(first_stage: Run, topics: Collection[str], depth: int) -> Candidates:
    """The first `depth` documents of each topic of the first stage that is among `topics`, in the first stage's order."""
    lists = {qid: ranked(scores) for qid, scores in first_stage.items() if qid in topics}
    return Candidates(
        {qid: docids[:depth] for qid, docids in lists.items()}, {qid: docids[depth:] for qid, docids in lists.items()}
    )


def shown_candidates(
    first_stage: Run,
    shown: Mapping[str, Collection[str]],
    *,
    depth: int | None = None,
    exclusions: Mapping[str, Collection[str]] | None = None,
    topics: Sequence[str] | None = None,
    limit: int | None = None,
) -> Candidates:
    """The candidates of the topics of a log.

    shown: qid -> the documents that the log has shown. depth: how many were reranked; None: down to the last one shown.
    exclusions: qid -> documents that were left out before the cut; None: the document whose id is the topic's, where it would
    be a candidate and was never shown, for that is what `rankrl rerank` leaves out. topics: those that were reranked, in their
    order; None: those that were shown, in the first stage's order. limit: only so many of them.

    Raises:
        DataError: the first stage lacks a topic of the log, or a document that was shown stands below the depth.
    """
    if lacking := [qid for qid in dict.fromkeys([*(topics or ()), *shown]) if qid not in first_stage]:
        raise DataError(
            f"the first stage has no topic {lacking[0]!r} ({len(lacking)} of the log's are not there); "
            "is it the run that was reranked?"
        )
    reranked, below = {}, {}
    for qid in list(topics or filter(shown.__contains__, first_stage))[:limit]:
        seen, listed = set(shown.get(qid, ())), ranked(first_stage[qid])
        unwanted = {qid} - seen if exclusions is None else set(exclusions.get(qid, ()))
        kept = [docid for docid in listed if docid not in unwanted]
        last = max((place for place, docid in enumerate(kept, start=1) if docid in seen), default=0)
        cut = last if depth is None else depth
        if exclusions is None and qid not in listed[:cut]:  # it would not have been a candidate
            kept = listed
        if strange := sorted(seen - set(kept[:cut])):
            raise DataError(
                f"topic {qid!r}: the log shows {strange[0]!r} ({len(strange)} such documents), which is not among the first "
                f"{cut} of the first stage; give the run and the --depth that were reranked"
            )
        reranked[qid], below[qid] = kept[:cut], kept[cut:]
    return Candidates(reranked, below)
