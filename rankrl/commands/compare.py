"""Compare runs topic by topic: intervals, paired tests, power, and the queries that got worse.

  rankrl compare runs/bm25.trec runs/rank_r1.trec --collection scifact --split test
  rankrl compare a.trec b.trec c.trec --qrels qrels.txt --metrics nDCG@10 AP --all-pairs --test t
  rankrl compare a.trec b.trec --collection scifact --flips 10

The first run is the baseline, unless --all-pairs. For each measure: the difference of the means, its 95 % paired
bootstrap interval (10,000 resamples), two-sided p of Fisher's randomisation test (exact up to 20 topics that differ,
else 100,000 draws), the paired t-test and Wilcoxon's signed-rank test, the effect size (mean difference / standard
deviation of the differences), and W/T/L, the topics on which the run is better / equal / worse. With several
comparisons each test's p is adjusted by Holm for their number, within a measure. Power: the smallest true difference
that so many topics show four times in five (t-test, at 5 % divided by the number of comparisons). A topic that a run
misses counts as 0. The same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from rankrl.commands import _flips, _runs
from rankrl.commands._outputs import check_output, columns
from rankrl.comparison import LEVEL, POWER, TESTS, check_means, compare_evaluations

if TYPE_CHECKING:
    from rankrl.commands._flips import Flips
    from rankrl.comparison import Comparison, Difference
    from rankrl.evaluation import Evaluation

_HEADS = {"randomisation": "random.", "wilcoxon": "Wilcoxon"}  # tests whose column is not headed by their name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("baseline", metavar="RUN", help="the run that the others are compared with")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the runs to compare with it")
    _runs.add_qrels_arguments(parser)
    _runs.add_measure_arguments(parser, ["nDCG@10"])
    parser.add_argument("--all-pairs", action="store_true", help="compare every pair, not only with the first run")
    parser.add_argument(
        "--test", choices=TESTS, default="randomisation", help="the test that decides (default: %(default)s)"
    )
    _flips.add_arguments(parser)
    _runs.add_output_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from rankrl.evaluation import by_score, evaluate_stream

    if args.output is not None:
        check_output("-o", args.output, reads=[args.baseline, *args.runs, *([args.qrels] if args.qrels else [])])
    _flips.check_arguments(args)
    measures = _runs.chosen_measures(args)
    check_means(measures)
    qrels = _runs.chosen_qrels(args)
    files = _runs.run_files([args.baseline, *args.runs], args)
    evaluations: dict[str, Evaluation] = {}
    for file in files:
        with _runs.about(file.name, file.path):
            evaluations |= evaluate_stream(qrels, file.results(), measures, orders={file.name: by_score})
    comparison = compare_evaluations(evaluations, seed=args.seed, test=args.test, all_pairs=args.all_pairs)
    found = _flips.found(comparison, qrels, files, args)
    write: Callable[[Comparison, Flips, argparse.Namespace], str] = {
        "table": _as_table, "markdown": _as_markdown, "latex": _as_latex, "json": _as_json, "csv": _as_csv,
    }[args.format]  # fmt: skip
    _runs.deliver(write(comparison, found, args), args.output)
    for file in files:
        _runs.say([*file.remarks(), *_runs.remarks(file.name, evaluations[file.name])])
    return 0


def _as_table(comparison: Comparison, found: Flips, args: argparse.Namespace) -> str:
    number = {name: i for i, name in enumerate(comparison.evaluations, start=1)}

    def label(d: Difference) -> str:
        return f"{number[d.system]} - {number[d.baseline]}" if args.all_pairs else d.system

    blocks = []
    for measure, differences in _by_measure(comparison).items():
        means = {name: one.totals[measure] for name, one in comparison.evaluations.items()}
        block = _main_table(measure, differences, means, label, args)
        block += "".join(_verdict_lines(d, label(d), args) for d in differences)
        blocks.append(block + "\n" + _other_tests(differences, label, args))
    return "\n".join(blocks) + "\n" + _how(comparison, args) + "".join(_flips.lines(found, args))


def _main_table(
    measure: str,
    differences: Sequence[Difference],
    means: Mapping[str, float],
    label: Callable[[Difference], str],
    args: argparse.Namespace,
) -> str:
    topics = differences[0].wins + differences[0].ties + differences[0].losses
    holm = ["p Holm"] if len(differences) > 1 else []
    rows = []
    for d in differences:
        ps = [_p(d.p), *([_p(d.p_holm)] if holm else [])]
        rows.append([label(d), f"{d.difference:+.4f}", _interval(d), *ps, f"{d.wins}/{d.ties}/{d.losses}"])
    heads = ["diff", "95% interval", "p", *holm, "W/T/L"]
    if args.all_pairs:
        numbered = [[name, f"{mean:.4f}", str(i)] for i, (name, mean) in enumerate(means.items(), start=1)]
        heading = f"{measure}, {topics} topics, every pair of runs\n"
        tables = [(["run", "mean", "number"], numbered), (["pair", *heads], rows)]
        return heading + "".join(_runs.table(*one, output=args.output) for one in tables)
    baseline = differences[0].baseline
    with_means = [[row[0], f"{means[d.system]:.4f}", *row[1:]] for row, d in zip(rows, differences, strict=True)]
    first = [baseline, f"{means[baseline]:.4f}", *[""] * len(heads)]
    heading = f"{measure}, {topics} topics, differences from {baseline}\n"
    return heading + _runs.table(["run", "mean", *heads], [first, *with_means], output=args.output)


def _verdict_lines(d: Difference, label: str, args: argparse.Namespace) -> str:
    width = columns(args.output)
    if width is not None and len(label) > (room := width - len(d.verdict) - 2):  # as the table cuts it
        label = "…" + label[1 - room :]
    power = [] if args.all_pairs else textwrap.wrap(d.power_in_words, (width or 80) - 2)
    return f"{label}: {d.verdict}\n" + "".join(f"  {line}\n" for line in power)


def _other_tests(
    differences: Sequence[Difference], label: Callable[[Difference], str], args: argparse.Namespace
) -> str:
    others = [name for name in TESTS if name != args.test]
    several = len(differences) > 1
    heads = ["pair" if args.all_pairs else "run", "effect"]
    for name in others:
        heads += [_head(name), *(["Holm"] if several else [])]
    heads += ["shows", "needs"] if args.all_pairs else []
    rows = []
    for d in differences:
        row = [label(d), "-" if d.effect is None else f"{d.effect:+.3f}"]
        for name in others:
            row += [_p(d.p_by_test[name]), *([_p(d.p_holm_by_test[name])] if several else [])]
        if args.all_pairs:
            shows = "-" if d.detectable is None else f"{d.detectable:.4f}"
            row += [shows, "-" if d.topics_needed is None else f"{d.topics_needed:,}"]
        rows.append(row)
    explained = (
        "shows: the smallest true difference that the topics show four times in five\n"
        "needs: the topics that would show the observed difference four times in five\n"
    )
    return _runs.table(heads, rows, output=args.output) + (explained if args.all_pairs else "")


def _how(comparison: Comparison, args: argparse.Namespace) -> str:
    count = comparison.differences[0].comparisons
    holm = f", Holm over {count} comparisons" if count > 1 else ""
    names = {"randomisation": "randomisation test", "t": "paired t-test", "wilcoxon": "Wilcoxon signed-rank test"}
    return f"p: {names[args.test]}, two-sided{holm}; seed {args.seed}\n"


def _paper_table(comparison: Comparison, args: argparse.Namespace) -> tuple[list[str], list[list[str]], set[Any]]:
    """(heads, rows, cells of significant differences) for Markdown and LaTeX: all measures in one table."""
    several = comparison.differences[0].comparisons > 1
    heads = ["measure", "run", *(["against"] if args.all_pairs else []), "mean", "diff", "95% interval"]
    heads += [_head(args.test), *(["p Holm"] if several else []), "effect", "W/T/L"]
    rows: list[list[str]] = []
    bold = set()
    for measure, differences in _by_measure(comparison).items():
        if not args.all_pairs:
            first = differences[0]
            rows.append([measure, first.baseline, f"{first.baseline_mean:.4f}", *[""] * (len(heads) - 3)])
        for d in differences:
            if d.significant:
                bold.add((len(rows), heads.index("diff")))
            row = [measure, d.system, *([d.baseline] if args.all_pairs else []), f"{d.system_mean:.4f}"]
            row += [f"{d.difference:+.4f}", _interval(d), _p(d.p), *([_p(d.p_holm)] if several else [])]
            rows.append([*row, "" if d.effect is None else f"{d.effect:+.3f}", f"{d.wins}/{d.ties}/{d.losses}"])
    return heads, rows, bold


def _as_markdown(comparison: Comparison, found: Flips, args: argparse.Namespace) -> str:
    heads, rows, bold = _paper_table(comparison, args)
    return _runs.markdown(heads, rows, left=3 if args.all_pairs else 2, bold=bold)


def _as_latex(comparison: Comparison, found: Flips, args: argparse.Namespace) -> str:
    heads, rows, bold = _paper_table(comparison, args)
    note = f"{len(comparison.topics)} topics; bold: significant at the 5 % level\n{_how(comparison, args)}"
    return _runs.latex(heads, rows, left=3 if args.all_pairs else 2, bold=bold, note=note)


def _as_json(comparison: Comparison, found: Flips, args: argparse.Namespace) -> str:
    judged = {"qrels": args.qrels} if args.qrels else {"collection": args.collection, "split": args.split or "test"}
    whole = {
        **judged,
        "seed": args.seed,
        "topics": len(comparison.topics),
        "missing": {name: list(one.missing) for name, one in comparison.evaluations.items()},
        "interval": {"level": 0.95, "method": "percentile bootstrap of the paired differences", "resamples": 10_000},
        "level": LEVEL,
        "power": POWER,
        "adjustment": "Holm, each test by itself, within a measure",
        "differences": [_record(d) for d in comparison.differences],
    }
    if args.flips is not None:
        whole |= {"flip_threshold": args.flip_threshold, "flips": _flips.records(found)}
    return _runs.json_text(whole)


def _as_csv(comparison: Comparison, found: Flips, args: argparse.Namespace) -> str:
    records = [_record(d) for d in comparison.differences]
    return _runs.csv_text(list(records[0]), [["" if v is None else v for v in one.values()] for one in records])


def _record(d: Difference) -> dict[str, Any]:
    """The difference as one flat row: the same in JSON and CSV."""
    by_test = {"p_by_test": "p", "p_holm_by_test": "p_holm"}
    row: dict[str, Any] = {}
    for field in fields(d):
        if field.name in by_test:
            short = by_test[field.name]
            row[short] = getattr(d, short)
            row |= {f"{short}_{name}": p for name, p in getattr(d, field.name).items()}
        else:
            row[field.name] = getattr(d, field.name)
    return {**row, "verdict": d.verdict}


def _by_measure(comparison: Comparison) -> dict[str, list[Difference]]:
    grouped: dict[str, list[Difference]] = {}
    for difference in comparison.differences:
        grouped.setdefault(difference.measure, []).append(difference)
    return grouped


def _head(test: str) -> str:
    return f"p {_HEADS.get(test, test)}"


def _interval(d: Difference) -> str:
    return f"[{d.low:+.4f}, {d.high:+.4f}]"


def _p(p: float) -> str:
    return f"{p:.4f}" if p >= 0.00005 else "<.0001"
