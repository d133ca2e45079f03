"""Plans against published call counts, against the orderings themselves under any answers, and at their bounds."""

from __future__ import annotations

import contextlib
import itertools
import random
import statistics
import sys
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.engines.drive import drive, told
from rankrl.engines.ledger import Ledger
from rankrl.errors import ConfigError
from rankrl.lookup import lookup, names
from rankrl.strategies import plans
from rankrl.strategies.allpair import allpair
from rankrl.strategies.bubble import bubble
from rankrl.strategies.groups import groups
from rankrl.strategies.heap import best as best_of_heap
from rankrl.strategies.heap import heap
from rankrl.strategies.one_shot import one_shot
from rankrl.strategies.pair_heap import best as pair_heap_game
from rankrl.strategies.pair_heap import pair_heap
from rankrl.strategies.plans import Plan
from rankrl.strategies.pointwise import pointwise
from rankrl.strategies.repeats import repeated
from rankrl.strategies.sliding_pairs import sliding_pairs
from rankrl.strategies.sliding_window import sliding_window
from rankrl.strategies.tournament import tournament
from rankrl.types import Answer, Candidate, CandidateList, Query, Token

sys.path.insert(0, str(Path(__file__).resolve().parent))
from toy_orderings import Toy, arbitrary, best, in_order, listing_of, play


@pytest.mark.parametrize(
    ("plan", "calls", "depth", "shown"),
    [
        (plans.pointwise(100), 100, 1, 1),
        (plans.one_shot(100), 1, 1, 100),
        (plans.sliding_window(100), 9, 9, 20),
        (plans.sliding_window(100, size=10, stride=5), 19, 19, 10),
        (plans.sliding_window(25), 2, 2, 20),
        (plans.sliding_window(25, compat="upstream"), 1, 1, 20),
        (plans.sliding_window(5, compat="upstream"), 0, 0, 0),
        (plans.sliding_window(5), 1, 1, 5),
        (plans.allpair(100), 9900, 1, 2),
        (plans.allpair(100, both_orders=False), 4950, 1, 2),
        (plans.groups(100), 5, 1, 20),
        (plans.groups(100, rounds=6), 30, 1, 20),
        (plans.groups(100, size=20, interval=10), 9, 1, 20),
        (plans.tournament(100), 13, 5, 20),
        (plans.tournament(100, rounds=10), 130, 5, 20),
    ],
)
def test_plans_that_do_not_depend_on_answers_are_the_published_counts(plan, calls, depth, shown):
    assert plan == Plan(calls, float(calls), calls, depth, shown)


@pytest.mark.parametrize(
    ("children", "mean", "least", "most"),
    [
        (2, 140.1, 129, 148),
        (3, 81.8, 75, 85),
        (4, 60.9, 58, 64),
        (9, 31.4, 30, 34),
        (10, 28.8, 27, 29),
        (19, 23.3, 20, 25),
    ],
)
def test_heaps_cost_what_is_published(children, mean, least, most):
    plan = plans.heap(100, children=children, k=10)
    assert plan.calls_mean == pytest.approx(mean, abs=0.6 if children == 2 else 0.3)
    assert plan.calls_min <= least and most <= plan.calls_max
    assert plan.shown == children + 1
    assert plans.heap(100, children=children, k=10, votes=3).calls_max == 3 * plan.calls_max
    assert plans.heap(100, children=children, k=10, votes=3).depth == plan.depth


def test_rank_r1_costs_15_to_25_calls():
    assert plans.heap(100, children=19, k=10).calls_min == 15  # upstream's count when every parent stays
    assert plans.heap(100, children=19, k=10).calls_max == 25  # and for the worst order


def test_pairs_cost_what_is_published():
    full = plans.sliding_pairs(100, passes=10, shrinking=False)
    assert (full.calls_min, full.calls_max, full.depth) == (198, 1980, 117)
    shrinking = plans.sliding_pairs(100, passes=10)
    assert (shrinking.calls_min, shrinking.calls_max, shrinking.depth) == (198, 1890, 108)
    skipping = plans.sliding_pairs(100, passes=10, compat="upstream")
    assert (skipping.calls_min, skipping.calls_max, skipping.depth) == (198, 1890, 945)
    sorting = plans.pair_heap(100, k=10)
    assert 198 == sorting.calls_min <= 2 * 203 and sorting.calls_max >= 2 * 294
    assert sorting.calls_mean <= 556.5  # the published count asks some pairs twice


@pytest.mark.parametrize(("children", "calls"), [(2, 475), (3, 318), (9, 109), (19, 54)])
def test_bubble_costs_at_most_what_is_published(children, calls):
    for compat in ("rankrl", "upstream"):
        plan = plans.bubble(100, children=children, k=10, compat=compat)
        assert plan.calls_max == calls and plan.calls_min <= plan.calls_mean <= calls


def ordering_and_plan(kind, n, a, b, c):
    """An ordering of every kind with drawn options, its plan, and what it reads."""
    compat = ("rankrl", "upstream")[c % 2]
    window = {"size": max(a, b, 2), "stride": min(a, max(a, b, 2)), "passes": c, "compat": compat}
    return {
        "pointwise": (pointwise, plans.pointwise(n), "scores"),
        "one_shot": (one_shot, plans.one_shot(n), "order"),
        "allpair": (partial(allpair, both_orders=c > 1), plans.allpair(n, both_orders=c > 1), "winner"),
        "groups": (
            partial(groups, size=max(a, b), interval=a, rounds=c),
            plans.groups(n, size=max(a, b), interval=a, rounds=c),
            "scores",
        ),
        "tournament": (partial(tournament, rounds=c), plans.tournament(n, rounds=c), "order"),
        "given stages": (
            partial(tournament, stages=[(a, b), (1, c)]),
            plans.tournament(n, stages=[(a, b), (1, c)]),
            "order",
        ),
        "sliding_window": (partial(sliding_window, **window), plans.sliding_window(n, **window), "order"),
        "heap": (partial(heap, children=a, k=b, shuffle=False), plans.heap(n, children=a, k=b), "winner"),
        "pair_heap": (partial(pair_heap, k=b, compat=compat), plans.pair_heap(n, k=b, compat=compat), "winner"),
        "bubble": (
            partial(bubble, children=a, k=b, compat=compat, shuffle=False),
            plans.bubble(n, children=a, k=b, compat=compat),
            "winner",
        ),
        "sliding_pairs": (
            partial(sliding_pairs, passes=b, shrinking=a > 3, compat=compat),
            plans.sliding_pairs(n, passes=b, shrinking=a > 3, compat=compat),
            "winner",
        ),
    }[kind]


KINDS = (
    "pointwise", "one_shot", "allpair", "groups", "tournament", "given stages",
    "sliding_window", "heap", "pair_heap", "bubble", "sliding_pairs",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@given(
    n=st.integers(0, 24),
    a=st.integers(1, 8),
    b=st.integers(1, 26),
    c=st.integers(1, 3),
    seed=st.integers(),
    unreadable=st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=60)
def test_no_answers_leave_the_bounds_of_a_plan(kind, n, a, b, c, seed, unreadable):
    ordering, plan, reads = ordering_and_plan(kind, n, a, b, c)
    game = play(ordering(Toy(), listing_of(range(n))), arbitrary(seed, reads, unreadable))
    assert plan.calls_min <= game.distinct <= plan.calls_max
    assert plan.calls_min <= plan.calls_mean <= plan.calls_max
    assert len(game.batches) <= plan.depth
    assert max((len(text.split()) for text in game.shown), default=0) <= plan.shown
    if plan.calls_min == plan.calls_max:
        assert game.calls == plan.calls_max or kind in ("sliding_window", "sliding_pairs")
    if kind in ("pointwise", "one_shot", "allpair", "groups", "tournament", "given stages"):
        assert len(game.batches) == plan.depth and plan.calls_min == plan.calls_max


def second(messages):
    """The first child wins over its parent, whatever it is."""
    return "1"


@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 70))
@settings(max_examples=60)
def test_the_most_of_a_heap_is_reached(n, children, k):
    plan = plans.heap(n, children=children, k=k)
    game = play(heap(Toy(), listing_of(range(n)), children=children, k=k, shuffle=False), second)
    assert (game.calls, len(game.batches)) == (plan.calls_max, plan.depth)


@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 70))
@settings(max_examples=60)
def test_the_fewest_of_a_heap_are_reached(n, children, k):
    plan = plans.heap(n, children=children, k=k)
    game = play(heap(Toy(), listing_of(range(n)), children=children, k=k, shuffle=False), lambda _: "0")
    assert game.calls == game.distinct
    again = n > children + 1 and k >= max(children + 1, n - children)
    assert game.calls == plan.calls_min + again


@pytest.mark.parametrize(("ordering", "plan_of"), [(heap, plans.heap), (bubble, plans.bubble)])
@given(
    n=st.integers(2, 24), children=st.integers(2, 8), k=st.integers(1, 5), votes=st.integers(2, 7), seed=st.integers()
)
@settings(max_examples=60)
def test_every_vote_of_a_choice_is_a_call(ordering, plan_of, n, children, k, votes, seed):
    once = play(ordering(Toy(), listing_of(range(n)), children=children, k=k, shuffle=False), best)
    game = play(ordering(Toy(), listing_of(range(n)), children=children, k=k, votes=votes, seed=seed), best)
    assert game.calls == votes * once.calls and game.calls <= plan_of(n, children=children, k=k, votes=votes).calls_max


def asked_under_all_answers(game_of):
    """How many different groups a game asks about, for each way in which they can be answered."""
    script = []
    while True:
        won, sizes, left = {}, [], iter(script)
        game, replies = game_of(), None
        with contextlib.suppress(StopIteration):
            while True:
                replies = game.send(replies)
                for i, group in enumerate(map(tuple, replies)):
                    if group not in won:
                        won[group] = next(left, 0)
                        sizes.append(len(group))
                    replies[i] = group[won[group]]
        yield len(won)
        script = list(won.values())
        while script and script[-1] + 1 == sizes[len(script) - 1]:
            script.pop()
        if not script:
            return
        script[-1] += 1


@pytest.mark.parametrize(("n", "children"), [(2, 1), (3, 1), (4, 1), (4, 2), (5, 2), (6, 2), (5, 3), (6, 3), (7, 4)])
def test_a_group_of_the_build_may_come_together_again(n, children):
    for k in range(
        1, n + 1
    ):  # with the 3 best of 4, two children: 3 different calls, where 4 were said to be the fewest
        plan = plans.heap(n, children=children, k=k)
        asked = list(
            itertools.islice(asked_under_all_answers(lambda k=k: best_of_heap(n, children=children, k=k)), 20_000)
        )
        assert min(asked) == plan.calls_min
        assert max(asked) == plan.calls_max or (children == 1 and max(asked) < plan.calls_max)


@given(st.integers(0, 70), st.integers(1, 75))
@settings(max_examples=60)
def test_the_most_of_a_pair_heap_is_reached(n, k):
    plan = plans.pair_heap(n, k=k)
    asked, rounds, won = 0, 0, set()
    game, replies = pair_heap_game(n, k=k, compat="upstream"), None
    try:
        while True:
            pairs = game.send(replies)
            asked, rounds = asked + len(pairs), rounds + 1
            # the left child beats its parent, the right one does not beat the left: every path goes to the leftmost leaf
            replies = [highest if highest in won else child for child, highest in pairs]
            won = set(replies)
    except StopIteration:
        pass
    assert (min(2 * asked, n * (n - 1)), rounds) == (plan.calls_max, plan.depth)  # there are no more pairs


def test_the_bounds_of_bubbles_and_windows_are_reached():
    same = play(bubble(Toy(), listing_of(range(100, 0, -1)), children=9, k=10), best)
    assert same.distinct == plans.bubble(100, children=9, k=10).calls_min
    worst = play(bubble(Toy(), listing_of(range(100)), children=19, k=10), best)
    assert worst.distinct == plans.bubble(100, children=19, k=10).calls_max
    still = play(sliding_window(Toy(), listing_of(range(100, 0, -1)), passes=3), in_order)
    assert still.distinct == plans.sliding_window(100, passes=3).calls_min == 9
    restless = play(sliding_window(Toy(), listing_of(range(100)), passes=3), arbitrary(1, "order", 0.0))
    assert restless.distinct == plans.sliding_window(100, passes=3).calls_max == 27


@pytest.mark.parametrize("kind", ["heap", "pair_heap", "bubble", "sliding_pairs", "sliding_window"])
def test_the_mean_is_what_a_perfect_oracle_is_asked_in_other_random_orders(kind):
    ordering, plan, reads = ordering_and_plan(kind, 40, 4, 9, 2)
    rng = random.Random(kind)
    oracle = in_order if reads == "order" else best
    asked = [play(ordering(Toy(), listing_of(rng.sample(range(40), 40))), oracle).distinct for _ in range(80)]
    error = (statistics.stdev(asked) ** 2 * (1 / 80 + 1 / 100)) ** 0.5
    assert plan.calls_mean == pytest.approx(statistics.mean(asked), abs=max(4 * error, 0.2))


def test_a_mean_is_the_same_every_time_and_soon_there_for_long_lists():
    first = plans.pair_heap(60, k=7)
    plans._pair_heap_mean.cache_clear()
    assert plans.pair_heap(60, k=7) == first
    assert plans.sliding_pairs(1000, passes=10).calls_max == 19890


class Ordered(Toy):
    def __init__(self, ordering):
        self.order = partial(ordering, self)


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("shuffles", [1, 4])
def test_a_repeated_ordering_costs_its_repeats(passes, shuffles):
    once = plans.sliding_window(30, size=10, stride=5)
    plan = plans.repeated(once, 30, passes=passes, shuffles=shuffles)
    reranker = Ordered(partial(sliding_window, size=10, stride=5))
    steps = repeated(reranker, listing_of(range(30)), passes=passes, shuffles=shuffles)
    game = play(steps, arbitrary(1, "order", 0.0))
    assert game.calls == plan.calls_max == plan.calls_mean == passes * shuffles * 5
    assert len(game.batches) == plan.depth == passes * 5
    still = play(repeated(reranker, listing_of(range(30, 0, -1)), passes=passes), in_order)
    assert still.distinct == once.calls_min
    assert plan.calls_min == once.calls_min and plan.shown == 10


@pytest.mark.parametrize("ordering", [pointwise, allpair, partial(allpair, both_orders=False)])
@pytest.mark.parametrize(("passes", "shuffles"), [(3, 1), (1, 5), (2, 3), (1, 60)])
def test_repeats_ask_no_more_than_the_prompts_that_there_are(ordering, passes, shuffles):
    n, plain = 6, getattr(ordering, "func", ordering)
    once = getattr(plans, plain.__name__)(n, **getattr(ordering, "keywords", {}))
    plan = plans.repeated(once, n, passes=passes, shuffles=shuffles)
    game = play(
        repeated(Ordered(ordering), listing_of(range(n)), passes=passes, shuffles=shuffles), arbitrary(1, "x", 0.0)
    )
    prompts = n if plain is pointwise else n * (n - 1)
    assert plan.calls_min <= game.distinct <= plan.calls_max == min(prompts, once.calls_max * passes * shuffles)
    assert plan.calls_mean == plan.calls_max and plan.depth == passes
    if (passes * shuffles) > 50 or plain is pointwise:
        assert game.distinct == prompts


@pytest.mark.parametrize("votes", [2, 3])
def test_votes_and_rounds_of_two_are_answers_of_their_own_in_repeats_too(votes):
    """Capped by the pairs that there are, 29 calls were planned as 20 at most."""
    n, listing = 5, listing_of([3, 1, 4, 2, 0])
    for ordering, once in (
        (partial(bubble, children=1, k=1, votes=votes), plans.bubble(n, children=1, k=1, votes=votes)),
        (partial(heap, children=1, k=1, votes=votes), plans.heap(n, children=1, k=1, votes=votes)),
        (partial(groups, size=2, rounds=votes, seed=1), plans.groups(n, size=2, rounds=votes)),
    ):
        for repeats in (3, 30):
            plan = plans.repeated(once, n, passes=1, shuffles=repeats)
            game = play(repeated(Ordered(ordering), listing, shuffles=repeats), arbitrary(1, "order", 1.0))
            assert plan.calls_min <= game.distinct <= plan.calls_max <= max(once.calls_max, votes * n * (n - 1))


def test_a_protocol_with_more_prompts_than_candidates_is_not_capped_by_these():
    assert plans.repeated(plans.pointwise(4).times(2), 4, passes=3).calls_max == 24


def test_plans_are_joined():
    two = plans.pointwise(100).then(plans.pointwise(100))
    assert two == Plan(200, 200.0, 200, 2, 1)
    assert plans.groups(100).then(plans.sliding_window(10, size=5, stride=2)).shown == 20
    assert plans.pointwise(3).times(2) == Plan(6, 6.0, 6, 1, 1)
    assert plans.repeated(plans.pointwise(5), 5) == plans.pointwise(5)


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_lists_without_a_choice_cost_nothing_unless_they_are_scored(kind, n):
    _, plan, _ = ordering_and_plan(kind, n, 3, 5, 2)
    calls = n * {"pointwise": 1, "groups": 2}.get(kind, 0)  # scored all the same
    assert plan == (Plan(calls, float(calls), calls, 1, 1) if calls else Plan(0, 0.0, 0, 0, 0))


@pytest.mark.parametrize(
    ("plan", "wrong"),
    [
        (plans.heap, {"children": 0, "k": 1}),
        (plans.heap, {"children": 1, "k": 1, "votes": 0}),
        (plans.bubble, {"children": 0, "k": 1}),
        (plans.pair_heap, {"k": 0}),
        (plans.sliding_window, {"size": 0}),
        (plans.sliding_pairs, {"passes": 0}),
        (plans.groups, {"rounds": 0}),
        (plans.tournament, {"rounds": 0}),
    ],
)
def test_plans_of_what_cannot_be_are_refused(plan, wrong):
    with pytest.raises(ConfigError, match="must be 1 or more"):
        plan(10, **wrong)


class Guessing:
    """Scores choices and writes labels, letters, grades and nonsense at random, the same for the same request."""

    def generate(self, requests, on_answer=None):
        return told([self.answer(request) for request in requests], on_answer)

    def answer(self, request):
        rng = random.Random(request.key)
        if request.choices:
            return Answer("", scores=tuple(rng.choice([None, rng.gauss(0, 1)]) for _ in request.choices))
        number, letter = rng.randint(1, 20), rng.choice("ABC")
        said = rng.choice(
            [
                "I am sorry",
                f"<think>hm</think><answer>[{number}]</answer>",
                f"[{number}] > [1] > [2]",
                f"<reason>r</reason><answer>```json\n{{\"[1]\": 7, \"[{number}]\": 3}}\n```</answer>",
                f"Passage {letter}",
                f"Document {number}, Document 1",
                f"reasons </think> {rng.choice(['true', 'false', ''])}",
                f"<think>t</think><answer>{number % 11}</answer>",
            ]
        )  # fmt: skip
        words = tuple(Token(word, -0.1, ((" true", -0.2), (" false", -1.7))) for word in said.split(" "))
        return Answer(said, tokens=words if request.logprobs else (), finish_reason=rng.choice(["stop", "length"]))


@pytest.mark.parametrize("name", names("rerankers"))
@pytest.mark.parametrize("n", [0, 1, 2, 7, 23, 45])
def test_no_reranker_on_the_shelf_leaves_the_bounds_of_its_plan(name, n):
    reranker = lookup(name, "rerankers")()
    plan = reranker.plan(n)
    for qid in ("a", "b"):
        ledger, shown = Ledger(Guessing()), []
        texts = (Candidate(f"d{i}", f"text {qid} {i}", score=float(n - i)) for i in range(n))
        listing = CandidateList(Query(qid, "query"), tuple(texts))
        drive([reranker.order(listing)], ledger, on_call=lambda request, _, shown=shown: shown.append(request.shown))
        assert plan.calls_min <= ledger.cost.calls <= plan.calls_max
        assert ledger.cost.depth <= plan.depth
        assert max((len(part) for part in shown if part is not None), default=0) <= plan.shown
        assert plan.shown <= max(reranker.shown, 1)
