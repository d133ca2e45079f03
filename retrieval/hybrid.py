"""Several first stages whose lists are fused: by default BM25 and dense vectors, by reciprocal ranks.

Each stage finds `depth` documents; what `retrieval.fusion` says of runs holds here of their lists. A fused score depends on
`depth`, and not on k unless k is larger.

On SciFact (test, 300 topics), nDCG@10 / recall@100, BM25 in Lucene .6789 / .925, MiniLM over the flat index .6451 / .925, fused
.7178 / .962 by rrf, .7320 / .958 by minmax, .7387 / .962 by zscore, .7355 / .955 by combmnz.

What is excluded for a query (`Collection.exclusions`) is removed after fusion, before the cut: it still takes its rank in the
lists that are fused.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from rankrl.contracts import Retriever
from rankrl.errors import ConfigError
from rankrl.runs import ranked
from rankrl.types import Candidate, CandidateList, Query, Run

from .fusion import RRF_CONSTANT, fuse, reciprocal_rank_fusion

if TYPE_CHECKING:
    from .collections import Collection

Method = Literal["rrf", "minmax", "zscore", "weighted", "combmnz"]

OPTIONS = {
    "stages": "retrievers, each with options where it needs them: bm25 'dense(index=\"hnsw\")' (default: bm25 dense)",
    "method": "how their lists are fused; see `rankrl fuse --help`",
    "weights": "one for each stage, in the same order (default: 1 each)",
    "rrf_k": "the constant of rrf: 1 / (constant + rank)",
    "depth": "how many documents each stage finds (k, if that is more)",
}
"""Parameter of `from_collection` -> one line of help."""


class Hybrid:
    """A retriever that searches with several and fuses what they find.

    Deterministic if its stages are; ties by docid descending. Candidates carry fused scores.

    Raises:
        ConfigError: fewer than two retrievers, weights or options that `retrieval.fusion` refuses, or depth < 1.
    """

    def __init__(
        self,
        retrievers: Sequence[Retriever],
        *,
        method: Method = "rrf",
        weights: Sequence[float] | None = None,
        rrf_k: float = RRF_CONSTANT,
        depth: int = 1000,
    ) -> None:
        if len(retrievers) < 2:
            raise ConfigError(f"{len(retrievers)} retriever cannot be fused; give two or more")
        if depth < 1:
            raise ConfigError(f"depth is {depth}; it must be at least 1")
        self._retrievers, self._method, self._weights = tuple(retrievers), method, weights
        self._rrf_k, self._depth = rrf_k, depth
        self._searched, self._empty = 0, [0] * len(self._retrievers)
        self._fused([{} for _ in retrievers], 1)  # options that cannot be used are refused before anything is searched

    @classmethod
    def from_collection(
        cls,
        collection: Collection,
        *,
        stages: Sequence[str] = ("bm25", "dense"),
        method: Method = "rrf",
        weights: Sequence[float] | None = None,
        rrf_k: float = RRF_CONSTANT,
        depth: int = 1000,
    ) -> Hybrid:
        """A retriever over the retrievers that `stages` name, each built over the collection.

        Raises:
            ConfigError: a stage that is no retriever, or what a retriever or the fusion refuses.
        """
        makers = [_stage(spec) for spec in stages]
        weigh = None if weights is None else list(weights)
        cls(
            [_Nothing() for _ in makers], method=method, weights=weigh, rrf_k=rrf_k, depth=depth
        )  # refuses before building
        made = [make(collection, **options) for make, options in makers]
        return cls(made, method=method, weights=weigh, rrf_k=rrf_k, depth=depth)

    @property
    def provenance(self) -> dict[str, Any]:
        """How the lists are fused, the provenance of each stage, and for how many queries so far each found nothing."""
        constant = {"rrf_k": self._rrf_k} if self._method == "rrf" else {}
        return {
            "retriever": "hybrid",
            "method": self._method,
            "weights": None if self._weights is None else list(self._weights),
            **constant,
            "depth": self._depth,
            "stages": [getattr(one, "provenance", {"retriever": type(one).__name__}) for one in self._retrievers],
            "found_nothing": list(self._empty),
        }

    def remarks(self) -> list[str]:
        """What whoever reads the lists found so far should know: the stages that had no part in some of them."""
        return [
            f"stage {number} found nothing for {empty} of {self._searched} topics; they are fused from the others"
            for number, empty in enumerate(self._empty, start=1)
            if empty
        ]

    def search(self, queries: Sequence[Query], k: int) -> list[CandidateList]:
        """One list per query, best first, at most k documents each.

        Raises:
            ConfigError: k < 1, or a stage gives scores to some of its documents only.
            DataError: a score that is not finite, or as the stages.
        """
        if k < 1:
            raise ConfigError(f"k is {k}; it must be at least 1")
        found = [retriever.search(queries, max(k, self._depth)) for retriever in self._retrievers]
        self._searched += len(queries)
        self._empty = [
            before + sum(not len(one) for one in new) for before, new in zip(self._empty, found, strict=True)
        ]
        lists = []
        for query, *listings in zip(queries, *found, strict=True):
            known: dict[str, Candidate] = {c.docid: c for listing in listings for c in listing.candidates}
            fused = self._fused([{query.qid: _scores(listing)} for listing in listings], k)[query.qid]
            lists.append(CandidateList(query, tuple(_scored(known[docid], fused[docid]) for docid in ranked(fused))))
        return lists

    def _fused(self, runs: Sequence[Run], k: int) -> dict[str, dict[str, float]]:
        if self._method == "rrf":
            return reciprocal_rank_fusion(runs, weights=self._weights, constant=self._rrf_k, k=k)
        return fuse(runs, self._method, weights=self._weights, k=k)


class _Nothing:
    """A retriever that is never asked, for trying out options."""

    def search(self, queries: Sequence[Query], k: int) -> list[CandidateList]:
        return [CandidateList(query, ()) for query in queries]


def _scores(listing: CandidateList) -> dict[str, float]:
    """docid -> score; n, n - 1, … where the stage gives an order without scores."""
    if all(candidate.score is None for candidate in listing.candidates):
        return {docid: float(len(listing) - position) for position, docid in enumerate(listing.docids)}
    return {candidate.docid: _score(listing.query, candidate) for candidate in listing.candidates}


def _score(query: Query, candidate: Candidate) -> float:
    if candidate.score is None:
        raise ConfigError(
            f"query {query.qid!r}: document {candidate.docid!r} has no score, and others of its list have one"
        )
    return candidate.score


def _scored(candidate: Candidate, score: float) -> Candidate:
    return Candidate(candidate.docid, candidate.text, candidate.title, score)


def _stage(spec: str) -> tuple[Any, dict[str, Any]]:
    """(from_collection of the retriever, its options) of `name` or `name(option=value, …)`."""
    try:
        tree = ast.parse(spec, mode="eval").body
        call = tree if isinstance(tree, ast.Call) else ast.Call(tree, [], [])
        if not isinstance(call.func, ast.Name) or call.args:
            raise ValueError
        options = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError):
        raise ConfigError(
            f"the stage {spec!r} cannot be read; a stage is a retriever's name, or name(option=value, …) with values as in Python"
        ) from None
    name = call.func.id
    if name.startswith("_") or name == "hybrid" or importlib.util.find_spec(f"{__package__}.{name}") is None:
        raise ConfigError(
            f"no retriever {name!r} for a stage; `rankrl list retrievers` shows them, hybrid itself apart"
        )
    module = importlib.import_module(f"{__package__}.{name}")
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    makers = [value.from_collection for value in own if hasattr(value, "from_collection")]
    if len(makers) != 1:
        raise ConfigError(f"{name!r} is not a retriever; `rankrl list retrievers` shows them")
    if unknown := [option for option in options if option not in module.OPTIONS]:
        raise ConfigError(
            f"the retriever {name!r} has no option {unknown[0]!r}; there are: {', '.join(module.OPTIONS)}"
        )
    return makers[0], options
