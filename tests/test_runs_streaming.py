"""Run files topic by topic: the same as whole, in the memory of one topic, with what was odd counted."""

from __future__ import annotations

import os
import random
import threading
import tracemalloc

import pytest

from rankrl.errors import DataError
from rankrl.runs import RunNotes, parse_run, read_run, stream_run


def lines_of(topics: int, documents: int, *, docid: str = "doc{}") -> list[str]:
    """A grouped run, longer than a few blocks, its topics of unequal length."""
    return [
        f"q{t} Q0 {docid.format(1000 * t + d)} {d + 1} {(documents - d) / 7!r} tag\n"
        for t in range(topics)
        for d in range(documents - t % 5)
    ]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.trec"


def write(path, lines):
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize(
    "odd",
    [
        "",
        "# a comment\n",
        "\n",
        "q9 Q0 a doc with spaces 7 0.5 tag\n",
        "q9\tQ0\tan other\t7\t0.5\ttag\n",
        "q9 Q0 d\u00a0x 7 0.5 tag\n",
        "q9 Q0 文書 7 0.5 tag\n",
        "q9 Q0 x\x1cy 7 0.5 tag\n",
        "q9  Q0 x 7 0.5 tag \r\n",
        "q9 Q0 x 7 5e-1 a longer tag\n",
    ],
)
def test_blocks_and_single_lines_are_read_alike(path, odd):
    """The file spans many blocks, and one line of it is odd: its block is read line by line, the others at once."""
    lines = lines_of(60, 200)
    lines.insert(next(i for i, line in enumerate(lines) if line.startswith("q10 ")), odd)
    expected = parse_run(lines, "a")
    notes = RunNotes()
    assert read_run(write(path, lines), notes=notes) == dict(stream_run(path)) == expected
    assert list(expected) == [f"q{t}" for t in range(60)] and notes.topics == 60
    assert path.stat().st_size > 4 * 65536


@pytest.mark.parametrize("odd", ["", "# a comment\n", "q9\ta doc\t{}\n", "q9\td\u00a0x\t{}\n", "\n"])
@pytest.mark.parametrize(("format", "last"), [("msmarco", "197"), ("tsv", "0.25")])
def test_three_columns_are_read_alike_in_blocks_and_line_by_line(path, format, last, odd):
    """Topic 9 has 196 documents, so the rank of one more is 197."""
    cut = [line.split() for line in lines_of(60, 200)]
    lines = [f"{qid}\t{docid}\t{rank if format == 'msmarco' else score}\n" for qid, _, docid, rank, score, _ in cut]
    lines.insert(
        next(i for i, line in enumerate(lines) if line.startswith("q10\t")), odd.format(last if "{" in odd else "")
    )
    expected: dict[str, dict[str, float]] = {}
    for line in lines:
        if line.strip() and not line.startswith("#"):
            qid, docid, third = line.rstrip("\n").split("\t")
            expected.setdefault(qid, {})[docid] = -float(third) if format == "msmarco" else float(third)
    notes = RunNotes()
    assert read_run(write(path, lines), notes=notes) == expected
    assert notes.format == format and path.stat().st_size > 2 * 65536
    write(path, [*lines, "q59\tone more\tx\n"])
    with pytest.raises(
        DataError, match=rf"a\.trec:{len([x for x in lines if x]) + 1}: the (rank|score) \(field 3\) is not a"
    ):
        read_run(path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("q3 Q0 d 1 0.5\n", "expected 6 fields .* got 5"),
        ("q3 Q0 d 1 0.5\nq3 Q0 e 2 0.4 7 more\n", "expected 6 fields .* got 5"),  # the block has six a line on average
        ("q3 Q0 d 1 x t\n", "'x'"),
        ("q3 Q0 d 1 1_0 t\n", "'1_0'"),
        ("q3 Q0 d 1 0x1p3 t\n", "'0x1p3'"),
        ("q3 Q0 d 1 1,5 t\n", "'1,5'"),
        ("q3 Q0 d 1 \u0661\u0662 t\n", "'\u0661\u0662'"),
        ("q3 Q0 d 1 1e400 t\n", "document 'd' is inf"),
        ("q3 Q0 d 1 nan t\n", "document 'd' is nan"),
        ("q59 Q0 doc59000 1 5 t\n", "'doc59000' is listed twice for topic 'q59'"),
        ("q3 Q0 d\0 1 5 t\n", "NUL"),
        ("q3 Q0 d 1 0.5 tagq3 Q0 e 2 0.4 tag\n", "expected 6 fields"),  # a lost line end
        ("q3 Q0 d 1 0.5 t q3 Q0 e 2 0.4\n", "expected 6 fields"),
        ("q3 0 d 1 0.5 tagq3 0 e 2 0.4 tag\n", "expected 6 fields"),
    ],
)
def test_a_wrong_line_deep_in_a_file_is_named(path, line, says):
    lines = lines_of(60, 200)
    write(path, [*lines, line])
    with pytest.raises(DataError, match=rf"a\.trec:{len(lines) + 1}: .*{says}"):
        read_run(path)


def test_the_lines_of_a_file_with_carriage_returns_are_counted_as_editors_do(path):
    path.write_bytes("".join(lines_of(60, 200)).replace("\n", "\r\n").encode() + b"q Q0 d 1 x t\r\n")
    with pytest.raises(DataError, match=rf"a\.trec:{len(lines_of(60, 200)) + 1}: "):
        read_run(path)
    path.write_bytes(b"1 Q0 a 1 2 t\r1 Q0 b 2 1 t\r1 Q0 c 3 x t")
    with pytest.raises(DataError, match=r"a\.trec:3: .*'x'"):
        read_run(path)
    some = "".join(lines_of(20, 200)).encode()  # blocks end at "\n", and what lies in them ends otherwise
    path.write_bytes(some[:-1].replace(b"\n", b"\r") + b"\n" + some.replace(b"q", b"r") + b"q Q0 d 1 x t\n")
    with pytest.raises(DataError, match=rf"a\.trec:{2 * len(lines_of(20, 200)) + 1}: "):
        read_run(path)
    path.write_bytes(b"1 Q0 a 1 2 t\r1 Q0 b 2 1 t\r")
    assert read_run(path) == {"1": {"a": 2.0, "b": 1.0}}


def test_bytes_that_are_no_text_are_named_with_their_line(path):
    good = "".join(lines_of(60, 200)).encode()
    for bad, says in ((b"\xff", "0xff"), (b"\xe9t\xe9", "0xe9"), (b"\xed\xa0\x80", "0xed")):
        path.write_bytes(good + b"q Q0 d" + bad + b" 1 1 t\n")
        with pytest.raises(
            DataError, match=rf"a\.trec:{good.count(10) + 1}: the line is not UTF-8 text \(byte {says}\)"
        ):
            read_run(path)
    path.write_bytes("1 Q0 a 1 2 t\n".encode("utf-16"))
    with pytest.raises(DataError, match="it looks like UTF-16"):
        read_run(path)


def test_a_topic_that_comes_back_is_read_whole_and_counted(path):
    lines = lines_of(40, 100)
    moved = [line for line in lines if line.startswith("q7 ")][::2]
    write(path, [line for line in lines if line not in moved] + moved)
    notes = RunNotes()
    given = list(stream_run(path, notes=notes))
    expected = parse_run(path.read_text().splitlines(), "a")
    assert dict(given) == expected and {q: dict(s) for q, s in expected.items()} == parse_run(lines, "a")
    assert (notes.returning, notes.topics) == (1, 40)
    assert [qid for qid, _ in given].count("q7") == 2  # once too early, and once with all of its documents
    assert len(given) == 41


def test_a_shuffled_file_is_read_as_the_sorted_one(path):
    lines = lines_of(20, 50)
    shuffled = random.Random(0).sample(lines, len(lines))
    notes = RunNotes()
    assert read_run(write(path, shuffled), notes=notes) == parse_run(lines, "a")
    assert notes.returning == 20
    write(path, [*shuffled, shuffled[3]])
    with pytest.raises(DataError, match=rf"a\.trec:{len(lines) + 1}: document .* is listed twice"):
        read_run(path)


def test_only_a_topic_is_held_at_a_time(path):
    write(path, lines_of(800, 100))
    tracemalloc.start()
    try:
        for _ in stream_run(path):
            pass
        streamed = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        whole = read_run(path)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(whole) == 800
    assert 3 * streamed < held, (streamed, held)


@pytest.mark.parametrize(
    ("lines", "count", "first"),
    [
        (["1 Q0 a 1 2 t", "1 Q0 b 2 1 t"], 0, ""),
        (["1 Q0 a 0 2 t", "1 Q0 b 1 1 t"], 0, ""),
        (["1 Q0 b 2 1 t", "1 Q0 a 1 2 t"], 0, ""),  # the lines are not in order, the ranks are right
        (["1 Q0 a 1 1 t", "1 Q0 b 2 1 t"], 0, ""),  # a tie contradicts nothing
        (["1 Q0 a 1 1 t", "1 Q0 b 3 1 t"], 0, ""),
        (["1 Q0 a 0 1 t", "1 Q0 b 0 2 t"], 0, ""),  # a column that says nothing
        (["1 Q0 a - 1 t", "1 Q0 b - 2 t"], 0, ""),
        (["1 Q0 a 1 1 t", "1 Q0 b 2 2 t"], 1, ":2: 'b' has rank 2 and score 2, but 'a' has rank 1 and score 1"),
        (["1 Q0 a 3 1 t", "1 Q0 b 2 2 t", "1 Q0 c 1 0 t"], 1, ":2: 'b' has rank 2 and score 2, but 'c' has rank 1 and score 0"),
        (["1 Q0 a 1 2 t", "2 Q0 a 1 0 t", "2 Q0 b 5 1 t", "3 Q0 a 1 0 t", "3 Q0 b 2 1 t"], 2, ":3: 'b' has rank 5"),
        (["1 Q0 a 1 1 t", "1 Q0 b 1 0 t", "1 Q0 c 2 0.5 t"], 1, ":3: 'c' has rank 2 and score 0.5, but 'b' has rank 1"),
    ],
)  # fmt: skip
def test_ranks_that_contradict_the_scores_are_counted(path, lines, count, first):
    notes = RunNotes()
    read_run(write(path, [line + "\n" for line in lines]), notes=notes)
    assert notes.contradicting == count
    assert notes.first_contradiction.startswith(f"{path}{first}" if count else "")


def test_json_lists_whose_order_contradicts_their_scores_are_counted(path):
    notes = RunNotes()
    path.write_text('{"qid": "1", "candidates": [{"docid": "a", "score": 1}, {"docid": "b", "score": 2}]}\n')
    read_run(path, notes=notes)
    assert notes.contradicting == 1 and f"{path}:1: 'b' has rank 2" in notes.first_contradiction


def test_a_pipe_is_read_once_and_whole(path):
    os.mkfifo(path)
    text = "".join(lines_of(3, 50)) + "q0 Q0 late 60 -1 t\n"
    feeder = threading.Thread(target=path.write_text, args=(text,))
    feeder.start()
    try:
        found = read_run(path)
    finally:
        feeder.join(10)
    assert found == parse_run(text.splitlines(), "a")
    with pytest.raises(DataError, match="is a pipe, which cannot be read as ranx"):
        read_run(path, "ranx")


def test_a_line_longer_than_many_blocks_is_read(path):
    long = "x" * 3_000_000
    path.write_text(f"1 Q0 {long} 1 2 t\n1 Q0 b 2 1 t\n")
    assert read_run(path) == {"1": {long: 2.0, "b": 1.0}}
    path.write_text("1 Q0 b 2 1 t\n" + "1 " * 2_000_000)
    with pytest.raises(DataError, match=r"a\.trec:2: expected 6 fields") as caught:
        read_run(path)
    assert len(str(caught.value)) < 500


def test_a_last_score_that_may_be_cut_is_noted(path):
    for text, unended in (
        ("1\ta\t12.5\n1\tb\t1", True),
        ("1\ta\t12.5\n1\tb\t1\n", False),
        ("1 Q0 a 1 2 t", False),
        ("1 Q0 a b 1 2 t\n1 Q0 a 7 2 1", True),  # of `1 Q0 a 7 2 1.5 t`
        ("1 Q0 a b 1 2 t\n2 Q0 a b 1 2 t\n1 Q0 a 7 2 1", True),
        ("1 Q0 a b 1 2 t\n1 Q0 a 7 2 1\n", False),
        ("7\ta b\t1\n7\tb\t2", False),
    ):
        path.write_text(text)
        notes = RunNotes()
        read_run(path, notes=notes)
        assert notes.unended is unended
