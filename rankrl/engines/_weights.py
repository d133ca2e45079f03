"""What the files of a model say about its weights, for engines that hold them where they cannot be looked at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
_CONFIGS = ("config.json", "adapter_config.json", "generation_config.json", "quantization_config.json")
_SAMPLES, _WIDTH = 16, 64


def files_fingerprint(folder: str | Path) -> str:
    """A hash of a model or adapter folder: its configurations whole, its weight files by samples.

    Of a safetensors file every tensor is sampled, of others the file: 16 pieces of 64 bytes, first and last included, beside
    names, shapes and sizes. A change of single numbers can go unseen, one by training does not. What the folder is called
    and holds besides does not enter.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(folder).iterdir()):
        if path.name in _CONFIGS:
            digest.update(f"{path.name}\0".encode() + path.read_bytes())
        elif path.suffix in _WEIGHTS and path.is_file():
            size = path.stat().st_size
            with path.open("rb") as file:
                described, parts = _parts(file, size) if path.suffix == ".safetensors" else ("", [(0, size)])
                digest.update(f"{path.name}\0{size}\0{described}\0".encode())
                for start, end in parts:
                    for piece in _sampled(file, start, end):
                        digest.update(piece)
    return digest.hexdigest()


def _parts(file: IO[bytes], size: int) -> tuple[str, list[tuple[int, int]]]:
    """(what the header of a safetensors file says of its tensors, where each begins and ends); the whole file without one."""
    length = int.from_bytes(file.read(8), "little")
    try:
        header = json.loads(file.read(length)) if length <= size - 8 else {}
        tensors = {name: tensor for name, tensor in sorted(header.items()) if name != "__metadata__"}
        places = [tensor["data_offsets"] for tensor in tensors.values()]
        return json.dumps(tensors, sort_keys=True), [(8 + length + start, 8 + length + end) for start, end in places]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", [(0, size)]


def _sampled(file: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    """Pieces spread evenly over a part of the file; the part itself when it is short."""
    if end - start <= _SAMPLES * _WIDTH:
        file.seek(start)
        yield file.read(end - start)
        return
    for i in range(_SAMPLES):
        file.seek(start + (end - start - _WIDTH) * i // (_SAMPLES - 1))
        yield file.read(_WIDTH)
