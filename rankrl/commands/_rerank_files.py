"""What `rankrl rerank` writes beside the run: every call, the protocol's own scores, and what the run was made of."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rankrl.files import atomic_writer

if TYPE_CHECKING:
    from rankrl.reranking import Call, LoadedReranker
    from rankrl.types import CandidateList, Ranking, Run

SCORES = ".scores.jsonl"
"""What a file of scores is called beside its run."""

_UNSAFE = re.compile("[\ud800-\udfff\x85\u2028\u2029]")  # no UTF-8, or the end of a line for some readers


@contextmanager
def explaining(
    args: argparse.Namespace, loaded: LoadedReranker, qids: Sequence[str], excluded: Mapping[str, Collection[str]]
) -> Iterator[Callable[[Call], None] | None]:
    """A function that writes a call as a line of --explain, which appears when the block ends well; None without it.

    The first line says what asked, and of what, so that `rankrl replay` can build the run again: {"rankrl", "reranker",
    "settings", "prompt_sha256", "run", "depth", "passes", "shuffles", "topics", "excluded"}.
    """
    with atomic_writer(args.explain) if args.explain else nullcontext() as file:
        if file is None:
            yield None
            return
        _write_line(file, {**_header(args, loaded), **_topics(qids, excluded)})
        yield lambda call: _write_line(file, _explained(call, prompts=args.explain_prompts))


def _header(args: argparse.Namespace, loaded: LoadedReranker) -> dict[str, Any]:
    from rankrl import __version__
    from rankrl.reranking import settings

    return {
        "rankrl": __version__,
        "reranker": args.reranker,
        "settings": settings(loaded.reranker),
        "prompt_sha256": loaded.fingerprints["prompt"],
        "run": args.run,
        "depth": args.depth,
        "passes": args.passes,
        "shuffles": args.shuffles,
    }


def _topics(qids: Sequence[str], excluded: Mapping[str, Collection[str]]) -> dict[str, Any]:
    return {"topics": list(qids), "excluded": {qid: sorted(excluded[qid]) for qid in qids if qid in excluded}}


def _explained(call: Call, *, prompts: bool) -> dict[str, Any]:
    docids, answer, report = call.listing.docids, call.answer, call.reading.report
    made: dict[str, Any] = {
        "qid": call.listing.query.qid,
        "docids": docids,
        "order": [docids[i] for i in call.reading.ranking.order],
        "status": report.status,
        "report": asdict(report),
        "reasoning": call.reading.reasoning,
        "text": answer.text,
        "choices": call.request.choices,
        "scores": answer.scores,
        "passage_scores": call.reading.scores,
        "sample": call.request.sample,
        "key": call.request.key,
        "begun": call.request.begun,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "finish_reason": answer.finish_reason,
        "cached": answer.cached,
    }
    if answer.tokens:
        made["tokens"] = [[token.text, token.logprob, token.alternatives] for token in answer.tokens]
    if prompts:
        made["prompt"] = call.request.prompt
    return made


def _write_line(file: IO[str], row: Mapping[str, Any]) -> None:
    line = json.dumps(row, ensure_ascii=False)
    if _UNSAFE.search(line):
        line = json.dumps(row)
    file.write(line + "\n")


def write_scores(
    args: argparse.Namespace, listings: Sequence[CandidateList], rankings: Sequence[Ranking]
) -> tuple[str | None, str]:
    """(the file of the protocol's own scores or None where none was due, a remark or "").

    One row for each reranked document, topic by topic in the new order; the score is null where the protocol gave none.
    """
    from rankrl.commands._outputs import STDOUT

    path = args.scores
    beside = None if args.output == STDOUT or not Path(args.output).is_file() else f"{args.output}{SCORES}"
    if path is None and beside is not None and not args.no_scores and any(r.scores is not None for r in rankings):
        path = beside
    if path is None:
        stale = beside is not None and Path(beside).is_file()
        return None, f"{beside} is of an earlier run; it was left as it is" if stale else ""
    table = path.endswith(".tsv")
    with atomic_writer(path) as file:
        if table:
            file.write("\t".join(_COLUMNS) + "\n")
        for listing, ranking in zip(listings, rankings, strict=True):
            for row in _scored(listing, ranking):
                if table:
                    file.write("\t".join("" if value is None else str(value) for value in row) + "\n")
                else:
                    _write_line(file, dict(zip(_COLUMNS, row, strict=True)))
    return path, ""


_COLUMNS = ("qid", "docid", "rank", "score", "first_stage_rank", "first_stage_score")


def _scored(listing: CandidateList, ranking: Ranking) -> Iterator[tuple[Any, ...]]:
    for rank, position in enumerate(ranking.order, start=1):
        candidate = listing.candidates[position]
        score = None if ranking.scores is None else ranking.scores[position]
        yield listing.query.qid, candidate.docid, rank, score, position + 1, candidate.score


def with_tails(
    listings: Sequence[CandidateList],
    rankings: Sequence[Ranking],
    first_stage: Run,
    exclusions: Mapping[str, frozenset[str]],
) -> Run:
    """A run of the reranked documents, followed by those of the first stage that were neither reranked nor excluded."""
    from rankrl.runs import ranked, strictly_decreasing

    reranked = {}
    for listing, ranking in zip(listings, rankings, strict=True):
        unwanted = exclusions.get(listing.query.qid, frozenset())
        kept = [docid for docid in ranked(first_stage[listing.query.qid]) if docid not in unwanted]
        docids = ranking.docids(listing)
        reranked[listing.query.qid] = strictly_decreasing([*docids, *kept[len(docids) :]])
    return reranked


def describe(
    args: argparse.Namespace,
    loaded: LoadedReranker,
    facts: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    qids: Sequence[str],
    scores: str | None,
    took_s: float,
) -> None:
    """Write what the run was made of beside it: collection, first stage, reranker, model, cost, and what was not finished.

    options are those of the command line; settings are all that reranker and engine were made with, what the model's card
    says included. facts: the collection, the topics and the first stage. qids: the topics, in their order.
    """
    from rankrl.files import content_sha256
    from rankrl.provenance import write_provenance
    from rankrl.reranking import settings

    reranker = {
        "name": args.reranker,
        "model": args.model,
        "engine": args.engine or type(loaded.engine).__name__,
        "options": options,
        "settings": {**settings(loaded.reranker), **settings(loaded.engine)},
        "engine_fingerprint": loaded.fingerprints.get("engine"),
        "prompt_sha256": loaded.fingerprints["prompt"],
        "token_sha256": loaded.fingerprints.get("tokens"),
    }
    limits = ("max_calls", "max_tokens", "max_cost", "price_in", "price_out")
    whole = {
        **facts,
        "depth": args.depth,
        "limit": args.limit,
        "passes": args.passes,
        "shuffles": args.shuffles,
        "reranker": reranker,
        "cost": {**asdict(loaded.cost), "readings": dict(loaded.readings)},
        "limits": {name: value for name in limits if (value := getattr(args, name)) is not None},
        "stopped": loaded.stopped or None,
        "unfinished": [qid for qid in qids if qid in loaded.unfinished],
        "journal": args.journal,
        "scores": None if scores is None else {"path": scores, "sha256": content_sha256(scores)},
        "seconds": round(took_s, 6),
    }
    write_provenance(args.output, whole)
