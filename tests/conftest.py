"""Offline, quiet, single-threaded; one tiny model for every test that needs one."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("busy machine", settings.default, deadline=None)  # a deadline measures the neighbours
settings.load_profile("busy machine")

for _name, _value in {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
}.items():
    os.environ.setdefault(_name, _value)


@pytest.fixture(scope="session")
def tiny_model_builder():
    """`tests/tiny_model.build`, for tests that want a model of their own."""
    import torch

    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("tiny_model", Path(__file__).with_name("tiny_model.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build


@pytest.fixture(scope="session")
def tiny_model_dir(tiny_model_builder, tmp_path_factory) -> Path:
    """A folder with a random two-layer Qwen2 and its tokenizer; read-only by agreement."""
    return tiny_model_builder(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_encoder_builder():
    """`tests/tiny_encoder.build`: a random BERT of a few thousand weights, in a folder of its own."""
    import torch

    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("tiny_encoder", Path(__file__).with_name("tiny_encoder.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build
