"""TREC runs and qrels: the only module that knows their files, and how trec_eval reads a ranking out of scores.

A run line is `qid Q0 docid rank score tag`. The score decides and the rank column is ignored, as in trec_eval. A qrels
line is `qid 0 docid grade` (TREC) or `qid<TAB>docid<TAB>grade` (BEIR, with or without its header line). A line that
starts with `#` is a comment, as in trec_eval 10; blank lines are skipped. Files may be `.gz` or `.xz`.

Fields are separated by white space, or by single tabs where a line has exactly the right number of them. Docids may
hold spaces: a line with too many fields is read from both ends (the tag of a run then has no space).
"""

from __future__ import annotations

import lzma
import math
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rankrl.errors import DataError
from rankrl.files import atomic_writer, open_text
from rankrl.types import Qrels, Run, repeated

_BLANKS = " \t\r\n\f\v"  # C's isspace; Python's str.split() would also cut docids at U+00A0 or U+3000
_BLANK = re.compile("[ \t\r\n\f\v]")
_FIELD = re.compile(r"[^ \t\r\n\f\v]+")
_UNFIT_WITH_SPACES = re.compile("[\t\r\n\0\ud800-\udfff]")  # the last range: lone surrogates, which UTF-8 cannot hold
_UNFIT = re.compile("[ \t\r\n\f\v\0\ud800-\udfff]")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_RUN_LINE = "6 fields (qid Q0 docid rank score tag)"
_QRELS_LINE = "4 fields (qid 0 docid grade) or 3 separated by tabs (qid docid grade)"


def ranked(scores: Mapping[str, float]) -> list[str]:
    """The docids, best first, as trec_eval ranks them: by score, ties by docid, both descending.

    Ties compare docids like C's strcmp on UTF-8 bytes, which is the order of code points and so Python's own.
    """
    return sorted(scores, key=lambda docid: (scores[docid], docid), reverse=True)


def strictly_decreasing(docids: Sequence[str]) -> dict[str, float]:
    """docid -> score for an order without scores: n for the first, 1 for the last, so that no tie can change the order.

    Raises:
        DataError: a docid appears twice.
    """
    if twice := repeated(docids):
        raise DataError(f"docids appear twice in a ranking: {twice[:5]}; keep one of each")
    return {docid: float(len(docids) - position) for position, docid in enumerate(docids)}


def read_run(path: str | Path) -> dict[str, dict[str, float]]:
    """qid -> docid -> score of a TREC run file, in the order of the file.

    Raises:
        DataError: the file is missing, empty or not text, or a line is wrong (`file:line: …`); see `parse_run`.
    """
    return parse_run(_lines(path, "run"), str(path))


def parse_run(lines: Iterable[str], source: str) -> dict[str, dict[str, float]]:
    """qid -> docid -> score of the lines of a run; `source` names them in errors.

    Raises:
        DataError: a wrong number of fields, a score that is not a finite number, a docid twice in a topic, no line.
    """
    run: dict[str, dict[str, float]] = {}
    for number, line in _numbered(lines, source):
        fields = _run_fields(line)
        if fields is None:
            count = len(_FIELD.findall(line))
            problem = f"expected {_RUN_LINE}, got {count}" if count < 6 else f"expected {_RUN_LINE}: {_shortened(line)}"
            raise DataError(f"{source}:{number}: {problem}")
        qid, docid, score_text = fields
        score = _number(score_text)
        if score is None:
            raise DataError(
                f"{source}:{number}: the score (field 5) is not a number: {score_text!r}; expected {_RUN_LINE}"
            )
        if not math.isfinite(score):
            raise DataError(
                f"{source}:{number}: the score of document {docid!r} is {score_text}; scores must be finite"
            )
        scores = run.setdefault(qid, {})
        if docid in scores:
            raise DataError(
                f"{source}:{number}: document {docid!r} is listed twice for topic {qid!r}; keep one of them"
            )
        scores[docid] = score
    if not run:
        raise DataError(f"no results in {source}; a line is {_RUN_LINE}")
    return run


def _run_fields(line: str) -> tuple[str, str, str] | None:
    """(qid, docid, score) of a run line, or None when it cannot be one."""
    by_tab = line.split("\t")
    if len(by_tab) == 6:
        cut = [field.strip(_BLANKS) for field in by_tab]
        return (cut[0], cut[2], cut[4]) if all(cut[i] for i in (0, 2, 4)) else None
    fields = line.split() if line.isascii() else _FIELD.findall(line)
    if len(fields) == 6:
        return fields[0], fields[2], fields[4]
    if len(fields) < 6:
        return None
    if _INTEGER.fullmatch(fields[-3]) and _number(fields[-2]) is not None:  # a docid with spaces
        return fields[0], _between(line, before=2, after=3), fields[-2]
    if _INTEGER.fullmatch(fields[3]) and _number(fields[4]) is not None:  # a tag with spaces, which trec_eval cuts
        return fields[0], fields[2], fields[4]
    return None


def _between(line: str, *, before: int, after: int) -> str:
    """The text of a line without its first `before` and last `after` fields, inner blanks kept."""
    spans = [match.span() for match in _FIELD.finditer(line)]
    return line[spans[before][0] : spans[-after - 1][1]]


def _number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)  # float() takes 1_000, which no other reader of runs does
    except ValueError:
        return None


def write_run(path: str | Path, run: Run, *, tag: str) -> None:
    """Write a TREC run, best document first, in trec_eval's order; scores keep every digit, so reading gives them back.

    Fields are separated by spaces, or by tabs when a docid holds a space. Topics without a document leave no line.

    Raises:
        DataError: nothing to write, a score that is not finite, or an id or tag that the format cannot carry.
    """
    if not any(run.values()):
        raise DataError(f"no results to write to {path}")
    _check_id(tag, "tag", spaces=False)
    for qid, scores in run.items():
        _check_qid(qid)
        for docid, score in scores.items():
            _check_id(docid, "docid", spaces=True)
            if not math.isfinite(score):
                raise DataError(f"topic {qid!r}: the score of document {docid!r} is {score}; scores must be finite")
    gap = _gap(docid for scores in run.values() for docid in scores)
    with atomic_writer(path) as file:
        for qid, scores in run.items():
            for rank, docid in enumerate(ranked(scores), start=1):
                # float(): numpy's repr is not a bare number, and an int score would come back as a float anyway
                file.write(gap.join((qid, "Q0", docid, str(rank), repr(float(scores[docid])), tag)) + "\n")


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """qid -> docid -> grade of a qrels file (TREC or BEIR), in the order of the file.

    Raises:
        DataError: the file is missing, empty or not text, or a line is wrong (`file:line: …`); see `parse_qrels`.
    """
    return parse_qrels(_lines(path, "qrels"), str(path))


def parse_qrels(lines: Iterable[str], source: str) -> dict[str, dict[str, int]]:
    """qid -> docid -> grade of the lines of a qrels file; `source` names them in errors.

    Raises:
        DataError: a wrong number of fields, a grade that is not an integer, a judgement given twice, no line at all.
    """
    qrels: dict[str, dict[str, int]] = {}
    columns = 0
    for number, line in _numbered(lines, source):
        fields = _qrels_fields(line)
        if fields is None:
            raise DataError(f"{source}:{number}: expected {_QRELS_LINE}, got {_shortened(line)}")
        qid, docid, grade, given = fields
        if not columns:
            columns = given
            if given == 3 and not _INTEGER.fullmatch(grade) and grade.lower() in ("score", "relevance", "rel", "label"):
                continue  # BEIR's header
        if given != columns:  # one lost field would otherwise turn a TREC line into a believable BEIR line
            raise DataError(
                f"{source}:{number}: {given} fields, but the lines before have {columns}; expected {_QRELS_LINE}"
            )
        if not _INTEGER.fullmatch(grade):
            raise DataError(
                f"{source}:{number}: the grade (last field) is not an integer: {grade!r}; expected {_QRELS_LINE}"
            )
        judgments = qrels.setdefault(qid, {})
        if docid in judgments:
            raise DataError(
                f"{source}:{number}: document {docid!r} is judged twice for topic {qid!r}; keep one of them"
            )
        judgments[docid] = int(grade)
    if not qrels:
        raise DataError(f"no judgements in {source}; a line has {_QRELS_LINE}")
    return qrels


def _qrels_fields(line: str) -> tuple[str, str, str, int] | None:
    """(qid, docid, grade, columns) of a qrels line, or None when it cannot be one."""
    by_tab = [field.strip(_BLANKS) for field in line.split("\t")]
    if len(by_tab) in (3, 4) and all(by_tab):
        return by_tab[0], by_tab[-2], by_tab[-1], len(by_tab)
    fields = _FIELD.findall(line)
    if len(fields) < 4:
        return None
    return fields[0], _between(line, before=2, after=1), fields[-1], 4


def write_qrels(path: str | Path, qrels: Qrels) -> None:
    """Write TREC qrels, in the order given; separated by spaces, or by tabs when a docid holds a space.

    Raises:
        DataError: nothing to write, or an id that the format cannot carry.
    """
    if not any(qrels.values()):
        raise DataError(f"no judgements to write to {path}")
    for qid, judgments in qrels.items():
        _check_qid(qid)
        for docid in judgments:
            _check_id(docid, "docid", spaces=True)
    gap = _gap(docid for judgments in qrels.values() for docid in judgments)
    with atomic_writer(path) as file:
        for qid, judgments in qrels.items():
            for docid, grade in judgments.items():
                file.write(gap.join((qid, "0", docid, str(int(grade)))) + "\n")


def _gap(docids: Iterable[str]) -> str:
    return "\t" if any(_BLANK.search(docid) for docid in docids) else " "


def _check_qid(qid: str) -> None:
    _check_id(qid, "qid", spaces=False)
    if qid.startswith("#"):
        raise DataError(f"qid {qid!r} starts with '#', which makes its line a comment; rename the topic")


def _check_id(text: str, what: str, *, spaces: bool) -> None:
    """Refuse an id that would not come back from a file as it went in."""
    if not text or text != text.strip(_BLANKS) or (_UNFIT_WITH_SPACES if spaces else _UNFIT).search(text):
        forbidden = "tabs, line breaks" if spaces else "white space"
        limits = f"it may not be empty or hold {forbidden}, NUL or lone surrogates"
        raise DataError(f"{what} {text!r} cannot be written to a TREC file: {limits}")


def _lines(path: str | Path, what: str) -> Iterator[str]:
    """The lines of a text file; whatever says that it is no text becomes one `DataError`."""
    with open_text(path, what=what) as file:
        try:
            yield from file
        except UnicodeDecodeError:
            raise DataError(f"{what} is not UTF-8 text: {path}") from None
        except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
            raise DataError(f"{what} cannot be unpacked: {path}: {error}") from None


def _numbered(lines: Iterable[str], source: str) -> Iterator[tuple[int, str]]:
    """(line number, line) without comments, blank lines, line ends and a leading byte order mark."""
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise DataError(f"{source}:{number}: a NUL byte: this is not a text file")
        text = line.rstrip("\r\n")
        if number == 1:
            text = text.removeprefix("\ufeff")
        if text.strip(_BLANKS) and not text.startswith("#"):
            yield number, text


def _shortened(line: str) -> str:
    return repr(line if len(line) <= 80 else line[:77] + "…")
