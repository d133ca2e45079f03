"""PRP: pairs in both orders through every sort, in words and by log-probabilities, with scripted answers."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.engines.drive import drive
from rankrl.errors import ConfigError
from rankrl.rerankers._templates import variants
from rankrl.rerankers.prp import PRP
from rankrl.testing import check_reranker
from rankrl.types import PLAIN, Answer, Candidate, CandidateList, Query

SORTS = ("sliding", "heap", "allpair")
PAIR = CandidateList(Query("q", "who?"), (Candidate("a", "first one", "T"), Candidate("b", "second one")))


def listing(docids):
    return CandidateList(Query("q", "who?"), tuple(Candidate(docid, f"text {docid}") for docid in docids))


class Judge:
    """Answers pairs with `say(first docid, second docid)`: 0, 1, None (nothing readable), or two log-probabilities."""

    def __init__(self, say):
        self.say, self.prompts, self.rounds = say, 0, 0

    def generate(self, requests, on_answer=None):
        self.prompts, self.rounds = self.prompts + len(requests), self.rounds + 1
        return [self.answer(self.say(*request.shown.docids)) for request in requests]

    def answer(self, said):
        if isinstance(said, tuple):
            return Answer("", scores=said)
        return Answer("neither" if said is None else f" {'AB'[said]}")


def ranked(reranker, docids, say):
    candidates = listing(docids)
    (ranking,) = drive([reranker.order(candidates)], judge := Judge(say))
    return "".join(ranking.docids(candidates)), ranking, judge


TOY = {"ab": "b", "ba": "b", "ac": "a", "ca": "c", "ad": "a", "da": "a", "bc": "b", "cb": "b", "bd": None, "db": "b",
       "cd": "d", "dc": "d"}  # fmt: skip


def toy(first, second):
    winner = TOY[first + second]
    return None if winner is None else (first + second).index(winner)


def by_worth(worth):
    return lambda first, second: 0 if worth[first] > worth[second] else 1


def test_the_chat_prompt_ends_in_a_begun_answer():
    user, begun = PRP().prompt(PAIR)
    parts = [
        '"who?"',
        "Which one of these two",
        'Passage A: "T first one"',
        'Passage B: "second one"',
        "Passage A or Passage B",
    ]
    assert [user["content"].index(part) for part in parts] == sorted(user["content"].index(part) for part in parts)
    assert begun == {"role": "assistant", "content": " Passage:"}
    assert PRP().request(PAIR).choices == ()
    assert PRP(mode="scoring").request(PAIR).choices == (" A", " B")


def test_t5_gets_plain_text_and_a_begun_answer_for_its_decoder():
    plain, begun = PRP(template="t5").prompt(PAIR)
    assert plain == {"role": PLAIN, "content": PRP().prompt(PAIR)[0]["content"]}
    assert begun == {"role": "assistant", "content": "Passage"}


def test_duot5_asks_whether_the_first_is_the_more_relevant_one():
    request = PRP(template="duot5", mode="scoring").request(PAIR)
    text = "Query: who? Document0: T first one Document1: second one Relevant:"
    assert request.prompt == [{"role": PLAIN, "content": text}]
    assert request.choices == ("true", "false")


def test_texts_are_cut_in_both_places():
    reranker = PRP(query_tokens=1, passage_tokens=2, template="duot5", mode="scoring")
    assert reranker.prompt(PAIR)[0]["content"] == "Query: who? Document0: T first Document1: second one Relevant:"


def test_a_third_candidate_is_not_shown(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("a:\n  user: '{{ n }}: {{ passages|join }} {{ first }} {{ second }}'\n")
    three = CandidateList(PAIR.query, (*PAIR.candidates, Candidate("c", "third one")))
    for reranker in (PRP(), PRP(template=str(path))):
        assert reranker.prompt(three) == reranker.prompt(PAIR)


def test_all_pairs_of_the_toy():
    order, ranking, judge = ranked(PRP(sort="allpair"), "abcd", toy)
    assert (order, ranking.scores, judge.prompts, judge.rounds) == ("badc", (1.5, 2.5, 0.5, 1.5), 12, 1)
    assert sum(ranking.scores) == 6


def test_one_and_two_passes_over_the_toy():
    order, _, judge = ranked(PRP(passes=1), "abcd", toy)
    assert (order, judge.prompts) == ("badc", 6)
    assert ranked(PRP(passes=2, shrinking=False), "abcd", toy)[0] == "badc"


@pytest.mark.parametrize(("passes", "expected"), [(1, "eabcdgfh"), (2, "egabcdhf"), (3, "egcabhdf"), (8, "egchfdab")])
def test_sliding_over_eight(passes, expected):
    worth = dict(zip("abcdefgh", [1, 0, 5, 2, 7, 3, 6, 4], strict=True))
    for shrinking in (True, False):
        assert ranked(PRP(passes=passes, shrinking=shrinking), "abcdefgh", by_worth(worth))[0] == expected
    if passes == 1:
        assert ranked(PRP(passes=1), "abcdefgh", by_worth(worth))[2].prompts == 14


@pytest.mark.parametrize(("k", "expected", "prompts"), [(3, "6130245", 32), (7, "6134025", 44)])
def test_the_heap_of_seven(k, expected, prompts):
    worth = dict(zip("0123456", [2, 5, 1, 4, 3, 0, 6], strict=True))
    order, _, judge = ranked(PRP(sort="heap", k=k), "0123456", by_worth(worth))
    assert order == expected
    assert judge.prompts <= prompts, "equal prompts of one list are sent once"


def test_soft_points_of_a_pair():
    said = {"ab": (-0.4, -1.1), "ba": (-0.3, -1.5)}
    soft = PRP(mode="scoring", sort="allpair", soft=True)
    order, ranking, _ = ranked(soft, "ab", lambda a, b: said[a + b])
    assert ranking.scores == pytest.approx((0.449831, 1 - 0.449831), abs=5e-7) and order == "ba"
    single = PRP(mode="scoring", sort="allpair", soft=True, both_orders=False)
    assert ranked(single, "ab", lambda a, b: said[a + b])[1].scores[0] == pytest.approx(0.668188, abs=5e-7)
    hard = PRP(mode="scoring", sort="allpair")
    assert ranked(hard, "ab", lambda a, b: said[a + b])[1].scores == (0.5, 0.5), "the hard rule calls it a tie"


def test_duot5_with_both_orders_and_with_one():
    p = {"ab": 0.9, "ba": 0.2, "ac": 0.6, "ca": 0.5, "bc": 0.3, "cb": 0.8}
    duo = {"template": "duot5", "mode": "scoring", "sort": "allpair", "soft": True}

    def say(first, second):
        return math.log(p[first + second]), math.log1p(-p[first + second])

    order, ranking, judge = ranked(PRP(**duo), "abc", say)
    assert [2 * score for score in ranking.scores] == pytest.approx([2.8, 0.8, 2.4])
    assert (order, judge.prompts) == ("acb", 6)
    order, ranking, judge = ranked(PRP(**duo, both_orders=False), "abc", say)
    assert list(ranking.scores) == pytest.approx([1.5, 0.4, 1.1])
    assert (order, judge.prompts) == ("acb", 3)


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("mode", ["generation", "scoring"])
def test_a_model_that_always_prefers_one_place_leaves_the_first_stages_order(sort, mode):
    for place in (0, 1):
        said = place if mode == "generation" else ((-0.1, -2.0) if place == 0 else (-2.0, -0.1))
        assert ranked(PRP(sort=sort, mode=mode), "abcdefghijklmn", lambda a, b, said=said: said)[0] == "abcdefghijklmn"


def test_upstreams_heap_turns_the_list_upside_down_there():
    docids = [f"{i}" for i in range(1, 101)]
    candidates = listing(docids)
    (ranking,) = drive([PRP(sort="heap", compat="upstream").order(candidates)], Judge(lambda a, b: 0))
    assert ranking.docids(candidates)[:10] == ["1", "100", "99", "98", "97", "96", "95", "94", "93", "92"]


def test_upstreams_ties_follow_who_got_points_first():
    said = {"ab": 1, "ba": 0, "ac": 0, "ca": 1, "bc": 1, "cb": 0}  # b beats a, a beats c, c beats b: a circle
    upstream = ranked(PRP(sort="allpair", compat="upstream"), "abc", lambda a, b: said[a + b])[0]
    assert ranked(PRP(sort="allpair"), "abc", lambda a, b: said[a + b])[0] == "abc"
    assert upstream == "bac"


@pytest.mark.parametrize("sort", SORTS)
@given(st.permutations("abcdefgh"))
def test_a_perfect_judge_finds_the_best_three(sort, order):
    worth = {docid: i for i, docid in enumerate(order)}
    options = {"passes": 3} if sort == "sliding" else {"k": 3}
    found = ranked(PRP(sort=sort, **options), "abcdefgh", by_worth(worth))[0]
    assert found[:3] == "".join(reversed(order))[:3]
    if sort != "sliding":
        assert list(found[3:]) == sorted(found[3:])


@given(st.lists(st.sampled_from([0, 1, None]), min_size=30, max_size=30))
def test_swapping_all_answers_turns_the_points_around(said):
    answers = {
        (a, b): said[5 * i + (j if j < i else j - 1)]
        for i, a in enumerate("abcdef")
        for j, b in enumerate("abcdef")
        if a != b
    }
    points = ranked(PRP(sort="allpair"), "abcdef", lambda a, b: answers[a, b])[1].scores
    swapped = ranked(PRP(sort="allpair"), "abcdef", lambda a, b: None if answers[a, b] is None else 1 - answers[a, b])[
        1
    ].scores
    assert list(swapped) == [5 - s for s in points]


@pytest.mark.parametrize("sort", SORTS)
def test_a_third_of_the_answers_unreadable_still_gives_a_list_and_all_of_them_the_first_stages(sort):
    rng = random.Random(7)
    order = ranked(PRP(sort=sort), "abcdefghijkl", lambda a, b: rng.choice([0, 1, None]))[0]
    assert sorted(order) == list("abcdefghijkl")
    assert ranked(PRP(sort=sort), "abcdefghijkl", lambda a, b: None)[0] == "abcdefghijkl"


@pytest.mark.parametrize(
    ("sort", "options", "prompts"),
    [
        ("allpair", {}, 9900),
        ("allpair", {"both_orders": False}, 4950),
        ("sliding", {}, 1890),
        ("sliding", {"shrinking": False}, 1980),
    ],
)
def test_the_published_numbers_of_prompts_for_a_hundred(sort, options, prompts):
    assert PRP(sort=sort, **options).plan(100).calls_max == prompts


def test_the_heap_takes_about_five_hundred_and_fifty_prompts_for_a_hundred():
    plan = PRP(sort="heap").plan(100)
    assert 530 <= plan.calls_mean <= 575 and plan.shown == PRP.shown == 2
    assert PRP(sort="heap", k=3).plan(100).calls_mean < 480 and PRP(sort="heap", k=10).plan(100) == plan


@pytest.mark.parametrize(
    ("scores", "order", "kept", "tie"),
    [
        ((-1.0, -2.0), (0, 1), (-1.0, -2.0), False),
        ((-2.0, -1.0), (1, 0), (-2.0, -1.0), False),
        ((-1.0, -1.0), (0, 1), (-1.0, -1.0), True),
        ((None, None), (0, 1), None, True),
        ((float("nan"), -0.1), (1, 0), (math.log(1 - math.exp(-0.1)), -0.1), False),
        ((-3.0, None), (0, 1), (-3.0, -3.0), False),
        ((float("-inf"), -1.0), (1, 0), (float("-inf"), -1.0), False),
    ],
)
def test_two_log_probabilities_are_a_comparison(scores, order, kept, tie):
    assert PRP(mode="scoring").read(Answer("", scores=scores), 1).ranking.order == (0,), "there is no other"
    reading = PRP(mode="scoring").read(Answer("", scores=scores), 2)
    assert (reading.ranking.order, reading.report.unreadable) == (order, tie)
    assert reading.scores == (kept if kept is None else pytest.approx(kept))


@pytest.mark.parametrize(
    ("text", "order", "unreadable"),
    [(" A", (0, 1), False), ("B", (1, 0), False), ("Passage B", (1, 0), False), ("**Passage A**", (0, 1), False),
     ("Passage: B.", (1, 0), False), ("<think>Passage A?</think>Passage B", (1, 0), False),
     ("Passage C", (0, 1), True), ("", (0, 1), True), ("both", (0, 1), True)],
)  # fmt: skip
def test_words_are_read(text, order, unreadable):
    reading = PRP().parse(text, 2)
    assert (reading.ranking.order, reading.report.unreadable) == (order, unreadable)
    assert reading.report.clean == (
        text in (" A", "B", "Passage B", "Passage: B.", "**Passage A**") or "<think>" in text
    )


@pytest.mark.parametrize(
    ("text", "order"),
    [(" A is more relevant", (0, 1)), (" A provides more", (0, 1)), (" B provides more", (1, 0)), ("B > A", (1, 0))],
)
def test_a_letter_that_goes_on_the_begun_answer_is_read(text, order, tmp_path):
    for template in ("chat", "t5"):
        reading = PRP(template=template).parse(text, 2)
        assert (reading.ranking.order, reading.report.status) == (order, "repaired")
    assert PRP(compat="upstream").parse(text, 2).report.unreadable
    path = tmp_path / "mine.yaml"
    path.write_text("a:\n  user: '{{ query }} {{ first }} {{ second }}'\n")
    assert PRP(template=str(path)).parse("A provides more", 2).report.unreadable, "nothing was begun: a sentence"


@pytest.mark.parametrize("template", variants("prp"))
@pytest.mark.parametrize("sort", SORTS)
def test_every_template_and_sort_keeps_the_contract(template, sort):
    for mode in ("scoring",) if template == "duot5" else ("generation", "scoring"):
        check_reranker(PRP(template=template, sort=sort, mode=mode))
        if mode == "generation":
            label = PRP(template=template).answer(2)
            assert PRP(template=template).parse(label, 2).ranking.order == (1, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "score"},
        {"sort": "bubble"},
        {"passes": 0},
        {"k": 0, "sort": "heap"},
        {"soft": 1},
        {"compat": "paper"},
        {"query_tokens": 0},
    ],
)
def test_a_field_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=f"prp: {next(iter(wrong))} must be"):
        PRP(**wrong)


@pytest.mark.parametrize(
    ("wrong", "needed"),
    [
        ({"template": "duot5"}, "mode='scoring'"),
        ({"soft": True}, "mode='scoring' and sort='allpair'"),
        ({"soft": True, "mode": "scoring"}, "sort='allpair'"),
        ({"both_orders": False}, "sort='allpair'"),
        ({"k": 5}, "sort='heap' or 'allpair'"),
    ],
)
def test_fields_that_do_not_go_together_are_refused_with_what_would(wrong, needed):
    with pytest.raises(ConfigError, match=f"goes with .*{needed}"):
        PRP(**wrong)
