"""What the training entry point shows the policy: candidates of the collection, less what is excluded for a topic."""

import json

import pytest

from rankrl.rerankers.rank_r1 import RankR1
from rankrl.train import _data
from rankrl.training.config import PolicyConfig

WORDS = ["heart", "lung", "virus", "gene", "mouse", "drug"]


@pytest.fixture
def collection(tmp_path):
    """Six topics, of which q0 is a document too (the best match for itself by far), and six documents."""
    (tmp_path / "qrels").mkdir()
    rows = [{"_id": f"d{i}", "text": f"{word} study of {WORDS[i - 1]}"} for i, word in enumerate(WORDS)]
    rows.append({"_id": "q0", "text": "does heart change lung does heart change lung"})
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    queries = [{"_id": f"q{i}", "text": f"does {word} change {WORDS[(i + 1) % 6]}"} for i, word in enumerate(WORDS)]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (tmp_path / "qrels" / "train.tsv").write_text("".join(f"q{i}\td{i}\t1\n" for i in range(6)))
    return tmp_path


@pytest.mark.parametrize("given", [False, True], ids=["BM25 of our own", "a run that lists it"])
def test_a_topic_that_is_a_document_is_not_shown_itself(collection, tmp_path, given):
    run = None
    if given:
        run = str(tmp_path / "first.trec")
        lines = [
            f"q{i} Q0 {docid} 1 {10 - n}.0 x\n" for i in range(6) for n, docid in enumerate(("q0", "d0", "d1", "d2"))
        ]
        (tmp_path / "first.trec").write_text("".join(lines))
    config = PolicyConfig(
        output_dir=str(tmp_path / "out"), collection=str(collection), split="train", first_stage=run, depth=6,
        held_out_topics=2, held_out_depth=4, report_to="none", seed=3,
    )  # fmt: skip
    rows, held_out, facts = _data(config, RankR1(num_child=3))
    shown = {row["qid"]: row["docids"] for row in rows}
    shown |= {listing.query.qid: list(listing.docids) for listing in held_out.listings}
    assert set(shown) == {f"q{i}" for i in range(6)}
    assert "q0" not in shown["q0"]
    assert any("q0" in docids for qid, docids in shown.items() if qid != "q0"), "for other topics it is a document"
    assert facts["collection"]["excluded"] == 1
