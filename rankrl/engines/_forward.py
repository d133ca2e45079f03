"""Padded batches through a causal model: the prompts once, then what the choices add to them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Traits:
    """What a model's forward pass can be asked for.

    cache: the name of its argument for the key-value cache. positions, last_only: it takes position ids, it can compute
    the logits of the last positions alone. paddable: padding may stand in front of a prompt, and choices can go
    on from its cache; not so where an adapter puts tokens of its own in front. shareable: a common beginning of prompts can be
    computed once and padded after.
    """

    cache: str
    positions: bool
    last_only: bool
    paddable: bool
    shareable: bool


def traits_of(model: Any) -> Traits:
    """Read off the signature and the configuration of the model proper, an adapter's base.

    Sharing a beginning puts padding inside a prompt, which is exact where places come as position ids and attention reaches
    back over everything: not with sliding windows, chunks or recurrent layers, and not with prompt-tuning adapters.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    parameters = inspect.signature(inner.forward).parameters
    config = inner.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    sliding = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    tuned = any(getattr(c, "is_prompt_learning", False) for c in getattr(model, "peft_config", {}).values())
    whole = layers == {"full_attention"} and (not sliding or hasattr(config, "layer_types"))
    positions = "position_ids" in parameters
    shareable = positions and whole and not tuned and not inner.config.is_encoder_decoder
    cache = "cache" if "cache" in parameters else "past_key_values"
    return Traits(cache, positions, "logits_to_keep" in parameters, not tuned, shareable)


@dataclass(slots=True)
class Filled:
    """Prompts that went through the model. mask: 1 where there is a token (rows, width). lengths: tokens of each prompt.
    cache: their keys and values, None where the model keeps them another way. logits: (rows, vocabulary) of what comes next."""

    mask: Any
    lengths: Any
    cache: Any
    logits: Any


def padded(rows: Sequence[Sequence[int]], pad_id: int, device: Any, *, left: bool = True) -> tuple[Any, Any]:
    """(ids, mask), both int64 (rows, width)."""
    import torch

    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, place] = torch.tensor(row, dtype=torch.long)
        mask[i, place] = 1
    return ids.to(device), mask.to(device)


def with_shared(rows: Sequence[Sequence[int]], shared: int, pad_id: int, device: Any) -> tuple[Any, Any]:
    """(ids, mask) of prompts whose first `shared` tokens are alike and stand in front of the padding."""
    import torch

    ids, mask = padded([row[shared:] for row in rows], pad_id, device)
    if not shared:
        return ids, mask
    front = torch.tensor(rows[0][:shared], dtype=torch.long, device=device).expand(len(rows), -1)
    return torch.cat([front, ids], 1), torch.cat([torch.ones_like(front), mask], 1)


def forward(model: Any, traits: Traits, ids: Any, mask: Any, cache: Any, *, keep: int, fill: bool = False) -> Any:
    """The model's output for the last `ids.shape[1]` places of `mask`; logits of the last `keep` of them, 0 = of all."""
    asked: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "use_cache": fill or cache is not None}
    if traits.positions:
        asked["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    if traits.last_only and keep:
        asked["logits_to_keep"] = keep
    if cache is not None:
        asked[traits.cache] = cache
    return model(**asked)


def shared_cache(model: Any, traits: Traits, front: Sequence[int], rows: int) -> Any:
    """The cache of a beginning that `rows` prompts have in common, computed once; None where it cannot be reused."""
    import torch

    ids = torch.tensor([front], dtype=torch.long, device=model.device)
    made = forward(model, traits, ids, torch.ones_like(ids), None, keep=1, fill=True)
    return rows_of(getattr(made, traits.cache, None), [0] * rows)


def rows_of(cache: Any, rows: Sequence[int]) -> Any:
    """A new cache with these rows of one, which stays as it is; None for a cache that holds more than keys and values."""
    import torch
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    layers = getattr(cache, "layers", None)
    if not layers or any(type(layer) not in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        return None
    made = copy.copy(cache)
    made.layers = [copy.copy(layer) for layer in layers]
    made.batch_select_indices(torch.tensor(rows))
    return made


def fill(model: Any, traits: Traits, rows: Sequence[Sequence[int]], shared: int, pad_id: int, *, keep: bool) -> Filled:
    """The prompts through the model. keep: keep their keys and values too."""
    import torch

    ids, mask = with_shared(rows, shared, pad_id, model.device)
    cache = shared_cache(model, traits, rows[0][:shared], len(rows)) if shared else None
    keep = keep and traits.paddable
    made = forward(model, traits, ids[:, shared:] if cache is not None else ids, mask, cache, keep=1, fill=keep)
    held = getattr(made, traits.cache, None) if keep else None
    return Filled(mask, torch.tensor([len(row) for row in rows]), held, made.logits[:, -1].float())
