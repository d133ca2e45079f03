"""Candidates that somebody else found: those of a run file, or those that a collection of query lines comes with.

With it a stored run takes part wherever a retriever does: in `hybrid`, in training, in a report.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl.errors import ConfigError
from rankrl.types import CandidateList, Query, Run

if TYPE_CHECKING:
    from .collections import Collection

OPTIONS = {"run": "a run file over this collection (default: the candidates that the collection comes with)"}
"""Parameter of `from_collection` -> one line of help."""


class Stored:
    """A retriever that gives what a run lists for the qid of a query, best first (trec_eval's order); the text is not read.

    made_by: what is recorded as the run's origin (JSON types).
    """

    def __init__(self, collection: Collection, run: Run, made_by: dict[str, Any] | None = None) -> None:
        self._collection, self._run, self._made_by = collection, run, made_by or {}

    @classmethod
    def from_collection(cls, collection: Collection, *, run: Path | None = None) -> Stored:
        """A retriever over a run file, or over the candidates of the collection.

        Raises:
            DataError: the run cannot be read.
            ConfigError: no run is given and the collection has no candidates.
        """
        if run is not None:
            from rankrl.files import content_sha256
            from rankrl.runs import read_run

            found: Run = read_run(run)
            return cls(collection, found, {"run": str(run), "sha256": content_sha256(run)})
        own = collection.stored_run()
        if own is None:
            raise ConfigError(
                f"the collection {collection.name} comes without candidates; give a run file: run, or --run FILE"
            )
        return cls(collection, own, {"run": f"the candidates of {collection.name}"})

    @property
    def provenance(self) -> dict[str, Any]:
        """The run and its SHA-256."""
        return {"retriever": "stored", **self._made_by}

    def search(self, queries: Sequence[Query], k: int) -> list[CandidateList]:
        """One list per query, best first, at most k documents each; empty for a query that the run does not list.

        Raises:
            ConfigError: k < 1.
            DataError: the run names a document that the collection does not have.
        """
        from .collections import candidate_lists

        if k < 1:
            raise ConfigError(f"k is {k}; it must be at least 1")
        return candidate_lists(self._collection, self._run, queries, k)
