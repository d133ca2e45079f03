"""The meter of `rankrl rerank`: rates, time left, the line of a log and the line of a terminal."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from rankrl.commands import _rerank_progress as progress
from rankrl.commands._rerank_progress import Meter
from rankrl.types import Answer

PAID, FREE = Answer("x", 90, 10), Answer("x", 90, 10, cached=True)


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def worked(clock, meter, seconds, per_second, answer=PAID):
    for _ in range(seconds):
        clock.now += 1
        for _ in range(per_second):
            meter.answered(answer)


def test_rates_are_those_of_the_last_minute():
    meter = Meter(10, 1000.0, clock=(clock := Clock()))
    worked(clock, meter, 100, 1)
    assert meter.rates() == pytest.approx((1.0, 100.0))
    worked(clock, meter, 61, 7)
    assert meter.rates() == pytest.approx((7.0, 700.0))


def test_the_rate_of_an_engine_that_answers_in_batches_is_right_after_each_batch():
    meter = Meter(10, 1000.0, clock=(clock := Clock()))
    for _ in range(7):
        clock.now += 29
        worked(clock, meter, 1, 16)
        assert meter.rates() == pytest.approx((16 / 30, 1600 / 30))


def test_the_time_left_is_what_is_expected_at_the_present_rate():
    meter = Meter(10, 500.0, clock=(clock := Clock()))
    worked(clock, meter, 20, 5)
    assert meter.left_s() == pytest.approx(400 / 5)


def test_answers_of_a_journal_are_done_but_make_no_speed():
    meter = Meter(10, 500.0, clock=(clock := Clock()))
    worked(clock, meter, 1, 400, FREE)
    assert meter.rates() is None and meter.left_s() is None
    worked(clock, meter, 10, 5)
    assert meter.rates() == pytest.approx((50 / 11, 5000 / 11))
    assert meter.left_s() == pytest.approx(50 / (50 / 11))


def test_nothing_is_said_about_the_time_left_while_it_would_be_a_guess():
    meter = Meter(10, 500.0, clock=(clock := Clock()))
    assert (meter.rates(), meter.left_s()) == (None, None)
    meter.answered(PAID)
    clock.now += 0.2
    assert meter.left_s() is None
    assert meter.line().endswith("1 of about 500 calls, time left unknown")


def test_without_a_plan_or_beyond_it_the_topics_tell_the_time_left():
    for expected in (None, 10.0):
        meter = Meter(10, expected, clock=(clock := Clock()))
        worked(clock, meter, 20, 5)
        assert meter.left_s() is None
        meter.ended(4)
        assert meter.left_s() == pytest.approx(30.0)
        assert "4 of 10 topics, 100 calls, 5." in meter.line()
        meter.ended(10)
        assert meter.left_s() == 0.0


def test_a_log_gets_a_line_now_and_then_and_none_after_the_end(monkeypatch, capsys):
    monkeypatch.setattr(progress, "HEARTBEAT_S", 0.03)
    meter = Meter(2, 8.0)
    with progress.shown(meter):
        meter.answered(PAID)
        time.sleep(0.2)
    said = capsys.readouterr().err.splitlines()
    assert 2 <= len(said) <= 7
    assert said[0] == "rerank 0:00:00: 0 of 2 topics, 1 of about 8 calls, time left unknown"
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_a_run_of_less_than_a_minute_says_nothing(capsys):
    with progress.shown(Meter(2, 8.0)):
        pass
    assert capsys.readouterr().err == ""


def test_the_log_stops_when_the_reranking_fails(monkeypatch, capsys):
    monkeypatch.setattr(progress, "HEARTBEAT_S", 0.02)
    with pytest.raises(ZeroDivisionError), progress.shown(Meter(2, 8.0)):
        raise ZeroDivisionError
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("expected", [None, 123_456.0])
def test_a_terminal_gets_one_line_that_fits(width, expected):
    meter = Meter(43_210, expected, clock=(clock := Clock()))
    worked(clock, meter, 3000, 9)
    meter.ended(9_876)
    written = io.StringIO()
    Console(file=written, width=width, force_terminal=True, color_system=None).print(progress._row(meter))
    lines = written.getvalue().splitlines()
    assert len(lines) == 1 and len(lines[0]) <= width
    if width >= 80:
        assert "9876/43210 topics" in lines[0] and "27,000 calls 9.0/s" in lines[0] and "900 tok/s" in lines[0]
        assert "0:50:00, " in lines[0] and " left" in lines[0]


def test_a_terminal_is_drawn_on_and_a_dumb_one_is_not(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    for term, drawn in (("xterm-256color", True), ("dumb", False)):
        monkeypatch.setenv("TERM", term)
        meter = Meter(7, 8.0)
        with progress.shown(meter):
            meter.answered(PAID)
        assert ("0/7 topics" in capsys.readouterr().err) == drawn


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.123, "0.12"),
        (1.0, "1.0"),
        (100.0, "100"),
        (1_000.0, "1.0k"),
        (1e6, "1.0M"),
        (1.26, "1.3"),
        (99.9, "99.9"),
        (123.4, "123"),
        (4_560, "4.6k"),
        (7.8e6, "7.8M"),
    ],
)
def test_rates_have_few_digits(value, said):
    assert progress._rate(value) == said


def bar(meter):
    """(total, completed) of the bar."""
    (drawn,) = list(progress._row(meter).columns[0].cells)
    return drawn.total, drawn.completed


def test_the_bar_is_of_calls_while_their_number_is_known_else_of_topics():
    meter = Meter(4, 8.0)
    assert bar(meter) == (4, 0)  # before the first answer
    for _ in range(8):
        meter.answered(PAID)
    assert bar(meter) == (8.0, 8)
    meter.answered(PAID)  # more than expected
    meter.ended(3)
    assert bar(meter) == (4, 3)
    meter = Meter(4, None)
    meter.answered(PAID)
    assert bar(meter) == (4, 0)
    assert bar(Meter(0, 0.0)) == (1, 0)  # a bar of nothing would pulse


def test_a_line_says_what_is_expected_up_to_the_last_call_and_the_time_left():
    meter = Meter(2, 10.0, clock=(clock := Clock()))
    worked(clock, meter, 5, 1)
    assert meter.line().endswith("5 of about 10 calls, 1.0 calls/s, 100 tokens/s, about 0:00:05 left")
    worked(clock, meter, 5, 1)
    assert "10 of about 10 calls" in meter.line() and meter.left_s() is None  # the last topic is being finished
    worked(clock, meter, 1, 1)
    assert " 11 calls," in meter.line()


def test_answers_of_half_a_second_are_one_tick():
    meter = Meter(10, None, clock=(clock := Clock()))
    for _ in range(1000):
        clock.now += 0.01
        meter.answered(PAID)
    assert len(meter._ticks) < 25 and meter.rates() == pytest.approx((100.0, 10_000.0))
