"""Qrels as lines of text: TREC (`qid 0 docid grade`) and BEIR (`qid<TAB>docid<TAB>grade`, with or without its header line).

Comments, blank lines and docids with spaces are read as in runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, repeat
from pathlib import Path

from rankrl.errors import DataError
from rankrl.files import atomic_writer
from rankrl.runs.text import BLANKS, blocks, numbered, shortened
from rankrl.runs.trec import BLANK, FIELD, INTEGER, between, check_id, check_qid, gap_for, number_in, plain_fields
from rankrl.types import Qrels

_GRADE_AND_QID = re.compile(r"[+-]?[0-9].")
_Line = tuple[int, str, str, str, int]
"""(line number, qid, docid, grade, how many columns)."""
QRELS_LINE = "4 fields (qid 0 docid grade) or 3 separated by tabs (qid docid grade)"


def parse_qrels(lines: Iterable[str], source: str) -> dict[str, dict[str, int]]:
    """qid -> docid -> grade of the lines of a qrels file; `source` names them in errors.

    Raises:
        DataError: a wrong number of fields, a grade that is not an integer, a judgement given twice, no line at all.
    """
    return _gathered(_line_by_line(numbered(lines, source), source), source)


def trec_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """qid -> docid -> grade of a qrels file. Raises `DataError` as `parse_qrels`."""
    return _gathered(_block_by_block(path), str(path))


def _block_by_block(path: str | Path) -> Iterator[_Line]:
    for first, text in blocks(path, "qrels"):
        given = 3 if text.count("\t") == 2 * text.count("\n") else 4
        fields = plain_fields(text, given)
        if fields is None:
            yield from _line_by_line(numbered(text[:-1].split("\n"), str(path), first), str(path))
            continue
        columns = (fields[place :: given + 1] for place in (0, given - 2, given - 1))
        yield from zip(count(first), *columns, repeat(given))


def _line_by_line(lines: Iterable[tuple[int, str]], source: str) -> Iterator[_Line]:
    for number, line in lines:
        fields = _fields(line)
        if fields is None:
            raise DataError(f"{source}:{number}: expected {QRELS_LINE}, got {shortened(line)}")
        yield number, *fields


def _gathered(lines: Iterable[_Line], source: str) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    columns = 0
    for number, qid, docid, grade, given in lines:
        if not columns:
            columns = given
            if given == 3 and not INTEGER.fullmatch(grade) and grade.lower() in ("score", "relevance", "rel", "label"):
                continue  # BEIR's header
        if given != columns:  # one lost field would otherwise turn a TREC line into a believable BEIR line
            raise DataError(
                f"{source}:{number}: {given} fields, but the lines before have {columns}; expected {QRELS_LINE}"
            )
        if not INTEGER.fullmatch(grade) or len(grade) > 100:  # Python refuses to read integers of thousands of digits
            raise DataError(
                f"{source}:{number}: the grade (last field) is not an integer: {shortened(grade)}; expected {QRELS_LINE}"
            )
        judgments = qrels.setdefault(qid, {})
        if docid in judgments:
            raise DataError(
                f"{source}:{number}: document {shortened(docid)} is judged twice for topic {shortened(qid)}; keep one of them"
            )
        judgments[docid] = int(grade)
    if not qrels:
        raise DataError(f"no judgements in {source}; a line has {QRELS_LINE}")
    return qrels


def _fields(line: str) -> tuple[str, str, str, int] | None:
    """(qid, docid, grade, columns) of a qrels line, or None when it cannot be one."""
    by_tab = [field.strip(BLANKS) for field in line.split("\t")]
    if len(by_tab) in (3, 4) and all(by_tab):
        return by_tab[0], by_tab[-2], by_tab[-1], len(by_tab)
    if len(by_tab) > 2 and any(map(BLANK.search, by_tab)):
        return None  # as in a run: between tabs a docid holds its spaces
    fields = FIELD.findall(line)
    if len(fields) < 4 or _is_run(fields) or _joined(fields):
        return None
    return fields[0], between(line, before=2, after=1), fields[-1], 4


def _is_run(fields: Sequence[str]) -> bool:
    """True for a run's line whose tag would pass for a grade."""
    return len(fields) == 6 and fields[1] == "Q0" and number_in(fields[4]) is not None


def _joined(fields: Sequence[str]) -> bool:
    """True where a line end seems to be lost: `1 0 a 1` and `1 0 b 1` make `1 0 a 11 0 b 1`, a document called "a 11 0 b"."""
    return any(fields[i] == fields[1] and _GRADE_AND_QID.match(fields[i - 1]) for i in range(4, len(fields) - 2))


def write_qrels(path: str | Path, qrels: Qrels) -> None:
    """Write TREC qrels, in the order given; separated by spaces, or by tabs when a docid holds a space.

    Raises:
        DataError: nothing to write, or an id that the format cannot carry.
    """
    if not any(qrels.values()):
        raise DataError(f"no judgements to write to {path}")
    for qid, judgments in qrels.items():
        check_qid(qid)
        for docid in judgments:
            check_id(docid, "docid", spaces=True)
    gap = gap_for(docid for judgments in qrels.values() for docid in judgments)
    with atomic_writer(path) as file:
        for qid, judgments in qrels.items():
            for docid, grade in judgments.items():
                file.write(gap.join((qid, "0", docid, str(int(grade)))) + "\n")
