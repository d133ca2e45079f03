"""The vocabulary: wrong states cannot be built, and the parts say what they hold."""

import dataclasses
import hashlib
import json

import pytest
from hypothesis import strategies as st

from rankrl.contracts import is_over_group, is_shaper, over_group
from rankrl.errors import DataError, MissingDependencyError, RankRLError, unknown_name
from rankrl.types import (
    Candidate,
    CandidateList,
    ParseReport,
    Query,
    Ranking,
    Reading,
    Request,
    Rollout,
    RolloutGroup,
    repeated,
)

LISTING = CandidateList(Query("q7", "text"), (Candidate("a", "x", "T"), Candidate("b", "y")))


def test_a_docid_twice_is_refused_by_name():
    with pytest.raises(DataError, match=r"query 'q7': docids appear twice: \['d12'\]"):
        CandidateList(Query("q7", ""), (Candidate("d12", "x"), Candidate("d3", "y"), Candidate("d12", "z")))


@pytest.mark.parametrize("order", [(0, 0, 1), (1, 2), (0, 2), (-1, 0)])
def test_anything_but_a_permutation_is_refused(order):
    with pytest.raises(ValueError, match="not a permutation"):
        Ranking(order)


def test_a_ranking_names_the_docids_of_its_list():
    assert Ranking((1, 0)).docids(LISTING) == ["b", "a"]
    assert LISTING.pick([1]).docids == ("b",)
    assert [c.full_text for c in LISTING.candidates] == ["T x", "y"]


def test_the_nouns_are_frozen():
    for thing in (LISTING, LISTING.query, LISTING.candidates[0], Ranking((0,)), ParseReport()):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, dataclasses.fields(thing)[0].name, None)


@pytest.mark.parametrize(
    ("report", "status"),
    [
        (ParseReport(), "ok"),
        (ParseReport(missing=1), "repaired"),
        (ParseReport(malformed=True), "repaired"),
        (ParseReport(unreadable=True, missing=3), "failed"),
    ],
)
def test_a_report_has_a_status_and_only_nothing_mended_is_clean(report, status):
    assert report.status == status and report.clean == (status == "ok")


def test_a_group_answers_one_query():
    other = CandidateList(Query("q8", ""), ())
    rollouts = (Rollout(LISTING, "", Reading(Ranking((0, 1)))), Rollout(other, "", Reading(Ranking(()))))
    with pytest.raises(ValueError, match="one query"):
        RolloutGroup(rollouts)


def test_marks_leave_a_function_itself():
    @over_group
    def compares(group):
        return [0.0] * len(group)

    @over_group(shapes=True)
    def shapes(group, rewards):
        return rewards

    assert is_over_group(compares) and not is_shaper(compares) and is_shaper(shapes) and not is_over_group(len)
    assert compares(RolloutGroup(())) == []


def test_errors_are_both_ours_and_the_standard_ones():
    error = MissingDependencyError("Pyserini", extra="lucene", found="No module named 'pyserini'")
    assert isinstance(error, ImportError) and isinstance(error, RankRLError)
    assert str(error) == "Pyserini is not installed (No module named 'pyserini'): pip install \"rankrl[lucene]\""


def test_an_unknown_name_is_met_with_the_nearest_ones():
    assert str(unknown_name("reward", "ndgc", ["ndcg", "recall"])) == (
        "no reward 'ndgc', did you mean 'ndcg'? there are: ndcg, recall"
    )
    assert "…" in str(unknown_name("x", "zzz", [f"name{i}" for i in range(20)]))
    assert repeated("abcab") == ["a", "b"]


EVERY = "".join(map(chr, range(0x250))) + "\u2028\ufeff\ud800漢😀"
TEXT = st.text(st.sampled_from(EVERY)) | st.text(st.characters(codec=None))


def test_the_address_of_a_request_is_that_of_its_json():
    """Of every character, so that journals that exist keep their answers."""
    for content in (EVERY, EVERY * 20):
        prompt = [{"role": "user", "content": content}, {"role": "assistant", "content": "<a>"}]
        request = Request(prompt, ("x", "é"), ("</a>",), True, 3)
        spelled = json.dumps([prompt, ("x", "é"), ("</a>",), True, 3], ensure_ascii=False, sort_keys=True)
        assert request.key == hashlib.sha256(spelled.encode("utf-8", "surrogatepass")).hexdigest()
