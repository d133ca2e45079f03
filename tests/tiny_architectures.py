"""Random causal models of several architectures, made in a second or two, offline: absolute and rotary places, ALiBi, sliding
windows, recurrent layers. All read and write with the tokenizer of `tiny_model`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.3}
GROUPED = {**SMALL, "intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": 512}

OPT = {"word_embed_proj_dim": 32, "ffn_dim": 64, "max_position_embeddings": 512, "init_std": 0.3}
LAYERS = ["sliding_attention", "full_attention"]

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512, "initializer_range": 0.3}),
    "llama": ("llama", GROUPED),
    "opt": ("opt", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, **OPT}),
    "bloom": ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.3}),
    "mistral with a window": ("mistral", {**GROUPED, "sliding_window": 24}),
    "gemma3 with a window": ("gemma3_text", {**GROUPED, "head_dim": 8, "sliding_window": 16, "layer_types": LAYERS}),
    "qwen3": ("qwen3", {**GROUPED, "head_dim": 8}),
    "mamba": ("mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "initializer_range": 0.3}),
}


def build(folder: str | Path, kind: str, *, seed: int = 0) -> Path:
    """The folder, now with a model of that kind; equal arguments give equal bytes of weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    folder = Path(folder)
    spec = importlib.util.spec_from_file_location("tiny_model", Path(__file__).with_name("tiny_model.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.build(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for file in folder.glob("*config.json"):
        if not file.name.startswith("tokenizer"):
            file.unlink()
    name, options = KINDS[kind]
    config = AutoConfig.for_model(
        name,
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **options,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    return folder
