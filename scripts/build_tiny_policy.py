"""Build the demo's policy: a tokenizer, a small Qwen3 (see tiny_policy.py) and a supervised warm-up, offline, in minutes.

python scripts/build_tiny_policy.py OUT [--steps 400] [--collection scifact] [--held-out 100]

The warm-up shows lists of 2 to 5 passages of which one answers the query, from three sources:
  claims       topics of the train split and their relevant documents; others from BM25's top 20
  late sentences  a sentence from the second half of an abstract, answered by its beginning; others from BM25's top 12
  titles       the title of a document, its abstract without the title; others from BM25's top 12
Test topics and judgements are not used. Documents relevant to test topics are read as plain text, like all others.
Training topics are kept away by document (`--held-out`, `--seed`) exactly as `rankrl.train` keeps them away, so a policy-gradient
run with the same numbers is evaluated on topics that neither phase has seen.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tiny_policy import LABELS, Shape, structured_policy, train_tokenizer, words

from rankrl.errors import RankRLError
from rankrl.rerankers._templates import wording
from rankrl.rerankers.rank_r1 import RankR1
from rankrl.types import CandidateList, Query
from retrieval.bm25 import BM25
from retrieval.collections import Collection, Document, load_collection

# k = 3 here and depth 10 in the demo: of six settings on 100 held-out train topics, a cheap one that loses little (within noise)
RERANKER = RankR1(template="brief", num_child=3, k=3, passage_tokens=64, query_tokens=40)
ANSWER_TOKENS = 12

SHARES = {"claims": 0.25, "late sentences": 0.5, "titles": 0.25}


@dataclass(frozen=True, slots=True)
class Asked:
    """A query with its right documents, hard wrong ones, and how a document is shown."""

    query: Query
    right: Sequence[str]
    wrong: Sequence[str]
    shown: Callable[[Document], Document]


def whole(document: Document) -> Document:
    """The document with its title."""
    return document


def untitled(document: Document) -> Document:
    """The document without its title, which the query repeats."""
    return replace(document, title="")


def sources(collection: Collection, topics: Sequence[str], rng: random.Random, *, pairs: int) -> dict[str, list[Asked]]:
    """Source -> what is asked."""
    qrels, queries = collection.qrels("train"), {q.qid: q for q in collection.queries("train")}
    late = []
    for document in collection.corpus.values():
        parts = [part for part in re.split(r"(?<=[.!?])\s+(?=[A-Z])", document.text) if len(part) > 40]
        if len(parts) >= 4:
            late += [(parts[-1], document.docid), (rng.choice(parts[len(parts) // 2 : -1]), document.docid)]
    late = rng.sample(late, min(pairs, len(late)))
    titled = [(d.title, d.docid) for d in collection.corpus.values() if len(words(d.title)) > 2]
    titled = rng.sample(titled, min(pairs // 2, len(titled)))
    right = {qid: [d for d, grade in qrels[qid].items() if grade > 0] for qid in topics}
    asked = {
        "claims": [(queries[qid], right[qid], whole, 20) for qid in topics],
        "late sentences": [(Query(f"late {i}", text), [docid], whole, 12) for i, (text, docid) in enumerate(late)],
        "titles": [(Query(f"title {i}", text), [docid], untitled, 12) for i, (text, docid) in enumerate(titled)],
    }
    bm25 = BM25.from_collection(collection, engine="bm25s")  # the same pairs on every machine, with Java or without
    made: dict[str, list[Asked]] = {}
    for name, rows in asked.items():
        found = bm25.search([query for query, *_ in rows], 20)
        made[name] = [
            Asked(query, docids, [d for d in near.docids[:depth] if d not in docids], shown)
            for (query, docids, shown, depth), near in zip(rows, found, strict=True)
        ]
    return made


def example(
    made: dict[str, list[Asked]], collection: Collection, rng: random.Random, sizes: Sequence[int], hard: float
) -> tuple[CandidateList, int]:
    """(list, position of its right answer); each wrong document is a BM25 neighbour with probability `hard`, else any."""
    asked = rng.choice(made[rng.choices(list(SHARES), list(SHARES.values()))[0]])
    docids = list(collection.corpus)
    best = rng.choice(asked.right)
    chosen, size = [best], rng.choice(sizes)
    while len(chosen) < size:
        docid = rng.choice(asked.wrong) if asked.wrong and rng.random() < hard else rng.choice(docids)
        if docid not in chosen and docid not in asked.right:
            chosen.append(docid)
    rng.shuffle(chosen)
    shown = tuple(asked.shown(collection.corpus[docid]).candidate() for docid in chosen)
    return CandidateList(asked.query, shown), chosen.index(best)


def curriculum(
    made: dict[str, list[Asked]], collection: Collection, rng: random.Random, *, steps: int, batch_size: int
) -> list[tuple[CandidateList, int]]:
    """steps · batch_size examples: short lists first, hard neighbours from a fifth of the way on."""
    examples = []
    for step in range(steps):
        done = step / steps
        sizes = (2, 3, 4) if done < 0.1 else (2, 3, 4, 4, 4, 5)
        examples += [example(made, collection, rng, sizes, min(1.0, done / 0.2)) for _ in range(batch_size)]
    return examples


def build(out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Build, warm up and save the policy; returns what was measured."""
    import torch

    from rankrl.cards import write_reranker_card
    from rankrl.engines.transformers import TokenClip
    from rankrl.training.dataset import split_by_document
    from rankrl.training.sft import warm_up, warm_up_rows

    torch.manual_seed(args.seed)
    rng, started_s = random.Random(args.seed), time.perf_counter()
    collection = load_collection(args.collection)
    topics, _ = split_by_document(collection.qrels("train"), args.held_out, seed=args.seed)
    texts = [document.full_text for document in collection.corpus.values()]
    claims = [query.text for query in collection.queries("train") if query.qid in set(topics)]
    thought = wording("rank_r1", RERANKER.template).extras["thought"]
    tokenizer = train_tokenizer([*texts, *claims], thought)
    docs = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    model = structured_policy(tokenizer, docs, thought, Shape(), seed=args.seed)
    reranker = replace(RERANKER, clip=TokenClip(tokenizer))
    made = sources(collection, topics, rng, pairs=args.pairs)
    rows = warm_up_rows(
        curriculum(made, collection, rng, steps=args.steps, batch_size=args.batch_size), reranker, tokenizer
    )
    prepared_s = time.perf_counter()
    print(f"prepared {len(rows)} examples in {prepared_s - started_s:.0f} s", file=sys.stderr)
    log = warm_up(
        model, tokenizer, rows, output_dir=out, batch_size=args.batch_size, learning_rate=args.learning_rate,
        seed=args.seed, bf16=True,
    )  # fmt: skip
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    write_reranker_card(out, "rank_r1", reranker, tokenizer=tokenizer, max_new_tokens=ANSWER_TOKENS)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "labels": len(LABELS),
        "prepare_s": round(prepared_s - started_s, 1),
        "train_s": round(time.perf_counter() - prepared_s, 1),
        "threads": torch.get_num_threads(),
        "losses": [entry["loss"] for entry in log if "loss" in entry],
        "settings": {name: str(value) for name, value in vars(args).items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the model; `build.json` there says how it was made")
    parser.add_argument("--collection", default="scifact", help="with a split `train` (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=400, help="optimisation steps (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="lists per step (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2e-4, help="(default: %(default)s)")
    parser.add_argument(
        "--pairs", type=int, default=6000, help="late sentences; half as many titles (default: %(default)s)"
    )
    parser.add_argument(
        "--held-out", type=int, default=100, help="train topics kept away, by document (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=42, help="(default: %(default)s)")
    args = parser.parse_args()
    try:
        measured = build(args.out, args)
    except RankRLError as error:
        print(f"build_tiny_policy: error: {error}", file=sys.stderr)
        return 1
    (args.out / "build.json").write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in measured.items() if name not in ("losses", "settings")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
