"""Lucene indexes on disk: built through Pyserini's indexer, kept with a description of what is in them, found again.

A folder that `built` made holds a Lucene index, which any Pyserini can open, and `rankrl.json`, which says what was indexed.
It is made beside its place and moved there when it is whole, so an interrupted build is never taken for an index.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rankrl.errors import ConfigError, DataError, unknown_name
from rankrl.files import umask

from .._progress import tracked
from . import jvm

if TYPE_CHECKING:
    from ..collections import Document

ANALYZER = "anserini-english-porter"
"""Lucene's EnglishAnalyzer as Anserini sets it up: Porter stems, 33 stop words, possessives removed."""

_DESCRIPTION = "rankrl.json"
_FORMAT = 1
_BUFFER_MIB = 256
_POLL_S = 0.1


def corpus_sha256(documents: Iterable[Document]) -> str:
    """The SHA-256 of what is indexed: docid and full text of every document, in order."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(_line(document))
    return digest.hexdigest()


def built(documents: Mapping[str, Document], folder: Path, threads: int, *, vectors: bool) -> dict[str, Any]:
    """The description of the index over `documents` in `folder`: found there and checked, or made now.

    Keys: "format", "corpus_sha256", "documents", "empty" (documents without a word, which no query finds), "vectors"
    (the terms of each document are stored, as RM3 reads them; that doubles the time to build), "analyzer", "made_by" (versions).
    An index with vectors serves where none are asked for.

    Raises:
        ConfigError: the folder holds an index of other documents, of another format, without the vectors asked for, or
            something else.
        DataError: there are no documents; Lucene could not index some.
    """
    if not documents:
        raise DataError("no documents to index")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        return _checked(folder, documents, vectors)
    if folder.is_mount():
        raise ConfigError(f"index {folder} is a mount point, which cannot be replaced; name a folder inside it")
    folder = folder.resolve()  # a link to where there is room, perhaps not there yet
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _beside(folder) as partial:
        description = _made(documents, partial, threads, vectors)
        (partial / _DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        try:
            os.replace(partial, folder)
        except OSError:
            if folder.is_dir() and any(folder.iterdir()):  # somebody else has built it meanwhile
                return _checked(folder, documents, vectors)
            raise
    return description


def _checked(folder: Path, documents: Mapping[str, Document], vectors: bool) -> dict[str, Any]:
    path = folder / _DESCRIPTION
    if not path.is_file():
        kind = "a Lucene index of unknown content" if any(folder.glob("segments_*")) else "not an index"
        raise ConfigError(
            f"index {folder} is {kind}; name a folder that does not exist or is empty to build an index there, or search "
            f"a Lucene index as it is with the option prebuilt"
        )
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        found, count = description["corpus_sha256"], description["documents"]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} cannot be read; delete the folder {folder} to build the index again") from None
    if description.get("format") != _FORMAT or description.get("analyzer") != ANALYZER:
        raise ConfigError(f"index {folder} was made by another version of rankrl; delete it to build it again")
    if count != len(documents) or found != corpus_sha256(documents.values()):
        raise ConfigError(
            f"index {folder} is over other documents: {count} of them with SHA-256 {found[:12]}…, these are "
            f"{len(documents)}; name another folder, or delete this one to build it again"
        )
    if vectors and not description.get("vectors"):
        raise ConfigError(
            f"index {folder} was built without the terms of its documents, which rm3 reads; name another folder, or delete "
            "this one, to build an index with them"
        )
    return dict(description)


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A new folder next to `folder`, removed unless it was moved away."""
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".partial"))
    try:
        partial.chmod(0o777 & ~umask())
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _made(documents: Mapping[str, Document], folder: Path, threads: int, vectors: bool) -> dict[str, Any]:
    # beside the index, where there is room for it; the system's temporary folder may be small
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".documents.", suffix=".partial") as written:
        sha256 = _written(documents, Path(written), threads)
        counts = _indexed(Path(written), folder, threads, vectors, total=len(documents))
    (folder / "write.lock").unlink(missing_ok=True)
    lost = len(documents) - counts["indexed"] - counts["empty"]
    if lost:
        raise DataError(
            f"Lucene could not index {lost} of {len(documents)} documents; a docid may have up to 32,766 bytes, a text up "
            "to 20 million characters"
        )
    return {
        "format": _FORMAT,
        "corpus_sha256": sha256,
        "documents": len(documents),
        "empty": counts["empty"],
        "vectors": vectors,
        "analyzer": ANALYZER,
        "made_by": jvm.versions(),
    }


def _line(document: Document) -> bytes:
    """The JSON that is hashed and indexed; ASCII, so that no text is too odd to be written."""
    return (json.dumps({"id": document.docid, "contents": document.full_text}) + "\n").encode("ascii")


def _written(documents: Mapping[str, Document], folder: Path, threads: int) -> str:
    """Write the documents as Pyserini reads them, a file for each indexing thread; returns their SHA-256."""
    digest = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        files: list[IO[bytes]] = [stack.enter_context((folder / f"{i}.jsonl").open("wb")) for i in range(threads)]
        for number, document in enumerate(tracked(documents.values(), "writing documents", total=len(documents))):
            try:
                document.docid.encode("utf-8")
            except UnicodeEncodeError:
                raise DataError(f"docid {document.docid!r} is not valid Unicode; Lucene cannot keep it") from None
            line = _line(document)
            digest.update(line)
            files[number % threads].write(line)
    return digest.hexdigest()


def _indexed(written: Path, folder: Path, threads: int, vectors: bool, *, total: int) -> dict[str, int]:
    """Run the indexer of Pyserini's jar over the written files; returns its counters."""
    with jvm.calls():
        indexer = _indexer(written, folder, threads, vectors)
        counters = indexer.getCounters()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            indexer.run()
        except BaseException as error:
            failures.append(error)
        finally:
            jvm.detach()

    # a thread of its own, so that ^C is heard; it is a daemon, so that the process can then end
    thread = threading.Thread(target=work, daemon=True, name="lucene-indexer")
    thread.start()
    for _ in tracked(_until_done(thread, counters, total), "indexing", total=total):
        pass
    if failures:
        raise DataError(
            f"Lucene could not index the documents: {jvm.first_line(failures[0])}; if Java had too little memory, give it "
            "more with the option heap"
        ) from failures[0]
    return {"indexed": _count(counters.indexed), "empty": _count(counters.empty)}


def _count(counter: Any) -> int:
    """The number that a Java counter stands at."""
    with jvm.calls():
        return int(counter.get())


def _indexer(written: Path, folder: Path, threads: int, vectors: bool) -> Any:
    arguments = jvm.java_class("io.anserini.index.IndexCollection$Args")()
    arguments.collectionClass = "JsonCollection"
    arguments.generatorClass = "DefaultLuceneDocumentGenerator"
    arguments.input, arguments.index = str(written), str(folder)
    arguments.threads, arguments.memoryBuffer = threads, _buffer_mib()
    arguments.storeDocvectors = vectors
    arguments.optimize = True  # one segment: the same sums in the same order, however many threads there were
    arguments.quiet = True
    indexer = jvm.java_class("io.anserini.index.IndexCollection")(arguments)
    jvm.silence()
    return indexer


def _buffer_mib() -> int:
    """What Lucene keeps in memory before it writes. Anserini's own default is 4 GiB, which may be more than the whole heap."""
    heap_mib = int(jvm.java_class("java.lang.Runtime").getRuntime().maxMemory()) >> 20
    return max(1, min(_BUFFER_MIB, heap_mib // 8))


def _until_done(thread: threading.Thread, counters: Any, total: int) -> Iterator[None]:
    """One item for each document that was indexed, as they are, until the thread ends; then the rest."""
    seen = 0
    while thread.is_alive():
        thread.join(_POLL_S)
        now = min(total, _count(counters.indexed))
        for _ in range(now - seen):
            yield
        seen = max(seen, now)
    for _ in range(total - seen):
        yield


def prebuilt_folder(name: str) -> tuple[Path, str | None]:
    """(folder, class that parses its raw documents) of an index that others built: a folder, or a name that Pyserini knows.

    A name is downloaded to Pyserini's cache (PYSERINI_CACHE, ~/.cache/pyserini) unless it lies there, and its number of
    documents is compared with the published one. The machine must run.

    Raises:
        ConfigError: neither a folder nor a known name (near names are given); the folder holds no index.
        DataError: it cannot be downloaded, or is not the index that was published under this name.
    """
    folder = Path(name)
    if folder.is_dir():
        if not any(folder.glob("segments_*")):
            raise ConfigError(f"prebuilt {name} is a folder without a Lucene index (no segments_… file in it)")
        return folder, "JsonCollection"
    from pyserini.prebuilt_index_info import TF_INDEX_INFO

    if name not in TF_INDEX_INFO:
        raise unknown_name("prebuilt index", name, TF_INDEX_INFO, hint="; or give the folder of a Lucene index")
    folder = Path(_downloaded(name))
    expected, found = TF_INDEX_INFO[name].get("documents"), _document_count(folder)
    if expected is not None and found != expected:
        raise DataError(
            f"{folder} holds {found} documents, {name} has {expected}; delete the folder to download it again"
        )
    return folder, _raw_parser(name)


def _downloaded(name: str) -> str:
    from pyserini.util import download_prebuilt_index

    try:
        with contextlib.redirect_stdout(sys.stderr):  # it reports on stdout, where the run may go
            return str(download_prebuilt_index(name, verbose=False))
    except Exception as error:  # urllib's, tarfile's, OSError, AssertionError: a download has many ways to fail
        raise DataError(f"the prebuilt index {name} cannot be downloaded: {jvm.first_line(error)}") from error


def _document_count(folder: Path) -> int:
    with jvm.calls():
        reader = opened(folder)
        try:
            return int(reader.numDocs())
        finally:
            reader.close()


def _raw_parser(name: str) -> str | None:
    """Which class of Anserini reads the raw documents of an index without term vectors, as Pyserini chooses it for RM3."""
    if name.startswith("msmarco-v1-"):
        return "JsonCollection"
    if name.startswith("msmarco-v2-passage"):
        return "MsMarcoV2PassageCollection"
    return "MsMarcoV2DocCollection" if name.startswith("msmarco-v2-doc") else None


def opened(folder: Path) -> Any:
    """A Lucene IndexReader over a folder.

    Raises:
        DataError: it is not an index that this Lucene reads.
    """
    from jnius import cast

    path = jvm.java_class("java.io.File")(str(folder)).toPath()
    try:
        directory = jvm.java_class("org.apache.lucene.store.FSDirectory").open(path)
        reader = jvm.java_class("org.apache.lucene.index.DirectoryReader").open(directory)
    except Exception as error:
        raise DataError(f"{folder} cannot be opened as a Lucene index: {jvm.first_line(error)}") from error
    return cast("org.apache.lucene.index.IndexReader", reader)
