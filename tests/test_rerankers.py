"""Every reranker on the shelf keeps the contract, and the check notices one that does not."""

from __future__ import annotations

import pytest

from rankrl.lookup import lookup, names
from rankrl.rerankers.rank_r1 import RankR1
from rankrl.testing import check_reranker
from rankrl.types import CandidateList, Ranking, Reading


@pytest.mark.parametrize("name", names("rerankers"))
def test_a_reranker_keeps_the_contract(name):
    check_reranker(lookup(name, "rerankers")())


class Leaky(RankR1):
    def prompt(self, listing: CandidateList):
        return [{"role": "user", "content": f"{listing.docids} {RankR1().prompt(listing)[1]['content']}"}]


class Forgetful(RankR1):
    def prompt(self, listing: CandidateList):
        return RankR1().prompt(listing.pick(range(len(listing) - 1)))


class Gullible(RankR1):
    def parse(self, text, n):
        return Reading(Ranking(tuple(reversed(range(n)))))


class Upstream(RankR1):
    def order(self, listing):
        return RankR1(compat="upstream").order(listing)


class Lossy(RankR1):
    def order(self, listing):
        yield from ()
        return Ranking(())


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (Leaky, "an id shows in the prompt"),
        (Forgetful, "candidate 4 of 4 does not show"),
        (Gullible, "did not leave the presented order"),
        (Upstream, "the order is not the first stage's"),
        (Lossy, "order\\(\\) of 1 candidates ranked 0"),
    ],
)
def test_the_check_notices_a_broken_promise(broken, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_reranker(broken())
