"""Documents -> an index, shard by shard: with a folder to write to, texts and vectors of one shard are held at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl.errors import ConfigError, DataError
from rankrl.types import repeated

from .._progress import counted
from . import faiss_index
from .exact import Shard
from .store import FORMAT, Docids, Folder, ShardFacts, differences, digest_of, joined_docids, packed, replaced

if TYPE_CHECKING:
    import numpy as np

    from ..collections import Document
    from .encoder import Encoder

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Built:
    """An index ready to be searched: vectors for an exact one, FAISS indexes for the others, a part per shard.

    facts: what index.json holds: format; encoder (its identity) and the options it was loaded with; index (kind and parameters);
    documents; corpus_sha256; trained_on (vectors); shards (what is known of each).
    """

    shards: tuple[Shard, ...]
    indexes: tuple[Any, ...]
    docids: Docids
    facts: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """flat, hnsw, ivf, pq or ivfpq."""
        return str(self.facts["index"]["kind"])


def build(
    documents: Iterable[Document],
    encoder: Encoder,
    options: faiss_index.IndexOptions,
    *,
    folder: Path | None = None,
    shard_size: int = 100_000,
    mmap: bool = True,
) -> Built:
    """The index of the documents; from the folder when it holds that index already, else encoded (and kept there).

    Raises:
        ConfigError: too few documents for the index; the folder holds something else, or another process builds there.
        DataError: no documents; a docid twice; the folder holds an index of other documents, another encoder or kind.
        MissingDependencyError: an index other than flat without FAISS.
    """
    if shard_size < 1:
        raise ConfigError(f"shard_size is {shard_size}; it must be at least 1")
    if options.kind != "flat":
        faiss_index.library()
    if isinstance(documents, Sized) and len(documents):
        options.resolved(len(documents), encoder.dimension)  # refuse before hours of encoding, not after
    if folder is None:
        return _in_memory(documents, encoder, options, shard_size)
    kept = Folder(folder)
    if kept.finished() is not None:
        built = opened(folder, mmap=mmap)
        check_encoder(built, encoder, folder)
        if said := differences(built.facts["index"], wanted_index(options, built, encoder)):
            raise DataError(
                f"{folder} holds another index: {said}; give another folder, or delete {folder / 'index.json'} to make the new "
                "one of the vectors that are there"
            )
        check_documents(built, documents, folder)
        return built
    with kept.locked():
        plan = {"encoder": dict(encoder.identity), "shard_size": shard_size, "format": FORMAT}
        kept.begin(plan)
        _in_folder(documents, encoder, options, shard_size, kept)
    return opened(folder, mmap=mmap)


def opened(folder: Path, *, mmap: bool = True) -> Built:
    """The finished index of a folder; with `mmap` vectors, docids and lists stay on disk until they are needed.

    Raises:
        ConfigError: there is no finished index. DataError: its files are broken or of a later format.
    """
    kept = Folder(folder)
    facts = kept.finished()
    if facts is None:
        if kept.begun() is not None:
            raise ConfigError(
                f"the index in {folder} is not finished; run again what began it, and it goes on from there"
            )
        raise ConfigError(f"no index in {folder}: it has no index.json")
    if facts.get("format") != FORMAT:
        raise DataError(f"{folder}/index.json is of format {facts.get('format')}, this version reads {FORMAT}")
    numbers = range(len(facts["shards"]))
    kinds = facts["index"]["kind"]
    found = [ShardFacts(**shard) for shard in facts["shards"]]
    shards = tuple(kept.vectors(n, found[n], mmap=mmap) for n in numbers) if kinds == "flat" else ()
    indexes = () if kinds == "flat" else tuple(faiss_index.read(kept.file("index", n), mmap=mmap) for n in numbers)
    docids = joined_docids([kept.docids(n, mmap=mmap) for n in numbers])
    if len(docids) != facts["documents"] or sum(int(index.ntotal) for index in indexes) not in (0, len(docids)):
        raise DataError(f"the files in {folder} do not belong together; build the index again")
    return Built(shards, indexes, docids, facts)


def saved(built: Built, folder: Path) -> None:
    """Write an index that is in memory to an empty folder.

    Raises:
        ConfigError: the folder is not empty.
    """
    kept = Folder(folder)
    with kept.locked():
        if kept.finished() is not None:
            raise ConfigError(f"{folder} holds an index already; give another folder, or delete it")
        kept.begin({"encoder": built.facts["encoder"], "format": FORMAT})
        for n, shard in enumerate(built.facts["shards"]):
            vectors_ND = built.shards[n].vectors_ND if built.shards else None
            kept.put(n, vectors_ND, (built.docids.blobs[n], built.docids.offsets[n]), ShardFacts(**shard))
            if built.indexes:
                with replaced(kept.file("index", n)) as partial:
                    faiss_index.write(built.indexes[n], partial)
        kept.finish(built.facts)


def check_encoder(built: Built, encoder: Encoder, where: object) -> None:
    """Refuse to search an index with an encoder that did not make it.

    Raises:
        DataError: what they say differently.
    """
    if said := differences(built.facts["encoder"], encoder.identity):
        raise DataError(f"the index in {where} was made by another encoder: {said}; use that one, or build again")


def check_documents(built: Built, documents: Iterable[Document], where: object) -> None:
    """Refuse to use an index for documents that it was not made of.

    Raises:
        DataError: their number or their SHA-256 differs.
    """
    digest, n = hashlib.sha256(), 0
    for block in _blocks(documents, 10_000):
        digest_of(block, digest)
        n += len(block)
    now = {"documents": n, "corpus_sha256": digest.hexdigest()}
    if said := differences({name: built.facts[name] for name in now}, now):
        raise DataError(f"the index in {where} was made of other documents: {said}; build it again, in another folder")


def wanted_index(options: faiss_index.IndexOptions, built: Built, encoder: Encoder) -> dict[str, Any]:
    """What index.json would say of the index if it were built now, with what the options leave open as it is there."""
    there = built.facts["index"]
    left_open = {name: there[name] for name in ("nlist", "pq_m") if getattr(options, name) is None and name in there}
    options = replace(options, **left_open)
    return {"kind": options.kind, **options.resolved(built.facts["documents"], encoder.dimension)}


def _in_memory(
    documents: Iterable[Document], encoder: Encoder, options: faiss_index.IndexOptions, shard_size: int
) -> Built:
    digest, shards, docids, found = hashlib.sha256(), [], [], []
    for block, sha256, vectors_ND in _encoded(documents, encoder, shard_size, digest, lambda *_: None):
        assert vectors_ND is not None
        found.append(ShardFacts(len(block), sha256, _largest_norm(vectors_ND)))
        shards.append(Shard(vectors_ND, found[-1].largest_norm))
        docids.append(packed(block))
    facts, empty = _described(found, digest.hexdigest(), encoder, options, [shard.vectors_ND for shard in shards])
    if empty is None:
        return Built(tuple(shards), (), joined_docids(docids), facts)
    indexes = tuple(faiss_index.filled(empty, shard.vectors_ND, threads=options.threads) for shard in shards)
    return Built((), indexes, joined_docids(docids), facts)


def _in_folder(
    documents: Iterable[Document], encoder: Encoder, options: faiss_index.IndexOptions, shard_size: int, kept: Folder
) -> None:
    def there(number: int, sha256: str) -> bool:
        """Whether the shard is whole; one of other documents is refused."""
        facts = kept.shard(number)
        if facts is not None and facts.sha256 != sha256:
            raise DataError(
                f"shard {number} in {kept.path} was made of other documents than those given now; "
                "give the same ones in the same order, give another folder, or delete it"
            )
        return facts is not None

    digest, found = hashlib.sha256(), []
    for number, (block, sha256, vectors_ND) in enumerate(_encoded(documents, encoder, shard_size, digest, there)):
        if vectors_ND is not None:
            kept.put(number, vectors_ND, packed(block), ShardFacts(len(block), sha256, _largest_norm(vectors_ND)))
        facts = kept.shard(number)
        assert facts is not None
        found.append(facts)
    if kept.shard(len(found)) is not None:
        raise DataError(f"{kept.path} holds shards of more documents than are given now; delete it, or give them all")
    mapped = [kept.vectors(n, facts, mmap=True).vectors_ND for n, facts in enumerate(found)]
    described, empty = _described(found, digest.hexdigest(), encoder, options, mapped)
    if empty is not None:
        for n, vectors_ND in enumerate(mapped):
            with replaced(kept.file("index", n)) as partial:
                faiss_index.write(faiss_index.filled(empty, vectors_ND, threads=options.threads), partial)
    kept.finish(described)


def _described(
    shards: Sequence[ShardFacts],
    corpus_sha256: str,
    encoder: Encoder,
    options: faiss_index.IndexOptions,
    vectors: Sequence[Array],
) -> tuple[dict[str, Any], Any]:
    """(what index.json says, the empty trained index; None for flat)."""
    if not shards:
        raise DataError("no documents to index")
    documents = sum(shard.rows for shard in shards)
    parameters = options.resolved(documents, encoder.dimension)
    empty, trained_on = None, 0
    if options.kind != "flat":
        sample_ND = _sample(vectors, faiss_index.sample_size(parameters), options.seed)
        trained_on = 0 if options.kind == "hnsw" else len(sample_ND)
        with faiss_index.thread_count(options.threads):
            empty = faiss_index.trained(options, sample_ND, parameters, l2=encoder.similarity == "l2")
    facts = {
        "format": FORMAT,
        "encoder": dict(encoder.identity),
        "options": asdict(encoder.options),
        "index": {"kind": options.kind, **parameters},
        "documents": documents,
        "corpus_sha256": corpus_sha256,
        "trained_on": trained_on,
        "shards": [{"rows": s.rows, "sha256": s.sha256, "largest_norm": s.largest_norm} for s in shards],
    }
    return facts, empty


def _encoded(
    documents: Iterable[Document],
    encoder: Encoder,
    shard_size: int,
    digest: Any,
    there: Callable[[int, str], bool | None],
) -> Iterator[tuple[list[str], str, Array | None]]:
    """(docids, SHA-256, vectors) of one shard after the other; no vectors where the shard is `there` already."""
    total = len(documents) if isinstance(documents, Sized) else None
    seen: set[str] = set()
    with counted("encoding", total) as advance:
        for number, block in zip(count(), _blocks(documents, shard_size), strict=False):
            docids = [document.docid for document in block]
            if twice := repeated(docids) or [docid for docid in docids if docid in seen]:
                raise DataError(f"docids appear twice: {twice[:5]}; keep one of each")
            seen.update(docids)
            sha256 = digest_of(block, digest)
            if there(number, sha256):
                advance(len(block))
                yield docids, sha256, None
            else:
                yield docids, sha256, encoder.documents([document.full_text for document in block], advance)


def _sample(vectors: Sequence[Array], most: int, seed: int) -> Array:
    """At most `most` vectors, drawn from all shards alike, in their order."""
    import numpy as np

    total = sum(map(len, vectors))
    if total <= most:
        return np.concatenate([np.asarray(shard) for shard in vectors])
    chosen = np.sort(np.random.default_rng(seed).choice(total, most, replace=False))
    parts, start = [], 0
    for shard in vectors:
        inside = chosen[(chosen >= start) & (chosen < start + len(shard))] - start
        parts.append(shard[inside])
        start += len(shard)
    return np.concatenate(parts)


def _largest_norm(vectors_ND: Array) -> float:
    import numpy as np

    return float(np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND, dtype=np.float64).max()))


def _blocks(documents: Iterable[Document], size: int) -> Iterator[list[Document]]:
    rest = iter(documents)
    while block := list(islice(rest, size)):
        yield block
