"""drive and ledger against toy engines and toy orderings."""

from __future__ import annotations

import pytest

from rankrl.engines.drive import drive
from rankrl.engines.ledger import Cost, Ledger
from rankrl.types import Answer, Ranking, Request


class Echo:
    """Answers with the prompt; remembers the batches."""

    def __init__(self):
        self.batches = []

    def generate(self, requests, on_answer=None):
        self.batches.append([r.prompt[0]["content"] for r in requests])
        return [Answer(r.prompt[0]["content"], 2, 3) for r in requests]


def ask(text):
    return Request([{"role": "user", "content": text}])


def asking(*batches, size=1, heard=None):
    """An ordering that asks the given batches one after another and notes the answers."""
    for batch in batches:
        answers = yield [ask(text) for text in batch]
        if heard is not None:
            heard.append([answer.text for answer in answers])
    return Ranking(tuple(range(size)))


def test_orderings_advance_together_and_hear_their_own_answers():
    engine, heard = Echo(), []
    rankings = drive([asking("ab", "c", heard=heard), asking("d", size=2), asking(size=3)], engine)
    assert engine.batches == [["a", "b", "d"], ["c"]]
    assert heard == [["a", "b"], ["c"]]
    assert [len(ranking.order) for ranking in rankings] == [1, 2, 3]


def test_equal_prompts_of_a_round_are_asked_once():
    engine, heard = Echo(), []
    drive([asking("aa", heard=heard), asking("ab", heard=heard)], engine)
    assert engine.batches == [["a", "b"]]
    assert heard == [["a", "a"], ["a", "b"]]


@pytest.mark.parametrize("max_live", [1, 2, 3, 100])
def test_the_number_in_flight_changes_batches_but_no_ranking(max_live):
    engine = Echo()
    sizes = [3, 1, 4, 1, 5, 9, 2, 6]
    orders = [asking(*[[f"{i}.{step}"] for step in range(size)], size=size) for i, size in enumerate(sizes)]
    rankings = drive(orders, engine, max_live=max_live)
    assert [len(ranking.order) for ranking in rankings] == sizes
    assert max(map(len, engine.batches)) <= max_live
    assert sum(map(len, engine.batches)) == sum(sizes)


def test_no_orderings_no_call_and_an_empty_batch_is_answered_without_the_engine():
    engine = Echo()
    assert drive([], engine) == []
    assert drive([asking([], [])], engine) == [Ranking((0,))]
    assert engine.batches == []


def test_rounds_are_reported():
    seen = []
    drive([asking("ab", "c"), asking("d")], Echo(), on_round=lambda finished, prompts: seen.append((finished, prompts)))
    assert seen == [(1, 3), (2, 1)]


def test_what_an_ordering_raises_is_passed_on_and_the_others_are_closed():
    closed = []

    def tidy():
        try:
            yield [ask("x")]
        finally:
            closed.append(True)

    def broken():
        yield [ask("y")]
        raise RuntimeError("toy")

    with pytest.raises(RuntimeError, match="toy"):
        drive([broken(), tidy()], Echo())
    assert closed == [True]


def test_an_engine_that_loses_answers_is_caught():
    class Lossy(Echo):
        def generate(self, requests, on_answer=None):
            return super().generate(requests)[1:]

    with pytest.raises(ValueError, match="Lossy gave 1 answers to 2 requests"):
        drive([asking("ab")], Lossy())


def test_the_ledger_counts_what_passes_through():
    class Mixed:
        def generate(self, requests, on_answer=None):
            return [Answer("a", 10, 4), Answer("b", 20, 8, "length"), Answer("c", 30, 1, cached=True)]

    ticks = iter([0.0, 1.5, 2.0, 2.25])
    ledger = Ledger(Mixed(), clock=lambda: next(ticks))
    assert [answer.text for answer in ledger.generate([ask("x")] * 3)] == ["a", "b", "c"]
    ledger.generate([ask("x")] * 3)
    assert ledger.cost == Cost(6, 2, prompt_tokens=60, completion_tokens=24, truncated=2, cached=2, seconds=1.75)


def test_orderings_in_flight_are_closed_when_the_engine_fails():
    closed = []

    def noting(name):
        try:
            yield [ask(name)]
        finally:
            closed.append(name)
        return Ranking((0,))

    class Broken:
        def generate(self, requests, on_answer=None):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        drive([noting("a"), noting("b")], Broken())
    assert sorted(closed) == ["a", "b"]
