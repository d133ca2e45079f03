"""Compares runs topic by topic: differences of their means, intervals, paired tests."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rankrl.errors import ConfigError, DataError
from rankrl.evaluation import Evaluation, Topics, evaluate
from rankrl.measures import is_mean
from rankrl.types import Qrels, Run

_SAME = 1e-9  # values closer than this are one value: the order of a sum may change its last digits


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
