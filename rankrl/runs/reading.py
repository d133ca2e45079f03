"""Run and qrels files of every format that is understood, recognised by what stands in them, read whole or topic by topic."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from rankrl.errors import DataError, unknown_name
from rankrl.runs.qrels import trec_qrels
from rankrl.runs.ranx import is_binary, ranx_pieces, ranx_qrels
from rankrl.runs.results import Piece, ReturningTopicError, RunNotes, gathered, topics
from rankrl.runs.rows import row_pieces, row_qrels, write_rows
from rankrl.runs.text import BLANKS, data_lines, ends_with_line_end
from rankrl.runs.trec import (
    BLANK,
    FIELD,
    INTEGER,
    RUN_LINE,
    msmarco_pieces,
    number_in,
    trec_pieces,
    tsv_pieces,
    write_trec,
)
from rankrl.types import Qrels, Run

_PIECES: dict[str, Callable[[str | Path], Iterator[Piece]]] = {
    "trec": trec_pieces,
    "msmarco": msmarco_pieces,
    "tsv": tsv_pieces,
    "jsonl": row_pieces,
    "ranx": ranx_pieces,
}
RUN_FORMATS = ("auto", *_PIECES)
"""trec: `qid Q0 docid rank score tag`. msmarco: `qid<TAB>docid<TAB>rank`. tsv: `qid<TAB>docid<TAB>score`. jsonl: one JSON object
a line or in one array, see `rankrl.runs.rows`. ranx: its JSON, LZ4 or Parquet. auto: whichever of them the file looks like."""

QRELS_FORMATS = ("auto", "trec", "jsonl", "ranx")
"""trec: `qid 0 docid grade`, or BEIR's `qid<TAB>docid<TAB>grade`. jsonl, ranx: as for runs."""


def read_run(path: str | Path, format: str = "auto", *, notes: RunNotes | None = None) -> dict[str, dict[str, float]]:
    """qid -> docid -> score of a run file, in the order of the file.

    format: one of `RUN_FORMATS`. notes: filled with what was noticed on the way.

    Raises:
        DataError: the file is missing, empty or not text, or something in it is wrong (`file:line: …`).
        ConfigError: no such format.
    """
    return dict(stream_run(path, format, notes=notes))


def stream_run(
    path: str | Path, format: str = "auto", *, notes: RunNotes | None = None
) -> Iterator[tuple[str, dict[str, float]]]:
    """(qid, docid -> score) of a run file, topic by topic; `dict()` of it is `read_run`.

    While the lines of each topic stand together, one topic is in memory at a time (ranx files and arrays of JSON rows are
    parsed whole). Where a topic comes back after others, the file is read again, whole, and the topics that were given out
    incomplete are given out once more: of two results for a qid the later one counts. A pipe cannot be read twice: it is
    read whole, as trec where no format is named.

    Raises: as `read_run`, on the way.
    """
    known = _checked(format, RUN_FORMATS)
    return _streamed(path, known, notes if notes is not None else RunNotes())


def _streamed(path: str | Path, kind: str, notes: RunNotes) -> Iterator[tuple[str, dict[str, float]]]:
    rereadable = Path(path).is_file() or not Path(path).exists()  # what is missing is for the reader to say
    if kind == "auto":
        kind = _run_format(path) if rereadable else "trec"
    pieces, source = _PIECES[kind], str(path)
    _restart(notes, kind)
    given: dict[str, int] = {}
    spaced: set[bool] = set()
    if rereadable:
        try:
            for qid, scores in topics(_spaces_noted(pieces(path), spaced), source, notes):
                given[qid] = len(scores)
                yield qid, scores
        except ReturningTopicError:
            rereadable = False
    if not rereadable:
        _restart(notes, kind)
        for qid, scores in gathered(_spaces_noted(pieces(path), spaced), source, notes).items():
            if given.get(qid) != len(scores):
                given[qid] = len(scores)
                yield qid, scores
    if not given:
        raise DataError(
            f"no results in {path}" + (f"; a line is {RUN_LINE}" if kind == "trec" else f" (read as {kind})")
        )
    could_be_cut = kind == "tsv" or (kind == "trec" and True in spaced)
    notes.unended = could_be_cut and Path(path).is_file() and not ends_with_line_end(path, "run")


def _spaces_noted(pieces: Iterable[Piece], spaced: set[bool]) -> Iterator[Piece]:
    """The pieces as they come; `spaced` gets True where a docid holds a space (its piece has no other)."""
    for piece in pieces:
        if len(piece.docids_N) == 1:
            spaced.add(BLANK.search(piece.docids_N[0]) is not None)
        yield piece


def _restart(notes: RunNotes, kind: str) -> None:
    notes.format, notes.topics, notes.returning, notes.contradicting, notes.first_contradiction = kind, 0, 0, 0, ""


def _checked(format: str, formats: tuple[str, ...]) -> str:
    if format not in formats:
        raise unknown_name("format", format, formats)
    return format


def _run_format(path: str | Path) -> str:
    """The format that a run file looks like; trec where it looks like none, so that the error says what a line of it is."""
    if is_binary(path, "run"):
        return "ranx"
    line = next((line for _, line in data_lines(path, "run")), "")
    if looks := _json_format(line, trec_fields=6, second="Q0"):
        return looks
    fields = [field.strip(BLANKS) for field in line.split("\t")]
    if len(fields) == 3 and all(fields) and fields[1] != "Q0":  # that would be a TREC line cut short
        return "msmarco" if INTEGER.fullmatch(fields[2]) else "tsv" if number_in(fields[2]) is not None else "trec"
    return "trec"


def _json_format(line: str, *, trec_fields: int, second: str) -> str:
    """ "jsonl" or "ranx" for the first line of a JSON file, "" for a line of text, whose qid may begin like JSON."""
    if not line.lstrip(BLANKS).startswith(("{", "[")):
        return ""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        fields = FIELD.findall(line)
        if len(fields) >= trec_fields and fields[1] == second:
            return ""
        return "jsonl" if line.lstrip(BLANKS).startswith("[") else "ranx"
    is_ranx = isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())
    return "ranx" if is_ranx else "jsonl"


def read_qrels(path: str | Path, format: str = "auto") -> dict[str, dict[str, int]]:
    """qid -> docid -> grade of a qrels file, in the order of the file; format: one of `QRELS_FORMATS`.

    Raises:
        DataError: the file is missing, empty or not text, or something in it is wrong (`file:line: …`).
        ConfigError: no such format.
    """
    kind = _checked(format, QRELS_FORMATS)
    if kind == "auto":
        kind = _qrels_format(path)
    if kind == "trec":
        qrels = trec_qrels(path)
        _check_last_grade(path, qrels)
        return qrels
    qrels = row_qrels(path) if kind == "jsonl" else ranx_qrels(path)
    if not any(qrels.values()):
        raise DataError(f"no judgements in {path} (read as {kind})")
    return qrels


def _qrels_format(path: str | Path) -> str:
    if not Path(path).is_file():
        return "trec"
    if is_binary(path, "qrels"):
        return "ranx"
    line = next((line for _, line in data_lines(path, "qrels")), "")
    return _json_format(line, trec_fields=4, second="0") or "trec"


def _check_last_grade(path: str | Path, qrels: Qrels) -> None:
    """Refuse a file that stops within its last line where that line, cut, could be read as another judgement.

    The last grade could be the beginning of a longer one, or a number within a docid.
    """
    if not Path(path).is_file() or ends_with_line_end(path, "qrels"):
        return
    number, line = list(data_lines(path, "qrels"))[-1]
    last = line.split()[-1]
    grades = sorted({grade for judgments in qrels.values() for grade in judgments.values()})
    longer = (str(grade) for grade in grades if str(grade).startswith(last) and str(grade) != last)
    numbered_docids = (docid for judgments in qrels.values() for docid in judgments if _holds_a_number(docid))
    if could_be := next(chain(longer, map(repr, numbered_docids)), ""):
        raise DataError(
            f"{path}:{number}: the file stops without a line end, so its last grade, {last}, may be a part of {could_be}; "
            "get the whole file, or end the line"
        )


def _holds_a_number(docid: str) -> bool:
    """True where a word after the first could be taken for a grade."""
    return any(map(INTEGER.fullmatch, docid.split()[1:]))


def write_run(path: str | Path, run: Run, *, tag: str, format: str = "auto") -> None:
    """Write a run, best document first, in trec_eval's order; scores keep every digit, so reading gives them back.

    format: "trec" or "jsonl" (one result a line); "auto" is jsonl for a name that ends in .jsonl, else trec. Topics without a
    document leave no line.

    Raises:
        DataError: nothing to write, a score that is not finite, or an id or tag that the format cannot carry.
        ConfigError: no such format.
    """
    if _checked(format, ("auto", "trec", "jsonl")) == "auto":
        format = "jsonl" if Path(path).suffix == ".jsonl" else "trec"
    if not any(run.values()):
        raise DataError(f"no results to write to {path}")
    for qid, scores in run.items():
        for docid, score in scores.items():
            if not math.isfinite(score):
                raise DataError(f"topic {qid!r}: the score of document {docid!r} is {score}; scores must be finite")
    (write_rows if format == "jsonl" else write_trec)(path, run, tag=tag)
