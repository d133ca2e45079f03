"""Listwise answers: `[2] > [1] > [3]`."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from rankrl.parsing.labels import number_at, reading_of_labels
from rankrl.parsing.thoughts import without_thoughts
from rankrl.types import Reading

Rule = Literal["brackets", "digits"]
"""Which numbers of a listwise answer are labels; see `parse_permutation`."""

RULES: tuple[Rule, ...] = ("brackets", "digits")

_BRACKETED = re.compile(r"\[\s*(\d+)\s*\]", re.ASCII)
_OPENED = re.compile(r"\s*(\d+)\s*(?:\]|>)", re.ASCII)
_NUMBER = re.compile(r"\d+", re.ASCII)
_LAYOUT = re.compile(r"\s*\[\s*\d+\s*\](?:\s*>\s*\[\s*\d+\s*\])*\s*", re.ASCII)
_WORD = re.compile(r"[^\W\d_]")


def parse_permutation(text: str, n: int, *, rule: Rule = "brackets") -> Reading:
    """The order named by the labels (1-based) of a listwise answer such as `[2] > [1] > [3]`.

    What comes up to the last `</think>` is the reasoning and no label is read in it; nor in a thought that never ends.
    Labels out of 1..n are ignored, the first occurrence of a repeated label counts, missing labels follow in presented
    order; the report counts each, and calls `malformed` whatever is not labels joined by `>` alone. No label at all: the
    presented order, `unreadable`. Superscript, subscript, circled and full-width digits (and full-width brackets) are digits.

    rule: "brackets" reads `[i]`, and a number before the first `]` or `>` when the answer begins with it: prompts that end in
    an opened bracket have answers such as `17] > [4]`. Where nothing is bracketed, all numbers are labels, unless the answer
    has words and one number only ("20 passages are provided."). "digits" reads every number, as rank_llm does, list numbers
    and counts included: "1. [3] > 2. [1]" is then 1, 3, 2. Both give the published numbers where answers are well formed.

    Deviations from rank_llm in "digits": 1. of a text with digits that Python calls digits but cannot convert (the Ethiopic
    ones), the others are read, not none. 2. numbers of more than nine digits are out of range, not an exception.
    """
    reasoning, answer = without_thoughts(text, endless=rule == "brackets")
    answer = _plain_digits(answer)
    positions = map(number_at, _labels(answer, rule))
    malformed = _LAYOUT.fullmatch(answer) is None
    return reading_of_labels(positions, n, malformed=malformed, reasoning=reasoning)


def _labels(answer: str, rule: Rule) -> list[str]:
    """The numbers that count as labels, as written."""
    if rule == "digits":
        return _NUMBER.findall(answer)
    bracketed = _BRACKETED.findall(answer)
    if opened := _OPENED.match(answer):
        return [opened[1], *bracketed] if bracketed else _NUMBER.findall(answer)
    if bracketed:
        return bracketed
    numbers = _NUMBER.findall(answer)
    return [] if len(numbers) == 1 and _WORD.search(answer) else numbers


def _plain_digits(text: str) -> str:
    """The text with superscript, subscript, circled and full-width digits, and full-width brackets, as ASCII ones."""
    if text.isascii():
        return text
    return text.translate({ord(c): plain for c in set(text) if not c.isascii() and (plain := _plain(c))})


def _plain(character: str) -> str:
    """A character's ASCII digits or bracket; "" for all others."""
    compatible = unicodedata.normalize("NFKC", character)
    if compatible in ("[", "]", ">"):
        return compatible
    if not compatible.isascii() or not compatible.isdigit():
        return ""
    circled = unicodedata.decomposition(character).startswith("<circle>")
    return f" {compatible} " if circled else compatible
