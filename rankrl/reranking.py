"""A reranker with an engine: strings or candidates in, scored candidates out; and the card that a trained model carries.

reranker = load_reranker("rank_r1", model="OUT/")
for found in reranker.rerank("who wrote faust?", ["a passage", "another passage"]):
    print(found.rank, found.docid, found.text)
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from rankrl import __version__
from rankrl.contracts import Engine, Reranker, reading_of
from rankrl.engines.drive import drive
from rankrl.engines.ledger import Cost, Ledger
from rankrl.errors import ConfigError, DataError, unknown_name
from rankrl.files import atomic_writer, open_text
from rankrl.lookup import lookup
from rankrl.types import Answer, Candidate, CandidateList, Query, Ranking, Reading, Request

CARD = "rankrl.json"
"""The file beside a trained model that says with which reranker and options it was trained."""

_ENGINES = Path(__file__).with_name("engines")


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """One candidate in its new place; `score` only orders: n for the first of n candidates, 1 for the last.

    docid: the candidate's, or the position in the input (0-based) of a plain string. first_stage_rank: where it stood
    before, from 1.
    """

    docid: str
    text: str
    title: str
    score: float
    rank: int
    first_stage_rank: int


@dataclass(frozen=True, slots=True)
class Call:
    """One prompt to the model as it was made while reranking: what was shown, what was said, how it was read."""

    listing: CandidateList
    answer: Answer
    reading: Reading


class LoadedReranker:
    """A reranker and the engine that answers its requests.

    readings: status ('ok', 'repaired', 'failed') -> answers read so far.
    """

    def __init__(self, name: str, reranker: Reranker, engine: Engine) -> None:
        self.name, self.reranker, self.engine = name, reranker, engine
        self.readings: Counter[str] = Counter()
        self._ledger = Ledger(engine)

    @property
    def cost(self) -> Cost:
        """Sums over all calls so far."""
        return self._ledger.cost

    def rerank(self, query: str | Query, candidates: Sequence[str | Candidate]) -> list[ScoredCandidate]:
        """All candidates, best first. Equal strings are different candidates; no candidates, empty list.

        Raises:
            DataError: an empty query, candidates that are neither strings nor `Candidate`s, a docid twice.
        """
        listing = _listing(query, candidates)
        (ranking,) = self.rerank_lists([listing])
        return [
            ScoredCandidate(c.docid, c.text, c.title, float(len(listing) - n), n + 1, position + 1)
            for n, position in enumerate(ranking.order)
            for c in [listing.candidates[position]]
        ]

    def rerank_lists(
        self,
        listings: Sequence[CandidateList],
        *,
        max_live: int = 512,
        on_round: Callable[[int, int], None] | None = None,
        on_call: Callable[[Call], None] | None = None,
    ) -> list[Ranking]:
        """One Ranking per list; up to `max_live` lists are reranked together.

        on_round(lists finished, prompts in the round) is called after each round of prompts, on_call for every prompt that a
        list has asked, as soon as the list goes on.
        """

        def heard(request: Request, answer: Answer) -> None:
            if request.shown is None:
                return
            reading = reading_of(self.reranker, answer, len(request.shown))
            self.readings[reading.report.status] += 1
            if on_call is not None:
                on_call(Call(request.shown, answer, reading))

        orders = (self.reranker.order(listing) for listing in listings)
        return drive(orders, self._ledger, max_live=max_live, on_round=on_round, on_call=heard)


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
    **options: Any,
) -> LoadedReranker:
    """A reranker ready to use.

    name: one of `rankrl list rerankers`, or `package.module:Class`. model: a folder or hub name, for the engine.
    engine: a name, or an object with `generate`; None is the one that the reranker names, "transformers" for most.
    options: fields of the reranker (`num_child`, `k`, …) and options of the engine (`max_new_tokens`, `batch_size`,
    …); one that both have, such as `seed`, goes to both. A folder that training has written brings its options along;
    those given here win. `card=False` ignores them and skips their checks.

    Raises:
        ConfigError: an unknown name or option; the model was trained with another reranker, or with other prompts than
            the reranker now builds.
        DataError: no model there.
    """
    part = _part(name)
    engine = getattr(part, "engine", "transformers") if engine is None else engine
    make = lookup(_engine_spec(engine), "engines") if isinstance(engine, str) else None
    fields_known = _parameters(part) - {"clip"}
    engine_known = _parameters(make) - {"model"} if make is not None else set()
    for option in options:
        if option not in fields_known | engine_known:
            raise unknown_name(f"option of {name}", option, fields_known | engine_known)
    own = {option: value for option, value in options.items() if option in fields_known}
    reranker = build_reranker(name, own, model=model if card else None)
    if card and model is not None and (found := read_reranker_card(model)) is not None:
        options = {**found.engine_options, **options}
    options = {**getattr(part, "decoding", {}), **options}
    if make is None:
        answering: Any = engine
    elif model is None:
        raise ConfigError(f"{name} needs a model to ask: give model=FOLDER, or an engine object")
    else:
        answering = make(model, **{option: value for option, value in options.items() if option in engine_known})
    return LoadedReranker(name, with_clip(reranker, getattr(answering, "clip", None)), answering)


def _part(name: str) -> Any:
    """The class of a reranker, after making sure that it is one."""
    part = lookup(name, "rerankers")
    if missing := [method for method in ("prompt", "parse", "order") if not callable(getattr(part, method, None))]:
        raise ConfigError(f"{name!r} is no reranker: it has no {', '.join(missing)}")
    return part


def build_reranker(name: str, options: Mapping[str, Any], *, model: str | Path | None = None) -> Reranker:
    """The reranker of that name with these fields, for training; the card of `model`, when it has one, gives the defaults.

    Raises:
        ConfigError: an unknown name or field; the model was trained with another reranker or other prompts.
    """
    part = _part(name)
    known = _parameters(part) - {"clip"}
    for option in options:
        if option not in known:
            raise unknown_name(f"option of {name}", option, known)
    if model is not None and (card := read_reranker_card(model)) is not None:
        _check_card(card, name, part)
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


def with_clip(reranker: Reranker, clip: Callable[[str, int], str] | None) -> Reranker:
    """The reranker with `clip` to cut texts by tokens, when it has a field for it; else as it is."""
    given: Any = reranker
    if clip is None or "clip" not in _fields(given):
        return reranker
    changed: Reranker = replace(given, clip=clip)
    return changed


def _fields(reranker: Any) -> dict[str, Any]:
    """Name -> value of a dataclass; {} for what is none."""
    return {f.name: getattr(reranker, f.name) for f in fields(reranker)} if is_dataclass(reranker) else {}


def settings(part: Reranker | Engine) -> dict[str, Any]:
    """Option -> value with which a reranker or an engine was made, as far as it keeps it by that name; no functions."""
    kept = {option: getattr(part, option) for option in _parameters(type(part)) if hasattr(part, option)}
    return {option: value for option, value in kept.items() if not callable(value)}


def engine_names() -> list[str]:
    """The engines there are: modules of `rankrl.engines` that define a class `…Engine`."""
    return sorted(path.stem for path in _ENGINES.glob("*.py") if _engine_class(path))


def _engine_class(path: Path) -> str | None:
    found = re.search(r"^class (\w+Engine)\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


def _engine_spec(name: str) -> str:
    if ":" in name:
        return name
    if name not in engine_names():
        raise unknown_name("engine", name, engine_names())
    return f"rankrl.engines.{name}:{_engine_class(_ENGINES / f'{name}.py')}"


def _parameters(make: Any) -> AbstractSet[str]:
    """The names of what it is made with, in their order."""
    return inspect.signature(make).parameters.keys()


@dataclass(frozen=True, slots=True)
class RerankerCard:
    """What a trained model says about the reranker it was trained with."""

    path: Path
    reranker: str
    options: Mapping[str, Any]
    engine_options: Mapping[str, Any]
    prompt_sha256: str


def prompt_fingerprint(reranker: Reranker) -> str:
    """SHA-256 of the prompt for a fixed list of three passages; where texts are cut does not enter it."""
    passages = ("Alpha [1] <answer>.", "Beta beta.\nBeta.", "")
    candidates = tuple(Candidate(str(i), text, f"Title {i}" if i else "") for i, text in enumerate(passages))
    uncut = with_clip(reranker, lambda text, _: text)
    messages = uncut.prompt(CandidateList(Query("q", 'What is "alpha" [2]?'), candidates))
    return hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()


def write_reranker_card(folder: str | Path, name: str, reranker: Reranker, **engine_options: Any) -> Path:
    """Write the card into a model folder, so that `load_reranker(name, model=folder)` asks as training did.

    engine_options: options of the engine that shall be the model's defaults, such as max_new_tokens.
    """
    card = {
        "reranker": name,
        "options": settings(reranker),
        "engine_options": engine_options,
        "prompt_sha256": prompt_fingerprint(reranker),
        "rankrl": __version__,
    }
    with atomic_writer(path := Path(folder) / CARD) as file:
        file.write(json.dumps(card, indent=2) + "\n")
    return path


def read_reranker_card(folder: str | Path) -> RerankerCard | None:
    """The card in a model folder; None when there is none (a model that was not trained here, or a hub name).

    Raises:
        DataError: the file is not a card.
    """
    path = Path(folder) / CARD
    if not path.is_file():
        return None
    with open_text(path, what="reranker card") as file:
        try:
            card = json.load(file)
            options, engine_options = dict(card["options"]), dict(card.get("engine_options", {}))
            return RerankerCard(path, str(card["reranker"]), options, engine_options, str(card["prompt_sha256"]))
        except (ValueError, KeyError, TypeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise DataError(
                f"{path} is not a card that training has written ({problem}); delete it or train again"
            ) from None


def _check_card(card: RerankerCard, name: str, part: Any) -> None:
    """Refuse a model that was trained with another reranker or with other prompts."""
    if card.reranker != name and not _same_part(card.reranker, part):
        raise ConfigError(
            f"the model in {card.path.parent} was trained as {card.reranker!r}, not as {name!r}; "
            f"load it as {card.reranker!r}, or ignore the card (card=False, --ignore-card)"
        )
    for option in card.options:
        if option not in _parameters(part):
            raise unknown_name(
                f"option of {name}", option, _parameters(part) - {"clip"}, hint=f" (read from {card.path})"
            )
    trained = part(**card.options)
    if prompt_fingerprint(trained) != card.prompt_sha256:
        raise ConfigError(
            f"{name} now builds other prompts than those the model in {card.path.parent} was trained on; "
            "train again, or ignore the card (card=False, --ignore-card)"
        )


def _same_part(name: str, part: Any) -> bool:
    try:
        return lookup(name, "rerankers") is part
    except ConfigError:
        return False
