"""Checks that a part keeps its contract, for the parts of other packages and for ours.

Each check returns None, or raises AssertionError with what is wrong.
"""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable, Collection, Sequence
from typing import Any

from rankrl.contracts import OnAnswer, Reranker, Retriever, is_over_group, is_shaper, request_of
from rankrl.engines.drive import drive, told
from rankrl.errors import ConfigError
from rankrl.parsing.permutation import parse_permutation
from rankrl.types import Answer, Candidate, CandidateList, Judgments, Query, Request, Rollout, RolloutGroup

NASTY = (
    "",
    "I am sorry, I cannot do that.",
    "[]",
    "[0] [1] [1] [999999999]",
    "<think></think><answer>[2]</answer>",
    "<think><think>[1]</answer><answer>[3]",
    "\x00\ud800\u2028" * 3,
    "[" * 2_000 + "1" * 2_000,
    "\u0663 [\u0663] [²] A B yes no 10",
)
"""Completions that a parser has to survive."""

UNREADABLE = "zzz"
"""A completion that holds no label, letter, number or word that any protocol asks for."""


class _Saying:
    """An engine that says the given texts in turn, whatever it is asked, and can score no choice."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts, self.said = texts, 0

    def generate(self, requests: Sequence[Request], on_answer: OnAnswer | None = None) -> list[Answer]:
        start, self.said = self.said, self.said + len(requests)
        texts = [self.texts[i % len(self.texts)] for i in range(start, self.said)]
        answers = [
            Answer("", scores=(None,) * len(request.choices)) if request.choices else Answer(text)
            for request, text in zip(requests, texts, strict=True)
        ]
        return told(answers, on_answer)


def _listing(n: int) -> CandidateList:
    """n candidates whose docids must not show in a prompt, and whose texts must."""
    query = Query("qid-that-must-not-show", "the query text")
    return CandidateList(query, tuple(Candidate(f"docid-must-not-show-{i}", f"passage-text-{i}") for i in range(n)))


def check_reranker(reranker: Reranker, *, shown: int | None = None) -> None:
    """A reranker's prompts are chat messages without ids, its parser is total, and its order is a permutation.

    shown: how many candidates the prompt takes; by default what `reranker.shown` says, at most four. When no answer can be
    read, the first-stage order must come out.
    """
    shown = min(4, getattr(reranker, "shown", 4)) if shown is None else shown
    listing = _listing(shown)
    messages = reranker.prompt(listing)
    assert messages, "prompt() gave no message"
    for message in messages:
        assert set(message) >= {"role", "content"}, f"not a chat message: {message!r}"
        assert all(isinstance(value, str) for value in message.values()), f"not all strings: {message!r}"
    assert messages[-1]["role"] != "system", "the last message is the system's: nothing is asked"
    assert reranker.prompt(listing) == messages, "the same list gave two prompts"
    asked = request_of(reranker, listing)
    assert asked.prompt == messages, "request() asks with another prompt than prompt()"
    assert asked.shown is listing, "the request does not say what it shows"
    _check_shown("\n".join(message["content"] for message in messages), listing)
    _check_parse(reranker, shown)
    for n in (0, 1, 2, 37):
        listing = _listing(n)
        (ranking,) = drive([reranker.order(listing)], _Saying(NASTY))
        assert len(ranking.order) == n, f"order() of {n} candidates ranked {len(ranking.order)}"
        (ranking,) = drive([reranker.order(listing)], _Saying([UNREADABLE]))
        expected = tuple(range(n))
        assert ranking.order == expected, (
            f"nothing could be read of {n}, and the order is not the first stage's: {ranking}"
        )


def _check_shown(text: str, listing: CandidateList) -> None:
    assert listing.query.text in text, "the query does not show in the prompt"
    assert "must-not-show" not in text, "an id shows in the prompt"
    for i, candidate in enumerate(listing.candidates, start=1):
        assert candidate.text in text, f"candidate {i} of {len(listing)} does not show in the prompt"


def _check_parse(reranker: Reranker, shown: int) -> None:
    for text in (*NASTY, UNREADABLE):
        for n in (0, 1, shown):
            reading = reranker.parse(text, n)
            assert len(reading.ranking.order) == n, f"parse({text[:40]!r}, {n}) ranked {len(reading.ranking.order)}"
            assert reading.scores is None or len(reading.scores) == n, (
                f"parse({text[:40]!r}, {n}): one score per candidate"
            )
    reading = reranker.parse(UNREADABLE, shown)
    assert reading.ranking.order == tuple(range(shown)), "an unreadable answer did not leave the presented order"
    assert reading.report.unreadable, "an unreadable answer was not reported as unreadable"


BEST, WORST = "[3] > [1] > [2] > [4]", "[4] > [2] > [1] > [3]"
"""Listwise answers that order the four candidates of `check_reward` ideally, and the other way round."""


def check_reward(reward: Callable[..., Any]) -> None:
    """A reward gives None or finite numbers, the ideal order the most, garbage never more than a clean answer.

    It is also unmoved by other docids, leaves its arguments alone, survives prompts without a relevant candidate, and can
    be pickled. Rewards marked `@over_group` are asked about groups; a shaper keeps None and the number of rewards.
    """
    assert pickle.loads(pickle.dumps(reward)) is not None, "it cannot be pickled"
    if is_shaper(reward):
        _check_shaper(reward)
        return

    def values(texts: Sequence[str], judgments: Judgments, prefix: str = "d") -> list[float | None]:
        rollouts = tuple(_listwise_rollout(text, prefix) for text in texts)
        before = copy.deepcopy((rollouts, dict(judgments)))
        if is_over_group(reward):
            given = list(reward(RolloutGroup(rollouts, judgments)))
        else:
            given = [reward(rollout, judgments) for rollout in rollouts]
        assert (rollouts, dict(judgments)) == before, "it changed its arguments"
        assert len(given) == len(texts), f"{len(given)} values for {len(texts)} rollouts"
        for value in given:
            assert value is None or (isinstance(value, (int, float)) and math.isfinite(value)), f"it returned {value!r}"
        return given

    judgments = {"d2": 2, "d0": 1}
    best, worst, *garbage = values([BEST, WORST, *NASTY], judgments)
    assert best is not None and worst is not None, "it does not apply to a readable answer over relevant candidates"
    assert best >= worst, f"the ideal order gets {best}, its reverse {worst}"
    for text, value in zip(NASTY, garbage, strict=True):
        assert value is None or value <= best, f"{text[:40]!r} gets {value}, the ideal order {best}"
    renamed = values([BEST, WORST], {"x2": 2, "x0": 1}, prefix="x")
    assert renamed == [best, worst], "other docids gave other values"
    values([BEST, WORST, *NASTY], {})
    values([BEST], {"d1": -1, "d3": 0})


def _listwise_rollout(text: str, prefix: str = "d") -> Rollout:
    candidates = tuple(Candidate(f"{prefix}{i}", f"text {i}") for i in range(4))
    reading = parse_permutation(text, 4)
    return Rollout(
        CandidateList(Query("q", "query"), candidates), text, reading, logprob=-1.0 - len(text), completion_tokens=7
    )


def _check_shaper(shaper: Callable[..., Any]) -> None:
    group = RolloutGroup(tuple(_listwise_rollout(text) for text in (BEST, WORST, "", "[1]")), {"d2": 1})
    for rewards in ([1.0, 0.0, None, 1.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [None, None, None, None]):
        before = list(rewards)
        shaped = list(shaper(group, rewards))
        assert rewards == before, "it changed its arguments"
        assert len(shaped) == len(rewards), f"{len(shaped)} values for {len(rewards)} rewards"
        for given, value in zip(rewards, shaped, strict=True):
            assert (given is None) == (value is None), f"{given!r} became {value!r}"
            assert value is None or math.isfinite(value), f"{given!r} became {value!r}"


ODD_QUERIES = ("", " \n\t", "zzzz qqqq", '"AND (OR] NOT* ~^ \\ : {', "\u202e\u0663\x00\U0001f600", "word " * 3_000)
"""Texts that somebody will search for one day."""


def check_retriever(retriever: Retriever, queries: Sequence[Query], docids: Collection[str]) -> None:
    """A retriever answers every query in order, best first, within the corpus, and twice alike.

    queries: some that find documents, with qids of their own. docids: those of the corpus. A shorter k gives a prefix of
    a longer one, and a query alone what it gets among others; odd texts are searched like any other.
    """
    assert len(queries) > 1, "give two queries or more"
    many = retriever.search(queries, len(docids))
    assert [listing.query for listing in many] == list(queries), (
        "the lists are not those of the queries, in their order"
    )
    assert any(len(listing) for listing in many), "nothing was found for any query"
    for listing in many:
        _check_listing(listing, docids)
    assert retriever.search(queries, len(docids)) == many, "the same search gave something else"
    for k in (1, 2):
        for listing, short in zip(many, retriever.search(queries, k), strict=True):
            assert len(short) <= k, f"{len(short)} documents for k = {k}"
            assert short.docids == listing.docids[:k], f"k = {k} is no prefix of a longer list"
    alone = [retriever.search([query], len(docids))[0] for query in queries]
    assert [one.docids for one in alone] == [one.docids for one in many], "a query alone finds other documents"
    assert retriever.search([], 3) == [], "no query must give no list"
    odd = [Query(f"odd {i}", text) for i, text in enumerate(ODD_QUERIES)]
    for listing in retriever.search(odd, 3):
        assert len(listing) <= 3
        _check_listing(listing, docids)
    for k in (0, -1):
        try:
            retriever.search(queries, k)
        except ConfigError:
            continue
        raise AssertionError(f"k = {k} was not refused with a ConfigError")
    described = getattr(retriever, "provenance", None)
    assert isinstance(described, dict) and described, "it has no provenance"
    json.dumps(described, allow_nan=False)


def _check_listing(listing: CandidateList, docids: Collection[str]) -> None:
    """Documents of the corpus with finite scores, in trec_eval's order."""
    qid = listing.query.qid
    keys = []
    for candidate in listing.candidates:
        assert candidate.docid in docids, f"query {qid!r}: document {candidate.docid!r} is not in the corpus"
        assert candidate.score is not None and math.isfinite(candidate.score), (
            f"query {qid!r}: document {candidate.docid!r} has the score {candidate.score}"
        )
        keys.append((candidate.score, candidate.docid))
    assert keys == sorted(keys, reverse=True), f"query {qid!r}: not by score and docid, both descending"
