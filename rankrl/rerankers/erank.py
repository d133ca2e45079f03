"""ERank: reason about one document, grade it from 0 to 10; the grade times its probability orders the list.

arXiv:2509.00520. Deviations:
1. The wording is ours; the parts, their order, the grades and the tags are the paper's. So are the tasks: the paper gives one
   to each collection, `task` chooses among ours, `instruction` replaces it.
2. A grade of several tokens, such as 10 where a tokenizer splits digits, has the product of their probabilities.
3. Where the engine tells no log-probabilities the grade's probability counts as 1: the grade alone orders the list. That says
   nothing about the answer, which is not reported for it.
4. A document whose grade cannot be read is scored 0 and follows those that were graded 0, in first-stage order.
5. `score="expectation"` is ours; see below.
6. Texts are defused: nothing in a query or document can be taken for a label, a tag or a turn of the chat.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from rankrl.contracts import Steps, request_of
from rankrl.errors import ConfigError, OutOfBudget, unknown_name
from rankrl.parsing.grade import grade_span, parse_grade
from rankrl.rerankers import _text
from rankrl.rerankers._fields import check_fields
from rankrl.rerankers._pointwise import check_texts, check_wording, continued, pointed, ranked
from rankrl.rerankers._templates import wording
from rankrl.strategies.plans import Plan
from rankrl.strategies.plans import pointwise as pointwise_plan
from rankrl.types import Answer, CandidateList, Messages, Reading, Request, Token

SCORES = ("product", "expectation")

MOST = 10
"""The highest grade."""

_CLOSING = "</answer>"
_OPENING = re.compile(r"<answer>", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ERank:
    """A grade per document from a prompt of its own; N prompts in one batch.

    score: "product" is the grade times the probability with which it was written, so a hesitant 9 can come after a certain 6,
    and every 0 is 0. "expectation" asks again, the reasoning kept, how probable each grade 0..10 is, and scores the mean; up to
    N further requests in a second batch, for those that were graded. Where the engine cannot tell, the written grade stands.
    task: what a document is graded for, by the name of a collection; instruction: the same in the user's words, "" for none.
    query_tokens, passage_tokens: where texts are cut, counted by `clip` (words unless an engine or a trainer puts its
    tokenizer in). template: "reasoning", or a YAML file, whose `tasks` are the tasks.

    Raises:
        ConfigError: a field is out of its range.
    """

    shown: ClassVar[int] = 1
    """How many candidates a prompt shows."""

    decoding: ClassVar[Mapping[str, Any]] = {"temperature": 0.0, "max_new_tokens": 4096}
    """Options of the engine as the protocol wants them, where neither the model's card nor the user says otherwise."""

    score: str = "product"
    task: str = "default"
    instruction: str = ""
    template: str = "reasoning"
    query_tokens: int = 2048
    passage_tokens: int = 2048
    clip: Callable[[str, int], str] = _text.clip_words

    def __post_init__(self) -> None:
        check_texts("erank", task=self.task, instruction=self.instruction)
        check_fields("erank", self, positive=("query_tokens", "passage_tokens"), known={"score": SCORES})
        if not self.instruction and self.task not in (known := self._tasks):
            raise unknown_name("task of erank", self.task, known)
        check_wording("erank", self)

    @property
    def _tasks(self) -> Mapping[str, str]:
        tasks = wording("erank", self.template).extras.get("tasks", {"default": ""})
        if not isinstance(tasks, dict) or not all(isinstance(text, str) for text in tasks.values()):
            raise ConfigError(f"erank: tasks of template {self.template!r} must map names to texts, got {tasks!r}")
        return tasks

    def prompt(self, listing: CandidateList) -> Messages:
        """The request to grade the first of the listed documents."""
        (document,) = _text.passages(listing.pick([0]), self.clip, self.passage_tokens)
        return wording("erank", self.template).messages(
            _text.query(listing, self.clip, self.query_tokens),
            [document],
            document=document.text,
            instruction=self.instruction or self._tasks[self.task],
        )

    def request(self, listing: CandidateList) -> Request:
        """The prompt; the answer comes with the log-probabilities of its tokens."""
        return Request(self.prompt(listing), logprobs=True, shown=listing)

    def read(self, answer: Answer, n: int) -> Reading:
        """The grade times its probability; of the second step, the mean of the grades by their probabilities."""
        if answer.scores:
            return pointed(expectation(answer.scores), n)
        reading = self.parse(answer.text, n)
        grade = reading.scores[0] if reading.scores else None
        if grade is None:
            return reading
        return pointed(grade * probability(answer.tokens, int(grade)), n, reading.report, reading.reasoning)

    def parse(self, text: str, n: int) -> Reading:
        """The grade alone; see `rankrl.parsing.grade`."""
        return parse_grade(text, n, most=MOST)

    def order(self, listing: CandidateList) -> Steps:
        """All candidates by score, equal ones by first-stage rank, those that could not be graded last."""
        n = len(listing)
        scores: list[float | None] = [None] * n
        unread = [True] * n
        with suppress(OutOfBudget):  # those graded so far come first
            requests = [request_of(self, listing.pick([i])) for i in range(n)]
            answers = (yield requests) if requests else []
            again: dict[int, Request] = {}
            for i, answer in enumerate(answers):
                reading = self.read(answer, 1) if self.score == "product" else self.parse(answer.text, 1)
                unread[i] = reading.report.unreadable
                scores[i] = 0.0 if unread[i] or reading.scores is None else reading.scores[0]
                if self.score == "expectation" and not unread[i]:
                    again[i] = self.second(requests[i], answer)
            for i, answer in zip(again, (yield list(again.values())) if again else [], strict=True):
                scores[i] = expectation(answer.scores, written=int(scores[i] or 0))
        return ranked(scores, unread)

    def second(self, request: Request, answer: Answer) -> Request:
        """How probable each grade is where the answer gives one: the prompt, the reasoning up to the grade, eleven choices."""
        span = grade_span(answer.text)
        tags = [] if span is None else list(_OPENING.finditer(answer.text, 0, span[0]))
        kept = answer.text[: tags[-1].end()] if tags else answer.text
        choices = tuple(f"{grade}{_CLOSING}" for grade in range(MOST + 1))
        return Request(continued(request.prompt, kept), choices=choices, shown=request.shown)

    def plan(self, n: int) -> Plan:
        """What ordering n candidates costs; the second step at its fullest."""
        once = pointwise_plan(n)
        if self.score == "product" or n == 0:
            return once
        return Plan(n, 2.0 * n, 2 * n, 2, 1)

    def spell(self, grade: int, thought: str | None = None) -> str:
        """The completion that gives `grade` in exactly the layout asked for; a target for supervised warm-up."""
        return f"<think>{thought or ''}</think><answer>{grade}</answer>"


def probability(tokens: Sequence[Token], grade: int) -> float:
    """The probability of the tokens that hold the integer of the answer block; 1 where they are not there.

    A token that holds more than a part of the integer, such as `>7`, counts as a whole.
    """
    text = "".join(token.text for token in tokens)
    span = grade_span(text)
    if span is None or int(text[slice(*span)]) != grade:
        return 1.0
    start, total = 0, 0.0
    for token in tokens:
        end = start + len(token.text)
        if max(start, span[0]) < min(end, span[1]):
            total += token.logprob
        start = end
    return math.exp(min(total, 0.0))


def expectation(scores: Sequence[float | None], written: int | None = None) -> float | None:
    """The mean of 0, 1, 2, … by the log-probabilities of each, made to sum to 1; None where there is nothing to go by.

    One that is not known counts as improbable. But where that is so of the grade that was `written`, it has the probability
    that the others leave: servers cannot tell 1 and 10 apart, which begin with the same token.
    """
    known = {grade: min(score, 0.0) for grade, score in enumerate(scores) if score is not None and math.isfinite(score)}
    if written is not None and written not in known:
        left = 1.0 - math.fsum(math.exp(score) for score in known.values())
        if not known or left <= 0.0:
            return float(written)
        known[written] = math.log(left)
    if not known:
        return None
    highest = max(known.values())
    weights = {grade: math.exp(score - highest) for grade, score in known.items()}
    return math.fsum(grade * weight for grade, weight in weights.items()) / math.fsum(weights.values())
