"""Training data: splits that share no document, lists with one right answer, rows that survive Arrow."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.errors import ConfigError, DataError
from rankrl.rerankers.rank_r1 import RankR1
from rankrl.training.dataset import rows_of, split_by_document, training_listings
from rankrl.training.rewarding import judgments_of, listing_of
from rankrl.types import Candidate, CandidateList, Query

QRELS = st.dictionaries(
    st.sampled_from([f"q{i}" for i in range(12)]),
    st.dictionaries(st.sampled_from([f"d{i}" for i in range(8)]), st.integers(0, 2), min_size=1, max_size=3),
    min_size=2,
)


def relevant(qrels, qids):
    return {d for q in qids for d, grade in qrels[q].items() if grade > 0}


@settings(max_examples=300, deadline=None)
@given(qrels=QRELS, data=st.data())
def test_no_document_is_relevant_on_both_sides_and_no_topic_is_lost(qrels, data):
    topics = [q for q, judged in qrels.items() if any(g > 0 for g in judged.values())]
    if not topics:
        return
    held_out = data.draw(st.integers(0, len(topics) - 1))
    trained, kept = split_by_document(qrels, held_out, seed=data.draw(st.integers(0, 3)))
    assert relevant(qrels, trained).isdisjoint(relevant(qrels, kept))
    assert len(kept) <= held_out and trained
    assert [q for q in qrels if q in {*trained, *kept}] == topics
    assert trained == [q for q in qrels if q in trained] and kept == [q for q in qrels if q in kept]


def test_the_split_depends_on_the_seed_and_on_nothing_else():
    qrels = {f"q{i}": {f"d{i}": 1} for i in range(40)}
    assert split_by_document(qrels, 10, seed=1) == split_by_document(qrels, 10, seed=1)
    assert split_by_document(qrels, 10, seed=1) != split_by_document(qrels, 10, seed=2)
    assert len(split_by_document(qrels, 10, seed=1)[1]) == 10


@pytest.mark.parametrize("held_out", [-1, 2])
def test_a_split_that_leaves_nothing_is_refused(held_out):
    with pytest.raises(ConfigError, match=r"0\.\.1"):
        split_by_document({"a": {"d": 1}, "b": {"e": 1}, "c": {"f": 0}}, held_out, seed=0)


def pool(qid="q", n=8):
    return CandidateList(
        Query(qid, f"query {qid}"), tuple(Candidate(f"d{i}", f"text {i}", f"title {i}") for i in range(n))
    )


def listings(size=4, seed=0, n=8, judged=None, found=("d0", "d5")):
    qrels = {"q": judged or {"d0": 1, "d5": 2, "d6": 0}}
    candidates = {"q": [Candidate(d, f"text {d[1:]}") for d in found]}
    return training_listings([pool(n=n)], qrels, candidates, size=size, seed=seed)


def test_one_list_per_relevant_document_with_one_right_answer():
    made = listings()
    assert len(made) == 2
    for listing, right in zip(made, ("d0", "d5"), strict=True):
        assert [d for d in listing.docids if d in ("d0", "d5")] == [right]
        assert len(listing) == 4


def test_a_relevant_document_that_the_first_stage_missed_is_shown_all_the_same():
    (listing,) = listings(judged={"far": 1}, found=("far",))
    assert "far" in listing.docids


def test_the_right_answer_stands_everywhere_equally_often():
    places = [listings(seed=seed, found=("d0",))[0].docids.index("d0") for seed in range(400)]
    assert all(70 < places.count(place) < 130 for place in range(4))


def test_a_short_pool_gives_a_shorter_list_and_an_empty_one_none():
    assert [len(x) for x in listings(size=20, found=("d0",))] == [7]
    with pytest.raises(DataError, match="nothing to train on"):
        listings(n=1, judged={"d0": 1}, found=("d0",))
    with pytest.raises(ConfigError, match="at least 2"):
        listings(size=1)


def test_rows_give_back_the_list_and_the_judgments_after_a_trip_through_arrow():
    from datasets import Dataset

    other = CandidateList(Query("p", "another"), pool().candidates[:2])
    qrels = {"q": {"d0": 1, "d5": 2}, "p": {"elsewhere": 3}}
    rows = list(Dataset.from_list(rows_of([pool(), other], qrels, RankR1())))
    assert [listing_of(row) for row in rows] == [pool(), other]
    assert [judgments_of(row) for row in rows] == [qrels["q"], qrels["p"]]
    assert rows[1]["prompt"] == RankR1().prompt(other)


def test_drawing_touches_no_global_random_state():
    random.seed(5)
    before = random.getstate()
    listings()
    split_by_document({"a": {"d": 1}, "b": {"e": 1}}, 1, seed=0)
    assert random.getstate() == before


def test_two_topics_with_one_relevant_document_are_shown_different_others():
    candidates = {q: [Candidate("d0", "text 0")] for q in ("q", "p")}
    qrels = {q: {"d0": 1} for q in ("q", "p")}
    first, second = training_listings([pool("q", 30), pool("p", 30)], qrels, candidates, size=5, seed=0)
    assert set(first.docids) != set(second.docids)
