"""A JSONL file in which each line is a query with its own passages.

    {"query": "who wrote faust?", "passages": ["Goethe wrote it.", {"title": "Faust", "text": "A tragedy."}], "grades": [1, 0]}

passages: strings, or objects with `text` and optionally `title` and `docid`; `titles` and `docids` may also stand beside them
as lists. grades: whole numbers, one per passage; a line without them is a query without judgements. qid: the line's number
(`1` is the first) where none is given. split: `test` where none is given.

A passage without a docid gets `p-` and the first 16 hexadecimal digits of the SHA-256 of its title, U+001F and its text: the
same passage in two lines is one document, and another order of the lines changes nothing. The passages in the order of the
line are a stored run: the first stage of whoever made the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rankrl.errors import DataError
from rankrl.files import content_sha256
from rankrl.runs import strictly_decreasing
from rankrl.types import Qrels, Query, Run

from ._base import Bare, Document
from ._hub import grade_of
from ._rows import identifier, rows, shown, text_of, title_of


@dataclass(frozen=True, slots=True)
class _Line:
    split: str
    query: Query
    documents: tuple[Document, ...]
    grades: tuple[int, ...] | None


@dataclass(frozen=True)
class QueryLines(Bare):
    """A file of queries with their passages, held in memory; see `Source`."""

    path: Path

    @property
    def folder(self) -> Path | None:
        """None: the collection is one file."""
        return None

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The file's name."""
        return {"source": f"file: {self.path.name}"}

    @property
    def identical_ids(self) -> bool:
        """False: whoever made the line chose its passages."""
        return False

    @cached_property
    def _lines(self) -> tuple[_Line, ...]:
        found: dict[str, _Line] = {}
        for where, row in rows(self.path, what="collection"):
            line = _line(where, row)
            if line.query.qid in found:
                raise DataError(f"{where}: query {line.query.qid!r} appears twice; keep one of them")
            found[line.query.qid] = line
        if not found:
            raise DataError(f"no queries in {self.path}")
        return tuple(found.values())

    @cached_property
    def _corpus(self) -> Mapping[str, Document]:
        found: dict[str, Document] = {}
        for line in self._lines:
            for document in line.documents:
                if found.setdefault(document.docid, document) != document:
                    raise DataError(
                        f"{self.path}: query {line.query.qid!r} has another text for document {document.docid!r} "
                        "than a line before it; give each text a docid of its own"
                    )
        if not found:
            raise DataError(f"no passages in {self.path}")
        return found

    def documents(self) -> Iterator[Document]:
        """Every passage once, in the order in which it is first seen."""
        return iter(self._corpus.values())

    def corpus(self) -> Mapping[str, Document]:
        """docid -> Document."""
        return self._corpus

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits of lines with grades."""
        return tuple(dict.fromkeys(line.split for line in self._lines if line.grades is not None))

    def queries(self, split: str | None) -> Mapping[str, Query]:
        """qid -> Query of all lines, whatever the split."""
        return {line.query.qid: line.query for line in self._lines}

    def qrels(self, split: str) -> Qrels:
        """The grades of the lines of a split."""
        return {
            line.query.qid: dict(zip((d.docid for d in line.documents), line.grades, strict=True))
            for line in self._lines
            if line.split == split and line.grades is not None
        }

    def stored_run(self) -> Run | None:
        """qid -> docid -> n for the first passage of the line, 1 for the last."""
        return {
            line.query.qid: strictly_decreasing([document.docid for document in line.documents])
            for line in self._lines
            if line.documents
        }

    def facts(self, splits: Iterable[str]) -> dict[str, Any]:
        """The SHA-256 of the file's content."""
        return {"sha256": {self.path.name: content_sha256(self.path)}}


def _line(where: str, row: Mapping[str, Any]) -> _Line:
    qid = identifier(where, row, "qid", spaces=False) if row.get("qid") is not None else where.rpartition(":")[2]
    passages = row.get("passages")
    if not isinstance(passages, list):
        raise DataError(f"{where}: `passages` is {shown(passages)}; expected a list")
    titles, docids = _beside(where, row, "titles", len(passages)), _beside(where, row, "docids", len(passages))
    documents = tuple(map(_passage, _numbered(where, len(passages)), passages, titles, docids))
    first: dict[str, int] = {}
    for number, document in enumerate(documents, start=1):
        if first.setdefault(document.docid, number) != number:
            raise DataError(
                f"{where}: passage {number} is document {document.docid!r} again, as passage {first[document.docid]}"
            )
    split = "test" if row.get("split") is None else text_of(where, row, "split")
    given = _beside(where, row, "grades", len(passages)) if row.get("grades") is not None else None
    grades = None if given is None else tuple(map(grade_of, _numbered(where, len(passages)), given))
    return _Line(split, Query(qid, text_of(where, row, "query")), documents, grades)


def _numbered(where: str, count: int) -> list[str]:
    return [f"{where}: passage {number}" for number in range(1, count + 1)]


def _beside(where: str, row: Mapping[str, Any], key: str, count: int) -> Sequence[Any]:
    """A list that goes with the passages; a None for each when it is absent."""
    values = row.get(key)
    if values is None:
        return [None] * count
    if not isinstance(values, list) or len(values) != count:
        given = f"has {len(values)}" if isinstance(values, list) else f"is {shown(values)}"
        raise DataError(f"{where}: `{key}` {given}; expected a list of {count}, one for each passage")
    return values


def _passage(where: str, passage: object, title: object, docid: object) -> Document:
    row = dict(passage) if isinstance(passage, dict) else {"text": passage}
    for key, value in (("title", title), ("docid", docid)):
        if row.get(key) is None:
            row[key] = value
    title, text = title_of(where, row), text_of(where, row, "text")
    if row["docid"] is not None:
        return Document(identifier(where, row, "docid"), title, text)
    digest = hashlib.sha256(f"{title}\x1f{text}".encode()).hexdigest()[:16]
    return Document(f"p-{digest}", title, text)
