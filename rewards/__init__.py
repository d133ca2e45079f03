"""Rewards, one public pure function per module: `rewards/ndcg.py` holds `ndcg`, used as `--reward ndcg`."""

__part_of__ = "rankrl"
