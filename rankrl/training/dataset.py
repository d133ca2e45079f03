"""Judged topics and a first stage -> prompts to train on, as the rows that rewards and the trainer read."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from rankrl.contracts import Reranker
from rankrl.errors import ConfigError, DataError
from rankrl.types import PAIR, PLAIN, Candidate, CandidateList, Judgments, Qrels, Query


def check_trainable(name: str, reranker: Reranker) -> None:
    """Make sure that `reranker` asks for what GRPO can sample and rewards can judge: a chat's next turn that orders passages.

    Raises:
        ConfigError: it does not; the reason is given.
    """
    shown = getattr(reranker, "shown", None)
    texts = (Candidate(str(i), f"text {i}") for i in range(2 if shown is None else min(shown, 2)))
    prompt = reranker.prompt(CandidateList(Query("", "a query"), tuple(texts)))
    if prompt[0]["role"] == PAIR:
        raise ConfigError(f"{name} cannot be trained here: its model scores pairs and writes no answer to reward")
    if shown == 1:
        raise ConfigError(
            f"{name} cannot be trained here: a prompt shows it one passage, and rewards judge the order of several; "
            "rank_r1, setwise and listwise show several"
        )
    if prompt[0]["role"] == PLAIN:
        raise ConfigError(
            f"{name} cannot be trained with this template: it is plain text, and training asks in chats; choose one with user "
            "turns"
        )
    if prompt[-1]["role"] == "assistant":
        raise ConfigError(
            f"{name} cannot be trained with this template: it begins the answer ({prompt[-1]['content']!r}), and TRL would "
            "close that turn and open another; choose one that ends with the user's turn"
        )


def split_by_document(qrels: Qrels, held_out: int, *, seed: int) -> tuple[list[str], list[str]]:
    """(training topics, held-out topics), about `held_out` of them, such that no document is relevant on both sides.

    Topics that share a relevant document, directly or through others, stay together, since a policy can simply learn
    which documents are answers. The groups are drawn in an order shuffled by `seed`; one that would overshoot is passed
    over. Topics without a relevant document teach nothing and are in neither list. Both lists keep the qrels' order.

    Raises:
        ConfigError: held_out is negative, or leaves nothing to train on.
    """
    relevant = {qid: {d for d, grade in judged.items() if grade > 0} for qid, judged in qrels.items()}
    relevant = {qid: docids for qid, docids in relevant.items() if docids}
    if not 0 <= held_out < len(relevant):
        raise ConfigError(
            f"held_out_topics must lie in 0..{len(relevant) - 1} (topics with a relevant one), got {held_out}"
        )
    groups = _sharing(relevant)
    random.Random(f"held out:{seed}").shuffle(groups)
    chosen: set[str] = set()
    for group in groups:
        if len(chosen) + len(group) <= held_out:
            chosen.update(group)
    return [q for q in relevant if q not in chosen], [q for q in relevant if q in chosen]


def _sharing(relevant: Mapping[str, set[str]]) -> list[list[str]]:
    """The topics in groups connected by shared relevant documents."""
    by_document: dict[str, list[str]] = {}
    for qid, docids in relevant.items():
        for docid in docids:
            by_document.setdefault(docid, []).append(qid)
    groups, seen = [], set()
    for start in relevant:
        if start in seen:
            continue
        group, waiting = [], [start]
        seen.add(start)
        while waiting:
            qid = waiting.pop()
            group.append(qid)
            for other in (q for docid in sorted(relevant[qid]) for q in by_document[docid]):
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)
        groups.append(group)
    return groups


def training_listings(
    pools: Sequence[CandidateList],
    qrels: Qrels,
    relevant_candidates: Mapping[str, Sequence[Candidate]],
    *,
    size: int,
    seed: int,
) -> list[CandidateList]:
    """One list per topic and relevant document: that document and size − 1 others of the topic's pool, shuffled.

    pools: the first stage's candidates per topic. relevant_candidates: each topic's relevant documents, in the pool or not.
    A topic's other relevant documents are left out of the list, so that "the most relevant" has one answer (Rank-R1's
    data, arXiv:2503.06034: first positive and random negatives). The draw and the shuffle depend on (seed, qid, docid)
    only. A topic whose pool has no other document gives no list; a short pool gives a shorter one.

    Raises:
        ConfigError: size < 2.
        DataError: no topic gives a list.
    """
    if size < 2:
        raise ConfigError(f"listing_size must be at least 2, got {size}")
    listings = []
    for pool in pools:
        judged = qrels.get(pool.query.qid, {})
        others = [c for c in pool.candidates if judged.get(c.docid, 0) <= 0]
        for candidate in relevant_candidates.get(pool.query.qid, ()):
            rng = random.Random(f"{seed}:{pool.query.qid}:{candidate.docid}")
            shown = [candidate, *rng.sample(others, min(size - 1, len(others)))]
            rng.shuffle(shown)
            if len(shown) > 1:
                listings.append(CandidateList(pool.query, tuple(shown)))
    if not listings:
        raise DataError("no topic has both a relevant document and another candidate: nothing to train on")
    return listings


def rows_of(listings: Sequence[CandidateList], qrels: Qrels, reranker: Reranker) -> list[dict[str, Any]]:
    """One dataset row per list: the reranker's prompt, the list, and the query's judgments as parallel columns.

    Judgments travel as two lists, since Arrow merges the keys of a dict column over all rows.
    """
    rows = []
    for listing in listings:
        judged: Judgments = qrels.get(listing.query.qid, {})
        rows.append(
            {
                "prompt": reranker.prompt(listing),
                "qid": listing.query.qid,
                "query": listing.query.text,
                "docids": list(listing.docids),
                "titles": [c.title for c in listing.candidates],
                "texts": [c.text for c in listing.candidates],
                "judged_docids": list(judged),
                "judged_grades": list(judged.values()),
            }
        )
    return rows
