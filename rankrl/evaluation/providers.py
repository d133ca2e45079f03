"""Values of measures, topic by topic: trec_eval's sums, through ir_measures, and pytrec_eval for what it has no name for.

The providers behind ir_measures never see our ids and scores. pytrec_eval keeps scores in single precision, so two documents
whose scores differ in the ninth digit would tie there and be ordered by their names; RR@k comes from a provider that orders
ties the other way round; others cut docids at a space or want qids to be numbers. They get our own ranking instead:
documents called by their rank, scored so that nothing ties. Where a measure looks at the first k documents only, they get
no more than those.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from rankrl.errors import ConfigError, DataError
from rankrl.measures import TREC_ONLY

if TYPE_CHECKING:
    from ir_measures import Measure

_Values = Iterator[tuple[str, str, float]]
_Provide = Callable[[Mapping[str, Mapping[str, int]], Mapping[str, Mapping[str, float]]], _Values]

_UNJUDGED = {"none": 1.0}  # of an empty ranking, pytrec_eval counts the relevant documents as 0
_SMALL_PROVIDERS = {"Accuracy", "Compat", "ERR"}
_FIRST_K_ONLY = {"nDCG", "P", "RR", "R", "AP", "Success", "Judged", "ERR"}


@dataclass(frozen=True, slots=True)
class Group:
    """Measures that are computed together.

    depth: how many documents of a ranking they look at; None for all of them, 0 where they count in the qrels alone.
    provide: aliased qrels, aliased run -> (measure, alias of the topic, value).
    """

    names: tuple[str, ...]
    depth: int | None
    provide: _Provide


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the providers see it: how many documents are ranked, and rank (from 1) and grade of the judged ones.

    ranks: None for a judged document that was not retrieved.
    """

    qid: str
    count: int
    ranks: Sequence[int | None]
    grades: Sequence[int]


def topic_of(qid: str, order: Sequence[str], judgments: Mapping[str, int]) -> Topic:
    """The topic of a ranking.

    Raises:
        DataError: a grade that trec_eval's 32 bits cannot hold.
    """
    if (judgments and max(judgments.values()) >= 2**31) or min(judgments.values(), default=0) <= -(2**31):
        big = next(docid for docid, grade in judgments.items() if abs(grade) >= 2**31)
        raise DataError(f"topic {qid!r}: the grade of document {big!r} is {judgments[big]}, beyond 32 bits")
    if len(judgments) < 8:  # to look for a few is quicker than to number all
        ranks = [order.index(docid) + 1 if docid in order else None for docid in judgments]
    else:
        ranks = list(map(dict(zip(order, range(1, len(order) + 1), strict=True)).get, judgments))
    return Topic(qid, len(order), ranks, list(map(int, judgments.values())))


@dataclass(frozen=True, slots=True)
class _Kind:
    """What measures must share to be computed together; fields as in `Group`. level: grade from which a document is relevant."""

    source: Literal["ir_measures", "trec_eval", "qrels"]
    depth: int | None = None
    level: int = 1
    apart: tuple[str, bool] = ("", False)


def groups(measures: Sequence[Measure]) -> list[Group]:
    """The measures, in groups that can be computed together."""
    found: dict[_Kind, list[Measure]] = {}
    for measure in measures:
        found.setdefault(_kind(measure), []).append(measure)
    return [_group(kind, some) for kind, some in found.items()]


def _kind(measure: Measure) -> _Kind:
    level = int(measure.params.get("rel", 1))
    if measure.NAME in ("NumRel", "NumQ"):
        return _Kind("qrels", 0, level)
    if TREC_ONLY.fullmatch(measure.NAME):
        return _Kind("trec_eval", None, level)
    judged_only = bool(measure.params.get("judged_only"))
    cut = measure.NAME in _FIRST_K_ONLY and "cutoff" in measure.params and not judged_only
    # ir_measures lets measures with and without gains of their own share one call, and then one of them is lost; and what
    # a small provider cannot compute must not be blamed on the others
    apart = (
        str(measure.params.get("gains", "")) + (measure.NAME if measure.NAME in _SMALL_PROVIDERS else ""),
        judged_only,
    )
    return _Kind("ir_measures", measure.params["cutoff"] if cut else None, apart=apart)


def _group(kind: _Kind, measures: Sequence[Measure]) -> Group:
    names = tuple(map(str, measures))
    if kind.source == "trec_eval":
        return Group(names, kind.depth, _from_trec_eval(measures, kind.level))
    if kind.source == "qrels" and kind.level != 1:
        return Group(names, kind.depth, _counted_from(measures, kind.level))
    if measures[0].NAME == "Accuracy":
        return Group(names, kind.depth, _topic_by_topic(measures))
    return Group(names, kind.depth, _from_ir_measures(measures))


def _from_ir_measures(measures: Sequence[Measure]) -> _Provide:
    def provide(qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]) -> _Values:
        import ir_measures

        for metric in ir_measures.iter_calc(measures, qrels, run):
            yield str(metric.measure), metric.query_id, float(metric.value)

    return provide


def _topic_by_topic(measures: Sequence[Measure]) -> _Provide:
    """Accuracy: its provider divides by zero where all of the documents are relevant; 1 there, as no pair is in wrong order."""
    each = [(str(measure), _from_ir_measures([measure])) for measure in measures]

    def provide(qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]) -> _Values:
        for qid, ranking in run.items():
            for name, of_measure in each:
                try:
                    yield from of_measure({qid: qrels[qid]}, {qid: ranking})
                except ZeroDivisionError:
                    yield name, qid, 1.0

    return provide


def _counted_from(measures: Sequence[Measure], level: int) -> _Provide:
    """NumRel at a level: no provider counts another than 1, so the grades from `level` on become 1 and the others 0."""

    def provide(qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]) -> _Values:
        import ir_measures

        at_level = {qid: {doc: int(grade >= level) for doc, grade in judged.items()} for qid, judged in qrels.items()}
        for metric in ir_measures.iter_calc([ir_measures.NumRel], at_level, run):
            yield str(measures[0]), metric.query_id, float(metric.value)

    return provide


def _from_trec_eval(measures: Sequence[Measure], level: int) -> _Provide:
    by_name = {measure.NAME: str(measure) for measure in measures}

    def provide(qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]) -> _Values:
        import pytrec_eval

        evaluator = pytrec_eval.RelevanceEvaluator(qrels, set(by_name), relevance_level=level)
        for qid, values in evaluator.evaluate(run).items():
            for name, value in values.items():
                yield by_name[name], qid, math.exp(value) if name.startswith("gm_") else float(value)

    return provide


def values_of(topics: Sequence[Topic], some: Sequence[Group]) -> Iterator[tuple[str, str, float]]:
    """(measure, qid, value) of each topic; a measure of the run has no value for a topic without documents.

    Raises:
        ConfigError: a measure that its provider cannot compute here.
    """
    for group in some:
        qrels, run = _aliased(topics, group.depth)
        if not run:
            continue
        try:
            for measure, alias, value in group.provide(qrels, run):
                if alias in run:
                    yield measure, topics[int(alias) - 1].qid, value
        except Exception as error:  # a provider's own trouble (perl missing, a parameter it does not take), of any type
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise ConfigError(f"cannot compute {', '.join(group.names)} here: {why}") from error


def _aliased(
    topics: Sequence[Topic], depth: int | None
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    qrels: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for number, topic in enumerate(topics, start=1):
        shown = topic.count if depth is None else min(depth, topic.count)
        if shown:
            run[str(number)] = _aliased_ranking(shown)
        elif depth == 0:
            run[str(number)] = _UNJUDGED
        judged = {
            str(rank) if rank is not None and rank <= shown else f"u{place}": grade
            for place, (rank, grade) in enumerate(zip(topic.ranks, topic.grades, strict=True))
        }
        if max(topic.grades, default=-1) < 0:
            judged["u"] = 0  # of negative grades alone, trec_eval counts outside of its memory, and the process may end
        qrels[str(number)] = judged
    return qrels, run


@lru_cache(maxsize=16)
def _aliased_ranking(count: int) -> dict[str, float]:
    """Documents named by their rank, scored count, …, 1; shared by all topics of that length, and never written to."""
    return {str(rank): float(count + 1 - rank) for rank in range(1, count + 1)}
