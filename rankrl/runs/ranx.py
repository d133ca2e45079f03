"""Runs and qrels as ranx stores them: {qid: {docid: number}} as JSON, as CBOR packed with LZ4, or as a Parquet table."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from rankrl.errors import DataError, MissingDependencyError
from rankrl.runs.results import Piece
from rankrl.runs.rows import grade_of, identifier, number, parsed
from rankrl.runs.text import blocks, opened, shortened

_PARQUET = b"PAR1"
_COLUMNS = ("q_id", "doc_id", "score")


def is_binary(path: str | Path, what: str) -> bool:
    """True when the file begins as Parquet files do, or as a map in CBOR, which no text can."""
    with opened(path, what) as file:
        return _is_parquet(start := file.read(4)) or _is_cbor(start)


def _is_parquet(start: bytes) -> bool:
    return start == _PARQUET


def _is_cbor(start: bytes) -> bool:
    return bool(start) and 0xA0 <= start[0] <= 0xBF


def ranx_pieces(path: str | Path) -> Iterator[Piece]:
    """The results of a run that ranx wrote, in its order.

    Raises:
        DataError: no such layout, an id or a score of a wrong kind, a topic or document twice.
    """
    for qid, found, lines_N in _topics(path, "run"):
        docids_N = [docid for docid, _ in found]
        scores_N = [number(value, f"score of document {docid!r}", f"{path}: topic {qid!r}") for docid, value in found]
        if docids_N:
            yield Piece(qid, docids_N, scores_N, None, lines_N)


def ranx_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """qid -> docid -> grade of qrels that ranx wrote. Raises `DataError` as `ranx_pieces`."""
    qrels: dict[str, dict[str, int]] = {}
    for qid, found, _ in _topics(path, "qrels"):
        judgments = qrels.setdefault(qid, {})
        for docid, value in found:
            if docid in judgments:
                raise DataError(f"{path}: document {docid!r} is judged twice for topic {qid!r}; keep one of them")
            judgments[docid] = grade_of(value, docid, f"{path}: topic {qid!r}")
    return qrels


def _topics(path: str | Path, what: str) -> Iterator[tuple[str, list[tuple[str, Any]], range]]:
    """(qid, (docid, number) pairs, numbers of the results in the file) of each topic."""
    if Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir():
        raise DataError(f"{path} is a pipe, which cannot be read as ranx; write it to a file first")
    with opened(path, what) as file:
        start = file.read(4)
    if _is_parquet(start):
        yield from _of_parquet(path, what)
        return
    if _is_cbor(start):
        content = _of_cbor(path, what)
    else:
        content = parsed("".join(text for _, text in blocks(path, what)), str(path))
    if not isinstance(content, Mapping):
        raise DataError(f"{path}: expected {{qid: {{docid: number}}}}, got {type(content).__name__}")
    count = 1
    for qid, found in content.items():
        where = f"{path}: topic {shortened(str(qid))}"
        if not isinstance(found, Mapping):
            raise DataError(f"{where}: expected {{docid: number}}, got {shortened(repr(found))[1:-1]}")
        pairs = [(identifier(docid, "docid", where), value) for docid, value in found.items()]
        yield identifier(qid, "qid", where), pairs, range(count, count + len(pairs))
        count += len(pairs)


def _of_parquet(path: str | Path, what: str) -> Iterator[tuple[str, list[tuple[str, Any]], range]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingDependencyError(f"pyarrow, which reads {path},", extra="dev") from None
    try:
        with ParquetFile(path) as table:
            missing = [name for name in _COLUMNS if name not in table.schema_arrow.names]
            if missing:
                raise DataError(
                    f"{path}: no column {missing[0]!r}; expected the columns {', '.join(_COLUMNS)}, as ranx writes them"
                )
            count = 1
            for batch in table.iter_batches(columns=list(_COLUMNS)):
                qids, docids, values = (batch.column(name).to_pylist() for name in _COLUMNS)
                for qid, same in groupby(enumerate(qids), key=lambda one: one[1]):
                    places = [place for place, _ in same]
                    where = f"{path}:{count}"
                    pairs = [
                        (identifier(docids[i], "docid", f"{path}:{count + i - places[0]}"), values[i]) for i in places
                    ]
                    yield identifier(qid, "qid", where), pairs, range(count, count + len(pairs))
                    count += len(pairs)
    except DataError:
        raise
    except (ArrowException, OSError, ValueError) as error:  # pyarrow's for what is damaged within a column, or no text
        raise DataError(f"{what} cannot be read: {path}: {' '.join(str(error).split())[:200]}") from None


def _of_cbor(path: str | Path, what: str) -> Any:
    try:
        cbor2 = importlib.import_module("cbor2")
    except ImportError:
        raise MissingDependencyError(f"cbor2, which reads {path},", extra="bench") from None
    with opened(path, what) as file:
        content = file.read()
    try:
        return cbor2.loads(content)
    except Exception as error:  # cbor2's own, and what the types raise that damaged bytes may name: dates, fractions, …
        raise DataError(f"{what} cannot be read: {path}: {' '.join(str(error).split())[:200]}") from None
