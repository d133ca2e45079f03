"""How the texts of queries and passages enter a prompt: defused, on one line, cut, labelled."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

from rankrl.rerankers._templates import Passage
from rankrl.types import Candidate, CandidateList

_TURNS = (
    "(?i:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)|TOOL_CONTENT|MODEL_SETTINGS|ARGS|CALL_ID|THINK|"
    "BEGIN_AUDIO|AUDIO|TRANSCRIBE|IMG_BREAK|IMG_END|IMG|PREFIX|MIDDLE|SUFFIX|CLS|SEP|PAD|UNK|[gs]?MASK|@?BOS@?|EOS|EOT|"
    "unused\\d+|control_\\d+"
)
_EDITS: tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...] = (
    (("[",), re.compile(rf"\[\s*([A-Z]|\d+|/?\s*(?:{_TURNS}))\s*\]"), r"(\1)"),
    (("passage", "document"), re.compile(r"\b(passage|document)(\s*\d{1,3}|\s+\w{1,3})\s*:", re.IGNORECASE), r"\1\2 -"),
    (
        ("query", "document", "passage", "relevan", "instruct"),
        re.compile(r"\b(query|document|passage|relevan(?:t|ce)|instruct(?:ion)?)\s*:", re.IGNORECASE),
        r"\1 -",
    ),
    (("<",), re.compile(r"<(?=[/|!a-z_]|\d\w*>)", re.IGNORECASE), "< "),
    (("/think", "/no"), re.compile(r"/(?<![\w/.:<]/)(?<!< /)(?=(?:no_?)?think)", re.IGNORECASE), "/ "),
    (("]~", "[e~"), re.compile(r"~(?:(?<=\]~)(?=!?b[\[\]])|(?<=\[e~)(?=\[))"), "~ "),
)
"""What reads as a part of a prompt (small texts of which it has one, a pattern) and what is written for it: labels and turns in
brackets, named labels, fields, tags, the switches `/think` and `/no_think` (Qwen3, GLM), turns `]~b]` (MiniMax)."""

_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u115f\u1160\u17b4\u17b5\u3164\uffa0\ufff9-\ufffb"
    "\u00ad\u034f\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff]"
)
"""Characters without a shape of their own, control characters among them: some tokenizers drop them."""
_SURROGATE = re.compile("[\ud800-\udfff]")

Clip = Callable[[str, int], str]
"""(text, max_tokens) -> the longest beginning of it that has at most so many tokens."""


def defused(text: str) -> str:
    """`text` on one line, with nothing left that reads as a label, a field, a tag `<answer>` or a chat token `<|im_end|>`.

    Labels are `[3]`, `[C]`, `Passage C:` and `Document 3:`, fields `Query:`, `Document:`, `Passage:`, `Relevant:` and
    `Instruct:`: brackets become round ones, the colon a dash. Tokens in brackets, `[INST]` or `[SEP]`, are treated as labels are.
    A tag gets a space after its `<`, a switch for thinking (`/no_think`) after its `/`. Characters that Unicode calls
    compatible with these count as these (full-width brackets, circled digits), and unseen ones between them, control
    characters too, do not hide them; look-alikes of other scripts are left, because no tokenizer and no parser takes them
    for the same. Half a surrogate pair, which no tokenizer takes, becomes U+FFFD.
    """
    return _kept_defused(text) if len(text) <= _KEPT_LENGTH else _defused(text)


def _defused(text: str) -> str:
    flat = _same(text, " ".join(text.split()))
    if flat.isascii() and flat.isprintable():
        small = flat.lower()
        for needed, pattern, written in _EDITS:
            if any(map(small.__contains__, needed)):
                flat = pattern.sub(written, flat)
        return flat
    flat = _SURROGATE.sub("\ufffd", flat)
    folds = {ord(c): fold for c in set(flat) if not " " <= c <= "~" and (fold := _fold(c)) != c}
    folded = flat.translate(folds)
    small = folded.lower()
    for needed, pattern, written in _EDITS:
        if any(map(small.__contains__, needed)) and (found := list(pattern.finditer(folded))):
            places = [place for place, c in enumerate(flat) for _ in folds.get(ord(c), c)]
            flat = _edited(flat, [(places[m.start()], places[m.end() - 1] + 1, m.expand(written)) for m in found])
            folded = flat.translate(folds)
    return flat


def _same(text: str, copy: str) -> str:
    """`text` itself where the copy says the same: what is kept of it takes no memory of its own."""
    return text if text == copy else copy


def _edited(text: str, edits: list[tuple[int, int, str]]) -> str:
    """`text` with [start, stop) replaced, for edits in order."""
    parts, end = [], 0
    for start, stop, written in edits:
        parts += [text[end:start], written]
        end = stop
    return "".join([*parts, text[end:]])


@lru_cache(maxsize=4096)
def _fold(character: str) -> str:
    """The ASCII characters that this one is compatible with, "" for one that is not seen, else itself."""
    if _UNSEEN.match(character):
        return ""
    compatible = unicodedata.normalize("NFKC", character)
    return compatible if compatible.isascii() else character


def clip_words(text: str, max_words: int) -> str:
    """The first `max_words` words, the clip of a reranker that knows no tokenizer."""
    return _kept_words(text, max_words) if len(text) <= _KEPT_LENGTH else _words(text, max_words)


def _words(text: str, max_words: int) -> str:
    return _same(text, " ".join(text.split()[:max_words]))


_KEPT, _KEPT_LENGTH = 32_768, 4096
"""Orderings show a text many times: what became of so many texts, none of them longer, is kept."""

_kept_defused = lru_cache(maxsize=_KEPT)(_defused)
_kept_words = lru_cache(maxsize=_KEPT)(_words)


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
    made, line = [], style.format
    for i, candidate in enumerate(listing.candidates, start=1):
        shown, name = clip(defused(text(candidate)), max_tokens), label(i)
        made.append(Passage(i, name, shown, line(label=name, text=shown).rstrip()))
    return made


def query(listing: CandidateList, clip: Clip, max_tokens: int) -> str:
    """The text of the query."""
    return clip(defused(listing.query.text), max_tokens)
