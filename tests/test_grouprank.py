"""GroupRank: grades of a group read entry by entry, mean over rounds, the first stage's share."""

from __future__ import annotations

import json
import math
import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.contracts import reading_of, request_of
from rankrl.engines.drive import drive
from rankrl.errors import ConfigError
from rankrl.parsing.grades import parse_grades, parse_grades_upstream
from rankrl.rerankers.grouprank import GroupRank
from rankrl.types import Answer, Candidate, CandidateList, ParseReport, Query

BOTH = (parse_grades, parse_grades_upstream)


def listing(n, scores=None):
    scores = scores or [None] * n
    return CandidateList(
        Query("q", "who?"), tuple(Candidate(f"d{i}", f"text number {i}", score=s) for i, s in enumerate(scores))
    )


class Grading:
    """Grades documents by a function of (docid, how many prompts it has been in); None leaves one out."""

    def __init__(self, grade):
        self.grade, self.calls, self.seen = grade, 0, {}

    def generate(self, requests, on_answer=None):
        self.calls += len(requests)
        return [self.answer(request) for request in requests]

    def answer(self, request):
        lines = []
        for label, candidate in enumerate(request.shown.candidates, start=1):
            turn = self.seen[candidate.docid] = self.seen.get(candidate.docid, -1) + 1
            if (grade := self.grade(candidate.docid, turn)) is not None:
                lines.append(f'"[{label}]": {grade}')
        return Answer("<reason>r</reason><answer>```json\n{" + ", ".join(lines) + "}\n```</answer>")


def test_the_prompt_has_the_parts_of_the_protocol_in_order():
    system, user = GroupRank().prompt(listing(2))
    assert (system["role"], user["role"]) == ("system", "user")
    parts = ["2 documents", "Query:\nwho?", "Documents:\n[1]. text number 0\n\n[2]. text number 1\n", "<reason>", "</reason>",
             "<answer>\n```json\n{", '"[1]": ', "```\n</answer>"]  # fmt: skip
    places = [user["content"].rindex(part) for part in parts]
    assert places == sorted(places)
    assert all(band in system["content"] for band in ("9 to 10", "7 to 8", "5 to 6", "3 to 4", "1 to 2", "0:"))


def test_documents_are_cut_by_characters_on_one_line():
    long = CandidateList(Query("q", "who?"), (Candidate("a", "x" * 5000), Candidate("b", "one\n\ntwo")))
    content = GroupRank().prompt(long)[1]["content"]
    assert f"[1]. {'x' * 3000}\n\n[2]. one two\n" in content
    assert "[1]. xxxx\n" in GroupRank(passage_chars=4).prompt(long)[1]["content"]


def test_the_ideal_answer_is_clean():
    reading = parse_grades(GroupRank().spell([3, 10, 0], "because"), 3)
    assert reading.report.clean
    assert (reading.scores, reading.ranking.order, reading.reasoning) == ((0.3, 1.0, 0.0), (1, 0, 2), "because")


J = '{"[1]": 8, "[2]": 3, "[3]": 10}'


@pytest.mark.parametrize(
    "text",
    [
        f"<answer>{J}</answer>",
        f"<answer>```json\n{J}\n```",
        f"```json\n{{}}\n``` no, rather ```json\n{J}\n```",
        f"I say {{...}} {J}",
        J.replace("[1]", "[1]]"),
        J.rstrip("}"),
        J.replace(", ", ",\n ,"),
        J.replace('"[', "").replace(']"', ""),
        J.replace('"', "'"),
        J.replace(']"', '] "'),
        J.replace('"[', '" [').replace(']"', ' ]"'),
        J.replace(']":', "]”：").replace('"[', "“["),
        J.replace("8", "“8”"),
        J.replace("8", '"8"'),
        J.replace("8", "8/10"),
        J.replace("}", ',"[4]": 9}'),
        J.replace("}", ',"[0]": 9}'),
        J.replace("}", ',"[x]": 9, "best": 3}'),
        J.replace("10", "11"),
        J.replace("8", "8.0"),
        f'<reason>[1]: 1, {{"[1]": 0}} <answer>{{"[1]": 0}}</answer></reason>{J}',
        f'<think><answer>{{"[1]": 0}}</answer></think><answer>{J}</answer>',
        f"<answer>{J}</answer><reason>afterwards</reason>",
        f"<answer>{J[1:-1]}</answer>",
        f"{J}<reason>that is cut off here",
    ],
)
def test_whatever_is_broken_around_them_the_entries_are_read(text):
    reading = parse_grades(text, 3)
    assert reading.scores == (0.8, 0.3, 1.0)
    assert reading.ranking.order == (2, 0, 1)
    assert reading.report.status == "repaired"


def test_what_is_wrong_is_counted_and_costs_nothing_else():
    reading = parse_grades('<answer>{"[1]": 4, "[1]": 9, "[7]": 3, "[2]": "bad", "[3]": -2}</answer>', 4)
    assert reading.scores == (0.4, None, 0.0, None)
    assert reading.ranking.order == (0, 2, 1, 3)
    assert reading.report == ParseReport(repeated=1, out_of_range=1, missing=2, malformed=True)


def test_labels_just_out_of_range_are_counted():
    reading = parse_grades('{"[0]": 4, "[2]": 9, "[3]": 9, "[1]": 1}', 2)
    assert reading.scores == (0.1, 0.9)
    assert reading.report == ParseReport(out_of_range=2, malformed=True)


@pytest.mark.parametrize("text", ["", "no", "{}", "[1]: 3", "<answer>{}</answer>", '<reason>{"[1]": 3}</reason>',
                                  '<reason>{"[1]": 3}', '{"[9]": 3}', '{"[1]": {"score": 3}}'])  # fmt: skip
def test_without_an_entry_the_answer_is_unreadable(text):
    reading = parse_grades(text, 2)
    assert reading.report.unreadable and reading.ranking.order == (0, 1) and reading.scores == (None, None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"[1]": 8, "[2]": 3}', (0.8, 0.3, None)),
        ('{"[1]]": 8, "[2]": 3', (0.8, 0.3, None)),
        ('{"[1]": 12}', (1.2, None, None)),
        ('{"[1]": 8, "[0]": 3}', (0.8, None, 0.3)),
        ('{"[1]": 8, "[4]": 3}', (0.0, 0.0, 0.0)),
        ('{"[1]": 8, "[2]": "good"}', (0.0, 0.0, 0.0)),
        ('{"[1]": 8, "[2]": NaN}', (0.0, 0.0, 0.0)),
        ('{"[1]": 8, "[2]": "-inf"}', (0.0, 0.0, 0.0)),
        ('{"[ 1 ] ": 8, "[2]": 3}', (0.8, 0.3, None)),
        ("nothing", (0.0, 0.0, 0.0)),
        ("[" * 100_000, (0.0, 0.0, 0.0)),
    ],
)
def test_upstream_scores_the_whole_group_zero_for_one_fault(text, expected):
    reading = parse_grades_upstream(f"<answer>{text}</answer>", 3)
    assert reading.scores == expected
    assert not reading.report.unreadable, "the zeros have to enter the mean"
    assert reading.report.status == ("repaired" if None in expected or not any(expected) else "ok")


@pytest.mark.parametrize("parse", BOTH)
@pytest.mark.parametrize(
    "piece",
    ["[", "{", "[{", '{"[1]":', '"', "```json", "<answer>", "<reason>", "</reason>", "1", " ", "[ ", '"[1]": 1,', ":"],
)
def test_a_hundred_kilobytes_of_anything_take_no_time(parse, piece):
    text = (piece * 100_000)[:100_000]
    best = min(_seconds(parse, text) for _ in range(3))
    assert best < 0.05


def _seconds(parse, text):
    start = time.process_time()  # that of this process, not of its neighbours
    parse(text, 20)
    return time.process_time() - start


TAGS = [
    "<answer>",
    "</answer>",
    "<reason>",
    "</reason>",
    "```json",
    "```",
    "{",
    "}",
    "[",
    "]",
    '"',
    ":",
    ",",
    " ",
    "\n",
]
NUMBERS = ["1", "2", "10", "-3", ".5", "99", "²", "\u0663", "\ud800", "nan", "1e9", "null"]
PIECES = st.sampled_from([*TAGS, *NUMBERS])


@pytest.mark.parametrize("parse", BOTH)
@given(text=st.lists(PIECES, max_size=60).map("".join), n=st.integers(0, 4))
def test_any_text_gives_an_order_and_a_score_per_candidate(parse, text, n):
    reading = parse(text, n)
    assert sorted(reading.ranking.order) == list(range(n))
    assert len(reading.scores) == n
    if parse is parse_grades:
        assert all(score is None or 0 <= score <= 1 for score in reading.scores)
        assert reading.report.missing == reading.scores.count(None)


@given(st.dictionaries(st.integers(1, 6), st.integers(0, 10), min_size=1))
def test_valid_json_is_read_as_json_reads_it(grades):
    text = json.dumps(
        {f"[{label}]": grade for label, grade in grades.items()}, indent=random.Random(0).choice([None, 2])
    )
    for parse in BOTH:
        expected = tuple(grades[label] / 10 if label in grades else None for label in range(1, 7))
        assert parse(f"<reason>r</reason><answer>\n```json\n{text}\n```\n</answer>", 6).scores == expected


@pytest.mark.parametrize(("n", "calls"), [(1, 1), (19, 1), (20, 1), (40, 2), (50, 3), (100, 5)])
def test_the_calls_of_one_round_and_of_six(n, calls):
    for rounds in (1, 6):
        reranker = GroupRank(rounds=rounds)
        drive([reranker.order(listing(n))], engine := Grading(lambda docid, turn: 5))
        assert engine.calls == reranker.plan(n).calls_max == calls * rounds


def test_scores_are_the_mean_of_the_rounds_that_graded():
    grades = {"d0": [5, None], "d1": [8, 6]}
    (ranking,) = drive(
        [GroupRank(rounds=2, seed=1).order(listing(2))], Grading(lambda docid, turn: grades[docid][turn])
    )
    assert ranking.order == (1, 0)
    assert ranking.scores == pytest.approx((0.5, 0.7))


def test_a_round_that_fails_is_no_observation_and_upstream_counts_it_zero():
    class Failing(Grading):
        def answer(self, request):
            return super().answer(request) if self.seen.get("d0") is None else Answer("sorry")

    for compat, expected in (("rankrl", 0.8), ("upstream", 0.4)):
        (ranking,) = drive([GroupRank(rounds=2, seed=1, compat=compat).order(listing(2))], Failing(lambda *_: 8))
        assert ranking.scores == pytest.approx((expected, expected))


def test_the_first_stages_share_as_it_is_and_mapped_to_one():
    grades = {"d0": 7, "d1": 5, "d2": 5}
    given = listing(3, [0.3, 0.9, 0.1])

    def ranked(reranker):
        (ranking,) = drive([reranker.order(given)], Grading(lambda docid, turn: grades[docid]))
        return ranking

    raw = ranked(GroupRank(first_stage=0.4, compat="upstream"))
    assert raw.scores == pytest.approx((0.54, 0.66, 0.34)) and raw.order == (1, 0, 2)
    mapped = ranked(GroupRank(first_stage=0.4))
    assert mapped.scores == pytest.approx((0.42 + 0.4 * 0.25, 0.7, 0.3)) and mapped.order == (1, 0, 2)
    assert ranked(GroupRank()).order == (0, 1, 2)


def test_bm25_scores_do_not_drown_the_grades_and_missing_ones_are_left_out():
    for scores, expected in (
        ([30.0, 10.0], (0.4, 0.6)),
        ([30.0, None], (0.0, 1.0)),
        ([math.inf, 1.0], (0.0, 1.0)),
        ([1.0, math.nan], (0.0, 1.0)),
        ([3.0, 3.0], (0.0, 0.6)),
    ):
        (ranking,) = drive(
            [GroupRank(first_stage=0.4).order(listing(2, scores))], Grading(lambda docid, turn: 10 * (docid == "d1"))
        )
        assert ranking.scores == pytest.approx(expected) and ranking.order == (1, 0)


def test_who_was_never_graded_follows_even_with_a_first_stage_share():
    (ranking,) = drive(
        [GroupRank(first_stage=1.0).order(listing(3, [9.0, 5.0, 7.0]))],
        Grading(lambda docid, turn: None if docid == "d0" else 0),
    )
    assert ranking.order == (2, 1, 0) and ranking.scores[0] is None


def test_an_oracle_that_reads_the_prompt_orders_a_hundred():
    grades = [random.Random(1).randint(0, 10) for _ in range(100)]
    texts = CandidateList(Query("q", "?"), tuple(Candidate(f"d{i}", f"worth {g}") for i, g in enumerate(grades)))

    class Oracle:
        def generate(self, requests, on_answer=None):
            found = [re.findall(r"\[\d+\]\. worth (\d+)", request.prompt[1]["content"]) for request in requests]
            return [Answer(GroupRank().spell([int(grade) for grade in one])) for one in found]

    (ranking,) = drive([GroupRank(rounds=2).order(texts)], Oracle())
    assert list(ranking.order) == sorted(range(100), key=lambda i: (-grades[i], i))


def test_readings_count_groups():
    group = listing(3)
    request = request_of(GroupRank(), group)
    assert request.shown is group
    assert reading_of(GroupRank(), Answer("?"), 3).report.status == "failed"


@pytest.mark.parametrize(
    "wrong",
    [{"group_size": 0}, {"rounds": 0}, {"interval": 21}, {"interval": 0}, {"seed": "x"}, {"first_stage": 1.5},
     {"first_stage": True}, {"compat": "raw"}, {"passage_chars": 0}],
)  # fmt: skip
def test_a_field_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=f"grouprank: {next(iter(wrong))} must be"):
        GroupRank(**wrong)
