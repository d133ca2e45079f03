"""BM25 and RM3 in Lucene, through the classes of Pyserini's jar that its LuceneSearcher wraps.

Deviations from `LuceneSearcher.search` and `batch_search` of Pyserini 1.6:
1. Scores are Lucene's own float32. Pyserini rounds them to four decimals and lowers equal ones by a millionth each.
2. Equal scores are ordered by docid descending, as trec_eval orders a run, also where k cuts. Pyserini: ascending.
3. `threads` is kept. batch_search of Pyserini takes as many threads as there are cores, whatever it is asked for.
4. Docids and scores come over in two arrays per query, not in an object per document: about twice as fast.
5. A query may have any number of terms. Lucene stops at 1,024.
6. `pyserini.search` is not imported: it loads torch, wants an OpenAI key, and takes seconds.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl.errors import ConfigError, DataError

from .._threads import mapped
from . import jvm
from .lucene_index import ANALYZER, built, opened, prebuilt_folder

if TYPE_CHECKING:
    from ..collections import Document

_CONTENTS = "contents"
_MORE = 16
_MAX_CLAUSES = 1 << 24  # a query of that many different words is longer than any document


@dataclass(frozen=True, slots=True)
class RM3:
    """How a query is expanded with the terms of the documents that it finds first (Abdul-Jaleel et al. 2004).

    terms: how many are added, at most; documents: how many are read for them; original_weight in [0, 1]: of the query's own.
    """

    terms: int = 10
    documents: int = 10
    original_weight: float = 0.5

    def __post_init__(self) -> None:
        for name, value in (("fb_terms", self.terms), ("fb_docs", self.documents)):
            if value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1 (usual: 10)")
        if not 0.0 <= self.original_weight <= 1.0:
            raise ConfigError(f"original_query_weight is {self.original_weight}; it must lie in [0, 1] (usual: 0.5)")


class Lucene:
    """A searcher over an index: one of our own, built where it is not there yet, or one that others built.

    index_dir: the folder of our own; None makes one that goes when the searcher does. prebuilt: a name that Pyserini knows or a
    folder, searched as it is. heap: the most memory for Java objects; the first searcher of a process decides it.

    Raises:
        MissingDependencyError, ConfigError: Lucene cannot run here, or the index cannot be used as asked; both say why.
        DataError: the documents cannot be indexed, or the index cannot be read.
    """

    name = "lucene"

    def __init__(
        self,
        documents: Mapping[str, Document],
        *,
        k1: float,
        b: float,
        rm3: RM3 | None = None,
        index_dir: Path | None = None,
        prebuilt: str | None = None,
        threads: int = 1,
        heap: str = "2g",
    ) -> None:
        jvm.start(heap)
        self._versions = jvm.versions()
        self.k1, self.b, self.rm3 = k1, b, rm3
        parser: str | None = None
        if prebuilt is not None:
            folder, parser = prebuilt_folder(prebuilt)
            self._index: dict[str, Any] = {"prebuilt": prebuilt, "folder": str(folder)}
        elif index_dir is not None:
            folder = index_dir
            self._index = {
                "folder": str(folder),
                **_content(built(documents, folder, threads, vectors=rm3 is not None)),
            }
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix="rankrl-index-")
            folder = Path(self._temporary.name) / "index"
            self._index = {"folder": None, **_content(built(documents, folder, threads, vectors=rm3 is not None))}
        with jvm.calls():
            self._open(folder)
            self._expand = None if rm3 is None else self._expander(rm3, parser)

    def _open(self, folder: Path) -> None:
        reader = opened(folder)
        # a deleted index keeps its disk space while it is open; at the end of the process everything is closed anyway
        weakref.finalize(self, _close, reader).atexit = False
        self._searcher = jvm.java_class("org.apache.lucene.search.IndexSearcher")(reader)
        self._searcher.setMaxClauseCount(_MAX_CLAUSES)
        self._searcher.setSimilarity(
            jvm.java_class("org.apache.lucene.search.similarities.BM25Similarity")(self.k1, self.b)
        )
        self._reader, self._size = reader, int(reader.maxDoc())
        self._analyzer = jvm.java_class("io.anserini.index.IndexCollection").DEFAULT_ANALYZER
        self._generator = jvm.java_class("io.anserini.search.query.BagOfWordsQueryGenerator")()
        self._scored = jvm.java_class("io.anserini.search.ScoredDocs")
        self._fields = jvm.java_class("org.apache.lucene.index.FieldInfos").getMergedFieldInfos(reader)
        self._order = _by_score_and_docid(descending=True) if self._keeps_docids() else None

    def _keeps_docids(self) -> bool:
        """True when Lucene can order by docid here; those of indexes that Lucene 8 wrote it cannot read (anserini#1952)."""
        docid = self._fields.fieldInfo("id")
        kept = docid is not None and str(docid.getDocValuesType().toString()) != "NONE"
        return kept and "lucene.version=8" not in str(self._reader.toString())

    @property
    def provenance(self) -> dict[str, Any]:
        """What decides the scores: parameters, analyzer, index, and the versions that search it (JSON types)."""
        return {
            "engine": self.name,
            "version": self._versions["lucene"],
            **{name: self._versions[name] for name in ("anserini", "pyserini", "java")},
            "k1": self.k1,
            "b": self.b,
            "rm3": None if self.rm3 is None else asdict(self.rm3),
            "analyzer": ANALYZER,
            "index": self._index,
        }

    def search(self, texts: Sequence[str], k: int, threads: int) -> list[list[tuple[str, float]]]:
        """(docid, score) of each text's k best documents, best first; equal scores by docid descending."""
        with jvm.calls():
            return mapped(lambda text: self._best(text, k), texts, threads, at_end=jvm.detach)

    def _best(self, text: str, k: int) -> list[tuple[str, float]]:
        if self._size == 0:
            return []
        text = _encodable(text)
        query = self._generator.buildQuery(_CONTENTS, self._analyzer, text)
        cut_by_lucene = self._expand is None and self._order is not None
        depth = k if cut_by_lucene else k + _MORE
        while True:
            docids, scores = self._hits(query, text, min(depth, self._size))
            # the k-th score must not go on behind the last hit, or the documents that tie with it are not all here
            if cut_by_lucene or len(docids) < depth or scores[-1] < scores[k - 1]:
                break
            depth *= 4
        hits = zip(docids, scores, strict=True)
        # RM3 at an original weight of 0 or 1 weighs some terms with nothing, and Lucene lists what holds only those
        found = sorted((hit for hit in hits if hit[1] > 0), reverse=True)  # by docid descending …
        found.sort(key=lambda hit: -hit[1])  # … and, which keeps that order, by score
        return found[:k]

    def _hits(self, query: Any, text: str, depth: int) -> tuple[list[str], list[float]]:
        """The docids and scores of at most `depth` documents, best first."""
        try:
            if self._expand is not None:
                found = self._expand(query, text, depth)
            elif self._order is not None:
                top = self._searcher.search(query, depth, self._order, True)
                found = self._scored.fromTopDocs(top, self._searcher)
            else:
                found = self._scored.fromTopDocs(self._searcher.search(query, depth), self._searcher)
        except Exception as error:
            raise DataError(f"Lucene cannot search for {text[:60]!r}: {jvm.first_line(error)}") from error
        return list(found.docids or ()), list(found.scores or ())

    def _expander(self, rm3: RM3, parser: str | None) -> Any:
        """The function (query, its text, depth) -> hits of the expanded query."""
        raw = None
        if not self._fields.hasVectors():
            if parser is None or self._fields.fieldInfo("raw") is None:
                raise ConfigError(
                    "rm3 reads the terms of documents, and the index holds neither their term vectors nor their raw text; "
                    "search one that holds them, or leave rm3 out"
                )
            raw = jvm.java_class("java.lang.Class").forName(f"io.anserini.collection.{parser}")
        expand = jvm.java_class("io.anserini.rerank.lib.Rm3Reranker")(
            self._analyzer, raw, _CONTENTS, rm3.terms, rm3.documents, rm3.original_weight, False, True
        )
        arguments_class = jvm.java_class("io.anserini.search.SearchCollection$Args")
        context_class = jvm.java_class("io.anserini.rerank.RerankerContext")
        analysis = jvm.java_class("io.anserini.analysis.AnalyzerUtils")
        order = _by_score_and_docid(descending=False)

        def expanded(query: Any, text: str, depth: int) -> Any:
            # in the order of Anserini's SimpleSearcher, so the documents that are read are the same ones
            top = self._searcher.search(query, min(rm3.documents, self._size), order, True)
            read = self._scored.fromTopDocs(top, self._searcher)
            if not read.scores:
                return read
            arguments = arguments_class()
            arguments.hits = depth
            terms = analysis.analyze(self._analyzer, text)
            context = context_class(self._searcher, None, query, None, text, terms, None, arguments)
            return expand.rerank(read, context)

        return expanded


def _close(reader: Any) -> None:
    # without the lock: a garbage collection may call this in a thread that works for the one that has it
    if jvm.running():
        reader.close()


def _content(description: Mapping[str, Any]) -> dict[str, Any]:
    return {name: description[name] for name in ("corpus_sha256", "documents", "empty", "vectors")}


def _by_score_and_docid(*, descending: bool) -> Any:
    """Lucene's order by score, best first, then by docid, which it compares as UTF-8, so like Python's strings."""
    field = jvm.java_class("org.apache.lucene.search.SortField")
    kinds = jvm.java_class("org.apache.lucene.search.SortField$Type")
    return jvm.java_class("org.apache.lucene.search.Sort")(field.FIELD_SCORE, field("id", kinds.STRING_VAL, descending))


def _encodable(text: str) -> str:
    """The text with "?" for halves of surrogate pairs, which Java strings may hold and UTF-8 may not."""
    return text.encode("utf-8", "replace").decode("utf-8")
