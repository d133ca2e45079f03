"""Corpora that stay where they lie: each document is read when it is asked for, a pass over all reads them in order."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from array import array
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl.errors import DataError

from ._base import Document
from ._rows import LONGEST_LINE_BYTES, raw_lines

if TYPE_CHECKING:
    import numpy as np

Reader = Callable[[bytes, str], Document]
"""(line, `file:line`) -> its document; raises DataError."""


class LazyCorpus(Mapping[str, Document]):
    """docid -> Document without holding them; keys, values and items come from one pass over `documents`."""

    @abstractmethod
    def documents(self) -> Iterator[Document]:
        """All documents, in the order of the source."""

    def __iter__(self) -> Iterator[str]:
        return (document.docid for document in self.documents())

    def values(self) -> ValuesView[Document]:
        """The documents, read one after the other."""
        return _Values(self)

    def items(self) -> ItemsView[str, Document]:
        """(docid, document), read one after the other."""
        return _Items(self)


class _Values(ValuesView[Document]):
    def __init__(self, corpus: LazyCorpus) -> None:
        super().__init__(corpus)
        self._corpus = corpus

    def __iter__(self) -> Iterator[Document]:
        return self._corpus.documents()


class _Items(ItemsView[str, Document]):
    def __init__(self, corpus: LazyCorpus) -> None:
        super().__init__(corpus)
        self._corpus = corpus

    def __iter__(self) -> Iterator[tuple[str, Document]]:
        return ((document.docid, document) for document in self._corpus.documents())


class StoredCorpus(LazyCorpus):
    """A corpus in an uncompressed JSONL file, in the order of the file; 16 bytes of memory for each document.

    Looking it up needs the 64-bit hashes of all docids, sorted, and where each line begins; a hit is confirmed by the docid
    that stands on the line, so that two docids with one hash are both found.

    Raises:
        DataError: as the reader, or a docid appears twice, or there is no document.
    """

    def __init__(self, path: Path, read: Reader) -> None:
        self._path, self._read = path, read
        hashes, offsets = array("Q"), array("q")
        for number, offset, line in raw_lines(path, what="corpus"):
            hashes.append(_hash(read(line, f"{path}:{number}").docid))
            offsets.append(offset)
        if not hashes:
            raise DataError(f"no documents in {path}")
        import numpy as np

        hashes_D = np.frombuffer(hashes, dtype=np.uint64)
        order_D = np.argsort(hashes_D)
        self._hashes: np.ndarray[Any, Any] = hashes_D[order_D]
        self._offsets: np.ndarray[Any, Any] = np.frombuffer(offsets, dtype=np.int64)[order_D]
        self._refuse_repeats()

    def _refuse_repeats(self) -> None:
        import numpy as np

        suspects = set(self._hashes[1:][self._hashes[1:] == self._hashes[:-1]].tolist())
        if not suspects:
            return
        seen: set[str] = set()
        for number, _, line in raw_lines(self._path, what="corpus"):
            docid = self._read(line, f"{self._path}:{number}").docid
            if np.uint64(_hash(docid)) in suspects:
                if docid in seen:
                    raise DataError(f"{self._path}:{number}: document {docid!r} appears twice; keep one of them")
                seen.add(docid)

    def __len__(self) -> int:
        return len(self._hashes)

    def documents(self) -> Iterator[Document]:
        """The documents, in the order of the file."""
        for number, _, line in raw_lines(self._path, what="corpus"):
            yield self._read(line, f"{self._path}:{number}")

    def __getitem__(self, docid: str) -> Document:
        import numpy as np

        wanted = np.uint64(_hash(docid))
        first, after = (int(np.searchsorted(self._hashes, wanted, side=side)) for side in ("left", "right"))
        with self._path.open("rb") as file:
            for position in range(first, after):
                file.seek(int(self._offsets[position]))
                line = file.readline(LONGEST_LINE_BYTES + 1)
                document = self._read(line, f"{self._path} at byte {int(self._offsets[position])}")
                if document.docid == docid:
                    return document
        raise KeyError(docid)


def _hash(docid: str) -> int:
    digest = hashlib.blake2b(docid.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
