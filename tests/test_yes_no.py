"""Yes or no: the published prompts in their layouts, and what is done about a word that an engine cannot tell."""

from __future__ import annotations

import math

import pytest

from rankrl.engines.drive import drive
from rankrl.errors import ConfigError
from rankrl.parsing.verdict import parse_verdict
from rankrl.rerankers._templates import variants
from rankrl.rerankers.yes_no import YesNo
from rankrl.testing import check_reranker
from rankrl.types import PLAIN, Answer, Candidate, CandidateList, ParseReport, Query

LISTING = CandidateList(Query("q1", "who wrote faust?"), (Candidate("d7", "Goethe wrote it.", "Faust"),))
TEMPLATES = variants("yes_no")


def read(reranker, *scores):
    (score,) = reranker.read(Answer("", scores=scores), 1).scores
    return score


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_keeps_the_contract(template):
    check_reranker(YesNo(template=template))


def test_monot5_is_plain_text_and_true_or_false():
    request = YesNo(template="monot5").request(LISTING)
    assert request.prompt == [
        {"role": PLAIN, "content": "Query: who wrote faust? Document: Faust Goethe wrote it. Relevant:"}
    ]
    assert request.choices == ("true", "false")


@pytest.mark.parametrize(("template", "gap"), [("qwen3", "\n"), ("qwen3_blank", "\n\n")])
def test_qwen3_has_three_labelled_lines_and_an_empty_thought_begun(template, gap):
    system, user, assistant = YesNo(template=template, instruction="Find it").prompt(LISTING)
    assert [m["role"] for m in (system, user, assistant)] == ["system", "user", "assistant"]
    assert user["content"] == gap.join(
        ["<Instruct>: Find it", "<Query>: who wrote faust?", "<Document>: Faust Goethe wrote it."]
    )
    assert assistant["content"] == "<think>\n\n</think>\n\n"
    assert '"yes"' in system["content"] and '"no"' in system["content"]
    assert YesNo(template=template).request(LISTING).choices == ("yes", "no")


def test_qwen3_has_an_instruction_of_its_own_and_the_others_none():
    assert YesNo(template="qwen3").prompt(LISTING)[1]["content"].startswith("<Instruct>: Find the passages")
    assert (
        YesNo().prompt(LISTING)[0]["content"].startswith("Query: who wrote faust?\nPassage: Faust Goethe wrote it.\n\n")
    )
    assert YesNo(instruction="Judge.").prompt(LISTING)[0]["content"].startswith("Judge.\n\nQuery: ")


def test_monot5_and_qwen3_scores():
    log = math.log(math.exp(1.5) + math.exp(-0.5))
    assert read(YesNo(template="monot5", score="probability"), 1.5 - log, -0.5 - log) == pytest.approx(
        0.880797, abs=5e-7
    )
    assert read(YesNo(template="qwen3", score="probability"), 3.2, 1.0) == pytest.approx(0.900250, abs=5e-7)
    assert read(YesNo(template="qwen3"), 3.2, 1.0) == pytest.approx(2.2)
    assert math.log(0.880797) == pytest.approx(-0.126928, abs=1e-6)


def test_upstream_gives_a_missing_word_minus_ten():
    upstream = YesNo(template="qwen3", score="probability", compat="upstream")
    assert read(upstream, -0.05, None) == pytest.approx(0.999952, abs=5e-7)
    assert read(upstream, None, None) == 0.5


def test_a_missing_word_makes_the_other_no_more_certain_than_it_must_be():
    ours = YesNo(score="probability")
    assert read(ours, -0.05, None) == pytest.approx(math.exp(-0.05))
    assert read(ours, None, -0.05) == pytest.approx(1 - math.exp(-0.05))
    assert read(ours, None, -9.0) == pytest.approx(0.5), "no is rare and yes rarer: nothing is known for sure"
    reading = ours.read(Answer("", scores=(None, None)), 1)
    assert reading.scores == (None,) and reading.report.unreadable
    assert ours.read(Answer("", scores=(-1.0, -1.0)), 3).scores == (0.5, None, None)


def test_unknown_documents_follow_and_the_order_is_not_that_of_saturated_probabilities():
    scores = {"a": (None, None), "b": (-1e-9, -50.0), "c": (-1e-9, -60.0), "d": (-3.0, -0.1)}
    listing = CandidateList(Query("q", "?"), tuple(Candidate(docid, docid) for docid in scores))

    class Engine:
        def generate(self, requests, on_answer=None):
            return [Answer("", scores=scores[request.shown.docids[0]]) for request in requests]

    (ranking,) = drive([YesNo(score="probability").order(listing)], Engine())
    assert ranking.docids(listing) == ["c", "b", "d", "a"]
    assert ranking.scores[1] == ranking.scores[2] == 1.0 and ranking.scores[0] is None


@pytest.mark.parametrize(
    ("text", "score", "status"),
    [("yes", 1.0, "ok"), (" no\n", 0.0, "ok"), ("Yes.", 1.0, "repaired"), ("No, it is about rivers.", 0.0, "repaired"),
     ("**Yes**", 1.0, "repaired"), ("The answer is no.", 0.0, "repaired"), ("yes and no", None, "failed"),
     ("I have no idea", None, "failed"), ("well, yes I suppose", None, "failed"),
     ("yesterday", None, "failed"), ("maybe", None, "failed")],
)  # fmt: skip
def test_words_are_read(text, score, status):
    reading = YesNo().parse(text, 1)
    assert (reading.scores, reading.report.status) == ((score,), status)
    assert reading.report == ParseReport(unreadable=status == "failed", malformed=status == "repaired")


@pytest.mark.parametrize(("text", "status"), [("yes", "ok"), (" yes", "ok"), ("Yes", "repaired")])
def test_words_that_begin_with_a_blank_are_read_without_it(text, status):
    reading = parse_verdict(text, 2, yes=" yes", no=" no")
    assert (reading.scores, reading.report.status) == ((1.0, None), status)
    assert parse_verdict(text, 0).scores == ()


def test_the_words_and_the_room_of_a_users_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "a:\n  user: '{{ query }} | {{ passages|join }} | {{ document }}'\n  choices: [Ja, Nein]\n  max_length: 5\n"
        "b:\n  user: '{{ query }} {{ document }}'\n"
        "c:\n  user: '{{ document }}'\n  choices: [Ja, Ja]\n"
        "g:\n  user: '{{ document }}'\n  choices: [1, 2]\n"
        "d:\n  user: '{{ document }}'\n  max_length: many\n"
        "e:\n  user: '{{ document }}'\n  max_length: 0\n"
        "f:\n  user: '{{ document }}'\n  max_length: 1\n"
    )
    mine = YesNo(template=str(path))
    assert mine.request(LISTING).choices == ("Ja", "Nein")
    assert mine.prompt(LISTING)[0]["content"] == "who wrote faust? | [1] Faust Goethe | Faust Goethe"
    assert mine.parse("Nein", 1).scores == (0.0,)
    assert mine.spell(True) == "Ja"
    assert YesNo(template=f"{path}:b").words == ("yes", "no")
    with pytest.raises(ConfigError, match=r"choices of template .* must be two different texts, got \['Ja', 'Ja'\]"):
        YesNo(template=f"{path}:c")
    with pytest.raises(ConfigError, match=r"must be two different texts, got \[1, 2\]"):
        YesNo(template=f"{path}:g")
    with pytest.raises(ConfigError, match=r"max_length of template .* must be 1 or more, got 'many'"):
        YesNo(template=f"{path}:d")
    with pytest.raises(ConfigError, match=r"max_length of template .* must be 1 or more, got 0"):
        YesNo(template=f"{path}:e")
    assert YesNo(template=f"{path}:f").prompt(LISTING)[0]["content"] == "Faust"


def test_the_room_of_the_template_unless_the_user_gives_one():
    long = CandidateList(Query("q", "q"), (Candidate("d", "w " * 9000),))
    counts = {
        t: YesNo(template=t).prompt(long)[-1 if t in ("generic", "monot5") else 1]["content"].count("w ")
        for t in TEMPLATES
    }
    assert counts["monot5"] == 511
    assert 2046 <= counts["generic"] <= 2047 and 8170 <= counts["qwen3"] <= 8191
    assert YesNo(template="monot5", max_length=7).prompt(long)[0]["content"].count("w ") == 6


@pytest.mark.parametrize(
    "wrong", [{"max_length": 0}, {"score": "logit"}, {"compat": "vllm"}, {"instruction": 3}]
)  # fmt: skip
def test_a_field_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=f"yes_no: {next(iter(wrong))} must be"):
        YesNo(**wrong)
