"""Encoded documents in shards, in memory or in a folder, and what makes a folder an index.

    FOLDER/building.json        what is being built; there from the first shard on
    FOLDER/vectors-00000.npy    float32 (N, D); of a finished index only flat needs them, the others may lose them
    FOLDER/docids-00000.npy     the docids, UTF-8, one after the other; offsets-00000.npy says where each begins
    FOLDER/shard-00000.json     written when its shard is whole: rows, the documents' SHA-256, largest length
    FOLDER/index-00000.faiss    the shard's part of an approximate index
    FOLDER/index.json           written last: a folder without it is no index

Each file is moved into place when it is complete, so a killed build leaves whole shards, and goes on after the last of them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl.errors import ConfigError, DataError
from rankrl.files import atomic_writer, open_text

from .exact import Shard

if TYPE_CHECKING:
    import numpy as np

    from ..collections import Document

    Array = np.ndarray[Any, Any]

FORMAT = 1


@dataclass(frozen=True, slots=True)
class ShardFacts:
    """What `shard-N.json` says."""

    rows: int
    sha256: str
    largest_norm: float


@dataclass(frozen=True, slots=True)
class Docids:
    """The docids of consecutive rows over all shards; those in files are read one at a time, not held.

    blobs: for each shard its docids as bytes, one after the other. offsets: where each begins, and the end.
    """

    blobs: tuple[Array, ...]
    offsets: tuple[Array, ...]
    starts: tuple[int, ...]

    def __len__(self) -> int:
        return self.starts[-1]

    def __call__(self, row: int) -> str:
        shard = bisect_right(self.starts, row) - 1
        at = row - self.starts[shard]
        offsets = self.offsets[shard]
        return bytes(self.blobs[shard][offsets[at] : offsets[at + 1]]).decode("utf-8", "surrogatepass")


def joined_docids(pairs: Sequence[tuple[Array, Array]]) -> Docids:
    """The docids of several shards as one table."""
    starts = [0]
    for _, offsets in pairs:
        starts.append(starts[-1] + len(offsets) - 1)
    return Docids(tuple(blob for blob, _ in pairs), tuple(offsets for _, offsets in pairs), tuple(starts))


def packed(docids: Sequence[str]) -> tuple[Array, Array]:
    """(bytes, offsets) of docids."""
    import numpy as np

    encoded = [docid.encode("utf-8", "surrogatepass") for docid in docids]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(docid) for docid in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets


def digest_of(documents: Sequence[Document], *wholes: Any) -> str:
    """SHA-256 of docids and texts, in order; `wholes` are hashes that are fed the same bytes."""
    own = hashlib.sha256()
    for document in documents:
        line = json.dumps([document.docid, document.full_text]).encode("ascii") + b"\n"
        for digest in (own, *wholes):
            digest.update(line)
    return own.hexdigest()


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that holds an index, or a part of one that is being built."""

    path: Path

    def file(self, kind: str, number: int | None = None) -> Path:
        """The path of a shard's file of that kind: vectors, docids, offsets, shard, index."""
        suffix = {"shard": "json", "index": "faiss"}.get(kind, "npy")
        return self.path / f"{kind}-{number:05d}.{suffix}"

    def finished(self) -> dict[str, Any] | None:
        """The content of index.json; None when there is no finished index here."""
        return _json(self.path / "index.json")

    def begun(self) -> dict[str, Any] | None:
        """The content of building.json; None when nothing was begun here."""
        return _json(self.path / "building.json")

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Take the folder for a build, or go on with one of the same plan.

        Raises:
            ConfigError: other files are there. DataError: a build of another plan is there.
        """
        if (before := self.begun()) is None:
            if others := sorted(p.name for p in self.path.iterdir() if not p.name.startswith(".")):
                raise ConfigError(f"{self.path} is not empty ({others[0]}, …) and holds no index; give a new folder")
            _write_json(self.path / "building.json", plan)
        elif said := differences(before, plan):
            raise DataError(
                f"{self.path} holds the beginning of another index: {said}; finish it with what it began with, give another "
                "folder, or delete it"
            )

    def finish(self, facts: Mapping[str, Any]) -> None:
        """From now on the folder is an index."""
        _write_json(self.path / "index.json", facts)

    def shard(self, number: int) -> ShardFacts | None:
        """What is known of a shard that is whole; None for one that is not there."""
        found = _json(self.file("shard", number))
        return None if found is None else ShardFacts(**found)

    def put(self, number: int, vectors_ND: Array | None, docids: tuple[Array, Array], facts: ShardFacts) -> None:
        """Write a shard; without vectors where an approximate index has taken them in."""
        for kind, array in (("vectors", vectors_ND), ("docids", docids[0]), ("offsets", docids[1])):
            if array is None:
                continue
            with replaced(self.file(kind, number)) as partial, partial.open("wb") as file:
                _save(file, array)
        _write_json(self.file("shard", number), asdict(facts))

    def vectors(self, number: int, facts: ShardFacts, *, mmap: bool) -> Shard:
        """The vectors of a shard, mapped or in memory.

        Raises:
            DataError: the file is missing or is not what was written.
        """
        vectors_ND = _load(self.file("vectors", number), mmap=mmap)
        if vectors_ND.ndim != 2 or len(vectors_ND) != facts.rows or str(vectors_ND.dtype) != "float32":
            raise DataError(f"{self.file('vectors', number)} is not the one that was written; build the index again")
        return Shard(vectors_ND, facts.largest_norm)

    def docids(self, number: int, *, mmap: bool) -> tuple[Array, Array]:
        """(bytes, offsets) of a shard's docids, mapped or in memory."""
        return _load(self.file("docids", number), mmap=mmap), _load(self.file("offsets", number), mmap=mmap)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else builds in this folder meanwhile.

        Raises:
            ConfigError: somebody does, or the folder cannot be made or written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise ConfigError(f"no index can be kept in {self.path}: {error.strerror}; give another folder") from None
        with lock as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ConfigError(
                    f"another process is building the index in {self.path}; wait for it, or give another folder"
                ) from None
            yield


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> str:
    """What two plans say differently, as `name is this there and that here`; "" when nothing.

    Plans of different kinds are told apart by that alone: the rest follows from it.
    """
    said = []
    names = {*before, *now} if before.get("kind") == now.get("kind") else {"kind"}
    for name in sorted(names):
        there, here = before.get(name), now.get(name)
        if isinstance(there, Mapping) and isinstance(here, Mapping):
            said.append(differences(there, here, f"{prefix}{name}."))
        elif there != here:
            said.append(f"{prefix}{name} is {_short(there)} there and {_short(here)} here")
    return ", ".join(filter(None, said))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:20] + "…'"


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """A path to write to; what is there when the block ends without an exception takes the target's place."""
    partial = target.with_name(f".{target.name}.partial")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _save(file: Any, array: Array) -> None:
    import numpy as np

    np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def _load(path: Path, *, mmap: bool) -> Array:
    import numpy as np

    try:
        # copy on write: nothing here writes, and torch warns of arrays that it could not write to
        array: Array = np.load(path, mmap_mode="c" if mmap and _holds_something(path) else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path} cannot be read: {first}; build the index again") from None
    return array


def _holds_something(path: Path) -> bool:
    """False for an array without elements, which cannot be mapped."""
    return path.stat().st_size > 128


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    with atomic_writer(path) as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    with open_text(path, what="index description") as file:
        try:
            found = json.load(file)
        except ValueError as error:
            raise DataError(f"{path}: not JSON: {error}; build the index again") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected a JSON object; build the index again")
    return found
