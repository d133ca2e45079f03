"""Answers in letters: an order `[B] > [A]`, or one choice such as `Passage B`."""

from __future__ import annotations

import re

from rankrl.parsing.labels import number_at, reading_of_choice, reading_of_labels, unread
from rankrl.parsing.thoughts import without_thoughts
from rankrl.types import Reading

_BRACKETED = re.compile(r"\[\s*([A-Z])\s*\]")
_OPENED = re.compile(r"\s*([A-Z])\s*(?:\]|>)")
_ALONE = re.compile(r"(?<![^\W_])[A-Z](?![^\W_])")
_WORD = re.compile(r"[^\W\d_]{2}|[a-z]")
_LAYOUT = re.compile(r"\s*\[?[A-Z]\](?:\s*>\s*\[[A-Z]\])*\s*")

_WHOLE = re.compile(r"(?:passage\s*(?::\s*)?)?([a-z])", re.IGNORECASE | re.ASCII)
_NAMED = re.compile(
    r"\b(?:[Pp]assage|PASSAGE|[Dd]ocument|DOCUMENT)\s*(?::\s*)?[\[(\"'*]{0,4}([A-Z])(?![^\W_])"
    r"|[\[{>]\s*([A-Z])\s*[\]}<]"
    r"|(?:\bis|\bbe|:)\s*[\[(\"'*]{0,4}([A-Z])[\])\"'*.]{0,4}\s*(?:$|[,;]|(?:because|since|as)\b)"
)
_LEADING = re.compile(
    r"[\s\[(\"'*]{0,40}(?:([A-Z])\s*(?:[\])\"'.:,;*\n-]|$)|([A-HJ-Z])\s+(?:is|answers|because|since)\b)"
)


def position(letter: str) -> int:
    """The position (0-based) that a letter label names: 0 for A."""
    return ord(letter) - ord("A")


def parse_letters(text: str, n: int, *, compat: str = "rankrl") -> Reading:
    """The order named by the letter labels of an answer such as `[B] > [A] > [C]`.

    What comes up to the last `</think>` is the reasoning. Labels are `[B]`, and a letter before the first `]` or `>` when the
    answer begins with it, as answers to a prompt that ends in an opened bracket do. Where nothing is bracketed, single capital
    letters are labels unless there is a word or a small letter ("A fine list", "I can't"). They are mended as numbers are.

    compat="upstream" reads as rank_llm does: every letter, wherever it stands, is its distance from `@`, and neighbours
    are one number, so that the prose "I am" is the labels I and (3345, out of range).
    """
    if compat == "upstream":
        return _upstream(text, n)
    reasoning, answer = without_thoughts(text)
    labels = _BRACKETED.findall(answer)
    if opened := _OPENED.match(answer):
        labels = [opened[1], *(labels if labels else _rest_alone(answer[opened.end() :]))]
    elif not labels:
        labels = _rest_alone(answer)
    malformed = _LAYOUT.fullmatch(answer) is None
    return reading_of_labels(map(position, labels), n, malformed=malformed, reasoning=reasoning)


def _rest_alone(text: str) -> list[str]:
    """The single capital letters of a text without words."""
    return [] if _WORD.search(text) else _ALONE.findall(text)


def _upstream(text: str, n: int) -> Reading:
    reasoning, answer = without_thoughts(text, endless=False)
    numbers = "".join(str(ord(c) - ord("@")) if c.isalpha() else " " for c in answer).split()
    malformed = _LAYOUT.fullmatch(answer) is None
    return reading_of_labels(map(number_at, numbers), n, malformed=malformed, reasoning=reasoning)


def parse_letter(text: str, n: int, *, compat: str = "rankrl") -> Reading:
    """The passage that an answer such as `Passage B`, `B` or `[B]` chooses, put first; the others as presented.

    The first label in range counts; an answer that is more than a label is `malformed`, and one without a label unreadable.
    A letter alone is a label at the beginning ("B: it says …", "B is best"), in brackets, and after "is", "be" or a colon; "A"
    and "I" in a sentence are not. What comes up
    to the last `</think>` is the reasoning.

    compat="upstream" takes only what llm-rankers takes: the answer, in capitals, must be one letter and nothing else, where
    the prompt has begun it with `Passage`; we also let the whole answer be `Passage B`.
    """
    if compat == "upstream":
        whole = _WHOLE.fullmatch(text.strip())
        return reading_of_choice([position(whole[1].upper())], n) if whole else unread(n)
    reasoning, answer = without_thoughts(text)
    if whole := _WHOLE.fullmatch(answer.strip().strip("[](){}\"'*.:`")):
        return reading_of_choice([position(whole[1].upper())], n, reasoning=reasoning)
    leading = _LEADING.match(answer)
    letters = [leading[leading.lastindex or 0]] if leading else []
    letters += [found[found.lastindex or 0] for found in _NAMED.finditer(answer)]
    return reading_of_choice(map(position, letters), n, malformed=True, reasoning=reasoning)
