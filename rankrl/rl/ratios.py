"""Log importance ratios at the level of tokens, segments or whole sequences: one masked segment mean."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Level = Literal["token", "sequence"]


def segment_mean(values_BT: Tensor, segment_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Each token's value replaced by the mean over its segment's unmasked tokens; 0 where masked. Shape (B, T).

    segment_BT numbers segments per row from 0; only its equality within a row matters.
    """
    B, T = values_BT.shape
    segments = int(segment_BT.max()) + 1 if T else 0
    kept_BT = mask_BT.to(values_BT.dtype)
    total_BS = values_BT.new_zeros(B, segments).scatter_add(1, segment_BT, values_BT * kept_BT)
    count_BS = values_BT.new_zeros(B, segments).scatter_add(1, segment_BT, kept_BT).clamp(min=1.0)
    return (total_BS / count_BS).gather(1, segment_BT) * kept_BT


def log_ratio(logps_BT: Tensor, old_logps_BT: Tensor, mask_BT: Tensor, *, level: Level = "token") -> Tensor:
    """log(pi / pi_old) per token, (B, T); at "sequence" level every token carries its row's mean (GSPO, arXiv:2507.18071)."""
    difference_BT = logps_BT - old_logps_BT
    if level == "token":
        return difference_BT
    if level == "sequence":
        return segment_mean(difference_BT, torch.zeros_like(mask_BT, dtype=torch.long), mask_BT)
    raise ValueError(f"level must be 'token' or 'sequence', got {level!r}")
