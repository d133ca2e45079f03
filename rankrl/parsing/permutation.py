"""Listwise answers: `[2] > [1] > [3]`."""

from __future__ import annotations

import re

from rankrl.types import ParseReport, Ranking, Reading

_LABEL = re.compile(r"\[\s*(\d{1,9})\s*\]")


def parse_permutation(text: str, n: int) -> Reading:
    """The order named by the `[i]` labels (1-based) of a listwise answer such as `[2] > [1] > [3]`.

    Labels out of 1..n are ignored, the first occurrence of a repeated label counts, missing labels follow in presented
    order; the report counts each. No label at all: the presented order, `unreadable`.
    """
    seen: dict[int, None] = {}
    repeated = out_of_range = 0
    for match in _LABEL.finditer(text):
        position = int(match.group(1)) - 1
        if not 0 <= position < n:
            out_of_range += 1
        elif position in seen:
            repeated += 1
        else:
            seen[position] = None
    rest = [i for i in range(n) if i not in seen]
    report = ParseReport(repeated=repeated, out_of_range=out_of_range, missing=len(rest), unreadable=not seen and n > 0)
    return Reading(Ranking((*seen, *rest)), report)
