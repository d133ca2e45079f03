"""1 when nothing in the answer had to be mended, else 0."""

from __future__ import annotations

from rankrl.types import Judgments, Rollout


def well_formed(rollout: Rollout, judgments: Judgments) -> float:
    """1.0 when the answer's parse report is clean, else 0.0; applies to every answer, whatever is relevant."""
    return float(rollout.report.clean)
