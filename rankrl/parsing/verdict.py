"""Verdicts on one document: `yes` or `no`, `true` or `false`, `1` or `0`."""

from __future__ import annotations

import re

from rankrl.parsing.thoughts import without_thoughts
from rankrl.types import ParseReport, Ranking, Reading

_WORD = re.compile(r"\w+(?:[.,]\d+)*")


def parse_verdict(text: str, n: int, *, yes: str = "yes", no: str = "no") -> Reading:
    """Score 1.0 or 0.0 of the first of n candidates, from an answer that is the word `yes` or the word `no`.

    A thought before it is skipped. Case, white space and punctuation around it do not matter, nor does text on one side of
    it ("Yes, it does.", "The answer is no."), but whatever is not the bare word is reported as `malformed`. Both words, one
    at either end, or neither at an end: `unreadable`, no score.
    """
    thought, answer = without_thoughts(text)
    bare = answer.strip()
    words = _WORD.findall(bare)
    ends = {word.lower() for word in (*words[:1], *words[-1:], bare)}
    said = [score for word, score in ((yes, 1.0), (no, 0.0)) if word.strip().lower() in ends]
    score = said[0] if len(said) == 1 else None
    malformed = score is not None and bare != (yes if score else no).strip()
    report = ParseReport(unreadable=score is None, malformed=malformed)
    return Reading(Ranking(tuple(range(n))), report, (score, *[None] * (n - 1)) if n else (), thought)
