"""`retrieval.collections`: the bundled SciFact, folders in BEIR layout, and every way in which a file can be wrong."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
from pathlib import Path

import pytest

from rankrl.errors import ConfigError, DataError
from rankrl.types import CandidateList, Query
from retrieval.collections import (
    Collection,
    Document,
    candidate_lists,
    load_collection,
    search_without,
    summaries,
)

CORPUS = [
    {"_id": "d1", "title": "Faust", "text": "A tragedy."},
    {"_id": "d2", "title": "", "text": "Nothing else."},
    {"_id": "d3", "text": "No title at all."},
]
QUERIES = [{"_id": "q3", "text": "three"}, {"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"}]


def lines(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(lines(CORPUS))
    (tmp_path / "queries.jsonl").write_text(lines(QUERIES))
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq3\td2\t2\nq3\td1\t0\n")
    return tmp_path


def test_the_bundled_scifact_has_the_recorded_content():
    scifact = load_collection("scifact")
    recorded = scifact.provenance
    for name, digest in recorded["sha256"].items():
        packed = scifact.folder / f"{name}.xz"
        assert hashlib.sha256(lzma.decompress(packed.read_bytes())).hexdigest() == digest, name
    assert len(scifact.corpus) == recorded["documents"] == 5183
    assert len(scifact.queries()) == recorded["queries"] == 1109
    for split, topics in {"train": 809, "test": 300}.items():
        assert len(scifact.queries(split)) == len(scifact.qrels(split)) == recorded["topics"][split] == topics
        assert sum(map(len, scifact.qrels(split).values())) == recorded["judgements"][split]


def test_the_bundled_data_stay_small_and_carry_their_attribution():
    data = load_collection("scifact").folder.parent
    assert sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) < 2_200_000
    text = (data / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert all(word in text for word in ("Wadden", "Attribution 4.0", "Attribution License 1.0", "What was changed"))


def test_scifact_equals_the_distributed_files():
    original = Path(__file__).parents[2] / "shared" / "data" / "scifact"
    if not original.is_dir():
        pytest.skip("the uncompressed SciFact is not here")
    ours, theirs = load_collection("scifact"), load_collection(original)
    assert list(ours.corpus.items()) == list(theirs.corpus.items())
    assert ours.queries() == theirs.queries()
    assert all(ours.qrels(split) == theirs.qrels(split) for split in ("train", "test", "test-unseen"))


def test_unseen_topics_share_no_relevant_document_with_train():
    scifact = load_collection("scifact")
    assert scifact.splits == ("test", "train", "test-unseen", "test-shared")
    unseen, shared = scifact.qrels("test-unseen"), scifact.qrels("test-shared")
    assert (len(unseen), len(shared)) == (104, 196)
    assert {**unseen, **shared} == scifact.qrels("test")
    trained = {d for judged in scifact.qrels("train").values() for d, grade in judged.items() if grade > 0}
    assert not any(trained & {d for d, g in judged.items() if g > 0} for judged in unseen.values())
    assert all(trained & {d for d, g in judged.items() if g > 0} for judged in shared.values())


def test_a_grade_of_zero_in_train_does_not_make_a_test_topic_shared(folder):
    (folder / "qrels" / "train.tsv").write_text("q2\td1\t0\nq2\td2\t1\n")
    collection = load_collection(folder)
    assert list(collection.qrels("test-unseen")) == ["q1"]
    assert list(collection.qrels("test-shared")) == ["q3"]


def test_a_derived_split_without_topics_says_so(folder):
    (folder / "qrels" / "train.tsv").write_text("q2\td3\t1\n")
    with pytest.raises(DataError, match=r"split 'test-shared' of .* has no topic"):
        load_collection(folder).qrels("test-shared")


def test_without_train_nothing_is_derived_and_a_file_beats_a_derived_split(folder):
    assert load_collection(folder).splits == ("test",)
    (folder / "qrels" / "train.tsv").write_text("q2\td1\t1\n")
    (folder / "qrels" / "test-unseen.tsv").write_text("q2\td2\t1\n")
    collection = load_collection(folder)
    assert collection.qrels("test-unseen") == {"q2": {"d2": 1}}
    assert len(collection.splits) == len(set(collection.splits))


def test_a_folder_gives_documents_queries_and_judgements(folder):
    collection = load_collection(str(folder))
    assert collection.name == folder.name
    assert collection.provenance == {}
    assert list(collection.corpus.values()) == [
        Document("d1", "Faust", "A tragedy."),
        Document("d2", "", "Nothing else."),
        Document("d3", "", "No title at all."),
    ]
    assert collection.corpus["d1"].full_text == "Faust A tragedy."
    assert collection.qrels("test") == {"q1": {"d1": 1}, "q3": {"d2": 2, "d1": 0}}


def test_queries_come_in_file_order_and_only_the_judged_ones_of_a_split(folder):
    collection = load_collection(folder)
    assert [query.qid for query in collection.queries("test")] == ["q3", "q1"]
    assert [query.qid for query in collection.queries()] == ["q3", "q1", "q2"]


def test_judgements_and_queries_are_read_without_the_corpus(folder):
    (folder / "corpus.jsonl").write_text("garbage")
    collection = load_collection(folder)
    assert len(collection.queries("test")) == len(collection.qrels("test")) == 2
    with pytest.raises(DataError):
        _ = collection.corpus


@pytest.mark.parametrize("suffix, pack", [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_compressed_files_are_read(folder, suffix, pack):
    plain = load_collection(folder)
    expected = (dict(plain.corpus), plain.queries("test"), plain.qrels("test"))
    for path in [folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / "test.tsv"]:
        path.with_name(path.name + suffix).write_bytes(pack(path.read_bytes()))
        path.unlink()
    packed = load_collection(folder)
    assert (dict(packed.corpus), packed.queries("test"), packed.qrels("test")) == expected


def test_trec_qrels_and_files_without_a_header_are_read(folder):
    (folder / "qrels" / "dev.tsv").write_text("q1\td1\t2\n")
    (folder / "qrels" / "dl.txt").write_text("q2 0 d3 -1\n")
    collection = load_collection(folder)
    assert collection.qrels("dev") == {"q1": {"d1": 2}}
    assert collection.qrels("dl") == {"q2": {"d3": -1}}


def test_integer_ids_become_strings_and_blank_lines_and_a_byte_order_mark_do_not_matter(folder):
    (folder / "corpus.jsonl").write_text('\ufeff{"_id": 7, "text": "seven"}\n\n  \n{"_id": "8", "text": "acht"}\n')
    assert list(load_collection(folder).corpus) == ["7", "8"]


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("{", "corpus.jsonl:2: not JSON"),
        ("[1]", "corpus.jsonl:2: expected a JSON object, got list"),
        ('{"text": "x"}', "corpus.jsonl:2: `_id` is missing"),
        ('{"_id": "", "text": "x"}', "corpus.jsonl:2: `_id` is ''"),
        ('{"_id": null, "text": "x"}', "corpus.jsonl:2: `_id` is None"),
        ('{"_id": true, "text": "x"}', "corpus.jsonl:2: `_id` is True"),
        ('{"_id": "d2"}', "corpus.jsonl:2: `text` is missing"),
        ('{"_id": "d2", "text": 5}', "corpus.jsonl:2: `text` is int"),
        ('{"_id": "d2", "text": "x", "title": []}', "corpus.jsonl:2: `title` is list"),
        ('{"_id": "d1", "text": "x"}', "corpus.jsonl:2: document 'd1' appears twice"),
        ("[" * 100_000, "corpus.jsonl:2: not JSON"),
    ],
)
def test_a_wrong_corpus_line_is_named(folder, line, complaint):
    (folder / "corpus.jsonl").write_text(lines(CORPUS[:1]) + line + "\n")
    with pytest.raises(DataError) as refused:
        _ = load_collection(folder).corpus
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text, complaint",
    [
        (lines([*QUERIES, QUERIES[0]]), "queries.jsonl:4: query 'q3' appears twice"),
        ("", "no queries in"),
        ("\n \n", "no queries in"),
        ('{"_id": "q1"}\n', "queries.jsonl:1: `text` is missing"),
        (lines(QUERIES[1:2]), "1 judged topics of the split 'test' are not in"),
    ],
)
def test_wrong_queries_are_named(folder, text, complaint):
    (folder / "queries.jsonl").write_text(text)
    with pytest.raises(DataError, match=complaint):
        load_collection(folder).queries("test")


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("q1\td1\n", "test.tsv:1: "),
        ("q1\td1\t1\nq1\td2\t0.5\n", "test.tsv:2: .*'0.5'"),
        ("q1\td1\t1\nq1\td1\t1\n", "test.tsv:2: .*'d1'.*twice"),
        ("", "no judgements in"),
    ],
)
def test_wrong_judgements_are_named(folder, text, complaint):
    (folder / "qrels" / "test.tsv").write_text(text)
    with pytest.raises(DataError, match=complaint):
        load_collection(folder).qrels("test")


def test_an_empty_corpus_and_broken_files_are_refused_in_one_line(folder):
    (folder / "corpus.jsonl").write_text("")
    with pytest.raises(DataError, match="no documents in"):
        _ = load_collection(folder).corpus
    (folder / "corpus.jsonl").write_bytes(b'{"_id": "d1", "text": "\xff"}\n')
    with pytest.raises(DataError, match=r"corpus\.jsonl:1: not UTF-8 text: byte 0xff at position 24"):
        _ = load_collection(folder).corpus
    (folder / "corpus.jsonl").unlink()
    for suffix, pack in ((".gz", gzip.compress), (".xz", lzma.compress)):
        packed = folder / f"corpus.jsonl{suffix}"
        for content in (b"not packed", pack(lines({"_id": i, "text": "x"} for i in range(500)).encode())[:-30]):
            packed.write_bytes(content)
            with pytest.raises(DataError, match="cannot be unpacked"):
                _ = load_collection(folder).corpus
        packed.unlink()


def test_unknown_names_get_the_nearest_ones(folder):
    with pytest.raises(ConfigError, match=r"no collection 'scifcat', did you mean 'scifact'\?.*folder in BEIR layout"):
        load_collection("scifcat")
    with pytest.raises(ConfigError, match=r"no split of .* 'tset', did you mean 'test'\?"):
        load_collection(folder).queries("tset")


def test_an_empty_name_is_not_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert load_collection(".").name == folder.name
    with pytest.raises(ConfigError, match="the collection's name is empty"):
        load_collection("")


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_folder_that_is_no_collection_is_refused_at_once(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"has no {name}"):
        load_collection(folder)


def test_one_split_in_two_files_is_refused(folder):
    (folder / "qrels" / "test.txt").write_text("q1 0 d1 1\n")
    with pytest.raises(DataError, match="two files for the split 'test'"):
        _ = load_collection(folder).splits


def test_candidate_lists_follow_the_run_with_ties_by_docid_descending(folder):
    collection = load_collection(folder)
    run = {"q1": {"d1": 1.0, "d2": 1.0, "d3": 2.0}, "other": {"nowhere": 1.0}}
    found, empty = candidate_lists(collection, run, collection.queries("test")[::-1])
    assert found.docids == ("d3", "d2", "d1")
    assert [c.score for c in found.candidates] == [2.0, 1.0, 1.0]
    assert (found.candidates[2].title, found.candidates[2].text) == ("Faust", "A tragedy.")
    assert (empty.query.qid, len(empty)) == ("q3", 0)
    assert candidate_lists(collection, run, [Query("q1", "one")], depth=2)[0].docids == ("d3", "d2")


def test_candidate_lists_refuse_unknown_documents_and_depth_zero(folder):
    collection, queries = load_collection(folder), [Query("q1", "one")]
    with pytest.raises(DataError, match=r"topic 'q1': the run lists document 'd9', which is not in the collection"):
        candidate_lists(collection, {"q1": {"d9": 1.0}}, queries)
    with pytest.raises(ConfigError, match="depth is 0"):
        candidate_lists(collection, {}, queries, depth=0)


def test_summaries_have_one_line_for_each_bundled_collection():
    found = summaries()
    assert "scifact" in found
    assert all(line and "\n" not in line for line in found.values())
    assert all(isinstance(load_collection(name), Collection) for name in found)


class Counting:
    """A retriever that always finds d00, d01, … in that order, and remembers what it was asked."""

    def __init__(self, size: int = 40) -> None:
        self.documents = [Document(f"d{i:02}", "", "x") for i in range(size)]
        self.asked: list[tuple[int, int]] = []

    def search(self, queries, k):
        self.asked.append((len(queries), k))
        found = tuple(d.candidate(float(-i)) for i, d in enumerate(self.documents[:k]))
        return [CandidateList(query, found) for query in queries]


def test_excluded_documents_are_removed_before_the_cut_and_batches_stay_batches():
    queries = [Query(f"q{i}", "x") for i in range(6)]
    exclusions = {
        "q1": frozenset({"d00", "d02", "d39"}),
        "q4": frozenset({"d01"}),
        "q5": frozenset({"d00", "d01", "d05"}),
    }
    retriever = Counting()
    found = search_without(retriever, queries, 3, exclusions)
    assert [listing.query for listing in found] == queries
    assert [listing.docids for listing in found] == [
        ("d00", "d01", "d02"),
        ("d01", "d03", "d04"),
        ("d00", "d01", "d02"),
        ("d00", "d01", "d02"),
        ("d00", "d02", "d03"),
        ("d02", "d03", "d04"),
    ]
    assert sorted(retriever.asked) == [(1, 4), (2, 7), (3, 3)]


def test_a_query_is_searched_equally_deep_whatever_is_searched_with_it():
    queries = [Query(f"q{i}", "x") for i in range(9)]
    exclusions = {query.qid: frozenset(f"d{j:02}" for j in range(i)) for i, query in enumerate(queries)}
    together = search_without(Counting(), queries, 4, exclusions)
    for i, query in enumerate(queries):
        alone = Counting()
        assert search_without(alone, [query], 4, exclusions) == [together[i]]
        assert together[i].docids == tuple(f"d{j:02}" for j in range(i, i + 4))
        assert alone.asked[0][1] >= 4 + i
    with pytest.raises(ConfigError, match="k is 0"):
        search_without(Counting(), queries, 0, {})


def test_the_document_that_is_the_query_is_excluded_as_beir_does(folder):
    (folder / "corpus.jsonl").write_text(lines([*CORPUS, {"_id": "q1", "text": "one"}]))
    collection = load_collection(folder)
    assert collection.exclusions("test") == collection.exclusions() == {"q1": frozenset({"q1"})}
    assert collection.facts("test")["identical_ids"] == {"topics": 1, "removed": True}
    assert collection.facts("test")["excluded"] == 1
    run = {"q1": {"q1": 9.0, "d1": 2.0, "d2": 1.0}}
    (found,) = candidate_lists(collection, run, [Query("q1", "one")], 1, exclusions=collection.exclusions("test"))
    assert found.docids == ("d1",)


def test_what_is_excluded_from_a_run_costs_no_look_at_the_corpus(folder):
    collection = load_collection(folder)
    assert collection.exclusions("test") == {}
    (folder / "corpus.jsonl").write_text("garbage")
    assert load_collection(folder).exclusions("test", in_corpus=False) == {q: frozenset({q}) for q in ("q1", "q3")}


def test_equal_ids_that_mean_nothing_remove_nothing(folder):
    """Cranfield numbers its queries and its documents from 1: there document 40 is relevant to query 40."""
    (folder / "corpus.jsonl").write_text(lines([*CORPUS, {"_id": "q1", "text": "x"}, {"_id": "q3", "text": "y"}]))
    (folder / "qrels" / "dev.tsv").write_text("q3\tq3\t1\n")
    collection = load_collection(folder)
    assert collection.exclusions("test") == {}
    assert collection.facts("test")["identical_ids"] == {"topics": 2, "removed": False}


def test_a_folder_may_say_that_equal_ids_mean_nothing(folder):
    (folder / "corpus.jsonl").write_text(lines([*CORPUS, {"_id": "q1", "text": "one"}]))
    (folder / "collection.json").write_text('{"identical_ids": "keep"}')
    assert load_collection(folder).exclusions("test") == {}
    (folder / "collection.json").write_text('{"identical_ids": "perhaps"}')
    with pytest.raises(DataError, match="`identical_ids` is 'perhaps'; expected 'remove' or 'keep'"):
        load_collection(folder).exclusions("test")


def test_facts_count_and_hash_what_a_run_was_made_of(folder):
    collection = load_collection(folder)
    facts = collection.facts("test")
    assert json.loads(json.dumps(facts)) == facts
    assert facts == {
        "name": folder.name,
        "split": "test",
        "documents": 3,
        "queries": 2,
        "topics": 2,
        "judgements": 3,
        "relevant": 2,
        "grades": [0, 1, 2],
        "judged_outside": 0,
        "excluded": 0,
        "qrels_sha256": hashlib.sha256(b"q1\x1fd1\x1f1\x1f\x1eq3\x1fd1\x1f0\x1f\x1eq3\x1fd2\x1f2\x1f\x1e").hexdigest(),
        "queries_sha256": hashlib.sha256(b"q1\x1fone\x1f\x1eq3\x1fthree\x1f\x1e").hexdigest(),
        "sha256": {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
        },
    }
    every = collection.facts(None)
    assert (every["queries"], every["split"], "topics" in every) == (3, None, False)


def test_the_facts_of_a_derived_split_name_every_file_that_decides_it():
    facts = load_collection("scifact").facts("test-unseen")
    assert (facts["topics"], facts["documents"], facts["excluded"]) == (104, 5183, 0)
    recorded = load_collection("scifact").provenance["sha256"]
    assert facts["sha256"] == recorded
    assert facts["licence"] == load_collection("scifact").provenance["licence"]
    assert facts["qrels_sha256"] != load_collection("scifact").facts("test")["qrels_sha256"]


def test_judged_documents_that_the_corpus_lacks_are_counted(folder):
    (folder / "qrels" / "test.tsv").write_text("q1\td1\t1\nq1\td9\t1\nq3\td9\t0\n")
    assert load_collection(folder).facts("test")["judged_outside"] == 1


@pytest.fixture
def on_disk(monkeypatch):
    """Every uncompressed corpus counts as large."""
    monkeypatch.setattr("retrieval.collections._beir.LARGE_BYTES", 0)


def test_a_large_corpus_stays_on_disk_and_is_the_same(folder, on_disk, monkeypatch):
    collection = load_collection(folder)
    assert not isinstance(collection.corpus, dict)
    expected = [
        Document("d1", "Faust", "A tragedy."),
        Document("d2", "", "Nothing else."),
        Document("d3", "", "No title at all."),
    ]
    assert list(collection.documents()) == list(load_collection(folder).documents()) == expected
    assert list(collection.corpus.items()) == [(document.docid, document) for document in expected]
    assert len(collection.corpus) == len(collection.corpus.values()) == 3
    assert [collection.corpus[docid] for docid in ("d3", "d1")] == [expected[2], expected[0]]
    assert "d4" not in collection.corpus and collection.corpus.get("d4") is None
    assert collection.facts("test")["documents"] == 3


def test_docids_that_share_a_hash_are_told_apart(folder, on_disk, monkeypatch):
    monkeypatch.setattr("retrieval.collections._stored._hash", lambda docid: 7)
    corpus = load_collection(folder).corpus
    assert [corpus[docid].docid for docid in ("d1", "d2", "d3")] == ["d1", "d2", "d3"]
    assert "d4" not in corpus
    (folder / "corpus.jsonl").write_text(lines([*CORPUS, CORPUS[1]]))
    with pytest.raises(DataError, match=r"corpus\.jsonl:4: document 'd2' appears twice"):
        _ = load_collection(folder).corpus
    with pytest.raises(DataError, match=r"corpus\.jsonl:4: document 'd2' appears twice"):
        next(load_collection(folder).documents())
