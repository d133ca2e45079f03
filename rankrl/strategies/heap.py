"""The k best by a heap of setwise choices."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import suppress

from rankrl.contracts import Reranker, Steps
from rankrl.errors import OutOfBudget
from rankrl.strategies._common import check_compat, check_counts, lockstep, relay, top_first
from rankrl.strategies._comparisons import Choices, Setwise
from rankrl.types import CandidateList


def heap(
    reranker: Reranker,
    listing: CandidateList,
    *,
    children: int,
    k: int,
    seed: int = 929,
    shuffle: bool = True,
    votes: int = 1,
    compat: str = "rankrl",
) -> Steps:
    """The k best by a max-heap in which every node has up to `children` children; the others follow in first-stage order.

    One comparison shows a parent with its children, `children` + 1 candidates at most, and asks for the best. With N
    candidates the build compares ceil((N-1)/children) nodes or more, each extraction but the last one path to a leaf.
    A comparison is shown in an order drawn from (seed, qid, the candidates compared, vote) alone, so it does not depend on
    what else is in flight. `votes` > 1 asks about each group that often, in different orders; the majority wins. A group
    with fewer orders than votes is asked about again in some of them (`Request.sample`).

    Setwise (arXiv:2310.09497) and Rank-R1 (arXiv:2503.06034) as in ielab/llm-rankers, with these deviations:
    1. An unreadable answer: the member with the best first-stage rank wins, so total failure returns the first-stage
       order; `compat="upstream"` keeps the parent (which, while extracting, is the last leaf: 1, 100, 99, 98, ...).
    2. The nodes of one level are compared together, level by level from the bottom: their subtrees are disjoint, so the
       heap is the same and the chain of dependent calls shorter.
    3. Votes that tie go to the best first-stage rank, not to chance.
    4. The order shown is drawn per comparison, not from one generator that all queries share.
    """
    check_counts(children=children, k=k, votes=votes)
    check_compat(compat)
    pose = Setwise(reranker, listing, seed=seed, shuffle=shuffle, votes=votes, compat=compat)
    top = yield from relay(best(len(listing), children=children, k=k), pose)
    return top_first(top, len(listing))


def best(n: int, *, children: int, k: int) -> Choices:
    """The k best of n positions, as a game."""
    slots = list(range(n))  # slot of the heap -> position in the listing
    top: list[int] = []
    with suppress(OutOfBudget):  # those found so far come first
        for level in reversed(list(levels(n, children))):
            yield from lockstep([_sift(slots, node, n, children) for node in level])
        for size in range(n - 1, -1, -1):
            top.append(slots[0])
            if len(top) == k:
                break
            slots[0] = slots[size]
            yield from _sift(slots, 0, size, children)
    return top


def levels(n: int, children: int) -> Iterator[range]:
    """The slots of each level of a heap of n, root first."""
    start, width = 0, 1
    while start < n:
        yield range(start, min(start + width, n))
        start, width = start + width, width * children


def _sift(slots: list[int], node: int, size: int, children: int) -> Generator[list[list[int]], list[int], None]:
    """Lets what stands at `node` sink until nothing below it wins; reads and writes `slots[:size]`."""
    while (first := children * node + 1) < size:
        group = [node, *range(first, min(first + children, size))]
        (winner,) = yield [[slots[slot] for slot in group]]
        if winner == slots[node]:
            return
        sunk = next(slot for slot in group if slots[slot] == winner)
        slots[node], slots[sunk] = slots[sunk], slots[node]
        node = sunk
