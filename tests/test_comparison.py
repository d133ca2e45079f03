"""What a comparison says: independent of order and company, every pair, the test that decides, power, and what got worse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rankrl.comparison import TESTS, Move, compare, compare_evaluations, flips
from rankrl.errors import ConfigError, DataError
from rankrl.evaluation import evaluate
from rankrl.runs import ranked, read_qrels, read_run

MEASURES = ["nDCG@10", "RR", "R@5"]
DL19 = Path(__file__).parents[2] / "shared" / "data" / "dl19"


def random_systems(seed: int, *, systems: int = 4, topics: int = 60):
    """Runs of different strength over shared topics; each misses some topics, scores tie, some documents are unjudged."""
    rng = np.random.default_rng(seed)
    docids = [f"d{i}" for i in range(40)]
    qrels = {f"q{t}": {str(d): int(rng.integers(0, 4)) for d in rng.choice(docids, 12, False)} for t in range(topics)}
    for judged in qrels.values():
        judged[next(iter(judged))] = 2  # nothing is left out for having no relevant document
    runs = {}
    for system in range(systems):
        runs[f"s{system}"] = {
            qid: {
                str(d): float(round(system * 0.4 * qrels[qid].get(str(d), 0) + rng.normal(), 1))
                for d in rng.choice(docids, 20, False)
            }
            for qid in qrels
            if rng.random() < 0.95
        }
    return qrels, runs


def by_pair(comparison):
    return {(d.measure, d.baseline, d.system): d for d in comparison.differences}


def unadjusted(difference):
    """The difference without what depends on the number of comparisons."""
    return replace(difference, p_holm_by_test={}, comparisons=1, detectable=None, topics_needed=None)


def test_a_pair_has_the_same_numbers_in_any_company_and_order():
    qrels, runs = random_systems(1)
    alone = compare(qrels, {"s0": runs["s0"], "s2": runs["s2"]}, ["RR"], seed=5).differences[0]
    names = ["s0", "s3", "s2", "s1"]
    company = by_pair(compare(qrels, {name: runs[name] for name in names}, MEASURES, seed=5, all_pairs=True))
    assert unadjusted(company["RR", "s0", "s2"]) == unadjusted(alone)
    baseline = by_pair(compare(qrels, {name: runs[name] for name in names}, MEASURES, seed=5))
    other_order = by_pair(compare(qrels, {name: runs[name] for name in ["s0", "s1", "s2", "s3"]}, MEASURES, seed=5))
    assert baseline == other_order


def test_two_systems_the_other_way_round_are_mirrored_to_the_last_digit():
    qrels, runs = random_systems(2)
    there = compare(qrels, {"s0": runs["s0"], "s1": runs["s1"]}, MEASURES).differences
    back = compare(qrels, {"s1": runs["s1"], "s0": runs["s0"]}, MEASURES).differences
    for one, other in zip(there, back, strict=True):
        assert (one.difference, one.low, one.high) == (-other.difference, -other.high, -other.low)
        assert (one.effect, one.spread, one.p_by_test) == (-other.effect, other.spread, other.p_by_test)
        assert (one.wins, one.ties, one.losses) == (other.losses, other.ties, other.wins)
        assert (one.detectable, one.topics_needed) == (other.detectable, other.topics_needed)


def test_the_order_of_the_topics_changes_nothing_but_the_last_digit_of_the_means():
    qrels, runs = random_systems(3)
    turned = {qid: qrels[qid] for qid in reversed(qrels)}
    for one, other in zip(
        compare(qrels, runs, MEASURES).differences, compare(turned, runs, MEASURES).differences, strict=True
    ):
        assert one.system_mean == pytest.approx(other.system_mean, rel=1e-12)
        means = {"baseline_mean": one.baseline_mean, "system_mean": one.system_mean}
        assert replace(other, **means) == one


def test_every_pair_is_compared_once_and_adjusted_for_their_number():
    qrels, runs = random_systems(4)
    found = compare(qrels, runs, ["nDCG@10"], all_pairs=True).differences
    names = [(d.baseline, d.system) for d in found]
    assert names == [("s0", "s1"), ("s0", "s2"), ("s0", "s3"), ("s1", "s2"), ("s1", "s3"), ("s2", "s3")]
    for test in TESTS:
        smallest = min(found, key=lambda d, test=test: d.p_by_test[test])
        assert smallest.p_holm_by_test[test] == pytest.approx(min(1.0, 6 * smallest.p_by_test[test]))
        assert all(d.p_holm_by_test[test] >= d.p_by_test[test] for d in found)
    assert {d.comparisons for d in found} == {6}
    among_others = compare(qrels, runs, ["RR", "nDCG@10", "AP"], all_pairs=True).differences
    assert tuple(d for d in among_others if d.measure == "nDCG@10") == found  # a measure is a family of its own


def test_the_seed_decides_what_is_drawn_in_the_interval_and_in_the_randomisation_test():
    qrels, runs = random_systems(4)
    two = {name: runs[name] for name in ("s0", "s1")}
    one, other = (compare(qrels, two, ["nDCG@10"], seed=seed).differences[0] for seed in (1, 2))
    assert (one.low, one.high) != (other.low, other.high)
    assert one.p_by_test["randomisation"] != other.p_by_test["randomisation"]
    assert one.p_by_test["t"] == other.p_by_test["t"]


@pytest.mark.parametrize("test", TESTS)
def test_the_test_that_is_chosen_decides(test):
    qrels, runs = random_systems(5)
    for d in compare(qrels, runs, MEASURES, test=test).differences:
        assert (d.test, d.p, d.p_holm) == (test, d.p_by_test[test], d.p_holm_by_test[test])
        assert d.significant == (d.p_holm_by_test[test] < 0.05)


def test_the_p_values_effect_and_spread_are_those_of_the_values_per_topic():
    qrels, runs = random_systems(6)
    comparison = compare(qrels, runs, ["nDCG@10"])
    for d in comparison.differences:
        a, b = ([comparison.evaluations[s].values["nDCG@10"][q] for q in qrels] for s in (d.baseline, d.system))
        deltas = np.subtract(b, a)
        assert d.p_by_test["t"] == pytest.approx(stats.ttest_rel(b, a).pvalue, rel=1e-9)
        assert d.p_by_test["wilcoxon"] == pytest.approx(stats.wilcoxon(np.round(deltas, 12)).pvalue, rel=1e-6)
        assert d.spread == pytest.approx(deltas.std(ddof=1))
        assert d.effect == pytest.approx(deltas.mean() / deltas.std(ddof=1))


def test_power_is_at_the_strictest_step_of_holm_and_said_in_words():
    qrels, runs = random_systems(7)
    one = compare(qrels, {"s0": runs["s0"], "s1": runs["s1"]}, ["nDCG@10"]).differences[0]
    several = compare(qrels, runs, ["nDCG@10"]).differences[0]
    assert several.detectable > one.detectable and several.topics_needed > one.topics_needed
    spread_of_t = one.spread / len(qrels) ** 0.5
    critical = stats.t.isf(0.025, len(qrels) - 1)
    assert stats.nct.sf(critical, len(qrels) - 1, one.detectable / spread_of_t) == pytest.approx(0.8, abs=1e-6)
    assert one.power_in_words.startswith(f"60 topics show a true difference of {one.detectable:.4f} four times in five")
    same = compare(qrels, {"s0": runs["s0"], "copy": dict(runs["s0"])}, ["nDCG@10"]).differences[0]
    assert (same.detectable, same.topics_needed, same.power_in_words, same.effect) == (None, None, "", 0.0)


def test_few_topics_that_differ_are_named_where_they_cannot_be_significant():
    qrels = {f"q{i}": {"r": 1} for i in range(30)}
    base = {qid: {"x": 2.0, "r": 1.0} for qid in qrels}
    better = {n: {q: {"x": 2.0, "r": 1.0 + 2 * (i < n)} for i, q in enumerate(qrels)} for n in (5, 6)}
    five, six = (compare(qrels, {"base": base, "better": better[n]}, ["RR"]).differences[0] for n in (5, 6))
    assert five.p == 2 / 2**5 and six.p == 2 / 2**6 < 0.05
    assert five.power_in_words.endswith("; only 5 differ, and p cannot be below 0.0625 with so few")
    assert "only" not in six.power_in_words
    assert "only" not in replace(five, test="t").power_in_words


def test_bug_what_more_than_1023_topics_that_differ_can_show_could_not_be_said():
    qrels = {f"q{i}": {"r": 1} for i in range(1100)}
    first = {qid: {"x": 3.0, "y": 2.0, "r": 1.0} for qid in qrels}
    second = {qid: {"x": 2.0, "r": 1.0 + 2 * (i % 3 == 0)} for i, qid in enumerate(qrels)}
    (found,) = compare(qrels, {"first": first, "second": second}, ["RR"]).differences
    assert found.wins == 1100
    assert found.power_in_words == f"1,100 topics show a true difference of {found.detectable:.4f} four times in five"


def test_differences_that_are_all_alike_have_no_effect_size_and_no_power():
    qrels = {f"q{i}": {"r": 1} for i in range(8)}
    first, second = ({qid: scores for qid in qrels} for scores in ({"r": 2.0, "x": 1.0}, {"x": 2.0, "r": 1.0}))
    (found,) = compare(qrels, {"second": second, "first": first}, ["RR"]).differences
    assert (found.effect, found.spread, found.detectable, found.power_in_words) == (None, 0.0, None, "")
    assert found.p_by_test == {"randomisation": 2 / 2**8, "t": 0.0, "wilcoxon": 2 / 2**8}


def test_evaluations_that_were_made_before_give_the_same_comparison():
    qrels, runs = random_systems(8)
    made = {name: evaluate(qrels, run, MEASURES) for name, run in runs.items()}
    assert compare_evaluations(made, seed=3) == compare(qrels, runs, MEASURES, seed=3)
    other = {**made, "s1": evaluate(qrels, runs["s1"], ["RR"])}
    with pytest.raises(ConfigError, match="s1 and s0 are not evaluated by the same measures"):
        compare_evaluations(other)
    with pytest.raises(ConfigError, match="same topics"):
        compare_evaluations({**made, "s1": evaluate(qrels, runs["s1"], MEASURES, topics="retrieved")})


def test_a_value_that_is_no_number_is_named_not_compared():
    qrels, runs = random_systems(8)
    made = {name: evaluate(qrels, run, ["RR"]) for name, run in runs.items()}
    broken = replace(made["s2"], values={"RR": {**made["s2"].values["RR"], "q7": float("nan")}})
    with pytest.raises(DataError, match=r"RR has no finite value on 1 topics \('q7'\)"):
        compare_evaluations({**made, "s2": broken})


@pytest.mark.parametrize(("measure", "total"), [("NumRet", "sum"), ("gm_map", "geometric mean")])
def test_a_total_that_is_no_mean_is_refused_as_what_it_is(measure, total):
    qrels, runs = random_systems(8)
    with pytest.raises(ConfigError, match=f"{measure} is a {total} over topics"):
        compare(qrels, runs, [measure])


def test_a_test_that_does_not_exist_is_refused():
    qrels, runs = random_systems(8)
    with pytest.raises(ConfigError, match="no test 'wilcoxn', did you mean 'wilcoxon'"):
        compare(qrels, runs, ["RR"], test="wilcoxn")


def test_values_that_differ_by_rounding_only_are_ties_and_their_sum_is_no_difference_to_be_shown():
    qrels, runs = random_systems(8)
    made = {name: evaluate(qrels, runs[name], ["RR"]) for name in ("s0", "s1")}
    values = {qid: 0.3 for qid in qrels}
    first = replace(made["s0"], values={"RR": values})
    rounded = replace(made["s1"], values={"RR": {**values, "q1": 0.1 + 0.2, "q2": 0.4, "q3": 0.2 + 1e-10}})
    (found,) = compare_evaluations({"s0": first, "s1": rounded}).differences
    assert (found.wins, found.ties, found.losses) == (1, len(qrels) - 2, 1)
    assert found.difference == pytest.approx(1e-10 / len(qrels)) and found.topics_needed is None


def test_what_is_significant_alone_need_not_be_among_many():
    qrels, runs = random_systems(9, systems=9)
    weak = {name: {**runs["s0"], **{q: runs[name].get(q, {}) for q in list(qrels)[:6]}} for name in list(runs)[1:]}
    found = compare(qrels, {"s0": runs["s0"], **weak}, ["nDCG@10"]).differences
    between = [d for d in found if d.p < 0.05 <= d.p_holm]
    assert between and {d.verdict for d in between} == {"no significant difference"}


# The queries that got worse

QRELS = {"q1": {"a": 3, "b": 1, "c": 0, "n": -1}, "q2": {"a": 1}, "q3": {"a": 1, "b": 1}}
BEFORE = {
    "q1": {"a": 9.0, "u": 8.0, "b": 7.0, "c": 1.0},
    "q2": {"a": 2.0, "u": 1.0},
    "q3": {"a": 2.0, "x": 1.0},
}
AFTER = {
    "q1": {"c": 9.0, "u": 8.0, "v": 7.5, "a": 7.0, "n": 3.0},
    "q2": {"u": 2.0, "a": 1.0},
    "q3": {"a": 2.0, "b": 1.5, "x": 1.0},
}


def flipped(measure, before=BEFORE, after=AFTER, qrels=QRELS, **options):
    runs = {"before": before, "after": after}
    comparison = compare(qrels, runs, [measure])
    return flips(comparison, comparison.differences[0], qrels, runs, **options)


def test_queries_that_got_worse_are_listed_worst_first_with_what_moved():
    first, second = flipped("RR@3")
    assert (first.qid, first.before, first.after, first.depth) == ("q1", 1.0, 0.0, 3)
    assert first.drop == 1.0
    assert first.moves == (
        Move("a", 3, 1, 4),  # the rank beyond the cutoff is told
        Move("b", 1, 3, None),
        Move("c", 0, 4, 1),
    )  # "n" entered the list, but beyond the cutoff
    assert (first.unjudged_before, first.unjudged_after) == (1, 2)
    assert (second.qid, second.drop, second.moves) == ("q2", 0.5, (Move("a", 1, 1, 2),))


def test_a_rank_weighs_as_in_dcg():
    judged = {docid: 1 for docid in "azpqr"}
    before = {docid: -float(rank) for rank, docid in enumerate("apqrz")}
    after = {docid: -float(rank) for rank, docid in enumerate("xapqryz")}  # of the first 5, a is 2nd and z is gone
    (found,) = flipped("nDCG@5", {"q": before}, {"q": after}, {"q": judged})
    # 1/log2(6) = 0.387 is more than 1 - 1/log2(3) = 0.369; as reciprocal ranks it would be less
    assert [move.docid for move in found.moves][:2] == ["z", "a"]


def test_a_measure_without_cutoff_reads_the_whole_list_and_decides_what_is_relevant():
    first, *_ = flipped("AP(rel=2)")
    assert first.depth is None
    # b is not relevant for this measure: what fell and is relevant, then what rose and is not, then the rest
    assert [move.docid for move in first.moves] == ["a", "c", "n", "b"]


def test_a_threshold_leaves_small_losses_out_and_moves_are_limited():
    assert [flip.qid for flip in flipped("RR@3", threshold=0.5)] == ["q1"]  # q2 lost 0.5, which is not more
    assert [len(flip.moves) for flip in flipped("RR@3", moves=1)] == [1, 1]
    assert len(flipped("AP", moves=None)[0].moves) == 4
    assert flipped("RR@3", threshold=2.0) == []
    for wrong in ({"threshold": -0.1}, {"threshold": float("nan")}, {"moves": -1}):
        with pytest.raises(ConfigError, match="must be a number from 0"):
            flipped("RR@3", **wrong)


def test_a_topic_that_the_system_misses_is_a_flip_in_which_every_document_left():
    without = {qid: scores for qid, scores in AFTER.items() if qid != "q3"}
    flip = next(f for f in flipped("nDCG@10", after=without) if f.qid == "q3")
    assert (flip.after, flip.moves) == (0.0, (Move("a", 1, 1, None),))


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), measure=st.sampled_from(["nDCG@10", "RR(rel=2)@5", "AP", "P@3"]))
def test_flips_are_what_a_slow_reader_finds(seed, measure):
    qrels, runs = random_systems(seed, systems=2, topics=8)
    depth = {"nDCG@10": 10, "RR(rel=2)@5": 5, "AP": 1000, "P@3": 3}[measure]
    comparison = compare(qrels, runs, [measure])
    found = flips(comparison, comparison.differences[0], qrels, runs, moves=None)
    before, after = (comparison.evaluations[name].values[measure] for name in ("s0", "s1"))
    assert {f.qid for f in found} == {q for q in qrels if after[q] < before[q] - 1e-9}
    assert [f.drop for f in found] == sorted((f.drop for f in found), reverse=True)
    for flip in found:
        lists = [ranked(runs[name].get(flip.qid, {})) for name in ("s0", "s1")]
        tops = [[d if d in qrels[flip.qid] else None for d in docids[:depth]] for docids in lists]
        moved = {d for d in qrels[flip.qid] if any((d in top) != (d in tops[0]) for top in tops)}
        moved |= {d for d in tops[0] if d and d in tops[1] and tops[0].index(d) != tops[1].index(d)}
        assert {move.docid for move in flip.moves} == moved
        for move in flip.moves:
            ranks = [docids.index(move.docid) + 1 if move.docid in docids else None for docids in lists]
            assert ([move.before, move.after], move.grade) == (ranks, qrels[flip.qid][move.docid])
        assert (flip.unjudged_before, flip.unjudged_after) == tuple(top.count(None) for top in tops)


@pytest.mark.skipif(not DL19.is_dir(), reason="the DL19 runs (shared/data/dl19) are not here")
def test_real_runs_compare_as_scipy_and_the_published_values_say():
    runs = {
        name: read_run(DL19 / "runs" / f"{name}.trec") for name in ("bm25", "bm25_rm3", "splade_p_p_ensemble_distil")
    }
    comparison = compare(read_qrels(DL19 / "qrels" / "test.tsv"), runs, ["nDCG@10"])
    published = json.loads((DL19 / "runs" / "expected.json").read_text())
    rm3, splade = comparison.differences
    assert len(comparison.topics) == 43
    for name, one in comparison.evaluations.items():
        assert round(one.totals["nDCG@10"], 4) == published[name]["ndcg_cut_10_by_score"]
    for d in (rm3, splade):
        a, b = (
            [comparison.evaluations[s].values["nDCG@10"][q] for q in comparison.topics] for s in (d.baseline, d.system)
        )
        assert d.p_by_test["t"] == pytest.approx(stats.ttest_rel(b, a).pvalue, rel=1e-9)
        assert d.p_by_test["randomisation"] == pytest.approx(d.p_by_test["t"], abs=0.01)
    assert rm3.verdict == "no significant difference"
    assert splade.verdict == "significantly better at the 5 % level"
