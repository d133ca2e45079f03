"""How far a reranking is: a line that a terminal redraws, or a line a minute for a log."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rankrl.types import Answer

HEARTBEAT_S = 60.0
"""How often a log gets a line."""

_WINDOW_S = 60.0  # rates are those of the last minute: batches get slower or faster as topics end
_SETTLED_S = 1.0  # before that a rate says nothing
_TICK_S = 0.5


class Meter:
    """What has been done, how fast, and how long the rest will take.

    topics: how many there are. calls: how many are expected in all; None when nobody knows. Answers of a journal count as
    done and not as speed. May be told from several threads.
    """

    def __init__(self, topics: int, calls: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.topics, self.expected = topics, calls
        self.finished = self.calls = self.cached = self.tokens = 0
        self._clock, self._lock = clock, threading.Lock()
        self._started = clock()
        self._ticks: deque[tuple[float, int, int]] = deque([(self._started, 0, 0)])

    def answered(self, answer: Answer) -> None:
        """An answer is there."""
        with self._lock:
            self.calls += 1
            if answer.cached:
                self.cached += 1
            else:
                self.tokens += answer.prompt_tokens + answer.completion_tokens
            now = self._clock()
            if len(self._ticks) > 1 and now - self._ticks[-1][0] < _TICK_S:  # a batch's answers come in one burst
                now = self._ticks.pop()[0]
            if now - self._ticks[-1][0] >= _TICK_S:
                self._ticks.append((now, self.calls - self.cached, self.tokens))
                while now - self._ticks[0][0] > _WINDOW_S and len(self._ticks) > 2:
                    self._ticks.popleft()

    def ended(self, finished: int) -> None:
        """So many topics are done."""
        self.finished = finished

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._started

    def rates(self) -> tuple[float, float] | None:
        """(calls, tokens) per second over the last minute; None while that would be a guess."""
        with self._lock:
            start, calls, tokens = self._ticks[0]
            took = self._clock() - start
            paid = self.calls - self.cached
            if took < _SETTLED_S or paid == calls:
                return None
            return (paid - calls) / took, (self.tokens - tokens) / took

    def left_s(self) -> float | None:
        """Seconds until the end: calls still expected at the present rate; None when it cannot be told.

        When more calls were needed than expected, the topics that are left need as long as those that are done.
        """
        if (rates := self.rates()) is None:
            return None
        if self.expected is not None and self.expected > self.calls:
            return (self.expected - self.calls) / rates[0]
        if self.finished == self.topics:
            return 0.0
        if not self.finished:
            return None
        return self.elapsed_s * (self.topics - self.finished) / self.finished

    def line(self) -> str:
        """All of it in a line, for a log."""
        of = f" of about {self.expected:,.0f}" if self.expected is not None and self.expected >= self.calls else ""
        parts = [f"{self.finished} of {self.topics} topics", f"{self.calls:,}{of} calls"]
        if rates := self.rates():
            parts += [f"{_rate(rates[0])} calls/s", f"{_rate(rates[1])} tokens/s"]
        left = self.left_s()
        parts.append("time left unknown" if left is None else f"about {_clock_time(left)} left")
        return f"rerank {_clock_time(self.elapsed_s)}: {', '.join(parts)}"


def _rate(value: float) -> str:
    """Three digits or so: 0.25, 12.3, 1.2k."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f}{letter}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _clock_time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


@contextmanager
def shown(meter: Meter) -> Iterator[None]:
    """Show the meter on standard error while the block runs: redrawn on a terminal, else a line a minute."""
    from rich.console import Console

    console = Console(stderr=True)
    drawing = _drawn(meter, console) if console.is_terminal and not console.is_dumb_terminal else _told(meter)
    with drawing:
        yield


@contextmanager
def _drawn(meter: Meter, console: Any) -> Iterator[None]:
    from rich.live import Live

    with Live(get_renderable=lambda: _row(meter), console=console, transient=True, refresh_per_second=4):
        yield


def _row(meter: Meter) -> Any:
    """One line that fits 80 columns: bar, topics, calls and their rate, tokens, time passed and time left."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    by_calls = meter.expected is not None and meter.expected >= meter.calls > 0
    total, done = (meter.expected, meter.calls) if by_calls else (meter.topics, meter.finished)
    rates, left = meter.rates(), meter.left_s()
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(ratio=1, min_width=4)
    for _ in range(4):
        row.add_column(no_wrap=True)
    row.add_row(
        ProgressBar(total=total or 1, completed=done),
        f"{meter.finished}/{meter.topics} topics",
        f"{meter.calls:,} calls" + (f" {_rate(rates[0])}/s" if rates else ""),
        f"{_rate(rates[1])} tok/s" if rates else "",
        _clock_time(meter.elapsed_s) + ("" if left is None else f", {_clock_time(left)} left"),
    )
    return row


@contextmanager
def _told(meter: Meter) -> Iterator[None]:
    done = threading.Event()

    def tell() -> None:
        while not done.wait(HEARTBEAT_S):
            print(meter.line(), file=sys.stderr, flush=True)

    teller = threading.Thread(target=tell, name="heartbeat", daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
