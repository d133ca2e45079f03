"""Write one self-contained HTML page about runs: intervals, per-query differences, moved documents, cost, provenance.

  rankrl report runs/bm25.trec runs/rank_r1.trec --collection scifact --split test -o report.html
  rankrl report a.trec b.trec c.trec --qrels qrels.txt --metrics nDCG@10 AP -o report.html

The first run is the baseline that the others are compared with, as in `rankrl compare`; a single run is described
alone. With --collection the page shows the texts of the queries and of the documents in each run's first --depth;
with --qrels it shows ids. The page loads nothing from anywhere, works without JavaScript as far as its tables go,
and is the same bytes for the same runs, judgements and --date (or SOURCE_DATE_EPOCH).
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl.commands import _runs
from rankrl.commands._outputs import check_output
from rankrl.errors import ConfigError, DataError
from rankrl.measures import DEFAULT_MEASURES

if TYPE_CHECKING:
    from rankrl.report import Content

_LARGE = 20_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run files; the first one is the baseline")
    _runs.add_qrels_arguments(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the page to write")
    _runs.add_measure_arguments(parser, DEFAULT_MEASURES)
    parser.add_argument("--title", help="what stands above the page (default: the collection and the number of runs)")
    parser.add_argument("--date", metavar="YYYY-MM-DD", help="the date on the page (default: today, UTC)")
    parser.add_argument(
        "--depth", type=int, default=20, metavar="K", help="show each run's first K documents (default: %(default)s)"
    )
    parser.add_argument(
        "--queries",
        type=int,
        metavar="N",
        help="show the documents of the N queries that differ most only (default: of all)",
    )
    parser.add_argument(
        "--text-characters", type=int, default=1000, metavar="N", help="where texts are cut (default: %(default)s)"
    )
    parser.add_argument("--no-texts", action="store_true", help="no texts of queries and documents, only their ids")


def run(args: argparse.Namespace) -> int:
    for option in ("depth", "queries", "text_characters"):
        if (value := getattr(args, option)) is not None and value < 1:
            raise ConfigError(f"--{option.replace('_', '-')} is {value}; it must be at least 1")
    check_output("-o", args.output, reads=[*args.runs, *([args.qrels] if args.qrels else [])])
    date = _date(args.date)
    from rankrl.report import Heading, content, page
    from rankrl.report.page import jinja

    jinja()
    measures = _runs.chosen_measures(args)
    qrels = _runs.chosen_qrels(args)
    runs, remarks = _runs.read_runs(args.runs, args)
    collection = _collection(args)
    found = content(
        qrels,
        runs,
        measures,
        depth=args.depth,
        most_moved=args.queries,
        text_characters=args.text_characters,
        seed=args.seed,
        **_texts(collection, args),
    )
    remarks += [remark for name, one in found.evaluations.items() for remark in _runs.remarks(name, one)]
    facts = _judged_by(collection, args)
    text = page(
        found,
        Heading(
            title=args.title or _title(found, facts),
            date=date,
            facts=facts,
            remarks=remarks,
            made_of=_made_of(collection, list(runs), args),
            provenance={name: _provenance(path) for name, path in zip(runs, args.runs, strict=True)},
        ),
    )
    _runs.deliver(text, args.output)
    _runs.say([*remarks, *_size(text, found)])
    return 0


def _date(given: str | None) -> str:
    """The date on the page: the one given, that of SOURCE_DATE_EPOCH, or today's (UTC)."""
    if given is not None:
        try:
            if not re.fullmatch(r"\d{4}-\d\d-\d\d", given, re.ASCII):
                raise ValueError
            return datetime.date.fromisoformat(given).isoformat()
        except ValueError:
            raise ConfigError(f"--date {given!r} is no date; write it as YYYY-MM-DD") from None
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch is None:
        return datetime.datetime.now(datetime.UTC).date().isoformat()
    try:
        return datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        raise ConfigError(f"SOURCE_DATE_EPOCH is {epoch!r}; it must be a number of seconds since 1970") from None


def _collection(args: argparse.Namespace) -> Any | None:
    if args.collection is None:
        return None
    from retrieval.collections import load_collection

    return load_collection(args.collection)


def _texts(collection: Any | None, args: argparse.Namespace) -> dict[str, Any]:
    """What gives `content` its texts; nothing where there are none or none are wanted."""
    if collection is None or args.no_texts:
        return {}

    def text_of(docid: str) -> tuple[str, str] | None:
        document = collection.corpus.get(docid)
        return None if document is None else (document.title, document.text)

    queries = {query.qid: query.text for query in collection.queries(args.split or "test")}
    return {"queries": queries, "text_of": text_of}


def _judged_by(collection: Any | None, args: argparse.Namespace) -> dict[str, str]:
    if collection is None:
        return {"Judgements": Path(args.qrels).name}
    return {"Collection": collection.name, "Split": args.split or "test"}


def _made_of(collection: Any | None, names: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """What would have to be the same for the report to be the same; of a collection only where its texts were read."""
    from rankrl.provenance import source_sha256

    if collection is None:
        judged = {"qrels": {"file": Path(args.qrels).name, "sha256": source_sha256(args.qrels)}}
    else:
        split = args.split or "test"
        brief = {"name": collection.name, "split": split}
        judged = {"collection": brief if args.no_texts else collection.facts(split)}
    return {**judged, "runs_sha256": {n: source_sha256(p) for n, p in zip(names, args.runs, strict=True)}}


def _title(found: Content, facts: dict[str, str]) -> str:
    count = len(found.runs)
    return f"{' '.join(facts.values())}: " + (found.runs[0] if count == 1 else f"{count} runs")


def _provenance(path: str) -> dict[str, Any] | str | None:
    from rankrl.provenance import read_provenance

    try:
        return read_provenance(path)
    except DataError as error:  # a description that is out of date is something to read, not a reason to stop
        return str(error)


def _size(text: str, found: Content) -> list[str]:
    size = len(text.encode())
    texts = sum(len((shown.title + shown.text).encode()) for shown in found.documents.values())
    said = f"{size:,} bytes, {texts:,} of them texts of {len(found.documents):,} documents"
    if found.without_text:
        have = "1 document has" if found.without_text == 1 else f"{found.without_text:,} documents have"
        said += f"; {have} no text in the collection"
    if size > _LARGE:
        said += "; --queries N, --depth K or --no-texts makes it smaller"
    return [said]
