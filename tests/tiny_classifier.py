"""Random sequence classifiers, made in about a second, offline: a BERT over word pieces, and a Qwen2 with a score head."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any


def _beside(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(folder: str | Path, *, kind: str = "bert", labels: int = 1, seed: int = 0, positions: int = 64) -> Path:
    """The folder, now with a classifier and its tokenizer; equal arguments give equal bytes of weights. kind: bert or qwen2."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification

    folder = Path(folder)
    if kind == "bert":
        _beside("tiny_encoder").build(folder, positions=positions)
    else:
        _beside("tiny_model").build(folder, context=positions, initializer_range=0.3)
    config = AutoConfig.from_pretrained(folder, num_labels=labels)
    for file in (*folder.glob("*.safetensors"), *folder.glob("generation_config.json")):
        file.unlink()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(config)
        torch.nn.init.normal_(getattr(model, "classifier", getattr(model, "score", None)).weight)
    model.save_pretrained(folder)
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return folder
