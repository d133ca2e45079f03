"""Compare runs with the first one, topic by topic: interval, randomisation test, verdict.

  rankrl compare runs/bm25.trec runs/rank_r1.trec --collection scifact --split test

For each measure: the difference of the means, its 95 % paired bootstrap interval (10,000 resamples), the two-sided
p of Fisher's randomisation test (exact up to 20 topics that differ, else 100,000 draws), and W/T/L, the topics on
which the run is better / equal / worse. With several runs, p is adjusted by Holm for their number. A topic that a run
misses counts as 0. The same seed gives the same numbers.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from rankrl.commands import _runs

if TYPE_CHECKING:
    from rankrl.comparison import Comparison, Difference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("baseline", metavar="RUN", help="the TREC run that the others are compared with")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the runs to compare with it")
    _runs.add_qrels_arguments(parser)
    parser.add_argument(
        "--metrics", "--metric", nargs="+", metavar="NAME", default=["nDCG@10"], help="measures (default: nDCG@10)"
    )
    _runs.add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from rankrl.comparison import compare
    from rankrl.measures import parse_measures

    measures = [str(m) for m in parse_measures(args.metrics)]
    qrels = _runs.chosen_qrels(args)
    comparison = compare(qrels, _runs.named_runs([args.baseline, *args.runs]), measures, seed=args.seed)
    write = {"table": _as_table, "json": _as_json, "csv": _as_csv}[args.format]
    _runs.deliver(write(comparison, args), args.output)
    _runs.say(remark for name, one in comparison.evaluations.items() for remark in _runs.remarks(name, one))
    return 0


def _as_table(comparison: Comparison, args: argparse.Namespace) -> str:
    blocks = []
    by_measure: dict[str, list[Difference]] = {}
    for difference in comparison.differences:
        by_measure.setdefault(difference.measure, []).append(difference)
    for measure, differences in by_measure.items():
        first = differences[0]
        several = len(differences) > 1
        heads = ["run", "mean", "diff", "95% interval", "p", *(["p Holm"] if several else []), "W/T/L"]
        rows = [[first.baseline, f"{first.baseline_mean:.4f}", *[""] * (len(heads) - 2)]]
        for d in differences:
            rows.append([d.system, f"{d.system_mean:.4f}", f"{d.difference:+.4f}", f"[{d.low:+.4f}, {d.high:+.4f}]"])
            rows[-1] += [_p(d.p), *([_p(d.p_holm)] if several else []), f"{d.wins}/{d.ties}/{d.losses}"]
        heading = f"{measure}, {len(comparison.topics)} topics, differences from {first.baseline}\n"
        verdicts = "".join(f"{d.system}: {d.verdict}\n" for d in differences)
        blocks.append(heading + _runs.table(heads, rows) + verdicts)
    return "\n".join(blocks)


def _p(p: float) -> str:
    return f"{p:.4f}" if p >= 0.00005 else "<.0001"


def _as_json(comparison: Comparison, args: argparse.Namespace) -> str:
    judged = {"qrels": args.qrels} if args.qrels else {"collection": args.collection, "split": args.split or "test"}
    rows = [{**asdict(d), "verdict": d.verdict} for d in comparison.differences]
    missing = {name: list(one.missing) for name, one in comparison.evaluations.items()}
    whole = {**judged, "seed": args.seed, "topics": len(comparison.topics), "missing": missing, "differences": rows}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _as_csv(comparison: Comparison, args: argparse.Namespace) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(comparison.differences[0])]
    writer.writerow([*names, "verdict"])
    writer.writerows([*(getattr(d, name) for name in names), d.verdict] for d in comparison.differences)
    return text.getvalue()
