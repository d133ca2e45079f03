"""FIRST: order a window by the probability of each letter as the first of the answer; one token per call (listwise).

arXiv:2406.15657. Deviations, beside those of `rankrl.strategies.sliding_window`:
1. The wording of the prompts is ours; the roles, the labels and the order of the parts are those of the paper's code.
2. All letters shown are scored, not those among an engine's likeliest tokens; letters without a score come last all the same.
3. Passages are cut at 300 words, as in rank_llm, and then at `passage_tokens`; queries are cut at `query_tokens`.
4. Texts are defused: nothing in a query or passage can be taken for a label, a tag or a turn of the chat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rankrl.contracts import Steps
from rankrl.parsing.labels import reading_of_scores
from rankrl.parsing.letters import parse_letters
from rankrl.rerankers import _text
from rankrl.rerankers._fields import check_fields
from rankrl.rerankers._templates import wording
from rankrl.rerankers._windows import check_window
from rankrl.strategies import COMPAT, plans
from rankrl.strategies.sliding_window import sliding_window
from rankrl.types import Answer, CandidateList, Messages, Reading, Request

MAX_WINDOW = 26
"""There are no more letters; the published models were trained on 20."""


@dataclass(frozen=True, slots=True)
class First:
    """The order of `window` passages at a time by one token's log-probabilities; 9 calls of one token for 100 candidates.

    window, stride, passes, passage_words, query_tokens, passage_tokens, clip: as in `rankrl.rerankers.listwise`. template:
    "opened", "brief", or a YAML file; it has to begin the answer, for a letter to come next. `parse` reads a whole answer in
    letters, with which such a model is trained.

    compat="upstream" reads those as rank_llm does, which takes every letter of a word for a label.

    Raises:
        ConfigError: a field is out of its range.
    """

    decoding: ClassVar[Mapping[str, Any]] = {"temperature": 0.0, "max_new_tokens": 128}
    """Options of the engine as the protocol wants them, where neither the model's card nor the user says otherwise."""

    window: int = 20
    stride: int = 10
    passes: int = 1
    compat: str = "rankrl"
    template: str = "opened"
    passage_words: int = 300
    query_tokens: int = 512
    passage_tokens: int = 1024
    clip: Callable[[str, int], str] = _text.clip_words

    def __post_init__(self) -> None:
        check_fields(
            "first",
            self,
            positive=("window", "stride", "passes", "passage_words", "query_tokens", "passage_tokens"),
            most={"window": MAX_WINDOW},
            known={"compat": COMPAT},
        )
        check_window("first", self)
        wording("first", self.template)

    @property
    def shown(self) -> int:
        """How many candidates a prompt shows at most."""
        return self.window

    def prompt(self, listing: CandidateList) -> Messages:
        """The request to order the listed passages, labelled [A], [B], … in list order, with the answer's first bracket."""

        def clip(text: str, tokens: int) -> str:
            return self.clip(_text.clip_words(text, self.passage_words), tokens)

        lines = _text.passages(listing, clip, self.passage_tokens, label=_text.letter)
        return wording("first", self.template).messages(_text.query(listing, self.clip, self.query_tokens), lines)

    def request(self, listing: CandidateList) -> Request:
        """The prompt, and the letters that may come next."""
        letters = tuple(_text.letter(i) for i in range(1, len(listing) + 1))
        return Request(self.prompt(listing), choices=letters, shown=listing)

    def read(self, answer: Answer, n: int) -> Reading:
        """The passages by the log-probabilities of their letters, which are the scores."""
        return reading_of_scores(answer.scores) if len(answer.scores) == n else self.parse(answer.text, n)

    def parse(self, text: str, n: int) -> Reading:
        """The order that a whole answer names; see `rankrl.parsing.letters`."""
        return parse_letters(text, n, compat=self.compat)

    def order(self, listing: CandidateList) -> Steps:
        """The list after `passes` passes of the window."""
        return sliding_window(self, listing, size=self.window, stride=self.stride, passes=self.passes)

    def plan(self, n: int) -> plans.Plan:
        """What ordering n candidates asks."""
        return plans.sliding_window(n, size=self.window, stride=self.stride, passes=self.passes)

    def spell(self, labels: Sequence[int]) -> str:
        """The completion that names `labels` (1-based), best first, in exactly the layout asked for."""
        begun = "[" if wording("first", self.template).begun == "[" else ""
        return " > ".join(f"[{_text.letter(label)}]" for label in labels).removeprefix(begun)
