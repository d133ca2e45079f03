"""Files written whole or not at all, and read with a clear word when they are not there."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import signal
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from rankrl.errors import DataError


@contextmanager
def atomic_writer(path: str | Path) -> Iterator[IO[str]]:
    """A UTF-8 text file that appears under `path` only when the block ends without an exception.

    Missing parent folders are made. The file is written beside its destination and moved over it in one step, so a
    reader never sees half of it and a failed command leaves what was there before.
    """
    target = Path(path).resolve()  # a link stays a link; what it points to is replaced
    if target.is_dir():
        raise DataError(f"{path} is a folder; give the name of a file to write")
    if target.exists() and not target.is_file():  # a pipe or a device such as /dev/null cannot be replaced
        with target.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~umask()
    handle, partial = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".partial")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, mode)
        os.replace(partial, target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def clean_up_on_sigterm() -> None:
    """From now on SIGTERM ends this process like an exit, so that half-written files are removed; for commands only."""

    def stop(number: int, _: object) -> None:
        sys.exit(128 + number)

    with suppress(ValueError):  # not the main thread: somebody else's program, whose signals are its own
        signal.signal(signal.SIGTERM, stop)


def umask() -> int:
    """The permissions that new files and folders of this process do not get."""
    current = os.umask(0)
    os.umask(current)
    return current


def open_text(path: str | Path, *, what: str) -> IO[str]:
    """A UTF-8 text file opened for reading; `.gz` and `.xz` are decompressed on the way.

    Raises:
        DataError: there is no such file, or it cannot be opened; `what` says what was looked for ("run", "qrels", …).
    """
    source = Path(path)
    try:
        if source.suffix == ".gz":
            return gzip.open(source, "rt", encoding="utf-8")
        if source.suffix == ".xz":
            return lzma.open(source, "rt", encoding="utf-8")
        return source.open(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{what} not found: {source}") from None
    except IsADirectoryError:
        raise DataError(f"{what} is a folder, not a file: {source}") from None
    except OSError as error:
        raise DataError(f"{what} cannot be read: {source}: {error.strerror}") from None


def content_sha256(path: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal; `.gz` and `.xz` are decompressed first.

    Raises:
        DataError: the file cannot be read or unpacked.
    """
    source = Path(path)
    digest = hashlib.sha256()
    opened: Any = {".gz": gzip.open, ".xz": lzma.open}.get(source.suffix, open)
    try:
        with opened(source, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{source} cannot be read: {error}") from None
    return digest.hexdigest()
