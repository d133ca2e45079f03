"""Options that engines have in common, refused in one line when they make no sense, and the seed of one request."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from rankrl.errors import ConfigError, DataError
from rankrl.types import Request


def check_whole(least: int = 1, most: int | None = None, /, **options: object) -> None:
    """Raises:
    ConfigError: one of the options is no whole number from `least` to `most`, or from `least` on.
    """
    for name, value in options.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < least or (most is not None and value > most):  # type: ignore[operator]
            upto = "or more" if most is None else f"to {most}"
            raise ConfigError(f"{name} must be a whole number of {least} {upto}, got {value!r}")


def check_temperature(temperature: Any, *, most: int | None = None, unsent: str = "") -> None:
    """most: what the engine takes at most. unsent: what None means, where it is accepted.

    Raises:
        ConfigError: it is no finite number of 0 or more, or more than `most`.
    """
    if unsent and temperature is None:
        return
    good = is_number(temperature) and 0 <= temperature < float("inf") and (most is None or temperature <= most)
    if not good:
        upto = "or more" if most is None else f"to {most}"
        raise ConfigError(f"temperature must be 0 {upto}{unsent}, got {temperature!r}")


def is_number(value: Any) -> bool:
    """True for an int or float that is no bool."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_fits(sizes: Sequence[int], whole: Sequence[int], *, context: int, max_new_tokens: int, name: str) -> None:
    """sizes: tokens of each prompt. whole: the same with room for its answer, as far as they share a context.

    Raises:
        DataError: some do not fit into the model's context.
    """
    if long := [size for size, taken in zip(sizes, whole, strict=True) if taken > context]:
        raise DataError(
            f"{len(long)} of {len(sizes)} prompts do not fit: the longest has {max(long)} tokens, max_new_tokens is "
            f"{max_new_tokens}, and the context of {name} is {context}; "
            "lower max_new_tokens, or show fewer or shorter passages (rank_r1: num_child=4, passage_tokens=64)"
        )


def seed_of(seed: int, request: Request) -> bytes:
    """The seed of a request's own draws, from `seed` and the request alone: 32 bytes, of which an engine takes its share."""
    return hashlib.sha256(f"{seed}:{request.key}".encode()).digest()
