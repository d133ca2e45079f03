"""Listwise: prompts in one turn and in many, both rules of reading, windows of rank_llm and of RankGPT."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.engines.drive import drive
from rankrl.errors import ConfigError
from rankrl.rerankers._templates import variants
from rankrl.rerankers.listwise import Listwise
from rankrl.types import Candidate, CandidateList, Query

sys.path.insert(0, str(Path(__file__).resolve().parent))
from graded import Oracle, Saying, best_first, graded

LISTING = CandidateList(
    Query("q1", "who wrote faust?"),
    (Candidate("d7", "Goethe wrote it.", "Faust"), Candidate("d3", "A river\nin two lines."), Candidate("d9", "")),
)


@pytest.mark.parametrize("template", ["rank_zephyr", "opened"])
def test_the_parts_of_the_prompt_in_one_turn(template):
    system, user, *begun = Listwise(template=template).prompt(LISTING)
    assert (system["role"], user["role"]) == ("system", "user")
    assert begun == ([{"role": "assistant", "content": "["}] if template == "opened" else [])
    parts = [" 3 passages", "who wrote faust?\n", "\n[1] Faust Goethe wrote it.\n[2] A river in two lines.\n[3]\n"]
    parts += ["\nSearch Query: who wrote faust?\n", "all 3 passages", "[] > []", "[4] > [2]"]
    places = [user["content"].index(part) for part in parts]
    assert places == sorted(places)


def test_a_turn_per_passage_each_acknowledged():
    messages = Listwise(template="rankgpt").prompt(LISTING)
    roles = [message["role"] for message in messages]
    assert roles == ["system", "user", "assistant", *["user", "assistant"] * 3, "user"]
    shown = [message["content"] for message in messages[3:9:2]]
    assert shown == ["[1] Faust Goethe wrote it.", "[2] A river in two lines.", "[3]"]
    assert [message["content"] for message in messages[4:9:2]] == [f"Passage [{i}] has arrived." for i in (1, 2, 3)]
    assert " 3 passages" in messages[1]["content"] and "who wrote faust?" in messages[1]["content"]
    assert messages[-1]["content"].startswith("Search Query: who wrote faust?\n")
    assert "[] > []" in messages[-1]["content"]


def test_passages_are_cut_at_three_hundred_words_and_then_by_the_clip():
    listing = CandidateList(Query("q", "w " * 600), (Candidate("a", "v " * 600), Candidate("b", "")))
    first, _, query = Listwise(template="brief").prompt(listing)[0]["content"].splitlines()
    assert (first.count("v"), query.count("w")) == (300, 512)
    by_letters = Listwise(template="brief", passage_tokens=5, query_tokens=3, clip=lambda text, n: text[:n])
    assert by_letters.prompt(listing)[0]["content"].splitlines() == ["[1] v v v", "[2]", "Query: w w"]


@pytest.mark.parametrize(
    ("text", "ours", "upstream"),
    [
        ("[3] > [1] > [2]", (2, 0, 1), (2, 0, 1)),
        ("3] > [1] > [2]", (2, 0, 1), (2, 0, 1)),
        ("1. [3]\n2. [1]", (2, 0, 1), (0, 2, 1)),
        ("Of the 3 passages: [2] > [1]", (1, 0, 2), (2, 1, 0)),
        ("<think>[3]</think>[2] > [1]", (1, 0, 2), (1, 0, 2)),
        ("", (0, 1, 2), (0, 1, 2)),
    ],
)
def test_by_brackets_or_by_all_digits(text, ours, upstream):
    assert Listwise().parse(text, 3).ranking.order == ours
    assert Listwise(compat="upstream").parse(text, 3).ranking.order == upstream


def test_upstreams_rule_keeps_what_follows_a_thought_that_never_ends():
    text = "<think>[4]</think>[2] > <think>[3]"
    ours, upstream = (Listwise(compat=compat).parse(text, 4) for compat in ("rankrl", "upstream"))
    assert (ours.ranking.order, ours.reasoning) == ((1, 0, 2, 3), "[4]\n[3]")
    assert (upstream.ranking.order, upstream.reasoning) == ((1, 2, 0, 3), "[4]")


@pytest.mark.parametrize("template", variants("listwise"))
@given(st.permutations(range(1, 8)))
def test_the_ideal_answer_is_read_back(template, labels):
    reranker = Listwise(template=template)
    begun = "[" if template == "opened" else ""
    spelled = reranker.spell(labels)
    assert begun + spelled == " > ".join(f"[{label}]" for label in labels)
    reading = reranker.parse(spelled, 7)
    assert reading.ranking.order == tuple(label - 1 for label in labels)
    assert reading.report.status == ("repaired" if begun else "ok")


@pytest.mark.parametrize("template", variants("listwise"))
@pytest.mark.parametrize(("passes", "top"), [(1, 10), (2, 20)])
def test_every_pass_brings_the_next_ten_up(template, passes, top):
    listing, reranker = graded(100), Listwise(template=template, passes=passes)
    (ranking,) = drive([reranker.order(listing)], Oracle(lambda labels: " > ".join(f"[{i}]" for i in labels)))
    assert ranking.docids(listing)[:top] == best_first(listing)[:top]


@pytest.mark.parametrize(
    ("n", "ours", "rankgpt"), [(5, 1, 0), (20, 1, 1), (21, 2, 1), (25, 2, 1), (95, 9, 8), (99, 9, 8), (100, 9, 9)]
)
def test_the_windows_of_rank_llm_and_of_rankgpt(n, ours, rankgpt):
    for options, calls in (
        ({}, ours),
        ({"template": "rankgpt"}, ours),
        ({"compat": "upstream"}, ours),
        ({"template": "rankgpt", "compat": "upstream"}, rankgpt),
    ):
        reranker, engine = Listwise(**options), Saying("")
        (ranking,) = drive([reranker.order(graded(n))], engine)
        assert ranking.order == tuple(range(n))
        assert engine.asked == calls == reranker.plan(n).calls_max, options


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"window": 1, "stride": 1}, "window must be 2 or more"),
        ({"window": 5}, "stride must be at most window=5, got 10"),
        ({"passage_words": 0}, "passage_words must be"),
        ({"compat": "rankgpt"}, "compat must be one of"),
        ({"template": "zephyr"}, "no template of listwise 'zephyr'"),
    ],
)
def test_a_field_out_of_range_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=f"(listwise: )?{message}"):
        Listwise(**wrong)
