"""A random T5 of a few thousand weights with a sentencepiece-like tokenizer, made in under a second, offline."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

WORDS = ("\u2581true", "\u2581false", "\u2581yes", "\u2581no", "\u2581Passage", "\u2581A", "\u2581B", "\u2581Relevant")
"""Words that are one token each, as they are in the vocabularies of published models."""


def _text() -> str:
    spec = importlib.util.spec_from_file_location("tiny_model", Path(__file__).with_name("tiny_model.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.TEXT)


def build(folder: str | Path, *, seed: int = 0, hidden_size: int = 32, layers: int = 2, factor: float = 1.5) -> Path:
    """The folder, now with config, weights and tokenizer; equal arguments give equal bytes of weights.

    factor: scale of the initial weights; with the usual 1.0 all answers are alike.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    special = ["<pad>", "</s>", "<unk>"]
    pieces = Tokenizer(models.Unigram())
    pieces.normalizer = normalizers.NFKC()
    pieces.pre_tokenizer = pre_tokenizers.Metaspace()
    pieces.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token="<unk>", show_progress=False)
    pieces.train_from_iterator(_text().splitlines(), trainer)
    spelled = json.loads(pieces.to_str())
    spelled["model"]["vocab"] += [[word, -1.0] for word in WORDS if word not in dict(spelled["model"]["vocab"])]
    pieces = Tokenizer.from_str(json.dumps(spelled))
    pieces.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=hidden_size,
        d_kv=hidden_size // 4,
        d_ff=2 * hidden_size,
        num_layers=layers,
        num_heads=4,
        initializer_factor=factor,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        dropout_rate=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)
