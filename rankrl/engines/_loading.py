"""Models and tokenizers from folders, adapters and the hub, and one line about what is wrong when they do not load."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from rankrl.errors import ConfigError, DataError
from rankrl.files import open_text
from rankrl.pretrained import hub_away, looks_local


class TokenClip:
    """A function (text, max_tokens) -> the longest beginning of `text` that has at most `max_tokens` tokens.

    The text is cut, never re-spelled. A character that several tokens share is kept whole.
    """

    def __init__(self, tokenizer: Any, *, cache_size: int = 65_536) -> None:
        self.tokenizer = tokenizer
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
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=fast, verbose=False)
        token_ids = encoded["input_ids"]
        if len(token_ids) <= max_tokens:
            return text
        if fast:
            return text[: encoded["offset_mapping"][max_tokens - 1][1]]
        return str(self.tokenizer.decode(token_ids[:max_tokens], clean_up_tokenization_spaces=False))

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.tokenizer,))


def load_model(name: str, device: str, dtype: str, *, trainable: bool = False) -> tuple[Any, Any]:
    """(model in evaluation mode on `device`, its tokenizer); an adapter comes with its base."""
    adapter = Path(name) / "adapter_config.json"
    base = _base_of(adapter) if adapter.is_file() else name
    _check_local(base)
    chosen = _dtype(dtype, device)
    tokenizer = load_tokenizer(name)
    with _quiet_unless_terminal(), _told_in_one_line(base):
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(base, dtype=chosen, local_files_only=_without_hub(base))
    if adapter.is_file():
        from peft import PeftModel

        with _quiet_unless_terminal(), _told_in_one_line(name):
            model = PeftModel.from_pretrained(model, name, is_trainable=trainable)
    return model.to(device).eval(), tokenizer


def check_template(tokenizer: Any, name: str) -> None:
    if not tokenizer.chat_template:
        raise ConfigError(f"the tokenizer of {name} has no chat template; use an instruct model, or add one")


def load_tokenizer(name: str) -> Any:
    """The tokenizer of a model or adapter folder or hub name, padding on the left as generation needs it.

    Raises:
        DataError: no model there. ConfigError: a tokenizer without chat template.
    """
    adapter = Path(name) / "adapter_config.json"
    base = _base_of(adapter) if adapter.is_file() else name
    _check_local(base)
    with _quiet_unless_terminal(), _told_in_one_line(base):
        from transformers import AutoTokenizer

        spelled = adapter.is_file() and (Path(name) / "tokenizer_config.json").is_file()
        tokenizer = AutoTokenizer.from_pretrained(
            name if spelled else base, padding_side="left", local_files_only=_without_hub(base)
        )
    check_template(tokenizer, name)
    return tokenizer


def context_length(name: str) -> int | None:
    """How many tokens the model of a folder, adapter folder or hub name takes; None when its configuration does not say."""
    adapter = Path(name) / "adapter_config.json"
    base = _base_of(adapter) if adapter.is_file() else name
    with _told_in_one_line(base):
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(base, local_files_only=_without_hub(base)).get_text_config()
    return getattr(config, "max_position_embeddings", None)


def _base_of(adapter: Path) -> str:
    """The model that a PEFT adapter stands on; a relative path counts from here, else from the adapter's folder."""
    import json

    with open_text(adapter, what="adapter config") as file:
        try:
            base = json.load(file)["base_model_name_or_path"]
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{adapter} names no base_model_name_or_path; it is not a PEFT adapter") from None
    if not Path(base).is_dir() and (beside := adapter.parent / base).is_dir():
        return str(beside)
    if not Path(base).is_dir() and looks_local(base):
        raise DataError(
            f"{adapter.parent} is an adapter for the model in {base}, which is not there; put it back there"
        )
    return str(base)


def _without_hub(name: str) -> bool:
    """True when only local files can be had: a folder, or a name that has to be in the cache."""
    return Path(name).is_dir() or bool(hub_away())


def _check_local(name: str) -> None:
    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise DataError(f"no model in {name}: the folder has neither config.json nor adapter_config.json")
    elif folder.exists():
        raise DataError(f"no model at {name}: it is a file; give the folder that has config.json")
    elif looks_local(name):
        raise DataError(f"no model at {name}: give a folder with config.json, or a name on the Hugging Face hub")


def _dtype(name: str, device: str) -> Any:
    import torch

    if name == "auto":
        return torch.float32 if device == "cpu" else "auto"
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise ConfigError(f"dtype must be auto, {', '.join(known)}, got {name!r}")
    return known[name]


@contextmanager
def _told_in_one_line(name: str) -> Iterator[None]:
    """Turns what the loaders raise about a missing or broken model into a DataError."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if Path(name).is_dir():
            raise DataError(f"the model in {name} cannot be loaded: {first}") from error
        hub = f"{why} and it is not in the cache" if (why := hub_away()) else f"says: {first}"
        raise DataError(f"no model {name!r}: there is no such folder, and the Hugging Face hub {hub}") from error


@contextmanager
def _quiet_unless_terminal() -> Iterator[None]:
    """No progress bars of the loaders in a log file."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
