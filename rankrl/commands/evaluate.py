"""Score runs against judgements: any measure of ir_measures or trec_eval, all judged topics, with intervals.

  rankrl evaluate runs/bm25.trec --collection scifact --split test
  rankrl evaluate a.trec b.jsonl --qrels qrels.txt --metrics nDCG@10 AP "P(rel=2)@5" Judged@10 --format markdown
  rankrl evaluate runs/bm25.trec --collection scifact --ceiling 20 --ties

A topic that the run misses counts as 0. Topics without a relevant document are left out. Ties in score are
broken by docid, descending, as in trec_eval. The intervals are 95 % bootstrap intervals of the mean over topics.
Runs are read topic by topic, so they may be larger than memory; .gz, .xz and .lz4 are unpacked on the way.

run formats: trec (qid Q0 docid rank score tag), msmarco (qid<TAB>docid<TAB>rank), tsv (qid<TAB>docid<TAB>score),
  jsonl ({"qid", "docid", "score"} or {"qid", "candidates": [{"docid", "score"}, …]} a line), ranx (json, lz4, parquet)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from textwrap import fill
from typing import TYPE_CHECKING, Any

from rankrl.commands import _runs
from rankrl.commands._outputs import check_output
from rankrl.errors import ConfigError
from rankrl.measures import DEFAULT_MEASURES

if TYPE_CHECKING:
    from rankrl.evaluation import Evaluation, Order, Ties
    from rankrl.types import Qrels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run file")
    _runs.add_qrels_arguments(parser)
    _runs.add_measure_arguments(parser, DEFAULT_MEASURES)
    parser.add_argument(
        "--topics",
        choices=("judged", "retrieved"),
        default="judged",
        help="average over all judged topics, or over those in the run, as trec_eval without -c (default: %(default)s)",
    )
    parser.add_argument(
        "--ceiling",
        type=int,
        nargs="?",
        const=0,
        metavar="K",
        help="also what a perfect reranker of each run's first K documents would reach (no K: of all)",
    )
    parser.add_argument("--ties", action="store_true", help="also how much the order of equal scores could change")
    parser.add_argument("--per-query", action="store_true", help="also give the value of every topic")
    parser.add_argument("--intervals", action="store_true", help="intervals in the formats markdown and latex too")
    _runs.add_output_arguments(parser)


@dataclass(slots=True)
class _Scored:
    """One run: its evaluation, what else was asked for, and its intervals."""

    file: _runs.RunFile
    evaluation: Evaluation
    others: Mapping[str, Evaluation]
    intervals: Mapping[str, tuple[float, float]]
    ties: dict[str, Ties] = field(default_factory=dict)

    def total(self, measure: str) -> float:
        return self.evaluation.totals[measure]

    def all_ties(self) -> Ties:
        from rankrl.evaluation import Ties

        return sum(self.ties.values(), Ties())


def run(args: argparse.Namespace) -> int:
    from rankrl.evaluation import evaluate_stream, mean_intervals

    if args.per_query and args.format in ("markdown", "latex"):
        raise ConfigError(f"--per-query is written in the formats table, json and csv, not in {args.format}")
    if args.output is not None:
        check_output("-o", args.output, reads=[*args.runs, *([args.qrels] if args.qrels else [])])
    measures = _runs.chosen_measures(args)
    orders = _orders(args)
    qrels = _runs.chosen_qrels(args)
    scored = []
    for file in _runs.run_files(args.runs, args):
        ties: dict[str, Ties] = {}
        results = _watched(file.results(), qrels, ties) if args.ties else file.results()
        with _runs.about(file.name, file.path):
            found = evaluate_stream(qrels, results, measures, topics=args.topics, orders=orders)
        whole = found.pop("run")
        counted = {qid: ties[qid] for qid in whole.topics if qid in ties}
        scored.append(_Scored(file, whole, found, mean_intervals(whole, seed=args.seed), counted))
    write = {"table": _as_table, "markdown": _as_markdown, "latex": _as_latex, "json": _as_json, "csv": _as_csv}
    _runs.deliver(write[args.format](scored, args), args.output)
    for one in scored:
        _runs.say(one.file.remarks())
        _runs.say(_runs.remarks(one.file.name, one.evaluation))
        if args.ties and args.format != "table":
            _runs.say([_ties_in_words(one)])
    _runs.say(_unreachable(scored[0].evaluation, qrels, args))
    return 0


def _orders(args: argparse.Namespace) -> dict[str, Order]:
    """Name -> order of what is computed: "run", and where they are asked for "ceiling", "ties worst" and "ties best"."""
    from rankrl.evaluation import best_of_ties, by_score, ceiling, worst_of_ties

    orders: dict[str, Order] = {"run": by_score}
    if args.ceiling is not None:
        if args.ceiling < 0:
            raise ConfigError(f"--ceiling takes a number of documents from 1, got {args.ceiling}")
        orders[_ceiling_name(args)] = ceiling(args.ceiling or None)
    if args.ties:
        orders |= {"ties worst": worst_of_ties, "ties best": best_of_ties}
    return orders


def _ceiling_name(args: argparse.Namespace) -> str:
    return f"ceiling {args.ceiling}" if args.ceiling else "ceiling"


def _watched(
    results: Iterator[tuple[str, dict[str, float]]], qrels: Qrels, ties: dict[str, Ties]
) -> Iterator[tuple[str, dict[str, float]]]:
    """The results as they come, with the ties of each judged topic put into `ties`."""
    from rankrl.evaluation import ties_of

    for qid, scores in results:
        if qid in qrels:
            ties[qid] = ties_of(scores, qrels[qid])
        yield qid, scores


def _unreachable(evaluation: Evaluation, qrels: Qrels, args: argparse.Namespace) -> list[str]:
    """A word about topics on which no measure with the relevance level can be more than 0."""
    level = args.relevance_level or 1
    none = [qid for qid in evaluation.topics if max(qrels[qid].values(), default=0) < level]
    if level == 1 or not none:
        return []
    return [f"-l {level}: {len(none)} topics have no document of that grade; measures at that level are 0 there"]


def _ties_in_words(one: _Scored) -> str:
    ties, topics = one.all_ties(), len(one.evaluation.topics)
    if not ties.topics:
        text = "no two documents of a topic have the same score"
    else:
        size = f"{ties.documents} documents, {ties.pairs} pairs"
        text = f"in {ties.topics} of {topics} topics documents have equal scores ({size})"
        if ties.deciding_topics:
            pairs = f"{ties.deciding_pairs} pairs"
            text += (
                f"; in {ties.deciding_topics} of them such documents differ in grade ({pairs}): their order can matter"
            )
        else:
            text += ", all of one grade: their order changes nothing"
    if ties.single_precision_topics:
        text += (
            f"; in {ties.single_precision_topics} topics some scores differ by less than single precision can tell: "
            "trec_eval takes them for ties, rankrl does not"
        )
    return f"{one.file.name}: {text}"


_TIES_EXPLAINED = (
    "Ties are broken by docid, descending, as in trec_eval; any other order is as true to the scores.\n"
    '"ties worst" and "ties best" order equal scores against the run and in its favour.\n'
)


def _as_table(scored: list[_Scored], args: argparse.Namespace) -> str:
    text = _per_query_table(scored, args.output) + "\n" if args.per_query else ""
    others = list(scored[0].others)
    heads = ["run", "measure", "mean", "95% interval", *others, "topics", "missing"]
    lines = []
    for one in scored:
        for measure in one.evaluation.measures:
            digits = _digits(measure)
            lines.append(
                [
                    one.file.name,
                    measure,
                    f"{one.total(measure):.{digits}f}",
                    _interval(one, measure),
                    *(f"{other.totals[measure]:.{digits}f}" for other in one.others.values()),
                    str(len(one.evaluation.topics)),
                    str(len(one.evaluation.missing)),
                ]
            )
    text += _runs.table(heads, lines, left=2, output=args.output)
    if args.ties:
        text += "\n" + "".join(fill(_ties_in_words(one), 100) + "\n" for one in scored) + _TIES_EXPLAINED
    return text


def _per_query_table(scored: list[_Scored], output: str | None) -> str:
    topics = dict.fromkeys(qid for one in scored for qid in one.evaluation.topics)
    measures = scored[0].evaluation.measures
    digits = {measure: _digits(measure) for measure in measures}
    lines = [
        [qid, one.file.name, *(f"{one.evaluation.values[m][qid]:.{digits[m]}f}" for m in measures)]
        for qid in topics
        for one in scored
        if qid in one.evaluation.values[measures[0]]
    ]
    return _runs.table(["topic", "run", *measures], lines, left=2, output=output)


def _digits(measure: str) -> int:
    from rankrl.measures import total_of

    return 0 if total_of(measure) == "sum" else 4


def _interval(one: _Scored, measure: str) -> str:
    from rankrl.measures import total_of

    if measure in one.intervals:
        low, high = one.intervals[measure]
        return f"[{low:.4f}, {high:.4f}]"
    return f"({total_of(measure).removesuffix(' mean')})"


def _wide(scored: list[_Scored], args: argparse.Namespace) -> tuple[list[str], list[list[str]], set[tuple[int, int]]]:
    """(heads, rows, bold cells) of the table with one row per run and one column per measure; the best value is bold."""
    measures = scored[0].evaluation.measures
    rows: list[list[str]] = []
    own: list[int] = []
    for one in scored:
        own.append(len(rows))
        cells = [f"{one.total(m):.{_digits(m)}f}" for m in measures]
        if args.intervals:
            cells = [
                f"{c} {_interval(one, m)}" if m in one.intervals else c for c, m in zip(cells, measures, strict=True)
            ]
        rows.append([one.file.name, *cells])
        for name, other in one.others.items():
            rows.append([f"{one.file.name}, {name}", *(f"{other.totals[m]:.{_digits(m)}f}" for m in measures)])
    bold = {
        (own[place], column)
        for column, measure in enumerate(measures, start=1)
        for place in _runs.best([round(one.total(measure), 4) for one in scored])
    }
    return ["run", *measures], rows, bold


def _as_markdown(scored: list[_Scored], args: argparse.Namespace) -> str:
    heads, rows, bold = _wide(scored, args)
    return _runs.markdown(heads, rows, bold=bold)


def _as_latex(scored: list[_Scored], args: argparse.Namespace) -> str:
    heads, rows, bold = _wide(scored, args)
    counts = sorted({len(one.evaluation.topics) for one in scored})
    topics = " or ".join(map(str, counts))
    intervals = "; 95 % bootstrap intervals" if args.intervals else ""
    return _runs.latex(
        heads, rows, bold=bold, note=f"means over {topics} topics; the best of each column is bold{intervals}"
    )


def _as_json(scored: list[_Scored], args: argparse.Namespace) -> str:
    from rankrl.measures import total_of

    runs: dict[str, dict[str, Any]] = {}
    for one in scored:
        found = one.evaluation
        measures: dict[str, Any] = {}
        for measure in found.measures:
            kind = total_of(measure)
            value: dict[str, Any] = {kind.replace(" ", "_"): one.total(measure)}
            if measure in one.intervals:
                value["low"], value["high"] = one.intervals[measure]
            value |= {name.replace(" ", "_"): other.totals[measure] for name, other in one.others.items()}
            if args.per_query:
                value["per_query"] = dict(found.values[measure])
                for name, other in one.others.items():
                    value[f"per_query_{name.replace(' ', '_')}"] = dict(other.values[measure])
            measures[measure] = value
        runs[one.file.name] = {
            "file": one.file.path,
            "read": {**asdict(one.file.notes), "excluded": sum(one.file.excluded.values())},
            "topics": len(found.topics),
            "missing": list(found.missing),
            "unjudged": list(found.unjudged),
            "without_relevant": list(found.without_relevant),
            **({"ties": asdict(one.all_ties())} if args.ties else {}),
            "measures": measures,
        }
    judged = {"qrels": args.qrels} if args.qrels else {"collection": args.collection, "split": args.split or "test"}
    interval_by = {"level": 0.95, "method": "percentile bootstrap over topics", "resamples": 10_000, "seed": args.seed}
    return _runs.json_text({**judged, "average_over": args.topics, "interval": interval_by, "runs": runs})


def _as_csv(scored: list[_Scored], args: argparse.Namespace) -> str:
    others = [name.replace(" ", "_") for name in scored[0].others]
    if args.per_query:
        values = [
            (one.file.name, measure, qid, value, *(other.values[measure][qid] for other in one.others.values()))
            for one in scored
            for measure in one.evaluation.measures
            for qid, value in one.evaluation.values[measure].items()
        ]
        return _runs.csv_text(("run", "measure", "topic", "value", *others), values)
    rows: list[tuple[object, ...]] = []
    for one in scored:
        for measure in one.evaluation.measures:
            low, high = one.intervals.get(measure, ("", ""))
            more = [other.totals[measure] for other in one.others.values()]
            counts = (len(one.evaluation.topics), len(one.evaluation.missing))
            rows.append((one.file.name, measure, one.total(measure), low, high, *counts, *more))
    heads = ("run", "measure", "value", "low", "high", "topics", "missing")
    return _runs.csv_text((*heads, *others), rows)
