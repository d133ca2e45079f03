"""BEIR's layout as Hugging Face data sets have it: tables `corpus`, `queries` and the judgements.

    corpus    _id, title, text       queries   _id, text       judgements   query-id, corpus-id, score; one split each

The judgements are the table `qrels`, or `default` (as MTEB has it), or a data set of their own called `NAME-qrels` (as BeIR
has it). A branch or tag that is asked for is that of both data sets, a commit that of the documents and queries; what was read
of the judgements is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rankrl.errors import DataError
from rankrl.types import Qrels, Query

from ._base import Bare, Document
from ._beir import document_of
from ._rows import identifier, queries_of, shown
from ._tables import TableCorpus, Tables

_QRELS_TABLES = ("qrels", "default")
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class HubBeir(Bare):
    """A data set in BEIR's layout; see `Source`."""

    tables: Tables

    @property
    def folder(self) -> Path | None:
        """The folder of a local data set."""
        return self.tables.folder

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Where it comes from."""
        return {"source": f"datasets: {self.tables.label}"}

    @property
    def identical_ids(self) -> bool:
        """True, as in BEIR."""
        return True

    @cached_property
    def _judged(self) -> tuple[Tables, str]:
        """The data set and the table with the judgements.

        Raises:
            DataError: there is neither a table of judgements nor a data set beside it.
        """
        for name in _QRELS_TABLES:
            if name in self.tables.configs:
                return self.tables, name
        revision = self.tables.revision
        if revision is not None and _COMMIT.fullmatch(revision):  # a commit is one repository's only
            revision = None
        beside = Tables(f"{self.tables.where.rstrip('/')}-qrels", revision)
        if self.tables.folder is not None and beside.folder is None:
            raise DataError(
                f"{self.tables.where} has no judgements: neither a table {' nor '.join(_QRELS_TABLES)}, nor a folder "
                f"{beside.where} beside it"
            )
        configs = beside.configs
        return beside, next((name for name in (*_QRELS_TABLES, *configs) if name in configs), "qrels")

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of the judgements."""
        tables, config = self._judged
        return tables.splits(config)

    def documents(self) -> Iterator[Document]:
        """The documents, in the order of the table."""
        return iter(self.corpus().values())

    def corpus(self) -> Mapping[str, Document]:
        """docid -> Document; texts stay on disk."""
        return self._corpus

    @cached_property
    def _corpus(self) -> TableCorpus:
        return TableCorpus(self.tables, "corpus", self.tables.splits("corpus"), "_id", document_of)

    @cached_property
    def _queries(self) -> Mapping[str, Query]:
        return queries_of(self.tables.rows("queries"))

    def queries(self, split: str | None) -> Mapping[str, Query]:
        """qid -> Query of the whole table, whatever the split."""
        return self._queries

    def qrels(self, split: str) -> Qrels:
        """The judgements of a split.

        Raises:
            DataError: a column is missing, a grade is no whole number, or a judgement is given twice.
        """
        tables, config = self._judged
        qrels: dict[str, dict[str, int]] = {}
        for where, row in tables.rows(config, [split]):
            qid, docid = identifier(where, row, "query-id", spaces=False), identifier(where, row, "corpus-id")
            judged = qrels.setdefault(qid, {})
            if docid in judged:
                raise DataError(f"{where}: document {docid!r} is judged twice for topic {qid!r}; keep one of them")
            judged[docid] = grade_of(where, row.get("score"))
        if not qrels:
            raise DataError(f"no judgements in {tables.where}, {config}, {split}")
        return qrels

    def facts(self, splits: Iterable[str]) -> dict[str, Any]:
        """The files' SHA-256 or the commits, of the data set and of the judgements."""
        own = [(config, split) for config in ("corpus", "queries") for split in self.tables.splits(config)]
        tables, config = self._judged
        judged = tables.facts([(config, split) for split in splits])
        found = self.tables.facts(own)
        if tables is not self.tables:
            return {**found, "judgements_from": {"source": f"datasets: {tables.label}", **judged}}
        return {"sha256": {**found["sha256"], **judged["sha256"]}} if "sha256" in found else found


def grade_of(where: str, value: object) -> int:
    """A grade as an integer; 1.0 is accepted, as tables often hold grades as floats.

    Raises:
        DataError: anything else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not float(value).is_integer():
        raise DataError(f"{where}: the grade is {shown(value)}; expected a whole number")
    return int(value)
