"""Average precision of the order that the answer gives the candidates it was shown."""

from __future__ import annotations

from functools import partial

from rankrl import metrics
from rankrl.types import Judgments, Rollout

from ._shown import over_shown


def average_precision(
    rollout: Rollout, judgments: Judgments, *, k: int | None = None, grade: int = 1, unclean: float | None = 0.0
) -> float | None:
    """Average precision@k, in [0, 1], over the relevant candidates shown.

    None when no candidate shown is relevant (judged `grade` or better). unclean: the value of an answer that had to be
    mended; None scores the mended order.
    """
    metric = partial(metrics.average_precision, k=k, grade=grade)
    return over_shown(metric, rollout, judgments, grade=grade, unclean=unclean)
