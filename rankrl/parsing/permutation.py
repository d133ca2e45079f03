"""Listwise answers: `[2] > [1] > [3]`."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from rankrl.types import ParseReport, Ranking, Reading

Rule = Literal["brackets", "digits"]
"""Which numbers of a listwise answer are labels; see `parse_permutation`."""

RULES: tuple[Rule, ...] = ("brackets", "digits")

_BRACKETED = re.compile(r"\[\s*(\d+)\s*\]", re.ASCII)
_OPENED = re.compile(r"\s*(\d+)\s*(?:\]|>)", re.ASCII)
_NUMBER = re.compile(r"\d+", re.ASCII)
_LAYOUT = re.compile(r"\s*\[\s*\d+\s*\](?:\s*>\s*\[\s*\d+\s*\])*\s*", re.ASCII)
_WORD = re.compile(r"[^\W\d_]")
_THINK = re.compile(r"<(/?)think>", re.ASCII | re.IGNORECASE)


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
    reasoning, answer = _without_thoughts(text, unended=rule == "brackets")
    answer = _plain_digits(answer)
    seen: dict[int, None] = {}
    repeated = out_of_range = 0
    for number in _labels(answer, rule):
        position = int(number) - 1 if len(number) <= 9 else n
        if not 0 <= position < n:
            out_of_range += 1
        elif position in seen:
            repeated += 1
        else:
            seen[position] = None
    rest = [i for i in range(n) if i not in seen]
    report = ParseReport(
        repeated=repeated,
        out_of_range=out_of_range,
        missing=len(rest),
        unreadable=not seen and n > 0,
        malformed=bool(seen) and _LAYOUT.fullmatch(answer) is None,
    )
    return Reading(Ranking((*seen, *rest)), report, reasoning=reasoning)


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


def _without_thoughts(text: str, *, unended: bool) -> tuple[str, str]:
    """(reasoning, what follows the last `</think>`); with `unended`, a thought that has no end is reasoning too."""
    tags = list(_THINK.finditer(text))
    closing = next((tag for tag in reversed(tags) if tag[1]), None)
    start, after = (0, 0) if closing is None else (closing.start(), closing.end())
    thought = text[:start]
    if (opening := _THINK.match(thought.lstrip())) and not opening[1]:
        thought = thought.lstrip()[opening.end() :]
    begun = next((tag for tag in tags if tag.start() >= after), None) if unended else None
    if begun is None:
        return thought.strip(), text[after:]
    return "\n".join(filter(None, (thought.strip(), text[begun.end() :].strip()))), text[after : begun.start()]


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
