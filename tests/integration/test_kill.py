"""`rankrl rerank --journal`, killed at random moments and started again: the same bytes, and nothing asked twice."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rankrl.engines.journal import recorded

KILLS = int(os.environ.get("RANKRL_KILLS", "4"))
"""Of each of the two engines; more by hand."""

TOPICS, DOCUMENTS = 16, 40

ENGINE = '''
import os
import re
import time
import zlib
from rankrl.types import Answer


class SlowEngine:
    """Names the passage whose text has the largest checksum, in one to three milliseconds; notes every answer it gives."""

    fingerprint = "slow"

    def __init__(self, model):
        self.log = os.open("asked.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def generate(self, requests, on_answer=None):
        answers = []
        for i, request in enumerate(requests):
            passages = re.findall(r"^\\[(\\d+)\\] (.*)$", request.prompt[-1]["content"], re.MULTILINE)
            sums = {label: zlib.crc32(text.encode()) for label, text in passages}
            time.sleep((1 + sum(sums.values()) % 3) / 1000)
            answers.append(Answer(f"<think>{sums}</think><answer>[{max(sums, key=sums.get)}]</answer>", 300, 5))
            os.write(self.log, (request.key + "\\n").encode())
            if on_answer is not None:
                on_answer(i, answers[-1])
        return answers


class ManyEngine(SlowEngine):
    """The same from four threads."""

    concurrent = 4
'''


@pytest.fixture
def folder(tmp_path):
    """A collection, a first stage and the engines."""
    (tmp_path / "slow_engine.py").write_text(ENGINE)
    (tmp_path / "c" / "qrels").mkdir(parents=True)
    documents = {f"d{i}": f"passage number {i} of many" for i in range(DOCUMENTS)}
    corpus = [json.dumps({"_id": docid, "text": text}) for docid, text in documents.items()]
    (tmp_path / "c" / "corpus.jsonl").write_text("\n".join(corpus) + "\n")
    queries = [json.dumps({"_id": f"q{i}", "text": f"question {i}"}) for i in range(TOPICS)]
    (tmp_path / "c" / "queries.jsonl").write_text("\n".join(queries) + "\n")
    qrels = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(TOPICS))]
    (tmp_path / "c" / "qrels" / "test.tsv").write_text("\n".join(qrels) + "\n")
    lines = [f"q{i} Q0 d{j} {j + 1} {DOCUMENTS - j} bm25" for i in range(TOPICS) for j in range(DOCUMENTS)]
    (tmp_path / "bm25.trec").write_text("\n".join(lines) + "\n")
    return tmp_path


def started(folder: Path, engine: str, name: str, *more: str) -> subprocess.Popen:
    command = [
        sys.executable, "-m", "rankrl", "rerank", "rank_r1", "--run", "bm25.trec", "--collection", "c", "--model", "x",
        "--engine", f"slow_engine:{engine}", "--option", "num_child=3", "-o", f"{name}.trec",
        "--journal", f"{name}.journal", *more,
    ]  # fmt: skip
    path = os.pathsep.join([str(folder), str(Path(__file__).resolve().parents[2])])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen) -> str:
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 0, said
    return said


def asked(folder: Path) -> list[str]:
    """The keys of the requests that the engine has answered, in that order; the last line may have been cut by the kill."""
    log = folder / "asked.log"
    return [line for line in log.read_text().split("\n") if len(line) == 64] if log.exists() else []


def stored(journal: Path) -> set[str]:
    return {found.request.key for found in recorded(journal)} if journal.exists() and journal.stat().st_size else set()


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "in_flight"), [("SlowEngine", 1), ("ManyEngine", 4)])
def test_a_reranking_killed_at_random_moments_asks_nothing_twice_and_writes_the_same_bytes(folder, engine, in_flight):
    began_s = time.monotonic()
    finished(started(folder, engine, "whole"))
    took_s, calls = time.monotonic() - began_s, len(asked(folder))
    working_s = took_s - 0.5 if engine == "SlowEngine" else took_s / 2
    assert len(set(asked(folder))) == calls > 200
    (folder / "asked.log").unlink()

    rng, killed, repeated = random.Random(os.environ.get("RANKRL_SEED", engine)), 0, 0
    for _ in range(10 * KILLS):
        if killed == KILLS:
            break
        before_it, known = len(asked(folder)), stored(folder / "killed.journal")
        process = started(folder, engine, "killed")
        until_s = time.monotonic() + 60
        if rng.random() < 0.8:  # while it asks; else also while it starts
            while len(asked(folder)) == before_it and process.poll() is None and time.monotonic() < until_s:
                time.sleep(0.002)
        time.sleep(rng.uniform(0, 1.5 * working_s / KILLS))
        process.kill()
        process.communicate()
        if process.returncode == 0:  # it was quicker: once more from the beginning
            for path in folder.glob("killed.*"):
                path.unlink()
            continue
        killed += 1
        new = asked(folder)[before_it:]
        assert not known & set(new), "what was stored was asked again"
        assert len(new) - len(stored(folder / "killed.journal") - known) <= in_flight
        repeated += len(new) - len(stored(folder / "killed.journal") - known)
        assert not (folder / "killed.trec").exists()
    assert killed == KILLS

    before_it, known = len(asked(folder)), stored(folder / "killed.journal")
    finished(started(folder, engine, "killed"))
    assert (folder / "killed.trec").read_bytes() == (folder / "whole.trec").read_bytes()
    cost = json.loads((folder / "killed.trec.json").read_text())["cost"]
    assert (cost["calls"], cost["cached"]) == (calls, len(known))
    assert len(asked(folder)) - before_it == calls - len(known)
    assert len(stored(folder / "killed.journal")) == calls
    print(f"{killed} kills, {calls} calls, {len(known)} of them stored before the last start, {repeated} repeated")


@pytest.mark.slow
def test_two_processes_share_a_journal_and_agree(folder):
    """Both run at once on one file; what both have asked at the same time has one answer, and both runs are the same."""
    pair = [started(folder, "SlowEngine", "shared", "-o", f"{name}.trec") for name in "ab"]
    for process in pair:
        finished(process)
    assert (folder / "a.trec").read_bytes() == (folder / "b.trec").read_bytes()
    calls = [json.loads((folder / f"{name}.trec.json").read_text())["cost"] for name in "ab"]
    keys = asked(folder)
    assert len(set(keys)) == len(stored(folder / "shared.journal")) == calls[0]["calls"] == calls[1]["calls"]
    assert len(keys) == sum(cost["calls"] - cost["cached"] for cost in calls)
    finished(started(folder, "SlowEngine", "shared", "-o", "c.trec"))
    assert (folder / "c.trec").read_bytes() == (folder / "a.trec").read_bytes()
    assert asked(folder) == keys, "a third run needs nobody"
