"""Policy-gradient losses from log-probabilities and advantages: pure, differentiable, float64-testable."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from rankrl.rl.ratios import Level, log_ratio

Aggregation = Literal["sequence_mean", "token_mean", "constant"]


def clipped_surrogate(log_ratio_BT: Tensor, advantages_BT: Tensor, *, low: float = 0.2, high: float = 0.2) -> Tensor:
    """Per-token loss `−min(ρA, clip(ρ, 1−low, 1+high)·A)`, (B, T): pessimistic for either sign of A (arXiv:1707.06347)."""
    ratio_BT = torch.exp(log_ratio_BT)
    clipped_BT = torch.clamp(ratio_BT, 1 - low, 1 + high)
    return -torch.min(ratio_BT * advantages_BT, clipped_BT * advantages_BT)


def k3_divergence(logps_BT: Tensor, reference_logps_BT: Tensor) -> Tensor:
    """Per-token estimate of KL(policy ‖ reference), `exp(d) − d − 1 ≥ 0` with d = ref − policy (Schulman's k3)."""
    difference_BT = reference_logps_BT - logps_BT
    return torch.exp(difference_BT) - difference_BT - 1


def aggregate(
    loss_BT: Tensor, mask_BT: Tensor, *, how: Aggregation = "sequence_mean", constant: float | None = None
) -> Tensor:
    """A scalar from per-token losses.

    "sequence_mean": mean over rows of each row's token mean (GRPO; TRL's `grpo`). "token_mean": over all unmasked tokens
    (DAPO; TRL's `bnpo` on one micro-batch). "constant": the sum over B·`constant` (Dr. GRPO, constant = the most
    completion tokens a row can have). A row without tokens counts as 0.
    """
    kept_BT = loss_BT * mask_BT
    if how == "sequence_mean":
        return (kept_BT.sum(-1) / mask_BT.sum(-1).clamp(min=1.0)).mean()
    if how == "token_mean":
        return kept_BT.sum() / mask_BT.sum().clamp(min=1.0)
    if how == "constant":
        if not constant:
            raise ValueError("aggregation 'constant' needs constant > 0")
        return kept_BT.sum() / (loss_BT.size(0) * constant)
    raise ValueError(f"how must be 'sequence_mean', 'token_mean' or 'constant', got {how!r}")


def policy_loss(
    logps_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    *,
    old_logps_BT: Tensor | None = None,
    reference_logps_BT: Tensor | None = None,
    level: Level = "token",
    low: float = 0.2,
    high: float = 0.2,
    beta: float = 0.0,
    how: Aggregation = "sequence_mean",
    constant: float | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """(loss, diagnostics): the GRPO objective, a scalar to minimise, and what it saw (no gradient).

    Without old log-probabilities the policy is its own behaviour policy (ratio 1, nothing clipped, gradient intact).
    beta weighs the k3 divergence from the reference, per token, *without* the ratio (TRL's use_bias_correction_kl=False,
    the papers' form). Advantages may be (B,) or (B, T).
    """
    old_BT = logps_BT.detach() if old_logps_BT is None else old_logps_BT
    ratio_BT = log_ratio(logps_BT, old_BT, mask_BT, level=level)
    advantages_BT = advantages_B.unsqueeze(1) if advantages_B.dim() == 1 else advantages_B
    loss_BT = clipped_surrogate(ratio_BT, advantages_BT, low=low, high=high)
    tokens = mask_BT.sum().clamp(min=1.0)
    with torch.no_grad():
        exceeded_BT = ((ratio_BT.exp() < 1 - low) & (advantages_BT < 0)) | (
            (ratio_BT.exp() > 1 + high) & (advantages_BT > 0)
        )
        diagnostics = {
            "clipped": (exceeded_BT * mask_BT).sum() / tokens,
            "log_ratio": (ratio_BT * mask_BT).sum() / tokens,
        }
    if beta:
        if reference_logps_BT is None:
            raise ValueError("beta > 0 needs reference log-probabilities")
        divergence_BT = k3_divergence(logps_BT, reference_logps_BT)
        loss_BT = loss_BT + beta * divergence_BT
        diagnostics["kl"] = ((divergence_BT * mask_BT).sum() / tokens).detach()
    return aggregate(loss_BT, mask_BT, how=how, constant=constant), diagnostics
