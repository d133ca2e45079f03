"""Models and tokenizers from folders, adapters and the hub, and one line about what is wrong when they do not load."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankrl.engines._spelling import vocabulary
from rankrl.errors import ConfigError, DataError
from rankrl.files import open_text
from rankrl.pretrained import hub_away, looks_local


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model comes from: `base` is the folder or hub name of the model proper, `name` that of the adapter, if adapted.

    local: only local files can be had, be it a folder, or a name that has to be in the cache.
    """

    name: str
    base: str
    adapted: bool
    local: bool


def load_model(name: str, device: str, dtype: str, *, trainable: bool = False) -> tuple[Any, Any]:
    """(a model that writes text, in evaluation mode on `device`, its tokenizer); an adapter comes with its base.

    Causal and encoder-decoder models alike; the configuration says which it is.

    Raises:
        DataError: no model there, one of another kind, or one whose weights are not all there.
    """
    source, chosen = source_of(name), _dtype(dtype, device)
    tokenizer = tokenizer_of(source)
    with _quiet_unless_terminal(), told_in_one_line(source.base):
        from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

        config = config_of(source)
        check_writes(config)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model, missing = _weights(kind, source, config, chosen)
        if missing:
            raise ValueError(f"{len(missing)} of its weights are not there ({missing[0]}, …); is it a language model?")
    return _adapted(model, source, trainable).to(device).eval(), tokenizer


def load_classifier(name: str, device: str, dtype: str) -> tuple[Any, Any]:
    """(a model that scores sequences, in evaluation mode on `device`, its tokenizer); an adapter comes with its base.

    Raises:
        DataError: no model there, or one without a classification head.
    """
    source, chosen = source_of(name), _dtype(dtype, device)
    tokenizer = tokenizer_of(source)
    with _quiet_unless_terminal(), told_in_one_line(source.base):
        from transformers import AutoModelForSequenceClassification

        config = config_of(source)
        own = _labels_of(Path(name)) if source.adapted else None
        if own:
            config.num_labels = own
        model, missing = _weights(AutoModelForSequenceClassification, source, config, chosen)
        if missing and not own:
            raise ValueError(f"it has no classification head ({missing[0]} is not there), so it cannot score pairs")
    return _adapted(model, source, False).to(device).eval(), tokenizer


_OTHERS = ("ForSequenceClassification", "ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering")


def check_writes(config: Any) -> None:
    """Refuse a checkpoint that was saved as something else; one that does not say what it is passes."""
    kinds = list(getattr(config, "architectures", None) or ())
    if kinds and all(kind.endswith(_OTHERS) for kind in kinds):
        told = "; it scores: use the engine 'classifier'" if kinds[0].endswith(_OTHERS[0]) else ""
        raise ValueError(f"it is a {kinds[0]}, which writes no text{told}")


def config_of(source: Source) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(source.base, local_files_only=source.local)


def _weights(kind: Any, source: Source, config: Any, dtype: Any) -> tuple[Any, list[str]]:
    """(model, weights that the checkpoint lacks), without the loader's own report: a wrong model is refused in one line."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        model, facts = kind.from_pretrained(
            source.base, config=config, dtype=dtype, local_files_only=source.local, output_loading_info=True
        )
    finally:
        logging.set_verbosity(before)
    return model, sorted(facts["missing_keys"])


def _adapted(model: Any, source: Source, trainable: bool) -> Any:
    if not source.adapted:
        return model
    with _quiet_unless_terminal(), told_in_one_line(source.name):
        from peft import PeftModel

        return PeftModel.from_pretrained(model, source.name, is_trainable=trainable)


def _labels_of(adapter: Path) -> int | None:
    """How many labels the head has that an adapter brings along; None when it brings none."""
    from safetensors import safe_open

    file = adapter / "adapter_model.safetensors"
    if not file.is_file():
        return None
    with safe_open(file, framework="numpy") as weights:
        for key in weights.keys():  # noqa: SIM118  # it is no mapping
            if key.rpartition(".")[0].endswith(("score", "classifier", "out_proj", "classification_head")):
                return int(weights.get_slice(key).get_shape()[0])
    return None


def source_of(name: str) -> Source:
    adapter = Path(name) / "adapter_config.json"
    base = _base_of(adapter) if adapter.is_file() else name
    folder = Path(base)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise DataError(f"no model in {base}: the folder has neither config.json nor adapter_config.json")
    elif folder.exists():
        raise DataError(f"no model at {base}: it is a file; give the folder that has config.json")
    elif looks_local(base):
        raise DataError(f"no model at {base}: give a folder with config.json, or a name on the Hugging Face hub")
    local = folder.is_dir() or bool(hub_away())
    if not folder.is_dir() and (file := _hub_adapter(base, local)) is not None:
        return Source(name, _base_of(file), True, local)
    return Source(name, base, adapter.is_file(), local)


def _hub_adapter(name: str, local: bool) -> Path | None:
    """The configuration of an adapter of that name on the hub or in the cache."""
    from transformers.utils import find_adapter_config_file

    try:
        file = find_adapter_config_file(name, local_files_only=local)
    except (OSError, ValueError):
        return None
    return None if file is None else Path(file)


def check_template(tokenizer: Any, name: str) -> None:
    """Raises:
    ConfigError: chats cannot be put to this model.
    """
    if not tokenizer.chat_template:
        raise ConfigError(f"the tokenizer of {name} has no chat template; use an instruct model, or add one")


def load_tokenizer(name: str, *, chats: bool = True) -> Any:
    """The tokenizer of a model or adapter folder or hub name, padding on the left as generation needs it.

    chats: one that can write them.

    Raises:
        DataError: no model there. ConfigError: a tokenizer for chats was asked for and has no chat template.
    """
    tokenizer = tokenizer_of(source_of(name))
    if chats:
        check_template(tokenizer, name)
    return tokenizer


def tokenizer_of(source: Source) -> Any:
    with _quiet_unless_terminal(), told_in_one_line(source.base):
        from transformers import AutoTokenizer

        spelled = source.adapted and (Path(source.name) / "tokenizer_config.json").is_file()
        return AutoTokenizer.from_pretrained(
            source.name if spelled else source.base, padding_side="left", local_files_only=source.local
        )


def fingerprint(model: Any, tokenizer: Any, *decisions: object) -> str:
    """A hash of what decides the answers: the weights (a sample of every tensor), tokenizer, template, `decisions`."""
    digest = hashlib.sha256()
    for name, weights in sorted(model.state_dict().items()):
        flat = weights.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // 64)].float().cpu()
        digest.update(f"{name} {tuple(weights.shape)} {weights.dtype}".encode() + sample.numpy().tobytes())
    digest.update(f"{vocabulary(tokenizer)}{tokenizer.chat_template}{decisions}".encode())
    return digest.hexdigest()


def context_length(name: str) -> int | None:
    """How many tokens the model of a folder, adapter folder or hub name takes; None when its configuration does not say."""
    source = source_of(name)
    with told_in_one_line(source.base):
        return getattr(config_of(source).get_text_config(), "max_position_embeddings", None)


def has_encoder(name: str) -> bool:
    """True for a model (folder, adapter folder or hub name) that reads with an encoder and writes with a decoder, such as T5."""
    source = source_of(name)
    with told_in_one_line(source.base):
        return bool(getattr(config_of(source), "is_encoder_decoder", False))


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


def _dtype(name: str, device: str) -> Any:
    import torch

    if name == "auto":
        return torch.float32 if device == "cpu" else "auto"
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise ConfigError(f"dtype must be auto, {', '.join(known)}, got {name!r}")
    return known[name]


@contextmanager
def told_in_one_line(name: str) -> Iterator[None]:
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
