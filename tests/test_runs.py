"""Runs and qrels: what is read, what is written, what is refused."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.errors import DataError
from rankrl.runs import (
    parse_qrels,
    parse_run,
    ranked,
    read_qrels,
    read_run,
    strictly_decreasing,
    write_qrels,
    write_run,
)

QIDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs")), min_size=1).filter(
    lambda text: not text.startswith(("#", "\ufeff"))
)
DOCIDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\t\r\n\0"), min_size=1).filter(
    lambda text: text == text.strip(" \t\r\n\f\v")
)
SCORES = st.floats(allow_nan=False, allow_infinity=False)


def run_of(*lines: str):
    return parse_run(lines, "a.trec")


def qrels_of(*lines: str):
    return parse_qrels(lines, "q.tsv")


@given(run=st.dictionaries(QIDS, st.dictionaries(DOCIDS, SCORES, min_size=1), min_size=1))
def test_a_run_read_back_is_the_run_that_was_written(tmp_path_factory, run):
    path = tmp_path_factory.mktemp("runs") / "a.trec"
    write_run(path, run, tag="t")
    assert read_run(path) == run


@given(qrels=st.dictionaries(QIDS, st.dictionaries(DOCIDS, st.integers(), min_size=1), min_size=1))
def test_qrels_read_back_are_the_qrels_that_were_written(tmp_path_factory, qrels):
    path = tmp_path_factory.mktemp("qrels") / "q.txt"
    write_qrels(path, qrels)
    assert read_qrels(path) == qrels


@given(scores=st.dictionaries(DOCIDS, st.sampled_from([-1.0, 0.0, 2.5])))
def test_ties_are_ordered_like_strcmp_on_utf8_descending(scores):
    expected = sorted(scores, key=lambda docid: (scores[docid], docid.encode()), reverse=True)
    assert ranked(scores) == expected


def test_ties_put_9_before_10():
    assert ranked({"10": 1.0, "9": 1.0, "c": 0.5, "d": 2.0}) == ["d", "9", "10", "c"]


def test_the_score_decides_and_the_rank_column_is_ignored():
    assert ranked(run_of("1 Q0 a 1 0.5 t", "1 Q0 b 2 0.9 t")["1"]) == ["b", "a"]


def test_strictly_decreasing_scores_keep_the_order_whatever_the_docids():
    scores = strictly_decreasing(["9", "10", "z", "a"])
    assert scores == {"9": 4.0, "10": 3.0, "z": 2.0, "a": 1.0}
    assert ranked(scores) == ["9", "10", "z", "a"]
    with pytest.raises(DataError, match="'9'"):
        strictly_decreasing(["9", "10", "9"])


def test_a_run_is_written_best_first_with_ranks_from_1(tmp_path):
    write_run(tmp_path / "a.trec", {"q": {"low": 1 / 3, "high": 2}}, tag="mine")
    assert (tmp_path / "a.trec").read_text() == "q Q0 high 1 2.0 mine\nq Q0 low 2 0.3333333333333333 mine\n"


@pytest.mark.parametrize(
    "line",
    [
        "7 Q0 a doc 3 1 0.5 tag",
        "7\tQ0\ta doc 3\t1\t0.5\ttag",
        "7\tQ0\ta doc 3\t1\t 0.5 \ta tag",
        "  7 Q0  a doc 3  1 .5 tag\r\n",
    ],
)
def test_docids_with_spaces_survive(line):
    assert run_of(line) == {"7": {"a doc 3": 0.5}}


def test_what_follows_the_tag_is_ignored_as_in_trec_eval():
    assert run_of("301 Q0 FBIS3-1 99 2.5 STANDARD more junk at") == {"301": {"FBIS3-1": 2.5}}


@pytest.mark.parametrize("line", ["7 0 a doc 3 1", "7\t0\ta doc 3\t1", "7\ta doc 3\t1"])
def test_docids_of_qrels_with_spaces_survive(line):
    assert qrels_of(line) == {"7": {"a doc 3": 1}}


def test_unusual_white_space_is_part_of_a_docid():
    assert run_of("1 Q0 a\u3000b\u00a0c 1 2 t") == {"1": {"a\u3000b\u00a0c": 2.0}}


def test_beir_qrels_are_read_with_and_without_their_header():
    rows = ["q1\td1\t1\n", "q1\td2\t-1\n"]
    assert qrels_of("query-id\tcorpus-id\tscore\n", *rows) == qrels_of(*rows) == {"q1": {"d1": 1, "d2": -1}}


def test_comments_blank_lines_and_a_byte_order_mark_are_skipped():
    assert run_of("\ufeff1 Q0 a 1 2 t", "\n", "# note", "1 Q0 b 2 1 t") == {"1": {"a": 2.0, "b": 1.0}}
    assert qrels_of("# note", "1 0 CR#9 1", "   ") == {"1": {"CR#9": 1}}


@pytest.mark.parametrize(
    "read, line", [(read_run, "{} Q0 a 1 2 t\n"), (read_qrels, "{} 0 a 1\n"), (read_qrels, "{}\ta\t1\n")]
)
def test_a_byte_order_mark_is_left_out_before_the_file_and_refused_before_another_line(tmp_path, read, line):
    """Where two files with marks are joined, the second one's first topic would get another qid."""
    path, first, second = tmp_path / "a", line.format("q1"), line.format("q2")
    expected = read(_written(path, first + second))
    for marks in ("\ufeff", "\ufeff\ufeff"):
        assert read(_written(path, marks + first + second)) == expected
    for joined in (first + "\ufeff" + second, "\ufeff" + first + "\ufeff" + second, "\n\ufeff" + first):
        with pytest.raises(DataError, match=r"a:2: a byte order mark stands before the line"):
            read(_written(path, joined))


def _written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_qid_that_would_lose_its_first_character_is_not_written(tmp_path):
    with pytest.raises(DataError, match="starts with a byte order mark"):
        write_run(tmp_path / "a", {"\ufeffq": {"d": 1.0}}, tag="t")


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
@pytest.mark.parametrize("read, line", [(read_run, "1 Q0 {} 1 2 t\n"), (read_qrels, "1 0 {} 1\n")])
def test_a_packed_file_that_stops_says_how_far_it_could_be_read(tmp_path, pack, read, line):
    docids = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(9000)]
    (tmp_path / "a").write_bytes(pack("".join(map(line.format, docids)).encode())[:-20000])
    with pytest.raises(DataError, match=r"cannot be unpacked after line \d+: .*a: ") as refused:
        read(tmp_path / "a")
    assert 5000 < int(re.search(r"after line (\d+)", str(refused.value))[1]) < 9000


@pytest.mark.parametrize(("suffix", "opener"), [("gz", gzip.open), ("xz", lzma.open)])
def test_compressed_files_are_read_and_broken_ones_named(tmp_path, suffix, opener):
    path = tmp_path / f"a.trec.{suffix}"
    with opener(path, "wt") as file:
        file.write("1 Q0 a 1 2 t\n" * 1)
    assert read_run(path) == {"1": {"a": 2.0}}
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"run cannot be unpacked.*a\.trec"):
        read_run(path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1 Q0 b 2 0.5", "expected 6 fields .* got 5"),
        ("1 Q0 b x y z w v", "expected 6 fields"),
        ("1 Q0 b 2 high t", "'high'"),
        ("1 Q0 b 2 1_0 t", "'1_0'"),
        ("1 Q0 b 2 nan t", "'b' is nan"),
        ("1 Q0 b 2 -inf t", "'b' is -inf"),
        ("1 Q0 a 2 0.5 t", "'a' is listed twice for topic '1'"),
        ("1 Q0 b\0 2 0.5 t", "NUL"),
        ("1\tQ0\t\t2\t0.5\tt", "expected 6 fields"),
    ],
)
def test_a_wrong_line_of_a_run_is_named(line, says):
    with pytest.raises(DataError, match=rf"^a\.trec:3: .*{says}"):
        run_of("1 Q0 a 1 0.9 t", "", line)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1 0 b", "expected 4 fields"),
        ("1 0 b 1.0", "'1.0'"),
        ("1 0 b yes", "'yes'"),
        ("1 0 a 0", "'a' is judged twice for topic '1'"),
        ("1\tb\t1", "3 fields, but the lines before have 4"),
    ],
)
def test_a_wrong_line_of_qrels_is_named(line, says):
    with pytest.raises(DataError, match=rf"^q\.tsv:2: .*{says}"):
        qrels_of("1 0 a 1", line)


def test_empty_files_garbage_folders_and_missing_files_are_refused(tmp_path):
    (tmp_path / "empty").write_text("\n# only a comment\n")
    (tmp_path / "binary").write_bytes(b"\x7fELF\x02\xff\xfe")
    for name, says in [("empty", "no results in"), ("binary", "not UTF-8"), ("nope", "run not found"), (".", "folder")]:
        with pytest.raises(DataError, match=says):
            read_run(tmp_path / name)
    with pytest.raises(DataError, match="no judgements in"):
        read_qrels(tmp_path / "empty")


@pytest.mark.parametrize(
    ("run", "tag"),
    [
        ({}, "t"),
        ({"q": {}}, "t"),
        ({"q": {"a": float("nan")}}, "t"),
        ({"q": {"a\tb": 1.0}}, "t"),
        ({"q": {" a": 1.0}}, "t"),
        ({"q": {"": 1.0}}, "t"),
        ({"q": {"\ud800": 1.0}}, "t"),
        ({"q r": {"a": 1.0}}, "t"),
        ({"#q": {"a": 1.0}}, "t"),
        ({"q": {"a": 1.0}}, "my tag"),
    ],
)
def test_what_would_not_come_back_is_not_written(tmp_path, run, tag):
    with pytest.raises(DataError):
        write_run(tmp_path / "a.trec", run, tag=tag)
    assert list(tmp_path.iterdir()) == []
