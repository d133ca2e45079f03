"""The part of the relevant candidates shown that the answer puts within its first k places."""

from __future__ import annotations

from functools import partial

from rankrl import metrics
from rankrl.types import Judgments, Rollout

from ._shown import over_shown


def recall(
    rollout: Rollout, judgments: Judgments, *, k: int = 10, grade: int = 1, unclean: float | None = 0.0
) -> float | None:
    """Recall@k, in [0, 1], over the relevant candidates shown; 1.0 whenever k covers the whole prompt.

    None when no candidate shown is relevant (judged `grade` or better). unclean: the value of an answer that had to be
    mended; None scores the mended order.
    """
    metric = partial(metrics.recall, k=k, grade=grade)
    return over_shown(metric, rollout, judgments, grade=grade, unclean=unclean)
