"""The text of run and qrels files: unpacked, decoded and cut into blocks of whole lines, with a word for what is no text.

What a file is packed with is read from its first bytes, not from its name: gzip, xz and LZ4 are unpacked on the way.
"""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rankrl.errors import DataError, MissingDependencyError

BLANKS = " \t\r\n\f\v"  # C's isspace; Python's str.split() would also cut docids at U+00A0 or U+3000

_BLOCK_BYTES = 1 << 16  # small enough that what a block is cut into stays in the processor's cache
_DAMAGED = (EOFError, lzma.LZMAError, zlib.error, RuntimeError, gzip.BadGzipFile)  # RuntimeError: lz4's
_GZIP, _XZ, _LZ4 = b"\x1f\x8b", b"\xfd7zXZ", b"\x04\x22\x4d\x18"


@contextmanager
def opened(path: str | Path, what: str) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked; whatever goes wrong while it is open becomes one `DataError`.

    what: what was looked for ("run", "qrels"), for the message.
    """
    try:
        with open(path, "rb") as packed:
            yield _unpacked(packed, path)
    except FileNotFoundError:
        raise DataError(f"{what} not found: {path}") from None
    except IsADirectoryError:
        raise DataError(f"{what} is a folder, not a file: {path}") from None
    except _DAMAGED as error:
        raise DataError(f"{what} cannot be unpacked: {path}: {error}") from None
    except OSError as error:
        raise DataError(f"{what} cannot be read: {path}: {error.strerror or error}") from None


def _unpacked(packed: Any, path: str | Path) -> IO[bytes]:
    for _ in range(3):  # ranx packs twice
        start = packed.peek(8)[:8]
        if start.startswith(_GZIP):
            packed = gzip.GzipFile(fileobj=packed)
        elif start.startswith(_XZ):
            packed = io.BufferedReader(lzma.LZMAFile(packed))  # noqa: SIM115 (its file is closed by the caller)
        elif start.startswith(_LZ4):
            try:
                import lz4.frame
            except ImportError:
                raise MissingDependencyError(f"lz4, which unpacks {path},", extra="collections") from None
            packed = io.BufferedReader(lz4.frame.open(packed))
        else:
            break
    return packed  # type: ignore[no-any-return]


def blocks(path: str | Path, what: str) -> Iterator[tuple[int, str]]:
    """(number of the first line, text) of each piece of a file, about 64 kB of whole lines that all end with "\\n".

    "\\r\\n" and "\\r" are line ends too. A leading byte order mark is left out.

    Raises:
        DataError: no such file, one that cannot be unpacked, or a line that is not text (`file:line: …`).
    """
    number = 1
    with opened(path, what) as file:
        try:
            for raw in _whole_lines(file):
                text = _decoded(raw, number, path)
                if number == 1:
                    text = text.removeprefix("\ufeff")
                if "\r" in text:
                    text = text.replace("\r\n", "\n").replace("\r", "\n")
                yield number, text if text.endswith("\n") else text + "\n"
                number += text.count("\n")
        except _DAMAGED as error:
            after = f" after line {number - 1}" if number > 1 else ""
            raise DataError(f"{what} cannot be unpacked{after}: {path}: {error}") from None


def ends_with_line_end(path: str | Path, what: str) -> bool:
    """True when the last line of a file is ended, False when the file stops within it; True for an empty file."""
    last = b"\n"
    with opened(path, what) as file:
        while block := file.read(1 << 20):
            last = block[-1:]
    return last in (b"\n", b"\r")


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    kept: list[bytes] = []  # of a line that is longer than a block
    while block := file.read(_BLOCK_BYTES):
        if cut := block.rfind(b"\n") + 1:
            yield b"".join((*kept, block[:cut]))
            kept = [block[cut:]]
        else:
            kept.append(block)
    if rest := b"".join(kept):
        yield rest


def _decoded(raw: bytes, number: int, path: str | Path) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = number + _line_ends(raw[: error.start])
        byte = raw[error.start]
        hint = (
            "; it looks like UTF-16: save it as UTF-8" if number == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        )
        raise DataError(f"{path}:{line}: the line is not UTF-8 text (byte 0x{byte:02x}){hint}") from None
    if "\0" in text:
        line = number + _line_ends(raw[: raw.index(b"\0")])
        raise DataError(f"{path}:{line}: a NUL byte: this is not a text file")
    return text


def _line_ends(raw: bytes) -> int:
    return len(raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")) - 1


def numbered(lines: Iterable[str], source: str, first: int = 1) -> Iterator[tuple[int, str]]:
    """(line number, line) without comments ("#"), blank lines, line ends and a leading byte order mark.

    Raises:
        DataError: a NUL byte, or a byte order mark before a later line, which would become a part of its qid.
    """
    for number, line in enumerate(lines, start=first):
        if "\0" in line:
            raise DataError(f"{source}:{number}: a NUL byte: this is not a text file")
        text = line.rstrip("\r\n")
        if number == 1:
            text = text.removeprefix("\ufeff")
        elif text.startswith("\ufeff"):
            raise DataError(
                f"{source}:{number}: a byte order mark stands before the line, as where files were joined; remove it"
            )
        if text.strip(BLANKS) and not text.startswith("#"):
            yield number, text


def data_lines(path: str | Path, what: str) -> Iterator[tuple[int, str]]:
    """(line number, line) of a file without comments, blank lines and line ends."""
    for first, text in blocks(path, what):
        yield from numbered(text[:-1].split("\n"), str(path), first)


def shortened(line: str) -> str:
    """The line, quoted, cut at 80 characters."""
    return repr(line if len(line) <= 80 else line[:77] + "…")
