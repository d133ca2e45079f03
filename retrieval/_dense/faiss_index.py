"""FAISS: exact proposals over plain arrays, and the approximate indexes (HNSW, IVF, PQ, IVF with PQ).

Everything is seeded, and HNSW graphs are built on one thread, because FAISS links vectors in the order in which threads reach
them. The same vectors and options give the same bytes, for IVF and PQ with the same number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl.errors import ConfigError, DataError, MissingDependencyError

from .exact import Propose, merged

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

KINDS = ("flat", "hnsw", "ivf", "pq", "ivfpq")
ENGINES = ("auto", "faiss", "torch")
GPU_MOST_NEIGHBOURS = 2048
"""How many neighbours FAISS's GPU kernels return at most."""

_POINTS_PER_CENTROID = 256
"""k-means learns from at most this many vectors per centroid (FAISS's own limit too)."""


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """Which index, and how. None: chosen by the number and size of the vectors (`resolved`).

    kind: flat (exact), hnsw, ivf, pq, ivfpq. nlist, nprobe: clusters of ivf, and how many of them are searched.
    hnsw_m, ef_construction, ef_search: links per vector, and how widely the graph is searched while it is built and asked.
    pq_m, nbits: parts a vector is cut into, and bits each is stored in. engine: of flat; auto takes FAISS where it is
    installed, else torch. threads: of FAISS and torch, None for as many as they have. nprobe, ef_search, engine and threads
    decide nothing about what is stored.

    Raises:
        ConfigError: a value that no index takes.
    """

    kind: str = "flat"
    nlist: int | None = None
    nprobe: int | None = None
    hnsw_m: int = 32
    ef_construction: int = 200
    ef_search: int | None = None
    pq_m: int | None = None
    nbits: int = 8
    seed: int = 0
    engine: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("engine", ENGINES)):
            if (given := getattr(self, name)) not in known:
                shown = "index" if name == "kind" else name
                raise ConfigError(f"{shown} is {given!r}; it must be one of {', '.join(known)}")
        for name in ("nlist", "nprobe", "ef_construction", "ef_search", "pq_m", "threads"):
            if (given := getattr(self, name)) is not None and given < 1:
                raise ConfigError(f"{name} is {given}; it must be at least 1")
        if self.hnsw_m < 2:
            raise ConfigError(f"hnsw_m is {self.hnsw_m}; it must be at least 2 (usual: 16 to 64)")
        if not 4 <= self.nbits <= 12:
            raise ConfigError(f"nbits is {self.nbits}; it must lie in 4..12 (usual: 8)")
        if not 0 <= self.seed < 2**31:
            raise ConfigError(f"seed is {self.seed}; it must lie in 0..2147483647")
        if self.kind != "flat" and self.engine == "torch":
            raise ConfigError(
                f"engine torch searches exactly and knows no {self.kind}; leave engine out, or index=flat"
            )

    def resolved(self, count: int, dimension: int) -> dict[str, int]:
        """What decides the bytes of an approximate index over `count` vectors; {} for flat.

        Raises:
            ConfigError: too few vectors to train it, or pq_m does not divide the dimension.
        """
        found: dict[str, int] = {}
        if self.kind == "hnsw":
            found |= {"hnsw_m": self.hnsw_m, "ef_construction": self.ef_construction}
        if self.kind in ("ivf", "ivfpq"):
            nlist = self.nlist or max(1, min(round(4 * math.sqrt(count)), count // 39))
            if count < nlist:
                raise ConfigError(
                    f"nlist is {nlist}, but there are {count} vectors and each cluster needs one; lower nlist, or use index=flat"
                )
            found |= {"nlist": nlist}
        if self.kind in ("pq", "ivfpq"):
            pq_m = self.pq_m or _default_pq_m(dimension)
            if dimension % pq_m:
                fit = [m for m in range(1, dimension + 1) if dimension % m == 0]
                near = sorted(sorted(fit, key=lambda m: abs(m - pq_m))[:4])
                raise ConfigError(f"pq_m is {pq_m}, which does not divide the dimension {dimension}; near it: {near}")
            if count < 2**self.nbits:
                raise ConfigError(
                    f"{self.kind} with nbits={self.nbits} learns {2**self.nbits} codes a part and needs as many vectors, there "
                    f"are {count}; lower nbits (4 needs 16), or use index=flat"
                )
            found |= {"pq_m": pq_m, "nbits": self.nbits}
        if found:
            found |= {"seed": self.seed}
        return found


def _default_pq_m(dimension: int) -> int:
    """The most parts of at least 4 numbers each: 96 for 384 dimensions; 1 when nothing divides."""
    return max(m for m in range(1, max(1, dimension // 4) + 1) if dimension % m == 0)


def installed() -> bool:
    """True when FAISS can be imported."""
    try:
        import faiss  # noqa: F401
    except ImportError:
        return False
    return True


def library() -> Any:
    """The module `faiss`.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise MissingDependencyError("FAISS", extra="faiss") from None
    return faiss


@contextmanager
def thread_count(threads: int | None) -> Iterator[None]:
    """FAISS and torch with so many threads inside, and with what they had before after it; None leaves them alone."""
    if threads is None:
        yield
        return
    import torch

    faiss = library() if installed() else None
    before = (faiss.omp_get_max_threads() if faiss else 0, torch.get_num_threads())
    try:
        if faiss:
            faiss.omp_set_num_threads(threads)
        torch.set_num_threads(threads)
        yield
    finally:
        if faiss:
            faiss.omp_set_num_threads(before[0])
        torch.set_num_threads(before[1])


def threads_in_use() -> int:
    """How many threads FAISS, or torch without FAISS, uses now."""
    if installed():
        return int(library().omp_get_max_threads())
    import torch

    return torch.get_num_threads()


def gpus(device: str) -> int:
    """How many GPUs the installed FAISS can use, 0 when `device` is no CUDA device."""
    return int(library().get_num_gpus()) if device.startswith("cuda") and installed() else 0


def faiss_proposals(device: str = "cpu", *, l2: bool = False) -> Propose:
    """Proposals by FAISS's brute force over a plain or mapped array; on its GPU when it has one and `device` says so."""
    faiss = library()
    metric = faiss.METRIC_L2 if l2 else faiss.METRIC_INNER_PRODUCT
    resources, number = (faiss.StandardGpuResources() if gpus(device) else None), _number(device)

    def propose(queries_QD: Array, vectors_ND: Array, wanted: int) -> tuple[Array, Array]:
        if resources is not None and wanted <= GPU_MOST_NEIGHBOURS:
            scores_QW, rows_QW = faiss.knn_gpu(resources, queries_QD, vectors_ND, wanted, metric=metric, device=number)
        else:
            scores_QW, rows_QW = faiss.knn(queries_QD, vectors_ND, wanted, metric=metric)
        return (-scores_QW if l2 else scores_QW), rows_QW

    return propose


def trained(options: IndexOptions, sample_ND: Array, parameters: Mapping[str, int], *, l2: bool) -> Any:
    """An empty FAISS index that has learned what it needs from the sample; each shard gets a copy of it.

    parameters: as `IndexOptions.resolved` gives them.
    """
    faiss = library()
    dimension = sample_ND.shape[1]
    metric = faiss.METRIC_L2 if l2 else faiss.METRIC_INNER_PRODUCT
    if options.kind == "hnsw":
        index = faiss.IndexHNSWFlat(dimension, parameters["hnsw_m"], metric)
        index.hnsw.efConstruction = parameters["ef_construction"]
        index.hnsw.rng = faiss.RandomGenerator(parameters["seed"] + 1)
        return index
    if options.kind == "pq":
        index = faiss.IndexPQ(dimension, parameters["pq_m"], parameters["nbits"], metric)
    else:
        coarse = faiss.IndexFlatL2(dimension) if l2 else faiss.IndexFlatIP(dimension)
        if options.kind == "ivf":
            index = faiss.IndexIVFFlat(coarse, dimension, parameters["nlist"], metric)
        else:
            index = faiss.IndexIVFPQ(
                coarse, dimension, parameters["nlist"], parameters["pq_m"], parameters["nbits"], metric
            )
        coarse.this.disown()
        index.own_fields = True
        index.cp.spherical = not l2  # as FAISS's own factory sets it for inner products
        _seed(index.cp, parameters["seed"])
    if options.kind in ("pq", "ivfpq"):
        _seed(index.pq.cp, parameters["seed"])
    index.train(sample_ND)
    return index


def _seed(clustering: Any, seed: int) -> None:
    clustering.seed = seed
    clustering.min_points_per_centroid = 1  # too few vectors are refused by us; in between FAISS would print to stderr


def sample_size(parameters: Mapping[str, int]) -> int:
    """How many vectors an index of these parameters learns from, at most; 1 when it learns nothing."""
    centroids = max(parameters.get("nlist", 0), 2 ** parameters["nbits"] if "nbits" in parameters else 0)
    return max(1, _POINTS_PER_CENTROID * centroids)


def filled(empty: Any, vectors_ND: Array, *, threads: int | None) -> Any:
    """A copy of a trained index, with the vectors in it."""
    import numpy as np

    faiss = library()
    index = faiss.clone_index(empty)
    with thread_count(1 if isinstance(index, faiss.IndexHNSW) else threads):
        index.add(np.ascontiguousarray(vectors_ND, dtype=np.float32))
    return index


def write(index: Any, path: Path) -> None:
    """The index in a file."""
    library().write_index(index, str(path))


def read(path: Path, *, mmap: bool) -> Any:
    """The index of a file; with `mmap` its vectors and lists stay on disk until they are needed.

    Raises:
        DataError: the file is no FAISS index.
    """
    faiss = library()
    flags = (
        faiss.IO_FLAG_MMAP_IFC if mmap else 0
    )  # IO_FLAG_MMAP maps inverted lists only: HNSW and PQ would be read whole
    try:
        return faiss.read_index(str(path), flags)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1]
        raise DataError(f"{path} cannot be read as a FAISS index: {first}; build it again") from None


def prepared(index: Any, options: IndexOptions, k: int) -> Any:
    """The index itself, set to search for k: that wide, or as many clusters as the options say."""
    if isinstance(index, library().IndexHNSW):
        index.hnsw.efSearch = options.ef_search or max(128, k)
    elif hasattr(index, "nprobe"):
        index.nprobe = nprobe(options, index.nlist)
    return index


def nprobe(options: IndexOptions, nlist: int) -> int:
    """How many of the clusters are searched: as the options say, else a sixteenth and at least 32."""
    return min(nlist, options.nprobe or max(32, nlist // 16))


def on_gpu(index: Any, device: str) -> Any:
    """The index on FAISS's GPU where there is one and the kind can live there: HNSW and PQ without IVF cannot.

    Raises:
        ConfigError: FAISS has no GPU code for its parameters.
    """
    faiss = library()
    if not gpus(device) or not isinstance(index, faiss.IndexIVF):
        return index
    try:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), _number(device), index)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1]
        raise ConfigError(
            f"FAISS cannot put this index on {device}: {first}; give device cpu, or other parameters"
        ) from None


def _number(device: str) -> int:
    """Which GPU `cuda:1` is; 0 where it does not say."""
    return int(device.partition(":")[2] or 0)


def search_nearly(
    queries_QD: Array, k: int, indexes: Sequence[Any], docid_of: Callable[[int], str], *, l2: bool = False
) -> tuple[Array, Array]:
    """(scores, rows), (Q, k) each or narrower: what the indexes find for each query, best first; row -1 where they find less.

    Scores are FAISS's own, with a minus sign for distances. Equal ones are ordered by docid, both descending; which of
    them are in the list when k cuts among equals is FAISS's choice.
    """
    import numpy as np

    def parts() -> Iterator[tuple[Array, Array]]:
        start = 0
        for index in indexes:
            scores_QK, rows_QK = index.search(queries_QD, min(k, int(index.ntotal)))
            nothing_QK = rows_QK < 0
            scores_QK = np.where(nothing_QK, np.float32(-np.inf), -scores_QK if l2 else scores_QK)
            yield scores_QK, np.where(nothing_QK, -1, rows_QK + start)
            start += int(index.ntotal)

    return merged(parts(), k, docid_of)
