"""Runs and qrels: the only room that knows their files, and how trec_eval reads a ranking out of scores."""

from rankrl.runs.trec import (
    parse_qrels,
    parse_run,
    ranked,
    read_qrels,
    read_run,
    strictly_decreasing,
    write_qrels,
    write_run,
)

__all__ = [
    "parse_qrels",
    "parse_run",
    "ranked",
    "read_qrels",
    "read_run",
    "strictly_decreasing",
    "write_qrels",
    "write_run",
]
