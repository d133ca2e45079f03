"""`retrieval.collections.audit`: the join against brute force, and what an overlap counts."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.errors import ConfigError
from retrieval.collections import load_collection
from retrieval.collections.audit import (
    Pair,
    character_shingles,
    equal_texts,
    jaccard,
    near_duplicates,
    near_in_corpus,
    normalised,
    overlap,
    word_shingles,
)

WORDS = st.lists(st.sampled_from(["sea", "ship", "whale", "the", "of"]), max_size=9).map(" ".join)
TEXTS = st.dictionaries(st.sampled_from([f"i{n}" for n in range(8)]), WORDS, max_size=8)


@settings(max_examples=150)
@given(left=TEXTS, right=TEXTS, threshold=st.sampled_from([0.01, 0.3, 0.5, 0.6, 2 / 3, 0.8, 1.0]))
@pytest.mark.parametrize("shingles", [word_shingles, character_shingles])
def test_the_join_finds_what_comparing_all_pairs_finds(left, right, threshold, shingles):
    expected = [
        Pair(one, other, similarity)
        for one, left_text in left.items()
        for other, right_text in right.items()
        if one != other and (similarity := jaccard(shingles(left_text), shingles(right_text))) >= threshold
    ]
    found = near_duplicates(left, right, threshold=threshold, shingles=shingles)
    assert found == sorted(expected, key=lambda pair: (-pair.similarity, pair.left, pair.right))


def test_shingles_and_similarity_by_hand():
    assert normalised("  The “Sea”, isn’t\tＢＩＧ! ") == "the sea isn t big"
    assert word_shingles("a b c d") == {"a b c", "b c d"}
    assert word_shingles("A b!") == {"a b"} and word_shingles("…") == frozenset()
    assert character_shingles("abcde") == {"abcd", "bcde"} and character_shingles("ab") == {"ab"}
    assert jaccard(word_shingles("a b c d"), word_shingles("b c d e")) == 1 / 3
    assert jaccard(frozenset(), frozenset()) == 0.0


def test_a_pair_exactly_at_the_threshold_is_found():
    """4 of 5 shingles, where 0.8 * 5 is a whole number: one shingle fewer in the prefix would miss it."""
    left, right = {"l": "a b c d e f g"}, {"r": "a b c d e f"}
    assert near_duplicates(left, right) == [Pair("l", "r", 0.8)]
    assert near_duplicates(right, left) == [Pair("r", "l", 0.8)]


def test_equal_texts_are_pairs_of_different_ids():
    left, right = {"1": "A ship.", "2": "", "5": "x"}, {"3": "a ship", "1": "a  SHIP", "4": "?!", "5": "x"}
    assert equal_texts(left, right) == [Pair("1", "3", 1.0)]


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, float("nan")])
def test_a_threshold_that_is_none_is_refused(threshold):
    with pytest.raises(ConfigError, match="it must lie above 0 and not above 1"):
        near_duplicates({}, {}, threshold=threshold)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "qrels").mkdir()
    texts = {
        "d1": "the whale swims in the deep sea",
        "d2": "The whale swims in the deep sea!",
        "d3": "ships are made of wood",
        "d4": "nobody knows",
        "d5": "somebody knows",
    }
    queries = {
        "a": "where do whales swim",
        "b": "wood",
        "x": "Where do whales swim?",
        "y": "of what are ships",
        "z": "who",
    }
    for name, rows in (("corpus", texts), ("queries", queries)):
        (tmp_path / f"{name}.jsonl").write_text(
            "".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in rows.items())
        )
    (tmp_path / "qrels" / "train.tsv").write_text("a\td1\t1\nb\td3\t1\nb\td5\t0\n")
    (tmp_path / "qrels" / "test.tsv").write_text("x\td2\t1\ny\td3\t1\ny\td9\t2\nz\td4\t1\nz\td3\t0\n")
    return tmp_path


def test_an_overlap_counts_documents_topics_and_near_duplicates(folder):
    found = overlap(load_collection(folder), "train", "test")
    assert found.topics == (2, 3) and found.same_topics == ()
    assert found.duplicate_topics == (Pair("a", "x", 1.0),) and found.near_topics == ()
    assert found.relevant == (2, 4) and found.shared_relevant == ("d3",)
    assert found.touched == (1, 0)
    assert found.near_documents == (Pair("d1", "d2", 1.0),)
    assert (found.unseen, found.clean) == (("x", "z"), ("z",))
    assert found.outside == 1


def test_a_topic_without_a_relevant_document_has_none_that_was_seen(folder):
    (folder / "qrels" / "test.tsv").write_text("y\td3\t1\nz\td3\t0\n")
    found = overlap(load_collection(folder), "train", "test")
    assert found.touched == (1, 1) and found.unseen == ("z",)


def test_the_unseen_topics_are_the_derived_split(folder):
    collection = load_collection(folder)
    assert list(overlap(collection, "train", "test").unseen) == list(collection.qrels("test-unseen"))
    scifact = load_collection("scifact")
    assert list(overlap(scifact, "train", "test").unseen) == list(scifact.qrels("test-unseen"))


def test_a_topic_in_both_splits_is_not_clean(folder):
    (folder / "qrels" / "train.tsv").write_text("z\td1\t1\n")
    found = overlap(load_collection(folder), "train", "test")
    assert found.same_topics == ("z",) and "z" in found.unseen and "z" not in found.clean


def test_near_duplicates_in_a_corpus_are_each_told_once(folder):
    assert near_in_corpus(load_collection(folder), threshold=0.8) == [Pair("d1", "d2", 1.0)]


@pytest.mark.slow
def test_all_pairs_of_scifact_are_compared_and_none_is_near():
    assert near_in_corpus(load_collection("scifact")) == []
