"""Put a run's documents into a better order with an LLM, and write the result as a TREC run.

  rankrl rerank rank_r1 --run runs/bm25.trec --collection scifact --model OUT/ -o runs/rank_r1.trec
  rankrl rerank rank_r1 … --depth 20 --limit 5 --option num_child=4 --option template=brief --explain calls.jsonl

The first --depth documents of each topic are reranked; those below keep their order and follow.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rankrl.commands._outputs import check_output
from rankrl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rankrl.reranking import Call, LoadedReranker
    from rankrl.types import CandidateList, Query, Run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reranker", help="a name from `rankrl list rerankers`, or package.module:Class")
    parser.add_argument("--run", required=True, help="the first stage, a TREC run file (.gz, .xz)")
    parser.add_argument(
        "--collection", required=True, help="a name from `rankrl list collections`, or a folder in BEIR layout"
    )
    parser.add_argument("--split", default="test", help="whose topics (default: %(default)s)")
    parser.add_argument(
        "--model", required=True, help="a folder with a model or a PEFT adapter, or a name on the Hugging Face hub"
    )
    parser.add_argument("-o", "--output", required=True, metavar="RUN", help="the run file to write")
    parser.add_argument(
        "--depth", type=int, default=100, help="rerank so many documents per topic (default: %(default)s)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N topics (default: all)")
    parser.add_argument(
        "--option", action="append", default=[], metavar="KEY=VALUE", help="a field of the reranker; may be repeated"
    )
    parser.add_argument(
        "--ignore-card",
        action="store_true",
        help="use the model even if it was trained with another reranker or other prompts",
    )
    parser.add_argument("--explain", metavar="FILE", help="also write every call as a line of JSON")
    engine = parser.add_argument_group("engine (defaults: the model's card, else the engine's own)")
    engine.add_argument(
        "--engine", help="what answers the prompts (default: the reranker's own, transformers for most)"
    )
    engine.add_argument("--batch-size", type=int, metavar="N", help="prompts at once, at most")
    engine.add_argument("--max-new-tokens", type=int, metavar="N", help="where an answer is cut")
    engine.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token (the default)")
    engine.add_argument("--device", help="cpu, cuda, cuda:1, … (default: cuda when there is one)")
    engine.add_argument("--dtype", help="float32, bfloat16 or float16 (default: float32 on CPU, else the checkpoint's)")


def run(args: argparse.Namespace) -> int:
    for name in ("depth", "limit"):
        if (value := getattr(args, name)) is not None and value < 1:
            raise ConfigError(f"--{name} is {value}; it must be at least 1")
    _check_outputs(args)
    from rankrl.lookup import shelf
    from rankrl.reranking import load_reranker, read_options
    from rankrl.runs import read_run, write_run

    shelf("retrievers")
    from retrieval.collections import candidate_lists, load_collection

    first_stage = read_run(args.run)
    collection = load_collection(args.collection)
    queries = _chosen(collection.queries(args.split), first_stage, args)
    exclusions = collection.exclusions(args.split)
    listings = candidate_lists(collection, first_stage, queries, args.depth, exclusions=exclusions)
    engine_options = {
        name: value
        for name in ("batch_size", "max_new_tokens", "temperature", "device", "dtype")
        if (value := getattr(args, name)) is not None
    }
    options = read_options(args.option)
    if taken := sorted({"name", "model", "engine", "card"} & options.keys()):
        raise ConfigError(f"--option {taken[0]} is no field of a reranker; what else can be set has a flag of its own")
    options |= engine_options
    loaded = load_reranker(args.reranker, args.model, engine=args.engine, card=not args.ignore_card, **options)
    started_s = time.monotonic()
    with _explaining(args.explain) as on_call, _progress(len(listings)) as on_round:
        rankings = loaded.rerank_lists(listings, on_round=on_round, on_call=on_call)
    took_s = time.monotonic() - started_s

    orders = [ranking.docids(listing) for ranking, listing in zip(rankings, listings, strict=True)]
    write_run(args.output, _with_tails(listings, orders, first_stage, exclusions), tag=args.reranker)
    print(_account(loaded, f"{collection.name} ({args.split})", len(listings), took_s, args.output), file=sys.stderr)
    if Path(args.output).is_file():  # not a pipe or /dev/null
        _describe(args, loaded, collection.facts(args.split), options, len(listings), took_s)
    return 0


def _check_outputs(args: argparse.Namespace) -> None:
    """Refuse what could not be written before hours are spent on it."""
    check_output("-o", args.output, reads=[args.run])
    if args.explain:
        check_output("--explain", args.explain, reads=[args.run])
    if args.explain and Path(args.explain).absolute() == Path(args.output).absolute():
        raise ConfigError(f"-o and --explain are the same file: {args.explain}")


def _chosen(queries: Sequence[Query], first_stage: Run, args: argparse.Namespace) -> list[Query]:
    """The topics of the split that the run lists, in the split's order; what is left out is said."""
    listed = [query for query in queries if query.qid in first_stage]
    if not listed:
        raise DataError(
            f"none of the {len(first_stage)} topics of {args.run} is in the split {args.split!r} of {args.collection}, "
            f"which has {len(queries)}; is it a run over another split?"
        )
    if len(listed) < len(queries):
        print(f"{len(queries) - len(listed)} of {len(queries)} topics are not in {args.run}", file=sys.stderr)
    if extra := len(first_stage) - len(listed):
        print(f"{extra} topics of {args.run} are not in the split {args.split!r} and are left out", file=sys.stderr)
    return listed[: args.limit]


def _with_tails(
    listings: Sequence[CandidateList],
    orders: Sequence[list[str]],
    first_stage: Run,
    exclusions: Mapping[str, frozenset[str]],
) -> Run:
    """A run of the reranked documents, followed by those of the first stage that were neither reranked nor excluded."""
    from rankrl.runs import ranked, strictly_decreasing

    reranked = {}
    for listing, docids in zip(listings, orders, strict=True):
        unwanted = exclusions.get(listing.query.qid, frozenset())
        kept = [docid for docid in ranked(first_stage[listing.query.qid]) if docid not in unwanted]
        below = kept[len(docids) :]
        reranked[listing.query.qid] = strictly_decreasing([*docids, *below])
    return reranked


@contextmanager
def _explaining(path: str | None) -> Iterator[Callable[[Call], None] | None]:
    """A function that writes a call as a line of the file, which appears when the block ends well."""
    from rankrl.files import atomic_writer

    with atomic_writer(path) if path else nullcontext() as file:
        yield (lambda call: _write_call(file, call)) if file is not None else None


def _write_call(file: IO[str], call: Call) -> None:
    docids = call.listing.docids
    line = {
        "qid": call.listing.query.qid,
        "docids": docids,
        "order": [docids[i] for i in call.reading.ranking.order],
        "status": call.reading.report.status,
        "text": call.answer.text,
        "prompt_tokens": call.answer.prompt_tokens,
        "completion_tokens": call.answer.completion_tokens,
        "finish_reason": call.answer.finish_reason,
    }
    file.write(json.dumps(line, ensure_ascii=False) + "\n")


@contextmanager
def _progress(topics: int) -> Iterator[Callable[[int, int], None] | None]:
    """An on_round that draws on a terminal; None where nobody is watching."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        finished = bars.add_task("topics", total=topics)
        yield lambda done, _: bars.update(finished, completed=done)


def _describe(
    args: argparse.Namespace,
    loaded: LoadedReranker,
    collection: Mapping[str, Any],
    options: Mapping[str, Any],
    topics: int,
    took_s: float,
) -> None:
    """Write what the run was made of beside it: collection, first stage, reranker, model, cost.

    options are those of the command line; settings are all that reranker and engine were made with,
    what the model's card says included.
    """
    from rankrl.provenance import source_facts, write_provenance
    from rankrl.reranking import prompt_fingerprint, settings

    first_stage, remark = source_facts(args.run)
    if remark:
        print(remark, file=sys.stderr)
    reranker = {
        "name": args.reranker,
        "model": args.model,
        "engine": args.engine or type(loaded.engine).__name__,
        "options": options,
        "settings": {**settings(loaded.reranker), **settings(loaded.engine)},
        "engine_fingerprint": getattr(loaded.engine, "fingerprint", None),
        "prompt_sha256": prompt_fingerprint(loaded.reranker),
    }
    cost = {**asdict(loaded.cost), "readings": dict(loaded.readings)}
    facts = {"collection": collection, "split": args.split, "topics": topics, "depth": args.depth, "limit": args.limit}
    whole = {**facts, "reranker": reranker, "first_stage": first_stage, "cost": cost, "seconds": round(took_s, 6)}
    write_provenance(args.output, whole)


def _account(loaded: LoadedReranker, over: str, topics: int, took_s: float, output: str) -> str:
    """What was done and what it cost, in one line."""
    cost, read = loaded.cost, loaded.readings
    malformed = (read["repaired"] + read["failed"]) / max(1, read.total())
    return (
        f"{loaded.name} over {over}: {topics} topics, {cost.calls} calls in {cost.rounds} rounds, "
        f"{cost.prompt_tokens} prompt + {cost.completion_tokens} completion tokens, "
        f"malformed {malformed:.1%} (unreadable {read['failed'] / max(1, read.total()):.1%}), "
        f"truncated {cost.truncated / max(1, cost.calls):.1%}, {took_s:.1f} s, written to {output}"
    )
