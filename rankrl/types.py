"""The nouns of the library: frozen, free of torch, and unable to hold a wrong state.

Ids are `str` everywhere; files convert once, where they are read (`rankrl.runs`, `retrieval.collections`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rankrl.errors import DataError

Judgments = Mapping[str, int]
"""docid -> relevance grade, for one query (one topic of the qrels)."""

Qrels = Mapping[str, Judgments]
"""qid -> judgments."""

Run = Mapping[str, Mapping[str, float]]
"""qid -> docid -> score; a higher score is better."""

Message = dict[str, str]
"""One chat message: {"role": ..., "content": ...}."""

Messages = list[Message]
"""One prompt, as chat messages.

A last message of the assistant's is the beginning of the answer: the model goes on from there. A first message of the role
`PLAIN` is the text itself, without a chat template (an assistant's message may follow). `PAIR` messages, query then
document, are for models that score the two together.
"""

PLAIN, PAIR = "plain", "pair"
"""Roles of messages that are no chat: the prompt as it stands, and one half of a (query, document) pair."""


def repeated(values: Iterable[object]) -> list[object]:
    """The values that occur more than once, each listed once, in order of their second occurrence."""
    seen: set[object] = set()
    twice: dict[object, None] = {}
    for value in values:
        if value in seen:
            twice[value] = None
        seen.add(value)
    return list(twice)


@dataclass(frozen=True, slots=True)
class Query:
    """What somebody asked."""

    qid: str
    text: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One document that a first stage proposes for a query; `score` is the first stage's, None when it has none."""

    docid: str
    text: str
    title: str = ""
    score: float | None = None

    @property
    def full_text(self) -> str:
        """Title and text joined by a space; the text alone when there is no title."""
        return f"{self.title} {self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class CandidateList:
    """The candidates of one query in first-stage order: position in the list = first-stage rank - 1, the canonical tie-break.

    Raises:
        DataError: a docid appears twice.
    """

    query: Query
    candidates: tuple[Candidate, ...]

    def __post_init__(self) -> None:
        if twice := repeated(c.docid for c in self.candidates):
            raise DataError(f"query {self.query.qid!r}: docids appear twice: {twice[:5]}; keep one of each")

    def __len__(self) -> int:
        return len(self.candidates)

    @property
    def docids(self) -> tuple[str, ...]:
        """The docids in list order."""
        return tuple(c.docid for c in self.candidates)

    def pick(self, positions: Sequence[int]) -> CandidateList:
        """A new list with the candidates at `positions`, in that order."""
        return CandidateList(self.query, tuple(self.candidates[i] for i in positions))


@dataclass(frozen=True, slots=True)
class Ranking:
    """An order over a CandidateList: its positions (0-based), best first; always a permutation.

    scores: the protocol's own score of each *position* of the list, higher is better; None for protocols that only order,
    and None for a candidate that got no score. They need not be distinct; the order is.

    Raises:
        ValueError: `order` is not a permutation of 0..n-1, or the scores are not one per position.
    """

    order: tuple[int, ...]
    scores: tuple[float | None, ...] | None = None

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.order))):
            raise ValueError(f"order is not a permutation of 0..{len(self.order) - 1}: {self.order}")
        if self.scores is not None and len(self.scores) != len(self.order):
            raise ValueError(f"{len(self.scores)} scores for {len(self.order)} positions")

    def docids(self, listing: CandidateList) -> list[str]:
        """The docids of `listing`, best first."""
        return [listing.candidates[i].docid for i in self.order]


@dataclass(frozen=True, slots=True)
class ParseReport:
    """What a parser had to mend in one model answer. All zero and False = the answer was exactly what was asked for.

    repeated, out_of_range: labels that were ignored. missing: labels that were asked for and not given.
    unreadable: nothing usable was found and the order is the presented one.
    malformed: the labels could be read, but the answer broke the requested layout (tags, extra text).
    """

    repeated: int = 0
    out_of_range: int = 0
    missing: int = 0
    unreadable: bool = False
    malformed: bool = False

    @property
    def clean(self) -> bool:
        """True when nothing had to be mended."""
        return not (self.repeated or self.out_of_range or self.missing or self.unreadable or self.malformed)

    @property
    def status(self) -> str:
        """'ok', 'repaired' or 'failed'."""
        return "failed" if self.unreadable else "ok" if self.clean else "repaired"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a parser made of one answer: an order of the presented candidates, scores when the protocol has them, a report.

    scores: one per *position presented*, higher is better, None for one that the answer does not score; None for
    protocols that only order. reasoning: the text between the thinking tags, "" when there is none.
    """

    ranking: Ranking
    report: ParseReport = ParseReport()
    scores: tuple[float | None, ...] | None = None
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """What an ordering asks of an engine.

    prompt: see `Messages`. choices: () = answer in free text; else the answer is a score of each of these texts as what
    comes next, namely the summed log-probability (nats) of its tokens as they stand behind the answer's beginning. stop: texts
    after which a free answer ends; they are part of its text. logprobs: a free answer comes with its tokens' log-probabilities.
    sample: tells answers apart that are drawn from one prompt; equal requests have one answer.
    shown: the candidates that the prompt shows, in the order shown; for logs and replays, engines do not read it.
    key: SHA-256 of everything but `shown`.
    """

    prompt: Messages
    choices: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    sample: int = 0
    shown: CandidateList | None = field(default=None, compare=False, repr=False)
    key: str = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("a request needs a prompt of one message or more")
        asked = [self.prompt, self.choices, self.stop, self.logprobs, self.sample]
        spelled = json.dumps(asked, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass")
        object.__setattr__(self, "key", hashlib.sha256(spelled).hexdigest())

    @property
    def begun(self) -> str:
        """The beginning of the answer that the prompt gives, "" when it gives none."""
        last = self.prompt[-1]
        return last["content"] if last["role"] == "assistant" else ""


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token: its text and log-probability (nats).

    alternatives: the likeliest tokens of the same place with their log-probabilities, best first, up to an engine's limit (20);
    given for the last token of an answer only.
    """

    text: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine returns for one request.

    text: what the model said, without the beginning that the prompt gave it; "" where choices were scored.
    finish_reason: "stop" (the model ended, or came to a stop text), "length" (cut at the token limit) or an engine's own word.
    cached: True when the answer came from a journal and cost nothing.
    scores: one per choice of the request (None: the engine could not tell); () for free text. A model that scores pairs gives
    its logit. tokens: of a free answer whose request asked for log-probabilities, without the end-of-sequence token.
    cached_tokens: how many of the prompt's tokens the engine had computed before (prefix caching), where it tells.
    """

    text: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str = "stop"
    cached: bool = False
    scores: tuple[float | None, ...] = ()
    tokens: tuple[Token, ...] = ()
    cached_tokens: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled answer to one prompt: what was shown, what was said, and how it was read.

    logprob: the *sum* over the completion's tokens of their log-probabilities (nats) under the policy that sampled it;
    None when it was not computed. completion_tokens counts the end-of-sequence token.
    """

    listing: CandidateList
    text: str
    reading: Reading
    logprob: float | None = None
    completion_tokens: int = 0
    truncated: bool = False

    @property
    def ranking(self) -> Ranking:
        """The order that was read from the answer."""
        return self.reading.ranking

    @property
    def report(self) -> ParseReport:
        """What had to be mended."""
        return self.reading.report

    @property
    def docids(self) -> list[str]:
        """The docids in the order the answer puts them, best first."""
        return self.reading.ranking.docids(self.listing)


@dataclass(frozen=True, slots=True)
class RolloutGroup:
    """The rollouts of one prompt, in sampling order, with the judgments of its query. Groups may differ in size."""

    rollouts: tuple[Rollout, ...]
    judgments: Judgments = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len({r.listing.query.qid for r in self.rollouts}) > 1:
            raise ValueError("the rollouts of a group must answer one query")

    def __len__(self) -> int:
        return len(self.rollouts)
