"""Candidates for queries: from a retriever without what must not be returned, or from a stored run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rankrl.contracts import Retriever
from rankrl.errors import ConfigError, DataError
from rankrl.runs import ranked
from rankrl.types import CandidateList, Query, Run

from ._base import Collection


def search_without(
    retriever: Retriever, queries: Sequence[Query], k: int, exclusions: Mapping[str, frozenset[str]]
) -> list[CandidateList]:
    """One list per query, best first, at most k documents each, none of them excluded for its query.

    The excluded are removed before the cut: a query with n of them is searched n deeper, n rounded up to a power of two, so
    that queries stay in few batches and a query's depth depends on nothing but the query.

    Raises:
        ConfigError: k < 1.
    """
    if k < 1:
        raise ConfigError(f"k is {k}; it must be at least 1")
    batches: dict[int, list[int]] = {}
    for position, query in enumerate(queries):
        count = len(exclusions.get(query.qid, ()))
        batches.setdefault(k + (1 << (count - 1).bit_length() if count else 0), []).append(position)
    found: dict[int, CandidateList] = {}
    for depth, positions in batches.items():
        lists = retriever.search([queries[i] for i in positions], depth)
        for position, listing in zip(positions, lists, strict=True):
            unwanted = exclusions.get(queries[position].qid, frozenset())
            kept = [i for i, candidate in enumerate(listing.candidates) if candidate.docid not in unwanted]
            found[position] = listing.pick(kept[:k])
    return [found[position] for position in range(len(queries))]


def candidate_lists(
    collection: Collection,
    run: Run,
    queries: Sequence[Query],
    depth: int | None = None,
    *,
    exclusions: Mapping[str, frozenset[str]] | None = None,
) -> list[CandidateList]:
    """For each query its documents in the run, best first (trec_eval's order), cut at `depth`, with texts and scores.

    A query that the run does not list gets an empty list; topics of the run that are not asked for are left out.
    exclusions: documents to leave out before the cut, as `Collection.exclusions` gives them; None: nothing.

    Raises:
        ConfigError: depth < 1.
        DataError: the run names a document that the collection does not have.
    """
    if depth is not None and depth < 1:
        raise ConfigError(f"depth is {depth}; it must be at least 1")
    lists = []
    for query in queries:
        scores = run.get(query.qid, {})
        unwanted = (exclusions or {}).get(query.qid, frozenset())
        candidates = []
        for docid in [docid for docid in ranked(scores) if docid not in unwanted][:depth]:
            document = collection.corpus.get(docid)
            if document is None:
                raise DataError(
                    f"topic {query.qid!r}: the run lists document {docid!r}, which is not in the collection "
                    f"{collection.name}; is it a run over another collection?"
                )
            candidates.append(document.candidate(float(scores[docid])))
        lists.append(CandidateList(query, tuple(candidates)))
    return lists
