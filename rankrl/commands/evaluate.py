"""Score runs against judgements: any ir_measures measure, all judged topics, with intervals.

  rankrl evaluate runs/bm25.trec --collection scifact --split test
  rankrl evaluate a.trec b.trec --qrels qrels.txt --metrics nDCG@10 AP "P(rel=2)@5" --per-query --format csv

A topic that the run misses counts as 0. Topics without a relevant document are left out. Ties in score are
broken by docid, descending, as in trec_eval. The intervals are 95 % bootstrap intervals of the mean over topics.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rankrl.commands import _runs

if TYPE_CHECKING:
    from rankrl.evaluation import Evaluation

_Rows = list[tuple[str, str, "Evaluation", tuple[float, float] | None]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a TREC run file (.gz, .xz)")
    _runs.add_qrels_arguments(parser)
    parser.add_argument(
        "--metrics", nargs="+", metavar="NAME", help="measures, in ir_measures' names (default: nDCG@10 RR@10 R@100)"
    )
    parser.add_argument(
        "--topics",
        choices=("judged", "retrieved"),
        default="judged",
        help="average over all judged topics, or over those in the run, as trec_eval without -c (default: %(default)s)",
    )
    parser.add_argument("--per-query", action="store_true", help="also give the value of every topic")
    _runs.add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from rankrl.evaluation import evaluate, mean_interval
    from rankrl.measures import DEFAULT_MEASURES, is_mean, parse_measures

    measures = [str(m) for m in parse_measures(args.metrics or DEFAULT_MEASURES)]
    qrels = _runs.chosen_qrels(args)
    found: dict[str, Evaluation] = {}
    for name, scores in _runs.named_runs(args.runs).items():
        with _runs.about(name):
            found[name] = evaluate(qrels, scores, measures, topics=args.topics)
    rows: _Rows = [
        (name, measure, one, mean_interval(one, measure, seed=args.seed) if is_mean(measure) else None)
        for name, one in found.items()
        for measure in one.measures
    ]
    write = {"table": _as_table, "json": _as_json, "csv": _as_csv}[args.format]
    _runs.deliver(write(rows, found, args), args.output)
    _runs.say(remark for name, one in found.items() for remark in _runs.remarks(name, one))
    return 0


def _as_table(rows: _Rows, found: Mapping[str, Evaluation], args: argparse.Namespace) -> str:
    text = ""
    if args.per_query:
        topics = dict.fromkeys(qid for one in found.values() for qid in one.topics)
        measures = rows[0][2].measures
        digits = {measure: 4 if interval else 0 for _, measure, _, interval in rows}
        lines = [
            [qid, name, *(f"{one.values[m][qid]:.{digits[m]}f}" for m in measures)]
            for qid in topics
            for name, one in found.items()
            if qid in one.values[measures[0]]
        ]
        text = _runs.table(["topic", "run", *measures], lines, left=2) + "\n"
    lines = [
        [
            name,
            measure,
            f"{one.totals[measure]:.4f}" if interval else f"{one.totals[measure]:.0f}",
            f"[{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "(sum)",
            str(len(one.topics)),
            str(len(one.missing)),
        ]
        for name, measure, one, interval in rows
    ]
    return text + _runs.table(["run", "measure", "mean", "95% interval", "topics", "missing"], lines, left=2)


def _as_json(rows: _Rows, found: Mapping[str, Evaluation], args: argparse.Namespace) -> str:
    runs: dict[str, dict[str, Any]] = {}
    for name, measure, one, interval in rows:
        entry = runs.setdefault(
            name,
            {
                "topics": len(one.topics),
                "missing": list(one.missing),
                "unjudged": list(one.unjudged),
                "without_relevant": list(one.without_relevant),
                "measures": {},
            },
        )
        value: dict[str, Any] = (
            {"mean": one.totals[measure], "low": interval[0], "high": interval[1]}
            if interval
            else {"sum": one.totals[measure]}
        )
        if args.per_query:
            value["per_query"] = dict(one.values[measure])
        entry["measures"][measure] = value
    judged = {"qrels": args.qrels} if args.qrels else {"collection": args.collection, "split": args.split or "test"}
    interval_by = {"level": 0.95, "method": "percentile bootstrap over topics", "resamples": 10_000, "seed": args.seed}
    whole = {**judged, "average_over": args.topics, "interval": interval_by, "runs": runs}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _as_csv(rows: _Rows, found: Mapping[str, Evaluation], args: argparse.Namespace) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if args.per_query:
        writer.writerow(("run", "measure", "topic", "value"))
        for name, measure, one, _ in rows:
            writer.writerows((name, measure, qid, value) for qid, value in one.values[measure].items())
    else:
        writer.writerow(("run", "measure", "value", "low", "high", "topics", "missing"))
        for name, measure, one, interval in rows:
            low, high = interval or ("", "")
            writer.writerow((name, measure, one.totals[measure], low, high, len(one.topics), len(one.missing)))
    return text.getvalue()
