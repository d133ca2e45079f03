"""Dense retrieval: documents and queries as vectors of one encoder, nearest first, over FAISS or exactly with torch.

The encoder is any sentence-transformers model or plain transformers encoder, by default the MiniLM-L6 that the extra `dense`
brings. The flat index is exact: over the same vectors, scores and order do not depend on engine, batch, threads or shards. HNSW,
IVF and PQ trade some of that for speed and room.

On SciFact (test) MiniLM over the flat index has nDCG@10 = 0.6451, as published (0.645).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rankrl.errors import ConfigError, DataError
from rankrl.types import Candidate, CandidateList, Query

from ._dense import build, faiss_index
from ._dense.encoder import Encoder, EncoderOptions, load_encoder
from ._dense.exact import Propose, search_exactly, torch_proposals
from ._dense.faiss_index import IndexOptions

if TYPE_CHECKING:
    import numpy as np

    from .collections import Collection, Document

    Array = np.ndarray[Any, Any]

Index = Literal["flat", "hnsw", "ivf", "pq", "ivfpq"]
Similarity = Literal["auto", "cosine", "dot", "l2"]
Pooling = Literal["auto", "mean", "cls", "last"]
Dtype = Literal["float32", "bfloat16", "float16"]
Engine = Literal["auto", "faiss", "torch"]

OPTIONS = {
    "model": "minilm (packaged, offline), a folder, or a name on the Hugging Face hub",
    "index": "flat (exact), hnsw, ivf, pq or ivfpq (need FAISS)",
    "index_dir": "folder that keeps the index: built when it is not there, checked and used when it is (default: none is kept)",
    "query_prefix": "text before every query (default: as the model's configuration or family says)",
    "document_prefix": "text before every document (default: as the model's configuration or family says)",
    "similarity": "how vectors are compared; auto: as the model says, else cosine",
    "pooling": "how token vectors become one; auto: as the model or its family says",
    "max_tokens": "longer texts are cut there (default: the model's own)",
    "batch_size": "texts encoded at once",
    "device": "cpu, cuda, cuda:1, …; auto: cuda where there is one",
    "dtype": "type of the weights; bfloat16 is faster where the processor knows it",
    "trust_remote_code": "let the model bring Python code of its own",
    "engine": "what searches a flat index: faiss, torch, or auto: FAISS where it is installed",
    "nlist": "ivf: clusters (default: about 4 times the root of the number of documents)",
    "nprobe": "ivf: clusters searched (default: a sixteenth of them, at least 32)",
    "hnsw_m": "hnsw: links per vector",
    "ef_construction": "hnsw: how widely the graph is searched while it is built",
    "ef_search": "hnsw: how widely it is searched for a query (default: 128, or k if that is more)",
    "pq_m": "pq: parts a vector is cut into; must divide its dimension (default: a quarter of it, or the next that does)",
    "nbits": "pq: bits for each part",
    "seed": "what clusters and graph levels are drawn with",
    "threads": "threads of FAISS and torch (default: as many as they have)",
    "shard_size": "documents encoded and written together; a build that was killed goes on after those",
    "mmap": "leave a kept index on disk, and read from it what is needed",
}
"""Parameter of `from_collection` -> one line of help."""


class Dense:
    """A retriever over vectors. Title and text of a document are encoded together, joined by a space.

    Scores are float32, higher is better: inner products (of unit vectors for cosine), or squared distances with a minus sign.
    Best first; equal scores by docid descending, also where k cuts a flat index. Every query finds k documents of a flat
    index (all, if there are fewer); ivf may find fewer where few clusters are searched.

    texts: docid -> document, for what a candidate says; without it candidates have empty texts.
    """

    def __init__(
        self,
        encoder: Encoder,
        built: build.Built,
        options: IndexOptions | None = None,
        *,
        texts: Mapping[str, Document] | None = None,
    ) -> None:
        self.encoder, self.built, self.texts = encoder, built, texts
        self.options = replace(options or IndexOptions(), kind=built.kind)
        self._l2 = encoder.similarity == "l2"
        self._device = str(encoder.facts["device"])
        self._engine = _engine(self.options, self._device)
        self._propose: Propose | None = None
        if built.kind == "flat":
            on_faiss = self._engine == "faiss"
            self._propose = (faiss_index.faiss_proposals if on_faiss else torch_proposals)(self._device, l2=self._l2)
        self._indexes = tuple(
            faiss_index.on_gpu(faiss_index.prepared(index, self.options, k=1), self._device) for index in built.indexes
        )

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        *,
        encoder: Encoder | None = None,
        options: IndexOptions | None = None,
        texts: Mapping[str, Document] | None = None,
        folder: str | Path | None = None,
        shard_size: int = 100_000,
        mmap: bool = True,
    ) -> Dense:
        """A retriever over documents, which are read once, in order, `shard_size` at a time.

        With a folder, each shard is written before the next is encoded, so neither all texts nor all vectors are ever held,
        and a build that was killed goes on after its last whole shard. A folder that holds this index already is used as
        it is, after a check of its encoder and of the documents. Without one, the index is held in memory.

        Raises:
            ConfigError, DataError, MissingDependencyError: as `build.build` says.
        """
        encoder = encoder or load_encoder()
        options = options or IndexOptions()
        where = None if folder is None else Path(folder)
        with faiss_index.thread_count(options.threads):
            built = build.build(documents, encoder, options, folder=where, shard_size=shard_size, mmap=mmap)
        return cls(encoder, built, options, texts=texts)

    @classmethod
    def from_collection(
        cls,
        collection: Collection,
        *,
        model: str = "minilm",
        index: Index = "flat",
        index_dir: Path | None = None,
        query_prefix: str | None = None,
        document_prefix: str | None = None,
        similarity: Similarity = "auto",
        pooling: Pooling = "auto",
        max_tokens: int | None = None,
        batch_size: int = 32,
        device: str = "auto",
        dtype: Dtype = "float32",
        trust_remote_code: bool = False,
        engine: Engine = "auto",
        nlist: int | None = None,
        nprobe: int | None = None,
        hnsw_m: int = 32,
        ef_construction: int = 200,
        ef_search: int | None = None,
        pq_m: int | None = None,
        nbits: int = 8,
        seed: int = 0,
        threads: int | None = None,
        shard_size: int = 100_000,
        mmap: bool = True,
    ) -> Dense:
        """A retriever over the corpus of a collection; the options are those of `OPTIONS`."""
        options = IndexOptions(
            kind=index, nlist=nlist, nprobe=nprobe, hnsw_m=hnsw_m, ef_construction=ef_construction, ef_search=ef_search,
            pq_m=pq_m, nbits=nbits, seed=seed, engine=engine, threads=threads,
        )  # fmt: skip
        reading = EncoderOptions(
            model=model, query_prefix=query_prefix, document_prefix=document_prefix, similarity=similarity, pooling=pooling,
            max_tokens=max_tokens, batch_size=batch_size, device=device, dtype=dtype, trust_remote_code=trust_remote_code,
        )  # fmt: skip
        if index != "flat" or engine == "faiss":
            faiss_index.library()  # say that it is missing before minutes of encoding
        return cls.from_documents(
            collection.corpus.values(), encoder=load_encoder(reading), options=options, texts=collection.corpus,
            folder=index_dir, shard_size=shard_size, mmap=mmap,
        )  # fmt: skip

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        texts: Mapping[str, Document] | None = None,
        encoder: Encoder | None = None,
        options: IndexOptions | None = None,
        mmap: bool = True,
    ) -> Dense:
        """The retriever of an index in a folder.

        encoder: the one that made it; without it, the model is loaded under the name and with the options it had then, but for
        Python code of its own, which no folder may ask for. texts: the documents it was made of, which is checked. options: how
        to search; the kind is the index's.

        Raises:
            ConfigError: there is no finished index in the folder.
            DataError: the encoder or the documents are not those of the index (the message says in what), or files are broken.
        """
        where = Path(folder)
        built = build.opened(where, mmap=mmap)
        if encoder is None:
            here = {"device": "auto", "trust_remote_code": False}
            encoder = load_encoder(EncoderOptions(**{**built.facts["options"], **here}))
        build.check_encoder(built, encoder, where)
        if texts is not None:
            build.check_documents(built, texts.values(), where)
        return cls(encoder, built, options, texts=texts)

    def save(self, folder: str | Path) -> None:
        """Write the index to a new or empty folder, for `load`.

        Raises:
            ConfigError: the folder is not empty.
        """
        build.saved(self.built, Path(folder))

    def search(self, queries: Sequence[Query], k: int) -> list[CandidateList]:
        """One list per query, best first, at most k documents each; all queries are encoded, then searched in one call.

        Raises:
            ConfigError: k < 1.
            DataError: the index names a document that `texts` does not have.
        """
        if k < 1:
            raise ConfigError(f"k is {k}; it must be at least 1")
        if not queries:
            return []
        with faiss_index.thread_count(self.options.threads):
            scores_QK, rows_QK = self.nearest(self.encoder.queries([query.text for query in queries]), k)
        return [
            CandidateList(
                query, tuple(self._candidate(row, score) for row, score in zip(*found, strict=True) if row >= 0)
            )
            for query, *found in zip(queries, rows_QK.tolist(), scores_QK.tolist(), strict=True)
        ]

    def nearest(self, vectors_QD: Array, k: int) -> tuple[Array, Array]:
        """(scores, rows) of query vectors, (Q, k) each or narrower, best first; a row is a document's position, -1 nothing."""
        if self._propose is not None:
            return search_exactly(vectors_QD, k, self.built.shards, self._propose, self.built.docids, l2=self._l2)
        indexes = [faiss_index.prepared(index, self.options, k) for index in self._indexes]
        return faiss_index.search_nearly(vectors_QD, k, indexes, self.built.docids, l2=self._l2)

    @property
    def provenance(self) -> dict[str, Any]:
        """What decides the scores, in JSON types: encoder, index and its parameters, engine, documents."""
        facts, options = self.built.facts, self.options
        index = dict(facts["index"])
        if "nlist" in index:
            index["nprobe"] = faiss_index.nprobe(options, index["nlist"])
        if index["kind"] == "hnsw":
            index["ef_search"] = options.ef_search or "128, or k if that is more"
        if facts["trained_on"]:
            index["trained_on"] = facts["trained_on"]
        return {
            "retriever": "dense",
            "engine": self._engine_version,
            "index": index,
            "encoder": {**self.encoder.facts, **self.encoder.identity},
            "documents": facts["documents"],
            "corpus_sha256": facts["corpus_sha256"],
            "shards": len(facts["shards"]),
            "threads": options.threads or faiss_index.threads_in_use(),
        }

    @property
    def _engine_version(self) -> str:
        if self._engine == "torch":
            return f"torch {version('torch')}, exact, on {self._device}"
        where = "GPU" if faiss_index.gpus(self._device) and self.built.kind not in ("hnsw", "pq") else "CPU"
        return f"faiss {faiss_index.library().__version__} on {where}"

    def _candidate(self, row: int, score: float) -> Candidate:
        docid = self.built.docids(row)
        if self.texts is None:
            return Candidate(docid, "", "", score)
        document = self.texts.get(docid)
        if document is None:
            raise DataError(
                f"the index names document {docid!r}, which is not among the texts; give those it was made of"
            )
        return document.candidate(score)


def _engine(options: IndexOptions, device: str) -> str:
    """faiss or torch; on a GPU that the installed FAISS cannot use, torch searches a flat index."""
    if options.kind != "flat" or options.engine == "faiss":
        faiss_index.library()
        return "faiss"
    if options.engine == "torch" or not faiss_index.installed():
        return "torch"
    return "torch" if device != "cpu" and not faiss_index.gpus(device) else "faiss"
