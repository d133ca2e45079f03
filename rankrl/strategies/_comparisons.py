"""How choices among several candidates and comparisons of two are asked of a model and read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence

from rankrl.contracts import Reranker, reading_of
from rankrl.strategies._common import Posed, drawn_orders, requests_of
from rankrl.types import Answer, CandidateList, Reading

Choices = Generator[list[list[int]], list[int], list[int]]
"""A game that asks for the best among groups of positions; is sent positions, returns the positions that it found best."""

Pair = tuple[int, int]
Duels = Generator[list[Pair], list[int | None], list[int]]
"""A game that compares pairs of positions; is sent the winner of each or None for a tie, returns positions."""


class Setwise:
    """Asks a reranker that names a winner: `votes` prompts per group, the candidates shown in a drawn order.

    The order is drawn from (seed, qid, group, vote) alone, so it does not depend on what else is in flight; the votes on a
    group see different orders as far as it has so many, and else the model is asked again. The winner is what most readable
    votes put first, ties going to the best first-stage rank. When no vote can be read it is the member with the best
    first-stage rank; with `compat="upstream"` the first of the group.
    """

    def __init__(
        self, reranker: Reranker, listing: CandidateList, *, seed: int, shuffle: bool, votes: int, compat: str
    ) -> None:
        self.reranker, self.listing, self.compat = reranker, listing, compat
        self.key, self.votes, self.shuffle = f"{seed}:{listing.query.qid}", votes, shuffle or votes > 1

    def __call__(self, groups: list[list[int]]) -> Posed[int]:
        """The requests for the winners of `groups`, and what reads them."""
        shown = [self.orders(group) for group in groups]
        requests = [request for votes in shown for request in requests_of(self.reranker, self.listing, votes)]

        def read(answers: list[Answer]) -> list[int]:
            left = iter(answers)
            return [
                self.winner(group, votes, [reading_of(self.reranker, next(left), len(order)) for order in votes])
                for group, votes in zip(groups, shown, strict=True)
            ]

        return requests, read

    def orders(self, group: Sequence[int]) -> list[list[int]]:
        """The orders in which a group is shown: one list of positions per vote."""
        if not self.shuffle:
            return [list(group)]
        return drawn_orders(group, self.votes, f"{self.key}:{','.join(map(str, group))}")

    def winner(self, group: Sequence[int], shown: Sequence[Sequence[int]], readings: Sequence[Reading]) -> int:
        """The position in the listing that most readable votes put first."""
        votes = Counter(
            order[reading.ranking.order[0]]
            for order, reading in zip(shown, readings, strict=True)
            if not reading.report.unreadable
        )
        if not votes:
            return group[0] if self.compat == "upstream" else min(group)
        most = max(votes.values())
        return min(position for position, count in votes.items() if count == most)


class BothOrders:
    """Asks about each pair twice, once in each order: what both answers agree on has won, everything else is a tie."""

    def __init__(self, reranker: Reranker, listing: CandidateList) -> None:
        self.reranker, self.listing = reranker, listing

    def __call__(self, pairs: list[Pair]) -> Posed[int | None]:
        """The requests for the winners of `pairs`, and what reads them."""
        shown = [order for a, b in pairs for order in ((a, b), (b, a))]
        requests = requests_of(self.reranker, self.listing, shown)

        def read(answers: list[Answer]) -> list[int | None]:
            won = [
                None if (index := preferred(reading_of(self.reranker, answer, 2))) is None else order[index]
                for order, answer in zip(shown, answers, strict=True)
            ]
            return [a if a == b else None for a, b in zip(won[::2], won[1::2], strict=True)]

        return requests, read


def preferred(reading: Reading) -> int | None:
    """0 or 1, the candidate that a reading of two prefers; None when it says neither."""
    return None if reading.report.unreadable else reading.ranking.order[0]
