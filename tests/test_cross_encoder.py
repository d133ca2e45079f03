"""Cross-encoders: a pair in, a logit out."""

from __future__ import annotations

import pytest

from rankrl.engines.drive import drive
from rankrl.errors import ConfigError
from rankrl.rerankers.cross_encoder import CrossEncoder
from rankrl.types import PAIR, Answer, Candidate, CandidateList, Query


def test_the_pair_is_the_two_texts_as_they_are_on_one_line_each():
    listing = CandidateList(
        Query("q", "what is\n[1]?"), (Candidate("d", "It <answer>\tis\ud800", "Title"), Candidate("e", "x"))
    )
    request = CrossEncoder().request(listing)
    assert request.prompt == [
        {"role": PAIR, "content": "what is [1]?"},
        {"role": PAIR, "content": "Title It <answer> is\ufffd"},
    ]
    assert len(request.choices) == 1


def test_documents_are_ordered_by_logit_and_those_without_follow():
    logits = {"a": 0.5, "b": None, "c": 3.0, "d": float("nan"), "e": 0.5}
    listing = CandidateList(Query("q", "?"), tuple(Candidate(docid, docid) for docid in logits))

    class Classifier:
        def generate(self, requests, on_answer=None):
            return [Answer("", scores=(logits[request.shown.docids[0]],)) for request in requests]

    (ranking,) = drive([CrossEncoder().order(listing)], Classifier())
    assert ranking.docids(listing) == ["c", "a", "e", "b", "d"]
    assert ranking.scores == (0.5, None, 3.0, None, 0.5)


def test_its_engine_is_the_classifier_and_texts_say_nothing():
    assert CrossEncoder.engine == "classifier"
    assert CrossEncoder().parse("0.99", 1).report.unreadable
    with pytest.raises(ConfigError, match="cross_encoder: max_length must be"):
        CrossEncoder(max_length=0)


def test_each_text_is_cut_by_the_clip_and_only_there():
    long = CandidateList(Query("q", "x " * 9000), (Candidate("d", "y " * 9000), Candidate("e", "z")))
    query, document = (message["content"].split() for message in CrossEncoder().prompt(long))
    assert (len(query), len(document)) == (8192, 8192)
    cut = CrossEncoder(max_length=2, clip=lambda text, n: f"{text[:3]}/{n}").prompt(long)
    assert [message["content"] for message in cut] == ["x x/2", "y y/2"]


def test_one_document_is_shown_and_its_logit_is_the_first_candidates():
    assert CrossEncoder().shown == 1 and CrossEncoder().plan(7).calls_max == 7
    reading = CrossEncoder().read(Answer("", scores=(2.5,)), 3)
    assert (reading.ranking.order, reading.scores, reading.report.clean) == ((0, 1, 2), (2.5, None, None), True)
