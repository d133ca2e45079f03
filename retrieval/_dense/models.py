"""Models of two libraries behind one function each: texts in, float32 vectors out, and what the model's configuration says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl.errors import ConfigError, DataError, MissingDependencyError

from .families import family_of

if TYPE_CHECKING:
    import numpy as np

    from .encoder import EncoderOptions

    Array = np.ndarray[Any, Any]

POOLINGS = ("mean", "cls", "last")

Embed = Callable[[list[str], str, bool], "Array"]
"""(texts of one batch, prefix, whether they are queries) -> float32 vectors (B, D)."""

_LIBRARYS_POOLING = {"last": "lasttoken"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a loader found: how to embed, and what the model's own configuration says (None: nothing)."""

    embed: Embed
    library: str
    pooling: str
    max_tokens: int
    query_prompt: str = ""
    document_prompt: str = ""
    similarity: str | None = None


def sentence_transformer(folder: Path, device: str, options: EncoderOptions) -> Loaded:
    """A model that sentence-transformers runs, with its own modules."""
    import torch

    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.sentence_transformer.modules import Pooling
    except ImportError:
        raise MissingDependencyError(f"sentence-transformers, which {options.model} needs,", extra="dense") from None
    model = SentenceTransformer(
        str(folder),
        device=device,
        local_files_only=True,
        trust_remote_code=options.trust_remote_code,
        model_kwargs={"dtype": getattr(torch, options.dtype)},
    )
    poolings = [module for module in model if isinstance(module, Pooling)]
    if options.pooling != "auto":
        if len(poolings) != 1:
            raise ConfigError(f"pooling is {options.pooling}, but {options.model} has its own way; leave pooling out")
        if poolings[0].pooling_output_dimension != poolings[0].embedding_dimension:
            raise ConfigError(f"{options.model} joins several poolings: {poolings[0].pooling_mode}; leave pooling out")
        poolings[0].pooling_mode = _LIBRARYS_POOLING.get(options.pooling, options.pooling)
    limit = int(model.max_seq_length or 512)
    model.max_seq_length = _within(limit, _positions(model.transformers_model, limit), options)

    def embed(texts: list[str], prefix: str, as_query: bool) -> Array:
        encode = model.encode_query if as_query else model.encode_document
        found: Array = encode(texts, prompt=prefix, batch_size=len(texts), show_progress_bar=False)
        return found.astype("float32", copy=False)

    prompts = model.prompts or {}
    documents_ = (prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name))
    back = {theirs: ours for ours, theirs in _LIBRARYS_POOLING.items()}
    modes = [back.get(str(module.pooling_mode), str(module.pooling_mode)) for module in poolings]
    # asking for `similarity_fn_name` would settle it on cosine, so a model that says nothing could not be told apart
    own = {"cosine": "cosine", "dot": "dot", "euclidean": "l2", None: None}
    if (says := model._similarity_fn_name) not in own and options.similarity == "auto":
        raise ConfigError(f"{options.model} compares by {says}, which no index here can; give similarity")
    return Loaded(
        embed,
        library=f"sentence-transformers {version('sentence-transformers')}",
        pooling=", ".join(modes) or "its own",
        max_tokens=int(model.max_seq_length),
        query_prompt=prompts.get("query") or "",
        document_prompt=next(documents_, ""),
        similarity=own.get(says),
    )


def plain(folder: Path, device: str, options: EncoderOptions) -> Loaded:
    """An encoder that transformers runs, pooled here."""
    import numpy as np
    import torch
    from transformers import AutoModel, AutoTokenizer

    family = family_of(options.model)
    pooling = options.pooling if options.pooling != "auto" else (family.pooling if family else "")
    if not pooling:
        raise ConfigError(
            f"{options.model} is no sentence-transformers model and does not say how its token vectors become one: "
            f"give pooling: {', '.join(POOLINGS)}"
        )
    trusted = {"trust_remote_code": options.trust_remote_code, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right", **trusted)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model, loading = AutoModel.from_pretrained(
        folder, dtype=getattr(torch, options.dtype), output_loading_info=True, **trusted
    )
    if absent := sorted(key for key in loading["missing_keys"] if "pooler" not in key):
        raise DataError(
            f"the weights in {folder} lack {len(absent)} tensors that its config.json asks for (the first: {absent[0]}); "
            "they would be random, so this is not a trained encoder"
        )
    model = (model.get_encoder() if model.config.is_encoder_decoder else model).to(device).eval()
    limit = min(int(tokenizer.model_max_length), _positions(model, 512))
    max_tokens = _within(limit, limit, options)

    @torch.inference_mode()
    def embed(texts: list[str], prefix: str, as_query: bool) -> Array:
        tokens = tokenizer(
            [prefix + text for text in texts], padding=True, truncation=True, max_length=max_tokens, return_tensors="pt"
        ).to(device)
        if tokens["input_ids"].shape[1] == 0:  # nothing but empty texts, and a tokenizer that adds no marker
            return np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
        states_BTD = model(**tokens).last_hidden_state.float()
        pooled: Array = _pooled(states_BTD, tokens["attention_mask"], pooling).cpu().numpy()
        return pooled

    return Loaded(
        embed,
        library=f"transformers {version('transformers')}",
        pooling=pooling,
        max_tokens=max_tokens,
        similarity=family.similarity if family else None,
    )


def _pooled(states_BTD: Any, mask_BT: Any, pooling: str) -> Any:
    """One vector per text; padding is on the right. A text without a token gets zeros."""
    import torch

    mask_BT1 = mask_BT.unsqueeze(-1).to(states_BTD.dtype)
    if pooling == "mean":
        return (states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1).clamp(min=1e-9)
    at_B = torch.zeros_like(mask_BT[:, 0]) if pooling == "cls" else (mask_BT.sum(1) - 1).clamp(min=0)
    rows_B = torch.arange(len(states_BTD), device=states_BTD.device)
    return (states_BTD * mask_BT1)[rows_B, at_B]


def _positions(model: Any, otherwise: int) -> int:
    """How many tokens a transformer has positions for; `otherwise` when its configuration does not say."""
    import torch

    found = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if not isinstance(found, int) or found <= 0:
        return otherwise
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            # RoBERTa and its kin count positions from the one after the padding's
            return found if module.padding_idx is None else found - module.padding_idx - 1
    return found


def _within(default: int, most: int, options: EncoderOptions) -> int:
    if options.max_tokens is None:
        return min(default, most)
    if options.max_tokens > most:
        raise ConfigError(f"max_tokens is {options.max_tokens}, but {options.model} reads {most} at most; lower it")
    return options.max_tokens
