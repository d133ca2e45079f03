"""Answers as rankrl wrote them down: the calls of `rankrl rerank --explain`, and journals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rankrl.errors import DataError
from rankrl.runs.rows import identifier, rows
from rankrl.runs.text import shortened
from rankrl.types import Answer, Request, Token

_SQLITE = b"SQLite format 3\x00"

Asked = tuple[str, tuple[str, ...], tuple[str, ...], int]
"""What a request is found by: the qid, the docids in the order shown, the choices and the sample."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asked: a reranker with its settings and prompts, and the engine's fingerprint ("" where the log does not tell)."""

    reranker: str
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    prompt_sha256: str = ""
    fingerprint: str = ""

    def __str__(self) -> str:
        fields = " ".join(f"{name}={value}" for name, value in self.settings.items())
        engine = f", engine {self.fingerprint[:12]}" if self.fingerprint else ""
        return f"{self.reranker} ({fields or 'no settings'}){engine}"


Found = dict[Asked, dict[str, tuple[str, Answer]]]
"""Asked -> key of the request -> (how the prompt began the answer, the answer)."""


@dataclass(slots=True)
class Recording:
    """The answers that one asker got.

    header: what the log says of the whole run (depth, topics, passes, …); {} in a journal.
    """

    asker: Asker
    header: Mapping[str, Any] = field(default_factory=dict)
    answers: Found = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.answers.values()))

    def shown(self) -> dict[str, set[str]]:
        """qid -> the docids that were shown."""
        shown: dict[str, set[str]] = {}
        for qid, docids, _, _ in self.answers:
            shown.setdefault(qid, set()).update(docids)
        return shown

    def answer(self, request: Request) -> Answer | None:
        """The recorded answer to what `request` asks; None when there is none.

        Prompts are not compared: they cannot be, without the texts. Where several were asked about the same candidates, it
        is the one that began the answer alike.

        Raises:
            DataError: what the request shows is not told; or several different answers fit.
        """
        if request.shown is None:
            raise DataError("the reranker does not say what its requests show; its answers cannot be found in a log")
        asked = (request.shown.query.qid, request.shown.docids, request.choices, request.sample)
        found = list(self.answers.get(asked, {}).values())
        fitting = [answer for begun, answer in found if begun == request.begun] or [answer for _, answer in found]
        if not fitting:
            return None
        if any(other != fitting[0] for other in fitting[1:]):
            raise DataError(
                f"the log has {len(fitting)} different answers to prompts about {described(asked)}; "
                "they were asked in different words and cannot be told apart"
            )
        return fitting[0]


def _keep(found: Found, asked: Asked, key: str, begun: str, answer: Answer) -> None:
    """Keep an answer; the first one to a request counts, as it did for who asked."""
    found.setdefault(asked, {}).setdefault(key, (begun, answer))


def described(asked: Asked) -> str:
    """What was asked, in a few words."""
    qid, docids, choices, sample = asked
    more = f", … ({len(docids)})" if len(docids) > 4 else ""
    text = f"topic {qid!r}: {', '.join(docids[:4])}{more}"
    if choices:
        text += f"; choices {', '.join(map(repr, choices[:4]))}"
    return text + (f"; sample {sample}" if sample else "")


def is_journal(path: str | Path) -> bool:
    """Whether a file is an SQLite database, as journals are."""
    if not Path(path).is_file():
        return False
    with Path(path).open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def read_calls(path: str | Path, rows_of: Iterable[tuple[int | str, Any]] | None = None) -> Recording:
    """The calls of a file of `rankrl rerank --explain` (.gz, .xz); a file without a header has an asker without a name.

    Raises:
        DataError: `file:line` is no call, or the file has none.
    """
    recording = Recording(Asker(""))
    for place, row in rows(path, "log") if rows_of is None else rows_of:
        where = f"{path}:{place}"
        if not isinstance(row, dict):
            raise DataError(f"{where}: not a call of --explain: {shortened(repr(row))[1:-1]}")
        if "reranker" in row and "docids" not in row:
            if recording.answers or recording.header:
                raise DataError(f"{where}: a second header; are two logs in one file?")
            recording.asker, recording.header = _asker(row, where), row
            continue
        asked, key, begun, answer = _call(row, where)
        _keep(recording.answers, asked, key, begun, answer)
    if not recording.answers:
        raise DataError(f"no calls in {path}; it should be what `rankrl rerank --explain` has written")
    return recording


def _asker(row: Mapping[str, Any], where: str) -> Asker:
    name, settings, digest = row["reranker"], row.get("settings", {}), row.get("prompt_sha256", "")
    if not isinstance(name, str) or not isinstance(settings, dict) or not isinstance(digest, str):
        raise DataError(f"{where}: a header has the name of a reranker, its settings and a prompt_sha256")
    return Asker(name, settings, digest)


def _call(row: Mapping[str, Any], where: str) -> tuple[Asked, str, str, Answer]:
    if missing := [name for name in ("qid", "docids", "text") if name not in row]:
        raise DataError(f"{where}: a call without {', '.join(missing)}; it should be a line of --explain")
    qid = identifier(row["qid"], "qid", where)
    docids = _texts(row["docids"], "docids", where)
    choices = _texts(row.get("choices", []), "choices", where)
    sample, begun, text = row.get("sample", 0), row.get("begun", ""), row["text"]
    if isinstance(sample, bool) or not isinstance(sample, int):
        raise DataError(f"{where}: sample is {shortened(repr(sample))[1:-1]}; expected a whole number")
    if not isinstance(text, str) or not isinstance(begun, str):
        raise DataError(f"{where}: text and begun must be texts")
    answer = Answer(
        text,
        finish_reason=str(row.get("finish_reason", "stop")),
        scores=_scores(row.get("scores", []), len(choices), where),
        tokens=_tokens(row.get("tokens", []), where),
    )
    return (qid, docids, choices, sample), str(row.get("key", "")), begun, answer


def _texts(value: Any, name: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise DataError(f"{where}: {name} is {shortened(repr(value))[1:-1]}; expected a list of texts")
    return tuple(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _scores(value: Any, choices: int, where: str) -> tuple[float | None, ...]:
    if not isinstance(value, list) or not all(score is None or _is_number(score) for score in value):
        raise DataError(f"{where}: scores is {shortened(repr(value))[1:-1]}; expected a list of numbers and nulls")
    if len(value) != choices:
        raise DataError(f"{where}: {len(value)} scores for {choices} choices")
    return tuple(None if score is None else float(score) for score in value)


def _tokens(value: Any, where: str) -> tuple[Token, ...]:
    try:
        return tuple(
            Token(str(text), float(logprob), tuple((str(other), float(p)) for other, p in alternatives))
            for text, logprob, alternatives in value
        )
    except (TypeError, ValueError):
        raise DataError(
            f"{where}: tokens is {shortened(repr(value))[1:-1]}; expected [text, logprob, alternatives]"
        ) from None


def read_journal(path: str | Path) -> list[Recording]:
    """The answers of a journal, one Recording for each asker in it, in the order in which they began.

    Raises:
        DataError: it is no journal, or has no answer that says what was shown.
    """
    from rankrl.engines.journal import recorded

    found: dict[str, Recording] = {}
    for one in recorded(path):
        if not one.docids:
            continue
        asker = Asker(one.reranker, one.settings, one.prompt_sha256, one.fingerprint)
        recording = found.setdefault(repr(asker), Recording(asker))
        asked = (one.qid, tuple(one.docids), tuple(one.request.choices), one.request.sample)
        _keep(recording.answers, asked, one.key, one.request.begun, one.answer)
    if not found:
        raise DataError(f"no answers in {path} that say what was shown")
    return list(found.values())


def chosen(
    recordings: Sequence[Recording],
    path: str | Path,
    *,
    reranker: str | None = None,
    fingerprint: str | None = None,
    number: int | None = None,
) -> Recording:
    """The one recording of `reranker` and of an engine whose fingerprint begins with `fingerprint`, or that of a number (1..).

    Raises:
        DataError: none or several fit; what there is is listed.
    """
    fitting = [
        one
        for i, one in enumerate(recordings, start=1)
        if number in (None, i)
        and reranker in (None, one.asker.reranker)
        and one.asker.fingerprint.startswith(fingerprint or "")
    ]
    if len(fitting) == 1:
        return fitting[0]
    what = f"{len(fitting)} recordings fit" if fitting else "no recording fits"
    listed = "; ".join(f"{i}. {one.asker}: {len(one)} answers" for i, one in enumerate(recordings, start=1))
    raise DataError(f"{path}: {what}; choose with --reranker, --fingerprint or --recording NUMBER: {listed}")
