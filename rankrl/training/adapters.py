"""`--peft` -> a PEFT configuration. No adapter is ours: LoRA by default, any other by a JSON file in PEFT's own format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rankrl.errors import ConfigError
from rankrl.files import open_text

MOVES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations that rewrite the base weights, so that "adapter switched off" is no longer the initial policy."""


def peft_config(spec: str, *, rank: int, alpha: int, beta: float) -> Any | None:
    """The PEFT configuration that `spec` names, None for "none" (all weights are trained).

    spec: "lora" (all linear layers, `rank`, `alpha`), "none", or a JSON file as PEFT's `save_pretrained` writes it
    (adapter_config.json), of any PEFT type. beta: the weight of the KL divergence from the initial policy.

    Raises:
        ConfigError: another word; a file that PEFT cannot read; an initialisation that rewrites the base together with
            beta > 0, whose reference would then not be the initial policy.
    """
    from peft import LoraConfig

    if spec == "none":
        return None
    if spec == "lora":
        return LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    if not spec.endswith(".json"):
        raise ConfigError(f"peft must be 'lora', 'none' or a JSON file with a PEFT configuration, got {spec!r}")
    config = _from_file(Path(spec))
    init = str(getattr(config, "init_lora_weights", ""))
    if beta and init.lower().startswith(MOVES_THE_BASE):
        raise ConfigError(
            f"{spec}: init_lora_weights={init!r} rewrites the base model, so the KL reference would not be the initial "
            f"policy; set beta to 0 (it is {beta}) or use another initialisation"
        )
    return config


def policy_of(model: str, peft: str, config: Any | None) -> tuple[Any, Any | None]:
    """(model to give the trainer, PEFT configuration to wrap it with).

    A folder with an adapter is loaded with its base, both in float32, and that adapter is trained further; anything else is left
    to TRL to load by name, in the dtype that its `model_init_kwargs` ask for (float32).

    Raises:
        ConfigError: an adapter together with a `peft` other than the default: no second one is put on top.
    """
    if not (Path(model) / "adapter_config.json").is_file():
        return model, config
    if peft != "lora":
        raise ConfigError(
            f"{model} is an adapter, which is trained further as it is; drop --peft {peft}, or merge it first"
        )
    from rankrl.engines.transformers import load_model

    return load_model(model, "cpu", "float32", trainable=True)[0], None


def _from_file(path: Path) -> Any:
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    with open_text(path, what="PEFT configuration") as file:
        try:
            fields = dict(json.load(file))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{path}: no JSON object: {error}") from None
    kind = str(fields.pop("peft_type", "")).upper()
    known = {str(getattr(k, "value", k)): v for k, v in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    if kind not in known:
        raise ConfigError(f"{path}: peft_type is {kind!r}; this PEFT knows {', '.join(sorted(known))}")
    try:
        return known[kind](**fields)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None
