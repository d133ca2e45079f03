"""The lines of a JSONL file as objects, each with its `file:line`; whatever is wrong with a line is told with it.

Repaired without a word, because nothing can be lost: CRLF line ends, a byte order mark before the first line, blank lines.
"""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

from rankrl.errors import DataError
from rankrl.files import open_text
from rankrl.runs.rows import parsed as json_in
from rankrl.types import Query

LONGEST_LINE_BYTES = 64 << 20
"""A longer line is refused: it is a file without line ends, and would fill the memory."""

_UNFIT_ID = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\u2028\u2029]")
_UNFIT_TEXT = re.compile("[\ud800-\udfff]")


def rows(path: Path, *, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`file:line`, JSON object) of each line that is not blank.

    Raises:
        DataError: not UTF-8, not JSON, not an object, too long (each with `file:line`), or the file cannot be unpacked.
    """
    for number, _, line in raw_lines(path, what=what):
        where = f"{path}:{number}"
        yield where, parsed(line, where)


def raw_lines(path: Path, *, what: str) -> Iterator[tuple[int, int, bytes]]:
    """(line number, byte offset in the unpacked file, line without byte order mark) of each line that is not blank."""
    number = offset = 0
    with open_text(path, what=what) as text:
        file = cast(BinaryIO, cast(Any, text).buffer)  # bytes, so that a line that is no UTF-8 can be named
        try:
            while line := file.readline(LONGEST_LINE_BYTES + 1):
                number += 1
                if len(line) > LONGEST_LINE_BYTES:
                    raise DataError(
                        f"{path}:{number}: the line is longer than {LONGEST_LINE_BYTES >> 20} MiB; "
                        "a line holds one JSON object"
                    )
                kept = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if kept.strip():
                    yield number, offset + len(line) - len(kept), kept
                offset += len(line)
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            raise DataError(f"{what} cannot be unpacked after line {number}: {path}: {error}") from None


def parsed(line: bytes, where: str) -> dict[str, Any]:
    """The JSON object of a line.

    Raises:
        DataError: not UTF-8, not JSON, not an object, or one in which a key stands twice.
    """
    try:
        row = json_in(line.decode("utf-8"), where)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: not UTF-8 text: byte 0x{line[error.start]:02x} at position {error.start + 1}; save the file as UTF-8"
        ) from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, got {type(row).__name__}")
    return row


def identifier(where: str, row: Mapping[str, Any], key: str = "_id", *, spaces: bool = True) -> str:
    """An id as a string; integers are accepted, as some collections have them.

    spaces: whether the id may hold spaces (docids may; a qid ends at the first space of a run line).

    Raises:
        DataError: it is missing, empty, of another type, or could not be written to a run and read back.
    """
    value = row.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        given = "is missing" if key not in row else f"is {shown(value)}"
        raise DataError(f"{where}: `{key}` {given}; expected a string that is not empty")
    if value != value.strip() or _UNFIT_ID.search(value) or (not spaces and value.split() != [value]):
        limits = "spaces at its ends, " if spaces else "white space, "
        raise DataError(
            f"{where}: `{key}` is {shown(value)}; an id may not hold {limits}control characters or line breaks"
        )
    return value


def text_of(where: str, row: Mapping[str, Any], key: str) -> str:
    """A string field that may be empty.

    Raises:
        DataError: it is missing, no string, or holds half a surrogate pair, which no encoding can carry.
    """
    value = row.get(key)
    if not isinstance(value, str):
        given = "is missing" if key not in row else f"is {type(value).__name__}"
        raise DataError(f"{where}: `{key}` {given}; expected a string")
    if not value.isascii() and _UNFIT_TEXT.search(value):
        raise DataError(f"{where}: `{key}` holds half a surrogate pair (\\ud800 to \\udfff); remove it")
    return value


def title_of(where: str, row: Mapping[str, Any], key: str = "title") -> str:
    """The title, "" when there is none."""
    return "" if row.get(key) is None else text_of(where, row, key)


def queries_of(found: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, Query]:
    """qid -> Query of rows with `_id` and `text`, in their order.

    Raises:
        DataError: a row lacks one of them, or a qid comes again.
    """
    queries: dict[str, Query] = {}
    for where, row in found:
        qid = identifier(where, row, spaces=False)
        if qid in queries:
            raise DataError(f"{where}: query {qid!r} appears twice; keep one of them")
        queries[qid] = Query(qid, text_of(where, row, "text"))
    return queries


def shown(value: object) -> str:
    """A value for an error message, cut at 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
