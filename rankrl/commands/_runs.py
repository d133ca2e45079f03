"""What `evaluate` and `compare` share: the run and qrels arguments, names for runs, tables, where the output goes."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rankrl.commands._tables import FORMATS, best, csv_text, json_text, latex, markdown, table
from rankrl.errors import ConfigError, DataError
from rankrl.types import Qrels, Run

if TYPE_CHECKING:
    from rankrl.evaluation import Evaluation

__all__ = [
    "about",
    "add_output_arguments",
    "add_qrels_arguments",
    "best",
    "chosen_qrels",
    "csv_text",
    "deliver",
    "json_text",
    "latex",
    "markdown",
    "named_runs",
    "remarks",
    "say",
    "table",
]

_SUFFIXES = {".gz", ".xz", ".trec", ".run", ".txt", ".tsv", ".res"}


def add_qrels_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say where the judgements come from, and the seed."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--qrels", metavar="FILE", help="judgements: a TREC qrels file or a BEIR tsv (.gz, .xz)")
    source.add_argument("--collection", metavar="NAME", help="judgements of a bundled collection or a BEIR folder")
    parser.add_argument("--split", metavar="SPLIT", help="the split of the collection (default: test)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the resampling (default: %(default)s)")


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say how and where the result is written."""
    parser.add_argument("--format", choices=FORMATS, default="table", help="(default: %(default)s)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of to standard output")


def chosen_qrels(args: argparse.Namespace) -> Qrels:
    """The judgements that the options ask for."""
    if args.seed < 0:
        raise ConfigError(f"--seed must not be negative, got {args.seed}")
    if args.qrels is not None:
        if args.split is not None:
            raise ConfigError("--split belongs to --collection; a qrels file is one split already")
        from rankrl.runs import read_qrels

        return read_qrels(args.qrels)
    from rankrl.lookup import shelf

    shelf("retrievers")
    from retrieval.collections import load_collection

    return load_collection(args.collection).qrels(args.split or "test")


def named_runs(paths: Sequence[str]) -> dict[str, Run]:
    """Name -> run of the files; the name is the file's, without its folder and endings where that tells them apart."""
    from rankrl.runs import read_run

    if twice := [path for path, count in Counter(paths).items() if count > 1]:
        raise ConfigError(f"the run {twice[0]} is given twice")
    short = [_without_endings(path) for path in paths]
    names = short if len(set(short)) == len(short) else list(paths)
    return {name: read_run(path) for name, path in zip(names, paths, strict=True)}


def _without_endings(path: str) -> str:
    name = Path(path)
    while name.suffix in _SUFFIXES and name.stem:
        name = name.with_suffix("")
    return name.name


def remarks(name: str, evaluation: Evaluation) -> list[str]:
    """What a reader should know about the topics that were counted, one line each."""
    said = []
    if evaluation.missing:
        count, all_ = len(evaluation.missing), len(evaluation.topics)
        said.append(f"{name}: {count} of {all_} topics are not in the run and count as 0{_few(evaluation.missing)}")
    if evaluation.unjudged:
        count = len(evaluation.unjudged)
        said.append(f"{name}: {count} topics of the run have no judgements and are left out{_few(evaluation.unjudged)}")
    if left_out := [qid for qid in evaluation.without_relevant if qid not in set(evaluation.topics)]:
        said.append(f"{name}: {len(left_out)} judged topics have no relevant document and are left out{_few(left_out)}")
    return said


@contextmanager
def about(name: str) -> Iterator[None]:
    """Put the run's name in front of what is refused inside the block."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def _few(qids: Sequence[str]) -> str:
    return f" ({', '.join(qids[:5])}{', …' if len(qids) > 5 else ''})"


def deliver(text: str, output: str | None) -> None:
    """Print the text, or write it whole to the file."""
    if output is None:
        sys.stdout.write(text)
        return
    from rankrl.files import atomic_writer

    with atomic_writer(output) as file:
        file.write(text)
    print(f"wrote {output}", file=sys.stderr)


def say(lines: Iterable[str]) -> None:
    """Print remarks to standard error."""
    for line in lines:
        print(line, file=sys.stderr)
