"""A grade of one document: `<think>…</think><answer>7</answer>`."""

from __future__ import annotations

import re
from itertools import pairwise

from rankrl.parsing.thoughts import without_thoughts
from rankrl.types import ParseReport, Ranking, Reading

_THINK = re.compile(r"<(/?)think>", re.ASCII | re.IGNORECASE)
_TAG = re.compile(r"<(/?)answer>", re.ASCII | re.IGNORECASE)
_GRADE = re.compile(r"\s*(\d{1,9})\s*", re.ASCII)
_LAYOUT = re.compile(r"\s*<answer>\s*\d{1,9}\s*</answer>\s*", re.ASCII | re.IGNORECASE)


def grade_span(text: str) -> tuple[int, int] | None:
    """Where the integer of the last answer block stands in the text; None when there is no block, or it holds something else.

    Nothing is looked for in a thought: the block comes after the last `</think>`, and no thought is open before it.
    """
    tags = list(_THINK.finditer(text))
    if tags and not tags[-1][1]:
        return None
    blocks = list(_TAG.finditer(text, tags[-1].end() if tags else 0))
    for opening, closing in reversed(list(pairwise(blocks))):
        if closing[1] and not opening[1]:
            found = _GRADE.fullmatch(text, opening.end(), closing.start())
            return found.span(1) if found else None
    return None


def parse_grade(text: str, n: int, *, most: int = 10) -> Reading:
    """The integer 0..`most` in the answer tag as the score of the first of n candidates.

    Anything else than one such integer in the tag is `unreadable`, without a score; one above `most` is also
    `out_of_range`. Text outside the two blocks `<think>` and `<answer>`, and no thought, are reported as `malformed`.
    """
    span = grade_span(text)
    thought, answer = without_thoughts(text)
    given = int(text[slice(*span)]) if span else None
    score = float(given) if given is not None and given <= most else None
    report = ParseReport(
        unreadable=score is None,
        malformed=score is not None and not (_one_thought(text) and _LAYOUT.fullmatch(answer)),
        out_of_range=int(given is not None and given > most),
    )
    return Reading(Ranking(tuple(range(n))), report, (score, *[None] * (n - 1)) if n else (), thought)


def _one_thought(text: str) -> bool:
    """Whether the text begins with one thought that ends; the prompt may have said its opening tag."""
    tags = list(_THINK.finditer(text))
    if [tag[1] for tag in tags] == ["/"]:
        return True
    return [tag[1] for tag in tags] == ["", "/"] and not text[: tags[0].start()].strip()
