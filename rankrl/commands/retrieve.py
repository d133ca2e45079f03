"""Find candidates for the topics of a collection with a first stage, and write them as a TREC run.

Example:
    rankrl retrieve bm25 --collection scifact --split test --k 100 -o runs/bm25.trec
"""

from __future__ import annotations

import argparse
import inspect
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl.errors import ConfigError

if TYPE_CHECKING:
    from rankrl.contracts import Retriever
    from rankrl.types import CandidateList, Query, Run

_BATCH = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("retriever", help="a name from `rankrl list retrievers`, or package.module:Class")
    parser.add_argument(
        "--collection", required=True, help="a name from `rankrl list collections`, or a folder in BEIR layout"
    )
    parser.add_argument(
        "--split", default="test", help="whose topics; 'all' takes every query, judged or not (default: %(default)s)"
    )
    parser.add_argument("--k", type=int, default=100, help="documents per topic, at most (default: %(default)s)")
    parser.add_argument("--k1", type=float, help="BM25: how slowly repeated terms stop to count (default: 0.9)")
    parser.add_argument("--b", type=float, help="BM25: how much long documents are held back, 0 to 1 (default: 0.4)")
    parser.add_argument("-o", "--output", default="-", metavar="RUN", help="the run file to write (default: stdout)")


def run(args: argparse.Namespace) -> int:
    if args.k < 1:
        raise ConfigError(f"--k is {args.k}; it must be at least 1")
    from rankrl.lookup import lookup, shelf

    part = lookup(args.retriever, "retrievers")
    shelf("retrievers")  # a part named in full still needs our collections, not a namesake's
    from retrieval.collections import load_collection

    collection = load_collection(args.collection)
    every = args.split == "all" and "all" not in collection.splits
    queries = collection.queries(None if every else args.split)

    started_s = time.monotonic()
    retriever = _built(args.retriever, part, collection, {"k1": args.k1, "b": args.b})
    lists = list(_searched(retriever, queries, args.k))
    took_s = time.monotonic() - started_s

    found = {listing.query.qid: {c.docid: _score(c.score) for c in listing.candidates} for listing in lists}
    _write(args.output, found, tag=args.retriever)
    empty = sum(not len(listing) for listing in lists)
    where = "stdout" if args.output == "-" else args.output
    print(
        f"{args.retriever} over {collection.name} ({args.split}): {len(lists)} topics, {empty} with nothing found, "
        f"{sum(map(len, lists))} documents listed, {took_s:.1f} s, written to {where}",
        file=sys.stderr,
    )
    return 0


def _built(name: str, part: Any, collection: Any, given: dict[str, Any]) -> Retriever:
    """The retriever over a collection, with the options that were given."""
    make = getattr(part, "from_collection", None)
    if make is None:
        raise ConfigError(
            f"{name!r} is not a retriever that can be built here: it has no from_collection(collection, …)"
        )
    options = {option: value for option, value in given.items() if value is not None}
    parameters = inspect.signature(make).parameters
    for option in options:
        if option not in parameters:
            raise ConfigError(f"the retriever {name!r} takes no --{option}; leave it out")
    retriever: Retriever = make(collection, **options)
    return retriever


def _searched(retriever: Retriever, queries: Sequence[Query], k: int) -> Iterator[CandidateList]:
    """The lists of all queries, with a progress bar where somebody may be watching."""
    from rich.console import Console
    from rich.progress import track

    starts = range(0, len(queries), _BATCH)
    console = Console(stderr=True)
    for start in track(starts, "searching", console=console, transient=True, disable=not sys.stderr.isatty()):
        yield from retriever.search(queries[start : start + _BATCH], k)


def _score(score: float | None) -> float:
    if score is None:
        raise ConfigError("the retriever gave a document without a score; a run needs one for each")
    return score


def _write(output: str, run: Run, *, tag: str) -> None:
    from rankrl.runs import write_run

    if output != "-":
        write_run(output, run, tag=tag)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        write_run(path, run, tag=tag)
        with path.open(encoding="utf-8") as file:
            shutil.copyfileobj(file, sys.stdout)
    sys.stdout.flush()
