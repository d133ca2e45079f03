"""nDCG@k of the order that the answer gives the candidates it was shown."""

from __future__ import annotations

from functools import partial

from rankrl import metrics
from rankrl.types import Judgments, Rollout

from ._shown import over_shown


def ndcg(rollout: Rollout, judgments: Judgments, *, k: int = 10, unclean: float | None = 0.0) -> float | None:
    """nDCG@k in [0, 1] with linear gain, against the best order of the candidates shown.

    None when no candidate shown is relevant. unclean: the value of an answer that had to be mended; None scores the
    mended order. Deviation from trec_eval: the ideal is over the candidates shown, since an answer can order no others.
    """
    return over_shown(partial(metrics.ndcg, k=k), rollout, judgments, unclean=unclean)
