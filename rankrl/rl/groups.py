"""Values of flat tensors per group: `group_B[i]` says which prompt rollout i answers. Groups may differ in size.

Groups are numbered 0..P-1 in any order and need not be contiguous; NaN marks a value that does not apply.
"""

from __future__ import annotations

import torch
from torch import Tensor


def group_count(group_B: Tensor) -> int:
    """The number of groups P: one more than the largest group number, 0 for no rollouts."""
    return int(group_B.max()) + 1 if group_B.numel() else 0


def padded(values_B: Tensor, group_B: Tensor) -> tuple[Tensor, Tensor]:
    """(values_PG, slot_B): one row per group, filled from the left in order of appearance, NaN where a group is shorter.

    slot_B is each rollout's column, so `values_PG[group_B, slot_B]` is `values_B` again. With groups of one size
    and contiguous rollouts values_PG is `values_B.view(P, G)`, so reductions over dim 1 equal TRL's to the last bit.
    """
    P = group_count(group_B)
    size_P = torch.bincount(group_B, minlength=P)
    order = torch.argsort(group_B, stable=True)
    start_P = torch.cumsum(size_P, 0) - size_P
    slot_B = torch.empty_like(group_B)
    slot_B[order] = torch.arange(len(group_B), device=group_B.device) - start_P[group_B[order]]
    values_PG = values_B.new_full((P, int(size_P.max()) if P else 0), float("nan"))
    values_PG[group_B, slot_B] = values_B
    return values_PG, slot_B


def group_mean(values_B: Tensor, group_B: Tensor) -> Tensor:
    """Mean over each group's applicable values, spread back to its rollouts; NaN where a group has none."""
    values_PG, _ = padded(values_B, group_B)
    return torch.nanmean(values_PG, dim=1)[group_B]


def group_std(values_B: Tensor, group_B: Tensor) -> Tensor:
    """Sample standard deviation (ddof 1) over each group's applicable values, spread back to its rollouts.

    0 for a group with a single applicable value; NaN for one with none.
    """
    values_PG, _ = padded(values_B, group_B)
    return nan_std(values_PG, dim=1)[group_B]


def nan_std(values: Tensor, dim: int) -> Tensor:
    """Sample standard deviation (ddof 1) along `dim`, without NaN; 0 where one value is left, NaN where none is.

    Two passes (mean, then squared distances), as TRL's `nanstd` does, so the two agree to the last bit.
    """
    mean = torch.nanmean(values, dim=dim, keepdim=True)
    variance = torch.nanmean((values - mean) ** 2, dim=dim)
    count = (~values.isnan()).sum(dim=dim).to(values.dtype)
    return torch.sqrt(variance * (count / (count - 1).clamp(min=1)))


def average_ranks(values_B: Tensor, group_B: Tensor) -> Tensor:
    """0-based rank of each value within its group, ascending; equal values share the mean of their ranks. NaN stays NaN.

    This is scipy's `rankdata(method="average") - 1` group by group.
    """
    values_PG, slot_B = padded(values_B, group_B)
    this, other = values_PG.unsqueeze(2), values_PG.unsqueeze(1)
    below_PG = (other < this).sum(dim=2)
    equal_PG = (other == this).sum(dim=2)
    ranks_PG = below_PG.to(values_B.dtype) + (equal_PG - 1).to(values_B.dtype) / 2
    return torch.where(values_PG.isnan(), values_PG, ranks_PG)[group_B, slot_B]
