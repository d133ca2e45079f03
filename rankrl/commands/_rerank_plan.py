"""What a reranking will cost, before it is spent: calls by closed form, tokens from real prompts, no weights."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rankrl.commands._tables import json_text, table
from rankrl.types import Answer, Request

if TYPE_CHECKING:
    from rankrl.commands._rerank_tokens import Counter
    from rankrl.contracts import Reranker
    from rankrl.strategies.plans import Plan
    from rankrl.types import CandidateList

_TOPICS = 8  # whose prompts are looked at, spread over all
_PROMPTS = 4000  # enough of them have been built after so many
_COUNTED = 64  # prompts of a topic whose tokens are counted


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls over all topics: fewest, expected, most; the longest chain of dependent calls of a topic; passages per prompt.

    measured: the reranker has no closed form, and its ordering was run on answers that cannot be read.
    """

    fewest: int
    expected: float
    most: int
    depth: int
    shown: int
    measured: bool = False


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is expected of a reranking. prompt_tokens: (fewest, expected, most), from the mean of `prompts_counted` prompts.

    completion_tokens: at most so many for the fewest, expected and most calls; None where the engine has no limit. context:
    how many tokens the model takes. max_new_tokens: None where choices are scored and nothing is written.
    cost: the same in money; None without prices.
    """

    topics: int
    documents: int
    calls: Calls
    tokens_per_prompt: float
    prompts_counted: int
    topics_sampled: int
    longest_prompt: int
    counted_by: str
    context: int | None
    max_new_tokens: int | None
    prompt_tokens: tuple[int, int, int]
    completion_tokens: tuple[int, int, int] | None
    cost: tuple[float, float, float] | None = None


def expected_calls(
    reranker: Reranker, listings: Sequence[CandidateList], *, passes: int = 1, shuffles: int = 1
) -> Calls | None:
    """The calls for all lists by the reranker's own closed form; None when it has none (no `plan`)."""
    make = getattr(reranker, "plan", None)
    if make is None:
        return None
    of_length = {n: make(n) for n in {len(listing) for listing in listings}}
    return _summed(listings, of_length, passes, shuffles)


def _summed(
    listings: Sequence[CandidateList],
    of_length: Mapping[int, Plan],
    passes: int,
    shuffles: int,
    *,
    measured: bool = False,
) -> Calls:
    from rankrl.strategies.plans import repeated

    whole = {n: repeated(plan, n, passes=passes, shuffles=shuffles) for n, plan in of_length.items()}
    plans = [whole[len(listing)] for listing in listings]
    return Calls(
        sum(plan.calls_min for plan in plans),
        sum(plan.calls_mean for plan in plans),
        sum(plan.calls_max for plan in plans),
        max((plan.depth for plan in plans), default=0),
        max((plan.shown for plan in plans), default=0),
        measured,
    )


def measured_calls(
    reranker: Reranker, listings: Sequence[CandidateList], *, passes: int = 1, shuffles: int = 1
) -> Calls:
    """The calls for all lists as its ordering makes them when no answer can be read: one list of each length is run."""
    from rankrl.strategies.plans import Plan

    of_length: dict[int, Plan] = {}
    for listing in listings:
        if len(listing) not in of_length:
            rounds = list(_rounds(reranker, listing))
            requests = [request for new in rounds for request in new]
            shown = [len(request.shown) for request in requests if request.shown is not None]
            calls, depth = len(requests), sum(map(bool, rounds))
            of_length[len(listing)] = Plan(calls, float(calls), calls, depth, max(shown, default=0))
    return _summed(listings, of_length, passes, shuffles, measured=True)


def _rounds(reranker: Reranker, listing: CandidateList) -> Iterator[list[Request]]:
    """What an ordering asks, round by round, when nobody answers anything that can be read; equal requests once."""
    steps = reranker.order(listing)
    seen: set[str] = set()
    with suppress(StopIteration):
        requests = next(steps)
        while True:
            new = {request.key: request for request in requests if request.key not in seen}
            seen.update(new)
            yield list(new.values())
            requests = steps.send([_unreadable(request) for request in requests])


def _unreadable(request: Request) -> Answer:
    return Answer("", scores=(None,) * len(request.choices))


def estimate(
    reranker: Reranker,
    listings: Sequence[CandidateList],
    *,
    count: Counter,
    max_new_tokens: int | None,
    passes: int = 1,
    shuffles: int = 1,
    prices: tuple[float, float] | None = None,
) -> Estimate:
    """What reranking the lists will cost; prompts of some topics are built and counted, the model is not asked.

    prices: of a million prompt and completion tokens.
    """
    calls = expected_calls(reranker, listings, passes=passes, shuffles=shuffles)
    if calls is None:
        calls = measured_calls(reranker, listings, passes=passes, shuffles=shuffles)
    requests, topics = _sample(reranker, listings)
    counts = [count.tokens(request) for request in requests]
    mean = sum(counts) / len(counts) if counts else 0.0
    three = (calls.fewest, calls.expected, calls.most)
    prompt = tuple(round(mean * n) for n in three)
    scored = sum(bool(request.choices) for request in requests) / max(
        1, len(requests)
    )  # of them; these generate nothing
    completion = None
    if max_new_tokens is not None or scored == 1:
        per_answer = (1 - scored) * (max_new_tokens or 0) + scored * count.per_choice
        completion = tuple(round(n * per_answer) for n in three)
    cost = None
    if prices is not None and completion is not None:
        cost = tuple((i * prices[0] + o * prices[1]) / 1e6 for i, o in zip(prompt, completion, strict=True))
    return Estimate(
        len(listings),
        sum(map(len, listings)),
        calls,
        mean,
        len(counts),
        topics,
        max(counts, default=0),
        count.by,
        count.context,
        max_new_tokens if scored < 1 else None,
        (prompt[0], prompt[1], prompt[2]),
        None if completion is None else (completion[0], completion[1], completion[2]),
        None if cost is None else (cost[0], cost[1], cost[2]),
    )


def _sample(reranker: Reranker, listings: Sequence[CandidateList]) -> tuple[list[Request], int]:
    """(prompts to count, topics they are of): some of each of a few topics that are spread over all."""
    asked = [listing for listing in listings if len(listing)]
    step = max(1, -(-len(asked) // _TOPICS))
    chosen: list[Request] = []
    built = topics = 0
    for listing in asked[::step]:
        requests = list(itertools.chain.from_iterable(_rounds(reranker, listing)))
        built, topics = built + len(requests), topics + 1
        chosen += requests[:: max(1, -(-len(requests) // _COUNTED))]
        if built >= _PROMPTS:
            break
    return chosen, topics


def remarks(args: argparse.Namespace, found: Estimate) -> Iterator[str]:
    """What somebody who is about to spend this should know, one line each."""
    calls = found.calls
    if calls.measured:
        yield (
            f"{args.reranker} has no plan of its calls: they were measured on unreadable answers, and readable ones may "
            "ask more or fewer"
        )
    room = None if found.context is None else found.context - (found.max_new_tokens or 0)
    if room is not None and found.longest_prompt > room:
        yield (
            f"prompts do not fit: one has {found.longest_prompt:,} tokens, the model takes {found.context:,}, and "
            f"{found.max_new_tokens or 0:,} are kept for the answer (max_new_tokens)"
        )
    if args.max_calls is not None and args.max_calls < calls.most:
        sure = "will" if args.max_calls < calls.fewest else "may"
        yield f"--max-calls {args.max_calls} {sure} stop it: {_span(calls)} calls"
    if args.max_tokens is not None:
        most = found.prompt_tokens[2] + (found.completion_tokens[2] if found.completion_tokens else 0)
        if args.max_tokens < most:
            sure = "will" if args.max_tokens < found.prompt_tokens[0] else "may"
            yield f"--max-tokens {args.max_tokens} {sure} stop it: up to {most:,} tokens"
    if args.max_cost is not None and found.cost is not None and args.max_cost < found.cost[2]:
        yield f"--max-cost {args.max_cost:g} may stop it: up to {found.cost[2]:,.2f}"


def _span(calls: Calls) -> str:
    return f"{calls.fewest:,}" if calls.fewest == calls.most else f"{calls.fewest:,} to {calls.most:,}"


def as_table(args: argparse.Namespace, found: Estimate, over: str) -> str:
    """The estimate for people."""
    calls = found.calls
    heads = ["", "fewest", "expected", "most"]
    rows = [
        ["calls", *(f"{n:,.0f}" for n in (calls.fewest, calls.expected, calls.most))],
        ["prompt tokens", *(f"{n:,}" for n in found.prompt_tokens)],
    ]
    if found.completion_tokens is not None:
        rows.append(["completion tokens, at most", *(f"{n:,}" for n in found.completion_tokens)])
    if found.cost is not None:
        rows.append(["cost, at most", *(f"{money:,.4f}" for money in found.cost)])
    repeats = f", {args.passes} passes" if args.passes > 1 else ""
    repeats += f", {args.shuffles} shuffles" if args.shuffles > 1 else ""
    per_topic = calls.expected / max(1, found.topics)
    said = [
        f"{args.reranker} over {over}: {found.topics:,} topics, {found.documents:,} documents to a depth of {args.depth}"
        f"{repeats}",
        "",
        table(heads, rows).rstrip("\n"),
        "",
        f"calls per topic      {per_topic:,.1f}" + (" (exact)" if calls.fewest == calls.most else ""),
        f"dependent calls      {calls.depth} in the longest chain of a topic",
        f"passages per prompt  {calls.shown} at most",
        f"tokens per prompt    {found.tokens_per_prompt:,.1f}, the mean of {found.prompts_counted} prompts of "
        f"{found.topics_sampled} topics, counted by {found.counted_by}",
    ]
    if found.max_new_tokens is not None:
        said.append(f"tokens per answer    {found.max_new_tokens:,} at most (max_new_tokens)")
    return "\n".join(said) + "\n"


def as_json(args: argparse.Namespace, found: Estimate, collection: Mapping[str, Any]) -> str:
    """The estimate for programs."""
    settings = {"reranker": args.reranker, "depth": args.depth, "passes": args.passes, "shuffles": args.shuffles}
    return json_text({**settings, **collection, **asdict(found), "exact": found.calls.fewest == found.calls.most})
