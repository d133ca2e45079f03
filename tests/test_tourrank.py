"""TourRank: prompts that ask for so many, selections, and tournaments."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.engines.drive import drive
from rankrl.errors import ConfigError
from rankrl.parsing.selection import parse_selection
from rankrl.rerankers._templates import variants
from rankrl.rerankers.tourrank import TourRank
from rankrl.types import Answer, Candidate, CandidateList, Query

sys.path.insert(0, str(Path(__file__).resolve().parent))
from graded import Oracle, Saying, best_first, graded

LISTING = CandidateList(
    Query("q1", "who wrote faust?"),
    (Candidate("d7", "Goethe wrote it.", "Faust"), Candidate("d3", "A river\nin two lines."), Candidate("d9", "")),
)
LABEL = r"Document (\d+)"


def test_a_turn_per_document_each_acknowledged():
    messages = TourRank(pick=2).prompt(LISTING)
    assert [m["role"] for m in messages] == ["system", "user", "assistant", *["user", "assistant"] * 3, "user"]
    shown = [message["content"] for message in messages[3:9:2]]
    assert shown == ["Document 1: Faust Goethe wrote it.", "Document 2: A river in two lines.", "Document 3:"]
    assert [message["content"] for message in messages[4:9:2]] == [f"Document {i} has arrived." for i in (1, 2, 3)]
    for message in (messages[1], messages[-1]):
        assert "who wrote faust?" in message["content"] and "the 2 " in message["content"].replace("Name the", "the")
    assert " 3 documents" in messages[1]["content"]
    assert messages[-1]["content"].endswith("\nDocument 3, ..., Document 1")


def test_how_many_are_asked_for_is_said_never_more_than_are_shown():
    def asked(reranker, n):
        return re.search(r"Name the (\d+) most", reranker.prompt(graded(n))[-1]["content"])[1]

    assert [asked(TourRank(pick=4), n) for n in (3, 4, 10)] == ["3", "4", "4"]
    assert [asked(TourRank(), n) for n in (3, 4, 20)] == ["2", "2", "10"]


@pytest.mark.parametrize(
    ("text", "selected", "status"),
    [
        ("Document 3, Document 1", [2, 0], "ok"),
        ("Document 3, Document 1.", [2, 0], "ok"),
        ("The best are: Document 3, Document 1. They answer it, unlike Document 2.", [2, 0], "repaired"),
        ("Document 2 is off topic.\n\nDocument 3, Document 1", [2, 0], "repaired"),
        ("Document 3, Document 3, Document 1, Document 3", [2, 0], "repaired"),
        ("Document 3, Document 9, Document 1", [2, 0], "repaired"),
        ("Document 3, Document 0, Document 1", [2, 0], "repaired"),
        ("Document 3, ..., Document 1", [2, 0], "repaired"),
        ("Documents 3, 1", [2, 0], "repaired"),
        ("Of all these, 5 were long: Document 3, Document 1", [2, 0], "repaired"),
        ("Document 3 and 1", [2, 0], "repaired"),
        ("Document 3 and Document 1", [2, 0], "repaired"),
        ("Document 3, 1", [2, 0], "repaired"),
        ("Document 3, Document one", [2], "repaired"),
        ("Document [3], Document [1]", [2, 0], "repaired"),
        ("document 3, document 1", [2, 0], "repaired"),
        ("**Document 3**, **Document 1**", [2, 0], "repaired"),
        ("Here they are:\n1. Document 3\n2. Document 1\n", [2, 0], "repaired"),
        ("Here they are:\n\n- Document 3\n\n- Document 1\n\nThat is all.", [2, 0], "repaired"),
        ("<think>Document 2, Document 4</think>Document 3, Document 1", [2, 0], "ok"),
        ("Document 1, Document 2, Document 3", [0, 1, 2], "repaired"),
        ("Document 3", [2], "repaired"),
        ("3, 1", [2, 0], "repaired"),
        ("[3], [1]", [2, 0], "repaired"),
        ("I choose 3 and 1", [], "failed"),
        ("Document 3\nDocument 1\n\nThese are the best, for Document 2 is about rivers.", [2, 0], "repaired"),
        ("Document 3, Document 1\nDocument 2 was close.", [2, 0], "repaired"),
        ("The best:\n- **Document 3**: it says so\n- **Document 1**: so does this", [2, 0], "repaired"),
        ("1. Document 3 (about it)\n2. Document 1 - too", [2, 0], "repaired"),
        ("Document 3: as Document 2, but better", [2, 1], "repaired"),
        ("I cannot.", [], "failed"),
        ("Document 7", [], "failed"),
        ("<think>Document 2", [], "failed"),
    ],
)
def test_what_an_answer_selects(text, selected, status):
    reading = TourRank(pick=2).parse(text, 5)
    assert reading.ranking.order == (*selected, *(i for i in range(5) if i not in selected))
    assert reading.scores == tuple(float(i in selected) for i in range(5))
    assert reading.report.status == status


def test_what_is_mended_is_counted():
    report = TourRank(pick=4).parse("Document 2, Document 2, Document 8, Document 1", 5).report
    assert (report.repeated, report.out_of_range, report.missing, report.malformed) == (1, 1, 2, False)
    assert TourRank(pick=1).parse("Document 2, Document 1", 5).report.malformed
    assert TourRank().parse("Document 2", 5).report.clean  # without a number that was asked for, any will do


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("Document 3, Document 1", {2, 0}),
        ("The best are: Document 3, Document 1. Unlike Document 2.", {2, 0}),
        ("1. Document 3\n2. Document 1", {1}),  # what stands before the first full stop of the last line is a 2
        ("Document 3\nDocument 1", {0}),
        ("In order, best first: Document 3", {2}),
        ("Document 0, Document 1", {4, 0}),
        ("Document 2, Document one", {1, 2}),  # the first that is not selected, the very first apart
        ("Document 1, Document x, Document y", {0, 1, 2}),
        ("Document 9, Document 2", {1}),
        ("document 3", set()),
        ("", set()),
    ],
)
def test_what_the_published_code_selects(text, selected):
    scores = parse_selection(text, 5, 2, compat="upstream").scores
    assert {i for i, score in enumerate(scores) if score} == selected


TOKENS = st.sampled_from(
    ["Document ", "document", "1", "2", "99", "0", ", ", ".", ":", "\n", "and ", "<think>", "</think>", "²", "x"]
)


@given(st.lists(TOKENS, max_size=14).map("".join), st.integers(0, 6), st.integers(1, 4))
def test_whatever_is_said_a_permutation_and_a_score_for_each(text, n, pick):
    for compat in ("rankrl", "upstream"):
        reading = parse_selection(text, n, pick, compat=compat)
        assert sorted(reading.ranking.order) == list(range(n))
        assert len(reading.scores) == n and set(reading.scores) <= {0.0, 1.0}
        selected = int(sum(reading.scores))
        assert reading.report.unreadable == (n > 0 and selected == 0)
        assert {i for i, score in enumerate(reading.scores) if score} == set(reading.ranking.order[:selected])


@pytest.mark.parametrize("template", variants("tourrank"))
@given(st.permutations(range(1, 11)), st.integers(1, 10))
def test_the_ideal_answer_is_read_back(template, labels, pick):
    reranker = TourRank(template=template, pick=pick)
    reading = reranker.parse(reranker.spell(labels[:pick]), 10)
    assert {i + 1 for i, score in enumerate(reading.scores) if score} == set(labels[:pick])
    assert reading.report.clean


def picks(request):
    return int(re.search(r"Name the (\d+) most", request.prompt[-1]["content"])[1])


class Selector(Oracle):
    def _answer(self, request):
        labels = self.say_labels(request)
        return Answer(TourRank().spell(labels[: picks(request)]))

    def say_labels(self, request):
        self.say = lambda labels: " ".join(labels)
        return super()._answer(request).text.split()


@pytest.mark.parametrize("template", variants("tourrank"))
def test_one_tournament_gives_the_published_points(template):
    listing = CandidateList(Query("q", "?"), tuple(Candidate(f"d{g}", f"grade {g} x") for g in range(99, -1, -1)))
    reranker = TourRank(template=template)
    (ranking,) = drive([reranker.order(listing)], oracle := Selector(None, label=LABEL))
    assert Counter(ranking.scores) == {0: 50, 1: 30, 2: 10, 3: 5, 4: 3, 5: 2}
    assert ranking.order == tuple(range(100))
    assert len(oracle.requests) == 13 == reranker.plan(100).calls_max
    asked = Counter((len(request.shown), picks(request)) for request in oracle.requests)
    assert asked == {(20, 10): 6, (10, 4): 5, (10, 5): 1, (5, 2): 1}
    assert reranker.plan(100).depth == 5


def test_the_two_best_of_any_order_win_and_rounds_add_up():
    for seed in range(5):
        listing = graded(100, seed)
        (ranking,) = drive([TourRank(rounds=2).order(listing)], oracle := Selector(None, label=LABEL))
        assert set(ranking.docids(listing)[:2]) == set(best_first(listing)[:2])
        assert len(oracle.requests) == 26
        assert sum(ranking.scores) == 2 * 87


def test_the_seed_decides_the_order_inside_the_groups():
    def shown(seed):
        drive([TourRank(seed=seed).order(graded(40))], oracle := Selector(None, label=LABEL))
        return [request.shown.docids for request in oracle.requests]

    assert shown(1) == shown(1) != shown(2)
    assert set(map(frozenset, shown(1))) == set(map(frozenset, shown(2)))


def test_stages_of_ones_own():
    reranker = TourRank(stages=[[3, 4], [1, 3]])
    assert reranker.shown == 34
    (ranking,) = drive([reranker.order(graded(30))], oracle := Selector(None, label=LABEL))
    assert sum(ranking.scores) == 15
    assert [(len(r.shown), picks(r)) for r in oracle.requests] == [(10, 4)] * 3 + [(12, 3)]
    assert reranker.plan(30).calls_max == 4
    assert dataclasses.replace(reranker, stages=None).shown == 20
    assert reranker == TourRank(stages=((3, 4), (1, 3))) and hash(reranker)  # a card brings lists


@pytest.mark.parametrize(("stages", "shown"), [(((20, 5), (1, 2)), 100), (((7, 1), (1, 2)), 15), (((1, 100),), 1)])
def test_the_largest_group_may_be_that_of_a_later_stage(stages, shown):
    assert TourRank(stages=stages).shown == shown


def test_no_stage_at_all_is_refused_before_anything_is_asked():
    with pytest.raises(ConfigError, match="stages is empty"):
        TourRank(stages=())


@pytest.mark.parametrize("compat", ["rankrl", "upstream"])
def test_when_nothing_can_be_read_the_first_stage_order_comes_out(compat):
    (ranking,) = drive([TourRank(compat=compat).order(graded(77))], Saying("I cannot."))
    assert ranking.order == tuple(range(77))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rounds": 0}, "rounds must be"),
        ({"pick": 0}, "pick must be"),
        ({"pick": 2.5}, "pick must be"),
        ({"stages": [[5, 0]]}, "stages must be \\[groups, pick\\] pairs of 1 or more"),
        ({"stages": [5, 10]}, "stages must be \\[groups, pick\\] pairs, got \\[5, 10\\]"),
        ({"stages": "ab"}, "stages must be"),
        ({"template": "turn"}, "no template of tourrank 'turn'"),
    ],
)
def test_a_field_out_of_range_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        TourRank(**wrong)
