"""Scores runs against qrels, topic by topic. The sums are trec_eval's, through ir_measures."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rankrl.errors import ConfigError, DataError, unknown_name
from rankrl.measures import parse_measures
from rankrl.runs import ranked
from rankrl.types import Qrels, Run

if TYPE_CHECKING:
    from ir_measures import Measure

Topics = Literal["judged", "retrieved"] | Collection[str]
"""Which topics count: see `evaluate`."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a run is worth: one value per measure and topic, and what the averages are made of.

    values: measure -> qid -> value, the same topics for each measure. totals: measure -> mean over the topics (the sum, for
    the measures that count: NumRet, NumRel, NumQ).
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


def evaluate(qrels: Qrels, run: Run, measures: Sequence[str], *, topics: Topics = "judged") -> Evaluation:
    """The values of a run, per topic and in total; `measures` are ir_measures names such as `nDCG@10` or `P(rel=2)@5`.

    topics:
        "judged": every judged topic with at least one relevant document; those missing from the run count with 0. This is
        trec_eval -c, less the topics that no run can score on.
        "retrieved": the judged topics that have results in the run, as trec_eval averages by default.
        a collection of qids: exactly these; each must be judged.

    Ties are broken as in trec_eval, by docid, descending.

    Raises:
        ConfigError: a name that is no measure, or a measure that cannot be computed here.
        DataError: a score that is not finite, a qid that is not judged, or no topic left to average over.
    """
    parsed = parse_measures(measures)
    retrieved = {qid for qid, scores in run.items() if scores}
    counted = _counted(qrels, retrieved, topics)
    values = _values(qrels, run, parsed, counted)
    return Evaluation(
        values=values,
        totals={str(m): _total(m, values[str(m)].values()) for m in parsed},
        topics=counted,
        missing=tuple(qid for qid in counted if qid not in retrieved),
        unjudged=tuple(qid for qid in run if qid not in qrels),
        without_relevant=tuple(qid for qid in qrels if not _has_relevant(qrels, qid)),
    )


def _has_relevant(qrels: Qrels, qid: str) -> bool:
    return any(grade > 0 for grade in qrels[qid].values())


def _counted(qrels: Qrels, retrieved: set[str], topics: Topics) -> tuple[str, ...]:
    if isinstance(topics, str):
        if topics not in ("judged", "retrieved"):
            raise unknown_name(
                "choice of topics", topics, ("judged", "retrieved"), hint="; or give a collection of qids"
            )
        if retrieved and not retrieved & qrels.keys():
            few = [", ".join(map(repr, sorted(ids)[:3])) for ids in (retrieved, qrels.keys())]
            raise DataError(
                f"the run and the qrels share no topic (run: {few[0]}, …; qrels: {few[1]}, …); is it the right split?"
            )
        counted = tuple(q for q in qrels if (q in retrieved if topics == "retrieved" else _has_relevant(qrels, q)))
    else:
        counted = tuple(dict.fromkeys(topics))
        if unjudged := [qid for qid in counted if qid not in qrels]:
            raise DataError(f"topics without judgements: {unjudged[:5]}; leave them out or judge them")
    if not counted:
        raise DataError(
            "no topic to average over: no judged topic has a relevant document" if topics == "judged" else "no topics"
        )
    return counted


def _values(qrels: Qrels, run: Run, measures: Sequence[Measure], topics: Sequence[str]) -> dict[str, dict[str, float]]:
    """measure -> qid -> value.

    The providers behind ir_measures never see our ids and scores. pytrec_eval keeps scores in single precision, so two
    documents whose scores differ in the ninth digit would tie there and be ordered by their names; RR@k comes from a
    provider that orders ties the other way round; others cut docids at a space or want qids to be numbers. They get our
    own ranking instead: documents called by their rank, scored so that
    nothing ties.
    """
    import ir_measures

    alias = {qid: str(number) for number, qid in enumerate(topics, start=1)}
    aliased_run, aliased_qrels = {}, {}
    for qid in topics:
        order = _finite_order(qid, run.get(qid, {}))
        names = {docid: str(rank) for rank, docid in enumerate(order, start=1)}
        if order:
            aliased_run[alias[qid]] = {names[docid]: float(len(order) - i) for i, docid in enumerate(order)}
        if big := [docid for docid, grade in qrels[qid].items() if abs(grade) >= 2**31]:
            raise DataError(f"topic {qid!r}: the grade of document {big[0]!r} is {qrels[qid][big[0]]}, beyond 32 bits")
        aliased_qrels[alias[qid]] = {
            names.get(docid, f"u{number}"): int(grade) for number, (docid, grade) in enumerate(qrels[qid].items())
        }
    # What is counted in the qrels must be counted for missing topics too, as trec_eval -c does: those measures are shown
    # an empty list. The others are not, because some providers divide by its length.
    everywhere = {name: aliased_run.get(name, {}) for name in alias.values()}
    of_the_qrels = [m for m in measures if m.NAME in ("NumRel", "NumQ")]
    of_the_run = [m for m in measures if m not in of_the_qrels]
    found: dict[tuple[str, str], float] = {}
    try:
        for these, shown in ((of_the_qrels, everywhere), (of_the_run, aliased_run)):
            for metric in ir_measures.iter_calc(these, aliased_qrels, shown) if these else ():
                found[str(metric.measure), metric.query_id] = float(metric.value)
    except Exception as error:  # a provider's own trouble (perl missing, a parameter it does not take), of any type
        given = ", ".join(map(str, measures))
        raise ConfigError(f"cannot compute {given} here: {type(error).__name__}: {_one_line(error)}") from error
    return {str(m): {qid: found.get((str(m), alias[qid]), float(m.DEFAULT)) for qid in topics} for m in measures}


def _finite_order(qid: str, scores: Mapping[str, float]) -> list[str]:
    if wrong := [docid for docid, score in scores.items() if not math.isfinite(score)]:
        raise DataError(
            f"topic {qid!r}: the score of document {wrong[0]!r} is {scores[wrong[0]]}; scores must be finite"
        )
    return ranked(scores)


def _total(measure: Measure, values: Iterable[float]) -> float:
    aggregator = measure.aggregator()
    for value in values:
        aggregator.add(value)
    return float(aggregator.result())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def mean_interval(evaluation: Evaluation, measure: str, *, seed: int = 0) -> tuple[float, float]:
    """(low, high): the 95 % percentile bootstrap interval of a measure's mean over the topics, 10,000 resamples."""
    import numpy as np

    from rankrl.statistics import bootstrap_interval

    return bootstrap_interval(list(evaluation.values[measure].values()), rng=np.random.default_rng(seed))
