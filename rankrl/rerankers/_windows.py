"""What rerankers that slide a window share."""

from __future__ import annotations

from typing import Any

from rankrl.errors import ConfigError


def check_window(name: str, reranker: Any) -> None:
    """Refuse a window of one passage, or one that moves further than it is long: passages would never be compared.

    Raises:
        ConfigError: what was given and what is accepted.
    """
    if reranker.window < 2:
        raise ConfigError(f"{name}: window must be 2 or more, got {reranker.window}")
    if reranker.stride > reranker.window:
        raise ConfigError(
            f"{name}: stride must be at most window={reranker.window}, got {reranker.stride}: "
            "passages between two windows would never be compared"
        )
