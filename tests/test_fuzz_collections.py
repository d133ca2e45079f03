"""Broken collection files: one line that names the line, or exactly what an independent reading of the file gives."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rankrl.errors import DataError
from retrieval.collections import Collection, Document, _beir, _rows, load_collection

CORPUS = [{"_id": f"d{i}", "title": "Tïtle" if i % 2 else "", "text": f'text {i} ünd mehr \\ " 語'} for i in range(8)]
QUERIES = [{"_id": f"q{i}", "text": f"query {i} — ä"} for i in range(5)]
QRELS = "query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i + j}\t{j}\n" for i in range(5) for j in range(3))
FILES = {
    "corpus.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in CORPUS).encode(),
    "queries.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in QUERIES).encode(),
    "qrels/test.tsv": QRELS.encode(),
}
LOCATED = re.compile(r"(corpus\.jsonl|queries\.jsonl|test\.tsv)(:\d+)?")

MUTATIONS = ("cut", "byte", "insert", "swap", "double", "drop", "crlf", "bom", "nul", "tab", "null", "nan", "join")


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content after one to three things that happen to files."""
    for _ in range(rng.randint(1, 3)):
        lines = content.split(b"\n")
        line, position = rng.randrange(len(lines)), rng.randrange(len(content) + 1)
        match rng.choice(MUTATIONS):
            case "cut":
                content = content[:position]
            case "byte":
                content = content[:position] + bytes([rng.randrange(256)]) + content[position + 1 :]
            case "insert":
                content = (
                    content[:position] + bytes([rng.choice(b'\x00\x80\xff\t\r\n "{}[],:\\0')]) + content[position:]
                )
            case "swap":
                other = rng.randrange(len(lines))
                lines[line], lines[other] = lines[other], lines[line]
                content = b"\n".join(lines)
            case "double":
                content = b"\n".join([*lines[:line], lines[line], *lines[line:]])
            case "drop":
                content = b"\n".join([*lines[:line], *lines[line + 1 :]])
            case "crlf":
                content = content.replace(b"\n", b"\r\n")
            case "bom":
                content = b"\xef\xbb\xbf" + content
            case "nul":
                content = content[:position] + b"\0" + content[position:]
            case "tab":
                content = content.replace(b"\t", rng.choice([b" ", b"  ", b",", b"\t\t"]))
            case "null":
                content = content.replace(b'"text": "', b'"text": null, "x": "', 1)
            case "nan":
                content = re.sub(
                    rb"\t(\d)\n", rng.choice([b"\tNaN\n", b"\tinf\n", b"\t1.5\n", b"\t\n"]), content, count=1
                )
            case "join":
                content = content.replace(b"\n", b"", 1)
        if not content:
            return content
    return content


def by_hand(name: str, content: bytes) -> object:
    """What the file says, read as plainly as can be; a KeyError, TypeError or ValueError where it says nothing."""
    text = content.decode("utf-8").removeprefix("\ufeff")
    if name.endswith(".tsv"):  # read as text files are, where a carriage return ends a line too
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = [line for line in text.split("\n") if line.strip()]
    if name.endswith(".jsonl"):
        found = {}
        for line in lines:
            pairs = json.loads(line, object_pairs_hook=list)
            row = dict(pairs)
            if len(row) < len(pairs) or row["_id"] in found:
                raise ValueError("twice")
            found[str(row["_id"])] = (row.get("title") or "", row["text"])
        return found
    rows = [[field.strip(" \r\f\v") for field in line.split("\t")] for line in lines if not line.startswith("#")]
    qrels: dict[str, dict[str, int]] = {}
    for number, fields in enumerate(rows):
        if number == 0 and fields[-1] in ("score", "relevance", "rel", "label"):
            continue
        judged = qrels.setdefault(fields[0], {})
        if fields[-2] in judged:
            raise ValueError("twice")
        judged[fields[-2]] = int(fields[-1])
    return qrels


def read(collection: Collection, name: str) -> object:
    if name == "corpus.jsonl":
        documents = list(collection.documents())
        assert {d.docid: d for d in documents} == dict(collection.corpus)
        return {d.docid: (d.title, d.text) for d in documents}
    if name == "queries.jsonl":
        return {q.qid: ("", q.text) for q in collection.queries()}
    return collection.qrels("test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("fuzzed")
    (made / "qrels").mkdir()
    for name, content in FILES.items():
        (made / name).write_bytes(content)
    return made


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_broken_file_is_one_line_with_its_place_or_what_it_says(folder, name):
    rng, refused, accepted = random.Random(name), 0, 0
    for _ in range(800):
        content = mutated(FILES[name], rng)
        (folder / name).write_bytes(content)
        try:
            found = read(load_collection(folder), name)
        except DataError as error:
            refused += 1
            message = str(error)
            assert "\n" not in message and len(message) < 700
            assert LOCATED.search(message), message
            assert LOCATED.search(message)[2] or message.startswith("no "), (
                message
            )  # a line, or: there is nothing in it
        else:
            accepted += 1
            assert found == by_hand(name, content), content
    (folder / name).write_bytes(FILES[name])
    assert refused > 200 and accepted > 100, (refused, accepted)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
IDENTIFIER = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="#"), min_size=1, max_size=8
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.dictionaries(IDENTIFIER, st.tuples(TEXT, TEXT), min_size=1, max_size=6),
    ascii_only=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", "\n\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_every_document_comes_back_as_it_was_written(tmp_path, rows, ascii_only, end, mark):
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "x"}\n')
    body = [json.dumps({"_id": i, "title": t, "text": x}, ensure_ascii=ascii_only) for i, (t, x) in rows.items()]
    (tmp_path / "corpus.jsonl").write_bytes((mark + end.join(body)).encode())
    expected = [Document(docid, title, text) for docid, (title, text) in rows.items()]
    collection = load_collection(tmp_path)
    assert list(collection.documents()) == list(collection.corpus.values()) == expected
    stored = _beir.StoredCorpus(
        tmp_path / "corpus.jsonl", lambda line, where: _beir.document_of(where, _rows.parsed(line, where))
    )
    assert list(stored.values()) == expected and list(stored) == [d.docid for d in expected]
    assert [stored[document.docid] for document in expected] == expected and "nowhere at all" not in stored


@pytest.mark.parametrize("kind", ["wide", "endless"])
def test_huge_lines(folder, kind, monkeypatch):
    monkeypatch.setattr(_rows, "LONGEST_LINE_BYTES", 1 << 20)
    wide = json.dumps({"_id": "wide", "text": "x" * ((1 << 20) - 40 if kind == "wide" else 3 << 20)})
    (folder / "corpus.jsonl").write_bytes(FILES["corpus.jsonl"] + wide.encode() + b"\n")
    collection = load_collection(folder)
    if kind == "wide":
        assert len(collection.corpus["wide"].text) == (1 << 20) - 40
    else:
        with pytest.raises(DataError, match=r"corpus\.jsonl:9: the line is longer than 1 MiB"):
            _ = collection.corpus
    (folder / "corpus.jsonl").write_bytes(FILES["corpus.jsonl"])


@pytest.mark.parametrize(
    "line, complaint",
    [
        (b'{"_id": "d\\ud800", "text": "x"}', "`_id` is 'd\\ud800'; an id may not hold"),
        (b'{"_id": "d9", "text": "half \\udfff"}', "`text` holds half a surrogate pair"),
        (b'{"_id": "d9", "title": "\\ud83d", "text": "x"}', "`title` holds half a surrogate pair"),
        (b'{"_id": "d\\t9", "text": "x"}', "an id may not hold"),
        (b'{"_id": "d9 ", "text": "x"}', "an id may not hold"),
        (b'{"_id": "d\\u00009", "text": "x"}', "an id may not hold"),
        (b'{"_id": NaN, "text": "x"}', "`_id` is nan"),
        (b'{"_id": 1.0, "text": "x"}', "`_id` is 1.0"),
        (b'{"_id": "d9", "text": Infinity}', "`text` is float"),
        (b'{"_id": "d9", "text": "\xe9"}', "not UTF-8 text: byte 0xe9 at position 24"),
        (b'{"_id": "d9", "text": "x"', "not JSON"),
        (b'{"_id": "d9", "text": "x"} {"_id": "d10", "text": "y"}', "not JSON: Extra data"),
        (b'{"_id": "d0", "text": "again"}', "document 'd0' appears twice"),
        (b'{"_id": "d9", "text": "one", "text": "another"}', "the key 'text' stands twice in one object"),
    ],
)
@pytest.mark.parametrize("stored", [False, True], ids=["in memory", "on disk"])
def test_what_is_wrong_is_told_with_its_line_in_memory_and_on_disk(folder, monkeypatch, line, complaint, stored):
    monkeypatch.setattr(_beir, "LARGE_BYTES", 0 if stored else 1 << 30)
    (folder / "corpus.jsonl").write_bytes(FILES["corpus.jsonl"] + b"\r\n" + line + b"\n")
    with pytest.raises(DataError) as refused:
        _ = load_collection(folder).corpus
    (folder / "corpus.jsonl").write_bytes(FILES["corpus.jsonl"])
    assert "corpus.jsonl:10: " in str(refused.value) and complaint in str(refused.value)


def test_a_docid_with_spaces_is_kept_and_a_qid_with_spaces_refused(folder):
    (folder / "corpus.jsonl").write_bytes(b'{"_id": "a page/of two words", "text": "x"}\n')
    assert list(load_collection(folder).corpus) == ["a page/of two words"]
    (folder / "corpus.jsonl").write_bytes(FILES["corpus.jsonl"])
    (folder / "queries.jsonl").write_bytes(b'{"_id": "two words", "text": "x"}\n')
    with pytest.raises(DataError, match=r"queries\.jsonl:1: `_id` is 'two words'; an id may not hold white space"):
        load_collection(folder).queries()
    (folder / "queries.jsonl").write_bytes(FILES["queries.jsonl"])
