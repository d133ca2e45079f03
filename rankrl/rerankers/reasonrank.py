"""ReasonRank: reason, then order all passages of a window that slides up the list (listwise).

arXiv:2508.07050. Deviations, beside those of `rankrl.strategies.sliding_window`:
1. The wording of the prompts is ours; the roles, the tags, the labels and the order of the parts are the paper's.
2. Answers are read by their brackets, and the reasoning is never read (`rankrl.parsing.reasoned`).
3. Texts are defused: nothing in a query or passage can be taken for a label, a tag or a turn of the chat. Queries are cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rankrl.contracts import Steps
from rankrl.parsing.reasoned import parse_reasoned
from rankrl.rerankers import _text
from rankrl.rerankers._fields import check_fields
from rankrl.rerankers._templates import wording
from rankrl.rerankers._windows import check_window
from rankrl.strategies import COMPAT, plans
from rankrl.strategies.sliding_window import sliding_window
from rankrl.types import Candidate, CandidateList, Messages, Reading

_PART = re.compile(r"\b(title|content)\s*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ReasonRank:
    """The order of `window` passages at a time, with reasoning, from the bottom of the list up; 9 calls for 100 candidates.

    window, stride: how many passages a prompt shows, and by how many the window moves (10 and 5 gave the paper's best
    results on BRIGHT). passes: how often it goes over the list. query_tokens, passage_tokens: where texts are cut, counted by
    `clip` (words unless an engine or a trainer puts its tokenizer in); the paper cuts passages at 100 tokens for TREC and
    BEIR, at 512 for BRIGHT. A passage with a title reads `Title: … Content: …`. template: "reasoning", "user_turn" (the tags
    are explained in the user's turn, as for Qwen3), "brief", or a YAML file.

    compat="upstream" reads answers as the published code does, which takes every number for a label and reads the
    reasoning where there is no answer; see `rankrl.parsing.reasoned`.

    Raises:
        ConfigError: a field is out of its range.
    """

    decoding: ClassVar[Mapping[str, Any]] = {"temperature": 0.0, "max_new_tokens": 3172}
    """Options of the engine as the protocol wants them, where neither the model's card nor the user says otherwise."""

    window: int = 20
    stride: int = 10
    passes: int = 1
    compat: str = "rankrl"
    template: str = "reasoning"
    query_tokens: int = 512
    passage_tokens: int = 100
    clip: Callable[[str, int], str] = _text.clip_words

    def __post_init__(self) -> None:
        check_fields(
            "reasonrank",
            self,
            positive=("window", "stride", "passes", "query_tokens", "passage_tokens"),
            known={"compat": COMPAT},
        )
        check_window("reasonrank", self)
        wording("reasonrank", self.template)

    @property
    def shown(self) -> int:
        """How many candidates a prompt shows at most."""
        return self.window

    def prompt(self, listing: CandidateList) -> Messages:
        """The request to reason about and order the listed passages, labelled [1]..[n] in list order."""
        lines = _text.passages(listing, self.clip, self.passage_tokens, text=_titled)
        return wording("reasonrank", self.template).messages(_text.query(listing, self.clip, self.query_tokens), lines)

    def parse(self, text: str, n: int) -> Reading:
        """The order that the answer tag names; see `rankrl.parsing.reasoned`."""
        return parse_reasoned(text, n, compat=self.compat)

    def order(self, listing: CandidateList) -> Steps:
        """The list after `passes` passes of the window."""
        return sliding_window(self, listing, size=self.window, stride=self.stride, passes=self.passes)

    def plan(self, n: int) -> plans.Plan:
        """What ordering n candidates asks."""
        return plans.sliding_window(n, size=self.window, stride=self.stride, passes=self.passes)

    def spell(self, labels: Sequence[int], thought: str | None = None) -> str:
        """The completion that names `labels` (1-based), best first, in exactly the layout asked for."""
        thought = wording("reasonrank", self.template).extras.get("thought", "") if thought is None else thought
        return f"<think>{thought}</think><answer>{' > '.join(f'[{label}]' for label in labels)}</answer>"


def _titled(candidate: Candidate) -> str:
    """The passage in its parts; a text that names the parts itself cannot add to them."""
    if not candidate.title:
        return _PART.sub(r"\1 -", candidate.text)
    title, content = (_PART.sub(r"\1 -", text) for text in (candidate.title, candidate.text))
    return f"Title: {title} Content: {content}"
