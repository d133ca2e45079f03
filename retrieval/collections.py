"""Collections: documents, queries and judgements, bundled by name or from any folder in BEIR layout.

    FOLDER/corpus.jsonl      {"_id": …, "title": …, "text": …} a line; the title may be absent
    FOLDER/queries.jsonl     {"_id": …, "text": …} a line
    FOLDER/qrels/SPLIT.tsv   query-id, corpus-id, grade, with or without a header line; or four-column TREC qrels

Each file may be compressed (`.gz`, `.xz`). Nothing is read before it is asked for: the judgements of a split cost no look
at the corpus.
"""

from __future__ import annotations

import json
import lzma
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rankrl.errors import ConfigError, DataError, unknown_name
from rankrl.files import open_text
from rankrl.runs import ranked, read_qrels
from rankrl.types import Candidate, CandidateList, Judgments, Qrels, Query, Run

_BUNDLED = Path(__file__).with_name("data")
_COMPRESSED = ("", ".gz", ".xz")
_QRELS_SUFFIXES = (".tsv", ".txt", ".qrels")
_LAYOUT = "a folder in BEIR layout (corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv)"


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


@dataclass(frozen=True)
class Collection:
    """A collection; its files are read when they are first needed, and once.

    name: the bundled name, or the folder's. provenance: what is recorded about a bundled collection (source, licence,
    counts, SHA-256 of each uncompressed file); {} for a folder that says nothing about itself.
    """

    name: str
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
            except ValueError as error:
                raise DataError(f"{path}: not JSON: {error}") from None
        if not isinstance(found, dict):
            raise DataError(f"{path}: expected a JSON object")
        return found

    @cached_property
    def corpus(self) -> Mapping[str, Document]:
        """docid -> Document, in the order of the file.

        Raises:
            DataError: `file:line` of a line that is no JSON object, lacks `_id` or `text`, or repeats a docid.
        """
        documents: dict[str, Document] = {}
        for where, row in _rows(_required(self.folder, "corpus.jsonl"), what="corpus"):
            docid = _identifier(where, row)
            if docid in documents:
                raise DataError(f"{where}: document {docid!r} appears twice; keep one of them")
            title = "" if row.get("title") is None else _text(where, row, "title")
            documents[docid] = Document(docid, title, _text(where, row, "text"))
        if not documents:
            raise DataError(f"no documents in {_required(self.folder, 'corpus.jsonl')}")
        return documents

    @cached_property
    def _queries(self) -> Mapping[str, Query]:
        queries: dict[str, Query] = {}
        for where, row in _rows(_required(self.folder, "queries.jsonl"), what="queries"):
            qid = _identifier(where, row)
            if qid in queries:
                raise DataError(f"{where}: query {qid!r} appears twice; keep one of them")
            queries[qid] = Query(qid, _text(where, row, "text"))
        if not queries:
            raise DataError(f"no queries in {_required(self.folder, 'queries.jsonl')}")
        return queries

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

    @cached_property
    def _cache(self) -> dict[str, Qrels]:
        return {}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have judgements, the derived ones last.

        With a split `train`, each other split X also comes in two parts: `X-unseen`, the topics none of whose relevant
        documents (grade > 0) is relevant to a topic of train, and `X-shared`, the others.
        """
        own = tuple(self._qrels_paths)
        others = [split for split in own if split != "train"] if "train" in own else []
        derived = [f"{split}-{part}" for split in others for part in ("unseen", "shared")]
        return (*own, *(split for split in derived if split not in own))

    def qrels(self, split: str) -> Qrels:
        """qid -> docid -> grade of the judged topics of a split.

        Raises:
            ConfigError: there is no such split.
            DataError: the file cannot be read as qrels (`file:line: …`), or a derived split has no topic.
        """
        if split not in self.splits:
            raise unknown_name(f"split of {self.name}", split, self.splits)
        if split not in self._cache:
            self._cache[split] = (
                read_qrels(self._qrels_paths[split]) if split in self._qrels_paths else self._derived(split)
            )
        return self._cache[split]

    def _derived(self, split: str) -> Qrels:
        whole, _, part = split.rpartition("-")
        trained = {docid for judgments in self.qrels("train").values() for docid in relevant(judgments)}
        wanted = part == "unseen"
        found = {q: judged for q, judged in self.qrels(whole).items() if trained.isdisjoint(relevant(judged)) == wanted}
        if not found:
            raise DataError(f"the split {split!r} of {self.name} has no topic")
        return found

    def queries(self, split: str | None = None) -> list[Query]:
        """The judged queries of a split, in the order of queries.jsonl; None: every query, judged or not.

        Raises:
            ConfigError, DataError: as `qrels`; or a judged topic has no text.
        """
        if split is None:
            return list(self._queries.values())
        judged = self.qrels(split)
        if silent := [qid for qid in judged if qid not in self._queries]:
            raise DataError(
                f"{len(silent)} judged topics of the split {split!r} are not in "
                f"{_required(self.folder, 'queries.jsonl')}: {silent[:5]}"
            )
        return [query for qid, query in self._queries.items() if qid in judged]


def relevant(judgments: Judgments) -> set[str]:
    """The docids with a grade above 0."""
    return {docid for docid, grade in judgments.items() if grade > 0}


def load_collection(name_or_path: str | Path) -> Collection:
    """The bundled collection of that name, or the one in a folder in BEIR layout (`./scifact` for a folder called like one).

    Raises:
        ConfigError: neither is there.
        DataError: the folder lacks the corpus or the queries.
    """
    if str(name_or_path) in (bundled := _bundled()):
        return Collection(str(name_or_path), bundled[str(name_or_path)])
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise unknown_name("collection", str(name_or_path), bundled, hint=f"; or give {_LAYOUT}")
    for name in ("corpus.jsonl", "queries.jsonl"):
        _required(folder, name)
    return Collection(folder.resolve().name, folder)


def summaries() -> dict[str, str]:
    """Name -> one line about each bundled collection."""
    return {
        name: str(Collection(name, folder).provenance.get("summary", "")) for name, folder in sorted(_bundled().items())
    }


def candidate_lists(
    collection: Collection, run: Run, queries: Sequence[Query], depth: int | None = None
) -> list[CandidateList]:
    """For each query its documents in the run, best first (trec_eval's order), cut at `depth`, with texts and scores.

    A query that the run does not list gets an empty list; topics of the run that are not asked for are left out.

    Raises:
        ConfigError: depth < 1.
        DataError: the run names a document that the collection does not have.
    """
    if depth is not None and depth < 1:
        raise ConfigError(f"depth is {depth}; it must be at least 1")
    lists = []
    for query in queries:
        scores = run.get(query.qid, {})
        candidates = []
        for docid in ranked(scores)[:depth]:
            document = collection.corpus.get(docid)
            if document is None:
                raise DataError(
                    f"topic {query.qid!r}: the run lists document {docid!r}, which is not in the collection "
                    f"{collection.name}; is it a run over another collection?"
                )
            candidates.append(document.candidate(float(scores[docid])))
        lists.append(CandidateList(query, tuple(candidates)))
    return lists


def _bundled() -> dict[str, Path]:
    return {path.parent.name: path.parent for path in _BUNDLED.glob("*/collection.json")}


def _required(folder: Path, name: str) -> Path:
    """The file of that name in the folder, compressed or not."""
    for suffix in _COMPRESSED:
        if (path := folder / (name + suffix)).is_file():
            return path
    raise DataError(f"{folder} has no {name} (or .gz, .xz); a collection is {_LAYOUT}")


def _rows(path: Path, *, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`file:line`, JSON object) of each line that is not blank."""
    number = 0
    with open_text(path, what=what) as file:
        try:
            for number, line in enumerate(file, start=1):
                text = line.removeprefix("\ufeff") if number == 1 else line
                if text.strip():
                    yield f"{path}:{number}", _object(text, f"{path}:{number}")
        except UnicodeDecodeError:
            raise DataError(f"{what} is not UTF-8 text after line {number}: {path}") from None
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            raise DataError(f"{what} cannot be unpacked after line {number}: {path}: {error}") from None


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        detail = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise DataError(f"{where}: not JSON: {detail}; a line is one JSON object") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(row).__name__}")
    return row


def _identifier(where: str, row: Mapping[str, Any]) -> str:
    """The `_id` as a string; integers are accepted, as some collections have them."""
    value = row.get("_id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        given = "is missing" if "_id" not in row else f"is {value!r}"
        raise DataError(f"{where}: `_id` {given}; expected a string that is not empty")
    return value


def _text(where: str, row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        given = "is missing" if key not in row else f"is {type(value).__name__}"
        raise DataError(f"{where}: `{key}` {given}; expected a string")
    return value
