"""From a name to a collection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rankrl.errors import ConfigError, unknown_name

from ._base import Collection, Source
from ._beir import LAYOUT, BeirFolder, required
from ._bright import HUB, Bright
from ._hub import HubBeir
from ._irds import NAMED, by_id, named
from ._lines import QueryLines
from ._tables import Tables

_BUNDLED = Path(__file__).parents[1] / "data"
_LINES_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.xz")

PATTERNS = {
    "beir:NAME": "a set of BEIR through ir_datasets, as beir:nfcorpus or beir:cqadupstack/android",
    "irds:ID": "any collection of ir_datasets by its id, as irds:vaswani",
    "bright:TASK": "a task of BRIGHT, as bright:biology; bright:biology-long, bright:biology+gpt4_reason, bright:FOLDER#biology",
    "hf:ORG/NAME": "a Hugging Face data set in BEIR's layout, as hf:mteb/nfcorpus; hf:ORG/NAME@REVISION, hf:FOLDER",
    "FOLDER": "corpus.jsonl, queries.jsonl and qrels/SPLIT.tsv, as BEIR has them",
    "FILE.jsonl": "lines of {query, passages, grades}",
}
"""Ways of naming a collection that is not bundled -> one line about each."""


def load_collection(name_or_path: str | Path) -> Collection:
    """The collection of that name: bundled, one of `summaries`, one of the ways in `PATTERNS`, a folder or a JSONL file.

    `./scifact` is a folder called like a bundled collection.

    Raises:
        ConfigError: there is no such collection.
        DataError: a folder lacks the corpus or the queries.
        MissingDependencyError: the library that reads it is not installed.
    """
    name = str(name_or_path)
    if not name.strip():  # a shell variable that is not set would otherwise be the current folder
        raise ConfigError("the collection's name is empty; see `rankrl list collections`")
    if name in (bundled := _bundled()):
        return Collection(name, BeirFolder(bundled[name]))
    if name in NAMED:
        return Collection(name, named(name))
    prefix, colon, rest = name.partition(":")
    if colon and prefix in _PREFIXES:
        if not rest:
            raise ConfigError(
                f"{name!r} names no collection; after {prefix}: comes its name, see `rankrl list collections`"
            )
        return Collection(name, _PREFIXES[prefix](rest))
    path = Path(name_or_path)
    if path.is_file() and path.name.endswith(_LINES_SUFFIXES):
        return Collection(path.name.split(".jsonl")[0], QueryLines(path))
    if not path.is_dir():
        hint = f"; or give {LAYOUT}, a FILE.jsonl of queries with passages, or one of {', '.join(list(PATTERNS)[:4])}"
        raise unknown_name("collection", name, [*bundled, *NAMED], hint=hint)
    for file in ("corpus.jsonl", "queries.jsonl"):
        required(path, file)
    return Collection(path.resolve().name, BeirFolder(path))


def summaries() -> dict[str, str]:
    """Name -> one line about each collection that has a name of its own, the bundled ones first."""
    bundled = {
        name: str(BeirFolder(folder).provenance.get("summary", "")) for name, folder in sorted(_bundled().items())
    }
    return bundled | NAMED


def _bundled() -> dict[str, Path]:
    return {path.parent.name: path.parent for path in _BUNDLED.glob("*/collection.json")}


def _beir(name: str) -> Source:
    return by_id(f"beir/{name}", identical_ids=True, kind="collection of BEIR")


def _hub(name: str) -> Source:
    if Path(name).expanduser().is_dir():
        return HubBeir(Tables(name))
    where, _, revision = name.partition("@")
    return HubBeir(Tables(where, revision or None))


def _bright(name: str) -> Source:
    where, mark, task = name.rpartition("#")
    task, _, asked = task.partition("+")
    tables = Tables(where if mark else HUB)
    if mark and tables.folder is None:
        raise ConfigError(f"there is no folder {where!r}; bright:FOLDER#TASK reads a local copy, bright:TASK the hub's")
    long = task.endswith("-long")
    return Bright(tables, task.removesuffix("-long"), asked or "examples", long)


_PREFIXES: dict[str, Callable[[str], Source]] = {"beir": _beir, "irds": by_id, "bright": _bright, "hf": _hub}
