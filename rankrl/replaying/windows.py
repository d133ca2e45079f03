"""Logs of sliding windows: one row for each answer, with the places that the window had in the order of that moment.

  {"qid": "264014", "window": 0, "start": 80, "end": 100, "n": 20, "response": "[12] > [13] > …"}

`start` and `end` count from 0 and `end` is not in the window. Rows of a topic stand in the order in which they were asked; the
rows of several topics may be mixed. "window", which counts the rows of a topic from 0, and "n" may be left out; other keys
are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankrl.errors import DataError
from rankrl.replaying.tally import Replay
from rankrl.runs.rows import identifier, rows
from rankrl.runs.text import shortened
from rankrl.types import Reading

WINDOW_ROW = 'an object with "qid", "start", "end" and "response"'


@dataclass(frozen=True, slots=True)
class Window:
    """One answer: it ordered what stood at start..end-1 (from 0) at that moment. where: "file:line"."""

    where: str
    qid: str
    start: int
    end: int
    response: str

    def __len__(self) -> int:
        return self.end - self.start


def is_window(row: Any) -> bool:
    """Whether a row of JSON is one of such a log."""
    return isinstance(row, dict) and {"start", "end", "response"} <= row.keys()


def read_windows(path: str | Path, rows_of: Iterable[tuple[int | str, Any]] | None = None) -> list[Window]:
    """The windows of a log, in its order (.gz, .xz); `rows_of` are its rows where they have been opened already.

    Raises:
        DataError: `file:line` is no such row or contradicts itself, or a topic's windows are not numbered 0, 1, 2, …
    """
    windows: list[Window] = []
    counts: dict[str, int] = {}
    for number, row in rows(path, "log") if rows_of is None else rows_of:
        window = _window(row, f"{path}:{number}")
        _check_number(row.get("window"), window, counts.get(window.qid, 0))
        counts[window.qid] = counts.get(window.qid, 0) + 1
        windows.append(window)
    if not windows:
        raise DataError(f"no answers in {path}; a row is {WINDOW_ROW}")
    return windows


def _window(row: Any, where: str) -> Window:
    if not is_window(row) or "qid" not in row:
        raise DataError(f"{where}: not the row of a window; expected {WINDOW_ROW}")
    qid = identifier(row["qid"], "qid", where)
    start, end, n = (_whole(row.get(key, 0), key, where) for key in ("start", "end", "n"))
    if not 0 <= start < end:
        raise DataError(f"{where}: the window goes from {start} to {end}; 0 <= start < end is needed")
    if "n" in row and n != end - start:
        raise DataError(f"{where}: n is {n}, but the window from {start} to {end} has {end - start} places")
    if not isinstance(row["response"], str):
        raise DataError(f"{where}: the response is {shortened(repr(row['response']))[1:-1]}; expected a text")
    return Window(where, qid, start, end, row["response"])


def _whole(value: Any, key: str, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"{where}: {key} is {shortened(repr(value))[1:-1]}; expected a whole number")
    return value


def _check_number(given: Any, window: Window, expected: int) -> None:
    if given is None or given == expected:
        return
    if given == 0:
        why = "are two logs in one file?"
    elif given == expected - 1:
        why = "a row is there twice, or rows are out of order"
    else:
        why = "a row is missing, or rows are out of order"
    raise DataError(f"{window.where}: topic {window.qid!r}: window {given!r} where {expected} is next; {why}")


def cut_off(windows: Sequence[Window]) -> dict[str, int]:
    """qid -> where its last window begins, of topics whose windows end below those of the log's others: a log that was cut."""
    last = {window.qid: window.start for window in windows}
    top = min(last.values(), default=0)
    return {qid: start for qid, start in last.items() if start > top}


def replay_windows(
    windows: Sequence[Window],
    candidates: Mapping[str, Sequence[str]],
    read: Callable[[str, int], Reading],
    *,
    on_window: Callable[[Window, list[str], Reading], None] | None = None,
) -> Replay:
    """The orders that the windows make of the candidates: each puts its places into the order that `read` finds.

    candidates: qid -> docids in first-stage order. Topics come out in the order of `candidates`; those that have no window
    are left out. on_window(window, docids shown, reading) is called for each.

    Raises:
        DataError: a topic without candidates, or a window beyond their end; `file:line` is named.
    """
    logged = {window.qid for window in windows}
    replay = Replay({qid: list(docids) for qid, docids in candidates.items() if qid in logged})
    for window in windows:
        if (order := replay.orders.get(window.qid)) is None:
            raise DataError(f"{window.where}: the first stage has no topic {window.qid!r}; is it another collection's?")
        if window.end > len(order):
            raise DataError(
                f"{window.where}: topic {window.qid!r}: the window ends at {window.end}, but there are only {len(order)} "
                "candidates; give the first stage and the --depth that the log was made with"
            )
        shown = order[window.start : window.end]
        reading = read(window.response, len(shown))
        replay.tally.add(reading.report)
        order[window.start : window.end] = [shown[position] for position in reading.ranking.order]
        if on_window is not None:
            on_window(window, shown, reading)
    return replay
