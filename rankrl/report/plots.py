"""Axes for plots that are drawn in per cent of their width, so that one drawing fits a desk and a phone."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_MARGIN = 5.0  # per cent left free on both sides: room for half a tick label and for the dots


@dataclass(frozen=True, slots=True)
class Axis:
    """A linear axis from the first tick to the last, and how many decimals its labels need."""

    ticks: tuple[float, ...]
    decimals: int

    def percent(self, value: float) -> float:
        """Where a value lies, in per cent of the width; values beyond the ends lie beyond them."""
        low, high = self.ticks[0], self.ticks[-1]
        return round(_MARGIN + (100.0 - 2.0 * _MARGIN) * (value - low) / (high - low), 3)


def axis(values: Iterable[float], *, most_ticks: int = 6) -> Axis:
    """An axis with round ticks (1, 2 or 5 times a power of ten apart) around all values, which must be finite.

    A single value gets an axis of some width around it.
    """
    given = list(values)
    low, high = min(given), max(given)
    if high - low < 1e-6:
        low, high = low - 0.05, high + 0.05
    power = math.floor(math.log10((high - low) / most_ticks))
    while True:
        for digit in (1, 2, 5):
            step = digit * 10.0**power
            first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
            if last - first < most_ticks:
                decimals = max(0, -power)
                return Axis(tuple(round(n * step, decimals) + 0.0 for n in range(first, last + 1)), decimals)
        power += 1
