"""Exact search over float32 vectors in shards: the same scores and order whichever engine, batch, thread count and shards.

An engine (FAISS or torch) adds up products in an order of its own, so its float32 scores differ in the last digits from batch to
batch, and a tie may go either way. Here it only proposes: everything that its rounding could hide is kept, scored again
in float64 one pair at a time, rounded to float32, and ordered by score, then docid, both descending, as trec_eval does.

The error of a float32 inner product of D numbers is at most g |q| |d| with g = D u / (1 - D u), u = 2^-24, in whatever order it
is summed (Higham 2002, §3.1). The k-th best proposal is off by that much, and so is what it is compared with: what scores within
twice the bound of the k-th, and a little more for the final rounding, is scored again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Propose = Callable[["Array", "Array", int], tuple["Array", "Array"]]
"""(queries (Q, D), vectors (N, D), wanted <= N) -> (scores (Q, wanted) best first, rows (Q, wanted))."""

_SPARE = 16
"""Proposals beyond k that are fetched at once; nearly always enough."""

_TOGETHER = 16
"""Queries scored in one piece: enough to spare Python, few enough for the processor's cache."""


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
) -> tuple[Array, Array]:
    """(scores, rows), (Q, k) each or narrower when there are fewer vectors: each query's nearest over all shards, best first.

    A score is the inner product, or with `l2` the squared distance with a minus sign, float32. Rows count through the shards.
    """

    def parts() -> Iterator[tuple[Array, Array]]:
        start = 0
        for shard in shards:
            scores_QK, rows_QK = _of_shard(queries_QD, k, shard, propose, _from(start, docid_of), l2=l2)
            yield scores_QK, rows_QK + start
            start += len(shard.vectors_ND)

    return merged(parts(), k, docid_of)


def merged(parts: Iterable[tuple[Array, Array]], k: int, docid_of: Callable[[int], str]) -> tuple[Array, Array]:
    """The k best of each query over one or more parts (scores, rows); one part and what is best so far are held at a time."""
    import numpy as np

    rest = iter(parts)
    best = best_first(*next(rest), k, docid_of)
    for part in rest:
        scores_QW, rows_QW = (np.concatenate(side, axis=1) for side in zip(best, part, strict=True))
        best = best_first(scores_QW, rows_QW, k, docid_of)
    return best


def _from(start: int, docid_of: Callable[[int], str]) -> Callable[[int], str]:
    return lambda row: docid_of(start + row)


def best_first(scores_QW: Array, rows_QW: Array, k: int, docid_of: Callable[[int], str]) -> tuple[Array, Array]:
    """The k best of each query: score descending, equal scores by docid descending; docids are read for ties among them alone.

    Row -1 with score -inf means nothing, and comes last.
    """
    import numpy as np

    scores_QW, rows_QW = scores_QW.copy(), rows_QW.copy()
    unsorted = np.flatnonzero((scores_QW[:, 1:] > scores_QW[:, :-1]).any(axis=1))
    order_UW = np.argsort(-scores_QW[unsorted], axis=1, kind="stable")
    scores_QW[unsorted] = np.take_along_axis(scores_QW[unsorted], order_UW, axis=1)
    rows_QW[unsorted] = np.take_along_axis(rows_QW[unsorted], order_UW, axis=1)
    reach_QW = scores_QW >= scores_QW[:, [min(k, scores_QW.shape[1]) - 1]]  # less than the k-th cannot be among the k
    tied_QV = (scores_QW[:, 1:] == scores_QW[:, :-1]) & (rows_QW[:, 1:] >= 0) & reach_QW[:, 1:]
    for q in np.flatnonzero(tied_QV.any(axis=1)):
        scores, rows = scores_QW[q, reach_QW[q]], rows_QW[q, reach_QW[q]]
        by_docid = sorted(np.flatnonzero(rows >= 0), key=lambda i: docid_of(int(rows[i])), reverse=True)
        order = sorted(by_docid, key=lambda i: -scores[i])
        scores_QW[q, : len(order)], rows_QW[q, : len(order)] = scores[order], rows[order]
    return scores_QW[:, :k], rows_QW[:, :k]


def _of_shard(
    queries_QD: Array, k: int, shard: Shard, propose: Propose, docid_of: Callable[[int], str], *, l2: bool
) -> tuple[Array, Array]:
    """(scores, rows), (Q, min(k, N)) each: the best of one shard."""
    import numpy as np

    count = len(shard.vectors_ND)
    k = min(k, count)
    wanted = min(count, k + _SPARE)
    margin_Q = _margin(queries_QD, shard.largest_norm, l2=l2)
    best_QK, at_QK = np.empty((len(queries_QD), k), np.float32), np.empty((len(queries_QD), k), np.int64)
    if not len(queries_QD):
        return best_QK, at_QK
    proposed_QW, rows_QW = propose(queries_QD, shard.vectors_ND, wanted)
    least_Q = proposed_QW[:, k - 1] - margin_Q
    enough_Q = (proposed_QW[:, -1] < least_Q) | (wanted == count)
    for q in np.flatnonzero(~enough_Q):  # more is tied with the k-th, or as good as tied, than was fetched
        more = wanted
        while True:
            more = min(count, 4 * more)
            ((proposed,), (rows,)) = propose(queries_QD[q, None], shard.vectors_ND, more)
            least = proposed[k - 1] - margin_Q[q]
            if more == count or proposed[-1] < least:
                break
        kept = rows[proposed >= least][None]
        scores_1W = _scored(queries_QD[q, None], shard.vectors_ND, kept, l2=l2)
        (best_QK[q],), (at_QK[q],) = best_first(scores_1W, kept, k, docid_of)
    settled = np.flatnonzero(enough_Q)
    for chunk in (settled[i : i + _TOGETHER] for i in range(0, len(settled), _TOGETHER)):
        there_QW = proposed_QW[chunk] >= least_Q[chunk, None]
        width = int(there_QW.sum(axis=1).max())
        rows = rows_QW[chunk, :width]
        scores = _scored(queries_QD[chunk], shard.vectors_ND, rows, l2=l2)
        scores[~there_QW[:, :width]] = -np.inf
        best_QK[chunk], at_QK[chunk] = best_first(scores, rows, k, docid_of)
    return best_QK, at_QK


def _margin(queries_QD: Array, largest_norm: float, *, l2: bool) -> Array:
    """How far below the k-th proposal a row may score and still belong to the k best."""
    import numpy as np

    norms_Q = np.linalg.norm(queries_QD.astype(np.float64), axis=1)
    u, terms = 2.0**-24, queries_QD.shape[1] + 4
    scale_Q = (norms_Q + largest_norm) ** 2 if l2 else norms_Q * largest_norm
    margin_Q: Array = 2.5 * terms * u / (1 - terms * u) * scale_Q + 1e-30
    return margin_Q


def _scored(queries_QD: Array, vectors_ND: Array, rows_QW: Array, *, l2: bool) -> Array:
    """Scores (Q, W) of each query with its rows, summed in float64 and rounded to float32.

    numpy sums along the vectors, which are contiguous, so a score depends on its two vectors alone.
    """
    import numpy as np

    queries_Q1D, vectors_QWD = queries_QD[:, None].astype(np.float64), vectors_ND[rows_QW].astype(np.float64)
    if l2:
        vectors_QWD -= queries_Q1D
        scores_QW = -np.einsum("qwd,qwd->qw", vectors_QWD, vectors_QWD)
    else:
        scores_QW = np.einsum("qwd,qd->qw", vectors_QWD, queries_Q1D[:, 0])
    rounded_QW: Array = scores_QW.astype(np.float32)
    return rounded_QW


def torch_proposals(device: str, *, l2: bool = False, scores_at_once: int = 1 << 26) -> Propose:
    """Proposals by matrix product and top-k in torch, on any device.

    Vectors go there in pieces, so large that all queries together have `scores_at_once` scores with one: 256 MB.
    """

    def propose(queries_QD: Array, vectors_ND: Array, wanted: int) -> tuple[Array, Array]:
        import torch

        precision = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")  # the bound above is float32's, not TF32's
        try:
            queries = torch.from_numpy(queries_QD).to(device)
            best = torch.empty((len(queries_QD), 0), device=device)
            rows = torch.empty((len(queries_QD), 0), dtype=torch.int64, device=device)
            rows_at_once = max(1, scores_at_once // len(queries_QD))
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
