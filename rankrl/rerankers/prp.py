"""PRP: which of two passages is more relevant, asked in both orders; all pairs, a heap, or passes up the list order it.

Pairwise Ranking Prompting (arXiv:2306.17563) has no official code; ielab/llm-rankers is `compat="upstream"`. Template "duot5" is
duoT5 (arXiv:2101.05667). Deviations, beside those of `rankrl.strategies.allpair`, `.pair_heap` and `.sliding_pairs`:
1. The wording of the prompts is ours, except duoT5's labels; labels and the order of the parts are those of the codes.
2. Answers are read as `rankrl.parsing.letters` says: the first label named, in words or as a letter that stands alone.
3. Queries are cut at 128 tokens, not 32: claims and questions of many collections are longer than those of TREC DL.
4. Ties of points go to the better first-stage rank, and the whole list is ordered unless `k` is given.
5. Texts are defused: nothing in a query or passage can be taken for a label, a tag or a turn of the chat.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rankrl.contracts import Steps
from rankrl.errors import ConfigError
from rankrl.parsing.letters import parse_letter
from rankrl.rerankers import _text
from rankrl.rerankers._fields import check_fields
from rankrl.rerankers._pointwise import check_wording, most_left, two_choices
from rankrl.rerankers._templates import wording
from rankrl.strategies import COMPAT, plans
from rankrl.strategies.allpair import allpair
from rankrl.strategies.pair_heap import pair_heap
from rankrl.strategies.plans import Plan
from rankrl.strategies.sliding_pairs import sliding_pairs
from rankrl.types import Answer, CandidateList, Messages, ParseReport, Ranking, Reading, Request

MODES = ("generation", "scoring")
SORTS = ("sliding", "heap", "allpair")

_K = 10
_BEGUN = re.compile(r"passage\s*:?\s*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PRP:
    """Comparisons of two passages; what both orders do not agree on, or cannot be read, is a tie.

    mode: "generation" reads the label that the model writes, "scoring" compares the log-probabilities of the two labels. sort:
    "sliding", `passes` backward passes over neighbours, which stop where earlier ones have settled the top (`shrinking`);
    "heap", the `k` best (10) by heapsort; "allpair", everything against everything. For 100 candidates these are about
    1890, 560 and 9900 prompts. soft: points of all pairs are divided by probabilities (scoring). both_orders=False: all pairs
    are asked about in first-stage order only. k: only so many come first, the others follow in first-stage order (not
    "sliding", where `passes` says how many are found). query_tokens, passage_tokens: where texts are cut, counted by
    `clip` (words unless an engine or a trainer puts its tokenizer in).

    template: "chat"; "t5", plain text whose answer is begun, for FLAN-T5 and the like; "duot5" (scoring; as published with
    sort="allpair", soft=True); or a YAML file, whose `choices` are what may come next, the first passage's first.

    compat="upstream" breaks ties by which candidate was first to get points, keeps the higher of a heap where answers conflict (a
    model that always prefers the first shown then turns the list upside down), skips passages that did not move in the
    pass before, and reads a label only where it is the whole answer.

    Raises:
        ConfigError: a field is out of its range, or fields that do not go together.
    """

    shown: ClassVar[int] = 2
    """How many candidates a prompt shows."""

    decoding: ClassVar[Mapping[str, Any]] = {"temperature": 0.0, "max_new_tokens": 8}
    """Options of the engine as the protocol wants them, where neither the model's card nor the user says otherwise."""

    mode: str = "generation"
    sort: str = "sliding"
    passes: int = _K
    shrinking: bool = True
    k: int | None = None
    both_orders: bool = True
    soft: bool = False
    compat: str = "rankrl"
    template: str = "chat"
    query_tokens: int = 128
    passage_tokens: int = 128
    clip: Callable[[str, int], str] = _text.clip_words

    def __post_init__(self) -> None:
        counts = ("passes", "query_tokens", "passage_tokens", *(() if self.k is None else ("k",)))
        check_fields(
            "prp",
            self,
            positive=counts,
            flags=("shrinking", "both_orders", "soft"),
            known={"mode": MODES, "sort": SORTS, "compat": COMPAT},
        )
        two_choices("prp", self._extra("choices"), self.template)
        only = self._extra("only") == "scoring"
        for given, what, needed in (
            (only and self.mode != "scoring", f"template={self.template!r}", "mode='scoring'"),
            (
                self.soft and (self.mode, self.sort) != ("scoring", "allpair"),
                "soft",
                "mode='scoring' and sort='allpair'",
            ),
            (not self.both_orders and self.sort != "allpair", "both_orders=False", "sort='allpair'"),
            (
                self.k is not None and self.sort == "sliding",
                "k",
                "sort='heap' or 'allpair'; 'sliding' finds the best `passes`",
            ),
        ):
            if given:
                raise ConfigError(f"prp: {what} goes with {needed}; got mode={self.mode!r}, sort={self.sort!r}")
        check_wording("prp", self, 2)

    def _extra(self, key: str) -> Any:
        return wording("prp", self.template).extras.get(key, ["A", "B"] if key == "choices" else None)

    def prompt(self, listing: CandidateList) -> Messages:
        """The question which of the first two listed passages is the more relevant one."""
        pair = listing.pick(range(min(2, len(listing))))
        lines = _text.passages(
            pair, self.clip, self.passage_tokens, style='Passage {label}: "{text}"', label=_text.letter
        )
        first, second = (*(line.text for line in lines), "", "")[:2]
        query = _text.query(listing, self.clip, self.query_tokens)
        return wording("prp", self.template).messages(query, lines, first=first, second=second)

    def request(self, listing: CandidateList) -> Request:
        """The prompt; with the two labels that may come next where these are scored."""
        if self.mode == "generation":
            return Request(self.prompt(listing), shown=listing)
        choices = two_choices("prp", self._extra("choices"), self.template)
        return Request(self.prompt(listing), choices=choices, shown=listing)

    def read(self, answer: Answer, n: int) -> Reading:
        """The likelier label's passage first, and the log-probabilities as scores; equal ones are a tie.

        A label that the engine cannot tell is less likely than the other, and scored as likely as it can be then.
        """
        if len(answer.scores) != 2 or n != 2:
            return self.parse(answer.text, n)
        first, second = (None if score is None or math.isnan(score) else score for score in answer.scores)
        if second is None and first is not None:
            return Reading(Ranking((0, 1)), scores=(first, most_left(first)))
        if first is None and second is not None:
            return Reading(Ranking((1, 0)), scores=(most_left(second), second))
        if first is None or second is None:
            return Reading(Ranking((0, 1)), ParseReport(unreadable=True))
        order = (0, 1) if first >= second else (1, 0)
        return Reading(Ranking(order), ParseReport(unreadable=first == second), (first, second))

    def parse(self, text: str, n: int) -> Reading:
        """The named passage first; see `rankrl.parsing.letters`. Where the prompt has begun the answer with `Passage`, a letter
        that comes next is a label: "A is closer"."""
        reading = parse_letter(text, n, compat=self.compat)
        begun = _BEGUN.search(wording("prp", self.template).begun)
        if reading.report.unreadable and begun and self.compat != "upstream":
            return parse_letter(begun[0] + text, n)
        return reading

    def order(self, listing: CandidateList) -> Steps:
        """The list as `sort` orders it."""
        if self.sort == "heap":
            return pair_heap(self, listing, k=self.k or _K, compat=self.compat)
        if self.sort == "sliding":
            return sliding_pairs(self, listing, passes=self.passes, shrinking=self.shrinking, compat=self.compat)
        return allpair(
            self, listing, soft=self.soft, both_orders=self.both_orders, compat=self.compat, k=self.k
        )  # fmt: skip

    def plan(self, n: int) -> Plan:
        """What ordering n candidates costs."""
        if self.sort == "heap":
            return plans.pair_heap(n, k=self.k or _K, compat=self.compat)
        if self.sort == "sliding":
            return plans.sliding_pairs(n, passes=self.passes, shrinking=self.shrinking, compat=self.compat)
        return plans.allpair(n, both_orders=self.both_orders)

    def answer(self, label: int, thought: str | None = None) -> str:
        """The completion that chooses `label` (1 or 2) in exactly the layout asked for."""
        return two_choices("prp", self._extra("choices"), self.template)[label - 1]
