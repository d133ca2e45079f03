"""Fusion against numbers that pyserini publishes with its tests, against ranx, and against hand-made z-scores."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import stats

from retrieval.fusion import comb_mnz, fuse, min_max, min_max_fusion, reciprocal_rank_fusion, weighted_fusion, z_scores

# The two runs that pyserini's fusion tests read; the second one's rank column says 1 and 3 for the topic "1".
FIRST = {"1": {"pyeb86on": 24.0, "2054tkb7": 13.0}, "2": {"hanxiao2": 99.0}}
SECOND = {"1": {"pyeb86on": 2.4, "2054tkb7": 1.3}, "3": {"hanxiao2": 3.3}}


def flat(run):
    return {(qid, docid): score for qid, scores in run.items() for docid, score in scores.items()}


def test_the_published_reciprocal_rank_fusion():
    """A document between the two gives the second run's list the ranks 1 and 3 of its rank column."""
    with_the_gap = {**SECOND, "1": {**SECOND["1"], "between": 2.0}}
    found = flat(reciprocal_rank_fusion([FIRST, with_the_gap]))
    assert found.pop(("1", "between")) == 1 / 62
    assert found == {
        ("1", "pyeb86on"): 0.03278688524590164,
        ("1", "2054tkb7"): 0.03200204813108039,
        ("2", "hanxiao2"): 0.01639344262295082,
        ("3", "hanxiao2"): 0.01639344262295082,
    }


@pytest.mark.parametrize(
    "method, weights, published",
    [
        ("weighted", [0.5, 0.5], (13.2, 7.15, 49.5, 1.65)),
        ("weighted", [0.4, 0.6], (11.04, 5.98, 39.6, 1.98)),
        ("minmax", None, (2.0, 0.0, 1.0, 1.0)),
    ],
    ids=["average", "interpolation 0.4", "normalize"],
)
def test_the_published_sums(method, weights, published):
    topics = (("1", "pyeb86on"), ("1", "2054tkb7"), ("2", "hanxiao2"), ("3", "hanxiao2"))
    expected = {topic: pytest.approx(score, rel=1e-14) for topic, score in zip(topics, published, strict=True)}
    assert flat(fuse([FIRST, SECOND], method, weights=weights)) == expected


def test_z_scores_are_scipys():
    scores = {"a": 12.0, "b": 10.0, "c": 8.0, "d": 6.5, "e": 6.5}
    expected = stats.zscore(list(scores.values()))
    assert list(z_scores(scores).values()) == pytest.approx(list(expected), rel=1e-12)


def test_a_z_score_fusion_worked_by_hand():
    bm25 = {"q": {"a": 12.0, "b": 10.0, "c": 8.0, "d": 6.0}}
    reranked = {"q": {"a": 0.2, "b": 0.9, "c": 0.4, "d": 0.9}}
    found = fuse([bm25, reranked], "zscore", weights=[0.2, 0.8])["q"]
    expected = {"a": -0.7699, "b": 0.8681, "c": -0.6086, "d": 0.5103}
    assert {docid: round(score, 4) for docid, score in found.items()} == expected
    found = fuse([bm25, reranked], "minmax", weights=[0.1, 0.9])["q"]
    expected = {"a": 0.1, "b": 0.9667, "c": 0.2905, "d": 0.9}
    assert {docid: round(score, 4) for docid, score in found.items()} == expected


def random_runs(seed: int, runs: int = 3, topics: int = 12):
    rng = random.Random(seed)
    return [
        {
            f"q{t}": {f"d{d}": rng.uniform(-5, 20) for d in rng.sample(range(60), rng.randint(2, 30))}
            for t in range(topics)
        }
        for _ in range(runs)
    ]


@pytest.fixture(scope="module")
def ranx():
    return pytest.importorskip("ranx", reason="ranx is not installed (extra bench)")


def by_ranx(fused):
    return {(str(q), str(d)): float(s) for q, scores in fused.to_dict().items() for d, s in scores.items()}


@pytest.mark.slow
def test_every_sum_is_ranxs(ranx):
    """Distinct scores and the same topics in every run: there ranx and we mean the same."""
    from ranx.fusion import comb_mnz as ranx_mnz
    from ranx.fusion import comb_sum, rrf, wsum
    from ranx.normalization import min_max_norm

    ours = random_runs(7)
    weights = [0.2, 0.5, 1.3]
    theirs = [ranx.Run(run) for run in ours]
    scaled = [min_max_norm(ranx.Run(run)) for run in ours]

    def close(a, b):
        assert a.keys() == b.keys()
        keys = sorted(a)
        np.testing.assert_allclose([a[key] for key in keys], [b[key] for key in keys], rtol=1e-12, atol=1e-12)

    close(flat(reciprocal_rank_fusion(ours)), by_ranx(rrf(theirs, k=60)))
    close(flat(reciprocal_rank_fusion(ours, constant=10)), by_ranx(rrf(theirs, k=10)))
    close(flat(min_max_fusion(ours)), by_ranx(comb_sum(scaled)))
    close(flat(min_max_fusion(ours, weights=weights)), by_ranx(wsum(scaled, weights)))
    close(flat(weighted_fusion(ours, weights=weights)), by_ranx(wsum(theirs, weights)))
    close(flat(comb_mnz(ours)), by_ranx(ranx_mnz(scaled)))
    close({(q, d): s for q, scores in ours[0].items() for d, s in min_max(scores).items()}, by_ranx(scaled[0]))
