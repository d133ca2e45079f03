"""Runs and qrels of every format: what is recognised, what comes back, what is refused."""

from __future__ import annotations

import gzip
import importlib.util
import json
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.errors import ConfigError, DataError
from rankrl.runs import RunNotes, read_qrels, read_run, stream_run, write_qrels, write_run

RANX = Path(__file__).parent / "data" / "ranx"
RUN = {"q1": {"d2": 2.5, "a b": 1.5}, "q2": {"é": 0.1}}
QRELS = {"q1": {"a b": 1, "d2": 2}, "q2": {"é": 1}}
IDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1).filter(lambda text: text.strip(" \t\r\n\f\v"))


def read(tmp_path: Path, text: str, format: str = "auto"):
    """(run, format it was read as)."""
    (tmp_path / "a").write_text(text)
    notes = RunNotes()
    return read_run(tmp_path / "a", format, notes=notes), notes.format


@pytest.mark.parametrize("name", ["run.json", "run.parquet", "run.trec", "run.lz4"])
def test_what_ranx_writes_is_read(name):
    if name.endswith(".lz4") and not all(map(importlib.util.find_spec, ("lz4", "cbor2"))):
        pytest.skip("ranx packs with lz4 and cbor2, which are not installed")
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    notes = RunNotes()
    assert read_run(RANX / name, notes=notes) == RUN
    assert notes.format == ("trec" if name == "run.trec" else "ranx")


@pytest.mark.parametrize("name", ["qrels.json", "qrels.parquet"])
def test_qrels_that_ranx_writes_are_read(name):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    assert read_qrels(RANX / name) == QRELS


@pytest.mark.slow
def test_a_run_that_ranx_is_made_to_write_now_is_read(tmp_path):
    ranx = pytest.importorskip("ranx")
    run = {"q": {"x": 3.25, "y z": -1.0, "10": 1e-7}, "r": {"x": 0.0}}
    for name in ("a.json", "a.lz4", "a.parquet", "a.trec"):
        ranx.Run(run, name="plain").save(str(tmp_path / name))
        assert read_run(tmp_path / name) == run


@given(
    run=st.dictionaries(
        IDS, st.dictionaries(IDS, st.floats(allow_nan=False, allow_infinity=False), min_size=1), min_size=1
    )
)
def test_json_rows_give_every_id_and_every_digit_back(tmp_path_factory, run):
    path = tmp_path_factory.mktemp("runs") / "a.jsonl"
    write_run(path, run, tag="any tag")
    assert read_run(path) == run
    assert dict(stream_run(path, "jsonl")) == run


def test_the_name_decides_what_is_written_unless_it_is_said(tmp_path):
    write_run(tmp_path / "a.jsonl", RUN, tag="t")
    assert json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0]) == {
        "qid": "q1", "docid": "d2", "rank": 1, "score": 2.5, "tag": "t",
    }  # fmt: skip
    write_run(tmp_path / "b.jsonl", RUN, tag="t", format="trec")
    assert read_run(tmp_path / "b.jsonl", "trec") == RUN
    with pytest.raises(ConfigError, match=r"no format 'jsnl', did you mean 'jsonl'"):
        write_run(tmp_path / "c", RUN, tag="t", format="jsnl")


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ("q1\tQ0\td2\t1\t2.5\tt\nq1\tQ0\ta b\t2\t1.5\tt\nq2\tQ0\té\t1\t.1\tt\n", "trec"),
        ("q1\td2\t2.5\nq1\ta b\t1.5\nq2\té\t0.1\n", "tsv"),
        ('{"qid":"q1","docid":"d2","score":2.5}\n\n{"qid":"q1","docid":"a b","score":1.5}\n'
         '{"qid":"q2","docid":"é","score":0.1}', "jsonl"),
        ('{"query_id":"q1","pid":"d2","score":2.5}\n{"query_id":"q1","doc_id":"a b","score":1.5}\n'
         '{"qid":"q2","docid":"é","score":0.1}', "jsonl"),
        ('{"qid":"q1","query":"the text","candidates":[{"docid":"d2","score":2.5,"text":"x"},{"docid":"a b","score":1.5}]}\n'
         '{"qid":"q2","hits":[{"docid":"\\u00e9","score":0.1}]}\n', "jsonl"),
        ('{"query":{"qid":"q1","text":"x"},"candidates":[{"docid":"d2","score":2.5,"doc":{}},{"docid":"a b","score":1.5}]}\n'
         '{"query":{"qid":"q2","text":""},"candidates":[{"docid":"é","score":0.1}]}\n', "jsonl"),
        ('[\n {"query": {"qid": "q1"}, "candidates": [{"docid": "d2", "score": 2.5}, {"docid": "a b", "score": 1.5}]},\n'
         ' {"qid": "q2", "docid": "é", "score": 0.1}\n]\n', "jsonl"),
        ('{"q1":{"d2":2.5,"a b":1.5},"q2":{"é":0.1}}', "ranx"),
        ('{\n  "q1": {\n    "d2": 2.5,\n    "a b": 1.5\n  },\n  "q2": {"é": 0.1}\n}', "ranx"),
    ],
)  # fmt: skip
def test_a_run_is_recognised_by_what_stands_in_it(tmp_path, text, format):
    assert read(tmp_path, text) == (RUN, format)
    assert read(tmp_path, text, format) == (RUN, format)
    assert read(tmp_path, "\ufeff" + text) == (RUN, format)
    for name, opener in (("a.gz", gzip.open), ("b", lzma.open)):  # what it is packed with stands in it too
        with opener(tmp_path / name, "wt") as file:
            file.write(text)
        assert read_run(tmp_path / name) == RUN


def test_msmarco_lines_are_ranked_by_their_rank(tmp_path):
    assert read(tmp_path, "7\tb c\t2\n7\ta\t1\n8\ta\t1\n") == (
        {"7": {"b c": -2.0, "a": -1.0}, "8": {"a": -1.0}},
        "msmarco",
    )
    assert read(tmp_path, "7\ta\t0\n7\tb\t1\n")[0] == {"7": {"a": 0.0, "b": -1.0}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("7\ta\t1\n7\tb\t1\n", r"a:2: rank 1 is given twice for topic '7'.*\"tsv\""),
        ("7\ta\t1\n7\tb\t3\n", r"a:1: the 2 ranks of topic '7' go from 1 to 3, with gaps"),
        ("7\ta\t12\n7\tb\t11\n", r"a:1: the 2 ranks of topic '7' go from 11 to 12"),
        ("7\ta\t1\n7\tb\t0.5\n", r"a:2: the rank \(field 3\) is not a whole number: '0.5'.*\"tsv\""),
        ("7\ta\t1\n7 b 2\n", r"a:2: expected 3 fields separated by tabs"),
        ("7\ta\t1.5\n7\tb\tx\n", r"a:2: the score \(field 3\) is not a number: 'x'"),
        ("7\ta\t1.5\n7\tb\t1e999\n", r"a:2: the score of document 'b' is inf"),
    ],
)
def test_three_columns_that_are_no_ranks_or_scores_are_named(tmp_path, text, says):
    with pytest.raises(DataError, match=says):
        read(tmp_path, text)


def test_whole_scores_are_read_when_the_format_is_named(tmp_path):
    assert read(tmp_path, "7\ta\t12\n7\tb\t11\n", "tsv")[0] == {"7": {"a": 12.0, "b": 11.0}}


def test_an_order_without_scores_is_the_ranking(tmp_path):
    expected = {"7": {"b": 2.0, "a": 1.0}}
    assert read(tmp_path, '{"qid": 7, "docids": ["b", "a"]}')[0] == expected
    assert read(tmp_path, '{"qid": "7", "candidates": [{"docid": "b"}, {"docid": "a", "score": null}]}')[0] == expected


@pytest.mark.parametrize(
    "second",
    [
        '{"qid": "7", "docids": ["c", "d"]}',
        '{"qid": "7", "docid": "c", "score": 0.5}',
        '{"qid": "7", "candidates": [{"docid": "c", "score": 9}]}',
    ],
)
def test_bug_an_order_over_several_rows_was_read_as_several_first_places(tmp_path, second):
    rows = ['{"qid": "7", "docids": ["a", "b"]}', '{"qid": "8", "docid": "a", "score": 1}', second]
    for one, two, three in (rows, rows[::-1]):
        with pytest.raises(DataError, match="a:3: topic '7' has a row without scores and another row"):
            read(tmp_path, f"{one}\n{two}\n{three}\n")
    with pytest.raises(DataError, match="a:object 3: topic '7' has a row without scores"):
        read(tmp_path, f"[{','.join(rows)}]")
    assert read(tmp_path, rows[0] + '\n{"qid": "7", "docids": []}')[0] == {"7": {"a": 2.0, "b": 1.0}}


def test_bug_an_object_of_an_array_was_named_as_if_it_were_a_line(tmp_path):
    with pytest.raises(DataError, match=r"a:object 2: the score of document 'b' is None"):
        read(tmp_path, '[{"qid": 1, "docid": "a", "score": 1}, {"qid": 1, "docid": "b"}]')
    with pytest.raises(DataError, match=r"a:object 2: document 'a' is listed twice"):
        read(tmp_path, '[{"qid": 1, "docid": "a", "score": 1}, {"qid": 1, "docid": "a", "score": 1}]')


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"qid":"1","docid":"b","score":NaN}', "a:2: the score of document 'b' is nan"),
        ('{"qid":"1","docid":"b","score":1e999}', "a:2: the score of document 'b' is inf"),
        ('{"qid":"1","docid":"b","score":"2"}', "a:2: the score of document 'b' is '2'; expected a number"),
        ('{"qid":"1","docid":"b","score":true}', "a:2: the score of document 'b' is True; expected a number"),
        ('{"qid":"1","docid":"b"}', "a:2: the score of document 'b' is None"),
        ('{"qid":"1","docid":"a","score":1}', "a:2: document 'a' is listed twice for topic '1'"),
        ('{"qid":"1","docid":"b","score":1,"score":2}', "a:2: the key 'score' stands twice"),
        ('{"qid":"1","docid":"b","score":1', "a:2: not JSON"),
        ('{"qid":"1","docid":["b"],"score":1}', "a:2: the docid is .* expected a text or a whole number"),
        ('{"qid":1.5,"docid":"b","score":1}', "a:2: the qid is 1.5"),
        ('{"qid":"1","docid":"","score":1}', "a:2: expected an object|a:2: the docid is ''"),
        ('{"qid":"1","docid":"\\ud800","score":1}', "a:2: the docid is"),
        ('{"qid":"1","text":"b"}', "a:2: expected an object .* got the keys 'qid', 'text'"),
        ('{"qid":"1","docids":["b"],"hits":[]}', "a:2: expected an object"),
        ('{"qid":"1","candidates":[{"docid":"b","score":1},{"docid":"c"}]}', "a:2: the score of document 'c' is None"),
        ("[1]", "a:2: expected an object"),
        ("7", "a:2: expected an object"),
        ("[" * 100_000, "a:2: not JSON"),
        ('{"qid":"1","docid":"b","score":' + "9" * 5000 + "}", "a:2: not JSON that can be read"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named(tmp_path, line, says):
    with pytest.raises(DataError, match=says) as caught:
        read(tmp_path, '{"qid":"1","docid":"a","score":1}\n' + line + "\n")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"q": {"a": 1, "a": 2}}', "the key 'a' stands twice"),
        ('{"q": {"a": "1"}}', "topic 'q': the score of document 'a' is '1'"),
        ('{"q": {"a": NaN}}', "the score of document 'a' is nan"),
        ('{"q": {"a": 1}, "r": 2}', "expected an object with"),
        ('{\n"q": {"a": 1},\n"r": 2}', "topic 'r': expected {docid: number}, got 2"),
        ('{\n"q": {"a": 1},\n', "not JSON: .* in line 3"),
        ('{\n"q": {}}', "no results"),
        ("{}", "no results"),
        ("[]", "no results"),
    ],
)
def test_a_wrong_file_of_ranx_is_named(tmp_path, text, says):
    with pytest.raises(DataError, match=says):
        read(tmp_path, text)


def test_a_broken_parquet_file_and_other_tables_are_refused(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    whole = (RANX / "run.parquet").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-20])
    with pytest.raises(DataError, match=r"run cannot be read: .*cut"):
        read_run(tmp_path / "cut")
    parquet.write_table(pa.table({"q_id": ["1"], "doc_id": ["a"]}), tmp_path / "other")
    with pytest.raises(DataError, match="no column 'score'; expected the columns q_id, doc_id, score"):
        read_run(tmp_path / "other")
    parquet.write_table(pa.table({"q_id": ["1", "1"], "doc_id": ["a", "b"], "score": [1.0, None]}), tmp_path / "null")
    with pytest.raises(DataError, match="the score of document 'b' is None"):
        read_run(tmp_path / "null")


@pytest.mark.parametrize("name", ["run.parquet", "run.lz4"])
def test_bug_one_wrong_bit_in_a_file_of_ranx_ended_in_an_exception_of_its_reader(tmp_path, name):
    """Neither format has a checksum for all of it, so a flipped bit may change an id or a score; it never ends in a traceback."""
    for library in ("pyarrow",) if name.endswith(".parquet") else ("lz4.frame", "cbor2"):
        pytest.importorskip(library)
    whole, refused = (RANX / name).read_bytes(), 0
    for place in range(0, 8 * len(whole), 1 if name.endswith(".lz4") else 23):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        (tmp_path / "a").write_bytes(damaged)
        try:
            read_run(tmp_path / "a")
        except DataError as error:
            refused += 1
            assert str(tmp_path / "a") in str(error) and "\n" not in str(error) and len(str(error)) < 500
    assert refused > 300


def test_bug_a_qid_of_ranx_that_is_a_number_could_not_be_shown(tmp_path):
    cbor2 = pytest.importorskip("cbor2")
    (tmp_path / "a").write_bytes(cbor2.dumps({7: {"a": 1.5, 8: 1}}))
    assert read_run(tmp_path / "a") == {"7": {"a": 1.5, "8": 1.0}}
    (tmp_path / "a").write_bytes(cbor2.dumps({7: {"8": 1.5, 8: 1}}))
    with pytest.raises(DataError, match="document '8' is listed twice for topic '7'"):
        read_run(tmp_path / "a")


def test_a_file_packed_with_lz4_is_unpacked(tmp_path):
    frame = pytest.importorskip("lz4.frame")
    (tmp_path / "a").write_bytes(frame.compress(b"1 Q0 a 1 2 t\n"))
    assert read_run(tmp_path / "a") == {"1": {"a": 2.0}}
    (tmp_path / "a").write_bytes(frame.compress(b"1 Q0 a 1 2 t\n")[:-6])
    with pytest.raises(DataError, match="run cannot be unpacked"):
        read_run(tmp_path / "a")


@pytest.mark.parametrize(
    "text",
    [
        '{"qid":"q1","docid":"a b","grade":1}\n{"qid":"q1","docid":"d2","rel":2}\n{"query_id":"q2","pid":"é","relevance":1.0}',
        '{"q1":{"a b":1,"d2":2},"q2":{"é":1}}',
        "q1\ta b\t1\nq1\td2\t2\nq2\té\t1",
        "q1 0 a b 1\nq1 0 d2 2\nq2 0 é 1",
    ],
)
def test_qrels_are_recognised_by_what_stands_in_them(tmp_path, text):
    (tmp_path / "q").write_text(text)
    assert read_qrels(tmp_path / "q") == QRELS


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"qid":"1","docid":"a","grade":1.5}', "q:1: the grade of document 'a' is 1.5; expected an integer"),
        ('{"qid":"1","docid":"a","grade":true}', "q:1: the grade of document 'a' is True"),
        ('{"qid":"1","docid":"a"}', "q:1: expected an object"),
        ('{"qid":"1","docid":"a","grade":1}\n{"qid":"1","docid":"a","grade":1}', "q:2: document 'a' is judged twice"),
        ('{"1":{"a":"x"}}', "topic '1': the grade of document 'a' is 'x'"),
        ("{}", "no judgements"),
        ("1 0 a 11 0 b 1\n", "q:1: expected 4 fields"),  # a lost line end
        ("1 Q0 a 1 0.5 7", "q:1: expected 4 fields"),  # a run, whose tag would pass for a grade
        ("1 0 a " + "9" * 5000, "q:1: the grade .* is not an integer"),
        ("1 0 a 12\n1 0 b 1", r"q:2: the file stops without a line end, so its last grade, 1, may be a part of 12"),
    ],
)
def test_wrong_qrels_are_named(tmp_path, text, says):
    (tmp_path / "q").write_text(text)
    with pytest.raises(DataError, match=says):
        read_qrels(tmp_path / "q")


def test_a_last_line_of_qrels_without_an_end_is_read_where_nothing_can_be_missing(tmp_path):
    (tmp_path / "q").write_text("1 0 a 2\n1 0 b 1")
    assert read_qrels(tmp_path / "q") == {"1": {"a": 2, "b": 1}}
    (tmp_path / "q").write_text("1 0 a 12\n1 0 b 1\n")
    assert read_qrels(tmp_path / "q") == {"1": {"a": 12, "b": 1}}


@pytest.mark.parametrize("cut", ["q\tQ0\td 1\t5\t2", "q\tQ0\td 1 2\t5", "q\tQ0\td 1\t5\t2.5 tag\n"])
def test_bug_a_line_that_lost_tabs_was_read_as_another_document(tmp_path, cut):
    with pytest.raises(DataError, match="a:2: expected 6 fields"):
        read(tmp_path, "q\tQ0\td 0\t1\t9.5\ttag\n" + cut)
    assert read(tmp_path, "q\tQ0\td\t5\t2.5 tag")[0] == {"q": {"d": 2.5}}  # nothing else it could be


def test_bug_qrels_that_lost_their_last_field_were_read_as_other_judgements(tmp_path):
    for lost, says in (("q\t0\td 0\t", "q:2: expected 4 fields"), ("q\t0\td 0\t\n", "q:2: expected 4 fields")):
        (tmp_path / "q").write_text("q\t0\td 1\t2\n" + lost)
        with pytest.raises(DataError, match=says):
            read_qrels(tmp_path / "q")
    (tmp_path / "q").write_text("q 0 d 1 2\nq 0 d 0")
    with pytest.raises(DataError, match=r"q:2: the file stops .* its last grade, 0, may be a part of 'd 1'"):
        read_qrels(tmp_path / "q")


@pytest.mark.parametrize("text", ["1 Q0 a 1 22 Q0 b 1 2 t\n", "1 Q0 a1 Q0 b 1 2 t\n", "1 Q01 Q0 b 1 2 t\n"])
def test_bug_two_lines_that_lost_what_was_between_them_were_read_as_one_document(tmp_path, text):
    with pytest.raises(DataError, match="a:1: expected 6 fields"):
        read(tmp_path, text)


def test_bug_an_error_carried_an_id_of_any_length(tmp_path):
    for text in ("{0}\td\t3\n", "q Q0 {0} 1 nan t\n", "{0} Q0 {0} 1 1 t\n" * 2, "q\t{0}\t1\nq\te\t1\n"):
        with pytest.raises(DataError) as refused:
            read(tmp_path, text.format("x" * 5000))
        assert len(str(refused.value)) < 500 + len(str(tmp_path))


def test_a_tag_and_a_docid_with_spaces_are_told_apart_where_one_reading_is_left(tmp_path):
    assert read(tmp_path, "q1 Q0 a b 2 1.5 my run\n")[0] == {"q1": {"a b": 1.5}}
    with pytest.raises(DataError, match="a:1: expected 6 fields"):
        read(tmp_path, "q Q0 a b 2 1.5 run 7 3 x y\n")


def test_an_unknown_format_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no format 'trek', did you mean 'trec'"):
        read_run(tmp_path / "a", "trek")
    with pytest.raises(ConfigError, match="no format 'tsv'"):
        read_qrels(tmp_path / "a", "tsv")


def test_qids_that_begin_like_json_stay_text(tmp_path):
    for qid in ("{", "[", "{}", "[1]", '{"a"'):
        for docid in ("d", "d\u00a0e", "d e", "d\x1ce"):
            write_run(tmp_path / "a", {qid: {docid: 1.0}}, tag="t")
            assert read_run(tmp_path / "a") == {qid: {docid: 1.0}}
            write_qrels(tmp_path / "q", {qid: {docid: 1}})
            assert read_qrels(tmp_path / "q") == {qid: {docid: 1}}
