"""What `evaluate`, `compare` and `report` share: the run and qrels arguments, names for runs, tables, where the output goes."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rankrl.commands._outputs import STDOUT
from rankrl.commands._tables import FORMATS, best, csv_text, json_text, latex, markdown, table
from rankrl.errors import ConfigError, DataError
from rankrl.runs import QRELS_FORMATS, RUN_FORMATS, RunNotes, stream_run, write_run
from rankrl.types import Qrels, Run

if TYPE_CHECKING:
    from rankrl.evaluation import Evaluation

__all__ = [
    "Exclusions",
    "RunFile",
    "about",
    "add_measure_arguments",
    "add_output_arguments",
    "add_qrels_arguments",
    "best",
    "chosen_exclusions",
    "chosen_measures",
    "chosen_qrels",
    "csv_text",
    "deliver",
    "deliver_run",
    "json_text",
    "latex",
    "markdown",
    "names",
    "read_runs",
    "remarks",
    "run_files",
    "say",
    "table",
]

Exclusions = Mapping[str, frozenset[str]]
"""qid -> the documents that must not be returned for it."""

_SUFFIXES = {".gz", ".xz", ".lz4", ".trec", ".run", ".txt", ".tsv", ".res", ".jsonl", ".json", ".parquet"}


def add_qrels_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say where the judgements come from, how runs are read, and the seed."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--qrels", metavar="FILE", help="judgements: TREC, BEIR tsv, JSONL or ranx (.gz, .xz)")
    source.add_argument("--collection", metavar="NAME", help="judgements of a collection: its name, or a folder")
    parser.add_argument("--split", metavar="SPLIT", help="the split of the collection (default: test)")
    parser.add_argument(
        "--run-format", choices=RUN_FORMATS, default="auto", help="what the runs are (default: what they look like)"
    )
    parser.add_argument(
        "--qrels-format", choices=QRELS_FORMATS, default="auto", help="what --qrels is (default: what it looks like)"
    )
    parser.add_argument(
        "--keep-excluded",
        action="store_true",
        help="keep documents that the collection excludes for a topic (default: they are removed before scoring)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the resampling (default: %(default)s)")


def add_measure_arguments(parser: argparse.ArgumentParser, default: Sequence[str]) -> None:
    """The options that say what is measured."""
    parser.add_argument(
        "--metrics",
        "--metric",
        nargs="+",
        metavar="NAME",
        default=list(default),
        help=f"measures, in ir_measures' names (default: {' '.join(default)})",
    )
    parser.add_argument(
        "-l",
        "--relevance-level",
        type=int,
        metavar="N",
        help="a document is relevant from grade N on, for measures that take a level and write none (as trec_eval -l)",
    )


def add_output_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say how and where the result is written."""
    parser.add_argument("--format", choices=FORMATS, default="table", help="(default: %(default)s)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of to standard output")


def chosen_measures(args: argparse.Namespace) -> list[str]:
    """The names of the measures that the options ask for, as ir_measures writes them."""
    from rankrl.measures import at_level, parse_measures

    if args.relevance_level is None:
        return [str(measure) for measure in parse_measures(args.metrics)]
    return at_level(args.metrics, args.relevance_level)


def chosen_qrels(args: argparse.Namespace) -> Qrels:
    """The judgements that the options ask for."""
    if args.seed < 0:
        raise ConfigError(f"--seed must not be negative, got {args.seed}")
    if args.qrels is not None:
        if args.split is not None:
            raise ConfigError("--split belongs to --collection; a qrels file is one split already")
        from rankrl.runs import read_qrels

        return read_qrels(args.qrels, args.qrels_format)
    if args.qrels_format != "auto":
        raise ConfigError("--qrels-format belongs to --qrels; a collection knows its own")
    from rankrl.lookup import shelf

    shelf("retrievers")
    from retrieval.collections import load_collection

    return load_collection(args.collection).qrels(args.split or "test")


def chosen_exclusions(args: argparse.Namespace) -> Exclusions:
    """The documents that the collection excludes, topic by topic; {} with --qrels or --keep-excluded."""
    if args.collection is None or args.keep_excluded:
        return {}
    from retrieval.collections import load_collection

    return load_collection(args.collection).exclusions(args.split or "test", in_corpus=False)


@dataclass(slots=True)
class RunFile:
    """A run on disk, and what was noticed while it was read: `notes`, and qid -> number of `excluded` documents."""

    name: str
    path: str
    format: str
    exclusions: Exclusions
    notes: RunNotes = field(default_factory=RunNotes)
    excluded: dict[str, int] = field(default_factory=dict)

    def results(self) -> Iterator[tuple[str, dict[str, float]]]:
        """(qid, docid -> score) topic by topic, without excluded documents; see `rankrl.runs.stream_run`."""
        for qid, scores in stream_run(self.path, self.format, notes=self.notes):
            without = self.exclusions.get(qid)
            if without and (shut := scores.keys() & without):
                self.excluded[qid] = len(shut)
                scores = {docid: score for docid, score in scores.items() if docid not in shut}
            yield qid, scores

    def remarks(self) -> list[str]:
        """What a reader should know about how the file was read, one line each."""
        notes, said = self.notes, []
        if self.format == "auto" and notes.format in ("msmarco", "tsv"):
            third = "rank, 1 is best" if notes.format == "msmarco" else "score"
            said.append(f"{self.name}: read as {notes.format} (qid, docid, {third}); --run-format says otherwise")
        if notes.contradicting:
            said.append(
                f"{self.name}: in {notes.contradicting} of {notes.topics} topics the rank column contradicts the scores; "
                f"the scores decide, as in trec_eval (first: {notes.first_contradiction})"
            )
        if notes.returning:
            said.append(f"{self.name}: {notes.returning} topics come back after others; their results were joined")
        if notes.unended:
            said.append(f"{self.name}: the last line has no line end; if the file was cut, its last score may be wrong")
        if self.excluded:
            count, topics = sum(self.excluded.values()), len(self.excluded)
            said.append(
                f"{self.name}: {count} documents in {topics} topics are excluded by the collection and were removed "
                "(--keep-excluded keeps them)"
            )
        return said


def run_files(paths: Sequence[str], args: argparse.Namespace) -> list[RunFile]:
    """The runs that the options ask for, named by `names`, nothing read yet."""
    exclusions = chosen_exclusions(args)
    return [RunFile(name, path, args.run_format, exclusions) for name, path in names(paths).items()]


def read_runs(paths: Sequence[str], args: argparse.Namespace) -> tuple[dict[str, Run], list[str]]:
    """(name -> run, remarks): the runs whole, as the options ask for them."""
    files = run_files(paths, args)
    runs: dict[str, Run] = {file.name: dict(file.results()) for file in files}
    return runs, [remark for file in files for remark in file.remarks()]


def names(paths: Sequence[str]) -> dict[str, str]:
    """Name -> path: the name is the file's, without its folder and endings where that tells them apart."""
    if twice := [path for path, count in Counter(paths).items() if count > 1]:
        raise ConfigError(f"the run {twice[0]} is given twice")
    short = [_without_endings(path) for path in paths]
    return dict(zip(short if len(set(short)) == len(short) else paths, paths, strict=True))


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
def about(name: str, path: str | None = None) -> Iterator[None]:
    """Put the run's name in front of what is refused inside the block, unless that names its `path` already."""
    try:
        yield
    except DataError as error:
        if path is not None and path in str(error):
            raise
        raise DataError(f"{name}: {error}") from error


def _few(qids: Sequence[str]) -> str:
    return f" ({', '.join(qids[:5])}{', …' if len(qids) > 5 else ''})"


def deliver(text: str, output: str | None) -> None:
    """Print the text (no file, or "-"), or write it whole to the file."""
    if output is None or output == STDOUT:
        sys.stdout.write(text)
        return
    from rankrl.files import atomic_writer

    with atomic_writer(output) as file:
        file.write(text)
    print(f"wrote {output}", file=sys.stderr)


def deliver_run(output: str, run: Run, *, tag: str) -> None:
    """Write the run, `-` to standard output."""
    if output != "-":
        write_run(output, run, tag=tag)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        write_run(path, run, tag=tag)
        with path.open(encoding="utf-8") as file:
            shutil.copyfileobj(file, sys.stdout)
    sys.stdout.flush()


def say(lines: Iterable[str]) -> None:
    """Print remarks to standard error."""
    for line in lines:
        print(line, file=sys.stderr)
