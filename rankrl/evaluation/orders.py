"""Other orders of a run's documents, and what they tell: the ceiling of its candidates, and how much its ties decide.

In all of them a negative grade counts as 0, as in trec_eval. The bounds hold for measures that never fall when a better
grade moves up, which are all those of ir_measures that reward relevance (infAP not where there are negative grades, which
it takes for documents that nobody looked at). Judged@k rewards no relevance: a ceiling is no bound of it.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from rankrl.errors import ConfigError
from rankrl.evaluation.scoring import Order
from rankrl.runs import ranked
from rankrl.types import Judgments


def ceiling(depth: int | None = None) -> Order:
    """The order of a perfect reranker of a run's first `depth` candidates (None: of all): by grade, the best first.

    Documents of one grade stay in the run's order, an unjudged document has grade 0, and what lies below `depth` stays below.

    Raises:
        ConfigError: depth < 1.
    """
    if depth is not None and depth < 1:
        raise ConfigError(f"the depth of a ceiling must be at least 1, got {depth}")
    return partial(_by_grade, depth=depth)


def _by_grade(scores: Mapping[str, float], judgments: Judgments, *, depth: int | None) -> list[str]:
    order = ranked(scores)
    head = order if depth is None else order[:depth]
    best_first = sorted(head, key=lambda docid: -_gain(judgments.get(docid, 0)))  # a stable sort
    return best_first + order[len(head) :]


def worst_of_ties(scores: Mapping[str, float], judgments: Judgments) -> list[str]:
    """The docids by score, documents of one score ordered against the run: worse grades first, unjudged before judged."""
    return _within_ties(scores, judgments, best_first=False)


def best_of_ties(scores: Mapping[str, float], judgments: Judgments) -> list[str]:
    """The docids by score, documents of one score ordered in favour of the run: better grades first, judged before unjudged."""
    return _within_ties(scores, judgments, best_first=True)


def _within_ties(scores: Mapping[str, float], judgments: Judgments, *, best_first: bool) -> list[str]:
    sign = -1 if best_first else 1
    return sorted(ranked(scores), key=lambda docid: (-scores[docid], sign * _class(docid, judgments)))


def _gain(grade: int) -> int:
    return max(grade, 0)


def _class(docid: str, judgments: Judgments) -> int:
    """-1 for an unjudged document, else its grade from 0."""
    return _gain(judgments[docid]) if docid in judgments else -1


@dataclass(frozen=True, slots=True)
class Ties:
    """Equal scores within topics, counted. Sums add up.

    topics: with any documents of one score. documents: that share their score with another. pairs: of equal score.
    deciding_topics, deciding_pairs: those in which the documents of one score differ in grade (or in being judged), so that
    their order can change a measure.
    single_precision_topics: with scores that differ, but not in the single precision that trec_eval keeps scores in: it
    orders such documents by their docid, we by their score.
    """

    topics: int = 0
    documents: int = 0
    pairs: int = 0
    deciding_topics: int = 0
    deciding_pairs: int = 0
    single_precision_topics: int = 0

    def __add__(self, other: Ties) -> Ties:
        return Ties(
            self.topics + other.topics,
            self.documents + other.documents,
            self.pairs + other.pairs,
            self.deciding_topics + other.deciding_topics,
            self.deciding_pairs + other.deciding_pairs,
            self.single_precision_topics + other.single_precision_topics,
        )


def ties_of(scores: Mapping[str, float], judgments: Judgments) -> Ties:
    """The ties of one topic."""
    different = set(scores.values())
    only_in_single = len(different) > len(set(_in_single_precision(different)))
    if len(different) == len(scores):
        return Ties(single_precision_topics=int(only_in_single))
    of_score = Counter(scores.values())
    of_class = Counter((score, _class(docid, judgments)) for docid, score in scores.items())
    pairs = sum(map(_pairs, of_score.values()))
    deciding = pairs - sum(map(_pairs, of_class.values()))
    documents = sum(count for count in of_score.values() if count > 1)
    return Ties(1, documents, pairs, int(deciding > 0), deciding, int(only_in_single))


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def _in_single_precision(scores: Iterable[float]) -> array[float]:
    largest = 3.4028234663852886e38  # of single precision: array() refuses what lies beyond
    return array("f", [min(max(score, -largest), largest) for score in scores])
