"""TourRank: tournaments in which the model selects the best of each group; every selection is a point (groupwise).

arXiv:2406.11678. Deviations, beside those of `rankrl.strategies.tournament`:
1. The wording of the prompts is ours; the roles, the labels and the order of the parts are those of the paper's code.
2. Answers are read as `rankrl.parsing.selection` says: repeated numbers, those out of range, and what is none are left out.
3. Texts are cut, and defused: nothing in a query or document can be taken for a label, a tag or a turn of the chat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rankrl.contracts import Steps
from rankrl.errors import ConfigError
from rankrl.parsing.selection import parse_selection
from rankrl.rerankers import _text
from rankrl.rerankers._fields import check_fields
from rankrl.rerankers._templates import wording
from rankrl.strategies import COMPAT, plans
from rankrl.strategies.tournament import stages_of, tournament
from rankrl.types import CandidateList, Messages, Reading

GROUP = 20
"""The largest group of the stages that are not given."""


@dataclass(frozen=True, slots=True)
class TourRank:
    """The candidates by their points in `rounds` tournaments, 13 calls each for 100 candidates; the points are the scores.

    stages: (groups, pick) of each stage; None is the paper's 100, 50, 20, 10, 5, 2, and what it becomes for other lists. seed:
    of the order inside the groups. pick: how many documents a prompt asks for; the tournament sets it for each stage. None is
    half of those shown, and then an answer is not charged for fewer. query_tokens, passage_tokens: where texts are cut,
    counted by `clip` (words unless an engine or a trainer puts its tokenizer in). template: "turns" (a turn per document),
    "one_turn", or a YAML file. compat: see `rankrl.parsing.selection`.

    Raises:
        ConfigError: a field is out of its range.
    """

    decoding: ClassVar[Mapping[str, Any]] = {"temperature": 0.0, "max_new_tokens": 256}
    """Options of the engine as the protocol wants them, where neither the model's card nor the user says otherwise."""

    rounds: int = 1
    stages: Sequence[Sequence[int]] | None = None
    pick: int | None = None
    seed: int = 929
    compat: str = "rankrl"
    template: str = "turns"
    query_tokens: int = 128
    passage_tokens: int = 512
    clip: Callable[[str, int], str] = _text.clip_words

    def __post_init__(self) -> None:
        check_fields(
            "tourrank",
            self,
            positive=("rounds", "query_tokens", "passage_tokens", *(() if self.pick is None else ("pick",))),
            whole=("seed",),
            known={"compat": COMPAT},
        )
        if self.stages is not None:  # a card gives lists
            object.__setattr__(self, "stages", tuple(_pairs(self.stages)))
        for stage in self.stages or ():
            if any(isinstance(part, bool) or not isinstance(part, int) or part < 1 for part in stage):
                raise ConfigError(f"tourrank: stages must be [groups, pick] pairs of 1 or more, got {self.stages!r}")
        stages_of(0, self._stages)
        wording("tourrank", self.template)

    @property
    def shown(self) -> int:
        """How many candidates a prompt shows at most: the largest group, of 100 candidates where stages are given."""
        return GROUP if self.stages is None else max(1, self.plan(100).shown)

    def prompt(self, listing: CandidateList) -> Messages:
        """The request to select `pick` of the listed documents, labelled `Document 1:` and so on in list order."""
        lines = _text.passages(listing, self.clip, self.passage_tokens, style="Document {label}: {text}")
        query = _text.query(listing, self.clip, self.query_tokens)
        return wording("tourrank", self.template).messages(query, lines, pick=self._picked(len(listing)))

    def parse(self, text: str, n: int) -> Reading:
        """The documents selected, scored 1.0, and the others, scored 0.0; see `rankrl.parsing.selection`."""
        asked = None if self.pick is None else self._picked(n)
        return parse_selection(text, n, asked, compat=self.compat)

    def _picked(self, n: int) -> int:
        return min(n, -(-n // 2) if self.pick is None else self.pick)

    def order(self, listing: CandidateList) -> Steps:
        """All candidates by points, equal ones by first-stage rank."""
        return tournament(self, listing, rounds=self.rounds, seed=self.seed, stages=self._stages)

    @property
    def _stages(self) -> list[tuple[int, int]] | None:
        return None if self.stages is None else _pairs(self.stages)

    def plan(self, n: int) -> plans.Plan:
        """What ordering n candidates asks."""
        return plans.tournament(n, rounds=self.rounds, stages=self._stages)

    def spell(self, labels: Sequence[int]) -> str:
        """The completion that selects `labels` (1-based) in exactly the layout asked for."""
        return ", ".join(f"Document {label}" for label in labels)


def _pairs(stages: Any) -> list[tuple[Any, Any]]:
    try:
        return [(groups, pick) for groups, pick in stages]
    except (TypeError, ValueError):
        raise ConfigError(f"tourrank: stages must be [groups, pick] pairs, got {stages!r}") from None
