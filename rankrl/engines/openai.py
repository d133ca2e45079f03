"""Answers from any OpenAI-compatible server: OpenAI itself, vLLM, SGLang, llama.cpp, TGI, gateways."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rankrl.contracts import OnAnswer
from rankrl.engines._openai_connection import Connection
from rankrl.engines._openai_errors import Server, checked
from rankrl.engines._openai_wire import CONTINUE_STYLES, Sampling, answer_of, body_of, is_chat
from rankrl.engines._options import check_temperature, check_whole, is_number, seed_of
from rankrl.errors import ConfigError
from rankrl.types import Answer, Request

OFFICIAL = "https://api.openai.com/v1"


class OpenaiEngine:
    """Answers requests over HTTP, up to `concurrency` of them at a time over all threads that call `generate`.

    model: the name by which the server knows it. base_url: up to and with `/v1`; None is $OPENAI_BASE_URL, else OpenAI's own.
    api_key_env: the environment variable that holds the key, which no record repeats; a server of one's own needs none.
    max_new_tokens, temperature, seed: as of every engine. None as temperature or seed is not sent, for models that refuse
    them; a seed is sent only where answers are drawn, each request with its own. timeout_s: how long a server may be
    silent. max_retries: how often a request is sent again after a lost connection, silence, or the statuses 408, 409,
    429 and 5xx, with growing pauses or those that the server asks for (Retry-After, up to two minutes). extra_body:
    further fields of every request, such as {"top_p": 0.9}. chat_template_kwargs: for servers that render chat
    templates; not sent to OpenAI, which refuses it. continue_style: how the server is told to go on with a begun
    answer, "vllm" (SGLang too), "prefix" (DeepSeek, Mistral) or "none"; None is "none" at OpenAI, which refuses the
    others' fields, and "vllm" elsewhere. token_param: "max_tokens" or "max_completion_tokens". top_logprobs: how many
    alternatives to ask for; 20 is what most allow. tokenizer: a folder or hub name that has the model's tokenizer, to
    cut texts by tokens and to know the first tokens of choices; without it rerankers cut by words. revision: any word
    that tells models of one name apart; only the fingerprint reads it.

    What HTTP takes away: a stop text is put back where the server tells which one ended an answer, or its tokens do;
    choices are scored by their first token alone, None where it is not among the `top_logprobs` likeliest; log-probabilities
    are those that the server reports, of its sampling temperature for some; equal requests may get different answers.

    The fingerprint is made of everything that is sent but the prompt, and of `revision`, not of the address: a model that
    moves to another machine keeps its journal. Where one name means two models, give them revisions.

    Raises:
        ConfigError: an option out of range, no key; a server that does not know the model, the key or a field.
        DataError: a prompt that does not fit into the model's context. RankRLError: a server that cannot be reached, or
            goes on failing. MissingDependencyError: the package openai is not installed.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        max_new_tokens: int = 2048,
        temperature: float | None = 0.0,
        seed: int | None = 0,
        concurrency: int = 32,
        timeout_s: float = 600.0,
        max_retries: int = 8,
        extra_body: Mapping[str, Any] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        continue_style: str | None = None,
        token_param: str = "max_tokens",
        top_logprobs: int = 20,
        tokenizer: str | Path | None = None,
        revision: str = "",
    ) -> None:
        check_whole(max_new_tokens=max_new_tokens)
        check_whole(0, max_retries=max_retries)
        check_whole(1, 1000, concurrency=concurrency)
        check_whole(1, 100, top_logprobs=top_logprobs)
        check_temperature(temperature, unsent=", or None to leave it to the server")
        if not is_number(timeout_s) or not 0 < timeout_s < float("inf"):
            raise ConfigError(f"timeout_s must be more than 0 seconds, got {timeout_s!r}")
        _check_one_of("token_param", token_param, ("max_tokens", "max_completion_tokens"))
        self.model, self.base_url = str(model), _address(base_url)
        official = urlsplit(self.base_url).hostname == urlsplit(OFFICIAL).hostname
        if continue_style is None:
            continue_style = "none" if official else "vllm"
        _check_one_of("continue_style", continue_style, CONTINUE_STYLES)
        self.api_key_env, self.revision = api_key_env, revision
        self.max_new_tokens, self.seed = max_new_tokens, seed
        self.temperature = None if temperature is None else float(temperature)
        self.concurrency, self.timeout_s, self.max_retries = concurrency, float(timeout_s), max_retries
        self.continue_style, self.token_param, self.top_logprobs = continue_style, token_param, top_logprobs
        self.extra_body = _json_fields("extra_body", extra_body)
        self.chat_template_kwargs = _json_fields("chat_template_kwargs", chat_template_kwargs)
        told = self.chat_template_kwargs and not official
        self._sampling = Sampling(
            model=self.model,
            max_new_tokens=max_new_tokens,
            temperature=self.temperature,
            top_logprobs=top_logprobs,
            token_param=token_param,
            continue_style=continue_style,
            extra_body={**({"chat_template_kwargs": self.chat_template_kwargs} if told else {}), **self.extra_body},
        )
        said = ("base_url", "model", "api_key_env", "max_new_tokens", "concurrency", "timeout_s", "max_retries")
        self._server = Server(*(getattr(self, name) for name in (*said, "continue_style", "top_logprobs")))
        key = _key(api_key_env, self.base_url)
        self._connection = Connection(self.base_url, key, self.timeout_s, max_retries, concurrency)
        self.tokenizer: Any = None
        if tokenizer is not None:
            from rankrl.engines._clip import TokenClip
            from rankrl.engines._loading import load_tokenizer

            self.tokenizer = load_tokenizer(str(tokenizer), chats=False)
            self.clip = TokenClip(self.tokenizer)

    @property
    def concurrent(self) -> int:
        """How many threads may call `generate` at a time."""
        return self.concurrency

    @property
    def fingerprint(self) -> str:
        """A hash of what decides the answers as far as it is known here; see the class."""
        seed = None if self.temperature == 0 else self.seed
        facts = [self._sampling.model, self.revision, self.max_new_tokens, self.temperature, seed, self.top_logprobs]
        facts += [self.continue_style, self._sampling.extra_body, self.tokenizer is not None]
        return hashlib.sha256(json.dumps(["openai", *facts], sort_keys=True).encode()).hexdigest()

    def generate(self, requests: Sequence[Request], on_answer: OnAnswer | None = None) -> list[Answer]:
        """One answer per request, in their order; `on_answer` is called in this thread as they arrive.

        An error of one request cancels those that are still open and is raised; what has arrived by then is told before.
        """
        spelled = self._first_tokens({choice for request in requests for choice in request.choices})
        asked = [(is_chat(request), body_of(request, self._sampling, self._seed(request))) for request in requests]
        answers: dict[int, Answer] = {}
        for i, response in self._connection.responses(asked):
            found = answer_of(requests[i], checked(response, self._server), spelled)
            if found is None:
                raise ConfigError(
                    f"{self._server}: it gives no log-probabilities (top_logprobs), by which this reranker scores; "
                    "use a server that gives them, or a reranker that reads answers in words"
                )
            answers[i] = found
            if on_answer is not None:
                on_answer(i, found)
        return [answers[i] for i in range(len(requests))]

    def close(self) -> None:
        """Give up what is under way, in whatever thread, and the connections; the engine answers nothing any more."""
        self._connection.close()

    def _seed(self, request: Request) -> int | None:
        """The request's own seed, from `seed` and the request alone; 31 bits, which every server takes."""
        if self.seed is None or self.temperature == 0:
            return None
        return int.from_bytes(seed_of(self.seed, request)[:4], "big") >> 1

    def _first_tokens(self, choices: set[str]) -> dict[str, str]:
        """Choice -> text of its first token; {} without a tokenizer."""
        if self.tokenizer is None:
            return {}
        first = {choice: self.tokenizer(choice, add_special_tokens=False)["input_ids"][:1] for choice in choices}
        return {choice: self.tokenizer.decode(ids) for choice, ids in first.items() if ids}


def _address(base_url: str | None) -> str:
    address = (base_url or os.environ.get("OPENAI_BASE_URL") or OFFICIAL).rstrip("/")
    try:
        parts = urlsplit(address)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"base_url must be like http://localhost:8000/v1, got {address!r}")
    if parts.password or parts.username:
        raise ConfigError(
            "base_url has a user name or password in it, which would be written into records; use api_key_env"
        )
    return address


def _key(api_key_env: str, base_url: str) -> str:
    if key := os.environ.get(api_key_env, ""):
        return key
    if base_url == OFFICIAL:
        raise ConfigError(
            f"no key for {base_url}: put it into the environment variable {api_key_env} "
            "(another one: api_key_env), or give the base_url of a server of your own"
        )
    return "none"  # the client insists on one; servers of one's own do not look at it


def _json_fields(name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields, after making sure that they are JSON; a string is read as such (--engine-option)."""
    read: Any = given or {}
    if isinstance(read, str):
        try:
            read = json.loads(read)
        except ValueError:
            read = None
    try:
        if isinstance(read, Mapping):
            json.dumps(read, allow_nan=False)
            return dict(read)
    except (TypeError, ValueError):
        pass
    raise ConfigError(f'{name} must be a JSON object, such as {{"top_p": 0.9}}, got {given!r}')


def _check_one_of(name: str, value: Any, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"{name} must be {', '.join(known[:-1])} or {known[-1]}, got {value!r}")
