"""`make demo` in small: the same commands in the same order, with too little training to mean anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_demo_runs_from_the_first_stage_to_the_comparison_and_keeps_its_warm_start(tmp_path):
    command = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--quick", "--out", str(tmp_path / "demo")]
    first = subprocess.run(command, capture_output=True, text=True, timeout=540, cwd=tmp_path)
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    for run in ("bm25.train", "bm25.test", "warm", "trained"):
        assert (tmp_path / "demo" / f"{run}.trec").stat().st_size > 0
    assert first.stdout.count("nDCG@10, 300 topics") == 2 and first.stdout.count("nDCG@10, 104 topics") == 2
    assert "largest process" in first.stdout and "too little training" in first.stdout
    facts = json.loads((tmp_path / "demo" / "trained" / "run.json").read_text())
    assert facts["rewards"] == ["success", "unlikeliness"] and len(facts["topics"]["held_out"]) == 100
    built = (tmp_path / "demo" / "warm" / "build.json").stat().st_mtime_ns
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import demo, pathlib;"
        "demo.Demo(pathlib.Path(sys.argv[2]), demo.QUICK).warm_up()"
    )
    again = subprocess.run(
        [sys.executable, "-c", script, str(ROOT / "scripts"), str(tmp_path / "demo")], capture_output=True, text=True
    )
    assert "is there already" in again.stdout, again.stderr
    assert (tmp_path / "demo" / "warm" / "build.json").stat().st_mtime_ns == built


def test_the_tiny_policy_starts_from_what_it_says_it_starts_from(tmp_path):
    """Before any training it compares words: from a title it finds its abstract among four far more often than by chance."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import torch
    from tiny_policy import Shape, structured_policy, train_tokenizer

    from rankrl.contracts import request_of
    from rankrl.engines.transformers import TransformersEngine
    from rankrl.rerankers.rank_r1 import RankR1
    from rankrl.types import Candidate, CandidateList, Query
    from retrieval.collections import load_collection

    torch.set_num_threads(1)
    documents = list(load_collection("scifact").corpus.values())[:400]
    texts = [document.full_text for document in documents]
    tokenizer = train_tokenizer(texts, "match")
    docs = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    model = structured_policy(tokenizer, docs, "match", Shape(), seed=0)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    engine = TransformersEngine(tmp_path, max_new_tokens=12)
    assert engine.tokenizer(texts[0])["input_ids"] == tokenizer(texts[0])["input_ids"]
    reranker = RankR1(template="brief", num_child=3, passage_tokens=64, clip=engine.clip)
    prompts, places = [], []
    for i in range(40):
        place = i % 4
        shown = [documents[4 * i + (j - place) % 4] for j in range(4)]
        listing = CandidateList(Query("q", documents[4 * i].title), tuple(Candidate(d.docid, d.text) for d in shown))
        prompts.append(request_of(reranker, listing))
        places.append(place)
    readings = [reranker.parse(answer.text, 4) for answer in engine.generate(prompts)]
    right = sum(r.report.clean and r.ranking.order[0] == place for r, place in zip(readings, places, strict=True))
    assert right >= 20, f"{right} of 40 right, where 10 are chance"
