"""No text, score or token makes a parser raise, hang, or give anything but a permutation; over every reranker of the shelf.

RANKRL_FUZZ=1000000 pytest tests/test_fuzz_parsers.py -k mutations      a million completions through every parser
"""

from __future__ import annotations

import os
import random
import sys
import time
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.contracts import reading_of
from rankrl.types import Answer

sys.path.insert(0, str(Path(__file__).resolve().parent))
import fuzzing

VARIANTS = fuzzing.variants()
READERS = {name: one.read for name, one in VARIANTS.items() if hasattr(one, "read")}
COMPLETIONS = int(os.environ.get("RANKRL_FUZZ", "1000"))
"""How many mutated completions go through every parser: some 30 parsers and 20 readers, so 50,000 readings in two seconds."""

LIMIT_S = 0.5
"""Of CPU; `benchmarks/parsers.py` measures what it is on a quiet machine: below 50 ms."""


def check(reading, n, about):
    """An order of n, scores for n, counts that make sense, and the presented order where nothing was read."""
    order, report = reading.ranking.order, reading.report
    assert sorted(order) == list(range(n)), about
    assert reading.scores is None or len(reading.scores) == n, about
    assert reading.ranking.scores is None or len(reading.ranking.scores) == n, about
    for score in reading.scores or ():
        assert score is None or score == score, (about, "NaN is no score")
    assert min(report.repeated, report.out_of_range, report.missing) >= 0 and report.missing <= n, about
    assert report.status in ("ok", "repaired", "failed") and isinstance(reading.reasoning, str), about
    if report.unreadable:
        assert order == tuple(range(n)), (about, "unreadable, and not the presented order")
    if report.clean and n and reading.scores is None:
        assert len(set(order)) == n, about


def read_everything(text, n, rng):
    """`text` through every parser, and as an answer through every reader."""
    answer = fuzzing.answer_in_tokens(rng, text)
    for name, reranker in VARIANTS.items():
        about = (name, text, n)
        try:
            check(reranker.parse(text, n), n, about)
            if name in READERS:
                check(READERS[name](answer, n), n, (*about, answer.tokens))
        except AssertionError:
            raise
        except Exception as error:
            raise AssertionError(about) from error


def test_mutations_of_real_answers():
    rng, texts = random.Random(int(os.environ.get("RANKRL_FUZZ_SEED", "0"))), fuzzing.corpus()
    for text in islice(fuzzing.completions(rng, texts), COMPLETIONS):
        read_everything(text, rng.randrange(31), rng)


@settings(max_examples=150)
@given(
    st.one_of(st.text(), st.lists(st.sampled_from(fuzzing._PIECES)).map("".join)),
    st.integers(0, 30),
    st.randoms(use_true_random=False),
)
def test_anything_that_hypothesis_thinks_of(text, n, rng):
    read_everything(text, n, rng)


SCORED = [(name, *numbers) for name, one in VARIANTS.items() for numbers in fuzzing.scored(one, name)]


@pytest.mark.parametrize(("reranker", "n", "choices"), SCORED)
@given(data=st.data())
@settings(max_examples=40)
def test_scores_of_any_kind(reranker, n, choices, data):
    scores = data.draw(st.lists(st.none() | st.floats(), min_size=choices, max_size=choices))
    check(reading_of(VARIANTS[reranker], Answer("", scores=tuple(scores)), n), n, (reranker, scores))


@pytest.mark.parametrize("reranker", VARIANTS)
def test_a_hundred_kilobytes_of_anything_are_read_at_once(reranker):
    slow = {}
    for attack, text in fuzzing.attacks().items():
        took = min(timed(VARIANTS[reranker], text, tries=3))
        if took > LIMIT_S:
            slow[attack] = round(took, 2)
    assert not slow, f"seconds: {slow}"


def timed(reranker, text, *, tries):
    """The CPU seconds of each try; the first that is quick enough ends it."""
    for _ in range(tries):
        start = time.thread_time()
        check(reranker.parse(text, 20), 20, text[:50])
        if hasattr(reranker, "read"):
            check(reading_of(reranker, Answer(text, finish_reason="length"), 20), 20, text[:50])
        took = time.thread_time() - start
        yield took
        if took < LIMIT_S:
            return


def test_every_reranker_of_the_shelf_is_here():
    from rankrl.lookup import names

    assert {name.split()[0] for name in VARIANTS} == set(names("rerankers")) and len(VARIANTS) > len(names("rerankers"))
