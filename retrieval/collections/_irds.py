"""Collections that ir_datasets knows: BEIR, MS MARCO passages, TREC Deep Learning, and any other by its id.

ir_datasets downloads what is missing to `~/.ir_datasets` (or IR_DATASETS_HOME) and checks the MD5 of what it downloads.
Documents stay in its document store on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rankrl.errors import DataError, MissingDependencyError, RankRLError, unknown_name
from rankrl.types import Qrels, Query

from ._base import Bare, Document
from ._stored import LazyCorpus

MSMARCO = {"train": "msmarco-passage/train", "dev": "msmarco-passage/dev/small", "dev-full": "msmarco-passage/dev"}
"""Split -> dataset; `dev` is the one with 6,980 topics that everybody reports."""

NAMED = {
    "msmarco": "MS MARCO passages: 8,841,823 documents; splits train, dev (6,980 topics), dev-full",
    "trec-dl-19": "TREC 2019 Deep Learning, passages: 43 judged topics, grades 0-3; binary measures count 2 and 3",
    "trec-dl-20": "TREC 2020 Deep Learning, passages: 54 judged topics, grades 0-3; binary measures count 2 and 3",
}
"""Collections that have a name of their own here -> one line about each."""


@dataclass(frozen=True)
class IrDatasets(Bare):
    """Datasets of ir_datasets that share their documents; see `Source`.

    base: the dataset whose documents, and whose queries where it has any, are the collection's. parts: split -> dataset with
    its judgements. binary_from: the lowest grade that binary measures of this collection count; None: not said.
    """

    base: str
    parts: Mapping[str, str]
    identical_ids: bool = False
    binary_from: int | None = None

    @property
    def folder(self) -> Path | None:
        """None: the files are ir_datasets'."""
        return None

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where the collection comes from, and what ir_datasets says about it."""
        said = {"source": f"ir_datasets: {self.base}"}
        return said if self.binary_from is None else {**said, "binary_from": self.binary_from}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that ir_datasets has judgements for."""
        return tuple(self.parts)

    def documents(self) -> Iterator[Document]:
        """The documents, in the order of the source."""
        return self._corpus.documents()

    def corpus(self) -> Mapping[str, Document]:
        """docid -> Document, out of ir_datasets' document store."""
        return self._corpus

    @cached_property
    def _corpus(self) -> DocstoreCorpus:
        return DocstoreCorpus(self.base)

    def queries(self, split: str | None) -> Mapping[str, Query]:
        """qid -> Query of a split; None: of the base dataset, or of all splits where it has none."""
        if split is not None:
            return self._queries_of(self.parts[split])
        if _load(self.base).has_queries():
            return self._queries_of(self.base)
        return {qid: query for part in self.parts.values() for qid, query in self._queries_of(part).items()}

    @cached_property
    def _read(self) -> dict[str, Mapping[str, Query]]:
        return {}

    def _queries_of(self, dataset: str) -> Mapping[str, Query]:
        if dataset not in self._read:
            with _told(dataset, "queries"):
                found = {
                    str(q.query_id): Query(str(q.query_id), q.default_text()) for q in _load(dataset).queries_iter()
                }
            self._read[dataset] = found
        return self._read[dataset]

    def qrels(self, split: str) -> Qrels:
        """The judgements of a split; the same judgement twice counts once.

        Raises:
            DataError: two grades for one document of a topic.
        """
        qrels: dict[str, dict[str, int]] = {}
        with _told(self.parts[split], "judgements"):
            for row in _load(self.parts[split]).qrels_iter():
                judged, grade = qrels.setdefault(str(row.query_id), {}), int(row.relevance)
                if judged.setdefault(str(row.doc_id), grade) != grade:
                    raise DataError(
                        f"{self.parts[split]}: document {row.doc_id!r} has two grades for topic {row.query_id!r}: "
                        f"{judged[str(row.doc_id)]} and {grade}"
                    )
        return qrels

    def facts(self, splits: Iterable[str]) -> dict[str, Any]:
        """Which datasets of which ir_datasets; it checks hashes of its own when it downloads."""
        from importlib.metadata import version

        used = {split: self.parts[split] for split in splits}
        said: dict[str, Any] = {"ir_datasets": {"version": version("ir_datasets"), "documents": self.base, **used}}
        return said if self.binary_from is None else {**said, "binary_from": self.binary_from}


class DocstoreCorpus(LazyCorpus):
    """docid -> Document of a dataset; the document store is built at the first look-up, once for this machine."""

    def __init__(self, dataset: str) -> None:
        self._dataset = dataset

    @cached_property
    def _store(self) -> Any:
        with _told(self._dataset, "documents"):
            store = _load(self._dataset).docs_store()
            if hasattr(store, "build"):
                store.build()
            return store

    def __len__(self) -> int:
        with _told(self._dataset, "documents"):
            return int(self._store.count() if hasattr(self._store, "count") else _load(self._dataset).docs_count())

    def documents(self) -> Iterator[Document]:
        """The documents, in the order of the source."""
        store = self._store  # built first: a pass while it is built would read everything twice
        with _told(self._dataset, "documents"):
            yield from map(_document, iter(store) if hasattr(store, "__iter__") else _load(self._dataset).docs_iter())

    def __getitem__(self, docid: str) -> Document:
        with _told(self._dataset, "documents"):
            found = self._store.get_many([docid])
        if docid not in found:
            raise KeyError(docid)
        return _document(found[docid])


def _document(given: Any) -> Document:
    fields = given._fields
    if "text" in fields:
        title = (given.title or "") if "title" in fields else ""
        return Document(str(given.doc_id), title, given.text or "")
    return Document(str(given.doc_id), "", given.default_text())


def by_id(dataset: str, *, identical_ids: bool = False, kind: str = "ir_datasets collection") -> IrDatasets:
    """The dataset with that id; its splits are its judged parts, or `test` where it is judged itself.

    Raises:
        ConfigError: ir_datasets has no such dataset, or it has no documents.
        MissingDependencyError: ir_datasets is not installed.
    """
    known = list(_library().registry)
    try:
        whole = _load(dataset)
    except KeyError:
        family = [name for name in known if name.split("/")[0] == dataset.split("/")[0]]
        prefix = "beir/" if identical_ids else ""
        names = [name.removeprefix(prefix) for name in family or known]
        raise unknown_name(kind, dataset.removeprefix(prefix), names) from None
    if not whole.has_docs():
        inside = [name for name in known if name.startswith(f"{dataset}/") and _load(name).has_docs()]
        raise unknown_name(f"{kind} with documents", dataset, inside)
    if whole.has_qrels():
        return IrDatasets(dataset, {"test": dataset}, identical_ids)
    parts = {name.removeprefix(f"{dataset}/"): name for name in known if name.startswith(f"{dataset}/")}
    judged = {split: name for split, name in parts.items() if _load(name).has_qrels()}
    return IrDatasets(dataset, judged, identical_ids)


def named(name: str) -> IrDatasets:
    """The collection behind a name of `NAMED`.

    TREC topics without judgements are left out of the split and are among `queries(None)`.
    """
    _library()
    if name == "msmarco":
        return IrDatasets("msmarco-passage", MSMARCO)
    dataset = f"msmarco-passage/trec-dl-20{name[-2:]}"
    return IrDatasets(dataset, {"test": f"{dataset}/judged"}, binary_from=2)


def _library() -> Any:
    try:
        import ir_datasets
    except ModuleNotFoundError as error:
        raise MissingDependencyError("ir_datasets", extra="collections", found=str(error)) from None
    return ir_datasets


def _load(dataset: str) -> Any:
    return _library().load(dataset)


@contextmanager
def _told(dataset: str, what: str) -> Iterator[None]:
    """Turn whatever a download or an unpacking raises inside into one sentence."""
    try:
        yield
    except (RankRLError, GeneratorExit):
        raise
    except Exception as error:
        home = _library().util.home_path()
        detail = " ".join(str(error).split())[:300]
        raise DataError(
            f"the {what} of {dataset} cannot be read through ir_datasets: {type(error).__name__}: {detail}; "
            f"it downloads to and reads from {home}"
        ) from error
