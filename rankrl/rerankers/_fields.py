"""What the fields of a reranker may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rankrl.errors import ConfigError


def check_fields(
    name: str,
    reranker: Any,
    *,
    positive: Sequence[str] = (),
    whole: Sequence[str] = (),
    flags: Sequence[str] = (),
    known: Mapping[str, Sequence[str]] | None = None,
    most: Mapping[str, int] | None = None,
) -> None:
    """Refuse fields of the reranker called `name` that are out of range.

    positive: whole numbers from 1. whole: whole numbers. flags: true or false. known: field -> what it can be. most: field ->
    its largest value.

    Raises:
        ConfigError: what was given and what is accepted.
    """
    for field in (*positive, *whole):
        value = getattr(reranker, field)
        if isinstance(value, bool) or not isinstance(value, int) or (field in positive and value < 1):
            wanted = "a whole number of 1 or more" if field in positive else "a whole number"
            raise ConfigError(f"{name}: {field} must be {wanted}, got {value!r}")
    for field in flags:
        if not isinstance(value := getattr(reranker, field), bool):
            raise ConfigError(f"{name}: {field} must be true or false, got {value!r}")
    for field, largest in (most or {}).items():
        if (value := getattr(reranker, field)) > largest:
            raise ConfigError(f"{name}: {field} must be at most {largest}, got {value}")
    for field, accepted in (known or {}).items():
        if (value := getattr(reranker, field)) not in accepted:
            raise ConfigError(f"{name}: {field} must be one of {', '.join(map(repr, accepted))}, got {value!r}")
