"""A reranker with an engine: strings or candidates in, scored candidates out.

reranker = load_reranker("rank_r1", model="OUT/")
for found in reranker.rerank("who wrote faust?", ["a passage", "another passage"]):
    print(found.rank, found.docid, found.text)
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankrl.cards import (
    check_card,
    check_tokens,
    parameters,
    part_of,
    prompt_fingerprint,
    read_reranker_card,
    settings,
    token_fingerprint,
    with_clip,
    write_reranker_card,
)
from rankrl.contracts import Engine, Reranker, Steps, reading_of, request_of
from rankrl.engines.drive import drive_all
from rankrl.engines.journal import Asker, Journal, check_journal
from rankrl.engines.ledger import Cost, Ledger, Limits
from rankrl.errors import ConfigError, DataError, unknown_name
from rankrl.lookup import lookup
from rankrl.types import Answer, Candidate, CandidateList, Query, Ranking, Reading, Request

__all__ = [
    "Call",
    "LoadedReranker",
    "ScoredCandidate",
    "build_reranker",
    "engine_class",
    "engine_names",
    "load_reranker",
    "part_of",
    "prompt_fingerprint",
    "read_options",
    "read_reranker_card",
    "settings",
    "with_clip",
    "write_reranker_card",
]

_ENGINES = Path(__file__).with_name("engines")


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """One candidate in its new place; `score` only orders: n for the first of n candidates, 1 for the last.

    docid: the candidate's, or the position in the input (0-based) of a plain string. first_stage_rank: where it stood
    before, from 1. raw_score: the protocol's own score, None where it has none.
    """

    docid: str
    text: str
    title: str
    score: float
    rank: int
    first_stage_rank: int
    raw_score: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the model as it was made while reranking: what was shown, what was said, how it was read, what was asked."""

    listing: CandidateList
    answer: Answer
    reading: Reading
    request: Request


class LoadedReranker:
    """A reranker and the engine that answers its requests.

    journal: a file that keeps the answers, so that what was asked once is not asked again. limits: where to stop; they hold for
    all that is reranked with this object.
    readings: status ('ok', 'repaired', 'failed') -> readings so far: one per request of a list, so an answer counts again when
    the same list asks for it again (a later pass) or another list does. stopped: the limit that ended the last `rerank_lists`,
    in words; "" when none did. unfinished: the qids whose order is only the best so far then, or still the first stage's.
    """

    def __init__(
        self,
        name: str,
        reranker: Reranker,
        engine: Engine,
        *,
        journal: str | Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.name, self.reranker, self.engine = name, reranker, engine
        self.readings: Counter[str] = Counter()
        self.stopped, self.unfinished = "", frozenset[str]()
        self.journal: Journal | None = None
        if journal is not None:
            asker = Asker(name, settings(reranker), prompt_fingerprint(reranker))
            self.journal = Journal(engine, journal, asker=asker)
        self._ledger = Ledger(self.journal or engine, limits)
        self._fingerprints: dict[str, str] | None = None

    @property
    def cost(self) -> Cost:
        """Sums over all calls so far."""
        return self._ledger.cost

    @property
    def fingerprints(self) -> dict[str, str]:
        """What the answers hang on, for a run's description: SHA-256 of prompt and tokens, and the engine's own fingerprint.

        tokens is there when the engine has a tokenizer, engine when it has a fingerprint.
        """
        if self._fingerprints is None:
            found = {"prompt": prompt_fingerprint(self.reranker)}
            if (tokenizer := getattr(self.engine, "tokenizer", None)) is not None:
                told = getattr(self.engine, "chat_template_kwargs", None)
                found["tokens"] = token_fingerprint(self.reranker, tokenizer, told)
            own = self.journal.fingerprint if self.journal else getattr(self.engine, "fingerprint", None)
            self._fingerprints = {**found, "engine": str(own)} if own else found
        return dict(self._fingerprints)

    def close(self) -> None:
        """Closes the journal; it opens again when it is needed."""
        if self.journal is not None:
            self.journal.close()

    def rerank(self, query: str | Query, candidates: Sequence[str | Candidate]) -> list[ScoredCandidate]:
        """All candidates, best first. Equal strings are different candidates; no candidates, empty list.

        Raises:
            DataError: an empty query, candidates that are neither strings nor `Candidate`s, a docid twice.
        """
        listing = _listing(query, candidates)
        (ranking,) = self.rerank_lists([listing])
        scores = ranking.scores or (None,) * len(listing)
        return [
            ScoredCandidate(c.docid, c.text, c.title, float(len(listing) - n), n + 1, position + 1, scores[position])
            for n, position in enumerate(ranking.order)
            for c in [listing.candidates[position]]
        ]

    def rerank_lists(
        self,
        listings: Sequence[CandidateList],
        *,
        max_live: int = 512,
        passes: int = 1,
        shuffles: int = 1,
        on_round: Callable[[int, int], None] | None = None,
        on_call: Callable[[Call], None] | None = None,
        on_answer: Callable[[Request, Answer], None] | None = None,
    ) -> list[Ranking]:
        """One Ranking per list; up to `max_live` lists are reranked together.

        passes: how often each list is reranked, each time from the order before. shuffles: from so many random orders of a list,
        whose rankings are averaged. on_round(lists finished, requests answered) is called after each round of requests, on_call
        for every request that a list has asked, as soon as the list goes on, on_answer for every answer as it comes.

        A limit ends the lists that are not finished with the best so far, see `stopped` and `unfinished`. With limits that not
        all lists can be expected to keep, fewer run together, so that some are finished when it is reached.
        """

        def heard(request: Request, answer: Answer) -> None:
            if request.shown is None:
                return
            reading = reading_of(self.reranker, answer, len(request.shown))
            self.readings[reading.report.status] += 1
            if on_call is not None:
                on_call(Call(request.shown, answer, reading, request))

        order = self._order(passes, shuffles)
        driven = drive_all(
            (order(listing) for listing in listings),
            self._ledger,
            max_live=self._live(listings, max_live, passes, shuffles),
            on_round=on_round,
            on_call=heard,
            on_answer=on_answer,
        )
        self.stopped = driven.stopped
        self.unfinished = frozenset(listings[i].query.qid for i in driven.unfinished)
        return [
            Ranking(tuple(range(len(listing)))) if ranking is None else ranking
            for ranking, listing in zip(driven.rankings, listings, strict=True)
        ]

    def _order(self, passes: int, shuffles: int) -> Callable[[CandidateList], Steps]:
        if passes == shuffles == 1:
            return self.reranker.order
        from rankrl.strategies.repeats import repeated

        return lambda listing: repeated(self.reranker, listing, passes=passes, shuffles=shuffles)

    def _live(self, listings: Sequence[CandidateList], max_live: int, passes: int, shuffles: int) -> int:
        """How many lists may run together; few when a limit will end them, for those under way at the end stay unfinished.

        That is at most an eighth of those that the limit is enough for, by the reranker's plan.
        """
        plan = getattr(self.reranker, "plan", None)
        if plan is None or not self._ledger.limited or not listings:
            return max_live
        from rankrl.strategies.plans import repeated

        listing = max(listings, key=len)
        n = len(listing)
        calls = max(1.0, repeated(plan(n), n, passes=passes, shuffles=shuffles).calls_mean)
        shown = listing.pick(range(min(n, getattr(self.reranker, "shown", None) or n)))
        room = self._ledger.room(request_of(self.reranker, shown)) / calls
        return max_live if room >= len(listings) else max(1, min(max_live, int(room / 8)))


def _listing(query: str | Query, candidates: Sequence[str | Candidate]) -> CandidateList:
    asked = Query("", query) if isinstance(query, str) else query
    if not asked.text.strip():
        raise DataError("the query is empty; give a text to rank the candidates for")
    if isinstance(candidates, (str, Candidate)):
        raise DataError(f"candidates is one {type(candidates).__name__}; give a list of strings or of Candidates")
    made = []
    for position, candidate in enumerate(candidates):
        if not isinstance(candidate, (str, Candidate)):
            raise DataError(f"candidate {position} is {type(candidate).__name__}; give a string or a Candidate")
        made.append(Candidate(str(position), candidate) if isinstance(candidate, str) else candidate)
    return CandidateList(asked, tuple(made))


def load_reranker(
    name: str,
    model: str | Path | None = None,
    *,
    engine: str | Engine | None = None,
    card: bool = True,
    journal: str | Path | None = None,
    limits: Limits | None = None,
    **options: Any,
) -> LoadedReranker:
    """A reranker ready to use.

    name: one of `rankrl list rerankers`, or `package.module:Class`. model: a folder or hub name, for the engine.
    engine: a name, or an object with `generate`; None is the one that the reranker names, "transformers" for most.
    options: fields of the reranker (`num_child`, `k`, …) and options of the engine (`max_new_tokens`, `batch_size`,
    …); one that both have, such as `seed`, goes to both. A folder that training has written brings its options along;
    those given here win. `card=False` ignores them and skips their checks. journal: a file that keeps every answer, see
    `rankrl.engines.journal`. limits: where to stop.

    Raises:
        ConfigError: an unknown name or option; the model was trained with another reranker, or with other prompts or tokens
            than are used now; a journal for an engine without fingerprint.
        DataError: no model there; a file that is no journal.
    """
    part = part_of(name)
    engine = getattr(part, "engine", "transformers") if engine is None else engine
    make = engine_class(engine) if isinstance(engine, str) else None
    fields_known = parameters(part) - {"clip"}
    engine_known = parameters(make) - {"model"} if make is not None else set()
    for option in options:
        if option not in fields_known | engine_known:
            raise unknown_name(f"option of {name}", option, fields_known | engine_known)
    own = {option: value for option, value in options.items() if option in fields_known}
    reranker = build_reranker(name, own, model=model if card else None)
    if journal is not None:
        check_journal(journal)
    found = read_reranker_card(model) if card and model is not None else None
    if found is not None:
        options = {**found.engine_options, **options}
    options = {**getattr(part, "decoding", {}), **options}
    if make is None:
        answering: Any = engine
    elif model is None:
        raise ConfigError(f"{name} needs a model to ask: give model=FOLDER, or an engine object")
    else:
        answering = make(model, **{option: value for option, value in options.items() if option in engine_known})
    if found is not None and (tokenizer := getattr(answering, "tokenizer", None)) is not None:
        check_tokens(found, part, tokenizer)
    clipped = with_clip(reranker, getattr(answering, "clip", None))
    return LoadedReranker(name, clipped, answering, journal=journal, limits=limits)


def build_reranker(name: str, options: Mapping[str, Any], *, model: str | Path | None = None) -> Reranker:
    """The reranker of that name with these fields, for training; the card of `model`, when it has one, gives the defaults.

    Raises:
        ConfigError: an unknown name or field; the model was trained with another reranker or other prompts.
    """
    part = part_of(name)
    known = parameters(part) - {"clip"}
    for option in options:
        if option not in known:
            raise unknown_name(f"option of {name}", option, known)
    if model is not None and (card := read_reranker_card(model)) is not None:
        check_card(card, name, part)
        options = {**card.options, **options}
    built: Reranker = part(**options)
    return built


def read_options(pairs: Sequence[str]) -> dict[str, Any]:
    """name -> value of `name=value` pairs; true, false and numbers are read as such, everything else is a string.

    Raises:
        ConfigError: a pair without `=`, or a name twice.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"option {pair!r}: give NAME=VALUE, such as num_child=4")
        if key in options:
            raise ConfigError(f"option {key!r} is given twice")
        try:
            options[key] = json.loads(value.lower() if value in ("True", "False") else value)
        except ValueError:
            options[key] = value
    return options


def engine_names() -> list[str]:
    """The engines there are: modules of `rankrl.engines` that define a class `…Engine`."""
    return sorted(path.stem for path in _ENGINES.glob("*.py") if _engine_class(path))


def engine_class(name: str) -> Any:
    """The class of an engine, by the name of its module or as `package.module:Class`.

    Raises:
        ConfigError: no engine has that name.
    """
    return lookup(_engine_spec(name), "engines")


def _engine_class(path: Path) -> str | None:
    found = re.search(r"^class (\w+Engine)\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


def _engine_spec(name: str) -> str:
    if ":" in name:
        return name
    if name not in engine_names():
        raise unknown_name("engine", name, engine_names())
    return f"rankrl.engines.{name}:{_engine_class(_ENGINES / f'{name}.py')}"
