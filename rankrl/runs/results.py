"""Results on their way from a file to `{docid: score}`: pieces of topics become topics, checked and counted."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from rankrl.errors import DataError
from rankrl.runs.text import shortened

_NUMBERS = [str(number) for number in range(1, 10_001)]
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Piece:
    """Results of one topic that stand together in a file: docids_N, scores_N, and where they stand.

    ranks_N: the rank column as it is written, or None where a format has none. lines_N: line numbers; where there are
    no lines, what else tells the place, such as "object 3" or the number of the result.
    """

    qid: str
    docids_N: Sequence[str]
    scores_N: Sequence[float]
    ranks_N: Sequence[str] | None
    lines_N: Sequence[int | str]


@dataclass(slots=True)
class RunNotes:
    """What was noticed while a run was read; filled by the reader as it goes, complete at the end.

    format: what the file was read as. topics: how many it has. returning: topics that come back after others, for which the
    file was read whole. contradicting: topics whose rank column puts a document before another that has a higher score;
    the scores decide. first_contradiction: the first of them, with file and line.
    unended: True where the last line has no line end, and what is left of a cut line could be read: in tsv, and in trec where
    docids hold spaces.
    """

    format: str = ""
    topics: int = 0
    returning: int = 0
    contradicting: int = 0
    first_contradiction: str = ""
    unended: bool = False


class ReturningTopicError(Exception):
    """A topic comes back after others: what was given out of it was not all of it."""


@dataclass(slots=True)
class _Topic:
    """The pieces of one topic, joined."""

    qid: str
    docids_N: list[str] = field(default_factory=list)
    scores_N: list[float] = field(default_factory=list)
    ranks_N: list[str] = field(default_factory=list)
    lines: list[Sequence[int | str]] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        self.docids_N += piece.docids_N
        self.scores_N += piece.scores_N
        if piece.ranks_N is not None:
            self.ranks_N += piece.ranks_N
        self.lines.append(piece.lines_N)

    def line(self, position: int) -> int | str:
        for lines_N in self.lines:
            if position < len(lines_N):
                return lines_N[position]
            position -= len(lines_N)
        raise IndexError(position)

    def scores(self, source: str, notes: RunNotes) -> dict[str, float]:
        """docid -> score.

        Raises:
            DataError: a score that is not finite, or a docid twice.
        """
        if not math.isfinite(sum(self.scores_N)):  # one that is not makes the sum so; a large sum may be so without
            for position, score in enumerate(self.scores_N):
                if not math.isfinite(score):
                    where = f"{source}:{self.line(position)}"
                    docid = self.docids_N[position]
                    raise DataError(
                        f"{where}: the score of document {shortened(docid)} is {score}; scores must be finite"
                    )
        found = dict(zip(self.docids_N, self.scores_N, strict=True))
        if len(found) < len(self.docids_N):
            seen: set[str] = set()
            for position, docid in enumerate(self.docids_N):
                if docid in seen:
                    where = f"{source}:{self.line(position)}"
                    raise DataError(
                        f"{where}: document {shortened(docid)} is listed twice for topic {shortened(self.qid)}; keep one of them"
                    )
                seen.add(docid)
        notes.topics += 1
        if len(self.ranks_N) == len(self.docids_N) and (wrong := contradiction(self.ranks_N, self.scores_N)):
            notes.contradicting += 1
            if not notes.first_contradiction:
                notes.first_contradiction = self._described(*wrong, source)
        return found

    def _described(self, upper: int, lower: int, source: str) -> str:
        high, low = self.docids_N[upper], self.docids_N[lower]
        return (
            f"{source}:{self.line(lower)}: {shortened(low)} has rank {self.ranks_N[lower]} and score "
            f"{self.scores_N[lower]:g}, but {shortened(high)} has rank {self.ranks_N[upper]} and score {self.scores_N[upper]:g}"
        )


def counts_up(ranks_N: Sequence[str]) -> bool:
    """True for 1, 2, 3, …; False for anything else, and for more than 10,000 of them."""
    return list(ranks_N) == _NUMBERS[: len(ranks_N)]


def contradiction(ranks_N: Sequence[str], scores_N: Sequence[float]) -> tuple[int, int] | None:
    """(upper, lower): two positions of which the first has the better rank and the lower score, or None.

    Ranks that are no integers say nothing, and neither do equal ranks or equal scores.
    """
    if counts_up(ranks_N) and list(scores_N) == sorted(scores_N, reverse=True):
        return None
    if not all(map(_INTEGER.fullmatch, ranks_N)):
        return None
    ranks = [int(rank) for rank in ranks_N]
    least: int | None = None  # the position of the lowest score among the better ranks
    before: list[int] = []
    for position in sorted(range(len(ranks)), key=lambda i: ranks[i]):
        if before and ranks[before[0]] < ranks[position]:
            least = min(before if least is None else [least, *before], key=lambda i: scores_N[i])
            before = []
        if least is not None and scores_N[position] > scores_N[least]:
            return least, position
        before.append(position)
    return None


def topics(pieces: Iterable[Piece], source: str, notes: RunNotes) -> Iterator[tuple[str, dict[str, float]]]:
    """(qid, docid -> score) topic by topic; only one topic is held at a time.

    Raises:
        ReturningTopicError: a topic comes back after it was given out.
        DataError: as `_Topic.scores`.
    """
    topic: _Topic | None = None
    done: set[str] = set()
    for piece in pieces:
        if topic is None or piece.qid != topic.qid:
            if topic is not None:
                yield topic.qid, topic.scores(source, notes)
                done.add(topic.qid)
            if piece.qid in done:
                raise ReturningTopicError
            topic = _Topic(piece.qid)
        topic.add(piece)
    if topic is not None:
        yield topic.qid, topic.scores(source, notes)


def gathered(pieces: Iterable[Piece], source: str, notes: RunNotes) -> dict[str, dict[str, float]]:
    """qid -> docid -> score of a whole file, whose topics may come in any order; as `topics` otherwise."""
    found: dict[str, _Topic] = {}
    returning: set[str] = set()
    last = ""
    for piece in pieces:
        if piece.qid in found and piece.qid != last:
            returning.add(piece.qid)
        last = piece.qid
        if piece.ranks_N is not None:  # all topics are held at once, and their ranks are the same few texts
            piece = replace(piece, ranks_N=list(map(sys.intern, piece.ranks_N)))
        found.setdefault(piece.qid, _Topic(piece.qid)).add(piece)
    notes.returning = len(returning)
    return {qid: topic.scores(source, notes) for qid, topic in found.items()}
