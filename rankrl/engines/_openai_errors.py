"""What is wrong when a server's response is no completion: one line that names the server, what it said and what to do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rankrl.engines._openai_wire import CONTINUE_STYLES
from rankrl.errors import ConfigError, DataError, RankRLError


@dataclass(frozen=True, slots=True)
class Server:
    """What messages say of the server and of how it is asked."""

    base_url: str
    model: str
    api_key_env: str
    max_new_tokens: int
    concurrency: int
    timeout_s: float
    max_retries: int
    continue_style: str
    top_logprobs: int

    def __str__(self) -> str:
        return f"{self.base_url}, model {self.model!r}"


def checked(response: Any, server: Server) -> Mapping[str, Any]:
    """The JSON of a response that is a completion.

    A prompt or answer that a filter refuses with status 400 is a response without an answer, not an error.

    Raises:
        ConfigError, DataError, RankRLError: in one line, naming the server, what it said and what to do.
    """
    if isinstance(response, Mapping):
        if isinstance(response.get("choices"), list):
            return response
        if error := response.get("error"):  # gateways report failures behind them with status 200
            raise RankRLError(f"{server}: the server answers with an error instead of a completion: {_one_line(error)}")
    if not isinstance(response, Exception):
        raise ConfigError(
            f"{server}: what answers there is no OpenAI-compatible server ({_one_line(response)}); base_url ends in /v1 for most"
        )
    status, said = getattr(response, "status_code", None), _said(response, server)
    if status is None:
        raise _unreachable(response, server) from response
    low = said.lower()
    if status == 400 and ("content_filter" in low or "content management policy" in low):
        return {"choices": [{"finish_reason": "content_filter", "message": {"content": ""}}]}
    problem = f"{server}: status {status}: {said}"
    if status in (400, 413, 422) and ("context" in low or "too long" in low or "maximum model length" in low):
        raise DataError(
            f"{problem}; lower max_new_tokens ({server.max_new_tokens}), or show fewer or shorter passages"
        ) from response
    if status in (408, 409, 429) or status >= 500:
        tries = f"after {server.max_retries + 1} tries" if server.max_retries else "and max_retries is 0"
        raise RankRLError(
            f"{problem} ({tries}); go on later (a --journal keeps what was paid for), "
            f"or with a lower concurrency ({server.concurrency})"
        ) from response
    raise ConfigError(f"{problem}; {_advice(status, low, server)}") from response


def _advice(status: int, said: str, server: Server) -> str:
    """What to do about an error that asking again does not cure."""
    if status in (401, 403):
        return f"put a key that this server takes into ${server.api_key_env}"
    if status == 404:
        return (
            "give a model that this server has, and a base_url that ends where /chat/completions begins (/v1 for most)"
        )
    if "max_completion_tokens" in said:
        return "give token_param=max_completion_tokens"
    if "chat_template_kwargs" in said:
        return "give chat_template_kwargs={}, and what the server knows in its place as extra_body"
    if "temperature" in said:
        return "give temperature=null to leave it to the server"
    if "logprobs" in said:
        return f"lower top_logprobs ({server.top_logprobs}), or use a reranker that reads answers in words"
    if "continue_final_message" in said or "add_generation_prompt" in said or "prefix" in said:
        return f"give another continue_style ({', '.join(CONTINUE_STYLES)}; it is {server.continue_style})"
    return "the server refuses what it was sent; see extra_body, token_param, continue_style and top_logprobs"


def _unreachable(error: Exception, server: Server) -> RankRLError:
    import openai

    if isinstance(error, openai.APITimeoutError):
        return RankRLError(
            f"{server}: no answer within {server.timeout_s:g} s, tried {server.max_retries + 1} times; "
            "raise timeout_s, or lower max_new_tokens or concurrency"
        )
    because = error.__cause__ or error
    return RankRLError(
        f"{server}: the server cannot be reached ({_one_line(because)}), tried {server.max_retries + 1} times; "
        "is it running, and is base_url right?"
    )


def _said(error: Exception, server: Server) -> str:
    """The server's own words in one line, without the key should it repeat it."""
    body = getattr(error, "body", None)
    words = body.get("message") if isinstance(body, Mapping) else None
    code = body.get("code") if isinstance(body, Mapping) else None
    text = _one_line(words or body or error)
    if isinstance(code, str) and code not in text:
        text = f"{text} ({code})"
    key = os.environ.get(server.api_key_env)
    return text.replace(key, "***") if key else text


def _one_line(said: Any, limit: int = 300) -> str:
    text = " ".join((str(said) or type(said).__name__).split())
    return text if len(text) <= limit else text[:limit] + "…"
