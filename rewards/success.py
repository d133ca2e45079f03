"""1 when the answer puts a relevant candidate within its first k places; with k = 1, Rank-R1's exact-label reward."""

from __future__ import annotations

from functools import partial

from rankrl import metrics
from rankrl.types import Judgments, Rollout

from ._shown import over_shown


def success(
    rollout: Rollout, judgments: Judgments, *, k: int = 1, grade: int = 1, unclean: float | None = 0.0
) -> float | None:
    """1.0 when a relevant candidate stands within the first k places, else 0.0 (arXiv:2503.06034 with k = 1).

    None when no candidate shown is relevant (judged `grade` or better). unclean: the value of an answer that had to be
    mended; None scores the mended order.
    """
    metric = partial(metrics.success, k=k, grade=grade)
    return over_shown(metric, rollout, judgments, grade=grade, unclean=unclean)
