"""An engine whose answers are drawn from the request alone: some as a protocol wants them, some mended, some unreadable."""

from __future__ import annotations

import hashlib
import random

from rankrl.types import Answer, Request, Token


def answer_to(request: Request, *, seed: int = 0) -> Answer:
    """The same answer to the same prompt, whatever else is asked; with scores or tokens where the request wants them."""
    rng = random.Random(f"{seed}:{hashlib.sha256(request.key.encode()).hexdigest()}")
    if request.choices:
        return Answer("", scores=tuple(rng.choice((None, rng.uniform(-9, 0), -1.0)) for _ in request.choices))
    n = 1 if request.shown is None else len(request.shown)
    text = _text(rng, n)
    if request.stop and rng.random() < 0.7:
        text += rng.choice(request.stop)
    tokens = tuple(Token(piece, -rng.random()) for piece in _pieces(rng, text)) if request.logprobs else ()
    if tokens:
        words = (" true", " false", "yes", "no", tokens[-1].text)
        last = Token(tokens[-1].text, tokens[-1].logprob, tuple((word, -rng.random()) for word in words))
        tokens = (*tokens[:-1], last)
    return Answer(text, 10, 5, finish_reason=rng.choice(("stop", "stop", "length")), tokens=tokens)


def _text(rng: random.Random, n: int) -> str:
    labels = [rng.randrange(n + 2) for _ in range(rng.randrange(2 * n + 2))]
    shuffled = rng.sample(range(1, n + 1), n)
    body = rng.choice(
        [
            " > ".join(f"[{i}]" for i in shuffled),
            " > ".join(f"[{i}]" for i in labels),
            ", ".join(f"Document {i}" for i in labels),
            " > ".join(f"[{chr(64 + i)}]" for i in shuffled),
            f"[{shuffled[0]}]" if shuffled else "",
            f"Passage {rng.choice('ABC')}",
            str(rng.randrange(12)),
            rng.choice(("yes", "no", "true", "false", "zzz", "")),
            "{" + ", ".join(f'"[{i}]": {rng.randrange(11)}' for i in shuffled) + "}",
            "{" + ", ".join(f'"{i}": {rng.randrange(11)}' for i in shuffled[: n // 2 + 1]) + "}",
        ]
    )
    return rng.choice(("{}", "<think>why</think><answer>{}</answer>", "<think>why</think> {}", "<think>{}")).replace(
        "{}", body, 1
    )


def _pieces(rng: random.Random, text: str) -> list[str]:
    pieces = []
    while text:
        size = rng.randrange(1, 4)
        pieces.append(text[:size])
        text = text[size:]
    return pieces


class RandomEngine:
    """Answers by `answer_to`; `asked` counts."""

    fingerprint = "random answers"

    def __init__(self, model: object = None, *, seed: int = 0) -> None:
        self.seed, self.asked = seed, 0

    def generate(self, requests, on_answer=None):
        self.asked += len(requests)
        answers = [answer_to(request, seed=self.seed) for request in requests]
        for i, answer in enumerate(answers):
            if on_answer is not None:
                on_answer(i, answer)
        return answers
