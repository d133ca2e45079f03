"""`benchmarks/reranking.py`: the loops that rankrl is compared with do the same work and find the same."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "reranking.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("reranking_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("number", range(4))
def test_every_way_finds_the_same_best_ten_with_answers_in_the_protocols_words(bench, number):
    protocol, lists = bench.PROTOCOLS[number], bench.listings(3, 40)
    best = [sorted(listing.docids, reverse=True)[: bench.BEST] for listing in lists]
    calls = {}
    for name, run, kind in (
        ("ours", bench.ours, bench.Oracle),
        ("served", bench.ours, bench.Server),
        *((name, loop, bench.Oracle) for name, loop in protocol.loops.items()),
    ):
        engine = kind(protocol.say, 0.0)
        found = bench.measured(run, protocol.reranker, engine, lists)
        assert [order[: bench.BEST] for order in found.orders] == best, name
        assert found.topics == 3 and found.calls == engine.calls and found.building_s > 0
        calls[name] = found.calls
    assert calls["ours"] == calls["served"]
    loops = [calls[name] for name in protocol.loops]
    if "pairwise" in protocol.name:  # a comparison that was made is remembered
        assert calls["ours"] <= loops[0]
    else:
        assert set(loops) == {calls["ours"]}


def test_the_latency_is_taken_once_a_batch_and_shows_in_what_runs_in_parallel(bench):
    protocol, lists = bench.PROTOCOLS[3], bench.listings(bench.TOPICS, 30)
    rows = {(row[1], row[3]): row for row in bench.rows(protocol, 0.02, lists)}
    assert rows["batch", "rankrl"][4:6] == ["2.0/topic", "2"]
    assert rows["server", "rankrl"][4:6] == ["2.0/topic", str(2 * bench.TOPICS)]
    assert float(rows["batch", "rank_llm's loop, alone"][9]) <= 1.0 < float(rows["batch", "rankrl"][9])
    assert {row[10] for row in rows.values()} == {f"{bench.TOPICS}/{bench.TOPICS}"}
