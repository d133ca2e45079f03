"""Scores runs against qrels, topic by topic. The sums are trec_eval's, through ir_measures."""

from rankrl.evaluation.orders import Ties, best_of_ties, ceiling, ties_of, worst_of_ties
from rankrl.evaluation.scoring import (
    Evaluation,
    Order,
    Topics,
    by_score,
    evaluate,
    evaluate_stream,
    mean_interval,
    mean_intervals,
)

__all__ = [
    "Evaluation",
    "Order",
    "Ties",
    "Topics",
    "best_of_ties",
    "by_score",
    "ceiling",
    "evaluate",
    "evaluate_stream",
    "mean_interval",
    "mean_intervals",
    "ties_of",
    "worst_of_ties",
]
