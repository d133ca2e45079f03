"""The exact search and the FAISS indexes of dense retrieval against brute force in float64 and FAISS called directly."""

from __future__ import annotations

import re
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.errors import ConfigError, DataError, MissingDependencyError
from retrieval._dense import faiss_index
from retrieval._dense.exact import Shard, best_first, merged, search_exactly, torch_proposals
from retrieval._dense.faiss_index import IndexOptions


def sharded(vectors_ND, *ends):
    """The vectors as shards that end at `ends` and at the last vector."""
    parts = np.split(vectors_ND, sorted({end for end in ends if 0 < end < len(vectors_ND)}))
    return tuple(Shard(np.ascontiguousarray(part), float(np.linalg.norm(part, axis=1).max())) for part in parts)


def proposals(engine, *, l2=False, scores_at_once=3000):
    """Torch takes the vectors in pieces: 50 of them for 60 queries."""
    if engine == "faiss":
        return faiss_index.faiss_proposals(l2=l2)
    return torch_proposals("cpu", l2=l2, scores_at_once=scores_at_once)


def brute_force(queries_QD, vectors_ND, k, docid_of, *, l2=False):
    """(scores, rows) from float64 products in a loop, rounded to float32, sorted by Python."""
    scores, rows = [], []
    for query in queries_QD.astype(np.float64):
        difference = vectors_ND.astype(np.float64) - query
        exact = -(difference**2).sum(1) if l2 else vectors_ND.astype(np.float64) @ query
        exact = exact.astype(np.float32)
        order = sorted(range(len(vectors_ND)), key=docid_of, reverse=True)
        order = sorted(order, key=lambda i: -exact[i])[:k]
        rows.append(order)
        scores.append(exact[order])
    return np.array(scores), np.array(rows)


def clusters(n, dimension, seed=0, centres=40):
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal((centres, dimension), dtype=np.float32)
    found = middle[rng.integers(centres, size=n)] + rng.standard_normal((n, dimension), dtype=np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def vectors_ND():
    return clusters(3000, 32)


@pytest.fixture(scope="module")
def queries_QD():
    return clusters(60, 32, seed=1)


ENGINES = ("faiss", "torch")


@settings(max_examples=150, deadline=None)
@given(
    st.data(),
    st.integers(1, 60),
    st.integers(1, 3),
    st.integers(1, 70),
    st.sampled_from(ENGINES),
    st.booleans(),
    st.lists(st.integers(1, 59), max_size=3),
)
def test_every_cut_equals_brute_force_also_among_ties(data, n, dimension, k, engine, l2, ends):
    """Few different values, so that many scores are equal; docids do not come in the order of the rows."""
    value = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 3.0])
    vectors_ND = np.array(
        data.draw(st.lists(st.lists(value, min_size=dimension, max_size=dimension), min_size=n, max_size=n))
    )
    queries_QD = np.array(
        data.draw(st.lists(st.lists(value, min_size=dimension, max_size=dimension), min_size=1, max_size=3))
    )
    vectors_ND, queries_QD = vectors_ND.astype(np.float32), queries_QD.astype(np.float32)

    def docid_of(row):
        return str(7 * row % 61)

    shards = sharded(vectors_ND, *ends)
    propose = proposals(engine, l2=l2, scores_at_once=30)
    scores, rows = search_exactly(queries_QD, k, shards, propose, docid_of, l2=l2)
    expected_scores, expected_rows = brute_force(queries_QD, vectors_ND, k, docid_of, l2=l2)
    assert rows.tolist() == expected_rows.tolist()
    assert scores.tolist() == expected_scores.tolist()
    assert scores.dtype == np.float32


@pytest.mark.parametrize("l2", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_neighbours_that_float32_cannot_tell_apart_come_in_the_right_order(engine, l2):
    """Vectors that differ in their last bit: what an engine's own summation says about them is noise."""
    rng = np.random.default_rng(3)
    base = rng.standard_normal(96).astype(np.float32)
    nudged = np.tile(base, (400, 1))
    at = rng.integers(96, size=(400, 6))
    for row, columns in zip(nudged, at, strict=True):
        row[columns] = np.nextafter(row[columns], np.float32(rng.choice([-9, 9])))
    vectors_ND = np.concatenate([nudged, rng.standard_normal((100, 96)).astype(np.float32)])
    queries_QD = (base + 0.1 * rng.standard_normal((20, 96))).astype(np.float32)
    scores, rows = search_exactly(queries_QD, 30, sharded(vectors_ND, 170), proposals(engine, l2=l2), str, l2=l2)
    expected_scores, expected_rows = brute_force(queries_QD, vectors_ND, 30, str, l2=l2)
    assert np.array_equal(rows, expected_rows) and np.array_equal(scores, expected_scores)
    raw = proposals(engine, l2=l2)(queries_QD, vectors_ND, 30)[1]
    assert not np.array_equal(raw, expected_rows), "the engine alone was right: this test shows nothing"


def test_scores_and_order_depend_on_neither_engine_nor_batch_nor_threads_nor_shards(vectors_ND, queries_QD):
    whole = search_exactly(queries_QD, 50, sharded(vectors_ND), proposals("faiss"), str)
    for engine in ENGINES:
        for threads in (1, 2):
            with faiss_index.thread_count(threads):
                found = search_exactly(queries_QD, 50, sharded(vectors_ND, 7, 1000, 2999), proposals(engine), str)
                singly = [search_exactly(q[None], 50, sharded(vectors_ND), proposals(engine), str) for q in queries_QD]
            assert np.array_equal(found[0], whole[0]) and np.array_equal(found[1], whole[1])
            assert np.array_equal(np.concatenate([one[0] for one in singly]), whole[0])
            assert np.array_equal(np.concatenate([one[1] for one in singly]), whole[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_thousands_of_equal_vectors_are_cut_by_docid(engine):
    vectors_ND = np.ones((5000, 8), dtype=np.float32)
    vectors_ND[17] *= 2
    scores, rows = search_exactly(
        vectors_ND[:1], 5, sharded(vectors_ND, 3000), proposals(engine), lambda row: f"{row:05d}"
    )
    assert rows.tolist() == [[17, 4999, 4998, 4997, 4996]]
    assert scores.tolist() == [[16.0, 8.0, 8.0, 8.0, 8.0]]


def test_docids_are_read_for_ties_that_reach_the_list_alone():
    """Thousands of ties below it are of no interest, and reading their docids took minutes with many shards and a large k."""
    scores_QW, rows_QW = np.ones((1, 5000), np.float32), np.arange(5000)[None]
    scores_QW[0, :3] = 4, 3, 2
    read: list[int] = []

    def docid_of(row):
        read.append(row)
        return f"{row:04d}"

    assert best_first(scores_QW, rows_QW, 3, docid_of)[1].tolist() == [[0, 1, 2]] and not read
    scores_QW[0, 3:6] = 2
    assert best_first(scores_QW, rows_QW, 3, docid_of)[1].tolist() == [[0, 1, 5]] and sorted(read) == [0, 1, 2, 3, 4, 5]
    assert best_first(scores_QW, rows_QW, 9000, docid_of)[1].tolist() == [[0, 1, 5, 4, 3, 2, *range(4999, 5, -1)]]


def test_the_lists_of_many_shards_are_not_held_together():
    all_different = np.random.default_rng(0).permutation(50 * 99 * 100).astype(np.float32).reshape(99, 50, 100)
    parts = [(scores, np.tile(np.arange(100 * n, 100 * n + 100), (50, 1))) for n, scores in enumerate(all_different)]
    scores_QW, rows_QW = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
    order_QW = np.argsort(-scores_QW, axis=1)[:, :100]
    tracemalloc.start()
    scores, rows = merged(iter(parts), 100, str)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(scores, np.take_along_axis(scores_QW, order_QW, axis=1))
    assert np.array_equal(rows, np.take_along_axis(rows_QW, order_QW, axis=1))
    assert peak_bytes < (scores_QW.nbytes + rows_QW.nbytes) / 4


@pytest.mark.parametrize("engine", ENGINES)
def test_more_neighbours_than_vectors_gives_all_of_them_and_no_queries_give_nothing(engine, vectors_ND):
    scores, rows = search_exactly(vectors_ND[:2], 99, sharded(vectors_ND[:5], 2), proposals(engine), str)
    assert scores.shape == (2, 5) and sorted(rows[0].tolist()) == [0, 1, 2, 3, 4]
    assert search_exactly(vectors_ND[:0], 3, sharded(vectors_ND[:5], 2), proposals(engine), str)[0].shape == (0, 3)


@pytest.mark.parametrize("engine", ENGINES)
def test_zero_and_huge_vectors_are_ranked(engine):
    vectors_ND = np.array([[0, 0], [1e15, 0], [0, 1e-20], [-1e15, 1]], dtype=np.float32)
    scores, rows = search_exactly(np.array([[1, 1]], np.float32), 4, sharded(vectors_ND, 2), proposals(engine), str)
    assert rows.tolist() == [[1, 2, 0, 3]] and np.isfinite(scores).all()


def test_mapped_vectors_are_searched_where_they_lie(vectors_ND, queries_QD, tmp_path):
    np.save(tmp_path / "v.npy", vectors_ND)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="c")
    expected = search_exactly(queries_QD, 10, sharded(vectors_ND), proposals("faiss"), str)
    for engine in ENGINES:
        found = search_exactly(queries_QD, 10, (Shard(mapped, 1.0001),), proposals(engine), str)
        assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])


def test_torch_settings_are_as_they_were_after_a_search(vectors_ND):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        torch_proposals("cpu")(vectors_ND[:1], vectors_ND, 3)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


APPROXIMATE = {
    "hnsw": IndexOptions(kind="hnsw", hnsw_m=16, ef_construction=40, ef_search=64),
    "ivf": IndexOptions(kind="ivf", nlist=32, nprobe=8),
    "pq": IndexOptions(kind="pq", pq_m=8, nbits=5),
    "ivfpq": IndexOptions(kind="ivfpq", nlist=16, nprobe=8, pq_m=16, nbits=6),
}
LEAST_RECALL = {"hnsw": 0.9, "ivf": 0.88, "pq": 0.3, "ivfpq": 0.65}
"""Measured: 0.935, 0.908, 0.348, 0.718."""


def built(options, vectors_ND, *, l2=False):
    parameters = options.resolved(*vectors_ND.shape)
    return faiss_index.filled(
        faiss_index.trained(options, vectors_ND, parameters, l2=l2), vectors_ND, threads=options.threads
    )


def searched(indexes, options, queries_QD, k, *, l2=False, docid_of=str):
    prepared = [faiss_index.prepared(index, options, k) for index in indexes]
    return faiss_index.search_nearly(queries_QD, k, prepared, docid_of, l2=l2)


def recall(found_rows, true_rows):
    return np.mean(
        [len(set(a) & set(b)) / len(b) for a, b in zip(found_rows.tolist(), true_rows.tolist(), strict=True)]
    )


@pytest.mark.parametrize("l2", [False, True])
@pytest.mark.parametrize("kind", APPROXIMATE)
def test_approximate_indexes_find_most_of_what_flat_finds(kind, l2, vectors_ND, queries_QD):
    options = APPROXIMATE[kind]
    scores, rows = searched([built(options, vectors_ND, l2=l2)], options, queries_QD, 10, l2=l2)
    truth, true_rows = search_exactly(queries_QD, 10, sharded(vectors_ND), proposals("faiss", l2=l2), str, l2=l2)
    assert LEAST_RECALL[kind] <= recall(rows, true_rows)
    assert (np.diff(scores, axis=1) <= 0).all() and scores.dtype == np.float32
    if kind in ("hnsw", "ivf"):  # the vectors are kept whole, so a score is the exact one up to rounding
        assert np.abs(scores[:, 0] - truth[:, 0])[rows[:, 0] == true_rows[:, 0]].max() < 1e-5


def test_ivf_that_searches_every_cluster_finds_what_flat_finds(vectors_ND, queries_QD):
    options = IndexOptions(kind="ivf", nlist=16, nprobe=16)
    _, rows = searched([built(options, vectors_ND)], options, queries_QD, 20)
    _, true_rows = search_exactly(queries_QD, 20, sharded(vectors_ND), proposals("faiss"), str)
    assert recall(rows, true_rows) == 1.0


@pytest.mark.parametrize(
    ("kind", "recipe"), [("hnsw", "HNSW16"), ("ivf", "IVF32,Flat"), ("pq", "PQ8x5np"), ("ivfpq", "IVF16,PQ16x6np")]
)
def test_answers_are_those_of_an_index_that_faiss_own_factory_makes(kind, recipe, vectors_ND, queries_QD):
    """np: without the reordering of codes that a factory's PQ also learns, slowly, and that changes no answer."""
    options = APPROXIMATE[kind]
    raw = faiss.index_factory(32, recipe, faiss.METRIC_INNER_PRODUCT)
    if kind == "hnsw":
        raw.hnsw.efConstruction, raw.hnsw.efSearch, raw.hnsw.rng = 40, 64, faiss.RandomGenerator(1)
    for clustering in [getattr(raw, "cp", None), getattr(getattr(raw, "pq", None), "cp", None)]:
        if clustering is not None:
            clustering.seed = 0
    raw.train(vectors_ND)
    with faiss_index.thread_count(1):
        raw.add(vectors_ND)
    if hasattr(raw, "nprobe"):
        raw.nprobe = 8
    raw_scores, raw_rows = raw.search(queries_QD, 10)
    scores, rows = searched([built(options, vectors_ND)], options, queries_QD, 10)
    assert np.array_equal(scores, raw_scores)
    assert [set(row) for row in rows.tolist()] == [set(row) for row in raw_rows.tolist()]


@pytest.mark.parametrize("kind", APPROXIMATE)
def test_the_same_vectors_give_the_same_bytes_and_another_seed_gives_others(kind, vectors_ND, tmp_path):
    def bytes_of(**changed):
        options = IndexOptions(**{**{f: getattr(APPROXIMATE[kind], f) for f in IndexOptions.__slots__}, **changed})
        faiss_index.write(built(options, vectors_ND), tmp_path / "index")
        return (tmp_path / "index").read_bytes()

    assert bytes_of(threads=2) == bytes_of(threads=2)
    assert bytes_of(threads=2, seed=5) != bytes_of(threads=2)
    if kind == "hnsw":
        assert bytes_of(threads=2) == bytes_of(threads=1)


def test_a_graph_is_built_on_one_thread_whatever_is_asked_for(vectors_ND, monkeypatch):
    """Two threads link vectors in the order in which they get there: other bytes, though rarely with few vectors."""
    seen, add = [], faiss.IndexHNSWFlat.add

    def counting(self, vectors):
        seen.append(faiss.omp_get_max_threads())
        return add(self, vectors)

    monkeypatch.setattr(faiss.IndexHNSWFlat, "add", counting)
    built(replace(APPROXIMATE["hnsw"], threads=2), vectors_ND[:200])
    assert seen == [1]


def test_how_widely_an_index_is_searched_follows_from_its_size_and_k(vectors_ND):
    assert [faiss_index.nprobe(IndexOptions(kind="ivf"), nlist) for nlist in (10, 100, 4000)] == [10, 32, 250]
    assert faiss_index.nprobe(IndexOptions(kind="ivf", nprobe=9), 4) == 4
    graph = built(APPROXIMATE["hnsw"], vectors_ND[:200])
    for options, k, expected in (
        (IndexOptions(), 5, 128),
        (IndexOptions(), 300, 300),
        (IndexOptions(ef_search=7), 300, 7),
    ):
        assert faiss_index.prepared(graph, options, k).hnsw.efSearch == expected


def test_clusters_shared_by_shards_find_what_one_shard_finds(vectors_ND, queries_QD):
    for kind in ("ivf", "ivfpq", "pq"):
        options = APPROXIMATE[kind]
        empty = faiss_index.trained(options, vectors_ND, options.resolved(*vectors_ND.shape), l2=False)
        one = [faiss_index.filled(empty, vectors_ND, threads=1)]
        many = [faiss_index.filled(empty, part, threads=1) for part in np.split(vectors_ND, [100, 2000])]
        assert empty.ntotal == 0 and [index.ntotal for index in many] == [100, 1900, 1000]
        scores, rows = searched(one, options, queries_QD, 10)
        found, found_rows = searched(many, options, queries_QD, 10)
        assert np.allclose(found, scores, atol=1e-6)
        assert kind != "ivf" or np.array_equal(found_rows, rows)


def test_what_few_clusters_do_not_hold_is_not_found():
    vectors_ND = np.repeat(np.eye(4, dtype=np.float32), 3, axis=0)
    options = IndexOptions(kind="ivf", nlist=4, nprobe=1)
    scores, rows = searched([built(options, vectors_ND)], options, vectors_ND[:1], 10)
    assert rows[0].tolist() == [2, 1, 0, *[-1] * 7]
    assert scores[0, :3].tolist() == [1.0, 1.0, 1.0] and (scores[0, 3:] == -np.inf).all()


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("kind", APPROXIMATE)
def test_a_written_index_answers_the_same_and_is_mapped_when_asked(kind, mmap, vectors_ND, queries_QD, tmp_path):
    options, path = APPROXIMATE[kind], tmp_path / "a.faiss"
    index = built(options, vectors_ND)
    expected = searched([index], options, queries_QD, 10)
    faiss_index.write(index, path)
    read = faiss_index.read(path, mmap=mmap)
    found = searched([read], options, queries_QD, 10)
    assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])
    if sys.platform == "linux":
        assert (str(path) in Path("/proc/self/maps").read_text()) == mmap


def test_a_broken_index_file_is_told_in_one_line(vectors_ND, tmp_path):
    path = tmp_path / "a.faiss"
    faiss_index.write(built(APPROXIMATE["ivf"], vectors_ND), path)
    for broken in (path.read_bytes()[:5000], b"", b"no index at all"):
        path.write_bytes(broken)
        for mmap in (False, True):
            with pytest.raises(DataError, match=r"cannot be read as a FAISS index: .*; build it again") as told:
                faiss_index.read(path, mmap=mmap)
            assert "\n" not in str(told.value)


def test_threads_are_set_inside_and_restored_also_after_an_error():
    before = (faiss.omp_get_max_threads(), torch.get_num_threads())
    other = 2 if before != (2, 2) else 1
    with faiss_index.thread_count(other):
        assert (faiss.omp_get_max_threads(), torch.get_num_threads()) == (other, other)
        assert faiss_index.threads_in_use() == other
    assert (faiss.omp_get_max_threads(), torch.get_num_threads()) == before
    with pytest.raises(ZeroDivisionError), faiss_index.thread_count(other):
        _ = 1 / 0
    assert (faiss.omp_get_max_threads(), torch.get_num_threads()) == before
    with faiss_index.thread_count(None):
        assert (faiss.omp_get_max_threads(), torch.get_num_threads()) == before


@pytest.mark.parametrize(
    ("options", "count", "dimension", "expected"),
    [
        (IndexOptions(), 10, 4, {}),
        (IndexOptions(kind="hnsw"), 10, 4, {"hnsw_m": 32, "ef_construction": 200, "seed": 0}),
        (IndexOptions(kind="ivf"), 1_000_000, 4, {"nlist": 4000, "seed": 0}),
        (IndexOptions(kind="ivf"), 5183, 4, {"nlist": 132, "seed": 0}),
        (IndexOptions(kind="ivf"), 10, 4, {"nlist": 1, "seed": 0}),
        (IndexOptions(kind="pq"), 5000, 384, {"pq_m": 96, "nbits": 8, "seed": 0}),
        (IndexOptions(kind="pq"), 5000, 100, {"pq_m": 25, "nbits": 8, "seed": 0}),
        (IndexOptions(kind="pq", nbits=4), 16, 7, {"pq_m": 1, "nbits": 4, "seed": 0}),
        (IndexOptions(kind="ivfpq", pq_m=2, seed=9), 5183, 4, {"nlist": 132, "pq_m": 2, "nbits": 8, "seed": 9}),
    ],
)
def test_parameters_that_are_not_given_follow_from_the_vectors(options, count, dimension, expected):
    assert options.resolved(count, dimension) == expected


@pytest.mark.parametrize(
    ("options", "count", "message"),
    [
        (
            IndexOptions(kind="pq", pq_m=50),
            5000,
            "pq_m is 50, which does not divide the dimension 384; near it: [24, 32, 48, 64]",
        ),
        (
            IndexOptions(kind="pq"),
            255,
            "needs as many vectors, there are 255; lower nbits (4 needs 16), or use index=flat",
        ),
        (IndexOptions(kind="ivfpq", nbits=9), 500, "ivfpq with nbits=9 learns 512 codes"),
        (IndexOptions(kind="ivf", nlist=100), 99, "nlist is 100, but there are 99 vectors"),
    ],
)
def test_too_few_vectors_and_parts_that_do_not_fit_are_refused(options, count, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        options.resolved(count, 384)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "lsh"}, "index is 'lsh'; it must be one of flat, hnsw, ivf, pq, ivfpq"),
        ({"engine": "annoy"}, "engine is 'annoy'"),
        ({"kind": "hnsw", "engine": "torch"}, "engine torch searches exactly and knows no hnsw"),
        ({"nprobe": 0}, "nprobe is 0"),
        ({"threads": -1}, "threads is -1"),
        ({"hnsw_m": 1}, "hnsw_m is 1"),
        ({"nbits": 16}, "nbits is 16; it must lie in 4..12"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_options_that_no_index_takes_are_refused(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        IndexOptions(**options)


def test_without_faiss_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert not faiss_index.installed()
    assert faiss_index.gpus("cuda") == 0
    with pytest.raises(MissingDependencyError, match=r'pip install "rankrl\[faiss\]"'):
        faiss_index.library()
    with faiss_index.thread_count(1):
        assert faiss_index.threads_in_use() == torch.get_num_threads() == 1


@pytest.mark.gpu
def test_faiss_on_a_gpu_finds_what_the_cpu_finds(vectors_ND, queries_QD):
    if not faiss_index.gpus("cuda"):
        pytest.skip("the installed FAISS has no GPU")
    expected = search_exactly(queries_QD, 20, sharded(vectors_ND, 1000), proposals("faiss"), str)
    found = search_exactly(queries_QD, 20, sharded(vectors_ND, 1000), faiss_index.faiss_proposals("cuda"), str)
    assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])
    options = IndexOptions(kind="ivf", nlist=16, nprobe=16)
    index = faiss_index.on_gpu(faiss_index.prepared(built(options, vectors_ND), options, 20), "cuda")
    rows = faiss_index.search_nearly(queries_QD, 20, [index], str)[1]
    assert recall(rows, expected[1]) == 1.0


@pytest.mark.gpu
def test_torch_on_a_gpu_finds_what_the_cpu_finds(vectors_ND, queries_QD):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for l2 in (False, True):
        expected = search_exactly(queries_QD, 20, sharded(vectors_ND, 1000), proposals("torch", l2=l2), str, l2=l2)
        found = search_exactly(queries_QD, 20, sharded(vectors_ND, 1000), torch_proposals("cuda", l2=l2), str, l2=l2)
        assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])
