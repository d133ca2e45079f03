"""Windows that slide from the bottom of the list to its top."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress

from rankrl.contracts import Reranker, Steps, reading_of, request_of
from rankrl.errors import ConfigError, OutOfBudget
from rankrl.strategies._common import Posed, check_compat, check_counts, relay, waves
from rankrl.types import Answer, CandidateList, Ranking


def sliding_window(
    reranker: Reranker,
    listing: CandidateList,
    *,
    size: int = 20,
    stride: int = 10,
    passes: int = 1,
    compat: str = "rankrl",
) -> Steps:
    """The whole list after `passes` passes of a window of `size` candidates that moves up by `stride`.

    A window's candidates exchange places as its answer says; an unreadable answer leaves them. With N candidates a pass
    asks ceil((N - size) / stride) + 1 times, once where N <= size. When every answer is right, P passes put the best
    P * (size - stride) on top. There are no scores: slots keep theirs.

    RankGPT (arXiv:2304.09542) and RankZephyr (arXiv:2312.02724), with the windows of rank_llm; deviations:
    1. A later pass starts as soon as the windows that it overlaps are done; the windows and the result are those of passes
       made one after another, and the chain of dependent calls is two per further pass, not a whole pass (for windows of
       two strides).
    2. A list of one candidate asks nothing.
    `compat="upstream"` are RankGPT's windows: a window that would reach over the top is not made, so the first
    (N - size) mod stride candidates keep their places, and N < size asks nothing.
    """
    check_counts(size=size, stride=stride, passes=passes)
    check_compat(compat)
    if size < 2 or stride > size:
        raise ConfigError(
            f"a window of size={size} that moves by stride={stride} would leave candidates uncompared; "
            "size must be 2 or more and stride at most size"
        )
    spans = windows(len(listing), size=size, stride=stride, compat=compat) * passes

    def pose(shown: list[list[int]]) -> Posed[list[int]]:
        def read(answers: list[Answer]) -> list[list[int]]:
            readings = [reading_of(reranker, answer, len(p)) for p, answer in zip(shown, answers, strict=True)]
            return [[p[i] for i in reading.ranking.order] for p, reading in zip(shown, readings, strict=True)]

        return [request_of(reranker, listing.pick(positions)) for positions in shown], read

    order = yield from relay(ordered(len(listing), spans), pose)
    return Ranking(tuple(order))


def ordered(n: int, spans: list[range]) -> Generator[list[list[int]], list[list[int]], list[int]]:
    """The positions after the windows `spans`, as a game: asks about positions, is sent them in their order."""
    slots = list(range(n))
    with suppress(OutOfBudget):  # what has moved so far has moved
        for wave in waves(spans):
            answers = yield [[slots[slot] for slot in span] for span in wave]
            for span, positions in zip(wave, answers, strict=True):
                slots[span.start : span.stop] = positions
    return slots


def windows(n: int, *, size: int, stride: int, compat: str = "rankrl") -> list[range]:
    """The slots of each window of one pass over n candidates, bottom first."""
    if n < 2:
        return []
    if compat == "upstream":
        return [range(start, start + size) for start in range(n - size, -1, -stride)]
    spans = []
    start, end = n - size, n
    while True:
        spans.append(range(max(start, 0), end))
        if start <= 0:
            return spans
        start, end = start - stride, end - stride
