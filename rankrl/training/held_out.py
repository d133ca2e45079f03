"""Held-out topics, reranked by the policy in training: the number that says whether training helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rankrl.contracts import Reranker
from rankrl.engines.drive import drive
from rankrl.engines.ledger import Ledger
from rankrl.engines.transformers import TransformersEngine
from rankrl.metrics import ndcg
from rankrl.types import CandidateList, Qrels


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Topics that are never trained on, as candidate lists of the first stage, and their judgments."""

    listings: Sequence[CandidateList]
    qrels: Qrels
    max_new_tokens: int
    batch_size: int = 16

    def first_stage(self) -> float:
        """Mean nDCG@10 of the candidates in first-stage order: what the policy has to beat."""
        return self._mean([ndcg(listing.docids, self.qrels[listing.query.qid]) for listing in self.listings])

    def measure(
        self,
        model: Any,
        tokenizer: Any,
        reranker: Reranker,
        accelerator: Any,
        *,
        chat_template_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, float]:
        """Mean nDCG@10 after greedy reranking with `model`, and the part of cut answers; each process does its share.

        Greedy decoding draws no random numbers, so measuring does not change what training would have sampled.
        """
        from accelerate.utils import gather_object

        mine = self.listings[accelerator.process_index :: accelerator.num_processes]
        with TransformersEngine.borrowed(
            model,
            tokenizer,
            max_new_tokens=self.max_new_tokens,
            batch_size=self.batch_size,
            chat_template_kwargs=chat_template_kwargs,
        ) as engine:
            ledger = Ledger(engine)
            rankings = drive([reranker.order(listing) for listing in mine], ledger)
        pairs = zip(mine, rankings, strict=True)
        scores = gather_object([ndcg(r.docids(listing), self.qrels[listing.query.qid]) for listing, r in pairs])
        calls, cut = (sum(gather_object([n])) for n in (ledger.cost.calls, ledger.cost.truncated))
        return {
            "ndcg@10": self._mean(scores),
            "first_stage_ndcg@10": self.first_stage(),
            "cut_answers": cut / max(calls, 1),
        }

    @staticmethod
    def _mean(values: Sequence[float]) -> float:
        return sum(values) / len(values) if values else 0.0
