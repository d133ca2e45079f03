"""BM25, in Lucene where Pyserini and a Java can run, else in bm25s, which needs neither; RM3 in Lucene.

On SciFact (test) both give the same quality: nDCG@10 is .6789 in Lucene, its published figure, and .6777 in bm25s, which
differ in one thing, Lucene's rounding of document lengths to one byte. Of the 300 top-10 lists 177 are identical, and 267 hold
the same documents.

Both order equal scores by docid descending, as trec_eval orders a run, also where k cuts; do not depend on the number of
threads or on the order of the documents; and find no document that shares no term with the query (as RM3 expanded it).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rankrl.errors import ConfigError, DataError, RankRLError
from rankrl.types import CandidateList, Query, repeated

if TYPE_CHECKING:
    from .collections import Collection, Document

Engine = Literal["auto", "lucene", "bm25s"]

OPTIONS = {
    "engine": "what scores: lucene (Pyserini and Java 21), bm25s (no Java), or auto: Lucene where it can run",
    "k1": "how slowly repeated terms stop to count",
    "b": "how much long documents are held back, 0 to 1",
    "rm3": "expand each query with the terms of the documents found first (Lucene)",
    "fb_terms": "RM3: terms that are added, at most",
    "fb_docs": "RM3: documents that are read for them",
    "original_query_weight": "RM3: the weight of the query's own terms, 0 to 1",
    "index_dir": "folder that keeps the Lucene index: built when not there, else checked and used (default: none is kept)",
    "prebuilt": "search an index that others built, as it is: a name such as msmarco-v1-passage (downloaded), or a folder",
    "threads": "threads that index and search (default: one for each CPU this process may use)",
    "heap": "the most memory for Java objects",
}
"""Parameter of `from_collection` -> one line of help."""


class Searcher(Protocol):
    """What scores: one engine over one corpus."""

    name: str

    @property
    def provenance(self) -> dict[str, Any]: ...
    def search(self, texts: Sequence[str], k: int, threads: int) -> list[list[tuple[str, float]]]: ...


class BM25:
    """A retriever over documents; title and text of a document are indexed together.

    documents: in any order, or as docid -> document, which is then used as it is and may read from disk. The options are
    those of `OPTIONS`; `index_dir`, `prebuilt` and `rm3` are Lucene's, and "auto" with one of them is "lucene".

    Deterministic: best score first, equal scores by docid descending, also where k cuts. Scores are positive float32.

    Raises:
        ConfigError: k1 or b out of range; options that do not go together; Lucene is asked for and no Java can run it; the
            folder of the index holds another one.
        MissingDependencyError: Lucene is asked for and Pyserini is not installed.
        DataError: there are no documents, a docid appears twice, or Lucene cannot index one.
    """

    def __init__(
        self,
        documents: Iterable[Document] | Mapping[str, Document],
        *,
        engine: Engine = "auto",
        k1: float = 0.9,
        b: float = 0.4,
        rm3: bool = False,
        fb_terms: int = 10,
        fb_docs: int = 10,
        original_query_weight: float = 0.5,
        index_dir: Path | None = None,
        prebuilt: str | None = None,
        threads: int | None = None,
        heap: str = "2g",
    ) -> None:
        if not (math.isfinite(k1) and k1 >= 0.0):
            raise ConfigError(f"k1 is {k1}; it must be a number of at least 0 (usual: 0.9)")
        if not 0.0 <= b <= 1.0:
            raise ConfigError(f"b is {b}; it must lie in [0, 1] (usual: 0.4)")
        if threads is not None and threads < 1:
            raise ConfigError(f"threads is {threads}; it must be at least 1")
        if index_dir is not None and prebuilt is not None:
            raise ConfigError("index_dir keeps an index of our own and prebuilt takes one of others; give one of them")
        expansion = (fb_terms, fb_docs, original_query_weight)
        if not rm3 and expansion != (10, 10, 0.5):
            raise ConfigError("fb_terms, fb_docs and original_query_weight belong to rm3; ask for it too")
        lucenes = [name for name, on in (("rm3", rm3), ("index_dir", index_dir), ("prebuilt", prebuilt)) if on]
        self._documents = documents if isinstance(documents, Mapping) else _by_docid(documents)
        self._threads = threads or _cpus()
        self._searcher: Searcher
        if _chosen(engine, lucenes) == "lucene":
            from ._bm25.lucene import RM3, Lucene

            self._searcher = Lucene(
                self._documents, k1=k1, b=b, rm3=RM3(*expansion) if rm3 else None,
                index_dir=None if index_dir is None else Path(index_dir), prebuilt=prebuilt, threads=self._threads, heap=heap,
            )  # fmt: skip
        else:
            from ._bm25.bm25s import Bm25s

            self._searcher = Bm25s(self._documents, k1=k1, b=b)

    @classmethod
    def from_collection(
        cls,
        collection: Collection,
        *,
        engine: Engine = "auto",
        k1: float = 0.9,
        b: float = 0.4,
        rm3: bool = False,
        fb_terms: int = 10,
        fb_docs: int = 10,
        original_query_weight: float = 0.5,
        index_dir: Path | None = None,
        prebuilt: str | None = None,
        threads: int | None = None,
        heap: str = "2g",
    ) -> BM25:
        """A BM25 over the corpus of a collection."""
        return cls(
            collection.corpus, engine=engine, k1=k1, b=b, rm3=rm3, fb_terms=fb_terms, fb_docs=fb_docs,
            original_query_weight=original_query_weight, index_dir=index_dir, prebuilt=prebuilt, threads=threads, heap=heap,
        )  # fmt: skip

    @property
    def provenance(self) -> dict[str, Any]:
        """What decides the scores besides the documents: engine and its version, parameters, analyzer, index (JSON types)."""
        return {"retriever": "bm25", **self._searcher.provenance}

    def search(self, queries: Sequence[Query], k: int) -> list[CandidateList]:
        """One list per query, best first, at most k documents each; empty where no document shares a term with the query.

        Raises:
            ConfigError: k < 1.
            DataError: a prebuilt index lists a document that the collection does not have.
        """
        if k < 1:
            raise ConfigError(f"k is {k}; it must be at least 1")
        found = self._searcher.search([query.text for query in queries], k, self._threads)
        return [self._listing(query, hits) for query, hits in zip(queries, found, strict=True)]

    def _listing(self, query: Query, hits: Sequence[tuple[str, float]]) -> CandidateList:
        candidates = []
        for docid, score in hits:
            document = self._documents.get(docid)
            if document is None:
                raise DataError(
                    f"query {query.qid!r}: the index lists document {docid!r}, which is not in the collection; is it an "
                    "index over another one?"
                )
            candidates.append(document.candidate(score))
        return CandidateList(query, tuple(candidates))


def lucene_problem() -> str:
    """Why Lucene cannot run here, in one sentence; "" when Pyserini and a usable Java are found."""
    from ._bm25 import jvm

    try:
        jvm.lucene_jar()
        if not jvm.running():
            jvm.usable_java()
    except RankRLError as error:
        return str(error)
    return ""


def _chosen(engine: str, lucenes: Sequence[str]) -> str:
    """The engine that serves. lucenes: the options given that only Lucene has."""
    if engine not in ("auto", "lucene", "bm25s"):
        raise ConfigError(f"engine is {engine!r}; it must be auto, lucene or bm25s")
    if engine == "bm25s" and lucenes:
        raise ConfigError(f"{lucenes[0]} needs the engine lucene; bm25s does not have it")
    if engine == "auto" and not lucenes:
        return "bm25s" if lucene_problem() else "lucene"
    return "lucene" if engine == "auto" else engine


def _by_docid(documents: Iterable[Document]) -> dict[str, Document]:
    listed = tuple(documents)
    if twice := repeated(document.docid for document in listed):
        raise DataError(f"docids appear twice: {twice[:5]}; keep one of each")
    return {document.docid: document for document in listed}


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
