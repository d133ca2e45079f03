"""What every collection is made of: documents, queries, judgements by split, and what must not be returned for a topic."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from rankrl.errors import DataError, unknown_name
from rankrl.types import Candidate, Judgments, Qrels, Query, Run


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a corpus."""

    docid: str
    title: str
    text: str

    @property
    def full_text(self) -> str:
        """Title and text joined by a space; the text alone when there is no title."""
        return f"{self.title} {self.text}" if self.title else self.text

    def candidate(self, score: float | None = None) -> Candidate:
        """The document as a first stage proposes it."""
        return Candidate(self.docid, self.text, self.title, score)


class Source(Protocol):
    """Where the parts of a collection come from; nothing is read before a method asks for it.

    folder: where its files lie, None when they lie elsewhere. identical_ids: a document whose id is the query's is the
    query itself, as in BEIR, and must not be returned. provenance: what the source says about itself.
    """

    @property
    def folder(self) -> Path | None: ...
    @property
    def provenance(self) -> Mapping[str, Any]: ...
    @property
    def identical_ids(self) -> bool: ...
    @property
    def splits(self) -> tuple[str, ...]: ...
    def documents(self) -> Iterator[Document]: ...
    def corpus(self) -> Mapping[str, Document]: ...
    def queries(self, split: str | None) -> Mapping[str, Query]: ...
    def qrels(self, split: str) -> Qrels: ...
    def facts(self, splits: Iterable[str]) -> dict[str, Any]: ...
    def excluded(self) -> Mapping[str, frozenset[str]]: ...
    def stored_run(self) -> Run | None: ...


class Bare:
    """What a source answers whose layout has neither a list of excluded documents nor candidates: the base of sources."""

    def excluded(self) -> Mapping[str, frozenset[str]]:
        """qid -> documents that must not be returned for it: {}."""
        return {}

    def stored_run(self) -> Run | None:
        """The candidates that come with the collection: None."""
        return None


@dataclass(frozen=True)
class Collection:
    """A collection; its parts are read when they are first needed, and once.

    name: what it is called in messages and records.
    """

    name: str
    source: Source

    @property
    def folder(self) -> Path:
        """The folder of the files.

        Raises:
            DataError: the collection is not a folder.
        """
        if self.source.folder is None:
            raise DataError(f"the collection {self.name} does not lie in a folder")
        return self.source.folder

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """What the collection says about itself (source, licence, counts, SHA-256 of files); {} when it says nothing."""
        return self.source.provenance

    @cached_property
    def corpus(self) -> Mapping[str, Document]:
        """docid -> Document, in the order of the source.

        Small corpora are held in memory; large ones are looked up where they lie (see `documents` for a pass over all).

        Raises:
            DataError: the corpus cannot be read (`file:line: …`), is empty or repeats a docid.
        """
        return self.source.corpus()

    def documents(self) -> Iterator[Document]:
        """The documents one after the other, in the order of the source, without holding them.

        Raises:
            DataError: as `corpus`; a docid that repeats is told at the end of the pass at the latest.
        """
        return iter(self.corpus.values()) if "corpus" in self.__dict__ else self.source.documents()

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have judgements, the derived ones last.

        With a split `train`, each other split X also comes in two parts: `X-unseen`, the topics none of whose relevant
        documents (grade > 0) is relevant to a topic of train, and `X-shared`, the others.
        """
        own = self.source.splits
        others = [split for split in own if split != "train"] if "train" in own else []
        derived = [f"{split}-{part}" for split in others for part in ("unseen", "shared")]
        return (*own, *(split for split in derived if split not in own))

    @cached_property
    def _qrels(self) -> dict[str, Qrels]:
        return {}

    def qrels(self, split: str) -> Qrels:
        """qid -> docid -> grade of the judged topics of a split.

        Raises:
            ConfigError: there is no such split.
            DataError: the judgements cannot be read (`file:line: …`), or a derived split has no topic.
        """
        if split not in self.splits:
            raise unknown_name(f"split of {self.name}", split, self.splits)
        if split not in self._qrels:
            self._qrels[split] = self.source.qrels(split) if split in self.source.splits else self._derived(split)
        return self._qrels[split]

    def _derived(self, split: str) -> Qrels:
        whole, _, part = split.rpartition("-")
        trained = {docid for judgments in self.qrels("train").values() for docid in relevant(judgments)}
        wanted = part == "unseen"
        found = {q: judged for q, judged in self.qrels(whole).items() if trained.isdisjoint(relevant(judged)) == wanted}
        if not found:
            raise DataError(f"the split {split!r} of {self.name} has no topic")
        return found

    def _whole(self, split: str) -> str:
        """The split of the source that holds the topics of a split."""
        return split if split in self.source.splits else split.rpartition("-")[0]

    def queries(self, split: str | None = None) -> list[Query]:
        """The judged queries of a split, in the order of the source; None: every query, judged or not.

        Raises:
            ConfigError, DataError: as `qrels`; or a judged topic has no text.
        """
        if split is None:
            return list(self.source.queries(None).values())
        judged = self.qrels(split)
        queries = self.source.queries(self._whole(split))
        if silent := [qid for qid in judged if qid not in queries]:
            raise DataError(
                f"{len(silent)} judged topics of the split {split!r} are not in the queries of {self.name}: {silent[:5]}"
            )
        return [query for qid, query in queries.items() if qid in judged]

    @cached_property
    def _exclusions(self) -> dict[tuple[str | None, bool], dict[str, frozenset[str]]]:
        return {}

    def exclusions(self, split: str | None = None, *, in_corpus: bool = True) -> Mapping[str, frozenset[str]]:
        """qid -> the documents that must not be returned for it, for the topics of a split that have any; None: of all.

        They are what the source excludes (BRIGHT's `excluded_ids`) and, in BEIR's layouts, the document whose id is the
        query's, where there is one: that is the query itself (ArguAna, Quora). `search_without` removes them before the
        cut. in_corpus: False names that id for every topic, without a look at the corpus: the same for a run over it. The
        topics of a split are its judged ones; their texts are not read.

        Deviation from BEIR: where a topic's own id is judged relevant to it in any split, queries and documents are merely
        both numbered from 1 (Cranfield), and no document is removed for its id; `facts` counts both.

        Raises:
            ConfigError, DataError: as `qrels` and `corpus`; with split None as `queries`.
        """
        key = split, in_corpus
        if key not in self._exclusions:
            qids = [query.qid for query in self.queries()] if split is None else list(self.qrels(split))
            given = self.source.excluded()
            removed = self.source.identical_ids and not self._numbered_alike
            same = set() if not removed else set(self._identical(qids) if in_corpus else qids)
            found = {qid: given.get(qid, frozenset()) | ({qid} if qid in same else set()) for qid in qids}
            self._exclusions[key] = {qid: frozenset(docids) for qid, docids in found.items() if docids}
        return self._exclusions[key]

    def _identical(self, qids: Iterable[str]) -> list[str]:
        return [qid for qid in qids if qid in self.corpus]

    @cached_property
    def _numbered_alike(self) -> bool:
        """True when some topic's own id is judged relevant to it: then equal ids mean nothing."""
        splits = self.source.splits
        return any(judged.get(qid, 0) > 0 for split in splits for qid, judged in self.qrels(split).items())

    def stored_run(self, split: str | None = None) -> Run | None:
        """The candidates that come with the collection (a JSONL of queries with their passages), or None."""
        run = self.source.stored_run()
        if run is None or split is None:
            return run
        judged = self.qrels(split)
        return {qid: scores for qid, scores in run.items() if qid in judged}

    @cached_property
    def _facts(self) -> dict[str | None, dict[str, Any]]:
        return {}

    def facts(self, split: str | None = None) -> dict[str, Any]:
        """What a run over this collection should record: name, source, split, counts and SHA-256s, as JSON types.

        documents, queries (asked with this split), excluded ((topic, document) pairs that are not returned); with a split
        also topics, judgements, relevant (grade > 0), grades, judged_outside (judged documents that the corpus lacks),
        qrels_sha256 and, for every split, queries_sha256 (`content_digest` of what was read, whatever the file's layout).

        Raises:
            ConfigError, DataError: as `queries` and `corpus`.
        """
        if split not in self._facts:
            self._facts[split] = self._collected(split)
        return dict(self._facts[split])

    def _collected(self, split: str | None) -> dict[str, Any]:
        queries = self.queries(split)
        facts: dict[str, Any] = {"name": self.name, "split": split}
        facts |= {key: self.provenance[key] for key in ("source", "licence") if key in self.provenance}
        facts |= {"documents": len(self.corpus), "queries": len(queries)}
        if split is not None:
            facts |= self._judged(split)
        facts["excluded"] = sum(map(len, self.exclusions(split).values()))
        if self.source.identical_ids and (same := self._identical(query.qid for query in queries)):
            facts["identical_ids"] = {"topics": len(same), "removed": not self._numbered_alike}
        facts["queries_sha256"] = content_digest((query.qid, query.text) for query in queries)
        read = [] if split is None else [self._whole(split)]
        if read and read[0] != split:
            read.append("train")
        return facts | self.source.facts(read)

    def _judged(self, split: str) -> dict[str, Any]:
        qrels = self.qrels(split)
        grades = [grade for judged in qrels.values() for grade in judged.values()]
        outside = {docid for judged in qrels.values() for docid in judged if docid not in self.corpus}
        return {
            "topics": len(qrels),
            "judgements": len(grades),
            "relevant": sum(grade > 0 for grade in grades),
            "grades": sorted(set(grades)),
            "judged_outside": len(outside),
            "qrels_sha256": content_digest(
                (qid, docid, str(grade)) for qid, judged in qrels.items() for docid, grade in judged.items()
            ),
        }


def relevant(judgments: Judgments) -> set[str]:
    """The docids with a grade above 0."""
    return {docid for docid, grade in judgments.items() if grade > 0}


def content_digest(rows: Iterable[tuple[str, ...]]) -> str:
    """The SHA-256 of rows of strings, whatever their order: of the sorted rows, fields ended by U+001F, rows by U+001E."""
    digest = hashlib.sha256()
    for row in sorted(rows):
        digest.update(("\x1f".join(row) + "\x1f\x1e").encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
