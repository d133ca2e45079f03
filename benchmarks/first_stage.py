"""First stages side by side, one command: BM25 engines on synthetic Zipf documents, then FAISS index types.

python benchmarks/first_stage.py [--docs 20000 200000] [--queries 500] [--threads 1] [--repeats 3] [--only bm25|faiss]
                                 [--vectors 100000] [--dimension 128]

Documents are drawn from a seed: lengths log-normal around 100 words, words by Zipf's law from 100,000; queries are 3 to 6
words of a document. The words are such that no tokenizer or stemmer changes them, k1 is 1.2 and b 0.75, which tantivy cannot
change, so all engines answer the same question.

Each engine runs in a process of its own and gets the texts in memory. "start s" is what its libraries and, where there is
one, the Java machine take until the first document; "index s" goes from texts to searchable, tokenizing included; queries/s
is the median of the repeats after a first round, (docid, score) pairs in Python being what counts as an answer; "first" is
that first round at the smallest k. MB is the largest resident size of the process, of which "texts MB" are the texts.
top-10 is the overlap with exact scores in float64, computed here: Lucene and tantivy round document lengths to a byte, so
they cannot reach 1. The thread count is what an engine is told; Java compiles and collects garbage in threads of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

TITLE = "BM25 engines"
K1, B = 1.2, 0.75
VOCABULARY, MEAN_LENGTH, SEED = 100_000, 100, 7
_LETTERS = "bcdfghjklmnpqrtvwx"  # no vowel, no s: nothing that a stemmer takes away, and no stop word

Answers = list[list[tuple[str, float]]]
Search = Callable[[Sequence[str], int], Answers]
Engine = Callable[[argparse.Namespace], tuple[Callable[[Sequence[str], Sequence[str]], Search], str]]
"""Imports what it needs; returns the function (docids, texts) -> search, and its version."""


def word(number: int) -> str:
    """The word of that number: at least four consonants."""
    letters = ""
    while number or len(letters) < 4:
        number, letter = divmod(number, len(_LETTERS))
        letters += _LETTERS[letter]
    return letters


def written_corpus(folder: Path, docs: int, queries: int) -> Path:
    """A folder with the texts and the queries, a line each; the same bytes for the same numbers."""
    import numpy as np

    rng = np.random.default_rng([SEED, docs])
    weights_V = 1.0 / np.arange(10, VOCABULARY + 10)
    edges_V = np.cumsum(weights_V / weights_V.sum())
    lengths_D = np.maximum(5, rng.lognormal(np.log(MEAN_LENGTH) - 0.125, 0.5, docs)).astype(int)
    words = [word(number) for number in range(VOCABULARY)]
    drawn = np.minimum(np.searchsorted(edges_V, rng.random(int(lengths_D.sum()))), VOCABULARY - 1)
    texts, start = [], 0
    for length in lengths_D:
        texts.append(" ".join(words[i] for i in drawn[start : start + length]))
        start += length
    chooser = random.Random(SEED)
    asked = []
    for _ in range(queries):
        tokens = texts[chooser.randrange(docs)].split()
        asked.append(" ".join(chooser.sample(tokens, min(len(tokens), chooser.randint(3, 6)))))
    path = folder / f"corpus-{docs}"
    path.mkdir(exist_ok=True)
    (path / "texts").write_text("\n".join(texts) + "\n", encoding="utf-8")
    (path / "queries").write_text("\n".join(asked) + "\n", encoding="utf-8")
    return path


def read_corpus(path: Path) -> tuple[list[str], list[str], list[str]]:
    """(docids, texts, queries)."""
    texts, queries = ([line.rstrip("\n") for line in (path / name).open()] for name in ("texts", "queries"))
    return [f"d{number}" for number in range(len(texts))], texts, queries


def rankrl_engine(name: str) -> Engine:
    """Ours, with that engine."""

    def start(args: argparse.Namespace) -> tuple[Any, str]:
        from rankrl.types import Query
        from retrieval.bm25 import BM25
        from retrieval.collections import Document

        if name == "lucene":
            from retrieval._bm25 import jvm

            jvm.start()

        def build(docids: Sequence[str], texts: Sequence[str]) -> Search:
            documents = {docid: Document(docid, "", text) for docid, text in zip(docids, texts, strict=True)}
            bm25 = BM25(documents, engine=name, k1=K1, b=B, threads=args.threads)  # type: ignore[arg-type]

            def search(queries: Sequence[str], k: int) -> Answers:
                lists = bm25.search([Query(str(i), text) for i, text in enumerate(queries)], k)
                return [[(c.docid, c.score or 0.0) for c in found.candidates] for found in lists]

            return search

        return build, metadata.version("rankrl")

    return start


def bm25s_engine(backend: str) -> Engine:
    """bm25s itself, with its own tokenizer."""

    def start(args: argparse.Namespace) -> tuple[Any, str]:
        import bm25s

        def build(docids: Sequence[str], texts: Sequence[str]) -> Search:
            def tokens(these: Sequence[str], **options: Any) -> Any:
                return bm25s.tokenize(list(these), stopwords=None, show_progress=False, **options)

            index = bm25s.BM25(k1=K1, b=B, method="lucene", backend=backend)
            index.index(tokens(texts), show_progress=False)

            def search(queries: Sequence[str], k: int) -> Answers:
                asked = tokens(queries, return_ids=False)
                found, scores = index.retrieve(asked, k=k, show_progress=False, n_threads=args.threads)
                return [
                    [(docids[i], score) for i, score in zip(row, line, strict=True)]
                    for row, line in zip(found.tolist(), scores.tolist(), strict=True)
                ]

            return search

        return build, metadata.version("bm25s")

    return start


def tantivy_engine(args: argparse.Namespace) -> tuple[Any, str]:
    """tantivy, its index in memory; one query at a time, since its Python interface has no other way."""
    import tantivy

    def build(docids: Sequence[str], texts: Sequence[str]) -> Search:
        schema = tantivy.SchemaBuilder()
        schema.add_text_field("docid", stored=True, tokenizer_name="raw")
        schema.add_text_field("text", stored=False, index_option="freq")
        index = tantivy.Index(schema.build())
        writer = index.writer(heap_size=500_000_000, num_threads=args.threads)
        for docid, text in zip(docids, texts, strict=True):
            writer.add_document(tantivy.Document(docid=docid, text=text))
        writer.commit()
        writer.wait_merging_threads()
        index.reload()
        searcher = index.searcher()

        def search(queries: Sequence[str], k: int) -> Answers:
            answers = []
            for text in queries:
                hits = searcher.search(index.parse_query(text, ["text"]), k).hits
                answers.append([(str(searcher.doc(place)["docid"][0]), float(score)) for score, place in hits])
            return answers

        return search

    return build, metadata.version("tantivy")


def pyserini_engine(args: argparse.Namespace) -> tuple[Any, str]:
    """Pyserini as its documentation uses it: its indexer over a folder, `batch_search` (which takes every core)."""
    os.environ.setdefault("OPENAI_API_KEY", "unused")  # importing it makes a client that wants a key
    from retrieval._bm25 import jvm

    jvm.start()
    from pyserini.search.lucene import LuceneSearcher

    def build(docids: Sequence[str], texts: Sequence[str]) -> Search:
        folder = Path(tempfile.mkdtemp(dir=args.folder))
        (folder / "documents").mkdir()
        with (folder / "documents" / "all.jsonl").open("w", encoding="utf-8") as file:
            for docid, text in zip(docids, texts, strict=True):
                file.write(json.dumps({"id": docid, "contents": text}) + "\n")
        arguments = ["-collection", "JsonCollection", "-generator", "DefaultLuceneDocumentGenerator", "-quiet"]
        arguments += ["-input", str(folder / "documents"), "-index", str(folder / "index")]
        arguments += ["-threads", str(args.threads), "-memoryBuffer", "256"]
        jvm.java_class("io.anserini.index.IndexCollection").main(arguments)
        searcher = LuceneSearcher(str(folder / "index"))
        searcher.set_bm25(K1, B)

        def search(queries: Sequence[str], k: int) -> Answers:
            found = searcher.batch_search(list(queries), [str(i) for i in range(len(queries))], k, args.threads)
            return [[(hit.docid, hit.score) for hit in found[str(i)]] for i in range(len(queries))]

        return search

    return build, metadata.version("pyserini")


ENGINES: dict[str, tuple[tuple[str, ...], Engine]] = {
    "rankrl bm25s": (("bm25s",), rankrl_engine("bm25s")),
    "bm25s numpy": (("bm25s",), bm25s_engine("numpy")),
    "bm25s numba": (("bm25s", "numba"), bm25s_engine("numba")),
    "tantivy": (("tantivy",), tantivy_engine),
    "rankrl lucene": (("pyserini",), rankrl_engine("lucene")),
    "pyserini": (("pyserini",), pyserini_engine),
}
"""Name -> (modules it needs, engine)."""


def peak_mb() -> float:
    """The largest resident size of this process so far."""
    # not getrusage's: that starts with what the parent had when it started this process
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def worker(args: argparse.Namespace) -> None:
    """Measure one engine in this process and print what came out as JSON."""
    docids, texts, queries = read_corpus(Path(args.corpus))
    texts_mb = peak_mb()
    started_s = time.perf_counter()
    build, version = ENGINES[args.worker][1](args)
    ready_s = time.perf_counter()
    search = build(docids, texts)
    measured: dict[str, Any] = {
        "version": version,
        "start_s": ready_s - started_s,
        "index_s": time.perf_counter() - ready_s,
        "texts_mb": texts_mb,
        "queries_per_s": {},
    }
    for number, k in enumerate(sorted(args.k)):
        times = []
        for _ in range(args.repeats + 1):
            before_s = time.perf_counter()
            answers = search(queries, k)
            times.append(time.perf_counter() - before_s)
        if number == 0:
            measured["first_queries_per_s"] = len(queries) / times[0]
        measured["queries_per_s"][str(k)] = len(queries) / statistics.median(times[1:])
    measured["top10"] = [[docid for docid, _ in found[:10]] for found in answers]
    measured["peak_mb"] = peak_mb()
    print(json.dumps(measured))


def exact_top10(path: Path) -> list[list[str]]:
    """The ten best documents of each query by BM25 in float64, every document scored; nothing of ours or of a peer."""
    import numpy as np
    from scipy.sparse import csc_array

    docids, texts, queries = read_corpus(path)
    term_of: dict[str, int] = {}
    rows: list[int] = []
    columns: list[int] = []
    for row, text in enumerate(texts):
        for token in text.split():
            rows.append(row)
            columns.append(term_of.setdefault(token, len(term_of)))
    size = len(texts)
    counts = csc_array((np.ones(len(rows)), (rows, columns)), shape=(size, len(term_of)))
    lengths_D = np.bincount(rows, minlength=size)
    norms_D = K1 * (1 - B + B * lengths_D / lengths_D.mean())
    top = []
    for query in queries:
        scores_D = np.zeros(size)
        for term in (term_of[token] for token in query.split()):
            begin, end = counts.indptr[term], counts.indptr[term + 1]
            found, frequencies = counts.indices[begin:end], counts.data[begin:end]
            idf = np.log(1 + (size - len(found) + 0.5) / (len(found) + 0.5))
            scores_D[found] += idf * frequencies / (frequencies + norms_D[found])
        best = np.argsort(-scores_D, kind="stable")[:10]
        top.append([docids[i] for i in best if scores_D[i] > 0])
    return top


def overlap(found: Sequence[Sequence[str]], exact: Sequence[Sequence[str]]) -> float:
    """The share of the exact top 10 that was found, over all queries."""
    return sum(len(set(a) & set(b)) for a, b in zip(found, exact, strict=True)) / sum(map(len, exact))


def bm25_rows(args: argparse.Namespace) -> list[dict[str, str]]:
    """One row per corpus size and engine; engines that are not installed, or that fail, say so."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="first-stage-") as name:
        folder = Path(name)
        for docs in args.docs:
            corpus = written_corpus(folder, docs, args.queries)
            exact = exact_top10(corpus)
            for engine in args.engines:
                modules = ENGINES[engine][0]
                row = {"docs": f"{docs:,}", "engine": engine}
                if absent := [module for module in modules if importlib.util.find_spec(module) is None]:
                    rows.append({**row, "version": f"{', '.join(absent)} not installed"})
                    continue
                measured, problem = _in_a_process(engine, corpus, args, folder)
                rows.append({**row, **(_cells(measured, exact, args) if measured else {"version": problem})})
    return rows


def _in_a_process(
    engine: str, corpus: Path, args: argparse.Namespace, folder: Path
) -> tuple[dict[str, Any] | None, str]:
    """(what the worker measured or None, why there is nothing)."""
    command = [sys.executable, __file__, "--worker", engine, "--corpus", str(corpus), "--folder", str(folder)]
    command += ["--threads", str(args.threads), "--repeats", str(args.repeats), "--k", *map(str, args.k)]
    threads = {"OMP_NUM_THREADS": str(args.threads), "NUMBA_NUM_THREADS": str(args.threads)}
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **threads, "PYTHONPATH": path}, check=False
    )
    if done.returncode != 0:
        return None, f"failed: {(done.stderr.strip().splitlines() or [str(done.returncode)])[-1]}"
    return json.loads(done.stdout.splitlines()[-1]), ""


def _cells(measured: dict[str, Any], exact: list[list[str]], args: argparse.Namespace) -> dict[str, str]:
    speeds = measured["queries_per_s"]
    return {
        "version": measured["version"],
        "start s": f"{measured['start_s']:.2f}",
        "index s": f"{measured['index_s']:.2f}",
        "first q/s": f"{measured['first_queries_per_s']:,.0f}",
        **{f"q/s k={k}": f"{speeds[str(k)]:,.0f}" for k in sorted(args.k)},
        "MB": f"{measured['peak_mb']:,.0f}",
        "texts MB": f"{measured['texts_mb']:,.0f}",
        "top-10": f"{overlap(measured['top10'], exact):.4f}",
    }


def printed(title: str, rows: Sequence[dict[str, str]]) -> str:
    """The rows as a Markdown table under their title."""
    heads = list(dict.fromkeys(head for row in rows for head in row))
    lines = [heads, ["---"] * len(heads), *([row.get(head, "") for head in heads] for row in rows)]
    return f"## {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--docs", type=int, nargs="+", default=[20_000, 200_000], help="sizes of the corpus")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--k", type=int, nargs="+", default=[100, 1000], help="documents per query")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES), metavar="NAME",
                        help=f"of {', '.join(ENGINES)} (default: all)")  # fmt: skip
    parser.add_argument("--vectors", type=int, default=100_000, help="that FAISS indexes (default: %(default)s)")
    parser.add_argument("--dimension", type=int, default=128, help="of the vectors (default: %(default)s)")
    parser.add_argument("--only", choices=("bm25", "faiss"), help="one of the two sections")
    for hidden in ("--worker", "--corpus", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args)
        return
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{os.cpu_count()} cores, load {load:.1f}, {args.threads} threads, {args.repeats} repeats\n", flush=True)
    if args.only != "faiss":
        print(printed(TITLE, bm25_rows(args)), flush=True)
    if args.only != "bm25":
        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        from benchmarks import faiss_indexes
        from rankrl.errors import MissingDependencyError

        sizes = {name: getattr(args, name) for name in ("vectors", "dimension", "queries", "threads", "repeats")}
        title = f"{faiss_indexes.TITLE}: {args.vectors:,} x {args.dimension}"
        try:
            table = printed(title, list(faiss_indexes.rows(argparse.Namespace(**sizes))))
        except MissingDependencyError as error:
            table = f"## {title}\n\n{error}"
        print(table)


if __name__ == "__main__":
    main()
