"""What a run was made of, in a JSON file beside it: `bm25.trec` has `bm25.trec.json`.

The run's own SHA-256 stands in it, so a description that belongs to another version of the run is not believed.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from rankrl import __version__
from rankrl.errors import DataError
from rankrl.files import atomic_writer, content_sha256, open_text

LIBRARIES = ("numpy", "torch", "transformers", "bm25s", "pyserini", "faiss-cpu", "faiss-gpu", "sentence-transformers")

_HASH = "run_sha256"


def provenance_path(run: str | Path) -> Path:
    """The file that describes a run."""
    return Path(f"{run}.json")


def check_provenance(run: str | Path) -> None:
    """Nothing, if a run of that name can be described; asked before hours are spent on it.

    Raises:
        DataError: in the place of the description is a file that describes no run.
    """
    path = provenance_path(run)
    if path.exists() and not _describes_a_run(path):
        raise DataError(f"{path} describes no run and was left as it is; move it away, or give {run} another name")


def write_provenance(run: str | Path, facts: Mapping[str, Any]) -> None:
    """Describe a run that has been written: `facts`, the command, versions, the time (UTC) and the run's SHA-256.

    A fact that JSON has no type for is written as its text.

    Raises:
        DataError: the run cannot be read, or in the place of the description is a file that describes no run.
    """
    check_provenance(run)
    path = provenance_path(run)
    whole = {**facts, "made_by": surroundings(), _HASH: content_sha256(run)}
    with atomic_writer(path) as file:
        file.write(json.dumps(whole, indent=2, ensure_ascii=False, default=str) + "\n")


def read_provenance(run: str | Path) -> dict[str, Any] | None:
    """What stands beside a run, or None when nothing does: no such file, or one of another kind (`run.json` beside `run`).

    Raises:
        DataError: the description is no JSON object, or was written for another content of the run.
    """
    path = provenance_path(run)
    if not path.is_file():
        return None
    with open_text(path, what="provenance") as file:
        try:
            found = json.load(file)
        except ValueError as error:  # a UnicodeDecodeError is one too
            raise DataError(f"{path}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected a JSON object")
    if _HASH not in found:
        return None
    if found[_HASH] != (now := content_sha256(run)):
        raise DataError(
            f"{path} describes another version of {run} (its SHA-256 is {now}); delete it, or make the run again"
        )
    return found


def source_sha256(path: str | Path) -> str | None:
    """The SHA-256 of a file that something was made of; None of a pipe, whose content is gone once it was read."""
    return content_sha256(path) if Path(path).is_file() else None


def source_facts(run: str | Path) -> tuple[dict[str, Any], str]:
    """(what is recorded about a run that something is made of, what was wrong with its own description or "").

    The record: `path`, `sha256` (None of a pipe) and `described_as`, the run's own description; None where it has none, or
    one that cannot be believed. To be called before the output may replace the run.
    """
    facts: dict[str, Any] = {"path": str(run), "sha256": source_sha256(run), "described_as": None}
    if facts["sha256"] is None:
        return facts, ""
    try:
        facts["described_as"] = read_provenance(run)
    except DataError as error:
        return facts, f"left out of the new description: {error}"
    return facts, ""


def _describes_a_run(path: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(found, dict) and _HASH in found


def surroundings() -> dict[str, Any]:
    """Versions, machine, command line and time: what a description says besides the facts of its run."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "rankrl": __version__,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": versions,
    }
