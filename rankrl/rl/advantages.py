"""Rewards -> advantages: pure functions `(rewards_B, group_B) -> (advantages_B, diagnostics)`.

A NaN reward does not apply: it is left out of its group's statistics and its advantage is 0. The diagnostics are 0-dim
tensors: `std_zero`, the part of the rollouts whose group gives no signal, and `scored`, the part with a reward.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rankrl.rl.groups import group_mean, group_std, nan_std, padded

Diagnostics = dict[str, Tensor]


def standardized(rewards_B: Tensor, group_B: Tensor, *, eps: float = 1e-4) -> tuple[Tensor, Diagnostics]:
    """Reward minus its group's mean, over its group's sample standard deviation plus eps (GRPO, arXiv:2402.03300 eq. 3).

    Deviation: (1) the paper divides by the bare standard deviation; eps and ddof = 1 are TRL's, to the last bit.
    """
    centred_B = rewards_B - group_mean(rewards_B, group_B)
    std_B = group_std(rewards_B, group_B)
    return _applicable(centred_B / (std_B + eps)), _diagnostics(rewards_B, std_B)


def centred(rewards_B: Tensor, group_B: Tensor) -> tuple[Tensor, Diagnostics]:
    """Reward minus its group's mean (Dr. GRPO, arXiv:2503.20783): TRL's `scale_rewards="none"`."""
    centred_B = rewards_B - group_mean(rewards_B, group_B)
    return _applicable(centred_B), _diagnostics(rewards_B, group_std(rewards_B, group_B))


def batch_standardized(rewards_B: Tensor, group_B: Tensor, *, eps: float = 1e-4) -> tuple[Tensor, Diagnostics]:
    """Reward minus its group's mean, over the standard deviation of *all* rewards plus eps: TRL's `scale_rewards="batch"`."""
    centred_B = rewards_B - group_mean(rewards_B, group_B)
    std = nan_std(rewards_B, dim=0) if len(rewards_B) > 1 else rewards_B.new_zeros(())
    return _applicable(centred_B / (std + eps)), _diagnostics(rewards_B, std.expand_as(rewards_B))


def leave_one_out(rewards_B: Tensor, group_B: Tensor) -> tuple[Tensor, Diagnostics]:
    """Reward minus the mean of the *other* rollouts of its group (RLOO, arXiv:2402.14740); 0 in a group of one."""
    values_PG, _ = padded(rewards_B, group_B)
    count_B = (~values_PG.isnan()).sum(dim=1)[group_B].to(rewards_B.dtype)
    centred_B = rewards_B - group_mean(rewards_B, group_B)
    scaled_B = torch.where(count_B > 1, centred_B * count_B / (count_B - 1).clamp(min=1), 0.0)
    return _applicable(scaled_B), _diagnostics(rewards_B, group_std(rewards_B, group_B))


def _applicable(advantages_B: Tensor) -> Tensor:
    return torch.nan_to_num(advantages_B, nan=0.0)


def _diagnostics(rewards_B: Tensor, std_B: Tensor) -> Diagnostics:
    flat_B = torch.isclose(std_B, torch.zeros_like(std_B))
    return {"std_zero": flat_B.float().mean(), "scored": (~rewards_B.isnan()).float().mean()}
