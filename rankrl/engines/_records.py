"""Requests and answers as JSON, for a journal; what is read back equals what was written."""

from __future__ import annotations

import json
from typing import Any

from rankrl.types import Answer, Request, Token

_spell = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def as_json(value: Any) -> str:
    """JSON that SQLite can store: half characters, which UTF-8 has no bytes for, are escaped."""
    text = _spell(value)
    return text if _storable(text) else json.dumps(value, separators=(",", ":"))


def _storable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def request_as_json(request: Request) -> str:
    """A request without what it shows."""
    names = ("prompt", "choices", "stop", "logprobs", "sample")
    return as_json({name: getattr(request, name) for name in names})


def request_of(spelled: str) -> Request:
    """The request that `request_as_json` wrote."""
    found = json.loads(spelled)
    return Request(found["prompt"], tuple(found["choices"]), tuple(found["stop"]), found["logprobs"], found["sample"])


def answer_as_json(answer: Answer) -> str:
    """An answer; whether it was cached is not written."""
    found: dict[str, Any] = {
        "text": answer.text,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "finish_reason": answer.finish_reason,
    }
    if answer.cached_tokens:
        found["cached_tokens"] = answer.cached_tokens
    if answer.scores:
        found["scores"] = answer.scores
    if answer.tokens:
        found["tokens"] = [[token.text, token.logprob, token.alternatives] for token in answer.tokens]
    return as_json(found)


def answer_of(spelled: str) -> Answer:
    """The answer that `answer_as_json` wrote."""
    found = json.loads(spelled)
    tokens = (
        Token(text, logprob, tuple((other, value) for other, value in alternatives))
        for text, logprob, alternatives in found.get("tokens", ())
    )
    return Answer(
        found["text"],
        found["prompt_tokens"],
        found["completion_tokens"],
        found["finish_reason"],
        scores=tuple(found.get("scores", ())),
        tokens=tuple(tokens),
        cached_tokens=found.get("cached_tokens", 0),
    )
