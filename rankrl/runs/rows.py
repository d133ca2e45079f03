"""Runs and qrels as JSON rows: one object a line (JSONL), or one array of such objects.

A run's row is one result, {"qid", "docid", "score"}, or one topic with its results, best first:
  {"qid": "7", "candidates": [{"docid": "a", "score": 2.5}, …]}    (or "hits")
  {"query": {"qid": "7", "text": "…"}, "candidates": [{"docid": "a", "score": 2.5}, …]}    as rank_llm and Pyserini write
  {"qid": "7", "docids": ["a", "b"]}    an order without scores
Where no result of a topic has a score, the order is the ranking, and all of it stands in one row; where only some have a score,
or the order is spread over rows, the file is refused. A qrels row is
{"qid", "docid", "grade"}. Other names that are understood: "query_id"; "doc_id", "pid"; "relevance", "rel". Ids are texts or
whole numbers; further keys are ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rankrl.errors import DataError
from rankrl.files import atomic_writer
from rankrl.runs.ranking import ranked
from rankrl.runs.results import Piece
from rankrl.runs.text import BLANKS, blocks, shortened
from rankrl.types import Run

QIDS, DOCIDS, GRADES = ("qid", "query_id"), ("docid", "doc_id", "pid"), ("grade", "relevance", "rel")
RUN_ROW = (
    'an object with "qid", "docid" and "score", or one topic: "qid" and "candidates", a list of {"docid", "score"}'
)
QRELS_ROW = 'an object with "qid", "docid" and "grade"'


def parsed(text: str, where: str) -> Any:
    """The JSON value of a text.

    Raises:
        DataError: it is no JSON, or an object of it has a key twice, of which other readers take the last.
    """
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, where))
    except json.JSONDecodeError as error:
        line = f" in line {error.lineno}" if error.lineno > 1 else ""
        raise DataError(f"{where}: not JSON: {error.msg}{line}, character {error.colno}: {shortened(text)}") from None
    except RecursionError:
        raise DataError(f"{where}: not JSON that can be read: nested too deeply") from None
    except DataError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise DataError(f"{where}: not JSON that can be read: {str(error).split(';')[0]}") from None


def _object(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{where}: the key {twice!r} stands twice in one object; keep one of them")
    return found


def identifier(value: object, what: str, where: str) -> str:
    """An id as text; whole numbers become their digits. Raises `DataError` for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip(BLANKS) and _encodable(value):
        return value
    raise DataError(f"{where}: the {what} is {shortened(repr(value))[1:-1]}; expected a text or a whole number")


def _encodable(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def number(value: object, what: str, where: str) -> float:
    """A JSON number as a float, possibly not a finite one. Raises `DataError` for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    raise DataError(f"{where}: the {what} is {shortened(repr(value))[1:-1]}; expected a number")


def grade_of(value: object, docid: str, where: str) -> int:
    """A grade: a whole number, also one written as 1.0. Raises `DataError` for anything else."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole and not (isinstance(value, float) and value.is_integer()):
        raise DataError(
            f"{where}: the grade of document {docid!r} is {shortened(repr(value))[1:-1]}; expected an integer"
        )
    return int(value)  # type: ignore[call-overload,no-any-return]


def rows(path: str | Path, what: str) -> Iterator[tuple[int | str, Any]]:
    """(place, row) of a file of JSON rows: the number of the line, or "object 1" and so on in an array."""
    start, array = True, list[str]()
    for first, text in blocks(path, what):
        if start and not text.strip(BLANKS):
            continue
        if array or (start and text.lstrip(BLANKS).startswith("[")):
            array.append(text)
        else:
            for line_number, line in enumerate(text[:-1].split("\n"), start=first):
                if line.strip(BLANKS):
                    yield line_number, parsed(line, f"{path}:{line_number}")
        start = False
    if array:
        for count, row in enumerate(parsed("".join(array), str(path)), start=1):
            yield f"object {count}", row


def row_pieces(path: str | Path) -> Iterator[Piece]:
    """The results of a run of JSON rows, in its order. Raises `DataError` (`file:line: …`) for a row that is none."""
    ordered: dict[str, bool] = {}  # qid -> True where its order stands for its scores
    for place, row in rows(path, "run"):
        where = f"{path}:{place}"
        qid, hits, listed = _topic_of(row, where)
        docids_N = [
            identifier(_value(hit, DOCIDS) if isinstance(hit, Mapping) else hit, "docid", where) for hit in hits
        ]
        given = [hit.get("score") if isinstance(hit, Mapping) else None for hit in hits]
        by_order = listed and all(score is None for score in given)
        if docids_N and (by_order or ordered.get(qid)) and qid in ordered:
            raise DataError(
                f"{where}: topic {shortened(qid)} has a row without scores and another row, so its order is not known; "
                "put the topic in one row, or give every result a score"
            )
        if by_order:
            scores_N = [float(len(docids_N) - position) for position in range(len(docids_N))]
        else:
            named = zip(given, docids_N, strict=True)
            scores_N = [number(score, f"score of document {docid!r}", where) for score, docid in named]
        if docids_N:
            ordered[qid] = by_order
            yield Piece(qid, docids_N, scores_N, _ranks(hits, listed), [place] * len(docids_N))


def _topic_of(row: Any, where: str) -> tuple[str, list[Any], bool]:
    """(qid, results, whether they are a list in the row) of a row."""
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: expected {RUN_ROW}, got {shortened(json.dumps(row))}")
    query = row.get("query")
    qid = _value(query, QIDS) if isinstance(query, Mapping) else _value(row, QIDS)
    lists = [row[key] for key in ("candidates", "hits", "docids") if isinstance(row.get(key), list)]
    if qid is None or len(lists) > 1 or (not lists and _value(row, DOCIDS) is None):
        raise DataError(
            f"{where}: expected {RUN_ROW}, got the keys {', '.join(map(shortened, list(row)[:4])) or 'none'}"
        )
    return identifier(qid, "qid", where), lists[0] if lists else [row], bool(lists)


def _ranks(hits: list[Any], listed: bool) -> list[str] | None:
    """What says in which order the results are meant: their "rank", or for a list without it their place."""
    ranks = [hit.get("rank") if isinstance(hit, Mapping) else None for hit in hits]
    if all(isinstance(rank, int) for rank in ranks):
        return list(map(str, ranks))
    return [str(place) for place in range(1, len(hits) + 1)] if listed else None


def _value(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def row_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """qid -> docid -> grade of qrels of JSON rows. Raises `DataError` (`file:line: …`) for a row that is none."""
    qrels: dict[str, dict[str, int]] = {}
    for place, row in rows(path, "qrels"):
        where = f"{path}:{place}"
        values = [_value(row, names) for names in (QIDS, DOCIDS, GRADES)] if isinstance(row, Mapping) else [None]
        if None in values:
            raise DataError(f"{where}: expected {QRELS_ROW}, got {shortened(json.dumps(row))}")
        qid, docid = identifier(values[0], "qid", where), identifier(values[1], "docid", where)
        judgments = qrels.setdefault(qid, {})
        if docid in judgments:
            raise DataError(
                f"{where}: document {shortened(docid)} is judged twice for topic {shortened(qid)}; keep one of them"
            )
        judgments[docid] = grade_of(values[2], docid, where)
    return qrels


def write_rows(path: str | Path, run: Run, *, tag: str) -> None:
    """Write a run as JSON lines, one result a line, best document first; every id and every digit of a score comes back."""
    with atomic_writer(path) as file:
        for qid, scores in run.items():
            for rank, docid in enumerate(ranked(scores), start=1):
                for text, what in ((qid, "qid"), (docid, "docid")):
                    if not text.strip(BLANKS) or not _encodable(text):
                        raise DataError(f"{what} {text!r} cannot be written: it is empty or holds lone surrogates")
                row = {"qid": qid, "docid": docid, "rank": rank, "score": float(scores[docid]), "tag": tag}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
