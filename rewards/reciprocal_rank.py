"""Reciprocal rank of the first relevant candidate in the order that the answer gives."""

from __future__ import annotations

from functools import partial

from rankrl import metrics
from rankrl.types import Judgments, Rollout

from ._shown import over_shown


def reciprocal_rank(
    rollout: Rollout, judgments: Judgments, *, k: int | None = None, grade: int = 1, unclean: float | None = 0.0
) -> float | None:
    """1/rank, in [0, 1], of the first relevant candidate; 0.0 when it stands beyond rank k.

    None when no candidate shown is relevant (judged `grade` or better). unclean: the value of an answer that had to be
    mended; None scores the mended order.
    """
    metric = partial(metrics.reciprocal_rank, k=k, grade=grade)
    return over_shown(metric, rollout, judgments, grade=grade, unclean=unclean)
