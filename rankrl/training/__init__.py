"""Training: the TRL seam, its configuration, data, rewards and the supervised warm-up. Names are resolved on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankrl.training.config import PolicyConfig
    from rankrl.training.policy import RankPolicyTrainer
    from rankrl.training.rewarding import as_trl_reward, parse_reward

_WHERE = {
    "PolicyConfig": "rankrl.training.config",
    "RankPolicyTrainer": "rankrl.training.policy",
    "as_trl_reward": "rankrl.training.rewarding",
    "parse_reward": "rankrl.training.rewarding",
}

__all__ = ["PolicyConfig", "RankPolicyTrainer", "as_trl_reward", "parse_reward"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'rankrl.training' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)
