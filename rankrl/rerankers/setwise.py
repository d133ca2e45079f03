"""Setwise: name the single best of a few passages by its letter, or score all letters; a heap, bubbles or windows order the list.

arXiv:2310.09497. Deviations, beside those of `rankrl.strategies.heap` and `rankrl.strategies.bubble`:
1. The wording of the prompts is ours; the labels and the order of the parts are those of the paper's code.
2. Answers are read as `rankrl.parsing.letters` says, not by their last character.
3. Queries are cut at 128 tokens, not 32: claims and questions of many collections are longer than those of TREC DL.
4. Any model can score letters, not only T5.
5. Texts are defused: nothing in a query or passage can be taken for a label, a tag or a turn of the chat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from rankrl.contracts import Steps
from rankrl.errors import ConfigError
from rankrl.parsing.labels import reading_of_scores, softmax
from rankrl.parsing.letters import parse_letter
from rankrl.rerankers import _text
from rankrl.rerankers._fields import check_fields
from rankrl.rerankers._templates import wording
from rankrl.rerankers._windows import check_window
from rankrl.strategies import COMPAT, plans
from rankrl.strategies.bubble import bubble
from rankrl.strategies.heap import heap
from rankrl.strategies.sliding_window import sliding_window
from rankrl.types import Answer, CandidateList, Messages, Reading, Request

MODES = ("generation", "likelihood")
SORTS = ("heap", "bubble", "window")

MAX_LABELS = 23
"""A to W: T5's tokenizer splits X and Y."""


@dataclass(frozen=True, slots=True)
class Setwise:
    """Choices among num_child + 1 passages; a heap finds the `k` best of 100 with about 140 calls, or 23 with num_child=19.

    mode: "generation" reads the letter that the model writes; "likelihood" scores every letter as what comes next, which
    also orders the passages shown. sort: "heap" and "bubble" find the k best; "window" (likelihood only) slides `window`
    passages by `stride` up the list, `passes` times. votes: prompts per choice, each in another order; shuffle: show them in an
    order drawn from `seed`. query_tokens, passage_tokens: where texts are cut, counted by `clip` (words unless an engine or a
    trainer puts its tokenizer in). template: "chat", "plain" (no chat template, the answer begun with `Passage`: for
    T5), "brief", or a YAML file, whose `choice` says how a label is written next ("{label}", or " {label}" after a word).

    compat="upstream" leaves the parent or the front in its place where an answer cannot be read, makes the published bubbles
    that skip, and reads less (`rankrl.parsing.letters`).

    Raises:
        ConfigError: a field is out of its range.
    """

    decoding: ClassVar[Mapping[str, Any]] = {"temperature": 0.0, "max_new_tokens": 8}
    """Options of the engine as the protocol wants them, where neither the model's card nor the user says otherwise."""

    num_child: int = 2
    k: int = 10
    mode: str = "generation"
    sort: str = "heap"
    window: int = 4
    stride: int = 2
    passes: int = 5
    seed: int = 929
    shuffle: bool = False
    votes: int = 1
    compat: str = "rankrl"
    template: str = "chat"
    query_tokens: int = 128
    passage_tokens: int = 128
    clip: Callable[[str, int], str] = _text.clip_words

    def __post_init__(self) -> None:
        counts = ("num_child", "k", "window", "stride", "passes", "votes", "query_tokens", "passage_tokens")
        check_fields(
            "setwise",
            self,
            positive=counts,
            whole=("seed",),
            flags=("shuffle",),
            most={"num_child": MAX_LABELS - 1, "window": MAX_LABELS},
            known={"mode": MODES, "sort": SORTS, "compat": COMPAT},
        )
        check_window("setwise", self)
        if self.sort == "window" and self.mode != "likelihood":
            raise ConfigError('setwise: sort="window" needs an order of the passages shown: give mode="likelihood"')
        if "{label}" not in self._choice:
            raise ConfigError(
                f'setwise: choice of template {self.template!r} must hold "{{label}}", got {self._choice!r}'
            )

    @property
    def _choice(self) -> str:
        """How a label is written next."""
        return str(wording("setwise", self.template).extras.get("choice", "{label}"))

    @property
    def shown(self) -> int:
        """How many candidates a prompt shows at most."""
        return self.window if self.sort == "window" else self.num_child + 1

    def prompt(self, listing: CandidateList) -> Messages:
        """The question which of the listed passages, labelled `Passage A:` and so on in list order, is the most relevant."""
        lines = _text.passages(
            listing, self.clip, self.passage_tokens, style='Passage {label}: "{text}"', label=_text.letter
        )
        return wording("setwise", self.template).messages(_text.query(listing, self.clip, self.query_tokens), lines)

    def request(self, listing: CandidateList) -> Request:
        """The prompt; with the labels that may come next where these are scored."""
        if self.mode == "generation":
            return Request(self.prompt(listing), shown=listing)
        labels = (_text.letter(i) for i in range(1, len(listing) + 1))
        choices = tuple(self._choice.replace("{label}", label) for label in labels)
        return Request(self.prompt(listing), choices=choices, shown=listing)

    def read(self, answer: Answer, n: int) -> Reading:
        """The passages by the log-probabilities of their labels; the scores are their softmax over the labels shown."""
        if not answer.scores or len(answer.scores) != n:
            return self.parse(answer.text, n)
        reading = reading_of_scores(answer.scores)
        return replace(reading, scores=softmax(reading.scores or ()))

    def parse(self, text: str, n: int) -> Reading:
        """The chosen passage first, the others as presented; see `rankrl.parsing.letters`."""
        return parse_letter(text, n, compat=self.compat)

    def order(self, listing: CandidateList) -> Steps:
        """The k best, then the rest in first-stage order; or the list after the passes of the window."""
        if self.sort == "window":
            return sliding_window(self, listing, size=self.window, stride=self.stride, passes=self.passes)
        sort = heap if self.sort == "heap" else bubble
        return sort(
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
        if self.sort == "window":
            return plans.sliding_window(n, size=self.window, stride=self.stride, passes=self.passes)
        if self.sort == "heap":
            return plans.heap(n, children=self.num_child, k=self.k, votes=self.votes)
        return plans.bubble(n, children=self.num_child, k=self.k, votes=self.votes, compat=self.compat)

    def answer(self, label: int, thought: str | None = None) -> str:
        """The completion that chooses `label` (1-based) in exactly the layout asked for; a target for supervised warm-up."""
        return self._choice.replace("{label}", _text.letter(label))
