"""Rank-R1: reason, then name the single best passage; a heap of such choices orders the list (setwise).

arXiv:2503.06034. Deviations, beside those of `rankrl.strategies.heap`:
1. The wording of the prompts is ours; the roles, the tags and the order of the parts are the paper's.
2. Labels are `[1] text`, as the published models were trained on; their inference prompt writes `[1]: text` (`label_style`).
3. Queries are cut at 128 tokens, not 32: claims and questions of many collections are longer than those of TREC DL.
4. Texts are defused: nothing in a query or passage can be taken for a label, a tag or a turn of the chat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rankrl.contracts import Steps
from rankrl.parsing.winner import parse_winner
from rankrl.rerankers import _text
from rankrl.rerankers._fields import check_fields
from rankrl.rerankers._templates import wording
from rankrl.strategies import COMPAT, plans
from rankrl.strategies.heap import heap
from rankrl.types import CandidateList, Messages, Reading

LABEL_STYLES = {"[i] text": "[{label}] {text}", "[i]: text": "[{label}]: {text}"}

MAX_CHILDREN = 19
"""Twenty labels are what the published models were trained on: a parent and 19 children."""


@dataclass(frozen=True, slots=True)
class RankR1:
    """Setwise choice with reasoning; `order` finds the `k` best with about 23 calls for 100 candidates.

    num_child: children of a heap node, so a prompt shows up to num_child + 1 passages. votes: prompts per choice, each in
    another order. query_tokens, passage_tokens: where texts are cut, counted by `clip` (words unless an engine or a
    trainer puts its tokenizer in). template: "reasoning", "brief", or a YAML file, which may begin the
    answer with `<think>`. compat: see `rankrl.strategies.heap` and `rankrl.parsing.winner`.

    Raises:
        ConfigError: a field is out of its range.
    """

    recipe: ClassVar[tuple[str, ...]] = ("success",)
    """The rewards of the paper: the exact label, nothing else."""

    decoding: ClassVar[Mapping[str, Any]] = {"temperature": 0.0, "max_new_tokens": 2048}
    """Options of the engine as the protocol wants them, where neither the model's card nor the user says otherwise."""

    num_child: int = MAX_CHILDREN
    k: int = 10
    seed: int = 929
    shuffle: bool = True
    votes: int = 1
    compat: str = "rankrl"
    template: str = "reasoning"
    label_style: str = "[i] text"
    query_tokens: int = 128
    passage_tokens: int = 512
    clip: Callable[[str, int], str] = _text.clip_words

    def __post_init__(self) -> None:
        check_fields(
            "rank_r1",
            self,
            positive=("num_child", "k", "votes", "query_tokens", "passage_tokens"),
            whole=("seed",),
            flags=("shuffle",),
            most={"num_child": MAX_CHILDREN},
            known={"compat": COMPAT, "label_style": tuple(LABEL_STYLES)},
        )
        wording("rank_r1", self.template)

    @property
    def shown(self) -> int:
        """How many candidates a prompt shows at most: a parent and its children."""
        return self.num_child + 1

    def prompt(self, listing: CandidateList) -> Messages:
        """The question which of the listed passages, labelled [1]..[n] in list order, is the most relevant."""
        lines = _text.passages(listing, self.clip, self.passage_tokens, style=LABEL_STYLES[self.label_style])
        return wording("rank_r1", self.template).messages(_text.query(listing, self.clip, self.query_tokens), lines)

    def parse(self, text: str, n: int) -> Reading:
        """The chosen passage first, the others as presented; see `rankrl.parsing.winner`."""
        begun = "<think>" if wording("rank_r1", self.template).begun.strip() == "<think>" else ""
        return parse_winner(begun + text, n, compat=self.compat)

    def order(self, listing: CandidateList) -> Steps:
        """The k best by a heap of choices, then the rest in first-stage order."""
        return heap(
            self,
            listing,
            children=self.num_child,
            k=self.k,
            seed=self.seed,
            shuffle=self.shuffle,
            votes=self.votes,
            compat=self.compat,
        )

    def plan(self, n: int) -> plans.Plan:
        """What ordering n candidates asks."""
        return plans.heap(n, children=self.num_child, k=self.k, votes=self.votes)

    def answer(self, label: int, thought: str | None = None) -> str:
        """The completion that chooses `label` (1-based) in exactly the layout asked for; a target for supervised warm-up."""
        thought = wording("rank_r1", self.template).extras.get("thought", "") if thought is None else thought
        return f"<think>{thought}</think><answer>[{label}]</answer>"
