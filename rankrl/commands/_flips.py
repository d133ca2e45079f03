"""What `compare --flips` shows: the queries that got worse, with texts where there is a collection."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl.commands import _runs
from rankrl.commands._outputs import columns
from rankrl.comparison import flips, worse
from rankrl.errors import ConfigError
from rankrl.types import Qrels, Run

if TYPE_CHECKING:
    from rankrl.comparison import Comparison, Difference, Flip, Move

_MOVES = 5  # documents of a query that the table shows
_SNIPPET = 100  # characters of a document in JSON
_LEAST = 10  # characters that are worth showing


@dataclass(frozen=True, slots=True)
class Flips:
    """The flips of each difference, () when they were not asked for, and texts for them where there is a collection."""

    by_difference: Sequence[tuple[Difference, Sequence[Flip]]] = ()
    queries: Mapping[str, str] | None = None
    corpus: Mapping[str, Any] | None = None

    def query(self, qid: str) -> str:
        """The query's text, "" where it is not known."""
        return "" if self.queries is None else _one_line(self.queries.get(qid, ""))

    def snippet(self, docid: str, *, characters: int) -> str:
        """The start of a document's title, or of its text where it has none; "" where it is not known."""
        document = None if self.corpus is None else self.corpus.get(docid)
        return "" if document is None else _cut(_one_line(document.title or document.text), characters)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options about flips."""
    parser.add_argument(
        "--flips",
        type=int,
        metavar="N",
        help="list the N queries that got worst, with the documents that moved (in JSON: all queries that got worse)",
    )
    parser.add_argument(
        "--flip-threshold",
        type=float,
        default=0.0,
        metavar="X",
        help="a query got worse when it lost more than X (default: any loss)",
    )


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse options that make no sense, before anything is read."""
    if args.flips is None:
        if args.flip_threshold:
            raise ConfigError("--flip-threshold belongs to --flips N")
        return
    if args.flips < 1:
        raise ConfigError(f"--flips must be at least 1, got {args.flips}")
    if not args.flip_threshold >= 0.0:
        raise ConfigError(f"--flip-threshold must be a number from 0, got {args.flip_threshold}")
    if args.format not in ("table", "json"):
        raise ConfigError(f"--flips is written in the formats table and json, not in {args.format}")
    for path in [args.baseline, *args.runs]:
        if Path(path).exists() and not Path(path).is_file():
            raise ConfigError(f"--flips reads the runs twice, and {path} is not a file; write it to one first")


def found(comparison: Comparison, qrels: Qrels, files: Sequence[_runs.RunFile], args: argparse.Namespace) -> Flips:
    """The flips of every difference; of the runs, which are read a second time, only the queries that got worse are held."""
    if args.flips is None:
        return Flips()
    lost = [worse(comparison, d, threshold=args.flip_threshold) for d in comparison.differences]
    wanted = {qid for qids in lost for qid in qids}
    again = [_runs.RunFile(file.name, file.path, file.format, file.exclusions) for file in files]
    runs: dict[str, Run] = {
        file.name: {qid: scores for qid, scores in file.results() if qid in wanted} for file in again
    }
    moves = None if args.format == "json" else _MOVES
    by_difference = [
        (d, flips(comparison, d, qrels, runs, threshold=args.flip_threshold, moves=moves))
        for d in comparison.differences
    ]
    if args.collection is None or not wanted:
        return Flips(by_difference)
    from retrieval.collections import load_collection

    collection = load_collection(args.collection)
    queries = {query.qid: query.text for query in collection.queries(args.split or "test")}
    return Flips(by_difference, queries, collection.corpus)


def lines(flips: Flips, args: argparse.Namespace) -> Iterator[str]:
    """The text for a terminal: for each difference the worst queries, and what moved in them."""
    width = columns(args.output) or 80
    for d, all_ in flips.by_difference:
        lost = f"lost more than {args.flip_threshold:g}" if args.flip_threshold else "got worse"
        shown = "" if len(all_) <= args.flips else f"; the worst {args.flips}"
        topics = d.wins + d.ties + d.losses
        yield f"\n{d.measure}, {d.baseline} -> {d.system}: {len(all_)} of {topics} queries {lost}{shown}\n"
        for flip in all_[: args.flips]:
            line = f"{_one_line(flip.qid)}  {flip.before:.4f} -> {flip.after:.4f}  {flips.query(flip.qid)}"
            yield _cut(line.rstrip(), width) + "\n"
            yield from _move_lines(flip, flips, width)


def _move_lines(flip: Flip, flips: Flips, width: int) -> Iterator[str]:
    docids = [_one_line(move.docid) for move in flip.moves]
    longest = max(map(len, docids), default=0)
    for move, docid in zip(flip.moves, docids, strict=True):
        line = f"  grade {move.grade:>2}  {_rank(move.before):>5} -> {_rank(move.after):<5}  {docid.ljust(longest)}"
        room = width - len(line) - 2
        snippet = flips.snippet(move.docid, characters=room) if room >= _LEAST else ""
        yield f"{line}  {snippet}".rstrip() + "\n"
    if flip.unjudged_before != flip.unjudged_after:
        within = f"the first {flip.depth}" if flip.depth is not None else "the list"
        yield f"  without judgement in {within}: {flip.unjudged_before} -> {flip.unjudged_after}\n"


def _rank(rank: int | None) -> str:
    return "-" if rank is None else str(rank)


def records(flips: Flips) -> list[dict[str, Any]]:
    """The flips for JSON, with the names of what was compared, and texts where they are known."""
    return [
        {"measure": d.measure, "baseline": d.baseline, "system": d.system, **_record(flip, flips)}
        for d, all_ in flips.by_difference
        for flip in all_
    ]


def _record(flip: Flip, flips: Flips) -> dict[str, Any]:
    def moved(move: Move) -> dict[str, Any]:
        known = {} if flips.corpus is None else {"snippet": flips.snippet(move.docid, characters=_SNIPPET)}
        return {**asdict(move), **known}

    text = {} if flips.queries is None else {"text": flips.query(flip.qid)}
    return {**asdict(flip), "drop": flip.drop, **text, "moves": [moved(move) for move in flip.moves]}


def _one_line(text: str) -> str:
    """The text without line breaks and without the control characters that a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"
