"""Grades of a group of documents: `<answer>` around a JSON object `{"[1]": 7, "[2]": 0}`."""

from __future__ import annotations

import json
import math
import re
from itertools import islice
from typing import Any

from rankrl.types import ParseReport, Ranking, Reading

_REASON = re.compile(r"<(/?)(?:reason|think)>", re.ASCII | re.IGNORECASE)
_ANSWER = re.compile(r"<(/?)answer>", re.ASCII | re.IGNORECASE)
_FENCE = re.compile(r"```json", re.ASCII | re.IGNORECASE)
_ENTRY = re.compile(
    r"""(?<![\w.])(\d{1,9})\s{0,4}\]{0,2}\s{0,4}["'\u201d\u2019]?\s{0,8}[:\uff1a]\s{0,8}["'\u201c\u2018]?(-?\d{1,9}(?:\.\d{1,20})?)(?!\w|\.\d)""",
    re.ASCII,
)
"""A label, by itself or in brackets and quotes, a colon, a number."""

_PAIR = r'\s*"\[\d+\]"\s*:\s*\d+\s*'
_LAYOUT = re.compile(
    rf"\s*<answer>\s*```json\s*\{{{_PAIR}(?:,{_PAIR})*\}}\s*```\s*</answer>\s*", re.ASCII | re.IGNORECASE
)


def parse_grades(text: str, n: int, *, most: int = 10) -> Reading:
    """The grade of each of n candidates divided by `most`, from a JSON object whose keys are their labels, `"[1]"` to `"[n]"`.

    The object is looked for in the last answer block (or, without one, after the reasoning): the last fenced block of JSON,
    else from the last `{` on. Each entry is read for itself, so broken brackets, quotes and commas spoil nothing around
    them; numbers are cut to 0..`most`. A label beyond n is `out_of_range`, the first of a repeated one counts, a candidate
    without a grade has no score (`missing`), follows in presented order. Anything but the layout asked for, and grades that
    are no integers of 0..`most`, is `malformed`; without any entry the answer is `unreadable`.
    """
    reasoning, answer, tagged = _parts(text)
    block = _block(answer)
    entries = _ENTRY.findall(block if block is not None else answer if tagged else "")
    grades: dict[int, float] = {}
    repeated = out_of_range = 0
    bent = not _is_layout(text)
    for label, number in entries:
        position = int(label) - 1
        if not 0 <= position < n:
            out_of_range += 1
        elif position in grades:
            repeated += 1
        else:
            grades[position] = min(max(float(number), 0.0), float(most))
            bent = bent or grades[position] != float(number)
    report = ParseReport(
        repeated=repeated,
        out_of_range=out_of_range,
        missing=n - len(grades),
        unreadable=not grades,
        malformed=bool(grades) and bent,
    )
    return _reading([grades[i] / most if i in grades else None for i in range(n)], report, reasoning)


def parse_grades_upstream(text: str, n: int, *, most: int = 10) -> Reading:
    """As GroupRank's own code reads it: whatever goes wrong anywhere gives all n candidates 0.

    That is JSON that stays broken after two repairs (`[7]]`, one missing `}`), one label beyond n, one grade that is no
    number. Label 0 is the last candidate; grades are not cut to 0..`most`; a candidate left out has no score.
    """
    reasoning, answer, tagged = _parts(text)
    try:
        block = _block(answer)
        given: dict[str, Any] = json.loads(_repaired(answer if block is None else block))
        scores: list[float | None] = [None] * n
        for key, value in given.items():
            if not math.isfinite(grade := float(value)):
                raise ValueError("JSON's NaN and Infinity are no grades")
            scores[int(key.strip("[] ")) - 1] = grade / most
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError, OverflowError):
        return _reading([0.0] * n, ParseReport(missing=n, malformed=True), reasoning)
    missing = sum(score is None for score in scores)
    return _reading(scores, ParseReport(missing=missing, malformed=not tagged, unreadable=missing == n), reasoning)


def _parts(text: str) -> tuple[str, str, bool]:
    """(reasoning, where the grades are looked for, whether that is an answer block).

    The reasoning is what stands in `<reason>` or `<think>` blocks that end; the prompt may have opened the first.
    """
    thoughts: list[str] = []
    rest: list[str] = []
    after, opened = 0, -1  # the end of the last block, and of the opening tag of one that has not ended
    for tag in _REASON.finditer(text):
        if tag[1]:
            thoughts.append(text[max(after, opened) : tag.start()].strip())
            after, opened = tag.end(), -1
        elif opened < 0:
            rest.append(text[after : tag.start()])
            after, opened = tag.start(), tag.end()
    rest.append(text[after:])
    outside = "\n".join(rest)
    tags = list(_ANSWER.finditer(outside))
    opening = next((tag for tag in reversed(tags) if not tag[1]), None)
    if opening is None:
        return "\n".join(filter(None, thoughts)), "\n".join(rest[:-1]) if opened >= 0 else outside, False
    end = next((tag.start() for tag in tags if tag[1] and tag.start() > opening.start()), len(outside))
    return "\n".join(filter(None, thoughts)), outside[opening.end() : end], True


def _is_layout(text: str) -> bool:
    """Whether the text is one block of reasoning and one answer block as asked for, and nothing else."""
    tags = list(islice(_REASON.finditer(text), 3))
    if [tag[1] for tag in tags] not in (["/"], ["", "/"]) or (len(tags) == 2 and text[: tags[0].start()].strip()):
        return False
    return _LAYOUT.fullmatch(text, tags[-1].end()) is not None


def _block(answer: str) -> str | None:
    """The last fenced block of JSON, else what follows the last `{` up to the first `}` after it, both included."""
    fences = list(_FENCE.finditer(answer))
    if fences:
        start = fences[-1].end()
        end = answer.find("```", start)
        return answer[start:] if end < 0 else answer[start:end]
    start = answer.rfind("{")
    if start < 0:
        return None
    end = answer.find("}", start)
    return answer[start:] if end < 0 else answer[start : end + 1]


def _repaired(block: str) -> str:
    fixed = re.sub(r"\[(\d{1,9})\]\]", r"[\1]", block.strip())
    return fixed + "}" if fixed.count("{") == fixed.count("}") + 1 else fixed


def _reading(scores: list[float | None], report: ParseReport, reasoning: str) -> Reading:
    order = sorted(range(len(scores)), key=lambda i: (scores[i] is None, -(scores[i] or 0.0), i))
    return Reading(Ranking(tuple(order)), report, tuple(scores), reasoning)
