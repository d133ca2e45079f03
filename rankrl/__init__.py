"""Train LLM rerankers with reinforcement learning, and prove that it helps.

    from rankrl import load_reranker
    reranker = load_reranker("rank_r1", model="OUT/")
    ranking = reranker.rerank("who wrote faust?", ["a passage", "another passage"])

Importing this package loads nothing heavy: public names are resolved on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.3.0"

if TYPE_CHECKING:
    from rankrl.reranking import LoadedReranker, ScoredCandidate, load_reranker
    from rankrl.types import Candidate, CandidateList, Query, Ranking

_WHERE = {
    "load_reranker": "rankrl.reranking",
    "LoadedReranker": "rankrl.reranking",
    "ScoredCandidate": "rankrl.reranking",
    "Candidate": "rankrl.types",
    "CandidateList": "rankrl.types",
    "Query": "rankrl.types",
    "Ranking": "rankrl.types",
}

__all__ = [
    "Candidate",
    "CandidateList",
    "LoadedReranker",
    "Query",
    "Ranking",
    "ScoredCandidate",
    "__version__",
    "load_reranker",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'rankrl' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
