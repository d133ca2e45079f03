"""Cross-encoder: a sequence classifier reads query and document together, and its logit orders the list.

For models such as MiniLM trained on MS MARCO (arXiv:1901.04085) and all that are classifiers of pairs. There is no wording: the
two texts are all that the model sees, on one line each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rankrl.contracts import Steps
from rankrl.rerankers import _text
from rankrl.rerankers._fields import check_fields
from rankrl.rerankers._pointwise import pointed
from rankrl.strategies.plans import Plan
from rankrl.strategies.plans import pointwise as pointwise_plan
from rankrl.strategies.pointwise import pointwise
from rankrl.types import PAIR, Answer, CandidateList, Messages, Reading, Request

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class CrossEncoder:
    """A logit per document; N pairs in one batch.

    max_length: where each text is cut, counted by `clip` (words unless an engine puts its tokenizer in), before the engine
    cuts the document to what the model can read.

    Raises:
        ConfigError: a field is out of its range.
    """

    engine: ClassVar[str] = "classifier"
    """The engine that answers, where the user names no other."""

    shown: ClassVar[int] = 1
    """How many candidates a prompt shows."""

    decoding: ClassVar[Mapping[str, Any]] = {}
    """A classifier decodes nothing."""

    max_length: int = 8192
    clip: Callable[[str, int], str] = _text.clip_words

    def __post_init__(self) -> None:
        check_fields("cross_encoder", self, positive=("max_length",))

    def prompt(self, listing: CandidateList) -> Messages:
        """The query and the first of the listed documents, as they are but for white space: there is no label to pose as.

        Half a surrogate pair, which no tokenizer takes, becomes U+FFFD.
        """
        texts = (listing.query.text, listing.candidates[0].full_text)
        flat = (_SURROGATE.sub("\ufffd", " ".join(text.split())) for text in texts)
        return [{"role": PAIR, "content": self.clip(text, self.max_length)} for text in flat]

    def request(self, listing: CandidateList) -> Request:
        """The pair, and the one thing that a classifier says of it."""
        return Request(self.prompt(listing), choices=("relevant",), shown=listing)

    def read(self, answer: Answer, n: int) -> Reading:
        """The logit; no score where the engine gives none."""
        return pointed(answer.scores[0], n) if answer.scores else self.parse(answer.text, n)

    def parse(self, text: str, n: int) -> Reading:
        """No score: classifiers say nothing in words."""
        return pointed(None, n)

    def order(self, listing: CandidateList) -> Steps:
        """All candidates by logit, equal ones by first-stage rank."""
        return pointwise(self, listing)

    def plan(self, n: int) -> Plan:
        """What ordering n candidates costs."""
        return pointwise_plan(n)
