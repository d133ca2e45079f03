"""How many tokens a prompt has, with a model's tokenizer or by a rule of thumb; no weights are loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rankrl.errors import ConfigError, DataError
from rankrl.types import PAIR

if TYPE_CHECKING:
    from rankrl.types import Request

TOKENS_PER_WORD = 1.3
"""A rule of thumb for English, used where there is no tokenizer, and said."""


@dataclass(frozen=True, slots=True)
class Counter:
    """Request -> the tokens of its prompt.

    by: what counts, in words. clip: cuts texts as the engine would, None without a tokenizer. context: how many tokens the
    model takes, None when nobody knows. per_choice: completion tokens of an answer that scores choices.
    """

    tokens: Callable[[Request], int]
    by: str
    clip: Callable[[str, int], str] | None = None
    context: int | None = None
    per_choice: int = 0


def counter(model: str | None, engine: str, settings: Mapping[str, Any]) -> Counter:
    """Counts as the engine of that name will, made with these settings.

    Raises:
        ConfigError, DataError: a folder in which there is no model, or none that the engine could use.
    """
    per_choice = 1 if engine == "openai" else 0
    name = settings.get("tokenizer") or (None if engine == "openai" else model)
    if name is None:
        why = "no --engine-option tokenizer=NAME" if engine == "openai" else "no --model"
        return Counter(by_words, f"words x {TOKENS_PER_WORD} ({why})", per_choice=per_choice)
    from rankrl.engines.transformers import TokenClip
    from rankrl.pretrained import looks_local

    try:
        tokens, tokenizer = _with_tokenizer(str(name), engine, settings)
    except (ConfigError, DataError) as error:
        if ":" not in engine and looks_local(str(name)):
            raise
        why = str(error).partition(":")[0]
        return Counter(by_words, f"words x {TOKENS_PER_WORD} ({why})", per_choice=per_choice)
    from rankrl.engines.transformers import context_length

    context = None if engine in ("openai", "classifier") else context_length(str(name))
    return Counter(tokens, f"the tokenizer of {name}", TokenClip(tokenizer), context, per_choice)


def by_words(request: Request) -> int:
    """A request's prompt tokens by the rule of thumb."""
    return round(TOKENS_PER_WORD * sum(len(message["content"].split()) for message in request.prompt))


def _with_tokenizer(name: str, engine: str, settings: Mapping[str, Any]) -> tuple[Callable[[Request], int], Any]:
    """(a function that counts as the engine does, the tokenizer)."""
    from rankrl.engines._loading import context_length, has_encoder, load_tokenizer
    from rankrl.engines._prompts import Renderer
    from rankrl.engines.classifier import carries_pairs, pair_chat

    tokenizer = load_tokenizer(name, chats=False)
    told = settings.get("chat_template_kwargs") or {}
    rendered = Renderer(tokenizer, name, told, encoder=engine != "openai" and has_encoder(name))
    longest = int(settings.get("max_length") or min(tokenizer.model_max_length, context_length(name) or sys.maxsize))
    in_chat = carries_pairs(tokenizer)

    def count(request: Request) -> int:
        if request.prompt[0]["role"] != PAIR:
            return len(rendered([request])[0])
        query, document = (message["content"] for message in request.prompt)
        if not in_chat:
            return min(longest, len(tokenizer(query, document, verbose=False)["input_ids"]))
        text = tokenizer.apply_chat_template(pair_chat(query, document), tokenize=False)
        return min(longest, len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]))

    return count, tokenizer
