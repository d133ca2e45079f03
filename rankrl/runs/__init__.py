"""Runs and qrels: the only room that knows their files, and how trec_eval reads a ranking out of scores."""

from rankrl.runs.qrels import parse_qrels, write_qrels
from rankrl.runs.ranking import ranked, strictly_decreasing
from rankrl.runs.reading import QRELS_FORMATS, RUN_FORMATS, read_qrels, read_run, stream_run, write_run
from rankrl.runs.results import RunNotes
from rankrl.runs.trec import parse_run

__all__ = [
    "QRELS_FORMATS",
    "RUN_FORMATS",
    "RunNotes",
    "parse_qrels",
    "parse_run",
    "ranked",
    "read_qrels",
    "read_run",
    "stream_run",
    "strictly_decreasing",
    "write_qrels",
    "write_run",
]
