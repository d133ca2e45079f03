"""Requests and answers as OpenAI-compatible servers spell them; no connection is made here.

Chat prompts go to `chat/completions`, PLAIN ones to `completions`. What servers do differently and is read all the same:
reasoning split off the answer (`reasoning_content`, `reasoning`), content in parts, log-probabilities in either layout,
token texts that are half a character (`bytes`), stop texts that are dropped and told (`stop_reason`) or not told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankrl.errors import ConfigError
from rankrl.types import PAIR, PLAIN, Answer, Request, Token

CONTINUE_STYLES = ("vllm", "prefix", "none")
"""How servers are told to go on with a begun answer: vLLM's and SGLang's body fields, a `prefix` mark (DeepSeek, Mistral),
nothing (servers that go on whenever the last message is the assistant's)."""

ENDS = {"eos_token": "stop", "stop_sequence": "stop", "end_turn": "stop", "max_tokens": "length"}
"""Other words for how an answer ended."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """What all requests of an engine have in common. temperature and seed None: not sent."""

    model: str
    max_new_tokens: int
    temperature: float | None
    top_logprobs: int
    token_param: str
    continue_style: str
    extra_body: Mapping[str, Any]


def is_chat(request: Request) -> bool:
    """True when the request goes to `chat/completions`, False for `completions`.

    Raises:
        ConfigError: a prompt of pairs, which only classifiers answer.
    """
    role = request.prompt[0]["role"]
    if role == PAIR:
        raise ConfigError(
            "the openai engine answers prompts in words, not (query, document) pairs; rerank with --engine classifier"
        )
    return role != PLAIN


def body_of(request: Request, sampling: Sampling, seed: int | None) -> dict[str, Any]:
    """The JSON of the request. One that scores choices asks for one token at temperature 1, so that no server reports
    log-probabilities of a sharpened distribution; the token drawn is not read."""
    scoring = bool(request.choices)
    body: dict[str, Any] = {"model": sampling.model, sampling.token_param: 1 if scoring else sampling.max_new_tokens}
    if sampling.temperature is not None:
        body["temperature"] = 1.0 if scoring else sampling.temperature
    if seed is not None and not scoring:
        body["seed"] = seed
    if request.stop and not scoring:
        body["stop"] = list(request.stop)
    if is_chat(request):
        body["messages"] = [dict(message) for message in request.prompt]
        if scoring or request.logprobs:
            body |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
        if request.begun and sampling.continue_style == "vllm":
            body |= {"add_generation_prompt": False, "continue_final_message": True}
        elif request.begun and sampling.continue_style == "prefix":
            body["messages"][-1]["prefix"] = True
    else:
        body["prompt"] = "".join(message["content"] for message in request.prompt)
        if scoring or request.logprobs:
            body["logprobs"] = sampling.top_logprobs
        if sampling.token_param != "max_tokens":  # this endpoint has the old name only
            body["max_tokens"] = body.pop(sampling.token_param)
    return {**body, **sampling.extra_body}


def answer_of(request: Request, response: Mapping[str, Any], spelled: Mapping[str, str]) -> Answer | None:
    """The answer in a server's response; None when choices were to be scored and there are no log-probabilities.

    spelled: choice -> the text of its first token, where a tokenizer is known; see `scores_of`. A response without a
    message (an empty list, a filter) is an empty answer whose finish_reason says so.
    """
    usage = response.get("usage") or {}
    counts: dict[str, Any] = {
        "prompt_tokens": int(usage.get("prompt_tokens") or 0),
        "completion_tokens": int(usage.get("completion_tokens") or 0),
        "cached_tokens": int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0),
    }
    if not (given := response.get("choices")):
        return Answer("", finish_reason="no_choice", scores=(None,) * len(request.choices), **counts)
    choice = given[0]
    reason = str(choice.get("finish_reason") or "stop")
    reason = ENDS.get(reason, reason)
    tokens = tokens_of(choice.get("logprobs"))
    if request.choices:
        if not tokens and reason == "content_filter":
            return Answer("", finish_reason=reason, scores=(None,) * len(request.choices), **counts)
        if not tokens or not tokens[0][1].alternatives:
            return None
        return Answer("", finish_reason="stop", scores=scores_of(request.choices, tokens[0][1], spelled), **counts)
    said, thought = _content(choice)
    said = said.removeprefix(request.begun)
    ended, kept = _ended(said, request, choice, reason, tokens)
    answer_tokens = _without_inner_alternatives(kept) if request.logprobs else ()
    text = _with_thought(ended, thought, request.begun, reason)
    return Answer(text, finish_reason=reason, tokens=answer_tokens, **counts)


def scores_of(choices: Sequence[str], token: Token, spelled: Mapping[str, str]) -> tuple[float | None, ...]:
    """The log-probability of each choice as the first token of an answer, None for one that is not among the likeliest.

    A choice is its own token where there is one of exactly its text; else it is scored by its first token alone: the one
    that `spelled` names, or without it the longest listed beginning of the choice. A token that would stand for two
    choices stands for neither, but for one that it spells exactly.
    """
    listed: dict[str, float] = {}
    for text, logprob in token.alternatives:
        listed.setdefault(text, logprob)  # tokens that read alike: the likelier

    def first(choice: str) -> str | None:
        if choice in spelled:
            return spelled[choice] if spelled[choice] in listed else None
        if choice in listed:
            return choice
        begun = [text for text in listed if text and choice.startswith(text)]
        return max(begun, key=len) if begun else None

    firsts = [first(choice) for choice in choices]
    return tuple(
        listed[at] if at is not None and (at == choice or firsts.count(at) == 1) else None
        for choice, at in zip(choices, firsts, strict=True)
    )


def tokens_of(logprobs: Any) -> list[tuple[bytes, Token]]:
    """(bytes, token with its alternatives) of each generated token, from either layout; [] where there are none."""
    if not isinstance(logprobs, Mapping):
        return []
    return list(_chat_tokens(logprobs["content"]) if logprobs.get("content") else _plain_tokens(logprobs))


def _chat_tokens(content: Sequence[Mapping[str, Any]]) -> Iterator[tuple[bytes, Token]]:
    for entry in content:
        top = [(_text(other), float(other["logprob"])) for other in entry.get("top_logprobs") or ()]
        yield _bytes(entry), Token(_text(entry), float(entry["logprob"]), _best_first(top))


def _plain_tokens(logprobs: Mapping[str, Any]) -> Iterator[tuple[bytes, Token]]:
    texts, values = logprobs.get("tokens") or [], logprobs.get("token_logprobs") or []
    tops = logprobs.get("top_logprobs") or [None] * len(texts)
    for text, value, top in zip(texts, values, tops, strict=False):
        if value is not None:
            likeliest = [(str(other), float(logprob)) for other, logprob in (top or {}).items()]
            yield str(text).encode("utf-8", "surrogatepass"), Token(str(text), float(value), _best_first(likeliest))


def _best_first(top: list[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(top, key=lambda entry: -entry[1]))


def _bytes(entry: Mapping[str, Any]) -> bytes:
    given = entry.get("bytes")
    return bytes(given) if given else str(entry["token"]).encode("utf-8", "surrogatepass")


def _text(entry: Mapping[str, Any]) -> str:
    """The token's text; from its bytes where they are whole characters, since some servers spell tokens their own way."""
    try:
        return _bytes(entry).decode("utf-8")
    except UnicodeDecodeError:
        return str(entry["token"])


def _content(choice: Mapping[str, Any]) -> tuple[str, str]:
    """What was said, and the reasoning that the server split off it."""
    message = choice.get("message")
    if message is None:
        return str(choice.get("text") or ""), ""
    said = message.get("content")
    thought = message.get("reasoning_content") or message.get("reasoning") or ""
    if isinstance(said, list):  # parts
        said = "".join(str(part.get("text") or "") for part in said if isinstance(part, Mapping))
    return str(said or message.get("refusal") or ""), thought if isinstance(thought, str) else ""


def _with_thought(said: str, thought: str, begun: str, reason: str) -> str:
    """The answer with its reasoning in front, between the tags that models write and parsers read."""
    if not thought:
        return said
    opened = begun.rfind("<think>") > begun.rfind("</think>")
    closed = "" if reason == "length" and not said else "</think>"
    return f"{'' if opened else '<think>'}{thought}{closed}{said}"


def _ended(
    said: str, request: Request, choice: Mapping[str, Any], reason: str, tokens: list[tuple[bytes, Token]]
) -> tuple[str, list[Token]]:
    """(the text with the stop text that ended it, the tokens without an end-of-sequence token).

    Servers drop the stop text. It is put back where the server tells which it was, or the tokens do; else not.
    """
    kept = [token for _, token in tokens]
    if reason != "stop":
        return said, kept
    told = choice.get("stop_reason", choice.get("matched_stop"))
    if isinstance(told, str) and told in request.stop:
        return (said if said.endswith(told) else said + told), kept
    spelled = b"".join(raw for raw, _ in tokens).decode("utf-8", "replace")
    for stop in request.stop:
        if tokens and spelled.endswith(said + stop):
            return said + stop, kept
    if kept and (not kept[-1].text or not said.endswith(kept[-1].text)):
        kept.pop()
    return said, kept


def _without_inner_alternatives(tokens: Sequence[Token]) -> tuple[Token, ...]:
    """The tokens; alternatives are kept for the last alone."""
    return (*(Token(token.text, token.logprob) for token in tokens[:-1]), *tokens[-1:])
