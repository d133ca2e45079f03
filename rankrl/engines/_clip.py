"""Where texts are cut: by the tokens of a model, with nothing left in them that the tokenizer takes for a token of its own."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

_MARKUP = re.compile(r"[<\[{|｜].*\w.*[>\]}|｜]", re.DOTALL)
_WORD_START = "\u2581"
"""What sentencepiece writes for a blank; some vocabularies list control tokens with it, such as `▁<EOT>`."""

_ROUNDS = 8


class TokenClip:
    """A function (text, max_tokens) -> the longest beginning of `text` that has at most `max_tokens` tokens.

    The text is cut, never re-spelled, but for one thing: what the tokenizer would read as one of its own control tokens
    (`<|im_end|>`, `[MASK]`, `<unk>`, …) gets a blank after its first character, so that a passage can neither end a turn nor
    begin one. Control tokens are the added tokens that are flagged special or written in brackets or bars; words and runs of
    blanks that a vocabulary lists as added stay as they are. A character that several tokens share is kept whole.
    """

    def __init__(self, tokenizer: Any, *, cache_size: int = 65_536) -> None:
        self.tokenizer = tokenizer
        spelled, self._ids = _control_tokens(tokenizer)
        self._control = (
            re.compile("|".join(map(re.escape, sorted(spelled, key=len, reverse=True)))) if spelled else None
        )
        self._cached = lru_cache(maxsize=cache_size)(self._clip)

    def __call__(self, text: str, max_tokens: int) -> str:
        return self._cached(text, max_tokens)

    def _clip(self, text: str, max_tokens: int) -> str:
        start = text[
            : 12 * max_tokens + 64
        ]  # far more than max_tokens tokens, nearly always: the rest need not be read
        if len(start) < len(text) and len(cut := self._clipped(start, max_tokens)) + 64 <= len(start):
            return cut
        return self._clipped(text, max_tokens)

    def _clipped(self, text: str, max_tokens: int) -> str:
        fast = bool(getattr(self.tokenizer, "is_fast", False))
        text = self._broken(text)
        encoded = self._encoded(text, fast)
        for _ in range(_ROUNDS if fast else 0):
            if not (found := self._found(encoded["input_ids"], encoded["offset_mapping"], text)):
                break
            for start in found:  # from the last to the first, so that the places stay true
                text = f"{text[: start + 1]} {text[start + 1 :]}"
            encoded = self._encoded(text, fast)
        token_ids: list[int] = encoded["input_ids"]
        if len(token_ids) <= max_tokens:
            return text
        if fast:
            return text[: encoded["offset_mapping"][max_tokens - 1][1]]
        return str(self.tokenizer.decode(token_ids[:max_tokens], clean_up_tokenization_spaces=False))

    def _encoded(self, text: str, fast: bool) -> Any:
        return self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=fast, verbose=False)

    def _broken(self, text: str) -> str:
        """`text` with a blank after the first character of what is spelled like a control token, until none is left."""
        for _ in range(_ROUNDS):
            if self._control is None or not self._control.search(text):
                break
            text = self._control.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
        return text

    def _found(self, token_ids: list[int], offsets: list[tuple[int, int]], text: str) -> list[int]:
        """Where a control token was read all the same, last first: a normalizer may make one of other characters."""
        places = []
        for token, (start, end) in zip(token_ids, offsets, strict=True):
            if token in self._ids:
                start += len(text[start:end]) - len(text[start:end].lstrip())
                if end - start > 1:
                    places.append(start)
        return places[::-1]

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.tokenizer,))


def _control_tokens(tokenizer: Any) -> tuple[Collection[str], frozenset[int]]:
    """(how the control tokens are written, their ids without that of the unknown token, which ordinary text may have)."""
    added = dict(getattr(tokenizer, "added_tokens_decoder", {}))
    special = {str(token): i for i, token in added.items() if getattr(token, "special", False)}
    special |= dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=False))
    marked = {str(token): i for i, token in added.items() if _MARKUP.fullmatch(str(token).strip(_WORD_START + " "))}
    control = {text.strip(_WORD_START + " "): i for text, i in {**special, **marked}.items()}
    control = {text: i for text, i in control.items() if len(text.strip()) > 1}
    return control.keys(), frozenset(control.values()) - {tokenizer.unk_token_id}
