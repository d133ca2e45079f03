"""From a request's messages to the tokens that a model is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rankrl.engines._loading import check_template
from rankrl.errors import ConfigError
from rankrl.types import PAIR, PLAIN, Messages, Request

_THINK, _THOUGHT = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class Prompt:
    """The tokens of one request: `ids` for a causal model or an encoder, `begun` for the decoder behind an encoder."""

    ids: tuple[int, ...]
    begun: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.ids) + len(self.begun)


class Renderer:
    """A function requests -> Prompts, with a model's tokenizer and chat template.

    Chats go through the template; what follows is said by `chat_text`. Where a template refuses the system's turn (Gemma's),
    what it says begins the user's first turn instead, a blank line before the rest. Plain prompts get the tokens that the
    tokenizer puts around a text: in front of it for a causal model, in front and behind for an encoder. An answer that the
    prompt begins is part of the prompt of a causal model, and the beginning of what the decoder says behind an encoder.
    """

    def __init__(self, tokenizer: Any, name: str, told: Mapping[str, Any], *, encoder: bool) -> None:
        self.tokenizer, self.name, self.told, self.encoder = tokenizer, name, dict(told), encoder
        self._front, self._back = _around(tokenizer)
        self._behind = lru_cache(maxsize=4096)(self._tokens_behind)

    def __call__(self, requests: Sequence[Request]) -> list[Prompt]:
        """Raises:
        ConfigError: a chat where there is no template, a chat that the template refuses, a prompt of another kind.
        """
        texts = [self._text(request) for request in requests]
        tokens = [tuple(ids) for ids in self._ids(texts)]
        begun: Sequence[tuple[int, ...]] = [()] * len(tokens)
        if self.encoder:
            begun = [tuple(ids) for ids in self._ids([request.begun for request in requests])]
        return [
            Prompt(self._surrounded(ids) if request.prompt[0]["role"] == PLAIN else ids, start)
            for request, ids, start in zip(requests, tokens, begun, strict=True)
        ]

    def choice(self, text: str, begun: str = "") -> tuple[int, ...]:
        """The tokens of a choice, as they stand behind the beginning of the answer that the prompt gives.

        Without a beginning, and for the decoder behind an encoder, these are the tokens of the choice by itself; of a choice
        that begins with a blank, with that blank alone: some tokenizers write one of their own at the start of a text.

        Raises:
            ConfigError: it has none.
        """
        last = "" if self.encoder else begun.rstrip()[-1:]
        ids = self._behind(text, last or (":" if text.startswith(" ") else ""))
        if not ids:
            raise ConfigError(f"the choice {text!r} has no token in the vocabulary of {self.name}; it cannot be scored")
        return ids

    def _tokens_behind(self, text: str, before: str) -> tuple[int, ...]:
        """What `text` adds to the tokens of `before`; by itself where there is nothing before, or the two run together."""
        for front in (before, "\n") if before else ():
            alone, both = self._ids([front, front + text])
            if both[: len(alone)] == alone and len(both) > len(alone):
                return tuple(both[len(alone) :])
        return tuple(self._ids([text])[0])

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _text(self, request: Request) -> str:
        roles = [message["role"] for message in request.prompt]
        begun = "" if self.encoder else request.begun
        if roles in ([PLAIN], [PLAIN, "assistant"]):
            return request.prompt[0]["content"] + begun
        if PAIR in roles:
            raise ConfigError(
                f"{self.name} writes text and cannot score a pair of query and document; use the engine 'classifier'"
            )
        if PLAIN in roles:
            raise ConfigError(f"a plain prompt is one message, and perhaps a beginning of the answer; got {roles}")
        check_template(self.tokenizer, self.name)
        prompt = request.prompt[:-1] if self.encoder and roles[-1] == "assistant" else request.prompt
        try:
            return chat_text(self.tokenizer, prompt, self.told, self.name)
        except ConfigError:
            if (folded := _without_system(prompt)) is None:
                raise
            return chat_text(self.tokenizer, folded, self.told, self.name)

    def _surrounded(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        front = () if self._front and ids[: len(self._front)] == self._front else self._front
        return (*front, *ids, *(self._back if self.encoder else ()))


def _without_system(messages: Messages) -> Messages | None:
    """The chat with the system's words at the head of the user's first turn; None where there is no system's turn."""
    if len(messages) < 2 or [message["role"] for message in messages[:2]] != ["system", "user"]:
        return None
    system, user, *rest = messages
    return [{"role": "user", "content": f"{system['content']}\n\n{user['content']}"}, *rest]


def _around(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the tokenizer puts (in front of a text, behind it)."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    for start in range(len(full) - len(bare) + 1):
        if bare and full[start : start + len(bare)] == bare:
            return tuple(full[:start]), tuple(full[start + len(bare) :])
    return (), ()


def chat_text(tokenizer: Any, messages: Messages, told: Mapping[str, Any], name: str) -> str:
    """The chat as the template writes it, up to where the model goes on.

    A beginning of the answer stands where the template puts the text of an answer, to the letter; so it comes after an empty
    thought where a template writes one before answers. A beginning that brings a thought of its own (`<think>…`) replaces
    what the template says about thinking.

    Raises:
        ConfigError: the template refuses these messages.
    """
    if messages[-1]["role"] != "assistant":
        return _rendered(tokenizer, messages, told, name)
    begun = messages[-1]["content"]
    header = _rendered(tokenizer, messages[:-1], told, name)
    own_thought = begun.lstrip().startswith(_THINK)
    if begun.strip() and not own_thought and (text := _continued(tokenizer, messages, told, header)) is not None:
        return text
    asked = messages[-2]["content"].strip() if len(messages) > 1 else ""
    opened = header.find(_THINK, max(0, header.rfind(asked) + len(asked)) if asked else 0)
    if opened >= 0 and own_thought:
        header = header[:opened]
    elif opened >= 0 and begun.strip() and _THOUGHT not in header[opened:] and _THOUGHT not in begun:
        header = f"{header.rstrip()}\n\n{_THOUGHT}\n\n"
    return header + begun


def _rendered(tokenizer: Any, messages: Messages, told: Mapping[str, Any], name: str) -> str:
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **told))
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise ConfigError(f"the chat template of {name} refuses a prompt of the turns {roles}: {error}") from None


def _continued(tokenizer: Any, messages: Messages, told: Mapping[str, Any], header: str) -> str | None:
    """The chat up to the end of its last message, which is kept to the letter; None when the template does not keep it.

    header: the chat up to where an answer begins. A blank that the template puts there gives way to one that the answer has.
    """
    from jinja2 import TemplateError

    begun = messages[-1]["content"]
    try:
        text = str(tokenizer.apply_chat_template(messages, tokenize=False, continue_final_message=True, **told))
    except (TemplateError, ValueError):
        return None
    core = begun.strip()
    if not (text := text.rstrip()).endswith(core):
        return None
    before, blank = text[: -len(core)], begun[: len(begun) - len(begun.lstrip())]
    if blank and before.startswith(header) and not before[len(header) :].strip():
        return header + begun
    return before.removesuffix(blank) + begun
