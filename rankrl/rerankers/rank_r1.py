"""Rank-R1: reason, then name the single best passage; a heap of such choices orders the list (setwise).

arXiv:2503.06034. Deviations, beside those of `rankrl.strategies.heap`:
1. The wording of the prompts is ours; the roles, the tags and the order of the parts are the paper's.
2. Labels are `[1] text`, as the published models were trained on; their inference prompt writes `[1]: text` (`label_style`).
3. Queries are cut at 128 tokens, not 32: claims and questions of many collections are longer than those of TREC DL.
4. Texts are defused: nothing in a query or passage can be taken for a label, a tag or a turn of the chat.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from rankrl.contracts import Steps
from rankrl.errors import ConfigError
from rankrl.parsing import parse_winner
from rankrl.strategies import COMPAT, heap
from rankrl.types import CandidateList, Messages, Reading


@dataclass(frozen=True, slots=True)
class Template:
    """The wording of a prompt: a system message ("" = none), a user message with {query} and {passages}, a default thought."""

    system: str
    user: str
    thought: str = ""


TEMPLATES = {
    "reasoning": Template(
        system=(
            "You judge search results. Think before you choose: write your reasoning between <think> and </think>, "
            "then write your choice, and nothing else, between <answer> and </answer>."
        ),
        user=(
            'Query: "{query}"\n\nWhich of the passages below answers this query best?\n\n{passages}\n\n'
            "Reason first, then give the label of the one most relevant passage. "
            "If it were the third one, you would end with <answer>[3]</answer>."
        ),
        thought="I compare each passage with the query.",
    ),
    "brief": Template(system="", user="{passages}\nQuery: {query}", thought="match"),
}
"""Name -> wording. "brief" has no prose at all, for policies too small to read instructions; it has to be trained."""

LABEL_STYLES = {"[i] text": "[{label}] {text}", "[i]: text": "[{label}]: {text}"}

MAX_CHILDREN = 19
"""Twenty labels are what the published models were trained on: a parent and 19 children."""

_LABEL = re.compile(r"\[\s*(\d+)\s*\]")
_OPENING = re.compile(r"<(?=[/|｜!a-z_])", re.IGNORECASE)
_TURN = re.compile(r"\[\s*(/?\s*(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS))\s*\]", re.IGNORECASE)


def defused(text: str) -> str:
    """`text` on one line, with nothing left that reads as a label `[3]`, a tag `<answer>` or a chat token `<|im_end|>`."""
    flat = " ".join(text.split())
    return _OPENING.sub("< ", _TURN.sub(r"(\1)", _LABEL.sub(r"(\1)", flat)))


def clip_words(text: str, max_words: int) -> str:
    """The first `max_words` words, the clip of a reranker that knows no tokenizer."""
    return " ".join(text.split()[:max_words])


@dataclass(frozen=True, slots=True)
class RankR1:
    """Setwise choice with reasoning; `order` finds the `k` best with about 23 calls for 100 candidates.

    num_child: children of a heap node, so a prompt shows up to num_child + 1 passages. votes: prompts per choice, each in
    another order. query_tokens, passage_tokens: where texts are cut, counted by `clip` (words unless an engine or a
    trainer puts its tokenizer in). compat: see `rankrl.strategies.heap`.

    Raises:
        ConfigError: a field is out of its range.
    """

    recipe: ClassVar[tuple[str, ...]] = ("success",)
    """The rewards of the paper: the exact label, nothing else."""

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
    clip: Callable[[str, int], str] = clip_words

    def __post_init__(self) -> None:
        for name in ("num_child", "k", "votes", "query_tokens", "passage_tokens"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"rank_r1: {name} must be a whole number of 1 or more, got {value!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ConfigError(f"rank_r1: seed must be a whole number, got {self.seed!r}")
        if self.num_child > MAX_CHILDREN:
            raise ConfigError(f"rank_r1: num_child must be at most {MAX_CHILDREN}, got {self.num_child}")
        if not isinstance(self.shuffle, bool):
            raise ConfigError(f"rank_r1: shuffle must be true or false, got {self.shuffle!r}")
        known = {"compat": COMPAT, "template": tuple(TEMPLATES), "label_style": tuple(LABEL_STYLES)}
        for name, accepted in known.items():
            if (value := getattr(self, name)) not in accepted:
                raise ConfigError(f"rank_r1: {name} must be one of {', '.join(map(repr, accepted))}, got {value!r}")

    @property
    def shown(self) -> int:
        """How many candidates a prompt shows at most: a parent and its children."""
        return self.num_child + 1

    def prompt(self, listing: CandidateList) -> Messages:
        """The question which of the listed passages, labelled [1]..[n] in list order, is the most relevant."""
        style, template = LABEL_STYLES[self.label_style], TEMPLATES[self.template]
        texts = (self.clip(defused(c.full_text), self.passage_tokens) for c in listing.candidates)
        passages = "\n".join(style.format(label=i, text=text).rstrip() for i, text in enumerate(texts, start=1))
        query = self.clip(defused(listing.query.text), self.query_tokens)
        user = {"role": "user", "content": template.user.format(query=query, passages=passages)}
        return [{"role": "system", "content": template.system}, user] if template.system else [user]

    def parse(self, text: str, n: int) -> Reading:
        """The chosen passage first, the others as presented; see `rankrl.parsing.parse_winner`."""
        return parse_winner(text, n)

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

    def answer(self, label: int, thought: str | None = None) -> str:
        """The completion that chooses `label` (1-based) in exactly the layout asked for; a target for supervised warm-up."""
        thought = TEMPLATES[self.template].thought if thought is None else thought
        return f"<think>{thought}</think><answer>[{label}]</answer>"
