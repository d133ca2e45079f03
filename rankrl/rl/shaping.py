"""Rewards -> rewards: what changes a group's rewards before its advantage is taken."""

from __future__ import annotations

import torch
from torch import Tensor

from rankrl.rl.groups import average_ranks, group_std, padded


def unlikeliness(
    rewards_B: Tensor, logps_B: Tensor, group_B: Tensor, *, beta: float = 0.25, gate: float = 0.0
) -> Tensor:
    """Rewards discounted by how likely each answer was within its group: `r · (1 − beta · q/m)` (arXiv:2506.02355).

    q is the answer's 0-based rank by `logps_B`, least likely first, among the m rewarded answers of its group, so the
    factor lies in [1 − beta·(m−1)/m, 1] and the least likely answer keeps its reward. logps_B are sequence scores in
    nats under the policy that sampled: the mean over tokens (the authors' code) or the sum (the paper's text); the two
    can rank answers of different lengths in opposite orders, so the caller chooses. NaN rewards stay NaN and hold no rank.

    gate: only the part of a reward above it is discounted, `gate + (r − gate) · (1 − beta·q/m)`, and rewards up to it
    are left alone. With 0/1 rewards and gate 0 this is the paper; with graded rewards a gate above the wrong answers'
    rewards keeps the order of right and wrong, which the bare product can turn over (.8 · .758 < .7).

    Deviations: (1) equal log-probabilities share their average rank, where a double argsort ranks them by position;
    (2) a group whose rewards are all equal is returned unchanged (the authors drop it before this step), so it gives no
    advantage; (3) gate.
    """
    if not 0.0 <= beta <= 1.0:
        raise ValueError(f"beta must lie in [0, 1], got {beta}")
    scored_B = ~rewards_B.isnan()
    rank_B = average_ranks(torch.where(scored_B, logps_B, float("nan")), group_B)
    values_PG, _ = padded(rewards_B, group_B)
    count_B = (~values_PG.isnan()).sum(dim=1)[group_B].clamp(min=1)
    factor_B = 1.0 - beta * rank_B / count_B
    shaped_B = torch.where(rewards_B > gate, gate + (rewards_B - gate) * factor_B, rewards_B)
    varied_B = group_std(rewards_B, group_B) > 1e-8
    return torch.where(varied_B, shaped_B, rewards_B)
