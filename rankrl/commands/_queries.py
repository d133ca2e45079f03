"""The queries that --queries or --split name: a file with a qid and a text on each line, or a collection's own."""

from __future__ import annotations

import argparse
import json
import lzma
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from rankrl.errors import DataError
from rankrl.files import open_text
from rankrl.types import Query

_QID_KEYS = ("qid", "_id", "id", "query_id")
_TEXT_KEYS = ("text", "query")
_WANTED = f"a JSON object with {' or '.join(_QID_KEYS)} and {' or '.join(_TEXT_KEYS)}, or qid, tab, text"


def asked(
    args: argparse.Namespace, collection: Any
) -> tuple[Sequence[Query], str | None, Mapping[str, frozenset[str]]]:
    """(the queries of --queries or --split, their split or None for no single one, what must not be returned for them)."""
    if args.queries is not None:
        return read_queries(args.queries), None, {}
    split = args.split or "test"
    whole = None if split == "all" and "all" not in collection.splits else split
    return collection.queries(whole), whole, collection.exclusions(whole)


def own_queries(path: str | None) -> dict[str, str | None] | None:
    """What is recorded about a file of queries; None where none was given."""
    if path is None:
        return None
    from rankrl.provenance import source_sha256

    return {"file": path, "sha256": source_sha256(path)}


def read_queries(path: str) -> list[Query]:
    """The queries of a file, in its order: `qid<TAB>text` lines, or JSON lines; blank lines are skipped (.gz, .xz).

    A line that starts with { is JSON. Ids may be numbers in JSON; they are strings afterwards.

    Raises:
        DataError: the file cannot be read, has no query, names one twice, or `file:line` is neither form.
    """
    queries: dict[str, Query] = {}
    number = 0
    with open_text(path, what="queries") as file:
        try:
            for number, line in enumerate(file, start=1):
                text = (line.removeprefix("\ufeff") if number == 1 else line).strip("\r\n")
                if not text.strip():
                    continue
                query = _query(text, f"{path}:{number}")
                if query.qid in queries:
                    raise DataError(f"{path}:{number}: query {query.qid!r} appears twice; keep one of them")
                queries[query.qid] = query
        except UnicodeDecodeError:
            raise DataError(f"queries are not UTF-8 text after line {number}: {path}") from None
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            raise DataError(f"queries cannot be read after line {number}: {path}: {error}") from None
    if not queries:
        raise DataError(f"no queries in {path}; a line is {_WANTED}")
    return list(queries.values())


def _query(line: str, where: str) -> Query:
    if not line.lstrip().startswith("{"):
        qid, tab, text = line.partition("\t")
        if not tab or not qid.strip():
            raise DataError(f"{where}: no tab between qid and text; a line is {_WANTED}")
        return Query(qid.strip(), text.strip())
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise DataError(f"{where}: not JSON; a line is {_WANTED}") from None
    qid, text = _value(row, _QID_KEYS, where), _value(row, _TEXT_KEYS, where)
    if isinstance(qid, int) and not isinstance(qid, bool):
        qid = str(qid)
    if not isinstance(qid, str) or not qid.strip() or not isinstance(text, str):
        raise DataError(f"{where}: qid is {qid!r} and text is {text!r}; both are strings, and the qid is not empty")
    return Query(qid.strip(), text)


def _value(row: Mapping[str, Any], keys: tuple[str, ...], where: str) -> Any:
    for key in keys:
        if key in row:
            return row[key]
    raise DataError(f"{where}: no {' or '.join(keys)}; a line is {_WANTED}")
