"""Collections that are no BEIR folder: each loader on small files of the format that it would download."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rankrl.errors import ConfigError, DataError
from rankrl.types import CandidateList, Query
from retrieval.collections import Document, load_collection, search_without

pytest.importorskip("ir_datasets", reason="ir_datasets is not installed (extra collections)")


def lines(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


# --- ir_datasets: a home with the files that its downloads leave there ---------------------------------------------------

BEIR_CORPUS = [
    {"_id": "d1", "title": "Faust", "text": "A tragedy.", "metadata": {"url": "u"}},
    {"_id": "d2", "title": "", "text": "Nothing else.", "metadata": {"url": "u"}},
    {"_id": "q1", "title": "", "text": "one", "metadata": {"url": "u"}},
]
BEIR_QUERIES = [
    {"_id": f"q{i}", "text": text, "metadata": {"url": "u"}} for i, text in ((3, "three"), (1, "one"), (2, "two"))
]
ASK = """
import json, sys
from retrieval.collections import load_collection
def everything(name):
    c = load_collection(name)
    return {
        "splits": c.splits,
        "corpus": [[d.docid, d.title, d.text] for d in c.documents()],
        "values": [d.docid for d in c.corpus.values()],
        "keys": list(c.corpus), "len": len(c.corpus), "has": ["d1" in c.corpus, "7" in c.corpus, "nowhere" in c.corpus],
        "queries": {s: [[q.qid, q.text] for q in c.queries(s)] for s in c.splits if not s.endswith(("-unseen", "-shared"))},
        "all": [q.qid for q in c.queries()],
        "qrels": {s: c.qrels(s) for s in c.splits if not s.endswith(("-unseen", "-shared"))},
        "exclusions": {q: sorted(d) for q, d in c.exclusions().items()},
        "facts": {s: c.facts(s) for s in c.splits if not s.endswith(("-unseen", "-shared"))},
    }
print(json.dumps({name: everything(name) for name in sys.argv[1:]}))
"""


def asked(home: Path, *names: str, code: str = ASK) -> subprocess.CompletedProcess[str]:
    """In a process of its own: ir_datasets decides at import where its files are."""
    environment = {**os.environ, "IR_DATASETS_HOME": str(home), "IR_DATASETS_TMP": str(home / "tmp")}
    environment |= {
        "IR_DATASETS_DL_TRIES": "1",
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }
    return subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, env=environment, timeout=120
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("ir_datasets")
    for name, splits in (("nfcorpus", ("train", "dev", "test")), ("arguana", ("test",))):
        (made / "beir" / name).mkdir(parents=True)
        with zipfile.ZipFile(made / "beir" / name / "source.zip", "w") as packed:
            packed.writestr(f"{name}/corpus.jsonl", lines(BEIR_CORPUS))
            packed.writestr(f"{name}/queries.jsonl", lines(BEIR_QUERIES))
            for i, split in enumerate(splits, start=1):
                packed.writestr(
                    f"{name}/qrels/{split}.tsv", f"query-id\tcorpus-id\tscore\nq{i}\td1\t{i}\nq{i}\td2\t0\n"
                )
    passages = made / "msmarco-passage"
    (passages / "trec-dl-2019").mkdir(parents=True)
    (passages / "trec-dl-2020").mkdir()
    (passages / "dev" / "small").mkdir(parents=True)
    (passages / "train").mkdir()
    (passages / "irds_version.txt").write_text("v2")
    (passages / "collection.tsv").write_text("".join(f"{i}\tpassage {i}\n" for i in range(12)))
    (passages / "trec-dl-2019" / "queries.tsv").write_text("7\tseven\n5\tfive\n6\tsix\n")
    (passages / "trec-dl-2019" / "qrels").write_text("7 Q0 7 3\n7 Q0 2 0\n5 Q0 3 1\n")
    (passages / "trec-dl-2020" / "queries.tsv.gz").write_bytes(gzip.compress(b"8\teight\n9\tnine\n"))
    (passages / "trec-dl-2020" / "qrels").write_text("8 0 1 2\n")
    (passages / "dev" / "small" / "queries.tsv").write_text("1\tone\n")
    (passages / "dev" / "small" / "qrels").write_text("1\t0\t4\t1\n")
    (passages / "dev" / "queries.tsv").write_text("1\tone\n2\ttwo\n")
    (passages / "dev" / "qrels").write_text("1\t0\t4\t1\n2\t0\t5\t1\n")
    (passages / "train" / "queries.tsv").write_text("3\tthree\n4\tfour\n")
    (passages / "train" / "qrels").write_text("3\t0\t4\t1\n4\t0\t9\t1\n")
    return made


@pytest.fixture(scope="module")
def found(home):
    done = asked(home, "beir:nfcorpus", "beir:arguana", "msmarco", "trec-dl-19", "trec-dl-20", "irds:beir/arguana")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_set_of_beir_has_its_splits_titles_and_the_query_among_the_documents(found):
    for name in ("beir:nfcorpus", "beir:arguana"):
        one = found[name]
        assert one["corpus"] == [["d1", "Faust", "A tragedy."], ["d2", "", "Nothing else."], ["q1", "", "one"]]
        assert one["values"] == one["keys"] == ["d1", "d2", "q1"]
        assert (one["len"], one["has"]) == (3, [True, False, False])
        assert one["all"] == ["q3", "q1", "q2"]
        assert one["exclusions"] == {"q1": ["q1"]}
    assert [s for s in found["beir:nfcorpus"]["splits"] if "-" not in s] == ["dev", "test", "train"]
    assert found["beir:nfcorpus"]["qrels"] == {
        "train": {"q1": {"d1": 1, "d2": 0}},
        "dev": {"q2": {"d1": 2, "d2": 0}},
        "test": {"q3": {"d1": 3, "d2": 0}},
    }
    assert found["beir:nfcorpus"]["queries"]["test"] == [["q3", "three"]]
    assert found["beir:arguana"]["splits"] == ["test"]


def test_the_same_set_by_its_id_keeps_documents_with_the_querys_id(found):
    assert found["irds:beir/arguana"]["exclusions"] == {}
    assert found["irds:beir/arguana"]["qrels"] == found["beir:arguana"]["qrels"]


def test_ms_marco_has_the_splits_that_are_reported_and_numbers_that_mean_nothing(found):
    one = found["msmarco"]
    assert [s for s in one["splits"] if not s.endswith(("-unseen", "-shared"))] == ["train", "dev", "dev-full"]
    assert one["qrels"] == {
        "train": {"3": {"4": 1}, "4": {"9": 1}},
        "dev": {"1": {"4": 1}},
        "dev-full": {"1": {"4": 1}, "2": {"5": 1}},
    }
    assert one["exclusions"] == {}
    assert one["len"] == 12 and one["corpus"][7] == ["7", "", "passage 7"]
    assert one["facts"]["dev"]["grades"] == [1]
    assert "binary_from" not in one["facts"]["dev"]


def test_trec_deep_learning_has_its_judged_topics_only_and_says_where_binary_measures_begin(found):
    one = found["trec-dl-19"]
    assert one["splits"] == ["test"]
    assert one["queries"]["test"] == [["7", "seven"], ["5", "five"]]
    assert one["all"] == ["7", "5", "6"]
    assert one["qrels"]["test"] == {"7": {"7": 3, "2": 0}, "5": {"3": 1}}
    assert one["exclusions"] == {}
    facts = one["facts"]["test"]
    assert (facts["topics"], facts["binary_from"], facts["grades"]) == (2, 2, [0, 1, 3])
    assert facts["ir_datasets"]["test"] == "msmarco-passage/trec-dl-2019/judged"
    assert found["trec-dl-20"]["qrels"] == {"test": {"8": {"1": 2}}}
    assert found["trec-dl-20"]["queries"]["test"] == [["8", "eight"]]


def test_what_cannot_be_downloaded_is_one_sentence_with_the_folder(home):
    code = "from rankrl.cli import main; raise SystemExit(main(['retrieve', 'bm25', '--collection', 'beir:fiqa']))"
    done = asked(home, code=code)
    assert done.returncode == 1
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("rankrl: error:")]
    assert "of beir/fiqa/test cannot be read through ir_datasets" in said and str(home) in said
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "name, complaint",
    [
        ("beir:nfcorpsu", "no collection of BEIR 'nfcorpsu', did you mean 'nfcorpus"),
        ("beir:cqadupstack", "no collection of BEIR 'cqadupstack'"),
        ("irds:vaswanni", "no ir_datasets collection 'vaswanni', did you mean 'vaswani'"),
        ("irds:beir", "no ir_datasets collection with documents 'beir'"),
        ("beir:", "'beir:' names no collection"),
        ("bright:/no/such/folder#biology", "there is no folder '/no/such/folder'"),
    ],
)
def test_a_name_that_means_nothing_is_refused_when_it_is_given(name, complaint):
    with pytest.raises(ConfigError, match=complaint):
        load_collection(name)


def test_a_data_set_of_ones_own_is_read_and_its_contradictions_refused(tmp_path):
    import ir_datasets

    (tmp_path / "docs.tsv").write_text("d1\tfirst text\nd2\tsecond text\n")
    (tmp_path / "queries.tsv").write_text("q1\tone\nq2\ttwo\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d1 1\nq1 0 d1 1\nq2 0 d2 2\n")
    made = ir_datasets.create_dataset(
        docs_tsv=tmp_path / "docs.tsv", queries_tsv=tmp_path / "queries.tsv", qrels_trec=tmp_path / "qrels.txt"
    )
    name = f"rankrl-{tmp_path.name}"
    ir_datasets.registry.register(name, made)
    collection = load_collection(f"irds:{name}")
    assert collection.qrels("test") == {"q1": {"d1": 1}, "q2": {"d2": 2}}
    assert collection.corpus["d2"] == Document("d2", "", "second text")
    assert "d3" not in collection.corpus
    (tmp_path / "qrels.txt").write_text("q1 0 d1 1\nq1 0 d1 2\n")
    with pytest.raises(DataError, match="document 'd1' has two grades for topic 'q1': 1 and 2"):
        load_collection(f"irds:{name}").qrels("test")
    (tmp_path / "qrels.txt").write_text("q1 0 d1\n")
    with pytest.raises(DataError, match=f"the judgements of {name} cannot be read through ir_datasets") as refused:
        load_collection(f"irds:{name}").qrels("test")
    assert "\n" not in str(refused.value)


# --- BRIGHT --------------------------------------------------------------------------------------------------------------

TASK = [{"id": name, "content": f"text of {name}"} for name in ("e1", "g1", "x", "g2", "1")]
EXAMPLES = [
    {
        "id": "0",
        "query": "why?",
        "reasoning": "",
        "excluded_ids": ["e1"],
        "gold_ids": ["g1", "g2"],
        "gold_ids_long": ["g"],
    },
    {"id": "1", "query": "how?", "reasoning": "", "excluded_ids": ["N/A"], "gold_ids": ["x"], "gold_ids_long": ["g"]},
]


def planted(folder: Path, tables: dict[str, dict[str, list]], *, kind: str = "parquet") -> Path:
    """CONFIG/SPLIT-00000-of-00001.parquet as the hub has them, or CONFIG/SPLIT.jsonl."""
    import datasets

    for config, splits in tables.items():
        (folder / config).mkdir(parents=True)
        for split, rows in splits.items():
            table = datasets.Dataset.from_list(rows)
            if kind == "parquet":
                table.to_parquet(folder / config / f"{split}-00000-of-00001.parquet")
            else:
                table.to_json(folder / config / f"{split}.jsonl")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """What `datasets` unpacks goes to a folder of the test's own."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture
def bright(tmp_path) -> Path:
    rewritten = [{**row, "query": f"{row['query']} because"} for row in EXAMPLES]
    return planted(
        tmp_path / "BRIGHT",
        {
            "documents": {"biology": TASK, "pony": [{"id": "p", "content": "pony"}]},
            "examples": {"biology": EXAMPLES, "pony": EXAMPLES[1:]},
            "gpt4_reason": {"biology": rewritten},
            "long_documents": {"biology": [{"id": "g", "content": "a page"}]},
        },
    )


class InOrder:
    """Finds every document, in the order of the corpus."""

    def __init__(self, collection) -> None:
        self.documents = list(collection.documents())

    def search(self, queries, k):
        candidates = tuple(d.candidate(float(-i)) for i, d in enumerate(self.documents[:k]))
        return [CandidateList(query, candidates) for query in queries]


def test_bright_excludes_before_the_cut(bright):
    """The example of specs: gold g1, g2 and excluded e1 in e1, g1, x, g2 give nDCG .6509 when e1 stays, .9197 without it."""
    import ir_measures

    collection = load_collection(f"bright:{bright}#biology")
    assert collection.qrels("test") == {"0": {"g1": 1, "g2": 1}, "1": {"x": 1}}
    assert collection.exclusions("test") == {"0": frozenset({"e1"})}  # document 1 is no copy of query 1
    assert collection.corpus["g1"] == Document("g1", "", "text of g1")
    queries = collection.queries("test")
    first, second = search_without(InOrder(collection), queries, 3, collection.exclusions("test"))
    assert (first.docids, second.docids) == (("g1", "x", "g2"), ("e1", "g1", "x"))
    gold = {"0": collection.qrels("test")["0"]}

    def ndcg(listing):
        run = {"0": {docid: -i for i, docid in enumerate(listing.docids)}}
        return ir_measures.calc_aggregate([ir_measures.nDCG @ 10], gold, run)[ir_measures.nDCG @ 10]

    assert ndcg(first) == pytest.approx(0.919721, abs=1e-6)
    assert ndcg(InOrder(collection).search(queries, 4)[0]) == pytest.approx(0.650921, abs=1e-6)


def test_bright_has_long_documents_and_rewritten_queries(bright):
    long = load_collection(f"bright:{bright}#biology-long")
    assert list(long.corpus) == ["g"]
    assert long.qrels("test") == {"0": {"g": 1}, "1": {"g": 1}}
    rewritten = load_collection(f"bright:{bright}#biology+gpt4_reason")
    assert [query.text for query in rewritten.queries("test")] == ["why? because", "how? because"]
    facts = rewritten.facts("test")
    assert (facts["task"], facts["queries_from"], facts["excluded"]) == ("biology", "gpt4_reason", 1)
    assert facts["sha256"] == {
        f"{config}/biology-00000-of-00001.parquet": hashlib.sha256(
            (bright / config / "biology-00000-of-00001.parquet").read_bytes()
        ).hexdigest()
        for config in ("documents", "gpt4_reason")
    }


def test_every_excluded_document_of_bright_is_counted_once(bright):
    several = planted(
        bright.parent / "several",
        {
            "documents": {"pony": TASK},
            "examples": {"pony": [{**EXAMPLES[0], "excluded_ids": ["e1", "N/A", "x", "e1"]}]},
        },
    )
    collection = load_collection(f"bright:{several}#pony")
    assert collection.exclusions("test") == collection.exclusions() == {"0": frozenset({"e1", "x"})}
    assert collection.facts("test")["excluded"] == 2


def test_bright_says_which_tasks_there_are_and_what_contradicts_itself(bright):
    with pytest.raises(ConfigError, match="no task of BRIGHT 'biologie', did you mean 'biology'"):
        load_collection(f"bright:{bright}#biologie").queries("test")
    with pytest.raises(ConfigError, match=r"no table of .* 'gpt5_reason', did you mean 'gpt4_reason'"):
        load_collection(f"bright:{bright}#biology+gpt5_reason").queries("test")
    both = planted(
        bright.parent / "both",
        {"documents": {"pony": TASK}, "examples": {"pony": [{**EXAMPLES[0], "excluded_ids": ["g2"]}]}},
    )
    with pytest.raises(DataError, match=r"examples, pony, row 1: \['g2'\] are relevant to '0' and excluded for it"):
        load_collection(f"bright:{both}#pony").exclusions("test")


# --- Hugging Face data sets in BEIR's layout -----------------------------------------------------------------------------

HUB_TABLES = {
    "corpus": {"corpus": [{"_id": "d1", "title": "Faust", "text": "A."}, {"_id": "q2", "title": None, "text": "B."}]},
    "queries": {"queries": [{"_id": "q2", "text": "two"}, {"_id": "q1", "text": "one"}]},
}
HUB_QRELS = {
    "train": [{"query-id": "q2", "corpus-id": "d1", "score": 1.0}],
    "test": [{"query-id": "q1", "corpus-id": "d1", "score": 2.0}, {"query-id": "q1", "corpus-id": "q2", "score": 0.0}],
}


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("where", ["qrels", "default", "beside"])
def test_a_hub_data_set_in_beirs_layout(tmp_path, kind, where):
    folder = planted(tmp_path / "set", {**HUB_TABLES, **({} if where == "beside" else {where: HUB_QRELS})}, kind=kind)
    if where == "beside":
        planted(tmp_path / "set-qrels", {"default": HUB_QRELS}, kind=kind)
    collection = load_collection(f"hf:{folder}")
    assert collection.splits == ("test", "train", "test-unseen", "test-shared")
    assert collection.qrels("test") == {"q1": {"d1": 2, "q2": 0}}
    assert list(collection.qrels("test-shared")) == ["q1"]
    assert list(collection.corpus.values()) == [Document("d1", "Faust", "A."), Document("q2", "", "B.")]
    assert list(collection.corpus.items())[1][0] == "q2" and collection.corpus["q2"].text == "B."
    assert "q1" not in collection.corpus and len(collection.corpus) == 2
    assert [query.qid for query in collection.queries()] == ["q2", "q1"]
    assert collection.exclusions() == {"q2": frozenset({"q2"})}
    facts = collection.facts("test")
    assert (facts["documents"], facts["topics"], facts["judgements"]) == (2, 1, 2)
    assert json.loads(json.dumps(facts)) == facts
    judged = facts["judgements_from"] if where == "beside" else facts
    assert len({**facts["sha256"], **judged["sha256"]}) == 3
    assert facts["source"] == "datasets: set"


@pytest.mark.parametrize(
    "change, complaint",
    [
        (
            {"qrels": {"test": [{"query-id": "q1", "corpus-id": "d1", "score": 0.5}]}},
            "qrels, test, row 1: the grade is 0.5",
        ),
        ({"qrels": {"test": HUB_QRELS["test"][:1] * 2}}, "row 2: document 'd1' is judged twice for topic 'q1'"),
        ({"qrels": {"test": [{"query-id": "q1", "score": 1}]}}, "row 1: `corpus-id` is missing"),
        (
            {"corpus": {"corpus": [{"_id": "d1", "text": "x"}] * 2}},
            "corpus, corpus, row 2: document 'd1' appears twice",
        ),
        ({"corpus": {"corpus": [{"id": "d1", "text": "x"}]}}, "no column '_id'; there are"),
        ({"corpus": {"corpus": [{"_id": "d1", "text": None}]}}, "row 1: `text` is NoneType"),
        (
            {"queries": {"queries": [{"_id": "q1", "text": "x"}] * 2}},
            "queries, queries, row 2: query 'q1' appears twice",
        ),
    ],
)
def test_wrong_tables_are_named_with_table_split_and_row(tmp_path, change, complaint):
    tables = {**HUB_TABLES, "qrels": {"test": HUB_QRELS["test"]}, **change}
    collection = load_collection(f"hf:{planted(tmp_path / 'set', tables)}")
    with pytest.raises(DataError) as refused:
        _ = list(collection.documents()), collection.qrels("test"), collection.queries("test")
    assert complaint in str(refused.value) and "\n" not in str(refused.value)


def test_a_readme_that_describes_no_tables_is_not_in_the_way_and_a_broken_one_is_named(tmp_path, capfd):
    folder = planted(tmp_path / "set", {**HUB_TABLES, "qrels": HUB_QRELS}, kind="jsonl")
    for text in ("", "# About\n", "---\nlicense: mit\n---\n# About\n"):
        (folder / "README.md").write_text(text)
        capfd.readouterr()
        assert load_collection(f"hf:{folder}").splits == ("test", "train", "test-unseen", "test-shared")
        assert capfd.readouterr() == ("", "")
    (folder / "README.md").write_text("---\nconfigs:\n- name: corpus\n---\n")
    with pytest.raises(DataError, match=r"README\.md cannot be loaded with `datasets`: .*config_name"):
        _ = load_collection(f"hf:{folder}").splits


def test_files_that_are_no_tables_and_sets_that_are_not_there_are_one_sentence(tmp_path):
    folder = planted(tmp_path / "set", {**HUB_TABLES, "qrels": HUB_QRELS})
    (folder / "corpus" / "corpus-00000-of-00001.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DataError, match="corpus, corpus cannot be loaded with `datasets`") as refused:
        _ = load_collection(f"hf:{folder}").corpus
    assert "\n" not in str(refused.value)
    with pytest.raises(DataError, match="there is no folder /no/such/set"):
        _ = load_collection("hf:/no/such/set").splits
    with pytest.raises(DataError, match=r"the hub does not answer for the data set nobody/nothing: .*hf download"):
        _ = load_collection("hf:nobody/nothing").splits  # offline, as all tests


# --- lines of {query, passages, grades} -----------------------------------------------------------------------------------

LINES = [
    {
        "query": "who wrote faust?",
        "passages": ["Goethe did.", {"title": "Faust", "text": "A tragedy."}],
        "grades": [1, 0],
    },
    {"qid": "x7", "query": "what is it?", "passages": ["Goethe did."], "docids": ["g"], "titles": ["T"], "grades": [2]},
    {"query": "unjudged", "passages": ["Goethe did.", {"docid": "own", "text": "z"}], "split": "train"},
]


@pytest.mark.parametrize("suffix, pack", [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
def test_lines_of_queries_with_their_passages(tmp_path, suffix, pack):
    path = tmp_path / f"faust.jsonl{suffix}"
    path.write_bytes(pack(lines(LINES).encode()))
    collection = load_collection(path)
    goethe = "p-" + hashlib.sha256(b"\x1fGoethe did.").hexdigest()[:16]
    faust = "p-" + hashlib.sha256(b"Faust\x1fA tragedy.").hexdigest()[:16]
    assert (collection.name, collection.splits) == ("faust", ("test",))
    assert list(collection.corpus) == [goethe, faust, "g", "own"]
    assert collection.corpus[faust] == Document(faust, "Faust", "A tragedy.")
    assert collection.queries("test") == [Query("1", "who wrote faust?"), Query("x7", "what is it?")]
    assert collection.qrels("test") == {"1": {goethe: 1, faust: 0}, "x7": {"g": 2}}
    assert [query.qid for query in collection.queries()] == ["1", "x7", "3"]
    assert collection.stored_run("test") == {"1": {goethe: 2.0, faust: 1.0}, "x7": {"g": 1.0}}
    assert collection.stored_run()["3"] == {goethe: 2.0, "own": 1.0}
    facts = collection.facts("test")
    assert facts["sha256"] == {path.name: hashlib.sha256(lines(LINES).encode()).hexdigest()}
    assert (facts["documents"], facts["topics"], facts["excluded"]) == (4, 2, 0)


@pytest.mark.parametrize(
    "line, complaint",
    [
        ({"passages": []}, "`query` is missing"),
        ({"query": "q"}, "`passages` is None; expected a list"),
        ({"query": "q", "passages": "abc"}, "`passages` is 'abc'"),
        ({"query": "q", "passages": [5]}, "passage 1: `text` is int"),
        ({"query": "q", "passages": ["a", "a"]}, "passage 2 is document 'p-"),
        ({"query": "q", "passages": ["a", "b"], "grades": [1]}, "`grades` has 1; expected a list of 2"),
        ({"query": "q", "passages": ["a"], "grades": [0.5]}, "passage 1: the grade is 0.5"),
        ({"query": "q", "passages": ["a"], "grades": [float("nan")]}, "passage 1: the grade is nan"),
        ({"query": "q", "passages": ["a"], "grades": [True]}, "passage 1: the grade is True"),
        ({"query": "q", "passages": ["a"], "docids": [" "]}, "passage 1: `docid` is ' '"),
        ({"query": "q", "passages": ["a"], "qid": "two words"}, "`qid` is 'two words'"),
        ({"query": "q", "passages": ["a"], "qid": 1}, "query '1' appears twice"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, complaint):
    path = tmp_path / "faust.jsonl"
    path.write_text(lines([LINES[0], line]))
    with pytest.raises(DataError) as refused:
        load_collection(path).queries("test")
    assert str(refused.value).startswith(f"{path}:2: ") and complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_one_docid_for_two_texts_is_refused(tmp_path):
    path = tmp_path / "faust.jsonl"
    path.write_text(
        lines([{"query": str(i), "passages": [{"docid": "d", "text": str(i)}], "grades": [1]} for i in (1, 2)])
    )
    with pytest.raises(DataError, match="query '2' has another text for document 'd'"):
        _ = load_collection(path).corpus
