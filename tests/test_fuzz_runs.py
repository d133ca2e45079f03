"""Damaged run and qrels files: an error that names the line, or what an independent slow reader reads; never anything else."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rankrl.cli import main
from rankrl.errors import DataError
from rankrl.runs import read_qrels, read_run

# The slow readers: one regular expression a layout, over the whole text, in no way like the code under test

B = "[ \t\v\f]"
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
WORD = r"[^ \t\v\f]+"
PLAIN = re.compile(rf"{B}*({WORD}){B}+{WORD}{B}+({WORD}){B}+{WORD}{B}+({NUMBER}){B}+{WORD}{B}*", re.ASCII)
TABS = re.compile(rf"{B}*([^\t]*?){B}*\t[^\t]*\t{B}*([^\t]*?){B}*\t[^\t]*\t{B}*({NUMBER}){B}*\t[^\t]*", re.ASCII)
SPACED_DOCID = re.compile(rf"{B}*({WORD}){B}+{WORD}{B}+(\S.*?){B}+[+-]?\d+{B}+({NUMBER}){B}+{WORD}{B}*", re.ASCII)
SPACED_TAG = re.compile(rf"{B}*({WORD}){B}+{WORD}{B}+({WORD}){B}+[+-]?\d+{B}+({NUMBER}){B}+{WORD}.*", re.ASCII)
QRELS_PLAIN = re.compile(rf"{B}*({WORD}){B}+{WORD}{B}+({WORD}(?:{B}+{WORD})*?){B}+([+-]?\d+){B}*", re.ASCII)
QRELS_TABS = re.compile(rf"{B}*([^\t]+?){B}*\t(?:[^\t]+\t)?{B}*([^\t]+?){B}*\t{B}*([+-]?\d+){B}*", re.ASCII)


def slow_lines(content: bytes) -> list[str]:
    text = content.decode("utf-8").removeprefix("\ufeff")
    lines = re.split("\r\n|\r|\n", text)
    return [line for line in lines if line.strip(" \t\v\f") and not line.startswith("#")]


def slow_run(content: bytes) -> dict[str, dict[str, float]] | None:
    """The run, or None where a line is none or a topic lists a document twice."""
    run: dict[str, dict[str, float]] = {}
    for line in slow_lines(content):
        layouts = [TABS] if line.count("\t") == 5 else [PLAIN, SPACED_DOCID, SPACED_TAG]
        found = next((match for layout in layouts if (match := layout.fullmatch(line))), None)
        if found is None or not found[1] or not found[2] or not math.isfinite(float(found[3])):
            return None
        scores = run.setdefault(found[1], {})
        if found[2] in scores:
            return None
        scores[found[2]] = float(found[3])
    return run or None


def slow_qrels(content: bytes) -> dict[str, dict[str, int]] | None:
    qrels: dict[str, dict[str, int]] = {}
    for line in slow_lines(content):
        found = (QRELS_TABS if line.count("\t") in (2, 3) else QRELS_PLAIN).fullmatch(line)
        found = found or QRELS_PLAIN.fullmatch(line)
        if found is None or found[2] in qrels.get(found[1], {}):
            return None
        qrels.setdefault(found[1], {})[found[2]] = int(found[3])
    return qrels or None


# Valid files, and what happens to them

RUN = "".join(f"q{t} Q0 d{t}{d} {d + 1} {9.5 - d} tag\n" for t in range(3) for d in range(4)).encode()
QRELS = "".join(f"q{t} 0 d{t}{d} {d - 1}\n" for t in range(3) for d in range(4)).encode()
ROWS = "".join(
    json.dumps({"qid": f"q{t}", "docid": f"d{t}{d}", "score": 9.5 - d}) + "\n" for t in range(3) for d in range(4)
).encode()
TOKENS = [
    b"\t", b" ", b"  ", b"\n", b"\r\n", b"\r", b"\0", b"\xff", b"\xc3", b"\xc2\xa0", b"\xe3\x80\x80", b"\xef\xbb\xbf", b"#",
    b"nan", b"inf", b"-Infinity", b"1e400", b"1e-400", b"0x1p3", b"1_000", b"1,5", "٣".encode(), b"-0", b"+.5", b"5.", b".",
    b"Q0", b"q1", b"d10", b"1", b"{", b"}", b"[", b'"', b":", b",", b"null", b"\x1c", b"\x85", b"\xc2\x85", b"\v", b"\f", b"\\",
]  # fmt: skip


@st.composite
def damaged(draw, valid: bytes):
    """The file after one to three accidents."""
    content = valid
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["cut", "drop", "insert", "replace", "twice", "swap", "ends", "tabs", "head"]))
        lines = content.splitlines(keepends=True)
        line = draw(st.integers(0, max(0, len(lines) - 1)))
        if kind == "cut":
            content = content[:at]
        elif kind == "head":
            content = content[at:]
        elif kind == "drop":
            content = content[:at] + content[at + draw(st.integers(1, 6)) :]
        elif kind == "insert":
            content = content[:at] + draw(st.sampled_from(TOKENS)) + content[at:]
        elif kind == "replace" and lines:
            fields = lines[line].split(b" ")
            fields[draw(st.integers(0, len(fields) - 1))] = draw(st.sampled_from(TOKENS))
            content = b"".join([*lines[:line], b" ".join(fields), *lines[line + 1 :]])
        elif kind == "twice" and lines:
            content = b"".join([*lines, lines[line]])
        elif kind == "swap" and lines:
            other = draw(st.integers(0, len(lines) - 1))
            lines[line], lines[other] = lines[other], lines[line]
            content = b"".join(lines)
        elif kind == "ends":
            content = content.replace(b"\n", b"\r\n")
        elif kind == "tabs":
            content = content.replace(b" ", b"\t")
    return content


def check_error(error: DataError, path: Path, content: bytes) -> None:
    """One line, which names the file, and the line of it wherever it is not about the whole file."""
    text = str(error)
    assert "\n" not in text and len(text) < 700, text
    of_the_whole = rf"(no results in|no judgements in) {re.escape(str(path))}|{re.escape(str(path))}: not JSON"
    found = re.match(rf"{re.escape(str(path))}:(\d+): ", text)
    assert found or re.match(of_the_whole, text), text
    if found:
        assert 1 <= int(found[1]) <= len(re.split(b"\r\n|\r|\n", content)), text


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=damaged(RUN))
@example(content=b"")
@example(content=RUN[:-1])
@example(content=RUN[:-6])
@example(content=RUN.replace(b"\n", b"", 1))
@example(content=b"q\tQ0\ta\vb\t1\t2.0\t\nq\tQ0\tc\t2\t1.0\tt\n")
@example(content=RUN.replace(b"d11", b"d\xc2\xa011"))
@example(content=RUN + RUN.splitlines(keepends=True)[0])
@example(content=RUN.replace(b"9.5", b"9" * 100_000))
@example(content=RUN.replace(b"d11", b"d" * 2_000_000))
def test_a_damaged_run_is_refused_with_its_line_or_read_as_a_slow_reader_does(tmp_path, content):
    path = tmp_path / "a.trec"
    path.write_bytes(content)
    try:
        found = read_run(path, "trec")
    except DataError as error:
        check_error(error, path, content)
        return
    assert found == slow_run(content)
    assert read_run(path) == found  # what is recognised is read alike


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=damaged(QRELS))
@example(content=b"\xef\xbb\xbf" + QRELS)
@example(content=QRELS.replace(b" 2\n", b" 2.0\n"))
@example(content=QRELS.replace(b"\n", b"", 1))
def test_damaged_qrels_are_refused_with_their_line_or_read_as_a_slow_reader_does(tmp_path, content):
    path = tmp_path / "q.txt"
    path.write_bytes(content)
    try:
        found = read_qrels(path, "trec")
    except DataError as error:
        check_error(error, path, content)
        return
    assert found == slow_qrels(content)
    assert read_qrels(path) == found


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=damaged(ROWS))
def test_damaged_json_rows_are_refused_with_their_line_or_read_as_json_says(tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    try:
        found = read_run(path, "jsonl")
    except DataError as error:
        check_error(error, path, content)
        return
    expected: dict[str, dict[str, float]] = {}
    for line in re.split("\r\n|\r|\n", content.decode().removeprefix("\ufeff")):
        if line.strip(" \t\v\f"):
            row = json.loads(line)
            assert row["docid"] not in expected.get(str(row["qid"]), {})
            expected.setdefault(str(row["qid"]), {})[str(row["docid"])] = float(row["score"])
    assert found == expected


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(run=damaged(RUN), qrels=st.one_of(st.just(QRELS), damaged(QRELS)))
def test_the_command_never_shows_a_traceback(tmp_path, capsys, run, qrels):
    (tmp_path / "a.trec").write_bytes(run)
    (tmp_path / "q.txt").write_bytes(qrels)
    arguments = [str(tmp_path / "a.trec"), "--qrels", str(tmp_path / "q.txt"), "--metrics", "AP", "NumRet", "--ties"]
    code = main(["evaluate", *arguments, "--ceiling"])
    printed = capsys.readouterr()
    assert code in (0, 1) and "Traceback" not in printed.err
    if code:
        assert printed.out == "" and printed.err.startswith("rankrl: error: ") and printed.err.count("\n") == 1


def test_the_slow_reader_reads_the_valid_files():
    assert slow_run(RUN) == {f"q{t}": {f"d{t}{d}": 9.5 - d for d in range(4)} for t in range(3)}
    assert slow_qrels(QRELS) == {f"q{t}": {f"d{t}{d}": d - 1 for d in range(4)} for t in range(3)}
    assert slow_run(RUN + b"q1 Q0 a b 7 1 t\n")["q1"]["a b"] == 1.0
    with pytest.raises(UnicodeDecodeError):
        slow_run(b"\xff")
