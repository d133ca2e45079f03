"""Yes or no: one look at one document; which of two words the model would say orders the list, without generating.

Template "monot5" is monoT5 (arXiv:2003.06713), "qwen3" Qwen3-Reranker (arXiv:2506.05176), "generic" a plain question for any
chat model. Deviations:
1. The wordings are ours, except monoT5's three labels, which are all there is; roles, labels and the order of the parts
   are the originals'.
2. The order is by log P(yes) - log P(no), the difference of the two logits: P(yes), their softmax, ties where it saturates.
3. A word whose log-probability the engine cannot tell (a server names the likeliest tokens only): the other word counts as
   no more certain than it must be, see `rankrl.rerankers._pointwise.log_odds`; Qwen3-Reranker's vLLM example takes -10, as
   `compat="upstream"` does. A document of which neither is known has no score and follows the others.
4. Texts are defused: nothing in a query or document can be taken for a label, a tag or a turn of the chat.
5. A query takes three quarters of the room at most, so that some of the document is always seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rankrl.contracts import Steps
from rankrl.errors import ConfigError
from rankrl.parsing.verdict import parse_verdict
from rankrl.rerankers import _text
from rankrl.rerankers._fields import check_fields
from rankrl.rerankers._pointwise import (
    check_texts,
    check_wording,
    fitted,
    log_odds,
    pointed,
    rescored,
    sigmoid,
    two_choices,
)
from rankrl.rerankers._templates import wording
from rankrl.strategies import COMPAT
from rankrl.strategies.plans import Plan
from rankrl.strategies.plans import pointwise as pointwise_plan
from rankrl.strategies.pointwise import pointwise
from rankrl.types import Answer, CandidateList, Messages, Reading, Request

SCORES = ("difference", "probability")

MISSING = -10.0
"""The log-probability that Qwen3-Reranker's vLLM example gives to a word that is not among the likeliest tokens."""


@dataclass(frozen=True, slots=True)
class YesNo:
    """A score per document from its own prompt; N prompts in one batch, no generation.

    template: "generic"; "qwen3" and "qwen3_blank" (its parts apart by blank lines), which tell the model the `instruction`;
    "monot5" for encoder-decoder models; or a YAML file, whose `choices` are the two words. instruction: None is the
    template's own. score: "difference" of the two log-probabilities, or "probability" of yes among the two. max_length:
    room for query and document together, counted by `clip` (words unless an engine or a trainer puts its tokenizer in); None
    is the template's own; the document is cut. compat="upstream": a word that the engine cannot tell has log-probability -10.

    Raises:
        ConfigError: a field is out of its range.
    """

    shown: ClassVar[int] = 1
    """How many candidates a prompt shows."""

    decoding: ClassVar[Mapping[str, Any]] = {"temperature": 0.0, "max_new_tokens": 2}
    """Options of the engine as the protocol wants them, where neither the model's card nor the user says otherwise."""

    template: str = "generic"
    instruction: str | None = None
    score: str = "difference"
    max_length: int | None = None
    compat: str = "rankrl"
    clip: Callable[[str, int], str] = _text.clip_words

    def __post_init__(self) -> None:
        if self.instruction is not None:
            check_texts("yes_no", instruction=self.instruction)
        check_fields(
            "yes_no",
            self,
            positive=() if self.max_length is None else ("max_length",),
            known={"score": SCORES, "compat": COMPAT},
        )
        two_choices("yes_no", self._extra("choices", ("yes", "no")), self.template)
        if isinstance(room := self._room, bool) or not isinstance(room, int) or room < 1:
            raise ConfigError(f"yes_no: max_length of template {self.template!r} must be 1 or more, got {room!r}")
        check_wording("yes_no", self)

    @property
    def words(self) -> tuple[str, str]:
        """The two words whose log-probabilities are compared, the positive one first."""
        return two_choices("yes_no", self._extra("choices", ("yes", "no")), self.template)

    @property
    def _room(self) -> Any:
        return self._extra("max_length", 2048) if self.max_length is None else self.max_length

    def _extra(self, key: str, default: Any) -> Any:
        return wording("yes_no", self.template).extras.get(key, default)

    def prompt(self, listing: CandidateList) -> Messages:
        """The question whether the first of the listed documents is relevant."""
        instruction = str(self._extra("instruction", "")) if self.instruction is None else self.instruction
        query, document = fitted(listing, self.clip, self._room, taken=instruction)
        return wording("yes_no", self.template).messages(
            query, [document], document=document.text, instruction=instruction
        )

    def request(self, listing: CandidateList) -> Request:
        """The prompt, with the two words to score."""
        return Request(self.prompt(listing), choices=self.words, shown=listing)

    def read(self, answer: Answer, n: int) -> Reading:
        """The score of the two words; no score where neither is known. Of free text, what `parse` reads."""
        if not answer.scores:
            return self.parse(answer.text, n)
        difference = log_odds(*answer.scores, missing=MISSING if self.compat == "upstream" else None)
        return pointed(None if difference is None else self._scaled(difference), n)

    def parse(self, text: str, n: int) -> Reading:
        """1.0 or 0.0, from an answer in words; see `rankrl.parsing.verdict`."""
        yes, no = self.words
        return parse_verdict(text, n, yes=yes, no=no)

    def order(self, listing: CandidateList) -> Steps:
        """All candidates by score, equal ones by first-stage rank."""
        ranking = yield from pointwise(
            self if self.score == "difference" else replace(self, score="difference"), listing
        )
        return rescored(ranking, self._scaled)

    def plan(self, n: int) -> Plan:
        """What ordering n candidates costs."""
        return pointwise_plan(n)

    def spell(self, relevant: bool) -> str:
        """The completion that says so in exactly the layout asked for."""
        return self.words[0 if relevant else 1]

    def _scaled(self, difference: float) -> float:
        return difference if self.score == "difference" else sigmoid(difference)
