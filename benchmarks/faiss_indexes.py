"""FAISS index types: build time, queries/s, recall@100 against flat and bytes per vector; ours beside FAISS called directly.

python benchmarks/faiss_indexes.py [--vectors 100000] [--dimension 128] [--queries 1000] [--threads 2] [--repeats 5]

Vectors are drawn from seeded clusters on the unit sphere and compared by inner product. Both sides get the same vectors, seeds
and threads and are timed in turn in one process; the best time of each counts. "same" is the share of queries for which both
found the same 100 vectors, and overhead what our search costs on top: ordering ties, and for flat scoring again in float64.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from retrieval._dense import faiss_index
from retrieval._dense.exact import Shard, search_exactly
from retrieval._dense.faiss_index import IndexOptions

TITLE = "FAISS index types"
K = 100
COLUMNS = (
    "index",
    "build s",
    "raw build s",
    "queries/s",
    "raw queries/s",
    "overhead",
    "recall@100",
    "bytes/vector",
    "same",
)

CASES: tuple[tuple[str, IndexOptions], ...] = (
    ("flat", IndexOptions()),
    ("ivf 256, nprobe 1", IndexOptions(kind="ivf", nlist=256, nprobe=1)),
    ("ivf 256, nprobe 8", IndexOptions(kind="ivf", nlist=256, nprobe=8)),
    ("ivf 256, nprobe 32", IndexOptions(kind="ivf", nlist=256, nprobe=32)),
    ("hnsw M 32, ef 40/128", IndexOptions(kind="hnsw", hnsw_m=32, ef_construction=40, ef_search=128)),
    ("pq m 16", IndexOptions(kind="pq", pq_m=16)),
)

Array = np.ndarray[Any, Any]

Search = Callable[[Array], Array]
"""Queries (Q, D) -> the rows that were found (Q, K), -1 for nothing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)


def rows(args: argparse.Namespace) -> Iterator[dict[str, str]]:
    """One row per index type, a column each of `COLUMNS`; sizes that `args` lacks have their defaults."""
    defaults = argparse.ArgumentParser()
    add_arguments(defaults)
    args = argparse.Namespace(**{**vars(defaults.parse_args([])), **vars(args)})
    vectors_ND, queries_QD = clusters(args.vectors, args.dimension, args.queries)
    truth: Array | None = None
    with faiss_index.thread_count(args.threads):
        for name, options in CASES:
            ours, our_build_s, size = built_by_us(vectors_ND, options)
            raw, raw_build_s = built_directly(vectors_ND, options)
            found, expected = ours(queries_QD), raw(queries_QD)
            truth = found if truth is None else truth
            pairs = [(seconds(ours, queries_QD), seconds(raw, queries_QD)) for _ in range(args.repeats)]
            our_s, raw_s = (
                min(side) for side in zip(*pairs, strict=True)
            )  # what else runs here can only add to a time
            values = (
                name,
                f"{our_build_s:.2f}",
                f"{raw_build_s:.2f}",
                f"{len(queries_QD) / our_s:,.0f}",
                f"{len(queries_QD) / raw_s:,.0f}",
                f"{100 * (our_s / raw_s - 1):+.1f}%",
                f"{overlap(found, truth):.4f}",
                f"{size / len(vectors_ND):.1f}",
                f"{np.mean([set(a) == set(b) for a, b in zip(found, expected, strict=True)]):.3f}",
            )
            yield dict(zip(COLUMNS, values, strict=True))


def clusters(vectors: int, dimension: int, queries: int) -> tuple[Array, Array]:
    """(vectors, queries) of length 1 around 1000 common centres."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((1000, dimension), dtype=np.float32)

    def drawn(n: int) -> Array:
        around = centres[rng.integers(len(centres), size=n)] + rng.standard_normal((n, dimension), dtype=np.float32)
        return np.asarray(around / np.linalg.norm(around, axis=1, keepdims=True), dtype=np.float32)

    return drawn(vectors), drawn(queries)


def built_by_us(vectors_ND: Array, options: IndexOptions) -> tuple[Search, float, int]:
    """(search, seconds to build, bytes on disk) through `retrieval`."""
    start = time.perf_counter()
    if options.kind == "flat":
        shards = (Shard(vectors_ND, float(np.linalg.norm(vectors_ND, axis=1).max())),)
        propose = faiss_index.faiss_proposals()
        took_s = time.perf_counter() - start
        return lambda q: search_exactly(q, K, shards, propose, str)[1], took_s, vectors_ND.nbytes
    parameters = options.resolved(*vectors_ND.shape)
    sample_ND = vectors_ND[: faiss_index.sample_size(parameters)]
    index = faiss_index.filled(faiss_index.trained(options, sample_ND, parameters, l2=False), vectors_ND, threads=None)
    took_s = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.faiss"
        faiss_index.write(index, path)
        size = path.stat().st_size

    def search(queries_QD: Array) -> Array:
        prepared = [faiss_index.prepared(index, options, K)]
        return faiss_index.search_nearly(queries_QD, K, prepared, str)[1]

    return search, took_s, size


def built_directly(vectors_ND: Array, options: IndexOptions) -> tuple[Search, float]:
    """(search, seconds to build) by FAISS's own factory, as its documentation shows it."""
    faiss = faiss_index.library()
    recipe = {
        "flat": "Flat",
        "ivf": f"IVF{options.nlist},Flat",
        "hnsw": f"HNSW{options.hnsw_m}",
        "pq": f"PQ{options.pq_m}np",  # np: without learning an order of codes, which takes long and changes no answer here
    }[options.kind]
    parameters = options.resolved(*vectors_ND.shape)
    start = time.perf_counter()
    index = faiss.index_factory(vectors_ND.shape[1], recipe, faiss.METRIC_INNER_PRODUCT)
    if options.kind == "ivf":
        index.cp.seed, index.nprobe = options.seed, options.nprobe
    if options.kind == "pq":
        index.pq.cp.seed = options.seed
    if options.kind == "hnsw":
        index.hnsw.efConstruction, index.hnsw.efSearch = options.ef_construction, options.ef_search
        index.hnsw.rng = faiss.RandomGenerator(options.seed + 1)
    index.train(vectors_ND[: faiss_index.sample_size(parameters)])
    with faiss_index.thread_count(1 if options.kind == "hnsw" else None):  # or the two graphs would not be the same
        index.add(vectors_ND)
    took_s = time.perf_counter() - start
    return lambda queries_QD: np.asarray(index.search(queries_QD, K)[1]), took_s


def seconds(search: Search, queries_QD: Array) -> float:
    """How long one search of all queries takes."""
    start = time.perf_counter()
    search(queries_QD)
    return time.perf_counter() - start


def overlap(found: Array, truth: Array) -> float:
    """The mean share of the true neighbours that were found."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found.tolist(), truth.tolist(), strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    args = parser.parse_args()
    print(
        f"{TITLE}: {args.vectors:,} x {args.dimension}, {args.queries} queries, k = {K}, {args.threads} threads, ",
        end="",
    )
    print(f"faiss {faiss_index.library().__version__}, best of {args.repeats}\n\n| {' | '.join(COLUMNS)} |")
    print("|" + " --- |" * len(COLUMNS))
    for row in rows(args):
        print(f"| {' | '.join(row.values())} |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
