"""Runs as lines of text: TREC, and the two three-column layouts of the field; their grammar, their reading and writing.

trec: `qid Q0 docid rank score tag`. The score decides and the rank column is ignored, as in trec_eval.
msmarco: `qid<TAB>docid<TAB>rank`, what Pyserini and the MS MARCO scripts write; the score becomes minus the rank.
tsv: `qid<TAB>docid<TAB>score`, what Tevatron writes.

A line that starts with `#` is a comment, as in trec_eval 10; blank lines are skipped. Fields of a TREC line are separated
by white space, or by single tabs where a line has exactly the right number of them. Docids may hold spaces: a line with
too many fields is read from both ends.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from rankrl.errors import DataError
from rankrl.files import atomic_writer
from rankrl.runs.ranking import ranked
from rankrl.runs.results import Piece, RunNotes, counts_up, gathered
from rankrl.runs.text import BLANKS, blocks, numbered, shortened
from rankrl.types import Run

BLANK = re.compile("[ \t\r\n\f\v]")
FIELD = re.compile(r"[^ \t\r\n\f\v]+")
INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_UNFIT_WITH_SPACES = re.compile("[\t\r\n\0\ud800-\udfff]")  # the last range: lone surrogates, which UTF-8 cannot hold
_UNFIT = re.compile("[ \t\r\n\f\v\0\ud800-\udfff]")
_SPACES_OF_PYTHON = re.compile("[\x1c-\x1f\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")  # and not of C
RUN_LINE = "6 fields (qid Q0 docid rank score tag)"


def parse_run(lines: Iterable[str], source: str) -> dict[str, dict[str, float]]:
    """qid -> docid -> score of the lines of a TREC run; `source` names them in errors.

    Raises:
        DataError: a wrong number of fields, a score that is not a finite number, a docid twice in a topic, no line.
    """
    run = gathered(_line_by_line(numbered(lines, source), source), source, RunNotes())
    if not run:
        raise DataError(f"no results in {source}; a line is {RUN_LINE}")
    return run


def trec_pieces(path: str | Path) -> Iterator[Piece]:
    """The results of a TREC run file, in its order. Raises `DataError` as `parse_run`."""
    for first, text in blocks(path, "run"):
        fields = plain_fields(text, 6)
        scores_N = None if fields is None else _plain_numbers(fields[4::7], unsure="_" in text or not text.isascii())
        if fields is None or scores_N is None:
            yield from _line_by_line(numbered(text[:-1].split("\n"), str(path), first), str(path))
            continue
        docids_N, ranks_N = fields[2::7], fields[3::7]
        for qid, start, stop in _stretches(fields[0::7]):
            part = slice(start, stop)
            yield Piece(qid, docids_N[part], scores_N[part], ranks_N[part], range(first + start, first + stop))


def plain_fields(text: str, width: int) -> list[str] | None:
    """The fields of a block in which each line has `width` of them and nothing unusual; None for any other block.

    Each line's fields are followed by one NUL, so those of a column are every (width + 1)th: with the line ends turned into
    a field of their own, one split cuts the whole block, and every (width + 1)th field is a line end exactly when every
    line has `width` others. A block with a line that would be read in another way alone is None.
    """
    count = text.count("\n")
    odd = not text.isascii() or any(mark in text for mark in "\x1c\x1d\x1e\x1f")
    tabs = text.count("\t")
    if tabs and (tabs != (width - 1) * count or any(blank in text for blank in " \v\f")):
        return None
    if odd and _SPACES_OF_PYTHON.search(text):
        return None
    if text.startswith(("#", "\ufeff")) or "\n#" in text or (odd and "\n\ufeff" in text):
        return None
    fields = text.replace("\n", " \0 ").split()
    if len(fields) != (width + 1) * count or fields[width :: width + 1].count("\0") != count:
        return None
    return fields


def _stretches(qids: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    """(qid, start, stop) of each stretch of lines with one qid."""
    start = 0
    for qid, same in groupby(qids):
        stop = start + len(list(same))
        yield qid, start, stop
        start = stop


def _plain_numbers(texts: Sequence[str], *, unsure: bool) -> list[float] | None:
    """The numbers of a column, or None where one is not written as other readers of runs would take it.

    unsure: there may be underscores or letters beyond ASCII among the texts.
    """
    if unsure and ("_" in (together := "".join(texts)) or not together.isascii()):
        return None  # float() takes 1_000 and the digits of all the world
    try:
        return list(map(float, texts))
    except ValueError:
        return None


def _line_by_line(lines: Iterable[tuple[int, str]], source: str) -> Iterator[Piece]:
    for number, line in lines:
        fields = run_fields(line)
        if fields is None:
            count = len(FIELD.findall(line))
            problem = f"expected {RUN_LINE}, got {count}" if count < 6 else f"expected {RUN_LINE}: {shortened(line)}"
            raise DataError(f"{source}:{number}: {problem}")
        qid, docid, rank, score = fields
        yield Piece(qid, [docid], [_score(score, docid, "field 5", RUN_LINE, f"{source}:{number}")], [rank], [number])


def _score(text: str, docid: str, which: str, expected: str, where: str) -> float:
    score = number_in(text)
    if score is None:
        raise DataError(f"{where}: the score ({which}) is not a number: {shortened(text)}; expected {expected}")
    if not math.isfinite(score):
        raise DataError(
            f"{where}: the score of document {shortened(docid)} is {shortened(text)[1:-1]}; scores must be finite"
        )
    return score


def run_fields(line: str) -> tuple[str, str, str, str] | None:
    """(qid, docid, rank, score) of a TREC run line, or None when it cannot be one.

    Of several ways to read a line with more than six fields, the one whose tag has no space is taken, then the one whose
    docid has none.
    """
    by_tab = line.split("\t")
    if len(by_tab) == 6:
        cut = [field.strip(BLANKS) for field in by_tab]
        return (cut[0], cut[2], cut[3], cut[4]) if all(cut[i] for i in (0, 2, 4)) else None
    if 2 < len(by_tab) < 6 and BLANK.search(by_tab[2].strip(BLANKS)):
        return None  # between tabs a docid holds its spaces, and a line with too few tabs has lost something
    fields = FIELD.findall(line)
    if len(fields) == 6:
        return fields[0], fields[2], fields[3], fields[4]
    if len(fields) < 6 or _joined(fields):
        return None
    places = [i for i in range(3, len(fields) - 2) if INTEGER.fullmatch(fields[i]) and _is_number(fields[i + 1])]
    if not places:
        return None
    last = len(fields) - 3
    rank = last if last in places else 3 if 3 in places else places[0] if len(places) == 1 else None
    if rank is None:
        return None
    return fields[0], between(line, before=2, after=len(fields) - rank), fields[rank], fields[rank + 1]


def _joined(fields: Sequence[str]) -> bool:
    """True where a line end seems to be lost: what stands second comes again, as the second line would have it."""
    return "Q0" in fields[2:] or (fields[1] in fields[6:] and len(fields) >= 11)


def between(line: str, *, before: int, after: int) -> str:
    """The text of a line without its first `before` and last `after` fields, inner blanks kept."""
    spans = [match.span() for match in FIELD.finditer(line)]
    return line[spans[before][0] : spans[-after - 1][1]]


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def number_in(text: str) -> float | None:
    """The number that a field holds, or None; digits are 0 to 9, and 1_000, 0x1p3 and 1,5 are none."""
    return float(text) if _is_number(text) else None


def msmarco_pieces(path: str | Path) -> Iterator[Piece]:
    """The results of `qid<TAB>docid<TAB>rank` lines, scored by minus their rank.

    Raises:
        DataError: a line without three fields, or the ranks of a topic are not 1, 2, 3, … (or 0, 1, 2, …) in some order, which
            a column of scores would not be.
    """
    for qid, group in groupby(
        _three_columns(path, "3 fields separated by tabs (qid docid rank)"), key=lambda one: one[0]
    ):
        docids_N: list[str] = []
        texts: list[str] = []
        numbers: list[int] = []
        for _, some_docids, some_texts, some_numbers in group:  # a topic may lie in several blocks
            docids_N += some_docids
            texts += some_texts
            numbers += some_numbers
        ranks_N = _ranks(texts, qid, numbers, path)
        yield Piece(qid, docids_N, [-float(rank) for rank in ranks_N], None, numbers)


def _ranks(texts: Sequence[str], qid: str, numbers: Sequence[int], path: str | Path) -> Sequence[int]:
    if counts_up(texts):
        return range(1, len(texts) + 1)
    seen: set[int] = set()
    for text, number in zip(texts, numbers, strict=True):
        if not re.fullmatch("[0-9]{1,9}", text):
            hint = '; a score? then name the format: "tsv"' if _is_number(text) else ""
            raise DataError(f"{path}:{number}: the rank (field 3) is not a whole number: {shortened(text)}{hint}")
        if int(text) in seen:
            raise DataError(
                f"{path}:{number}: rank {text} is given twice for topic {shortened(qid)}; "
                'if it is a score, name the format: "tsv"'
            )
        seen.add(int(text))
    if min(seen) > 1 or max(seen) - min(seen) >= len(seen):
        raise DataError(
            f"{path}:{numbers[0]}: the {len(seen)} ranks of topic {shortened(qid)} go from {min(seen)} to {max(seen)}, "
            'with gaps; expected 1, 2, 3, …; if they are scores, name the format: "tsv"'
        )
    return list(map(int, texts))


def tsv_pieces(path: str | Path) -> Iterator[Piece]:
    """The results of `qid<TAB>docid<TAB>score` lines. Raises `DataError` for any other line."""
    expected = "3 fields separated by tabs (qid docid score)"
    for qid, docids_N, texts, numbers in _three_columns(path, expected):
        scores_N = _plain_numbers(texts, unsure=True) or [
            _score(text, docid, "field 3", expected, f"{path}:{number}")
            for text, docid, number in zip(texts, docids_N, numbers, strict=True)
        ]
        yield Piece(qid, docids_N, scores_N, None, numbers)


def _three_columns(path: str | Path, expected: str) -> Iterator[tuple[str, list[str], list[str], Sequence[int]]]:
    """(qid, docids, third fields, line numbers) of lines of one topic that stand together in one block."""
    for first, text in blocks(path, "run"):
        fields = plain_fields(text, 3) if "\t" in text else None
        if fields is None:
            lines = numbered(text[:-1].split("\n"), str(path), first)
            for number, line in lines:
                qid, docid, third = _three(line, expected, f"{path}:{number}")
                yield qid, [docid], [third], [number]
            continue
        docids, thirds = fields[1::4], fields[2::4]
        for qid, start, stop in _stretches(fields[0::4]):
            yield qid, docids[start:stop], thirds[start:stop], range(first + start, first + stop)


def _three(line: str, expected: str, where: str) -> tuple[str, str, str]:
    fields = [field.strip(BLANKS) for field in line.split("\t")]
    if len(fields) != 3 or not all(fields):
        raise DataError(f"{where}: expected {expected}, got {shortened(line)}")
    return fields[0], fields[1], fields[2]


def write_trec(path: str | Path, run: Run, *, tag: str) -> None:
    """Write a TREC run, best document first, in trec_eval's order; scores keep every digit, so reading gives them back.

    Fields are separated by spaces, or by tabs when a docid holds a space. Topics without a document leave no line.

    Raises:
        DataError: nothing to write, a score that is not finite, or an id or tag that the format cannot carry.
    """
    check_id(tag, "tag", spaces=False)
    for qid, scores in run.items():
        check_qid(qid)
        for docid in scores:
            check_id(docid, "docid", spaces=True)
    gap = gap_for(docid for scores in run.values() for docid in scores)
    with atomic_writer(path) as file:
        for qid, scores in run.items():
            for rank, docid in enumerate(ranked(scores), start=1):
                # float(): numpy's repr is not a bare number, and an int score would come back as a float anyway
                file.write(gap.join((qid, "Q0", docid, str(rank), repr(float(scores[docid])), tag)) + "\n")


def gap_for(docids: Iterable[str]) -> str:
    """What separates the fields: a tab where a docid holds a blank, a space otherwise."""
    return "\t" if any(BLANK.search(docid) for docid in docids) else " "


def check_qid(qid: str) -> None:
    """Refuse a qid that would not come back from a TREC file as it went in."""
    check_id(qid, "qid", spaces=False)
    if qid.startswith("#"):
        raise DataError(f"qid {qid!r} starts with '#', which makes its line a comment; rename the topic")
    if qid.startswith("\ufeff"):
        raise DataError(f"qid {qid!r} starts with a byte order mark, which is no part of a line; rename the topic")


def check_id(text: str, what: str, *, spaces: bool) -> None:
    """Refuse an id that would not come back from a TREC file as it went in."""
    if not text or text != text.strip(BLANKS) or (_UNFIT_WITH_SPACES if spaces else _UNFIT).search(text):
        forbidden = "tabs, line breaks" if spaces else "white space"
        limits = f"it may not be empty or hold {forbidden}, NUL or lone surrogates"
        raise DataError(f"{what} {text!r} cannot be written to a TREC file: {limits}")
