"""Completions that no model should write and some do: mutations of real answers, texts that loop, answers with odd numbers."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path

from rankrl.contracts import request_of
from rankrl.lookup import lookup, names
from rankrl.testing import NASTY
from rankrl.types import Answer, Candidate, CandidateList, Query, Token

EXCERPT = Path(__file__).with_name("data") / "rankvicuna_logs"

_FIELDS = {
    "compat": ("upstream",),
    "mode": ("generation", "scoring", "likelihood"),
    "score": ("expectation", "probability"),
    "template": ("opened", "monot5", "duot5"),
}
"""Field -> values of it that change how an answer is read, where a reranker knows them."""


def variants() -> dict[str, object]:
    """Name -> reranker: each of the shelf as it is, and with every such value that it accepts."""
    found = {}
    for name in names("rerankers"):
        make = lookup(name, "rerankers")
        found[name] = make()
        for field, values in _FIELDS.items():
            for value in values if field in make.__dataclass_fields__ else ():
                try:
                    found[f"{name} {field}={value}"] = make(**{field: value})
                except ValueError:  # not a value of this one
                    continue
    return found


SEEDS = (
    *NASTY,
    "[2] > [1] > [3]",
    "[B] > [A] > [C]",
    "<think>because [1]</think> <answer>[3] > [1] > [2]</answer>",
    "<think>because</think><answer>[3]</answer>",
    "<think>because</think>\n<answer>7</answer>",
    "Passage B",
    "Document 3, Document 1, Document 7",
    '<reason>so</reason>\n<answer>{"[1]": 7, "[2]": 10, "[3]": 0}</answer>',
    '```json\n{"1": 3.5, "2": "x", "3": -1, "1": null}\n```',
    "because of this </think> true",
    "</think> false",
    "yes",
    "0",
    "1",
    "10",
)

_PIECES = (
    "<think>", "</think>", "<answer>", "</answer>", "<reason>", "</reason>", "[", "]", "{", "}", '"', ":", ",", " > ", ">",
    "\n", " ", "1", "10", "0", "-1", "1e999", "NaN", "20", "A", "T", "Z", "Passage ", "Document ", "true", "false", "yes", "no",
    "\u00b2", "\u2461", "\uff3b\uff11\uff3d", "\u0663", "\ud800", "\x00", "\u2028", "\u0130", "\u212a", "\U0001f600", "\\u00",
    "\\", "<|im_end|>", "None", "null", "[[1]]", "[1.5]", "1" * 30, "</", "<",
)  # fmt: skip


def corpus() -> list[str]:
    """The seeds and the different answers of the excerpt of real logs."""
    real: dict[str, None] = {}
    for path in sorted(EXCERPT.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            real[json.loads(line)["response"]] = None
    return [*SEEDS, *real]


def completions(rng: random.Random, texts: list[str]) -> Iterator[str]:
    """Mutations of the texts, without end; at most 3,000 characters each."""
    while True:
        text = rng.choice(texts)
        for _ in range(rng.choice((0, 1, 1, 2, 3, 5, 9))):
            text = _mutated(rng, text, texts)
        yield text[:3000]


def _mutated(rng: random.Random, text: str, texts: list[str]) -> str:
    start, end = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
    end = min(end, start + rng.choice((1, 3, 10, 1000)))
    kind = rng.randrange(9)
    if kind <= 2:
        return text[:start] + rng.choice(_PIECES) + text[start:]
    if kind == 3:
        return text[:start] + text[end:]
    if kind == 4:
        return text[:end] + text[start:end] * rng.choice((1, 2, 5)) + text[end:]
    if kind == 5:
        return text[:start] + rng.choice(texts) + text[end:]
    if kind == 6:
        return text[:start] + "".join(map(_swapped, text[start:end])) + text[end:]
    if kind == 7:
        return text[:start] + text[start:end][::-1] + text[end:]
    return text[: rng.randrange(len(text) + 1)]


def _swapped(c: str) -> str:
    """The other case of a letter, the full-width form of any other ASCII character."""
    return c.swapcase() if c.isalpha() else chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c


def answer_in_tokens(rng: random.Random, text: str) -> Answer:
    """The text as a free answer that was cut, with its tokens; sometimes they are not quite the text's."""
    return Answer(text, finish_reason="length", tokens=tuple(_tokens(rng, text)))


_SECOND = {"erank": 11, "rank1": 2}
"""Choices of a request that follows a free answer."""


def scored(reranker: object, name: str) -> Iterator[tuple[int, int]]:
    """(candidates, choices) of the requests of a reranker that are answered by scores."""
    for n in sorted({1, 2, min(7, reranker.shown), reranker.shown}):
        if n > reranker.shown:
            continue
        listing = CandidateList(Query("q", "query"), tuple(Candidate(str(i), f"text {i}") for i in range(n)))
        if choices := request_of(reranker, listing).choices:
            yield n, len(choices)
        elif name.split()[0] in _SECOND:
            yield n, _SECOND[name.split()[0]]


def _tokens(rng: random.Random, text: str) -> Iterator[Token]:
    size = rng.choice((1, 2, 3, 8, 30))
    for at in range(0, len(text), size):
        piece = text[at : at + size] if rng.random() < 0.98 else "\ufffd"
        alternatives = ((rng.choice(_PIECES), -0.5), (" true", -1.0)) if rng.random() < 0.2 else ()
        yield Token(piece, rng.choice((-0.1, -3.0, 0.0, -math.inf, math.nan)), alternatives)


_LOOPS = (
    "[", "]", "[]", "[1", "1]", "[1]", "[1] > ", "1", "1 ", "0", " ", "\n", ">", "\u2461", "\uff3b", "<", "</", "[[", "[{",
    "<think>", "</think>", "<think></think>", "</think><answer>", "<answer>", "</answer>", "<answer></answer>", "</think> ",
    "<answer> ", "{", "}", '{"[1]":', '{"1": 1, ', '"', '\\"', "\\", '"[1]": 1,', "```json\n", "```", "A", "[A", "Passage ",
    "Document 1, ", "true", " true", ". ", "1.", "-", "1e", "\u0130", "\ud800", "A > ", "a.", "yes no ",
)  # fmt: skip
"""What a model that loops repeats."""

DEEP = {
    "nested objects": '{"[1]":' * 12_000 + "1" + "}" * 12_000,
    "nested lists": "<answer>" + "[" * 50_000 + "]" * 50_000 + "</answer>",
    "an opened answer": "<think>x</think><answer>" + "[" * 100_000,
    "an opened thought": "<think>" + "<answer>[1]" * 9_000,
    "a long number": "[" + "9" * 100_000 + "]",
    "a long JSON number": '{"[1]": ' + "9" * 100_000 + "}",
    "tags and spaces": "</think>" + " " * 100_000 + "<answer>" + " " * 100,
    "a name and blanks": "Passage" + " " * 100_000 + "zz",
    "many names and blanks": ("Document" + " " * 5_000 + ": \n") * 19 + "zz",
    "many keys": "{" + ", ".join(f'"[{i}]": {i % 11}' for i in range(7_000)) + "}",
}
"""More 100 kB each, of which the parts matter."""


def attacks() -> dict[str, str]:
    """Name -> text of about 100 kB."""
    return {
        f"100 kB of {piece!r}": piece * (100_000 // len(piece.encode("utf-8", "surrogatepass"))) for piece in _LOOPS
    } | DEEP
