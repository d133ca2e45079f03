"""What a report says, before it is a page: values, intervals, differences, and the documents of each topic by rank."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rankrl.comparison import Difference, compare
from rankrl.errors import ConfigError, DataError
from rankrl.evaluation import Evaluation, evaluate, mean_intervals
from rankrl.measures import is_mean, total_of
from rankrl.runs import ranked
from rankrl.types import Judgments, Qrels, Run

TextOf = Callable[[str], tuple[str, str] | None]
"""docid -> (title, text), or None for a document that is not at hand."""


@dataclass(frozen=True, slots=True)
class Movement:
    """One document of a topic: `grade`, None when it was not judged, and its rank in each run, None where it is not listed."""

    docid: str
    grade: int | None
    ranks: tuple[int | None, ...]

    def within(self, depth: int) -> bool:
        """True when a run has it among its first `depth`."""
        return any(rank is not None and rank <= depth for rank in self.ranks)


@dataclass(frozen=True, slots=True)
class Shown:
    """A document's title and text as the report shows them; `cut` when either is only a beginning."""

    title: str
    text: str
    cut: bool


@dataclass(frozen=True, slots=True)
class Content:
    """The numbers and texts of a report.

    evaluations: run -> its values, the first run is the baseline. intervals: measure -> run -> 95 % bootstrap interval.
    differences: each other run against the baseline, measure by measure; () for a single run.
    movements: qid -> the documents that any run has among its first `depth`, and the relevant ones (grade above 0) that
    any run lists at all, best rank first; only for the topics whose documents are shown. relevant: qid -> how many
    judged documents have a grade above 0.
    queries: qid -> text. documents: docid -> what is shown of it, for the documents among the first `depth` of a run;
    without_text: how many of these have no text here.
    """

    evaluations: Mapping[str, Evaluation]
    intervals: Mapping[str, Mapping[str, tuple[float, float]]]
    differences: tuple[Difference, ...]
    movements: Mapping[str, tuple[Movement, ...]]
    relevant: Mapping[str, int]
    queries: Mapping[str, str]
    documents: Mapping[str, Shown]
    without_text: int
    depth: int
    text_characters: int
    seed: int

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of the runs, the baseline first."""
        return tuple(self.evaluations)

    @property
    def measures(self) -> tuple[str, ...]:
        """The names of the measures."""
        return tuple(self.intervals)

    @property
    def topics(self) -> tuple[str, ...]:
        """The qids that count, the same for every run."""
        return next(iter(self.evaluations.values())).topics


def content(
    qrels: Qrels,
    runs: Mapping[str, Run],
    measures: Sequence[str],
    *,
    queries: Mapping[str, str] | None = None,
    text_of: TextOf | None = None,
    depth: int = 20,
    most_moved: int | None = None,
    text_characters: int = 1000,
    seed: int = 0,
) -> Content:
    """The content of a report on the runs; the first is the one that the others are compared with.

    queries: qid -> text; without it, topics have their ids only. text_of: gives documents their texts, which are cut at
    `text_characters`; without it, documents have their ids only.
    depth: how far down each run's documents are shown. most_moved: show the documents of so many topics only, those
    whose value in the first measure differs most between the baseline and any other run (of a single run: the lowest
    values); the values of all topics are always there.

    Raises:
        ConfigError: no run, a number that is too small, or a measure that is unknown or not averaged over topics.
        DataError: as `rankrl.evaluation.evaluate`.
    """
    for name, value in (("depth", depth), ("most_moved", most_moved), ("text_characters", text_characters)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1")
    if not runs:
        raise ConfigError("a report needs at least one run")
    evaluations, differences = _scored(qrels, runs, measures, seed)
    first = next(iter(evaluations.values()))
    detailed = first.topics if most_moved is None else _most_moved(evaluations, most_moved)
    movements = {qid: _movements(qrels[qid], [run.get(qid, {}) for run in runs.values()], depth) for qid in detailed}
    docids = dict.fromkeys(m.docid for moved in movements.values() for m in moved if m.within(depth))
    documents = _shown(docids, text_of, text_characters)
    intervals = {name: mean_intervals(one, seed=seed) for name, one in evaluations.items()}
    return Content(
        evaluations=evaluations,
        intervals={measure: {name: intervals[name][measure] for name in evaluations} for measure in first.measures},
        differences=differences,
        movements=movements,
        relevant={qid: sum(grade > 0 for grade in qrels[qid].values()) for qid in first.topics},
        queries={qid: queries[qid] for qid in first.topics if qid in queries} if queries else {},
        documents=documents,
        without_text=len(docids) - len(documents) if text_of else 0,
        depth=depth,
        text_characters=text_characters,
        seed=seed,
    )


def _scored(
    qrels: Qrels, runs: Mapping[str, Run], measures: Sequence[str], seed: int
) -> tuple[Mapping[str, Evaluation], tuple[Difference, ...]]:
    if len(runs) > 1:
        comparison = compare(qrels, runs, measures, seed=seed)
        return comparison.evaluations, comparison.differences
    if sums := [name for name in measures if not is_mean(name)]:
        raise ConfigError(
            f"{sums[0]} is a {total_of(sums[0])} over topics, not a mean; a report has intervals of means"
        )
    ((name, run),) = runs.items()
    try:
        return {name: evaluate(qrels, run, measures)}, ()
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


def _most_moved(evaluations: Mapping[str, Evaluation], count: int) -> tuple[str, ...]:
    """The `count` topics that differ most from the baseline in the first measure, in the order of the topics."""
    baseline, *others = evaluations.values()
    values = baseline.values[baseline.measures[0]]
    moved = {
        qid: max((abs(other.values[baseline.measures[0]][qid] - value) for other in others), default=-value)
        for qid, value in values.items()
    }
    chosen = set(sorted(moved, key=lambda qid: -moved[qid])[:count])  # sorted() keeps the topics' order between equals
    return tuple(qid for qid in baseline.topics if qid in chosen)


def _movements(judgments: Judgments, runs: Sequence[Mapping[str, float]], depth: int) -> tuple[Movement, ...]:
    """The documents to tell of, by their best rank, then by the first run that has them there."""
    orders = [ranked(scores) for scores in runs]
    ranks = [{docid: rank for rank, docid in enumerate(order, start=1)} for order in orders]
    best: dict[str, tuple[int, int]] = {}
    for number, order in enumerate(orders):
        for rank, docid in enumerate(order, start=1):
            if rank <= depth or judgments.get(docid, 0) > 0:
                best[docid] = min((rank, number), best.get(docid, (rank, number)))
    return tuple(
        Movement(docid, judgments.get(docid), tuple(rank.get(docid) for rank in ranks))
        for docid in sorted(best, key=best.__getitem__)
    )


def _shown(docids: Iterable[str], text_of: TextOf | None, characters: int) -> dict[str, Shown]:
    found: dict[str, Shown] = {}
    if text_of is None:
        return found
    for docid in docids:
        if (document := text_of(docid)) is not None:
            title, text = document
            cut = max(len(title), len(text)) > characters
            found[docid] = Shown(title[:characters], text[:characters], cut)
    return found
