"""How trec_eval reads a ranking out of scores, and scores that keep a ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from operator import gt

from rankrl.errors import DataError
from rankrl.types import repeated


def ranked(scores: Mapping[str, float]) -> list[str]:
    """The docids, best first, as trec_eval ranks them: by score, ties by docid, both descending.

    Ties compare docids like C's strcmp on UTF-8 bytes, which is the order of code points and so Python's own.
    """
    values = list(scores.values())
    if all(map(gt, values, islice(values, 1, None))):  # as most files list them
        return list(scores)
    return sorted(scores, key=lambda docid: (scores[docid], docid), reverse=True)


def strictly_decreasing(docids: Sequence[str]) -> dict[str, float]:
    """docid -> score for an order without scores: n for the first, 1 for the last, so that no tie can change the order.

    Raises:
        DataError: a docid appears twice.
    """
    if twice := repeated(docids):
        raise DataError(f"docids appear twice in a ranking: {twice[:5]}; keep one of each")
    return {docid: float(len(docids) - position) for position, docid in enumerate(docids)}
