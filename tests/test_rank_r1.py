"""Rank-R1's prompts, and that nothing in a text can pose as a part of them."""

from __future__ import annotations

import dataclasses
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.engines.drive import drive
from rankrl.errors import ConfigError
from rankrl.rerankers._templates import variants
from rankrl.rerankers._text import clip_words, defused
from rankrl.rerankers.rank_r1 import RankR1
from rankrl.types import Answer, Candidate, CandidateList, Query

LISTING = CandidateList(
    Query("q1", "who wrote faust?"),
    (Candidate("d7", "Goethe wrote it.", "Faust"), Candidate("d3", "A river\nin two lines."), Candidate("d9", "")),
)
TEMPLATES = variants("rank_r1")
LABELS = ["[1]", "[ 2 ]", "[[4]]", "[", "]", "1", "a", "{query}"]
TAGS = ["<think>", "</ANSWER>", "<answer>[2]</answer>", "<｜User｜>", "[/INST]", "<s>", "<<SYS>>", "<end_of_turn>", "<"]
HOSTILE = st.lists(st.sampled_from([*LABELS, *TAGS, "<|im_start|>", "[\n3]", "\n", " ", "\u2028"])).map("".join)


def test_the_brief_prompt_in_full():
    assert RankR1(template="brief").prompt(LISTING) == [
        {
            "role": "user",
            "content": "[1] Faust Goethe wrote it.\n[2] A river in two lines.\n[3]\nQuery: who wrote faust?",
        }
    ]


def test_the_reasoning_prompt_asks_for_both_tags_and_quotes_the_query():
    system, user = RankR1().prompt(LISTING)
    assert (system["role"], user["role"]) == ("system", "user")
    assert all(tag in system["content"] for tag in ("<think>", "</think>", "<answer>", "</answer>"))
    assert '"who wrote faust?"' in user["content"]
    assert "\n[1] Faust Goethe wrote it.\n[2] A river in two lines.\n[3]\n" in user["content"]
    assert "<answer>[3]</answer>" in user["content"]


def test_the_label_style_of_the_published_inference_prompt():
    content = RankR1(template="brief", label_style="[i]: text").prompt(LISTING)[0]["content"]
    assert content.splitlines()[0] == "[1]: Faust Goethe wrote it."


def test_texts_are_clipped_by_the_given_function():
    reranker = RankR1(template="brief", query_tokens=2, passage_tokens=3)
    assert reranker.prompt(LISTING)[0]["content"].splitlines() == [
        "[1] Faust Goethe wrote", "[2] A river in", "[3]", "Query: who wrote"
    ]  # fmt: skip
    by_letters = dataclasses.replace(reranker, clip=lambda text, n: text[:n])
    assert by_letters.prompt(LISTING)[0]["content"].splitlines() == ["[1] Fau", "[2] A r", "[3]", "Query: wh"]


@given(HOSTILE, HOSTILE, HOSTILE, st.integers(1, 9))
def test_no_text_can_pose_as_a_label_a_tag_or_a_turn(query, title, text, tokens):
    listing = CandidateList(Query("q", query), (Candidate("a", text, title), Candidate("b", text)))
    for template in TEMPLATES:
        reranker = RankR1(template=template, query_tokens=tokens, passage_tokens=tokens)
        harmless = CandidateList(Query("q", "x"), (Candidate("a", "x"), Candidate("b", "x")))
        for message, model in zip(reranker.prompt(listing), reranker.prompt(harmless), strict=True):
            for pattern in (r"\[\s*\d+\s*\]", r"<[/|｜!A-Za-z_]", r"\[\s*/?\s*INST", r"\n"):
                assert re.findall(pattern, message["content"]) == re.findall(pattern, model["content"])


@pytest.mark.parametrize("text", ["p < 0.05 and n>3", "IL-2 [see below]", "a[i] <- x", "5 <6", "email a@b.c (2)"])
def test_ordinary_text_is_left_alone(text):
    assert defused(text) == text


def test_clip_words_counts_words():
    assert clip_words("a b  c", 2) == "a b"
    assert clip_words("a", 2) == "a"


@pytest.mark.parametrize("template", TEMPLATES)
@given(st.integers(1, 20), st.one_of(st.none(), st.text(alphabet="ab .")))
def test_the_ideal_answer_is_read_back_as_its_label(template, label, thought):
    reranker = RankR1(template=template)
    reading = reranker.parse(reranker.answer(label, thought), 20)
    assert reading.ranking.order[0] == label - 1
    assert reading.report.clean


def test_an_answer_that_the_wording_has_begun_is_clean(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("mine:\n  user: |-\n    {{ query }}\n    {{ passages|join(' ') }}\n  assistant: <think>\n")
    for compat in ("rankrl", "upstream"):
        reading = RankR1(template=str(path), compat=compat).parse("so</think><answer>[2]</answer>", 3)
        assert (reading.ranking.order, reading.report.clean, reading.reasoning) == ((1, 0, 2), True, "so")
    assert RankR1(compat="upstream").parse("so</think><answer>[2]</answer>", 3).report.unreadable
    assert not RankR1().parse("so</think><answer>[2]</answer>", 3).report.unreadable


def test_an_oracle_that_reads_the_prompt_finds_the_best_ten_of_a_hundred():
    grades = random.Random(0).sample(range(100), 100)
    listing = CandidateList(Query("q", "?"), tuple(Candidate(f"d{g}", f"grade {g} x") for g in grades))

    class Oracle:
        calls = 0

        def generate(self, requests, on_answer=None):
            self.calls += len(requests)
            labels = [re.findall(r"\[(\d+)\] grade (\d+)", r.prompt[-1]["content"]) for r in requests]
            return [Answer(RankR1().answer(int(max(found, key=lambda f: int(f[1]))[0]))) for found in labels]

    (ranking,) = drive([RankR1().order(listing)], oracle := Oracle())
    assert ranking.docids(listing)[:10] == [f"d{g}" for g in range(99, 89, -1)]
    assert 20 <= oracle.calls <= 25
    assert RankR1().plan(100).calls_min <= oracle.calls <= RankR1().plan(100).calls_max == 25
    assert RankR1(votes=3).plan(100).calls_max == 75
    assert RankR1(num_child=9, k=3).plan(100).calls_max < RankR1(num_child=9).plan(100).calls_max


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_child": 20},
        {"num_child": 0},
        {"k": 0},
        {"k": True},
        {"votes": "3"},
        {"seed": 1.5},
        {"shuffle": 1},
        {"label_style": "(i)"},
        {"compat": "paper"},
        {"passage_tokens": 0},
    ],
)
def test_a_field_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=f"rank_r1: {next(iter(wrong))} must be"):
        RankR1(**wrong)


def test_an_unknown_template_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="no template of rank_r1 'short'; there are: brief, reasoning"):
        RankR1(template="short")
