"""`benchmarks/first_stage.py`: the engines are asked the same question, and the scorer that judges them is right."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from rankrl.types import Query
from retrieval._bm25.analysis import english_analyzer
from retrieval.bm25 import BM25, lucene_problem
from retrieval.collections import Document

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "first_stage.py"


@pytest.fixture(scope="module")
def first_stage():
    spec = importlib.util.spec_from_file_location("first_stage", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_analyzer_changes_a_word_and_all_differ(first_stage):
    words = [first_stage.word(number) for number in range(first_stage.VOCABULARY)]
    assert len(set(words)) == len(words)
    assert english_analyzer()(" ".join(words)) == words


def test_the_exhaustive_scorer_agrees_with_the_engine_that_keeps_lengths_exact(first_stage, tmp_path):
    path = first_stage.written_corpus(tmp_path, docs=1500, queries=40)
    docids, texts, queries = first_stage.read_corpus(path)
    assert (len(texts), len(queries), len(set(queries))) == (1500, 40, 40)
    assert first_stage.read_corpus(first_stage.written_corpus(tmp_path, docs=1500, queries=40))[1:] == (texts, queries)
    documents = [Document(docid, "", text) for docid, text in zip(docids, texts, strict=True)]
    bm25 = BM25(documents, engine="bm25s", k1=first_stage.K1, b=first_stage.B)
    lists = bm25.search([Query(str(i), text) for i, text in enumerate(queries)], 10)
    found = [list(listing.docids) for listing in lists]
    assert first_stage.overlap(found, first_stage.exact_top10(path)) > 0.99  # but for ties
    assert first_stage.overlap([row[:5] for row in found], first_stage.exact_top10(path)) < 0.6


@pytest.mark.slow
def test_one_command_prints_the_table_with_a_row_for_each_engine(first_stage):
    asked = ["rankrl bm25s", "bm25s numpy", "tantivy", *(["rankrl lucene"] if not lucene_problem() else [])]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--only", "bm25", "--docs", "300", "--queries", "5", "--repeats", "1", "--k", "10",
         "--engines", *asked],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line[:1] == "|"]
    heads, _, *engines = rows
    assert [row[1] for row in engines] == asked
    for row in engines:
        cells = dict(zip(heads, row, strict=True))
        if cells["version"].endswith("not installed"):
            continue
        assert float(cells["index s"]) > 0 and float(cells["q/s k=10"].replace(",", "")) > 0
        assert float(cells["top-10"]) > 0.9


@pytest.mark.skipif(importlib.util.find_spec("faiss") is None, reason="FAISS is not installed")
def test_the_other_section_compares_index_types_of_the_size_asked_for(first_stage, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(SCRIPT.parents[1]))
    from benchmarks import faiss_indexes

    monkeypatch.setattr(faiss_indexes, "CASES", faiss_indexes.CASES[:2])  # the others take seconds to build
    sizes = ["--vectors", "10240", "--dimension", "16", "--queries", "3", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--only", "faiss", *sizes])
    first_stage.main()
    said = capsys.readouterr().out
    assert "BM25" not in said and "## FAISS index types: 10,240 x 16" in said
    heads, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in said.splitlines() if "|" in line]
    assert {"build s", "queries/s", "recall@100", "bytes/vector"} <= set(heads)
    flat = dict(zip(heads, rows[0], strict=True))
    assert (flat["index"], flat["recall@100"], flat["bytes/vector"], len(rows)) == ("flat", "1.0000", "64.0", 2)
