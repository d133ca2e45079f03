"""Scores runs against qrels, and compares runs topic by topic. The sums are trec_eval's, through ir_measures."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from rankrl.errors import ConfigError, DataError, unknown_name
from rankrl.runs import ranked
from rankrl.types import Qrels, Run

if TYPE_CHECKING:
    from ir_measures import Measure

Topics = Literal["judged", "retrieved"] | Collection[str]
"""Which topics count: see `evaluate`."""

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@100")

_SAME = 1e-9  # values closer than this are one value: the order of a sum may change its last digits


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


def is_mean(measure: str) -> bool:
    """True for a measure that is averaged over topics, False for one that is summed (NumRet, NumRel, NumQ)."""
    import ir_measures

    return isinstance(parse_measures([measure])[0].aggregator(), ir_measures.MeanAgg)


def parse_measures(names: Sequence[str]) -> list[Measure]:
    """The ir_measures objects of the names, each once.

    Raises:
        ConfigError: none given, a name that is no measure (with the nearest ones), a wrong or missing parameter, or a
            measure whose library is not installed.
    """
    if not names:
        raise ConfigError("no measure given; try " + " ".join(DEFAULT_MEASURES))
    return list(dict.fromkeys(_parsed(name) for name in names))


def _parsed(name: str) -> Measure:
    import ir_measures

    try:
        measure = ir_measures.parse_measure(name.strip())
        measure.validate_params()
    except NameError:
        raise _no_such_measure(name) from None
    except (ValueError, AssertionError, TypeError, AttributeError):
        raise ConfigError(_badly_written(name)) from None
    _check_ranges(name, measure)
    if not ir_measures.DefaultPipeline.supports(measure):
        able = [p.NAME for p in ir_measures.DefaultPipeline.providers if p.supports(measure)]
        cure = (
            f': pip install "ir-measures[{able[0]}]"' if able else "; no provider of ir_measures takes these parameters"
        )
        raise ConfigError(f"measure {name!r} cannot be computed here{cure}")
    return measure


def _check_ranges(name: str, measure: Measure) -> None:
    """Refuse what would end the process: trec_eval aborts at a cutoff of 0."""
    for parameter, least in (("cutoff", 1), ("rel", 1)):
        value = measure.params.get(parameter, least)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**31:
            raise ConfigError(f"measure {name!r}: {parameter} must be a whole number from {least}, got {value!r}")
    if not 0.0 <= (level := measure.params.get("recall", 0.0)) <= 1.0:
        raise ConfigError(f"measure {name!r}: recall must lie in [0, 1], got {level!r}")


def _no_such_measure(name: str) -> ConfigError:
    """The error for a name ir_measures does not know: trec_eval's names and other cases are translated."""
    import ir_measures

    registry = ir_measures.measures.registry
    name = name.strip()
    head, at, tail = name.partition("@")
    base = head.split("(")[0]
    if "_" in base:
        with suppress(ValueError, IndexError):  # not one of trec_eval's names either
            return ConfigError(f"no measure {name!r}, did you mean {str(ir_measures.parse_trec_measure(name)[0])!r}?")
    by_lower = {known.lower(): known for known in registry}
    if near := difflib.get_close_matches(base.lower(), by_lower, n=1, cutoff=0.7):
        known = by_lower[near[0]]
        try:
            meant = str(ir_measures.parse_measure(known + head[len(base) :] + at + tail))
        except ValueError:
            meant = registry[known].NAME
        return ConfigError(f"no measure {name!r}, did you mean {meant!r}?")
    return unknown_name(
        "measure", base, {m.NAME for m in registry.values()}, hint="; write nDCG@10, RR@10, R@100, AP, P(rel=2)@5"
    )


def _badly_written(name: str) -> str:
    import ir_measures

    known: Mapping[str, Any] = ir_measures.measures.registry
    base = name.strip().partition("@")[0].split("(")[0]
    if base not in known:
        return f"not a measure: {name!r}; write nDCG@10, RR@10, R@100, AP, P(rel=2)@5"
    parameters = known[base].SUPPORTED_PARAMS.items()
    wants = ", ".join(
        f"{p}={info.dtype.__name__ if info.dtype else '…'}" + " (required)" * info.required for p, info in parameters
    )
    return f"measure {name!r} has a wrong or missing parameter; {base} takes {wants}, as in P(rel=2)@5"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def mean_interval(evaluation: Evaluation, measure: str, *, seed: int = 0) -> tuple[float, float]:
    """(low, high): the 95 % percentile bootstrap interval of a measure's mean over the topics, 10,000 resamples."""
    import numpy as np

    from rankrl.statistics import bootstrap_interval

    return bootstrap_interval(list(evaluation.values[measure].values()), rng=np.random.default_rng(seed))


@dataclass(frozen=True, slots=True)
class Difference:
    """One system against the first, in one measure: `system` minus `baseline`, over the topics both are scored on.

    low, high: 95 % paired bootstrap interval of the mean difference (percentile, 10,000 resamples).
    p: two-sided randomisation test. p_holm: p adjusted by Holm for the number of systems that are compared with the first
    in this measure (not for the number of measures).
    wins, ties, losses: topics on which the system is better, equal, worse.
    """

    measure: str
    baseline: str
    system: str
    baseline_mean: float
    system_mean: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    wins: int
    ties: int
    losses: int

    @property
    def significant(self) -> bool:
        """True when the adjusted p is below 0.05."""
        return self.p_holm < 0.05

    @property
    def verdict(self) -> str:
        """The outcome in plain words."""
        if self.ties and not self.wins + self.losses:
            return "no difference on any topic"
        if not self.significant:
            return "no significant difference"
        return f"significantly {'better' if self.difference > 0 else 'worse'} at the 5 % level"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Systems compared with the first one: `differences`, measure by measure, and each system's own `evaluations`."""

    evaluations: Mapping[str, Evaluation]
    differences: tuple[Difference, ...]

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that count, the same for every system."""
        return next(iter(self.evaluations.values())).topics


def compare(
    qrels: Qrels,
    runs: Mapping[str, Run],
    measures: Sequence[str],
    *,
    seed: int = 0,
    topics: Literal["judged"] | Collection[str] = "judged",
) -> Comparison:
    """Every run after the first against the first (the baseline), topic by topic; the same seed gives the same numbers.

    A topic that a run misses counts with 0 for it. See `evaluate` for `topics`, and `Difference` for what is computed.

    Raises:
        ConfigError: fewer than two runs, or a measure that is unknown or not averaged over topics.
        DataError: as `evaluate`.
    """
    if len(runs) < 2:
        raise ConfigError(f"a comparison needs at least two runs, got {len(runs)}")
    if topics == "retrieved":
        raise ConfigError("runs are compared on the same topics: 'judged', or a collection of qids")
    if counts := [name for name in measures if not is_mean(name)]:
        raise ConfigError(f"{counts[0]} is a sum over topics, not a mean, and cannot be compared with a paired test")
    evaluations = {name: _named(name, qrels, run, measures, topics) for name, run in runs.items()}
    baseline, *others = evaluations
    differences: list[Difference] = []
    for measure in evaluations[baseline].measures:
        differences += _adjusted([_difference(evaluations, measure, baseline, other, seed) for other in others])
    return Comparison(evaluations, tuple(differences))


def _named(name: str, qrels: Qrels, run: Run, measures: Sequence[str], topics: Topics) -> Evaluation:
    try:
        return evaluate(qrels, run, measures, topics=topics)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def _difference(
    evaluations: Mapping[str, Evaluation], measure: str, baseline: str, system: str, seed: int
) -> Difference:
    import numpy as np

    from rankrl.statistics import bootstrap_interval, randomisation_test

    a, b = evaluations[baseline], evaluations[system]
    raw = [b.values[measure][qid] - a.values[measure][qid] for qid in a.topics]
    deltas = [0.0 if abs(delta) < _SAME else delta for delta in raw]
    low, high = bootstrap_interval(deltas, rng=np.random.default_rng(seed))
    p = randomisation_test(deltas, rng=np.random.default_rng(seed))
    return Difference(
        measure=measure,
        baseline=baseline,
        system=system,
        baseline_mean=a.totals[measure],
        system_mean=b.totals[measure],
        difference=math.fsum(deltas) / len(deltas),
        low=low,
        high=high,
        p=p,
        p_holm=p,
        wins=sum(delta > 0 for delta in deltas),
        ties=sum(delta == 0 for delta in deltas),
        losses=sum(delta < 0 for delta in deltas),
    )


def _adjusted(differences: Sequence[Difference]) -> list[Difference]:
    from rankrl.statistics import holm

    return [replace(d, p_holm=p) for d, p in zip(differences, holm([d.p for d in differences]), strict=True)]
