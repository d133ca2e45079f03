"""GroupRank: grade all documents of a group beside each other, 0 to 10, in one answer; groups are drawn at random.

arXiv:2511.11653 and AQ-MedAI/Diver. Deviations, beside that of `rankrl.strategies.groups`:
1. The wording is ours; the parts, their order, the labels `[1]. text`, the scale and the form of the answer are theirs.
2. A label out of range, a grade that is no number or broken JSON cost that entry alone, and grades are cut to 0..10;
   `compat="upstream"` scores the whole group 0 then, which enters the mean.
3. First-stage scores are mapped to 0..1 per query before they are mixed in; theirs are taken as they are, which only suits
   cosines (`compat="upstream"`).
4. One round, not two or six, unless `rounds` says so, and groups of 20 that do not overlap, as in the paper.
5. Texts are defused: nothing in a query or document can be taken for a label, a tag or a turn of the chat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rankrl.contracts import Steps
from rankrl.errors import ConfigError
from rankrl.parsing.grades import parse_grades, parse_grades_upstream
from rankrl.rerankers import _text
from rankrl.rerankers._fields import check_fields
from rankrl.rerankers._pointwise import check_wording, ranked
from rankrl.rerankers._templates import wording
from rankrl.strategies import COMPAT, plans
from rankrl.strategies.groups import groups
from rankrl.strategies.plans import Plan
from rankrl.types import CandidateList, Messages, Ranking, Reading

_TOKENS_PER_CHARACTER = 4
"""No tokenizer makes more tokens than bytes: a cut by characters is never a cut by tokens."""


@dataclass(frozen=True, slots=True)
class GroupRank:
    """Grades of groups; `rounds` * ceil(N / group_size) prompts in one batch.

    A document's score is the mean over the rounds of its grade / 10; each round draws other groups, from `seed`. interval: a
    group begins every `interval` candidates, None for the size of a group; below it groups overlap. first_stage: the share
    of the first stage's score, 0 for none, .4 as published; it needs a score of every candidate and is left out otherwise.
    passage_chars: where documents are cut, in characters. query_tokens: where queries are, counted by `clip` (words
    unless an engine or a trainer puts its tokenizer in). template: "reasoning", or a YAML file.

    Raises:
        ConfigError: a field is out of its range.
    """

    decoding: ClassVar[Mapping[str, Any]] = {"temperature": 0.3, "top_p": 0.8, "max_new_tokens": 8000}
    """Options of the engine as the protocol wants them, where neither the model's card nor the user says otherwise."""

    group_size: int = 20
    rounds: int = 1
    interval: int | None = None
    seed: int = 929
    first_stage: float = 0.0
    compat: str = "rankrl"
    template: str = "reasoning"
    query_tokens: int = 1024
    passage_chars: int = 3000
    clip: Callable[[str, int], str] = _text.clip_words

    def __post_init__(self) -> None:
        check_fields(
            "grouprank",
            self,
            positive=("group_size", "rounds", "query_tokens", "passage_chars", *(() if self.interval is None else ("interval",))),
            whole=("seed",),
            known={"compat": COMPAT},
            most={} if self.interval is None else {"interval": self.group_size},
        )  # fmt: skip
        share = self.first_stage
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise ConfigError(f"grouprank: first_stage must be a number from 0 to 1, got {share!r}")
        check_wording("grouprank", self)

    @property
    def shown(self) -> int:
        """How many candidates a prompt shows at most."""
        return self.group_size

    def prompt(self, listing: CandidateList) -> Messages:
        """The request to grade the listed documents, labelled [1]. to [n]. in list order."""

        def cut(text: str, characters: int) -> str:
            return self.clip(text[:characters], _TOKENS_PER_CHARACTER * characters)

        lines = _text.passages(listing, cut, self.passage_chars, style="[{label}]. {text}")
        return wording("grouprank", self.template).messages(_text.query(listing, self.clip, self.query_tokens), lines)

    def parse(self, text: str, n: int) -> Reading:
        """The documents by grade / 10, and these as scores; see `rankrl.parsing.grades`."""
        return parse_grades_upstream(text, n) if self.compat == "upstream" else parse_grades(text, n)

    def order(self, listing: CandidateList) -> Steps:
        """All candidates by score, equal ones by first-stage rank, those that no answer has graded last."""
        ranking = yield from groups(
            self, listing, size=self.group_size, rounds=self.rounds, seed=self.seed, interval=self.interval
        )
        return self._mixed(ranking, listing)

    def plan(self, n: int) -> Plan:
        """What ordering n candidates costs."""
        return plans.groups(n, size=self.group_size, rounds=self.rounds, interval=self.interval)

    def spell(self, grades: list[int], thought: str | None = None) -> str:
        """The completion that gives these grades in exactly the layout asked for; a target for supervised warm-up."""
        entries = ", ".join(f'"[{i}]": {grade}' for i, grade in enumerate(grades, start=1))
        return f"<reason>{thought or ''}</reason>\n<answer>\n```json\n{{{entries}}}\n```\n</answer>"

    def _mixed(self, ranking: Ranking, listing: CandidateList) -> Ranking:
        """The ranking with the first stage's share in its scores."""
        given = [candidate.score for candidate in listing.candidates]
        known = [score for score in given if score is not None and math.isfinite(score)]
        if not self.first_stage or ranking.scores is None or len(known) < len(given) or not known:
            return ranking
        low, high = min(known), max(known)
        if self.compat == "upstream":
            low, high = 0.0, 1.0
        prior = [(score - low) / (high - low) if high > low else 0.0 for score in known]
        share = self.first_stage
        mixed = [
            None if score is None else (1 - share) * score + share * first
            for score, first in zip(ranking.scores, prior, strict=True)
        ]
        return ranked(mixed)
