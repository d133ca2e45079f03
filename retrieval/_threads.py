"""A function over many items in several threads, in the order of the items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def _nothing() -> None:
    pass


def mapped(
    function: Callable[[T], R], items: Sequence[T], threads: int, *, at_end: Callable[[], None] = _nothing
) -> list[R]:
    """The results of `function`, in order; in this thread when one is enough. `at_end` is the last thing each other one does."""
    threads = min(threads, len(items))
    if threads < 2:
        return [function(item) for item in items]

    def part(first: int) -> list[R]:
        try:
            return [function(item) for item in items[first::threads]]
        finally:
            at_end()

    with ThreadPoolExecutor(threads, thread_name_prefix="rankrl") as pool:
        parts = list(pool.map(part, range(threads)))
    return [parts[i % threads][i // threads] for i in range(len(items))]
