"""Exact search over float32 vectors in shards: the same scores and order whichever engine, batch, thread count and shards.

An engine (FAISS or torch) adds up products in an order of its own, so its float32 scores differ in the last digits from batch to
batch, and a tie may go either way. Here it only proposes: everything that its rounding could hide is kept, scored again
in float64 one pair at a time, rounded to float32, and ordered by score, then docid, both descending, as trec_eval does.

The error of a float32 inner product of D numbers is at most g |q| |d| with g = D u / (1 - D u), u = 2^-24, in whatever order it
is summed (Higham 2002, §3.1). The k-th best proposal is off by that much, and so is what it is compared with: what scores within
twice the bound of the k-th, and a little more for the final rounding, is scored again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Propose = Callable[["Array", "Array", int], tuple["Array", "Array"]]
"""(queries (Q, D), vectors (N, D), wanted <= N) -> (scores (Q, wanted) best first, rows (Q, wanted))."""

Found = tuple["Array", "Array"]
"""(scores, rows) of one query, best first."""

_SPARE = 16
"""Proposals beyond k that are fetched at once; nearly always enough."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive vectors of an index: float32 (N, D), in memory or mapped, and the largest length among them."""

    vectors_ND: Array
    largest_norm: float


def search_exactly(
    queries_QD: Array,
    k: int,
    shards: Sequence[Shard],
    propose: Propose,
    docid_of: Callable[[int], str],
    *,
    l2: bool = False,
) -> list[Found]:
    """For each query its k nearest rows over all shards (fewer if there are fewer), best first, with float32 scores.

    A score is the inner product, or with `l2` the squared distance with a minus sign. Rows count through the shards.
    """
    import numpy as np

    parts: list[list[Found]] = [[] for _ in queries_QD]
    start = 0
    for shard in shards:
        for q, (scores, rows) in enumerate(_near(queries_QD, k, shard, propose, l2=l2)):
            parts[q].append((scores, rows + start))
        start += len(shard.vectors_ND)
    joined = (found[0] if len(found) == 1 else tuple(map(np.concatenate, zip(*found, strict=True))) for found in parts)
    return [best_first(scores, rows, k, docid_of) for scores, rows in joined]


def best_first(scores: Array, rows: Array, k: int, docid_of: Callable[[int], str]) -> Found:
    """The k best of one query: score descending, equal scores by docid descending. Docids are read for ties alone."""
    import numpy as np

    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    if (ranked[1:] == ranked[:-1]).any():
        by_docid = sorted(range(len(rows)), key=lambda i: docid_of(int(rows[i])), reverse=True)
        order = np.asarray(sorted(by_docid, key=lambda i: -scores[i]), dtype=np.int64)
    return scores[order[:k]], rows[order[:k]]


def _near(queries_QD: Array, k: int, shard: Shard, propose: Propose, *, l2: bool) -> Iterator[Found]:
    """For each query everything in the shard that may be among its k best, scored exactly."""
    import numpy as np

    if not len(queries_QD):
        return
    count = len(shard.vectors_ND)
    k = min(k, count)
    margin_Q = _margin(queries_QD, shard.largest_norm, l2=l2)
    wanted = min(count, k + _SPARE)
    scores_QW, rows_QW = propose(queries_QD, shard.vectors_ND, wanted)
    enough_Q = (scores_QW[:, -1] < scores_QW[:, k - 1] - margin_Q) | (wanted == count)
    for q, query_D in enumerate(queries_QD):
        scores_W, rows_W, whole = scores_QW[q], rows_QW[q], bool(enough_Q[q])
        more = wanted
        while not whole:
            more = min(count, 4 * more)
            ((scores_W,), (rows_W,)) = propose(query_D[None], shard.vectors_ND, more)
            whole = bool(scores_W[-1] < scores_W[k - 1] - margin_Q[q]) or more == count
        kept = rows_W[scores_W >= scores_W[k - 1] - margin_Q[q]]
        yield _scored(query_D, shard.vectors_ND[kept], l2=l2), kept.astype(np.int64, copy=False)


def _margin(queries_QD: Array, largest_norm: float, *, l2: bool) -> Array:
    """How far below the k-th proposal a row may score and still belong to the k best."""
    import numpy as np

    norms_Q = np.linalg.norm(queries_QD.astype(np.float64), axis=1)
    u, terms = 2.0**-24, queries_QD.shape[1] + 4
    scale_Q = (norms_Q + largest_norm) ** 2 if l2 else norms_Q * largest_norm
    margin_Q: Array = 2.5 * terms * u / (1 - terms * u) * scale_Q + 1e-30
    return margin_Q


def _scored(query_D: Array, vectors_ND: Array, *, l2: bool) -> Array:
    """Scores of the rows, summed in float64 and rounded to float32; a row's score depends on that row alone."""
    import numpy as np

    query_D, vectors_ND = query_D.astype(np.float64), vectors_ND.astype(np.float64)
    if l2:
        vectors_ND -= query_D
        scores = -np.einsum("nd,nd->n", vectors_ND, vectors_ND)
    else:
        scores = np.einsum("nd,d->n", vectors_ND, query_D)
    rounded: Array = scores.astype(np.float32)
    return rounded


def torch_proposals(device: str, *, l2: bool = False, rows_at_once: int = 1 << 17) -> Propose:
    """Proposals by matrix product and top-k in torch, on any device; vectors go there in pieces of `rows_at_once`."""

    def propose(queries_QD: Array, vectors_ND: Array, wanted: int) -> tuple[Array, Array]:
        import torch

        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")  # the bound above is float32's, not TF32's
        try:
            queries = torch.from_numpy(queries_QD).to(device)
            best = torch.empty((len(queries_QD), 0), device=device)
            rows = torch.empty((len(queries_QD), 0), dtype=torch.int64, device=device)
            for start in range(0, len(vectors_ND), rows_at_once):
                piece = torch.from_numpy(vectors_ND[start : start + rows_at_once]).to(device)
                scores = queries @ piece.T
                if l2:
                    scores = 2 * scores - piece.square().sum(1) - queries.square().sum(1, keepdim=True)
                top, at = scores.topk(min(wanted, len(piece)), dim=1)
                best, rows = torch.cat([best, top], 1), torch.cat([rows, at + start], 1)
                if best.shape[1] > wanted:
                    best, at = best.topk(wanted, dim=1)
                    rows = rows.gather(1, at)
            best, at = best.sort(dim=1, descending=True)
            return best.cpu().numpy(), rows.gather(1, at).cpu().numpy()
        finally:
            torch.set_float32_matmul_precision(precision)

    return propose
