"""Rewards that a random model can earn, for tests that train."""

from __future__ import annotations

from rankrl.contracts import over_group


def vowels(rollout, judgments):
    """The part of the answer's characters that are vowels, in [0, 1]."""
    text = rollout.text.lower()
    return sum(text.count(v) for v in "aeiou") / max(len(text), 1)


def low_tokens(rollout, judgments):
    """1 for an empty answer, less the longer it is: easy to learn by stopping early."""
    return 1.0 / (1.0 + rollout.completion_tokens)


def sometimes(rollout, judgments):
    """None for answers with an odd number of characters, else their vowels."""
    return vowels(rollout, judgments) if len(rollout.text) % 2 == 0 else None


@over_group
def longest(group):
    """1 for the longest answer of the group, else 0."""
    most = max(len(r.text) for r in group.rollouts)
    return [float(len(r.text) == most) for r in group.rollouts]


def mostly_vowels(rollout, judgments):
    """1 when more than 40 % of the answer's characters are vowels, else 0."""
    return float(vowels(rollout, judgments) > 0.4)
