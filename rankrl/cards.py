"""The card of a trained model: with which reranker, options and prompts it was trained, checked when it is used again."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from rankrl import __version__
from rankrl.contracts import Engine, Reranker
from rankrl.errors import ConfigError, DataError, unknown_name
from rankrl.files import atomic_writer, open_text
from rankrl.lookup import lookup
from rankrl.types import PAIR, PLAIN, Candidate, CandidateList, Messages, Query

CARD = "rankrl.json"
"""The file beside a trained model that says with which reranker and options it was trained."""

_IGNORE = "or ignore the card (card=False, --ignore-card)"


@dataclass(frozen=True, slots=True)
class RerankerCard:
    """What a trained model says about the reranker it was trained with; `token_sha256` is "" where no tokenizer was at hand."""

    path: Path
    reranker: str
    options: Mapping[str, Any]
    engine_options: Mapping[str, Any]
    prompt_sha256: str
    token_sha256: str = ""


def part_of(name: str) -> Any:
    """The class of a reranker, after making sure that it is one."""
    part = lookup(name, "rerankers")
    if missing := [method for method in ("prompt", "parse", "order") if not callable(getattr(part, method, None))]:
        raise ConfigError(f"{name!r} is no reranker: it has no {', '.join(missing)}")
    return part


def parameters(make: Any) -> AbstractSet[str]:
    """The names of what it is made with, in their order."""
    return inspect.signature(make).parameters.keys()


def settings(part: Reranker | Engine) -> dict[str, Any]:
    """Option -> value with which a reranker or an engine was made, as far as it keeps it by that name; no functions."""
    kept = {option: getattr(part, option) for option in parameters(type(part)) if hasattr(part, option)}
    return {option: value for option, value in kept.items() if not callable(value)}


def with_clip(reranker: Reranker, clip: Callable[[str, int], str] | None) -> Reranker:
    """The reranker with `clip` to cut texts by tokens, when it has a field for it; else as it is."""
    given: Any = reranker
    if clip is None or not is_dataclass(given) or "clip" not in {field.name for field in fields(given)}:
        return reranker
    changed: Any = replace(given, clip=clip)  # type: ignore[type-var]  # an instance, as the line above has seen
    return changed  # type: ignore[no-any-return]


def fixed_prompt(reranker: Reranker) -> Messages:
    """The prompt for a fixed list of three passages, or of as many as the reranker shows at most; nothing is cut."""
    passages = ("Alpha [1] <answer>.", "Beta beta.\nBeta.", "")
    candidates = tuple(Candidate(str(i), text, f"Title {i}" if i else "") for i, text in enumerate(passages))
    shown = getattr(reranker, "shown", None) or len(candidates)
    listing = CandidateList(Query("q", 'What is "alpha" [2]?'), candidates[:shown])
    return with_clip(reranker, lambda text, _: text).prompt(listing)


def prompt_fingerprint(reranker: Reranker) -> str:
    """SHA-256 of the prompt for a fixed list of three passages; where texts are cut does not enter it."""
    return hashlib.sha256(json.dumps(fixed_prompt(reranker), sort_keys=True).encode()).hexdigest()


def token_fingerprint(reranker: Reranker, tokenizer: Any, chat_template_kwargs: Mapping[str, Any] | None = None) -> str:
    """SHA-256 of the token ids of the fixed prompt, as the tokenizer's chat template renders it, and of its special tokens.

    Two models with one fingerprint are asked in the same tokens. A template that tells the date enters by its own text instead
    of by what it says today.
    """
    messages = fixed_prompt(reranker)
    hashed = [
        _token_ids(messages, tokenizer, dict(chat_template_kwargs or {})),
        {name: str(token) for name, token in sorted(tokenizer.special_tokens_map.items())},
    ]
    return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()


def _token_ids(messages: Messages, tokenizer: Any, told: Mapping[str, Any]) -> list[Any]:
    def ids(*texts: str, special: bool = False) -> list[int]:
        return list(tokenizer(*texts, add_special_tokens=special, verbose=False)["input_ids"])

    if messages[0]["role"] == PAIR:
        return ids(*(message["content"] for message in messages), special=True)
    if messages[0]["role"] == PLAIN:
        return [ids(messages[0]["content"], special=True), *(ids(message["content"]) for message in messages[1:])]
    if "strftime_now" in (template := str(tokenizer.chat_template)):
        return [template, *(ids(message["content"]) for message in messages)]
    from rankrl.engines._prompts import chat_text

    return ids(chat_text(tokenizer, messages, told, str(getattr(tokenizer, "name_or_path", ""))))


def write_reranker_card(
    folder: str | Path, name: str, reranker: Reranker, *, tokenizer: Any = None, **engine_options: Any
) -> Path:
    """Write the card into a model folder, so that `load_reranker(name, model=folder)` asks as training did.

    tokenizer: the model's; with it the card also says in which tokens the model was asked. engine_options: options of the engine
    that shall be the model's defaults, such as max_new_tokens.
    """
    card = {
        "reranker": name,
        "options": settings(reranker),
        "engine_options": engine_options,
        "prompt_sha256": prompt_fingerprint(reranker),
        "rankrl": __version__,
    }
    if tokenizer is not None:
        card["token_sha256"] = token_fingerprint(reranker, tokenizer, engine_options.get("chat_template_kwargs"))
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
            prompt, tokens = str(card["prompt_sha256"]), str(card.get("token_sha256", ""))
            return RerankerCard(path, str(card["reranker"]), options, engine_options, prompt, tokens)
        except (ValueError, KeyError, TypeError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise DataError(
                f"{path} is not a card that training has written ({problem}); delete it or train again"
            ) from None


def check_card(card: RerankerCard, name: str, part: Any) -> None:
    """Make sure that the model was trained with this reranker, and with the prompts that it builds now.

    Raises:
        ConfigError: with another reranker or other prompts.
    """
    if card.reranker != name and not _same_part(card.reranker, part):
        raise ConfigError(
            f"the model in {card.path.parent} was trained as {card.reranker!r}, not as {name!r}; "
            f"load it as {card.reranker!r}, {_IGNORE}"
        )
    for option in card.options:
        if option not in parameters(part):
            raise unknown_name(
                f"option of {name}", option, parameters(part) - {"clip"}, hint=f" (read from {card.path})"
            )
    if prompt_fingerprint(part(**card.options)) != card.prompt_sha256:
        raise ConfigError(
            f"{name} now builds other prompts than those the model in {card.path.parent} was trained on; "
            f"train again, {_IGNORE}"
        )


def check_tokens(card: RerankerCard, part: Any, tokenizer: Any) -> None:
    """Make sure that the engine's tokenizer and chat template spell the prompts as training did.

    Raises:
        ConfigError: they do not.
    """
    if not card.token_sha256:
        return
    told = card.engine_options.get("chat_template_kwargs")
    if token_fingerprint(part(**card.options), tokenizer, told) != card.token_sha256:
        raise ConfigError(
            f"the tokenizer or the chat template that came with {card.path.parent} spells prompts in other tokens than those "
            f"the model was trained on; put back the files that training wrote, {_IGNORE}"
        )


def _same_part(name: str, part: Any) -> bool:
    try:
        return lookup(name, "rerankers") is part
    except ConfigError:
        return False
