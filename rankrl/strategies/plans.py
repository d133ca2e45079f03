"""What an ordering will ask, before it asks: calls and their depth for n candidates, one function per ordering."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

from rankrl.strategies import bubble as _bubble
from rankrl.strategies import heap as _heap
from rankrl.strategies import pair_heap as _pair_heap
from rankrl.strategies import sliding_pairs as _sliding_pairs
from rankrl.strategies import sliding_window as _sliding_window
from rankrl.strategies._common import check_compat, check_counts, waves
from rankrl.strategies.groups import starts
from rankrl.strategies.tournament import deal, stages_of

_ORDERS, _ASKED = 100, 20_000
"""Random orders that a mean is taken over, and questions after which fewer have to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one list costs. A call is a request that no earlier one of the same list equals: equal ones are sent once.

    calls_min, calls_max: the fewest and the most, whatever is answered. calls_mean: when every answer is right and the list
    comes in random order; a good first stage makes heaps cheaper. Where an order is drawn (shuffles, votes, rounds) those of
    different groups and lists are counted as different. depth: the longest chain of calls that wait for one another, at most.
    shown: candidates in a prompt, at most. samples: answers that are drawn of one prompt, at most.
    """

    calls_min: int
    calls_mean: float
    calls_max: int
    depth: int
    shown: int
    samples: int = field(default=1, compare=False, repr=False)

    def then(self, other: Plan) -> Plan:
        """This and, when it is done, the other: for protocols that ask in two steps."""
        return Plan(
            self.calls_min + other.calls_min,
            self.calls_mean + other.calls_mean,
            self.calls_max + other.calls_max,
            self.depth + other.depth,
            max(self.shown, other.shown),
            self.samples + other.samples,
        )

    def times(self, prompts: int, *, samples: int = 1) -> Plan:
        """Each call `prompts` times over, all at once; of one prompt then `samples` times as many answers are drawn."""
        return replace(
            self,
            samples=samples * self.samples,
            calls_min=prompts * self.calls_min,
            calls_mean=prompts * self.calls_mean,
            calls_max=prompts * self.calls_max,
        )


def _exactly(calls: int, *, depth: int, shown: int) -> Plan:
    return Plan(calls, float(calls), calls, depth, shown) if calls else Plan(0, 0.0, 0, 0, 0)


def pointwise(n: int) -> Plan:
    """n calls at once."""
    return _exactly(n, depth=1, shown=1)


def one_shot(n: int) -> Plan:
    """One call; none for a list without a choice."""
    return _exactly(int(n > 1), depth=1, shown=n)


def allpair(n: int, *, both_orders: bool = True) -> Plan:
    """n(n-1) calls at once, half of them with one order."""
    return _exactly(n * (n - 1) // (1 if both_orders else 2), depth=1, shown=2)


def groups(n: int, *, size: int = 20, rounds: int = 1, interval: int | None = None) -> Plan:
    """rounds * ceil(n / size) calls at once; with an interval below the size ceil((n - size) / interval) + 1 per round."""
    interval = size if interval is None else interval
    check_counts(size=size, rounds=rounds, interval=interval)
    calls = len(starts(n, size=size, interval=interval))
    return replace(_exactly(calls * rounds, depth=1, shown=min(size, n)), samples=rounds)


def tournament(n: int, *, rounds: int = 1, stages: Sequence[tuple[int, int]] | None = None) -> Plan:
    """13 calls per round in 5 stages for 100 candidates."""
    check_counts(rounds=rounds)
    calls = shown = 0
    played = stages_of(n, stages)
    for stage in played:
        dealt = deal(range(n), stage.groups)
        calls += len(dealt) * rounds
        shown = max(shown, *map(len, dealt))
        n = stage.groups * stage.pick
    return replace(_exactly(calls, depth=len(played), shown=shown), samples=rounds)


def sliding_window(n: int, *, size: int = 20, stride: int = 10, passes: int = 1, compat: str = "rankrl") -> Plan:
    """ceil((n - size) / stride) + 1 calls per pass, one for n <= size; fewer where a later pass finds nothing moved."""
    check_counts(size=size, stride=stride, passes=passes)
    check_compat(compat)
    spans = _sliding_window.windows(n, size=size, stride=stride, compat=compat)
    plan = _exactly(len(spans), depth=len(waves(spans * passes)), shown=min(size, n))
    if passes == 1 or not spans:
        return plan
    most = passes * len(spans)
    return replace(plan, calls_mean=_windows_mean(n, size, stride, passes, compat), calls_max=most)


def heap(n: int, *, children: int, k: int, votes: int = 1) -> Plan:
    """ceil((n-1) / children) calls or more to build it and one to the height per extraction, times the votes.

    One less at least, where so many are extracted that a group of the build can come together again.
    """
    check_counts(children=children, k=k, votes=votes)
    if n < 2:
        return _exactly(0, depth=0, shown=0)
    sinks = [0] * n  # slot -> calls of the longest way down from it
    for node in range((n - 2) // children, -1, -1):
        first = children * node + 1
        sinks[node] = 1 + max(sinks[first : first + children])
    heights = [_height(size, children) for size in range(n - 1, max(n - k, 0), -1)]
    again = n > children + 1 and k >= max(children + 1, n - children)
    return Plan(
        -(-(n - 1) // children) + sum(height > 0 for height in heights) - again,
        _heap_mean(n, children, k),
        sum(sinks) + sum(heights),
        sum(max(sinks[slot] for slot in level) for level in _heap.levels(n, children)) + sum(heights),
        min(children + 1, n),
    ).times(votes, samples=votes)


def pair_heap(n: int, *, k: int, compat: str = "rankrl") -> Plan:
    """Two calls per comparison: n - 1 comparisons or more to build it, up to two per level for each extraction.

    There are not more than n(n-1) calls, two per pair.
    """
    check_counts(k=k)
    check_compat(compat)
    if n < 2:
        return _exactly(0, depth=0, shown=0)
    sinks = [0] * n
    for node in range((n - 2) // 2, -1, -1):
        sinks[node] = _below(node, n) + max(sinks[2 * node + 1 : 2 * node + 3])
    sizes = range(n - 1, max(n - k, 0), -1)
    paths = [_longest(size) for size in sizes]
    return Plan(
        n - 1,
        _pair_heap_mean(n, k),
        min(sum(sinks) + sum(paths), n * (n - 1) // 2),
        sum(max(sinks[slot] for slot in level) for level in _heap.levels(n, 2)) + sum(paths),
        2,
    ).times(2)


def bubble(n: int, *, children: int, k: int, votes: int = 1, compat: str = "rankrl") -> Plan:
    """ceil((n - children - 1 - i) / children) + 1 calls or fewer for pass i; what a pass leaves in place is not asked again."""
    check_counts(children=children, k=k, votes=votes)
    check_compat(compat)
    spans = _bubble.spans(n, children=children, k=k)
    skips = compat == "upstream"
    depth = len(spans) if skips else len(waves(spans))
    if n < 2:
        return _exactly(0, depth=0, shown=0)
    return Plan(
        _differing(_bubble_game(n, children, k, skips), tuple, lambda group: group[0]),
        _bubble_mean(n, children, k, skips),
        sum(len(span) > 1 for span in spans),
        depth,
        min(children + 1, n),
    ).times(votes, samples=votes)


def sliding_pairs(n: int, *, passes: int, shrinking: bool = True, compat: str = "rankrl") -> Plan:
    """Two calls per comparison, n - 1 comparisons or more, K(n-1) at most, less K(K-1)/2 when the passes shrink."""
    check_counts(passes=passes)
    check_compat(compat)
    skips = compat == "upstream"
    spans = _sliding_pairs.spans(n, passes=passes, shrinking=shrinking or skips)
    if not spans:
        return _exactly(0, depth=0, shown=0)
    most = min(len(spans), n * (n - 1) // 2)
    depth = len(spans) if skips else len(waves(spans))
    return Plan(n - 1, _sliding_pairs_mean(n, passes, shrinking, skips), most, depth, 2).times(2)


def repeated(plan: Plan, n: int, *, passes: int = 1, shuffles: int = 1) -> Plan:
    """The plan of an ordering of n candidates over its own result, and over shuffled lists at once.

    calls_min: no later pass or shuffle asks anything new, as where prompts show one candidate or do not depend on the order.
    calls_mean: each asks as much as the first. Of one candidate there are not more than n prompts, of two not more than
    n(n-1), times the samples, unless once over the list asks more.
    """
    check_counts(passes=passes, shuffles=shuffles)
    times, most = passes * shuffles, plan.calls_max * passes * shuffles
    if plan.shown <= 2 and plan.calls_max <= (prompts := plan.samples * math.perm(n, plan.shown)):
        most = min(most, prompts)
    return replace(
        plan,
        calls_mean=min(plan.calls_mean * times, float(most)),
        calls_max=most,
        depth=passes * plan.depth,
    )


def _height(size: int, children: int) -> int:
    """Nodes with children on the leftmost way down a heap: the longest."""
    node = height = 0
    while (node := children * node + 1) < size:
        height += 1
    return height


def _below(node: int, size: int) -> int:
    """The children of a node of a binary heap."""
    return max(0, min(2, size - 2 * node - 1))


def _longest(size: int) -> int:
    """The most comparisons on a way down a binary heap from its root: at the end of the longest ways may be one child."""
    levels = list(_heap.levels(size, 2))
    ways = {slot: 0 for slot in levels[-1]}
    for level in reversed(levels[:-1]):
        ways = {
            node: _below(node, size) + max((ways.get(child, 0) for child in (2 * node + 1, 2 * node + 2)), default=0)
            for node in level
        }
    return ways[0]


def _differing(
    game: Generator[list[Any], list[Any], Any], key: Callable[[Any], Hashable], oracle: Callable[[Any], Any]
) -> int:
    """How many different questions a game asks when `oracle` answers them."""
    asked: set[Hashable] = set()
    try:
        questions = next(game)
        while True:
            asked.update(map(key, questions))
            questions = game.send([oracle(question) for question in questions])
    except StopIteration:
        return len(asked)


def _mean(
    game: Callable[[], Generator[list[Any], list[Any], Any]],
    n: int,
    key: Callable[[Any], Hashable],
    oracle: Callable[..., Any],
) -> float:
    """The mean number of different questions over random orders, `oracle(question, places=...)` answering by true place."""
    rng = random.Random(n)
    total = played = 0
    while played < _ORDERS and total < _ASKED:
        places = rng.sample(range(n), n)
        total += _differing(game(), key, partial(oracle, places=places))
        played += 1
    return total / played


def _best(group: Sequence[int], places: Sequence[int]) -> int:
    return min(group, key=places.__getitem__)


@lru_cache(maxsize=4096)
def _heap_mean(n: int, children: int, k: int) -> float:
    return _mean(lambda: _heap.best(n, children=children, k=k), n, tuple, _best)


@lru_cache(maxsize=4096)
def _pair_heap_mean(n: int, k: int) -> float:
    return _mean(lambda: _pair_heap.best(n, k=k), n, frozenset, _best)


def _bubble_game(n: int, children: int, k: int, skips: bool) -> Generator[list[Any], list[Any], Any]:
    return (_bubble.skipping if skips else _bubble.in_passes)(n, children, k)


@lru_cache(maxsize=4096)
def _bubble_mean(n: int, children: int, k: int, skips: bool) -> float:
    return _mean(lambda: _bubble_game(n, children, k, skips), n, tuple, _best)


@lru_cache(maxsize=4096)
def _sliding_pairs_mean(n: int, passes: int, shrinking: bool, skips: bool) -> float:
    def game() -> Generator[list[Any], list[Any], Any]:
        if skips:
            return _sliding_pairs.skipping(n, passes)
        return _sliding_pairs.in_passes(_sliding_pairs.spans(n, passes=passes, shrinking=shrinking), n)

    return _mean(game, n, frozenset, _best)


@lru_cache(maxsize=4096)
def _windows_mean(n: int, size: int, stride: int, passes: int, compat: str) -> float:
    spans = _sliding_window.windows(n, size=size, stride=stride, compat=compat) * passes
    return _mean(
        lambda: _sliding_window.ordered(n, spans),
        n,
        tuple,
        lambda positions, places: sorted(positions, key=places.__getitem__),
    )
