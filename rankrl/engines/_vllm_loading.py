"""A `vllm.LLM` for a model or adapter folder, and one line about what it refuses."""

from __future__ import annotations

import json
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankrl.engines._loading import check_writes, config_of, source_of, tokenizer_of, told_in_one_line
from rankrl.errors import ConfigError, DataError, MissingDependencyError

QUIET = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_LOGGING_STREAM": "ext://sys.stderr"}
"""Set unless the environment says something else: nothing is reported to anybody, and stdout is left to results."""

CPU_CACHE_BYTES = 2 << 30
"""For keys and values on CPU, where vLLM would else take nearly all memory of the machine."""

_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM makes room for."""

_CHANGES_BASE = ("pissa", "olora", "corda", "loftq")
"""Ways to begin an adapter after which its base is no longer the checkpoint's."""

_UNKNOWN_TO_VLLM = (
    *("rank_pattern", "alpha_pattern", "modules_to_save", "use_dora", "lora_bias", "layer_replication", "use_qalora"),
    *("trainable_token_indices", "target_parameters", "alora_invocation_tokens", "arrow_config"),
)


def prepared() -> bool:
    """True where vLLM computes on CPUs; there it works in one process, unless the environment says otherwise.

    Raises:
        MissingDependencyError: vLLM is not installed.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        from vllm.platforms import current_platform
    except ImportError as error:
        raise MissingDependencyError("vllm", extra="gpu", found=str(error)) from None
    cpu = bool(current_platform.is_cpu())
    if cpu:
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    return cpu


@dataclass(frozen=True, slots=True)
class Parts:
    """What a name stands for. base: folder or hub name of the model proper. adapter: the folder of the adapter over it, or
    None. folders: where the files of either lie. ends: the end-of-sequence tokens."""

    base: str
    adapter: str | None
    folders: tuple[str, ...]
    tokenizer: Any
    ends: tuple[int, ...]


def parts_of(name: str) -> Parts:
    """What vLLM is to be given for a folder, adapter folder or hub name.

    Raises:
        DataError: no model there, or one that does not write. ConfigError: an encoder-decoder.
    """
    source = source_of(name)
    tokenizer = tokenizer_of(source)
    with told_in_one_line(source.base):
        from transformers import GenerationConfig

        config = config_of(source)
        check_writes(config)
        try:
            told = GenerationConfig.from_pretrained(source.base, local_files_only=source.local).eos_token_id
        except OSError:  # it has none, as many have not
            told = getattr(config.get_text_config(), "eos_token_id", None)
    if config.is_encoder_decoder:
        raise ConfigError(
            f"the vllm engine serves causal models, and {name} is an encoder-decoder; use --engine transformers"
        )
    ends = {tokenizer.eos_token_id, *([told] if isinstance(told, int) else told or ())} - {None}
    adapter = _folder(source.name, "adapter_config.json") if source.adapted else None
    folders = (_folder(source.base, "config.json"), *([adapter] if adapter else ()))
    return Parts(source.base, adapter, folders, tokenizer, tuple(sorted(ends)))


def _folder(name: str, file: str) -> str:
    """The folder itself, or that of a hub name in the cache, fetched where it is not there yet."""
    if Path(name).is_dir():
        return name
    from huggingface_hub import snapshot_download, try_to_load_from_cache

    found = try_to_load_from_cache(name, file)
    whole = isinstance(found, str) and any(Path(found).parent.glob("*.safetensors"))
    if whole:
        return str(Path(str(found)).parent)
    with told_in_one_line(name):
        return str(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]))


def cache_bytes(cpu: bool, utilization: float | None) -> int | None:
    """How much memory keys and values get, None to leave it to vLLM: its CPU build reads VLLM_CPU_KVCACHE_SPACE itself."""
    told = utilization is not None or bool(os.environ.get("VLLM_CPU_KVCACHE_SPACE"))
    return CPU_CACHE_BYTES if cpu and not told else None


def served(base: str, adapter: str | None, **arguments: Any) -> tuple[Any, Any]:
    """(an LLM of the base, the request for the adapter or None), the adapter loaded.

    Raises:
        ConfigError: vLLM refuses the model, the adapter or an argument. DataError: there is no such adapter.
    """
    if adapter is not None:
        arguments |= {"enable_lora": True, "max_loras": 1, "max_lora_rank": _rank(adapter)}
    with refusing(base), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about what vLLM and torch have deprecated of each other's
        from vllm import LLM

        llm = LLM(base, **{"use_tqdm_on_load": sys.stderr.isatty(), **arguments})
    if adapter is None:
        return llm, None
    with refusing(adapter):
        from vllm.lora.request import LoRARequest

        request = LoRARequest("adapter", 1, adapter)
        if not llm.llm_engine.add_lora(request):
            raise ValueError("it was not loaded")
    return llm, request


_HELD: list[Any] = []
_IN_USE: set[int] = set()
"""The LLMs that compute in this process, and which of them are in use (by id)."""


def held(user: object, llm: Any) -> Callable[[], None]:
    """A function that gives the memory of the LLM back; it is also called when `user` is collected as garbage.

    LLMs that compute in this process share what the end of any of them takes down, even its collection as garbage. They
    are kept until none of them is in use any more.
    """
    if not hasattr(llm.llm_engine.engine_core, "engine_core"):  # it has a process of its own
        ended: Callable[[], None] = weakref.finalize(user, llm.llm_engine.engine_core.shutdown)
        return ended
    _HELD.append(llm)
    _IN_USE.add(id(llm))
    release = weakref.finalize(user, _released, id(llm))
    release.atexit = False
    return release


def _released(number: int) -> None:
    _IN_USE.discard(number)
    if not _IN_USE:
        for llm in _HELD:
            llm.llm_engine.engine_core.shutdown()
        _HELD.clear()


@contextmanager
def refusing(name: str) -> Iterator[None]:
    """Turns what vLLM raises about a model or an argument into one line."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError, OSError, NotImplementedError, MemoryError) as error:
        raise ConfigError(f"vLLM cannot serve {name}: {_first_line(error)}{_advice(str(error))}") from error


def _first_line(error: BaseException) -> str:
    """What went wrong, of an error that may be pydantic's or several lines long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0]:
        lines = lines[1:]
    lines = [line for line in lines if not line.startswith("For further information")]
    text = " ".join(lines[:2]) if lines else type(error).__name__
    return text if len(text) <= 400 else text[:400] + "…"


def _advice(said: str) -> str:
    low = said.lower()
    if "max_model_len" in low or "max seq len" in low or "kv cache" in low:
        return " (lower max_model_len, or give more memory: gpu_memory_utilization, on CPU engine_options' kv_cache_memory_bytes)"
    if "memory" in low:
        return " (lower gpu_memory_utilization)"
    if "attention configuration" in low:
        return " (its heads have a size that vLLM's CPU build does not know; use --engine transformers)"
    return ""


def _rank(adapter: str) -> int:
    """The rank to make room for.

    Raises:
        ConfigError: an adapter that vLLM does not apply as it was trained. DataError: its configuration cannot be read.
    """
    try:
        config: Mapping[str, Any] = json.loads((Path(adapter) / "adapter_config.json").read_text("utf-8"))
        rank = int(config.get("r") or 0)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{adapter} has no adapter_config.json that can be read: {error}") from None
    started = str(config.get("init_lora_weights", True)).lower()
    problems = [name for name in _UNKNOWN_TO_VLLM if config.get(name)]
    problems += [f"bias={config['bias']}"] if config.get("bias", "none") != "none" else []
    problems += [f"init_lora_weights={started}"] if started.startswith(_CHANGES_BASE) else []
    problems += [f"peft_type={config.get('peft_type')}"] if config.get("peft_type") != "LORA" or rank < 1 else []
    problems += [f"r={rank}"] if rank > _RANKS[-1] else []
    if problems:
        raise ConfigError(
            f"vLLM does not apply the adapter in {adapter} as it was trained ({', '.join(problems)}); "
            "merge it into its base first, or use --engine transformers"
        )
    return next(known for known in _RANKS if known >= rank)
