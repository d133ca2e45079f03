"""Discounts right answers by how likely they were within their group, so that rare right answers count most (a shaper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rankrl.contracts import over_group
from rankrl.errors import ConfigError
from rankrl.types import RolloutGroup


@over_group(shapes=True)
def unlikeliness(
    group: RolloutGroup,
    rewards: Sequence[float | None],
    *,
    beta: float = 0.25,
    rank_by: Literal["mean", "sum"] = "mean",
    gate: float = 0.0,
) -> list[float | None]:
    """The group's rewards times `1 − beta·q/m`, q the answer's likelihood rank, least likely first (arXiv:2506.02355).

    Scales the summed rewards of the other `--reward`s before the advantage is taken; needs the rollouts' log-probabilities.
    rank_by: "mean" ranks by log-probability per token (the authors' code), "sum" by that of the whole answer (the paper).
    beta, gate, the factor's range and deviations 1–3: `rankrl.rl.shaping.unlikeliness`.
    Deviation: (4) answers with the same text are one answer: they share the mean of their log-probabilities, hence a rank.

    Raises:
        ConfigError: rank_by is something else, or a rollout has no log-probability.
    """
    import torch

    from rankrl.rl.shaping import unlikeliness as shaped

    if rank_by not in ("mean", "sum"):
        raise ConfigError(f"unlikeliness: rank_by must be 'mean' or 'sum', got {rank_by!r}")
    by_text: dict[str, list[float]] = {}
    for rollout in group.rollouts:
        if rollout.logprob is None:
            raise ConfigError(
                "unlikeliness needs the log-probability of every rollout; this trainer did not compute it"
            )
        length = max(rollout.completion_tokens, 1) if rank_by == "mean" else 1
        by_text.setdefault(rollout.text, []).append(rollout.logprob / length)
    logps = [sum(by_text[r.text]) / len(by_text[r.text]) for r in group.rollouts]
    given_B = torch.tensor([float("nan") if r is None else r for r in rewards], dtype=torch.float64)
    shaped_B = shaped(
        given_B,
        torch.tensor(logps, dtype=torch.float64),
        torch.zeros(len(group), dtype=torch.long),
        beta=beta,
        gate=gate,
    )
    return [None if given is None else float(value) for given, value in zip(rewards, shaped_B, strict=True)]
