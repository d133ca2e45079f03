"""A key-value cache that does not copy itself at every token."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


def roomy(model: Any, cache: Any = None) -> Any:
    """A cache for generation, an empty one or one that goes on from `cache`, with room for the tokens to come; None for a
    model that makes its own.

    The layers of transformers copy all keys and values at every token: on a CPU, for 50 rows of 350 tokens, a quarter of the
    time of a step. Layers of other kinds, such as sliding windows, stay as they are.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer

    if cache is None and not model._supports_default_dynamic_cache():
        return None
    made = DynamicCache(config=model.config.get_text_config(decoder=True)) if cache is None else cache
    made.layers = [_growing()(layer) if type(layer) is DynamicLayer else layer for layer in made.layers]
    return made


@lru_cache
def _growing() -> Any:
    """The class of a layer that writes new keys and values into memory that it has taken before."""
    from transformers.cache_utils import DynamicLayer

    class GrowingLayer(DynamicLayer):  # type: ignore[misc]
        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.__dict__.update(layer.__dict__)
            self.taken: dict[str, Any] = {}

        def update(self, key_states: Any, value_states: Any, *args: Any, **more: Any) -> tuple[Any, Any]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            for name, new in (("keys", key_states), ("values", value_states)):
                setattr(self, name, self._appended(name, getattr(self, name), new))
            return self.keys, self.values

        def _appended(self, name: str, held: Any, new: Any) -> Any:
            """What the layer holds, with the new places behind it: a view of a part of what it has taken."""
            places = held.shape[-2] if held.numel() else 0
            end, taken = places + new.shape[-2], self.taken.get(name)
            if taken is None or taken.shape[-2] < end:
                taken = new.new_empty((*new.shape[:-2], end + end // 8 + 64, new.shape[-1]))
                if places:
                    taken[..., :places, :] = held
                self.taken[name] = taken
            taken[..., places:end, :] = new
            return taken[..., :end, :]

    return GrowingLayer
