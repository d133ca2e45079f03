"""Listwise answers after reasoning: `<think>…</think> <answer>[2] > [1]</answer>`."""

from __future__ import annotations

import re

from rankrl.parsing.labels import number_at, reading_of_labels, unread
from rankrl.parsing.thoughts import without_thoughts
from rankrl.types import Reading

_LABEL = re.compile(r"\[\s*(\d+)\s*\]")
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[^\W\d_]")
_TAG = re.compile(r"<(/?)answer>", re.ASCII | re.IGNORECASE)
_LAYOUT = re.compile(
    r"(?:<think>)?.*?</think>\s*<answer>\s*\[\d+\](?:\s*>\s*\[\d+\])*\s*</answer>",
    re.ASCII | re.IGNORECASE | re.DOTALL,
)


def parse_reasoned(text: str, n: int, *, compat: str = "rankrl") -> Reading:
    """The order named inside the answer tag; the reasoning is never read.

    In the answer tag labels are `[i]`; where nothing is bracketed there, all numbers are. The last closed tag counts, or one
    that is not closed. Without a tag, what follows the reasoning is read in the same way if there is a bracketed label in it or
    no word. A thought that does not end makes the answer unreadable, unless the text ends in a closed answer tag. Labels
    are mended as in every listwise answer (out of range, repeated, missing); `malformed`: not just reasoning and answer.

    compat="upstream" reads as ReasonRank's code (arXiv:2508.07050): every number in the answer is a label, those that count
    a list or the words included; without both tags, what follows the last `<answer>`, or else the whole text, reasoning
    included; and one digit that cannot be converted, such as a superscript, makes it all unreadable.
    """
    if compat == "upstream":
        return _upstream(text, n)
    reasoning, after = without_thoughts(text)
    tagged = _tagged(after)
    if tagged is None and (last := _ending(text)) is not None:
        reasoning, tagged = text[: last[0]].strip(), last[1]
    answer = after if tagged is None else tagged
    labels = _LABEL.findall(answer)
    if not labels and (tagged is not None or not _WORD.search(answer)):
        labels = _NUMBER.findall(answer)
    return reading_of_labels(map(number_at, labels), n, malformed=not _is_layout(text), reasoning=reasoning)


def _tagged(text: str) -> str | None:
    """What the last closed answer tag holds, or the last one that is open; None without one."""
    tags = list(_TAG.finditer(text))
    for i in range(len(tags) - 1, 0, -1):
        if tags[i][1] and not tags[i - 1][1]:
            return text[tags[i - 1].end() : tags[i].start()]
    return text[tags[-1].end() :] if tags and not tags[-1][1] else None


def _ending(text: str) -> tuple[int, str] | None:
    """(where it starts, what it holds) of an answer tag that closes the text."""
    tags = list(_TAG.finditer(text))
    if len(tags) > 1 and tags[-1][1] and not tags[-2][1] and not text[tags[-1].end() :].strip():
        return tags[-2].start(), text[tags[-2].end() : tags[-1].start()]
    return None


def _is_layout(text: str) -> bool:
    """True for reasoning, answer tag, labels joined by `>`, and nothing else."""
    tags = list(_TAG.finditer(text))
    if len(tags) != 2 or len(re.findall(r"</?think>", text, re.ASCII | re.IGNORECASE)) > 2:
        return False  # so that the pattern below is asked once, and cannot go back and forth over a long text
    return _LAYOUT.fullmatch(text.strip()) is not None


def _upstream(text: str, n: int) -> Reading:
    lowered = text.lower()
    start = lowered.find("<think>")
    pattern = re.compile(r"</think>\s*<answer>")
    opened = pattern.search(lowered, start) if start >= 0 else None
    if opened and (end := lowered.find("</answer>", opened.end())) >= 0:
        reasoning, answer = lowered[start + len("<think>") : opened.start()], lowered[opened.end() : end]
    else:
        reasoning, answer = "", lowered.rpartition("<answer>")[2]
    words = "".join(c if c.isdigit() else " " for c in answer).split()
    try:
        positions = [int(word) - 1 for word in words]
    except ValueError:
        return unread(n, reasoning=reasoning.strip())
    return reading_of_labels(positions, n, malformed=not _is_layout(text), reasoning=reasoning.strip())
