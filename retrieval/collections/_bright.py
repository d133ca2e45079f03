"""BRIGHT: twelve tasks, each with a corpus, queries, and documents that must not be returned for a query.

    documents        one split per task: id, content
    examples         one split per task: id, query, gold_ids, excluded_ids (["N/A"] where there are none)
    long_documents, gold_ids_long        the same for whole pages

The tables are those of `xlang-ai/BRIGHT` on the Hugging Face hub, or of a local folder of the same layout. Grades are 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rankrl.errors import DataError, unknown_name
from rankrl.types import Qrels, Query

from ._base import Bare, Document
from ._rows import identifier, shown, text_of
from ._tables import TableCorpus, Tables

HUB = "xlang-ai/BRIGHT"
_NOBODY = "N/A"


@dataclass(frozen=True)
class Bright(Bare):
    """One task of BRIGHT; see `Source`.

    asked: the table with the queries; `gpt4_reason` and its kin hold the same topics, rewritten for retrieval. long: whole
    pages instead of passages.
    """

    tables: Tables
    task: str
    asked: str = "examples"
    long: bool = False

    @property
    def folder(self) -> Path | None:
        """The folder of a local copy."""
        return self.tables.folder

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where it comes from."""
        return {"source": f"datasets: {self.tables.label}, {self.task}"}

    @property
    def identical_ids(self) -> bool:
        """False: queries are numbered, documents have names."""
        return False

    @property
    def splits(self) -> tuple[str, ...]:
        """`test`."""
        return ("test",)

    @property
    def _documents_table(self) -> str:
        return "long_documents" if self.long else "documents"

    def documents(self) -> Iterator[Document]:
        """The documents, in the order of the table."""
        return iter(self.corpus().values())

    def corpus(self) -> Mapping[str, Document]:
        """docid -> Document; texts stay on disk."""
        return self._corpus

    @cached_property
    def _corpus(self) -> TableCorpus:
        return TableCorpus(self.tables, self._documents_table, [self._known(self._documents_table)], "id", _document)

    def _known(self, table: str) -> str:
        if self.task not in (tasks := self.tables.splits(table)):
            raise unknown_name("task of BRIGHT", self.task, tasks)
        return self.task

    @cached_property
    def _rows(self) -> Mapping[str, tuple[str, dict[str, Any]]]:
        """qid -> (where, row)."""
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        for where, row in self.tables.rows(self.asked, [self._known(self.asked)]):
            qid = identifier(where, row, "id", spaces=False)
            if qid in found:
                raise DataError(f"{where}: query {qid!r} appears twice; keep one of them")
            found[qid] = where, row
        return found

    def queries(self, split: str | None) -> Mapping[str, Query]:
        """qid -> Query."""
        return {qid: Query(qid, text_of(where, row, "query")) for qid, (where, row) in self._rows.items()}

    def qrels(self, split: str) -> Qrels:
        """The gold documents, grade 1; a topic that has none is left out."""
        key = "gold_ids_long" if self.long else "gold_ids"
        gold = {qid: _ids(where, row, key) for qid, (where, row) in self._rows.items()}
        if not any(gold.values()):
            raise DataError(f"no judgements in {self.tables.where}, {self.asked}, {self.task}: every `{key}` is empty")
        return {qid: dict.fromkeys(docids, 1) for qid, docids in gold.items() if docids}

    def excluded(self) -> Mapping[str, frozenset[str]]:
        """The `excluded_ids`: documents that the query's own page was made of.

        Raises:
            DataError: a document is both gold and excluded.
        """
        gold = self.qrels("test")
        found = {}
        for qid, (where, row) in self._rows.items():
            found[qid] = frozenset(_ids(where, row, "excluded_ids"))
            if both := found[qid] & gold.get(qid, {}).keys():
                raise DataError(
                    f"{where}: {sorted(both)[:3]} are relevant to {qid!r} and excluded for it; decide for one"
                )
        return found

    def facts(self, splits: Iterable[str]) -> dict[str, Any]:
        """The task, the table of the queries, and the files' SHA-256 or the commits."""
        used = [(self._documents_table, self.task), (self.asked, self.task)]
        return {"task": self.task, "queries_from": self.asked, "long": self.long, **self.tables.facts(used)}


def _document(where: str, row: Mapping[str, Any]) -> Document:
    return Document(identifier(where, row, "id"), "", text_of(where, row, "content"))


def _ids(where: str, row: Mapping[str, Any], key: str) -> list[str]:
    """The ids of a list, each once, without "N/A"."""
    value = row.get(key)
    if value is None and key in row:
        return []
    if not isinstance(value, list) or not all(isinstance(docid, str) for docid in value):
        raise DataError(f"{where}: `{key}` is {shown(value)}; expected a list of ids")
    return [docid for docid in dict.fromkeys(value) if docid != _NOBODY]
