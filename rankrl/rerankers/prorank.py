"""ProRank: one look at one document, 1 or 0; the difference of the two logits orders the list, without generating.

arXiv:2506.03487, as mixedbread's mxbai-rerank-v2 models use it. Deviations:
1. The wording of the task is ours; the labels, the order of the parts and the two answers are theirs.
2. The prompt goes through the model's chat template as one user turn; theirs is put together from tokens, in the layout of
   Qwen's template, default system turn included, which is what Qwen's template makes of it.
3. The labels `query:` and `document:` are not counted in `max_length`, and the whole instruction is kept before the query.
4. Texts are defused: nothing in a query or document can be taken for a tag or a turn of the chat.
5. All candidates are ordered, equal scores by first-stage rank; theirs picks arbitrarily among equals at a cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rankrl.contracts import Steps
from rankrl.parsing.verdict import parse_verdict
from rankrl.rerankers import _text
from rankrl.rerankers._fields import check_fields
from rankrl.rerankers._pointwise import check_texts, check_wording, fitted, log_odds, pointed, rescored, sigmoid
from rankrl.rerankers._templates import wording
from rankrl.strategies.plans import Plan
from rankrl.strategies.plans import pointwise as pointwise_plan
from rankrl.strategies.pointwise import pointwise
from rankrl.types import Answer, CandidateList, Messages, Reading, Request

SPANS = {"base": 9.0, "large": 12.0}
"""What the published models normalise by: the logit differences that they give lie between 0 and this."""

SCORES = ("logit", *SPANS)


@dataclass(frozen=True, slots=True)
class ProRank:
    """A score per document from its own prompt; N prompts in one batch, no generation.

    instruction: a line before the query, "" for none. score: "logit" is log P("1") - log P("0"); "base" and "large" map it
    into 0..1 as the two published models do, 1 / (1 + exp(-(x - m/2))) with m = 9 or 12. The order is always by the logit,
    which does not saturate. max_length: room for query and document together, counted by `clip` (words unless an
    engine or a trainer puts its tokenizer in); the query keeps up to three quarters, the document is cut. template:
    "default", or a YAML file.

    Raises:
        ConfigError: a field is out of its range.
    """

    shown: ClassVar[int] = 1
    """How many candidates a prompt shows."""

    decoding: ClassVar[Mapping[str, Any]] = {"temperature": 0.0, "max_new_tokens": 2}
    """Options of the engine as the protocol wants them, where neither the model's card nor the user says otherwise."""

    instruction: str = ""
    score: str = "logit"
    max_length: int = 8192
    template: str = "default"
    clip: Callable[[str, int], str] = _text.clip_words

    def __post_init__(self) -> None:
        check_texts("prorank", instruction=self.instruction)
        check_fields("prorank", self, positive=("max_length",), known={"score": SCORES})
        check_wording("prorank", self)

    def prompt(self, listing: CandidateList) -> Messages:
        """The question whether the first of the listed documents is relevant."""
        query, document = fitted(listing, self.clip, self.max_length, taken=self.instruction)
        return wording("prorank", self.template).messages(
            query, [document], document=document.text, instruction=self.instruction
        )

    def request(self, listing: CandidateList) -> Request:
        """The prompt, with the two answers to score."""
        return Request(self.prompt(listing), choices=("1", "0"), shown=listing)

    def read(self, answer: Answer, n: int) -> Reading:
        """The score of the two answers; no score where neither is known. Of free text, what `parse` reads."""
        if not answer.scores:
            return self.parse(answer.text, n)
        difference = log_odds(*answer.scores)
        return pointed(None if difference is None else self._scaled(difference), n)

    def parse(self, text: str, n: int) -> Reading:
        """1.0 or 0.0, from the answer "1" or "0" of a model in training; see `rankrl.parsing.verdict`."""
        return parse_verdict(text, n, yes="1", no="0")

    def order(self, listing: CandidateList) -> Steps:
        """All candidates by score, equal ones by first-stage rank."""
        ranking = yield from pointwise(self if self.score == "logit" else replace(self, score="logit"), listing)
        return rescored(ranking, self._scaled)

    def plan(self, n: int) -> Plan:
        """What ordering n candidates costs."""
        return pointwise_plan(n)

    def spell(self, relevant: bool) -> str:
        """The completion that says so in exactly the layout asked for."""
        return "1" if relevant else "0"

    def _scaled(self, difference: float) -> float:
        return difference if self.score == "logit" else sigmoid(difference - SPANS[self.score] / 2)
