"""Find candidates for queries with a first stage, and write them as a TREC run with a description beside it.

  rankrl retrieve bm25 --collection scifact --split test --k 100 -o runs/bm25.trec
  rankrl retrieve bm25 --collection scifact --queries mine.tsv --rm3 -o runs/mine.trec

Each retriever has options of its own: `rankrl retrieve bm25 --help` shows them, `rankrl list retrievers` the retrievers.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rankrl.commands._options import add_options, given_options, refuse_unknown
from rankrl.commands._outputs import STDOUT, check_output
from rankrl.commands._queries import asked, own_queries
from rankrl.commands._runs import deliver_run, say
from rankrl.errors import ConfigError

if TYPE_CHECKING:
    from rankrl.contracts import Retriever
    from rankrl.types import CandidateList, Query

_BATCH = 128


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("retriever", help="a name from `rankrl list retrievers`, or package.module:Class")
    parser.add_argument(
        "--collection",
        required=True,
        help="what is searched: see `rankrl list collections`, or a folder in BEIR layout",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--split", help="whose topics; 'all' takes every query, judged or not (default: test)")
    which.add_argument(
        "--queries", metavar="FILE", help="queries of your own: lines of qid, tab, text, or of JSON (.gz, .xz)"
    )
    parser.add_argument("--k", type=int, default=100, help="documents per query, at most (default: %(default)s)")
    parser.add_argument("-o", "--output", default=STDOUT, metavar="RUN", help="the run file to write (default: stdout)")


def add_named_arguments(parser: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Add the options of the retriever that the command line names, and refuse those that it does not have."""
    name = _named(argv)
    if name is None:
        return
    from rankrl.lookup import lookup

    add_options(parser, name, _maker(name, lookup(name, "retrievers")))
    refuse_unknown(parser, argv, f"rankrl retrieve {name}")


def _named(argv: Sequence[str]) -> str | None:
    """The retriever that a command line names; None where it names none."""
    if argv and not argv[0].startswith("-"):
        return argv[0]
    probe = _Probe(add_help=False)
    add_arguments(probe)
    for action in probe._actions:
        action.required = action.dest == "retriever"
    try:
        known, left = probe.parse_known_args(argv)
    except _UnnamedError:
        return None
    from rankrl.lookup import names

    # before the name, the value of an option that only the retriever has looks like a name
    shelf = set(names("retrievers"))
    return next((word for word in (known.retriever, *left) if word in shelf or ":" in word), str(known.retriever))


class _UnnamedError(Exception):
    """The command line names no retriever."""


class _Probe(argparse.ArgumentParser):
    """A parser that reads a command line without ending the process."""

    def error(self, message: str) -> NoReturn:
        raise _UnnamedError(message)


def run(args: argparse.Namespace) -> int:
    if args.k < 1:
        raise ConfigError(f"--k is {args.k}; it must be at least 1")
    if args.output != STDOUT:
        check_output("-o", args.output, reads=_files_read(args))
    from rankrl.lookup import lookup, shelf
    from rankrl.runs.trec import check_qid

    part = lookup(args.retriever, "retrievers")
    shelf("retrievers")  # a part named in full still needs our collections, not a namesake's
    from retrieval.collections import load_collection

    collection = load_collection(args.collection)
    queries, split, exclusions = asked(args, collection)
    for query in queries:  # before the search rather than after it
        check_qid(query.qid)

    started_s = time.monotonic()
    retriever: Retriever = _maker(args.retriever, part)(collection, **given_options(args))
    built_s = time.monotonic() - started_s
    lists = list(_searched(retriever, queries, args.k, exclusions))
    took_s = time.monotonic() - started_s

    found = {listing.query.qid: {c.docid: _score(c.score) for c in listing.candidates} for listing in lists}
    empty = sum(not len(listing) for listing in lists)
    deliver_run(args.output, found, tag=args.retriever)
    if args.output != STDOUT and Path(args.output).is_file():
        from rankrl.provenance import write_provenance

        facts = {
            "collection": collection.facts(split),
            "split": split,
            "queries": own_queries(args.queries),
            "topics": len(lists),
            "empty_topics": empty,
            "k": args.k,
            "retriever": getattr(retriever, "provenance", {"retriever": args.retriever}),
            "seconds": round(took_s, 3),
            "build_seconds": round(built_s, 3),
        }
        write_provenance(args.output, facts)
    where = "stdout" if args.output == STDOUT else args.output
    over = args.queries or args.split or "test"
    print(
        f"{_called(args.retriever, retriever)} over {collection.name} ({over}): {len(lists)} topics, {empty} with nothing "
        f"found, {sum(map(len, lists))} documents listed, {took_s:.1f} s, written to {where}",
        file=sys.stderr,
    )
    say(getattr(retriever, "remarks", list)())
    return 0


def _files_read(args: argparse.Namespace) -> Iterator[str]:
    """The files that the command line names or whose folder it names."""
    if args.queries is not None:
        yield args.queries
    place = Path(args.collection)
    yield from map(str, place.rglob("*") if place.is_dir() else [place])


def _maker(name: str, part: Any) -> Any:
    """The function that builds the retriever over a collection."""
    make = getattr(part, "from_collection", None)
    if make is None:
        raise ConfigError(
            f"{name!r} is not a retriever that can be built here: it has no from_collection(collection, …)"
        )
    return make


def _called(name: str, retriever: Retriever) -> str:
    """The name, with the engine that served where the retriever has several."""
    engine = getattr(retriever, "provenance", {}).get("engine")
    return name if engine is None or engine == name else f"{name} ({engine})"


def _searched(
    retriever: Retriever, queries: Sequence[Query], k: int, exclusions: Mapping[str, frozenset[str]]
) -> Iterator[CandidateList]:
    """The lists of all queries, with a progress bar where somebody may be watching."""
    from rich.console import Console
    from rich.progress import track

    from retrieval.collections import search_without

    starts = range(0, len(queries), _BATCH)
    console = Console(stderr=True)
    for start in track(starts, "searching", console=console, transient=True, disable=not sys.stderr.isatty()):
        yield from search_without(retriever, queries[start : start + _BATCH], k, exclusions)


def _score(score: float | None) -> float:
    if score is None:
        raise ConfigError("the retriever gave a document without a score; a run needs one for each")
    return score
