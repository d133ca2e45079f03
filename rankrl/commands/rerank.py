"""Put a run's documents into a better order with an LLM, and write the result as a TREC run.

  rankrl rerank rank_r1 --run runs/bm25.trec --collection scifact --model OUT/ -o runs/rank_r1.trec
  rankrl rerank rank_r1 … --depth 20 --limit 5 --option num_child=4 --option template=brief --explain calls.jsonl
  rankrl rerank rank_r1 … --dry-run
  rankrl rerank rank_r1 … --engine openai --base-url URL --journal calls.sqlite --max-cost 5 --price-in 0.15 --price-out 0.6

The first --depth documents of each topic are reranked, all topics at once; those below keep their order and follow.
`rankrl rerank rank_r1 --help` also says what --option and --engine-option can set.

A run that a limit (--max-calls, --max-tokens, --max-cost) stops is written as far as it got: topics that were not finished
stand in the order found so far, or in that of the first stage. RUN.json lists them, standard error says how to go on, and
the exit code is 3. With a --journal, the same command goes on from where it stopped, or was killed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl.commands import _rerank_files as files
from rankrl.commands import _rerank_options as options_
from rankrl.commands._outputs import STDOUT
from rankrl.errors import DataError

if TYPE_CHECKING:
    from rankrl.contracts import Reranker
    from rankrl.reranking import LoadedReranker
    from rankrl.types import CandidateList, Query, Ranking, Run

STOPPED = 3
"""The exit code of a run that a limit stopped."""

add_arguments, add_named_arguments = options_.add_arguments, options_.add_named_arguments


@dataclass(frozen=True, slots=True)
class _Asked:
    """What there is to rerank. over: the topics in words. facts: about them, for the record."""

    listings: Sequence[CandidateList]
    first_stage: Run
    exclusions: Mapping[str, frozenset[str]]
    over: str
    facts: Mapping[str, Any]


def run(args: argparse.Namespace) -> int:
    options_.check_arguments(args)
    from rankrl.cards import parameters, part_of
    from rankrl.reranking import build_reranker, engine_class

    part = part_of(args.reranker)
    make = engine_class(options_.engine_name(args, part))
    options = options_.chosen_options(args, part, make)
    own = {name: value for name, value in options.items() if name in parameters(part)}
    built = build_reranker(args.reranker, own, model=None if args.ignore_card else args.model)
    limits = options_.limits(args)
    asked = _read(args)
    if args.dry_run:
        return _dry_run(args, built, part, make, options, asked)

    from rankrl.provenance import source_facts
    from rankrl.reranking import load_reranker

    first_stage, remark = source_facts(args.run)
    _say(remark)
    loaded = load_reranker(
        args.reranker,
        args.model,
        engine=args.engine,
        card=not args.ignore_card,
        journal=args.journal,
        limits=limits,
        **options,
    )
    started_s = time.monotonic()
    rankings = _reranked(args, loaded, asked)
    took_s = time.monotonic() - started_s
    _write(args, loaded, asked, rankings, options, first_stage=first_stage, took_s=took_s)
    return STOPPED if loaded.stopped else 0


def _read(args: argparse.Namespace) -> _Asked:
    """The candidates of the topics that the command line names."""
    from rankrl.commands._queries import asked, own_queries
    from rankrl.lookup import shelf
    from rankrl.runs import read_run

    shelf("retrievers")
    from retrieval.collections import candidate_lists, load_collection

    first_stage = read_run(args.run)
    collection = load_collection(args.collection)
    queries, split, exclusions = asked(args, collection)
    over = args.queries or args.split or "test"
    chosen = _chosen(queries, first_stage, args, over)
    listings = candidate_lists(collection, first_stage, chosen, args.depth, exclusions=exclusions)
    facts = {
        "collection": collection.facts(split),
        "split": split,
        "queries": own_queries(args.queries),
        "topics": len(listings),
    }
    return _Asked(listings, first_stage, exclusions, f"{collection.name} ({over})", facts)


def _chosen(queries: Sequence[Query], first_stage: Run, args: argparse.Namespace, over: str) -> list[Query]:
    """The topics that the run lists, in the order of the split or file; what is left out is said."""
    named = args.queries or f"the split {over!r}"
    listed = [query for query in queries if query.qid in first_stage]
    if not listed:
        where = named if args.queries else f"{named} of {args.collection}"
        raise DataError(
            f"none of the {len(first_stage)} topics of {args.run} is in {where}, "
            f"which has {len(queries)}; is it a run over another split?"
        )
    if len(listed) < len(queries):
        _say(f"{len(queries) - len(listed)} of {len(queries)} topics are not in {args.run}")
    if extra := len(first_stage) - len(listed):
        _say(f"{extra} topics of {args.run} are not in {named} and are left out")
    return listed[: args.limit]


def _reranked(args: argparse.Namespace, loaded: LoadedReranker, asked: _Asked) -> list[Ranking]:
    """One ranking per list, with progress shown and calls explained."""
    from rankrl.commands._rerank_plan import expected_calls
    from rankrl.commands._rerank_progress import Meter, shown

    listings, qids = asked.listings, [listing.query.qid for listing in asked.listings]
    calls = expected_calls(loaded.reranker, listings, passes=args.passes, shuffles=args.shuffles)
    meter = Meter(len(listings), None if calls is None else calls.expected)
    with _going_on(args, loaded), files.explaining(args, loaded, qids, asked.exclusions) as on_call, shown(meter):
        return loaded.rerank_lists(
            listings,
            max_live=args.max_live,
            passes=args.passes,
            shuffles=args.shuffles,
            on_round=lambda finished, _: meter.ended(finished),
            on_call=on_call,
            on_answer=lambda _, answer: meter.answered(answer),
        )


@contextmanager
def _going_on(args: argparse.Namespace, loaded: LoadedReranker) -> Iterator[None]:
    """When the block fails or is interrupted: says that what was answered is not lost."""
    try:
        yield
    except BaseException:
        if args.journal is not None and loaded.cost.calls:
            _say(f"what was answered is in {args.journal}: the same command goes on from there")
        raise


def _write(
    args: argparse.Namespace,
    loaded: LoadedReranker,
    asked: _Asked,
    rankings: Sequence[Ranking],
    options: Mapping[str, Any],
    *,
    first_stage: Mapping[str, Any],
    took_s: float,
) -> None:
    """The run and what goes beside it, and an account of it all."""
    from rankrl.commands._runs import deliver_run

    run = files.with_tails(asked.listings, rankings, asked.first_stage, asked.exclusions)
    deliver_run(args.output, run, tag=args.reranker)
    scores, remark = files.write_scores(args, asked.listings, rankings)
    _say(remark)
    _say(_account(args, loaded, asked, took_s, scores))
    _say(_how_it_stopped(args, loaded, len(asked.listings)))
    if args.output != STDOUT and Path(args.output).is_file():  # not a pipe or /dev/null
        facts = {**asked.facts, "first_stage": first_stage}
        qids = [listing.query.qid for listing in asked.listings]
        files.describe(args, loaded, facts, options, qids=qids, scores=scores, took_s=took_s)


def _account(args: argparse.Namespace, loaded: LoadedReranker, asked: _Asked, took_s: float, scores: str | None) -> str:
    """What was done and what it cost, in one line."""
    cost, read = loaded.cost, loaded.readings
    total = read.total()  # what a list asks again is read again, without a call
    malformed = (read["repaired"] + read["failed"]) / max(1, total)
    readings = "" if total == cost.calls else f" of {total} readings"
    journal = f" ({cost.cached} from the journal)" if cost.cached else ""
    rounds = f" in {cost.rounds} rounds" if cost.rounds < cost.calls - cost.cached else ""  # else one by one
    money = "" if cost.cost is None else f", cost {cost.cost:,.4f}"
    where = "stdout" if args.output == STDOUT else args.output
    return (
        f"{loaded.name} over {asked.over}: {len(asked.listings)} topics, {cost.calls} calls{journal}{rounds}, "
        f"depth {cost.depth}, {cost.prompt_tokens} prompt + {cost.completion_tokens} completion tokens{money}, "
        f"malformed {malformed:.1%}{readings} (unreadable {read['failed'] / max(1, total):.1%}), "
        f"truncated {cost.truncated / max(1, cost.calls):.1%}, {took_s:.1f} s, written to {where}"
        + (f", scores to {scores}" if scores else "")
    )


def _how_it_stopped(args: argparse.Namespace, loaded: LoadedReranker, topics: int) -> str:
    """For a run that a limit stopped: how far it got and how to go on; "" for a whole one."""
    if not loaded.stopped:
        return ""
    unfinished = len(loaded.unfinished)
    if args.journal is None:
        how = "the answers were not kept: with --journal FILE the next one would not ask them again"
    else:
        how = f"run the same command again to go on: what is in {args.journal} is not asked again, and does not count"
    return (
        f"stopped by {loaded.stopped}: {topics - unfinished} of {topics} topics are finished, {unfinished} are not and "
        f"stand in the order found so far or in that of the first stage; {how}"
    )


def _dry_run(
    args: argparse.Namespace,
    reranker: Reranker,
    part: Any,
    make: Callable[..., Any],
    options: Mapping[str, Any],
    asked: _Asked,
) -> int:
    """Print what the reranking would cost."""
    from rankrl.commands import _rerank_plan as plan
    from rankrl.commands._rerank_tokens import counter
    from rankrl.reranking import with_clip

    settings = options_.engine_settings(args, part, make, options)
    count = counter(args.model, options_.engine_name(args, part), settings)
    found = plan.estimate(
        with_clip(reranker, count.clip),
        asked.listings,
        count=count,
        max_new_tokens=settings.get("max_new_tokens"),
        passes=args.passes,
        shuffles=args.shuffles,
        prices=None if args.price_in is None else (args.price_in, args.price_out),
    )
    print(plan.as_json(args, found, asked.facts) if args.json else plan.as_table(args, found, asked.over), end="")
    for remark in plan.remarks(args, found):
        _say(remark)
    return 0


def _say(line: str) -> None:
    if line:
        print(line, file=sys.stderr)
