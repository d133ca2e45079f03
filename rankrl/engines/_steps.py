"""Choices as steps of one token each, for engines that tell the log-probabilities of given tokens after a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Tokens = tuple[int, ...]


def steps_of(choices: Sequence[Tokens]) -> dict[Tokens, tuple[int, ...]]:
    """Beginning -> the tokens with which choices go on after it, () included; in order of first appearance.

    Choices of one token are one step; others share the steps of the beginnings that they share.
    """
    steps: dict[Tokens, dict[int, None]] = {}
    for choice in choices:
        for place, token in enumerate(choice):
            steps.setdefault(choice[:place], {})[token] = None
    return {beginning: tuple(following) for beginning, following in steps.items()}


def summed(choice: Tokens, logprobs: Mapping[Tokens, Mapping[int, float]]) -> float | None:
    """The log-probability of a choice from those of its steps; None when one is not known."""
    total = 0.0
    for place, token in enumerate(choice):
        if (step := logprobs.get(choice[:place], {}).get(token)) is None:
            return None
        total += step
    return total
