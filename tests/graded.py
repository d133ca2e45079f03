"""Candidates whose texts say how good they are, and an engine that reads prompts and answers with the truth."""

from __future__ import annotations

import random
import re

from rankrl.types import Answer, Candidate, CandidateList, Query


def graded(n: int, seed: int = 0) -> CandidateList:
    """n candidates in random order; docid d7 has grade 7, and the best is d{n-1}."""
    grades = random.Random(seed).sample(range(n), n)
    return CandidateList(Query(f"q{seed}", "?"), tuple(Candidate(f"d{g}", f"grade {g} x") for g in grades))


def best_first(listing: CandidateList) -> list[str]:
    """The docids from the best down."""
    return sorted(listing.docids, key=lambda docid: -int(docid[1:]))


class Oracle:
    """Answers each request with `say(labels, best first)`, or scores its choices by grade; keeps what it was asked.

    label: the pattern in front of `grade 7`, with the label as its group.
    """

    def __init__(self, say, label=r"\[(\w+)\]"):
        self.say, self.label = say, re.compile(label + r":? \"?grade (\d+) x")
        self.requests = []

    def generate(self, requests, on_answer=None):
        self.requests += requests
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        prompt = "\n".join(message["content"] for message in request.prompt)
        found = [(label, int(grade)) for label, grade in self.label.findall(prompt)]
        assert len(found) == len(request.shown), prompt
        if request.choices:
            assert len(request.choices) == len(found)
            return Answer("", scores=tuple(grade - 200.0 for _, grade in found))
        return Answer(self.say([label for label, _ in sorted(found, key=lambda pair: -pair[1])]))


class Saying:
    """Says the same to every request, or nothing where choices were to be scored."""

    def __init__(self, text, scores=()):
        self.text, self.scores, self.asked = text, scores, 0

    def generate(self, requests, on_answer=None):
        self.asked += len(requests)
        return [Answer(self.text, scores=self.scores or (None,) * len(request.choices)) for request in requests]
