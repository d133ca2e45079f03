"""Where a model's files are, and one number for what is in them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from rankrl.errors import DataError
from rankrl.pretrained import hub_away, looks_local

_WEIGHTS = (".safetensors", ".bin", ".pt", ".model")
_READ = (*_WEIGHTS, ".json", ".txt", ".py", ".jinja")
_LEFT_OUT = ("onnx", "openvino", "coreml", "eval", "data_config.json", "train_script.py")
_NOT_FETCHED = [
    "onnx/*",
    "openvino/*",
    "coreml/*",
    "*.onnx",
    "*.h5",
    "*.msgpack",
    "*.ot",
    "*.gguf",
    "*.mlmodel",
    "*.npz",
]
_SHA256 = re.compile(r"[0-9a-f]{64}")


def model_folder(name: str) -> Path:
    """The folder that holds the files of a model: `name` itself, or where the hub's client keeps what has that name.

    Raises:
        DataError: no such folder, and the hub does not have it or cannot be asked.
    """
    path = Path(name)
    if path.is_dir():
        if not any((path / file).is_file() for file in ("config.json", "modules.json")):
            raise DataError(f"no model in {name}: the folder has neither config.json nor modules.json")
        return path
    if path.exists():
        raise DataError(f"no model at {name}: it is a file; give the folder that has config.json")
    if looks_local(name):
        raise DataError(
            f"no model at {name}: give minilm, a folder with config.json, or a name on the Hugging Face hub"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    away = hub_away()
    try:
        return Path(snapshot_download(name, ignore_patterns=_NOT_FETCHED, local_files_only=bool(away)))
    except (OSError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        hub = f"{away} and it is not in the cache" if away else f"says: {first}"
        raise DataError(f"no model {name!r}: there is no such folder, and the Hugging Face hub {hub}") from error


def fingerprint(folder: Path) -> str:
    """SHA-256 over names and contents of the files that decide what a model computes: weights, configurations, vocabularies.

    Where a file comes as safetensors and in an older format, the safetensors count. Files in the hub's cache are links to
    files named by their SHA-256, which is believed.
    """
    whole = hashlib.sha256()
    for path in _files(folder):
        whole.update(f"{path.relative_to(folder).as_posix()}\0{_sha256(path)}\n".encode())
    return whole.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if (
            path.suffix not in _READ
            or inside.parts[0] in _LEFT_OUT
            or any(part.startswith(".") for part in inside.parts)
        ):
            continue
        older = path.suffix in (".bin", ".pt") and any(path.parent.glob("*.safetensors"))
        if path.is_file() and not older:
            yield path


def _sha256(path: Path) -> str:
    if path.is_symlink() and _SHA256.fullmatch(named := path.resolve().name):
        return named
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
