"""A folder in BEIR layout.

    FOLDER/corpus.jsonl      {"_id": …, "title": …, "text": …} a line; the title may be absent
    FOLDER/queries.jsonl     {"_id": …, "text": …} a line
    FOLDER/qrels/SPLIT.tsv   query-id, corpus-id, grade, with or without a header line; or four-column TREC qrels
    FOLDER/collection.json   optional: what is recorded about the collection; "identical_ids": "keep" keeps a document whose
                             id is the query's

Each file may be compressed (`.gz`, `.xz`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rankrl.errors import DataError
from rankrl.files import content_sha256, open_text
from rankrl.runs import read_qrels
from rankrl.types import Qrels, Query

from ._base import Bare, Document
from ._rows import identifier, parsed, queries_of, rows, text_of, title_of
from ._stored import StoredCorpus

LAYOUT = "a folder in BEIR layout (corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv)"
LARGE_BYTES = 1 << 30
"""An uncompressed corpus file of this size or more is looked up on disk instead of held in memory."""

_COMPRESSED = ("", ".gz", ".xz")
_QRELS_SUFFIXES = (".tsv", ".txt", ".qrels")


@dataclass(frozen=True)
class BeirFolder(Bare):
    """The files of a folder in BEIR layout; see `Source`."""

    folder: Path

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """The content of the folder's `collection.json`; {} when it has none."""
        path = self.folder / "collection.json"
        if not path.is_file():
            return {}
        with open_text(path, what="collection description") as file:
            try:
                found = json.load(file)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}: not JSON: {error}") from None
        if not isinstance(found, dict):
            raise DataError(f"{path}: expected a JSON object")
        return found

    @property
    def identical_ids(self) -> bool:
        """True unless collection.json says `"identical_ids": "keep"`."""
        said = self.provenance.get("identical_ids", "remove")
        if said not in ("keep", "remove"):
            raise DataError(
                f"{self.folder / 'collection.json'}: `identical_ids` is {said!r}; expected 'remove' or 'keep'"
            )
        return bool(said == "remove")

    def documents(self) -> Iterator[Document]:
        """The documents, in the order of the file, refused at the first docid that comes again.

        Of a large file the docids are not held either: it is read twice, and a docid that repeats is refused before the first
        document is given.
        """
        path = required(self.folder, "corpus.jsonl")
        if _is_large(path):
            yield from self.corpus().values()
            return
        seen: set[str] = set()
        for where, row in rows(path, what="corpus"):
            document = document_of(where, row)
            if document.docid in seen:
                raise DataError(f"{where}: document {document.docid!r} appears twice; keep one of them")
            seen.add(document.docid)
            yield document
        if not seen:
            raise DataError(f"no documents in {path}")

    def corpus(self) -> Mapping[str, Document]:
        """docid -> Document; on disk where the file is large and not compressed."""
        path = required(self.folder, "corpus.jsonl")
        if _is_large(path):
            return StoredCorpus(path, lambda line, where: document_of(where, parsed(line, where)))
        return {document.docid: document for document in self.documents()}

    @cached_property
    def _queries(self) -> Mapping[str, Query]:
        path = required(self.folder, "queries.jsonl")
        queries = queries_of(rows(path, what="queries"))
        if not queries:
            raise DataError(f"no queries in {path}")
        return queries

    def queries(self, split: str | None) -> Mapping[str, Query]:
        """qid -> Query of the whole file, whatever the split."""
        return self._queries

    @cached_property
    def _qrels_paths(self) -> Mapping[str, Path]:
        """Split -> the file that holds it."""
        paths: dict[str, Path] = {}
        for path in sorted((self.folder / "qrels").glob("*")):
            plain = path.with_suffix("") if path.suffix in _COMPRESSED[1:] else path
            if plain.suffix in _QRELS_SUFFIXES and not plain.name.startswith("."):
                split = plain.stem
                if split in paths:
                    raise DataError(f"two files for the split {split!r}: {paths[split]} and {path}; keep one of them")
                paths[split] = path
        return paths

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the files in `qrels/`, without endings."""
        return tuple(self._qrels_paths)

    def qrels(self, split: str) -> Qrels:
        """The judgements of one file."""
        qrels: Qrels = read_qrels(self._qrels_paths[split])
        return qrels

    def facts(self, splits: Iterable[str]) -> dict[str, Any]:
        """`sha256` of the content of each file that was read, by its name without compression."""
        paths = {name: required(self.folder, name) for name in ("corpus.jsonl", "queries.jsonl")}
        for split in splits:
            path = self._qrels_paths[split]
            plain = path.with_suffix("") if path.suffix in _COMPRESSED[1:] else path
            paths[f"qrels/{plain.name}"] = path
        return {"sha256": {name: self._digest(path) for name, path in paths.items()}}

    @cached_property
    def _digests(self) -> dict[Path, str]:
        return {}

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = content_sha256(path)
        return self._digests[path]


def _is_large(path: Path) -> bool:
    return path.suffix not in _COMPRESSED[1:] and path.stat().st_size >= LARGE_BYTES


def document_of(where: str, row: Mapping[str, Any]) -> Document:
    """The document of a corpus line.

    Raises:
        DataError: `_id` or `text` is missing or of the wrong type.
    """
    return Document(identifier(where, row), title_of(where, row), text_of(where, row, "text"))


def required(folder: Path, name: str) -> Path:
    """The file of that name in the folder, compressed or not.

    Raises:
        DataError: there is none.
    """
    for suffix in _COMPRESSED:
        if (path := folder / (name + suffix)).is_file():
            return path
    raise DataError(f"{folder} has no {name} (or .gz, .xz); a collection is {LAYOUT}")
