"""ERank: a grade found among any tokens, its probability, and the mean over all grades in a second step."""

from __future__ import annotations

import math
import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rankrl.contracts import reading_of
from rankrl.engines.drive import drive
from rankrl.errors import ConfigError, OutOfBudget
from rankrl.parsing.grade import grade_span, parse_grade
from rankrl.rerankers._pointwise import continued, ranked
from rankrl.rerankers.erank import ERank, expectation, probability
from rankrl.testing import check_reranker
from rankrl.types import Answer, Candidate, CandidateList, ParseReport, Query, Token

CHOICES = tuple(f"{grade}</answer>" for grade in range(11))


def listing(*docids):
    return CandidateList(Query("q", "who?"), tuple(Candidate(docid, f"text {docid}") for docid in docids))


def said(grade, p=1.0):
    """An answer whose grade, one token, had probability p."""
    pieces = ["<think>", "so", " 7", "</think>", "<answer>", f"{grade}", "</answer>"]
    tokens = tuple(Token(piece, math.log(p) if i == 5 else -0.3) for i, piece in enumerate(pieces))
    return Answer("".join(pieces), tokens=tokens)


class Scripted:
    """Gives every document its answer; scores of grades come from `masses`, docid -> {grade: probability}."""

    def __init__(self, answers, masses=None):
        self.answers, self.masses, self.rounds, self.asked = answers, masses or {}, 0, []

    def generate(self, requests, on_answer=None):
        self.rounds += 1
        self.asked.append(list(requests))
        return [
            self.scored(request) if request.choices else self.answers[request.shown.docids[0]] for request in requests
        ]

    def scored(self, request):
        mass = self.masses.get(request.shown.docids[0], {})
        scores = tuple(math.log(mass[grade]) if grade in mass else -40.0 for grade in range(11))
        return Answer("", scores=scores if mass else (None,) * 11)


def test_the_prompt_is_one_turn_with_the_parts_in_order():
    (message,) = ERank().prompt(listing("a"))
    assert message["role"] == "user"
    parts = ["0 means", "10 that", "Task: Find", "Query: who?", "Document: text a", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10.",
             "<think>", "</think><answer>", "</answer>", "Your output:"]  # fmt: skip
    places = [message["content"].index(part) for part in parts]
    assert places == sorted(places) and message["content"].endswith("Your output:")
    assert ERank().request(listing("a")).logprobs


def test_the_task_is_that_of_the_collection_or_the_users():
    assert "Task: Find the abstracts that support or refute" in ERank(task="scifact").prompt(listing("a"))[0]["content"]
    assert "Task: My own.\n" in ERank(task="scifact", instruction="My own.").prompt(listing("a"))[0]["content"]
    with pytest.raises(ConfigError, match="no task of erank 'scifakt', did you mean 'scifact'"):
        ERank(task="scifakt")


BRIGHT = ["biology", "earth_science", "economics", "psychology", "robotics", "stackoverflow", "sustainable_living"]
MATHS = ["leetcode", "pony", "aops", "theoremqa_questions", "theoremqa_theorems"]


@pytest.mark.parametrize("name", ["default", "arguana", "nq", "fever", "hotpotqa", "trec-dl", *BRIGHT, *MATHS])
def test_the_collections_of_the_field_have_a_task(name):
    assert ERank(task=name).prompt(listing("a"))


def test_grade_times_probability_orders_the_list():
    given_ = {"d1": (8, 0.9), "d2": (9, 0.55), "d3": (8, 0.95), "d4": (0, 0.99), "d5": (7, 1.0), "d6": (0, 0.4)}
    candidates = listing(*given_)
    (ranking,) = drive([ERank().order(candidates)], engine := Scripted({d: said(*pair) for d, pair in given_.items()}))
    assert ranking.docids(candidates) == ["d3", "d1", "d5", "d2", "d4", "d6"]
    assert ranking.scores == pytest.approx((7.2, 4.95, 7.6, 0, 7, 0))
    assert engine.rounds == 1


MASSES = {"a": {7: 0.1, 8: 0.8, 9: 0.1}, "b": {7: 0.05, 8: 0.55, 9: 0.4}, "c": {6: 0.2, 7: 0.2, 8: 0.6}}


def test_the_two_rules_disagree_as_in_the_example():
    candidates = listing(*"abc")
    answers = {docid: said(8, MASSES[docid][8]) for docid in "abc"}
    (product,) = drive([ERank().order(candidates)], Scripted(answers))
    assert product.scores == pytest.approx((6.4, 4.4, 4.8)) and product.order == (0, 2, 1)
    (mean,) = drive([ERank(score="expectation").order(candidates)], engine := Scripted(answers, MASSES))
    assert mean.scores == pytest.approx((8.0, 8.35, 7.4)) and mean.order == (1, 0, 2)
    assert engine.rounds == 2


def test_the_second_step_keeps_the_reasoning_up_to_the_grade_and_asks_of_all_eleven():
    engine = Scripted({"a": said(8), "b": Answer("no")}, MASSES)
    drive([ERank(score="expectation").order(listing("b", "a"))], engine)
    asked, (again,) = engine.asked
    first = next(request for request in asked if request.shown.docids == ("a",))
    assert again.choices == CHOICES
    assert again.prompt == [*first.prompt, {"role": "assistant", "content": "<think>so 7</think><answer>"}]
    assert again.shown.docids == ("a",)


def test_ten_is_the_product_of_its_digits_as_a_choice_and_as_a_grade():
    one, zero_after_one = math.log(0.3), math.log(0.9)
    tokens = [("<answer>", -0.2), ("1", one), ("0", zero_after_one), ("</answer>", -0.1)]
    answer = Answer("<answer>10</answer>", tokens=tuple(Token(*token) for token in tokens))
    assert ERank().read(answer, 1).scores == pytest.approx((10 * 0.27,))
    scores = [-60.0] * 11
    scores[10], scores[1] = one + zero_after_one, one + math.log(0.1)
    assert math.exp(scores[10]) == pytest.approx(0.27) and math.exp(scores[1]) == pytest.approx(0.03)
    assert expectation(scores) == pytest.approx((10 * 0.27 + 0.03) / 0.3)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        (["<think>7</think><answer>", "7", "</answer>"], [1]),
        (["<think>7</think><answer", ">7", "</answer>"], [1]),
        (["<think>7</think><answer>", "7</", "answer>"], [1]),
        (["<think>7</think><answer>", " ", "1", "0", "\n</answer>"], [2, 3]),
        (["<think>7</think><answer>1", "0</answer>"], [0, 1]),
        (["<think>7</think><answer>7</answer>"], [0]),
        (["<think>", "\ufffd", "\ufffd", "</think>", "", "<answer>", "7", "", "</answer>"], [6]),
        (["<answer>3</answer></think>", "<answer>", "9", "</answer>", "."], [2]),
    ],
)
def test_the_grade_is_found_however_the_text_is_cut_into_tokens(pieces, expected):
    tokens = [Token(piece, -1.0 - i) for i, piece in enumerate(pieces)]
    text = "".join(pieces)
    grade = int(text[slice(*grade_span(text))])
    assert probability(tokens, grade) == pytest.approx(math.exp(sum(tokens[i].logprob for i in expected)))


@example(10, [36, 36], [0.0, -1.0, -2.0, -3.0, 0, 0, 0, 0, 0])
@given(st.integers(0, 10), st.lists(st.integers(0, 40), max_size=8), st.lists(st.floats(-5, 0), min_size=9, max_size=9))
def test_the_probability_is_that_of_exactly_the_tokens_that_touch_the_digits(grade, cuts, logprobs):
    text = f"<think>say 3 or 10</think><answer> {grade} </answer>"
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    spans = list(pairwise(places))
    tokens = [Token(text[a:b], logprobs[i]) for i, (a, b) in enumerate(spans)]
    start = text.index("<answer> ") + len("<answer> ")
    digits = range(start, start + len(str(grade)))
    touching = [i for i, (a, b) in enumerate(spans) if any(a <= place < b for place in digits)]
    assert probability(tokens, grade) == pytest.approx(math.exp(sum(logprobs[i] for i in touching)))


def test_without_log_probabilities_the_grade_stands_alone_and_the_answer_is_not_to_blame():
    reading = reading_of(ERank(), Answer("<think>t</think><answer>7</answer>"), 1)
    assert reading.scores == (7.0,) and reading.report.clean
    assert probability((Token("<answer>8</answer>", -3.0),), 7) == 1.0, "tokens of another text"


def test_what_cannot_be_graded_is_zero_and_last_and_the_rest_keeps_its_order():
    candidates = listing(*"abcd")
    answers = {"a": Answer("?"), "b": said(0), "c": Answer("<answer>11</answer>"), "d": said(1, 0.5)}
    for score in ("product", "expectation"):
        (ranking,) = drive([ERank(score=score).order(candidates)], Scripted(answers))
        assert ranking.docids(candidates) == ["d", "b", "a", "c"]
        assert ranking.scores[0] == ranking.scores[1] == ranking.scores[2] == 0.0
    (ranking,) = drive([ERank().order(candidates)], Scripted(dict.fromkeys("abcd", Answer("?"))))
    assert ranking.order == (0, 1, 2, 3)


def test_where_grades_cannot_be_scored_the_written_one_stands():
    (ranking,) = drive([ERank(score="expectation").order(listing("a", "b"))], Scripted({"a": said(3), "b": said(4)}))
    assert ranking.scores == (3.0, 4.0)


def test_out_of_budget_leaves_what_was_graded():
    steps = ERank(score="expectation").order(listing("a", "b"))
    next(steps)
    assert len(steps.send([said(3), said(4, 0.1)])) == 2
    with pytest.raises(StopIteration) as stop:
        steps.throw(OutOfBudget("spent"))
    assert (stop.value.value.order, stop.value.value.scores) == ((1, 0), (3.0, 4.0))
    steps = ERank().order(listing("a", "b"))
    next(steps)
    with pytest.raises(StopIteration) as stop:
        steps.throw(OutOfBudget("spent"))
    assert (stop.value.value.order, stop.value.value.scores) == ((0, 1), (None, None))


@pytest.mark.parametrize(
    ("text", "score", "report"),
    [
        ("<think>t</think><answer>7</answer>", 7.0, ParseReport()),
        ("t</think>\n<answer> 10 </answer>\n", 10.0, ParseReport()),
        ("<THINK>t</THINK><ANSWER>0</ANSWER>", 0.0, ParseReport()),
        ("<answer>7</answer>", 7.0, ParseReport(malformed=True)),
        ("Sure! <think>t</think><answer>7</answer>", 7.0, ParseReport(malformed=True)),
        ("<think>t</think>So: <answer>7</answer>", 7.0, ParseReport(malformed=True)),
        ("<think>t</think><answer>7</answer> Bye", 7.0, ParseReport(malformed=True)),
        ("<think>t</think><answer>3</answer><answer>7</answer>", 7.0, ParseReport(malformed=True)),
        ("<think>t</think><answer><answer>7</answer>", 7.0, ParseReport(malformed=True)),
        ("<think><answer>3</answer></think><answer>7</answer>", 7.0, ParseReport()),
        ("<think>t</think><answer>11</answer>", None, ParseReport(unreadable=True, out_of_range=1)),
        ("<think>t</think><answer>7", None, ParseReport(unreadable=True)),
        ("<think>t</think><answer>-7</answer>", None, ParseReport(unreadable=True)),
        ("<think>t</think><answer>7.5</answer>", None, ParseReport(unreadable=True)),
        ("<think>t</think><answer>7 or 8</answer>", None, ParseReport(unreadable=True)),
        ("<think>t</think><answer>٧</answer>", None, ParseReport(unreadable=True)),
        ("<think>t</think>7", None, ParseReport(unreadable=True)),
        ("<think>maybe <answer>7</answer>", None, ParseReport(unreadable=True)),
        ("", None, ParseReport(unreadable=True)),
    ],
)
def test_only_an_integer_in_the_tag_is_a_grade(text, score, report):
    reading = parse_grade(text, 1)
    assert (reading.scores, reading.report) == ((score,), report)


PIECES = st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "7", "10", "11", " ", "x", "<", "\ud800"])


@given(st.lists(PIECES, max_size=20).map("".join), st.integers(0, 3))
def test_any_text_is_read(text, n):
    reading = parse_grade(text, n)
    assert reading.ranking.order == tuple(range(n)) and len(reading.scores) == n
    span = grade_span(text)
    assert span is None or text[slice(*span)].isdigit()


@pytest.mark.parametrize("piece", ["<answer>", "</answer>", "<think>", "</think>", "<answer>7</answer>", "1", "<", " "])
def test_long_answers_take_no_time(piece):
    text = (piece * 100_000)[:100_000]

    def seconds():
        start = time.process_time()
        parse_grade(text, 1)
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 0.05, "the best of three: a collection of garbage takes longer"


@given(st.integers(0, 10), st.text(alphabet="ab 7."))
def test_the_ideal_answer_is_read_back(grade, thought):
    reading = ERank().parse(ERank().spell(grade, thought), 1)
    assert reading.report.clean and reading.scores == (float(grade),) and reading.reasoning == thought.strip()


def test_an_expectation_is_unmoved_by_a_constant_and_by_what_is_unknown():
    scores = [math.log(p) for p in (0.1, 0.2, 0.7)]
    assert expectation(scores) == pytest.approx(1.6)
    assert expectation([s - 500 for s in scores]) == pytest.approx(1.6)
    assert expectation([None, *scores[1:], float("-inf")]) == pytest.approx(1.6 / 0.9)
    assert expectation([None, float("nan")]) is None


def test_a_probability_that_is_none_leaves_the_document_without_a_score():
    broken = Answer("<think></think><answer>7</answer>", tokens=(Token("<think></think><answer>7</answer>", math.nan),))
    (ranking,) = drive([ERank().order(listing("a", "b"))], Scripted({"a": broken, "b": said(0)}))
    assert (ranking.order, ranking.scores) == ((1, 0), (None, 0.0))


def test_a_written_grade_that_the_engine_cannot_tell_has_what_the_others_leave():
    scores = [None] * 11
    scores[9], scores[8] = math.log(0.04), math.log(0.01)
    assert expectation(scores, written=10) == pytest.approx(10 * 0.95 + 9 * 0.04 + 8 * 0.01)
    assert expectation(scores, written=9) == pytest.approx((9 * 0.04 + 8 * 0.01) / 0.05)
    assert expectation([None] * 11, written=10) == 10.0
    assert expectation([0.0, None], written=1) == 1.0, "nothing is left, and it was written"


def test_a_begun_answer_is_gone_on_with():
    chat = [{"role": "user", "content": "u"}]
    assert continued(chat, "x") == [*chat, {"role": "assistant", "content": "x"}]
    assert continued(continued(chat, "x"), "y") == continued(chat, "xy")
    assert chat == [{"role": "user", "content": "u"}]


@given(st.lists(st.none() | st.sampled_from([0.0, -1.0, 2.0]), max_size=8))
def test_ranked_puts_the_best_first_equals_in_order_and_the_unscored_last(scores):
    order = ranked(scores).order
    known = [scores[i] for i in order if scores[i] is not None]
    assert known == sorted(known, reverse=True)
    assert [i for i in order if scores[i] is None] == [i for i, s in enumerate(scores) if s is None]
    assert all(a < b for a, b in pairwise(order) if scores[a] == scores[b])
    assert all(scores[i] is None for i in order[len(known) :])


def test_the_expectation_and_a_users_file_keep_the_contract(tmp_path):
    check_reranker(ERank(score="expectation"))
    path = tmp_path / "mine.yaml"
    path.write_text("a:\n  user: '{{ instruction }}|{{ query }}|{{ document }}'\n  tasks: {default: x, wine: taste}\n")
    assert ERank(template=str(path), task="wine").prompt(listing("a"))[0]["content"] == "taste|who?|text a"
    path.write_text("a:\n  user: '{{ query }}'\n  tasks: [x]\n")
    with pytest.raises(ConfigError, match="must map names to texts"):
        ERank(template=str(path))


def test_the_plan_has_a_second_step_for_the_expectation():
    assert (ERank().plan(100).calls_max, ERank().plan(100).depth) == (100, 1)
    plan = ERank(score="expectation").plan(100)
    assert (plan.calls_min, plan.calls_mean, plan.calls_max, plan.depth) == (100, 200.0, 200, 2)
    assert ERank(score="expectation").plan(0).calls_max == ERank(score="expectation").plan(0).depth == 0


@pytest.mark.parametrize("wrong", [{"score": "mean"}, {"query_tokens": 0}, {"instruction": 1}, {"task": None}])
def test_a_field_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=f"erank: {next(iter(wrong))} must be"):
        ERank(**wrong)
