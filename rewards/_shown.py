"""What the ranking rewards share: only the candidates shown can be ordered, and a mended answer has its own value."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rankrl.types import Judgments, Rollout


def over_shown(
    metric: Callable[[Sequence[str], Judgments], float],
    rollout: Rollout,
    judgments: Judgments,
    *,
    grade: int = 1,
    unclean: float | None = 0.0,
) -> float | None:
    """`metric` of the answer's order against the judgments of the candidates shown; None when none of them is relevant.

    unclean: the value of an answer that had to be mended (see ParseReport), so that an apology over a well-ordered list
    does not earn what the list earns; None scores the mended order.
    """
    shown = {docid: judgments[docid] for docid in rollout.listing.docids if docid in judgments}
    if all(given < grade for given in shown.values()):
        return None
    if unclean is not None and not rollout.report.clean:
        return unclean
    return metric(rollout.docids, shown)
