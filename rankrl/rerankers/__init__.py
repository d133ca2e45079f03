"""Rerankers, one per module: what to ask, how to read the answer, how to order a list with it."""
