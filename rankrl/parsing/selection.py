"""Selections: `Document 3, Document 1, Document 7`."""

from __future__ import annotations

import re
from dataclasses import replace

from rankrl.parsing.labels import number_at, reading_of_labels
from rankrl.parsing.thoughts import without_thoughts
from rankrl.types import Reading

_ITEM = re.compile(
    r"\b(?:documents?\b[\s:#\[(\"'*]{0,8}|(?<=[,&;]\s)|(?<=[,&;])|(?<=\band\s))(\d+)", re.IGNORECASE | re.ASCII
)
_NUMBER = re.compile(r"\d+", re.ASCII)
_WORD = re.compile(r"[^\W\d_]")
_NAMED = re.compile(r"\bdocuments?\b[\s:#\[(\"'*]{0,8}(\d+)", re.IGNORECASE | re.ASCII)
_ITEM_LINE = re.compile(
    r"[\s>*•-]{0,20}(?:\d{1,3}[.)]\s{0,4})?[\s\[(\"'*]{0,8}document\s{0,4}#?\[?(\d+)[\])\"'*\s,;.]{0,12}([:(–—-].*)?",
    re.IGNORECASE | re.ASCII,
)
_AND_OR_WORD = re.compile(r"\band\b|([^\W\d_])", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\.(?=\s|$)")
_LAYOUT = re.compile(r"Document \d+(?:, Document \d+)*\.?", re.ASCII)


def parse_selection(text: str, n: int, pick: int | None = None, *, compat: str = "rankrl") -> Reading:
    """The documents that an answer such as `Document 3, Document 1` selects, first; the others as presented.

    scores: 1.0 for a document that is selected, 0.0 for another. The last line that names documents and says nothing else
    counts, or else the last that names one; with the lines above it where each begins with one document and names no other (a
    list written one below the other, with or without reasons); of a line, what comes from its first document to the end of
    the sentence. Where no document is named and nothing else is said, bare numbers count. What comes up to the last
    `</think>` is the reasoning. Numbers out of range and repeated ones are ignored and counted. missing: how many fewer than
    `pick` there are; `malformed`: another layout, or more. Without `pick` any number of them will do.

    TourRank's code (arXiv:2406.11678) reads the last line with `Document`, after its last colon and up to its first full
    stop, split at commas, the last word of each part. compat="upstream" does the same, and keeps what it does with other
    parts: `Document 0` is the last document; what is no number selects the first document, the very first apart, that has
    not been selected. Ours even then: a number out of range is ignored, where its code ends, and no document counts twice.
    """
    reasoning, answer = without_thoughts(text)
    positions = _upstream(text, n) if compat == "upstream" else map(number_at, _numbers(answer))
    reading = reading_of_labels(positions, n)
    selected = n - reading.report.missing
    report = replace(
        reading.report,
        missing=0 if pick is None else max(0, pick - selected),
        malformed=selected > 0
        and ((pick is not None and selected > pick) or _LAYOUT.fullmatch(answer.strip()) is None),
    )
    chosen = set(reading.ranking.order[:selected])
    scores = tuple(float(i in chosen) for i in range(n))
    return Reading(reading.ranking, report, scores, reasoning)


def _numbers(answer: str) -> list[str]:
    lines = answer.splitlines()
    naming = [i for i, line in enumerate(lines) if _NAMED.search(line)]
    if not naming:
        return [] if _WORD.search(answer) else _NUMBER.findall(answer)
    last = next((i for i in reversed(naming) if not _says_more(lines[i])), naming[-1])
    if _item(lines[last]):
        numbers = []
        for line in reversed(lines[: last + 1]):
            if number := _item(line):
                numbers.append(number)
            elif line.strip():
                break
        return numbers[::-1]
    line = lines[last]
    first = _NAMED.search(line)
    assert first is not None
    end = _SENTENCE_END.search(line, first.end())
    return _ITEM.findall(line[first.start() : end.start() if end else len(line)])


def _says_more(line: str) -> bool:
    """True when there are words beside the names of documents."""
    return any(found[1] for found in _AND_OR_WORD.finditer(_NAMED.sub("", line)))


def _item(line: str) -> str:
    """The number of a line of a list, which begins with a document and names no other; "" of another line."""
    found = _ITEM_LINE.fullmatch(line)
    return found[1] if found and not (found[2] and _NAMED.search(found[2])) else ""


def _upstream(text: str, n: int) -> list[int]:
    line = next((line for line in reversed(text.split("\n")) if "Document" in line), None)
    if line is None:
        return []
    positions: list[int] = []
    for part in line.rpartition(":")[2].partition(".")[0].split(","):
        words = part.split()
        if not words:
            continue
        try:
            number = int(words[-1])
        except ValueError:
            positions.append(next((i for i in range(1, n + 1) if i not in positions), n))
        else:
            positions.append(number - 1 if number else n - 1)
    return positions
