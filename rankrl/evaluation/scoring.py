"""Runs scored against qrels, whole or as their topics come from a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from rankrl.errors import DataError, unknown_name
from rankrl.evaluation.providers import Group, Topic, groups, topic_of, values_of
from rankrl.measures import parse_measures
from rankrl.runs import ranked
from rankrl.types import Judgments, Qrels, Run

if TYPE_CHECKING:
    from ir_measures import Measure

Topics = Literal["judged", "retrieved"] | Collection[str]
"""Which topics count: see `evaluate`."""

Order = Callable[[Mapping[str, float], Judgments], Sequence[str]]
"""(docid -> score, judgments) of a topic -> docids, best first."""

_BATCH = 256  # topics that are given to the providers at a time


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a run is worth: one value per measure and topic, and what the averages are made of.

    values: measure -> qid -> value, the same topics for each measure. totals: measure -> mean over the topics (the sum, for
    the measures that count: NumRet, NumRel, NumQ; the geometric mean for gm_map and gm_bpref).
    topics: the qids that count. missing: those of them without a result in the run; they count with 0.
    unjudged: qids of the run that the qrels do not have. without_relevant: judged topics with no grade of 1 or more;
    they count only where `topics` says so.
    """

    values: Mapping[str, Mapping[str, float]]
    totals: Mapping[str, float]
    topics: tuple[str, ...]
    missing: tuple[str, ...]
    unjudged: tuple[str, ...]
    without_relevant: tuple[str, ...]

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the measures, as ir_measures writes them."""
        return tuple(self.values)


def by_score(scores: Mapping[str, float], judgments: Judgments) -> list[str]:
    """The docids as trec_eval ranks them: by score, ties by docid, both descending."""
    return ranked(scores)


def evaluate(
    qrels: Qrels, run: Run, measures: Sequence[str], *, topics: Topics = "judged", order: Order = by_score
) -> Evaluation:
    """The values of a run, per topic and in total; `measures` are ir_measures names such as `nDCG@10` or `P(rel=2)@5`.

    topics:
        "judged": every judged topic with at least one relevant document; those missing from the run count with 0. This is
        trec_eval -c, less the topics that no run can score on.
        "retrieved": the judged topics that have results in the run, as trec_eval averages by default.
        a collection of qids: exactly these; each must be judged.
    order: how a topic's documents are ranked.

    trec_eval's own names are taken where ir_measures has none (`binG`, `11pt_avg`, `gm_map`, …: `rankrl.measures.TREC_ONLY`).

    Raises:
        ConfigError: a name that is no measure, or a measure that cannot be computed here.
        DataError: a score that is not finite, a qid that is not judged, or no topic left to average over.
    """
    return evaluate_stream(qrels, run.items(), measures, topics=topics, orders={"": order})[""]


def evaluate_stream(
    qrels: Qrels,
    results: Iterable[tuple[str, Mapping[str, float]]],
    measures: Sequence[str],
    *,
    topics: Topics = "judged",
    orders: Mapping[str, Order],
) -> dict[str, Evaluation]:
    """Name of the order -> evaluation of a run under it; the run's (qid, docid -> score) are taken one at a time.

    Of several results for one qid the last counts (`rankrl.runs.stream_run` says when there are several). Only a few hundred
    topics are held at once. Otherwise, and in what is raised, as `evaluate`.
    """
    parsed = parse_measures(measures)
    wanted = _wanted(qrels, topics)
    tallies = {name: _Tally(order, groups(parsed)) for name, order in orders.items()}
    seen: dict[str, bool] = {}
    for qid, scores in results:
        if qid in seen:
            for tally in tallies.values():
                tally.forget(qid)
        seen[qid] = bool(scores)
        if qid in wanted and scores:
            _check_finite(qid, scores)
            for tally in tallies.values():
                tally.add(qid, scores, qrels[qid])
    counted = _counted(qrels, [qid for qid, some in seen.items() if some], topics)
    missing = tuple(qid for qid in counted if not seen.get(qid))
    for tally in tallies.values():
        tally.finish(Topic(qid, 0, [None] * len(qrels[qid]), list(map(int, qrels[qid].values()))) for qid in missing)
    unjudged = tuple(qid for qid in seen if qid not in qrels)
    without_relevant = tuple(qid for qid in qrels if not _has_relevant(qrels, qid))
    found = {}
    for name, tally in tallies.items():
        values = {str(m): tally.of(m, counted) for m in parsed}
        totals = {str(m): _total(m, values[str(m)].values()) for m in parsed}
        found[name] = Evaluation(values, totals, counted, missing, unjudged, without_relevant)
    return found


@dataclass(slots=True)
class _Tally:
    """The values under one order, as they come in."""

    order: Order
    groups: Sequence[Group]
    waiting: list[Topic] = field(default_factory=list)
    found: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(self, qid: str, scores: Mapping[str, float], judgments: Judgments) -> None:
        self.waiting.append(topic_of(qid, self.order(scores, judgments), judgments))
        if len(self.waiting) >= _BATCH:
            self.flush()

    def forget(self, qid: str) -> None:
        """Drop what an earlier result of the topic gave: the next may give a provider nothing to say, and that is its value."""
        self.waiting = [topic for topic in self.waiting if topic.qid != qid]
        for group in self.groups:
            for measure in group.names:
                self.found.pop((measure, qid), None)

    def flush(self) -> None:
        for measure, qid, value in values_of(self.waiting, self.groups):
            self.found[measure, qid] = value
        self.waiting.clear()

    def finish(self, missing: Iterable[Topic]) -> None:
        self.waiting += missing  # they still count for what is counted in the qrels, as with trec_eval -c
        self.flush()

    def of(self, measure: Measure, topics: Sequence[str]) -> dict[str, float]:
        return {qid: self.found.get((str(measure), qid), float(measure.DEFAULT)) for qid in topics}


def _wanted(qrels: Qrels, topics: Topics) -> Collection[str]:
    """The topics whose values may be needed."""
    if not isinstance(topics, str):
        if unjudged := [qid for qid in dict.fromkeys(topics) if qid not in qrels]:
            raise DataError(f"topics without judgements: {unjudged[:5]}; leave them out or judge them")
        return set(topics)
    if topics not in ("judged", "retrieved"):
        raise unknown_name("choice of topics", topics, ("judged", "retrieved"), hint="; or give a collection of qids")
    return {qid for qid in qrels if topics == "retrieved" or _has_relevant(qrels, qid)}


def _counted(qrels: Qrels, retrieved: Sequence[str], topics: Topics) -> tuple[str, ...]:
    if isinstance(topics, str):
        if retrieved and not any(qid in qrels for qid in retrieved):
            few = [", ".join(map(repr, sorted(ids)[:3])) for ids in (retrieved, qrels.keys())]
            raise DataError(
                f"the run and the qrels share no topic (run: {few[0]}, …; qrels: {few[1]}, …); is it the right split?"
            )
        there = set(retrieved)
        counted = tuple(q for q in qrels if (q in there if topics == "retrieved" else _has_relevant(qrels, q)))
    else:
        counted = tuple(dict.fromkeys(topics))
    if not counted:
        raise DataError(
            "no topic to average over: no judged topic has a relevant document" if topics == "judged" else "no topics"
        )
    return counted


def _has_relevant(qrels: Qrels, qid: str) -> bool:
    return any(grade > 0 for grade in qrels[qid].values())


def _check_finite(qid: str, scores: Mapping[str, float]) -> None:
    if math.isfinite(sum(scores.values())):  # a large sum may overflow where no score does
        return
    if wrong := [docid for docid, score in scores.items() if not math.isfinite(score)]:
        raise DataError(
            f"topic {qid!r}: the score of document {wrong[0]!r} is {scores[wrong[0]]}; scores must be finite"
        )


def _total(measure: Measure, values: Iterable[float]) -> float:
    aggregator = measure.aggregator()
    for value in values:
        aggregator.add(value)
    return float(aggregator.result())


def mean_intervals(evaluation: Evaluation, *, seed: int = 0) -> dict[str, tuple[float, float]]:
    """measure -> (low, high): the 95 % percentile bootstrap intervals of the means over the topics, 10,000 resamples.

    The measures share the resamples. Measures that are not averaged (sums, geometric means) have none.
    """
    import numpy as np

    from rankrl.measures import is_mean
    from rankrl.statistics import bootstrap_intervals

    averaged = [measure for measure in evaluation.measures if is_mean(measure)]
    values_MT = [list(evaluation.values[measure].values()) for measure in averaged]
    intervals = bootstrap_intervals(values_MT, rng=np.random.default_rng(seed))
    return dict(zip(averaged, intervals, strict=True))


def mean_interval(evaluation: Evaluation, measure: str, *, seed: int = 0) -> tuple[float, float]:
    """(low, high): the 95 % percentile bootstrap interval of a measure's mean over the topics, 10,000 resamples."""
    import numpy as np

    from rankrl.statistics import bootstrap_interval

    return bootstrap_interval(list(evaluation.values[measure].values()), rng=np.random.default_rng(seed))
