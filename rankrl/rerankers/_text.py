"""How the texts of queries and passages enter a prompt: defused, on one line, cut, labelled."""

from __future__ import annotations

import re
from collections.abc import Callable

from rankrl.rerankers._templates import Passage
from rankrl.types import Candidate, CandidateList

_NUMBER = re.compile(r"\[\s*(\d+)\s*\]")
_LETTER = re.compile(r"\[\s*([A-Z])\s*\]")
_NAMED = re.compile(r"\b(passage|document)\s+(\w{1,3})\s*:", re.IGNORECASE)
_OPENING = re.compile(r"<(?=[/|｜!a-z_])", re.IGNORECASE)
_TURN = re.compile(r"\[\s*(/?\s*(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS))\s*\]", re.IGNORECASE)

Clip = Callable[[str, int], str]
"""(text, max_tokens) -> the longest beginning of it that has at most so many tokens."""


def defused(text: str) -> str:
    """`text` on one line, with nothing left that reads as a label, a tag `<answer>` or a chat token `<|im_end|>`.

    Labels are `[3]`, `[C]`, `Passage C:` and `Document 3:`; brackets become round ones, the colon a dash.
    """
    flat = _TURN.sub(r"(\1)", _NUMBER.sub(r"(\1)", _LETTER.sub(r"(\1)", " ".join(text.split()))))
    return _OPENING.sub("< ", _NAMED.sub(r"\1 \2 -", flat))


def clip_words(text: str, max_words: int) -> str:
    """The first `max_words` words, the clip of a reranker that knows no tokenizer."""
    return " ".join(text.split()[:max_words])


def letter(i: int) -> str:
    """The i-th letter label, from 1: A, B, …"""
    return chr(ord("A") + i - 1)


def passages(
    listing: CandidateList,
    clip: Clip,
    max_tokens: int,
    *,
    style: str = "[{label}] {text}",
    label: Callable[[int], str] = str,
    text: Callable[[Candidate], str] = lambda candidate: candidate.full_text,
) -> list[Passage]:
    """The candidates as a template sees them, in list order; style: the labelled line."""
    made = []
    for i, candidate in enumerate(listing.candidates, start=1):
        shown = clip(defused(text(candidate)), max_tokens)
        made.append(Passage(i, label(i), shown, style.format(label=label(i), text=shown).rstrip()))
    return made


def query(listing: CandidateList, clip: Clip, max_tokens: int) -> str:
    """The text of the query."""
    return clip(defused(listing.query.text), max_tokens)
