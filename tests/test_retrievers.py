"""Every retriever on the shelf keeps the contract, and the check notices one that does not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import ClassVar

import pytest

from rankrl.errors import ConfigError
from rankrl.lookup import lookup, names, shelf
from rankrl.runs import write_run
from rankrl.testing import check_retriever
from rankrl.types import CandidateList, Query

shelf("retrievers")

TEXTS = {
    "d1": "the heart pumps blood through the arteries",
    "d 2": "the lungs take oxygen from the air",
    "d3": "a vaccine teaches the immune system",
    "d4": "the heart and the lungs work together",
    "d5": "the heart and the lungs work together",
    "d6": "",
    "é7": "rivers run from the mountains to the sea",
}
QUERIES = [
    Query("q1", "heart and lungs"),
    Query("q2", "vaccine"),
    Query("q3", "where do rivers run?"),
    Query("q4", "heart"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_encoder_builder):
    """A small collection `c`, an encoder `encoder`, and a run over the collection with ties, `run.trec`."""
    folder = tmp_path_factory.mktemp("retrievers")
    (folder / "c" / "qrels").mkdir(parents=True)
    rows = [{"_id": docid, "title": "", "text": text} for docid, text in TEXTS.items()]
    (folder / "c" / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    rows = [{"_id": query.qid, "text": query.text} for query in QUERIES]
    (folder / "c" / "queries.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "c" / "qrels" / "test.tsv").write_text("q1\td4\t1\n")
    tiny_encoder_builder(folder / "encoder")
    run = {query.qid: {docid: float(i // 2) for i, docid in enumerate(TEXTS)} for query in QUERIES}
    write_run(folder / "run.trec", run, tag="x")
    return folder


def options(name, folder):
    """What a retriever needs to run here and offline; nothing for a new one."""
    encoder = str(folder / "encoder")
    return {
        "dense": {"model": encoder, "pooling": "mean"},
        "hybrid": {"stages": ('bm25(engine="bm25s")', f'dense(model={json.dumps(encoder)},pooling="mean")')},
        "stored": {"run": folder / "run.trec"},
    }.get(name, {})


@pytest.mark.parametrize("name", names("retrievers"))
def test_a_retriever_keeps_the_contract(name, folder):
    from retrieval.collections import load_collection

    part = lookup(name, "retrievers")
    check_retriever(part.from_collection(load_collection(folder / "c"), **options(name, folder)), QUERIES, TEXTS)


def test_bm25_keeps_it_without_java_too(folder):
    from retrieval.bm25 import BM25
    from retrieval.collections import load_collection

    check_retriever(BM25.from_collection(load_collection(folder / "c"), engine="bm25s"), QUERIES, TEXTS)


class Honest:
    """Gives three documents for every query, two of which tie."""

    provenance: ClassVar = {"retriever": "honest"}

    def search(self, queries, k):
        if k < 1:
            raise ConfigError("k")
        return [self.listing(query, n, k) for n, query in enumerate(queries)]

    def listing(self, query, n, k):
        from rankrl.types import Candidate

        found = (Candidate("d5", "", "", 2.0), Candidate("d4", "", "", 2.0), Candidate("d1", "", "", 1.0))
        return CandidateList(query, found[:k])


class Shuffled(Honest):
    def search(self, queries, k):
        return super().search(queries, k)[::-1]


class Greedy(Honest):
    def listing(self, query, n, k):
        return super().listing(query, n, k + 1)


class Unsorted(Honest):
    def listing(self, query, n, k):
        listing = super().listing(query, n, 3)
        return CandidateList(query, listing.candidates[::-1][:k])


class Tied(Honest):
    def listing(self, query, n, k):
        return super().listing(query, n, 3).pick([1, 0, 2][:k])


class Unscored(Honest):
    def listing(self, query, n, k):
        return CandidateList(query, tuple(replace(c, score=None) for c in super().listing(query, n, k).candidates))


class Inventive(Honest):
    def listing(self, query, n, k):
        return CandidateList(
            query, tuple(replace(c, docid="x" + c.docid) for c in super().listing(query, n, k).candidates)
        )


class Batchwise(Honest):
    def listing(self, query, n, k):
        return super().listing(query, n, k if n == 0 else min(k, 2))


class Indulgent(Honest):
    def search(self, queries, k):
        return super().search(queries, max(k, 1))


class Silent(Honest):
    provenance = None


class Fragile(Honest):
    def listing(self, query, n, k):
        query.text.split()[0]
        return super().listing(query, n, k)


def test_the_check_passes_one_that_keeps_it():
    check_retriever(Honest(), QUERIES, TEXTS)


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (Shuffled, "not those of the queries, in their order"),
        (Greedy, "2 documents for k = 1"),
        (Unsorted, "not by score and docid"),
        (Tied, "not by score and docid"),
        (Unscored, "has the score None"),
        (Inventive, "is not in the corpus"),
        (Batchwise, "a query alone finds other documents"),
        (Indulgent, "k = 0 was not refused"),
        (Silent, "it has no provenance"),
    ],
)
def test_the_check_notices_a_broken_promise(broken, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_retriever(broken(), QUERIES, TEXTS)


def test_the_check_searches_for_odd_texts():
    with pytest.raises(IndexError):
        check_retriever(Fragile(), QUERIES, TEXTS)
