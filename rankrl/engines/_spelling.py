"""Tokens as texts, and the whole of what a tokenizer does as one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any


class Speller:
    """Spells answers, and single tokens as they stand in a text, with the blank before them that some tokenizers leave out at a
    beginning."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._before: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
        self._start = len(tokenizer.decode(self._before, clean_up_tokenization_spaces=False))
        self.token = lru_cache(maxsize=65_536)(self._token)

    def __call__(self, ids: Sequence[int]) -> str:
        """The text of an answer, without special tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _token(self, token: int) -> str:
        whole = self.tokenizer.decode([*self._before, token], clean_up_tokenization_spaces=False)
        return str(whole)[self._start :]


def vocabulary(tokenizer: Any) -> str:
    """What decides how a tokenizer splits texts, for fingerprints: its whole pipeline, or the words of a slow one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return str(backend.to_str()) if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
