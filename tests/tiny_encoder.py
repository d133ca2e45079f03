"""A random BERT with a word-piece tokenizer, made in well under a second, offline: plain, or as a sentence-transformers model."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

WORDS = """
the of and heart blood cell gene protein mouse drug trial dose risk virus vaccine lung immune infection query passage search river
mountain sea moon earth light capital france rome bread water salt milk cheese program number file policy reward
"""


def build(
    folder: str | Path,
    *,
    seed: int = 0,
    hidden_size: int = 32,
    layers: int = 2,
    positions: int = 64,
    pooling: str | None = None,
    prompts: dict[str, str] | None = None,
    similarity: str | None = None,
) -> Path:
    """The folder, now with an encoder; equal arguments give equal bytes of weights.

    pooling: None for a plain transformers encoder, else a sentence-transformers model pooled like that (its own names: mean,
    cls, lasttoken), with prompts and similarity.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = [*string.ascii_lowercase, *string.digits, *":,.?!-'"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {
        token: i for i, token in enumerate([*special, *WORDS.split(), *letters, *("##" + letter for letter in letters)])
    }
    pieces = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=positions,
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=positions,
        initializer_range=0.2,  # so that texts differ in more than their length
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(config)
    plain = Path(folder) if pooling is None else Path(folder) / "plain"
    model.save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    if pooling is not None:
        _as_sentence_transformer(plain, Path(folder), pooling, prompts, similarity)
    return Path(folder)


def _as_sentence_transformer(
    plain: Path, folder: Path, pooling: str, prompts: dict[str, str] | None, similarity: str | None
) -> None:
    import shutil

    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    reader = Transformer(str(plain))
    options: dict[str, Any] = {"prompts": prompts, "similarity_fn_name": similarity}
    modules = [reader, Pooling(reader.get_embedding_dimension(), pooling)]
    SentenceTransformer(modules=modules, device="cpu", **options).save(str(folder))
    shutil.rmtree(plain)
