"""Compares runs topic by topic: differences of their means, intervals, paired tests, power, and the queries that got worse."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rankrl.errors import ConfigError, DataError, unknown_name
from rankrl.evaluation import Evaluation, Topics, evaluate
from rankrl.measures import is_mean, parse_measures, total_of
from rankrl.runs import ranked
from rankrl.types import Judgments, Qrels, Run

TESTS = ("randomisation", "t", "wilcoxon")
"""The paired tests, each two-sided: Fisher's randomisation test, Student's t, Wilcoxon's signed ranks."""

LEVEL = 0.05
POWER = 0.8

_SAME = 1e-9  # values closer than this are one value: the order of a sum may change its last digits


@dataclass(frozen=True, slots=True)
class Difference:
    """One system against another, in one measure: `system` minus `baseline`, over the topics both are scored on.

    low, high: 95 % paired bootstrap interval of the mean difference (percentile, 10,000 resamples).
    spread: standard deviation of the differences. effect: difference / spread (d_z); None where there is no spread.
    p_by_test: two-sided p of each of `TESTS`. p_holm_by_test: the same adjusted by Holm, each test by itself, for the
    comparisons made in this measure (`comparisons` of them), not for the number of measures. test: the one that decides.
    wins, ties, losses: topics on which the system is better, equal, worse.
    detectable: the smallest true difference that so many topics of this spread show with power 0.8 (t-test, two-sided, at
    the 5 % level divided by `comparisons`, the strictest step of Holm). topics_needed: how many topics would show a true
    difference of the size observed, at the same level and power. None where there is no spread, or no difference.
    """

    measure: str
    baseline: str
    system: str
    baseline_mean: float
    system_mean: float
    difference: float
    low: float
    high: float
    spread: float
    effect: float | None
    test: str
    p_by_test: Mapping[str, float]
    p_holm_by_test: Mapping[str, float]
    comparisons: int
    wins: int
    ties: int
    losses: int
    detectable: float | None
    topics_needed: int | None

    @property
    def p(self) -> float:
        """The p of the test that decides."""
        return self.p_by_test[self.test]

    @property
    def p_holm(self) -> float:
        """The adjusted p of the test that decides."""
        return self.p_holm_by_test[self.test]

    @property
    def significant(self) -> bool:
        """True when the adjusted p is below 0.05."""
        return self.p_holm < LEVEL

    @property
    def verdict(self) -> str:
        """The outcome in plain words."""
        if self.ties and not self.wins + self.losses:
            return "no difference on any topic"
        if not self.significant:
            return "no significant difference"
        return f"significantly {'better' if self.difference > 0 else 'worse'} at the 5 % level"

    @property
    def power_in_words(self) -> str:
        """What these topics can show, in plain words; empty where their differences have no spread to tell it from."""
        if self.detectable is None:
            return ""
        topics, unlike = self.wins + self.ties + self.losses, self.wins + self.losses
        said = f"{topics:,} topics show a true difference of {self.detectable:.4f} four times in five"
        if not self.significant and self.topics_needed is not None:
            said += f"; one of {abs(self.difference):.4f}, as observed, would take {self.topics_needed:,} topics"
        if self.test != "t" and (least := math.ldexp(2.0, -unlike)) >= LEVEL:
            said += f"; only {unlike} differ, and p cannot be below {least:g} with so few"
        return said


@dataclass(frozen=True, slots=True)
class Comparison:
    """Systems compared: `differences`, measure by measure, and each system's own `evaluations`."""

    evaluations: Mapping[str, Evaluation]
    differences: tuple[Difference, ...]

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that count, the same for every system."""
        return next(iter(self.evaluations.values())).topics


@dataclass(frozen=True, slots=True)
class Move:
    """One document that changed its place: its grade, and its rank (from 1) before and after; None = not in the run."""

    docid: str
    grade: int
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class Flip:
    """One query that got worse: its value before and after, and the judged documents that moved.

    moves: what explains the loss first: relevant documents that fell, then others that rose, then the rest; within these,
    those that moved most, where a rank weighs 1 / log2(rank + 1) and nothing beyond the cutoff, so that a step at the top
    is larger. Relevant: as the measure counts it. depth: the measure's cutoff, None when it reads the whole list.
    unjudged_before, unjudged_after: how many documents without judgement stand within it.
    """

    qid: str
    before: float
    after: float
    depth: int | None
    moves: tuple[Move, ...]
    unjudged_before: int
    unjudged_after: int

    @property
    def drop(self) -> float:
        """How much was lost, above 0."""
        return self.before - self.after


def compare(
    qrels: Qrels,
    runs: Mapping[str, Run],
    measures: Sequence[str],
    *,
    seed: int = 0,
    topics: Literal["judged"] | Collection[str] = "judged",
    test: str = "randomisation",
    all_pairs: bool = False,
) -> Comparison:
    """Every run after the first against the first (the baseline), topic by topic; the same seed gives the same numbers.

    A topic that a run misses counts with 0 for it. See `evaluate` for `topics`, `compare_evaluations` for the other options,
    and `Difference` for what is computed.

    Raises:
        ConfigError: fewer than two runs, a measure that is unknown or not averaged over topics, or no such test.
        DataError: as `evaluate`.
    """
    _check(len(runs), test)
    if topics == "retrieved":
        raise ConfigError("runs are compared on the same topics: 'judged', or a collection of qids")
    check_means(measures)
    evaluations = {name: _named(name, qrels, run, measures, topics) for name, run in runs.items()}
    return compare_evaluations(evaluations, seed=seed, test=test, all_pairs=all_pairs)


def compare_evaluations(
    evaluations: Mapping[str, Evaluation], *, seed: int = 0, test: str = "randomisation", all_pairs: bool = False
) -> Comparison:
    """As `compare`, of runs that are evaluated already: name -> evaluation, the baseline first.

    all_pairs: every run against each one before it, and Holm over all of these. test: which of `TESTS` the verdict uses.
    Before the adjustment, the numbers of a pair depend neither on the other runs and measures nor on their order; two
    runs the other way round give the same p and the difference and interval of the other sign, to the last digit.

    Raises:
        ConfigError: fewer than two evaluations, of unequal measures or topics, of a measure that is not averaged over
            topics, or no such test.
    """
    _check(len(evaluations), test)
    (baseline, first), *others = evaluations.items()
    check_means(first.measures)
    for name, one in others:
        if one.measures != first.measures or set(one.topics) != set(first.topics):
            raise ConfigError(f"{name} and {baseline} are not evaluated by the same measures on the same topics")
    pairs = list(itertools.combinations(evaluations, 2)) if all_pairs else [(baseline, name) for name, _ in others]
    return Comparison(evaluations, tuple(_differences(evaluations, pairs, seed, test)))


def worse(comparison: Comparison, difference: Difference, *, threshold: float = 0.0) -> list[str]:
    """The qids that lost more than `threshold` from `difference.baseline` to `.system`: the worst first, ties by qid.

    Raises:
        ConfigError: a threshold below 0 or that is not a number.
    """
    if not threshold >= 0.0:
        raise ConfigError(f"the threshold must be a number from 0, got {threshold}")
    before, after = (comparison.evaluations[name].values[difference.measure] for name in _ends(difference))
    lost = [qid for qid in comparison.topics if before[qid] - after[qid] > max(threshold, _SAME)]
    return sorted(lost, key=lambda qid: (after[qid] - before[qid], qid))


def flips(
    comparison: Comparison,
    difference: Difference,
    qrels: Qrels,
    runs: Mapping[str, Run],
    *,
    threshold: float = 0.0,
    moves: int | None = 5,
) -> list[Flip]:
    """What happened to each of the `worse` queries, in that order.

    qrels, runs: what the comparison was made of; of the runs, no more than these queries is read. moves: at most so many
    documents of each query; None for all of them.

    Raises:
        ConfigError: threshold or moves below 0, or a threshold that is not a number.
    """
    if moves is not None and moves < 0:
        raise ConfigError(f"moves must be a number from 0, or None for all of them, got {moves}")
    parameters = parse_measures([difference.measure])[0].params
    depth, relevant_from = parameters.get("cutoff"), parameters.get("rel", 1)
    before, after = (comparison.evaluations[name].values[difference.measure] for name in _ends(difference))
    found = []
    for qid in worse(comparison, difference, threshold=threshold):
        orders = [ranked(runs[name].get(qid, {})) for name in _ends(difference)]
        unjudged = [sum(docid not in qrels[qid] for docid in order[:depth]) for order in orders]
        moved = _moves(orders[0], orders[1], qrels[qid], depth, relevant_from)
        found.append(Flip(qid, before[qid], after[qid], depth, tuple(moved[:moves]), *unjudged))
    return found


def _check(systems: int, test: str) -> None:
    if systems < 2:
        raise ConfigError(f"a comparison needs at least two runs, got {systems}")
    if test not in TESTS:
        raise unknown_name("test", test, TESTS)


def check_means(measures: Sequence[str]) -> None:
    """Nothing, if every measure is a mean over topics.

    Raises:
        ConfigError: naming the first one that is not.
    """
    if counts := [name for name in measures if not is_mean(name)]:
        raise ConfigError(
            f"{counts[0]} is a {total_of(counts[0])} over topics, not a mean, and cannot be compared with a paired test"
        )


def _ends(difference: Difference) -> tuple[str, str]:
    return difference.baseline, difference.system


def _moves(
    before: Sequence[str], after: Sequence[str], judgments: Judgments, depth: int | None, relevant_from: int
) -> list[Move]:
    """The judged documents that are in another place, ordered as `Flip` says."""
    ranks = [{docid: rank for rank, docid in enumerate(order[:depth], start=1)} for order in (before, after)]

    def rise(docid: str) -> float:
        weights = [1.0 / math.log2(places[docid] + 1) if docid in places else 0.0 for places in ranks]
        return weights[1] - weights[0]

    def order(docid: str) -> tuple[int, float, str]:
        relevant, rose = judgments[docid] >= relevant_from, rise(docid) > 0
        return (2 if relevant == rose else 1 if rose else 0), -abs(rise(docid)), docid

    whole = [{docid: rank for rank, docid in enumerate(places, start=1)} for places in (before, after)]
    moved = sorted((docid for docid in judgments if rise(docid)), key=order)
    return [Move(docid, judgments[docid], whole[0].get(docid), whole[1].get(docid)) for docid in moved]


def _named(name: str, qrels: Qrels, run: Run, measures: Sequence[str], topics: Topics) -> Evaluation:
    try:
        return evaluate(qrels, run, measures, topics=topics)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def _differences(
    evaluations: Mapping[str, Evaluation], pairs: Sequence[tuple[str, str]], seed: int, test: str
) -> Iterator[Difference]:
    """The differences of the pairs, measure by measure; all of them meet the same resamples and the same random signs."""
    import numpy as np

    from rankrl.statistics import bootstrap_intervals, holm, randomisation_tests

    measures = evaluations[pairs[0][0]].measures
    compared = [(measure, *pair) for measure in measures for pair in pairs]
    deltas_DT = [_deltas(evaluations[a], evaluations[b], measure) for measure, a, b in compared]
    intervals = bootstrap_intervals(deltas_DT, rng=np.random.default_rng(seed))
    ps = randomisation_tests(deltas_DT, rng=np.random.default_rng(seed))
    unadjusted = [
        _difference(evaluations, which, deltas, interval, p, test, len(pairs))
        for which, deltas, interval, p in zip(compared, deltas_DT, intervals, ps, strict=True)
    ]
    for start in range(0, len(unadjusted), len(pairs)):
        family = unadjusted[start : start + len(pairs)]
        adjusted = {name: holm([d.p_by_test[name] for d in family]) for name in TESTS}
        for i, d in enumerate(family):
            yield replace(d, p_holm_by_test={name: adjusted[name][i] for name in TESTS})


def _deltas(baseline: Evaluation, system: Evaluation, measure: str) -> list[float]:
    before, after = baseline.values[measure], system.values[measure]
    raw = [after[qid] - before[qid] for qid in baseline.topics]
    if undefined := [qid for qid, delta in zip(baseline.topics, raw, strict=True) if not math.isfinite(delta)]:
        few = f"{', '.join(map(repr, undefined[:5]))}{', …' if len(undefined) > 5 else ''}"
        raise DataError(f"{measure} has no finite value on {len(undefined)} topics ({few}); leave them or it out")
    return [0.0 if abs(delta) < _SAME else delta for delta in raw]


def _difference(
    evaluations: Mapping[str, Evaluation],
    which: tuple[str, str, str],
    deltas: Sequence[float],
    interval: tuple[float, float],
    p: float,
    test: str,
    comparisons: int,
) -> Difference:
    from rankrl.statistics import (
        detectable_difference,
        paired_t,
        standard_deviation,
        standardised_difference,
        topics_needed,
        wilcoxon,
    )

    measure, baseline, system = which
    p_by_test = {"randomisation": p, "t": paired_t(deltas)[1], "wilcoxon": wilcoxon(deltas)}
    spread, effect = standard_deviation(deltas), standardised_difference(deltas)
    level = LEVEL / comparisons
    mean = math.fsum(deltas) / len(deltas)
    to_be_shown = effect if effect and abs(mean) >= _SAME else 0.0
    return Difference(
        measure=measure,
        baseline=baseline,
        system=system,
        baseline_mean=evaluations[baseline].totals[measure],
        system_mean=evaluations[system].totals[measure],
        difference=mean,
        low=interval[0],
        high=interval[1],
        spread=spread,
        effect=effect,
        test=test,
        p_by_test=p_by_test,
        p_holm_by_test=p_by_test,
        comparisons=comparisons,
        wins=sum(delta > 0 for delta in deltas),
        ties=sum(delta == 0 for delta in deltas),
        losses=sum(delta < 0 for delta in deltas),
        detectable=detectable_difference(spread, len(deltas), level=level, power=POWER),
        topics_needed=topics_needed(to_be_shown, level=level, power=POWER),
    )
