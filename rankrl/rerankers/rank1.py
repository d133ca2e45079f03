"""Rank1: reason about one document until `</think> true` or `</think> false`; the probability of true orders the list.

arXiv:2502.18418 and orionw/rank1. Deviations:
1. The wording is ours; the plain text, its labels and the opened thought at its end are theirs. Collections with a task of their
   own take `instruction`, a line before the query, not a template for each.
2. The second step, for thoughts that do not end, scores the two words instead of writing one token and looking for them.
3. A word that is not among the likeliest tokens: the other counts as no more certain than it must be; where neither is
   known, a verdict in words counts as certain, and a document without one has no score and follows the others.
   `compat="upstream"` gives .5 in all these cases, which puts it above every document that was judged irrelevant.
4. A verdict in other words (`</think>\\ntrue`, `</think> True.`) is not taken for an unfinished thought: its reasoning is kept
   whole for the second step.
5. Texts are defused: nothing in a query or passage can be taken for a label, a tag or a turn of the chat.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from rankrl.contracts import Steps, request_of
from rankrl.errors import OutOfBudget
from rankrl.parsing.verdict import parse_verdict
from rankrl.rerankers import _text
from rankrl.rerankers._fields import check_fields
from rankrl.rerankers._pointwise import check_texts, check_wording, continued, log_odds, pointed, ranked, sigmoid
from rankrl.rerankers._templates import wording
from rankrl.strategies import COMPAT
from rankrl.strategies.plans import Plan
from rankrl.types import Answer, CandidateList, Messages, ParseReport, Ranking, Reading, Request, Token

TRUE, FALSE = " true", " false"
_CLOSING = "</think>"
_END = re.compile(r"[.!?](?=\s|$)")
_THINK = re.compile(r"</think>", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rank1:
    """P(true) per document from a prompt of its own; N prompts in one batch, and a second for thoughts that did not end.

    instruction: a line before the query, "" for none. query_tokens, passage_tokens: where texts are cut, counted by `clip`
    (words unless an engine or a trainer puts its tokenizer in). template: "reasoning", or a YAML file. compat="upstream":
    .5 wherever one of the two words is not among the likeliest tokens.

    Raises:
        ConfigError: a field is out of its range.
    """

    shown: ClassVar[int] = 1
    """How many candidates a prompt shows."""

    decoding: ClassVar[Mapping[str, Any]] = {"temperature": 0.0, "max_new_tokens": 8192}
    """Options of the engine as the protocol wants them, where neither the model's card nor the user says otherwise."""

    instruction: str = ""
    compat: str = "rankrl"
    template: str = "reasoning"
    query_tokens: int = 2048
    passage_tokens: int = 4096
    clip: Callable[[str, int], str] = _text.clip_words

    def __post_init__(self) -> None:
        check_texts("rank1", instruction=self.instruction)
        check_fields("rank1", self, positive=("query_tokens", "passage_tokens"), known={"compat": COMPAT})
        check_wording("rank1", self)

    def prompt(self, listing: CandidateList) -> Messages:
        """The text that asks whether the first of the listed passages is relevant, up to the opened thought."""
        (document,) = _text.passages(listing.pick([0]), self.clip, self.passage_tokens)
        return wording("rank1", self.template).messages(
            _text.query(listing, self.clip, self.query_tokens),
            [document],
            document=document.text,
            instruction=self.instruction,
        )

    def request(self, listing: CandidateList) -> Request:
        """The prompt; the answer ends with the verdict and comes with the log-probabilities of its tokens."""
        stop = (_CLOSING + TRUE, _CLOSING + FALSE)
        return Request(self.prompt(listing), stop=stop, logprobs=True, shown=listing)

    def read(self, answer: Answer, n: int) -> Reading:
        """P(true) among the two words, as far as the answer's last token, or the second step, tells them."""
        if answer.scores:
            return pointed(self._probability(*answer.scores), n)
        reading = self.parse(answer.text, n)
        odds = _at_verdict(answer)
        if reading.report.unreadable or odds is None:
            return reading
        return pointed(self._probability(*odds), n, reading.report, reading.reasoning)

    def parse(self, text: str, n: int) -> Reading:
        """1.0 or 0.0, the verdict after the thought; `unreadable` where no thought ends, `malformed` in other words.

        See `rankrl.parsing.verdict`.
        """
        if _THINK.search(text) is None:
            return Reading(Ranking(tuple(range(n))), ParseReport(unreadable=True), (None,) * n, text.strip())
        return parse_verdict(text, n, yes=TRUE.strip(), no=FALSE.strip())

    def order(self, listing: CandidateList) -> Steps:
        """All candidates by P(true), equal ones by first-stage rank, those without a verdict last."""
        n = len(listing)
        scores: list[float | None] = [None] * n
        with suppress(OutOfBudget):  # those judged so far come first
            requests = [request_of(self, listing.pick([i])) for i in range(n)]
            answers = (yield requests) if requests else []
            again: dict[int, Request] = {}
            for i, answer in enumerate(answers):
                reading = self.read(answer, 1)
                scores[i] = reading.scores[0] if reading.scores else None
                if reading.report.unreadable or (answer.tokens and _at_verdict(answer) is None):
                    again[i] = self.second(requests[i], answer)
            for i, answer in zip(again, (yield list(again.values())) if again else [], strict=True):
                forced = self._probability(*answer.scores) if len(answer.scores) == 2 else None
                scores[i] = scores[i] if forced is None else forced
        return ranked(scores)

    def second(self, request: Request, answer: Answer) -> Request:
        """The two words scored after the thought: one that did not end is cut after its last full sentence and ended."""
        return Request(
            continued(request.prompt, finished(answer.text)), choices=(TRUE, FALSE), shown=request.shown
        )  # fmt: skip

    def plan(self, n: int) -> Plan:
        """What ordering n candidates costs; at most, no thought ends by itself."""
        return Plan(n, float(n), 2 * n, 2 if n else 0, 1 if n else 0)

    def spell(self, relevant: bool, thought: str | None = None) -> str:
        """The completion that says so in exactly the layout asked for; a target for supervised warm-up."""
        return f"{thought or ''}{_CLOSING}{TRUE if relevant else FALSE}"

    def _probability(self, true: float | None, false: float | None) -> float | None:
        if self.compat == "upstream" and (true is None or false is None):
            return 0.5
        odds = log_odds(true, false)
        return None if odds is None else sigmoid(odds)


def finished(text: str) -> str:
    """The thought and its end: as the model ended it, or cut after its last full sentence, a line break and `</think>`."""
    if closings := list(_THINK.finditer(text)):
        return text[: closings[-1].end()]
    ends = list(_END.finditer(text))
    kept = text[: ends[-1].end()] if ends else text.rstrip()
    return f"{kept}\n{_CLOSING}"


def _at_verdict(answer: Answer) -> tuple[float | None, float | None] | None:
    """The log-probabilities of the two words where the answer's last token is one of them; None where it is not."""
    last = answer.tokens[-1] if answer.tokens else None
    if last is None or last.text.strip() not in (TRUE.strip(), FALSE.strip()) or not last.alternatives:
        return None
    return _known(last, TRUE), _known(last, FALSE)


def _known(token: Token, word: str) -> float | None:
    """The log-probability of `word` among the alternatives of a token; without its space where it is not there with it."""
    spelled = dict(reversed(token.alternatives))  # the likelier of equal spellings stays
    if word in spelled:
        return spelled[word]
    bare = word.strip()
    return next((logprob for text, logprob in token.alternatives if text.strip() == bare), None)
