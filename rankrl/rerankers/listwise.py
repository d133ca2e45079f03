"""Listwise reranking: the model writes the order of a window that slides up the list (RankGPT, RankVicuna, RankZephyr).

arXiv:2304.09542, 2309.15088, 2312.02724. Deviations, beside those of `rankrl.strategies.sliding_window`:
1. The wording of the prompts is ours; the roles, the labels and the order of the parts are those of the papers' code.
2. Answers are read by their brackets (`rankrl.parsing.permutation`), not by all their digits.
3. Passages are cut at 300 words, as there, and then at `passage_tokens`: text without spaces has no end in words. Queries
   are cut too, at `query_tokens`.
4. Texts are defused: nothing in a query or passage can be taken for a label, a tag or a turn of the chat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rankrl.contracts import Steps
from rankrl.parsing.permutation import parse_permutation
from rankrl.rerankers import _text
from rankrl.rerankers._fields import check_fields
from rankrl.rerankers._templates import wording
from rankrl.rerankers._windows import check_window
from rankrl.strategies import COMPAT, plans
from rankrl.strategies.sliding_window import sliding_window
from rankrl.types import CandidateList, Messages, Reading


@dataclass(frozen=True, slots=True)
class Listwise:
    """The order of `window` passages at a time, from the bottom of the list to its top; 9 calls for 100 candidates.

    window, stride: how many passages a prompt shows, and by how many the window moves. passes: how often it goes over the
    list. passage_words: where passages are cut first. query_tokens, passage_tokens: where texts are cut, counted by `clip`
    (words unless an engine or a trainer puts its tokenizer in). template: "rank_zephyr" (one turn), "opened" (its answer is
    begun with a bracket), "rankgpt" (a turn per passage), "brief", or a YAML file.

    compat="upstream" reads every number of an answer as a label, list numbers and counts included, as rank_llm does; with
    template="rankgpt" it also makes RankGPT's windows, which leave the first (N - window) mod stride candidates where they
    are and ask nothing of a list shorter than the window.

    Raises:
        ConfigError: a field is out of its range.
    """

    decoding: ClassVar[Mapping[str, Any]] = {"temperature": 0.0, "max_new_tokens": 512}
    """Options of the engine as the protocol wants them, where neither the model's card nor the user says otherwise."""

    window: int = 20
    stride: int = 10
    passes: int = 1
    compat: str = "rankrl"
    template: str = "rank_zephyr"
    passage_words: int = 300
    query_tokens: int = 512
    passage_tokens: int = 1024
    clip: Callable[[str, int], str] = _text.clip_words

    def __post_init__(self) -> None:
        check_fields(
            "listwise",
            self,
            positive=("window", "stride", "passes", "passage_words", "query_tokens", "passage_tokens"),
            known={"compat": COMPAT},
        )
        check_window("listwise", self)
        wording("listwise", self.template)

    @property
    def shown(self) -> int:
        """How many candidates a prompt shows at most."""
        return self.window

    def prompt(self, listing: CandidateList) -> Messages:
        """The request to order the listed passages, labelled [1]..[n] in list order."""

        def clip(text: str, tokens: int) -> str:
            return self.clip(_text.clip_words(text, self.passage_words), tokens)

        lines = _text.passages(listing, clip, self.passage_tokens)
        return wording("listwise", self.template).messages(_text.query(listing, self.clip, self.query_tokens), lines)

    def parse(self, text: str, n: int) -> Reading:
        """The order that the answer names; see `rankrl.parsing.permutation`."""
        return parse_permutation(text, n, rule="digits" if self.compat == "upstream" else "brackets")

    def order(self, listing: CandidateList) -> Steps:
        """The list after `passes` passes of the window."""
        return sliding_window(
            self, listing, size=self.window, stride=self.stride, passes=self.passes, compat=self._windows
        )

    @property
    def _windows(self) -> str:
        """Whose windows: RankGPT's are its own, rank_llm's are ours."""
        return self.compat if self.template == "rankgpt" else "rankrl"

    def plan(self, n: int) -> plans.Plan:
        """What ordering n candidates asks."""
        return plans.sliding_window(n, size=self.window, stride=self.stride, passes=self.passes, compat=self._windows)

    def spell(self, labels: Sequence[int]) -> str:
        """The completion that names `labels` (1-based), best first, in exactly the layout asked for."""
        begun = "[" if wording("listwise", self.template).begun == "[" else ""
        return " > ".join(f"[{label}]" for label in labels).removeprefix(begun)
