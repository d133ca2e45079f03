"""From a name to a collection."""

from __future__ import annotations

from pathlib import Path

from rankrl.errors import unknown_name

from ._base import Collection
from ._beir import LAYOUT, BeirFolder, required

_BUNDLED = Path(__file__).parents[1] / "data"


def load_collection(name_or_path: str | Path) -> Collection:
    """The bundled collection of that name, or the one in a folder in BEIR layout (`./scifact` for a folder called like one).

    Raises:
        ConfigError: neither is there.
        DataError: the folder lacks the corpus or the queries.
    """
    if str(name_or_path) in (bundled := _bundled()):
        return Collection(str(name_or_path), BeirFolder(bundled[str(name_or_path)]))
    folder = Path(name_or_path)
    if not folder.is_dir():
        raise unknown_name("collection", str(name_or_path), bundled, hint=f"; or give {LAYOUT}")
    for name in ("corpus.jsonl", "queries.jsonl"):
        required(folder, name)
    return Collection(folder.resolve().name, BeirFolder(folder))


def summaries() -> dict[str, str]:
    """Name -> one line about each bundled collection."""
    return {name: str(BeirFolder(folder).provenance.get("summary", "")) for name, folder in sorted(_bundled().items())}


def _bundled() -> dict[str, Path]:
    return {path.parent.name: path.parent for path in _BUNDLED.glob("*/collection.json")}
