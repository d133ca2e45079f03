"""Train an LLM reranker with a policy gradient: `accelerate launch -m rankrl.train --reward unlikeliness --model MODEL …`.

Settings come from `--config FILE.yaml` and from flags, which win; every flag of TRL's GRPOConfig is one. The output folder
holds the adapter or model, its tokenizer, the reranker's card (`rankrl rerank` reads both), `run.json` (settings,
versions, data, command) and `log.jsonl` (every logged step).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl.errors import ConfigError, DataError, RankRLError
from rankrl.files import atomic_writer

if TYPE_CHECKING:
    from rankrl.contracts import Reranker
    from rankrl.training.config import PolicyConfig
    from rankrl.training.policy import RankPolicyTrainer


def main(argv: Sequence[str] | None = None) -> int:
    """Run one training; returns the exit code (0 done, 1 refused with one line on stderr)."""
    try:
        train(parse(sys.argv[1:] if argv is None else argv))
    except RankRLError as error:
        print(f"rankrl.train: error: {error}", file=sys.stderr)
        return 1
    return 0


def parse(argv: Sequence[str]) -> PolicyConfig:
    """The settings that the command line and its `--config` give.

    Raises:
        ConfigError: the file is not there or has settings nobody knows; a value is refused.
    """
    from trl import TrlParser

    from rankrl.training.config import PolicyConfig

    arguments = list(argv)
    if "--config" in arguments[:-1] and not Path(path := arguments[arguments.index("--config") + 1]).is_file():
        raise ConfigError(f"config not found: {path}")
    try:
        (config,) = TrlParser(PolicyConfig, prog="rankrl.train", description=__doc__).parse_args_and_config(arguments)
    except RankRLError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return config  # type: ignore[no-any-return]  # trl carries no types


def train(config: PolicyConfig) -> RankPolicyTrainer:
    """The trainer after training, with everything saved under `config.output_dir`."""
    if not config.model:
        raise ConfigError("no model: give --model with a folder or a hub name")
    trainer, facts = build(config)
    if trainer.is_world_process_zero():
        _write_facts(config, facts)
    resume = config.resume_from_checkpoint
    wants_newest = isinstance(resume, str) and resume.lower() == "true"
    if config.eval_on_start or str(config.eval_strategy) != "no" or not config.held_out_topics:
        trainer.train(resume_from_checkpoint=True if wants_newest else resume)
    else:
        trainer.train(resume_from_checkpoint=True if wants_newest else resume)
        trainer.evaluate()
    trainer.save_model(config.output_dir)
    trainer.save_state()
    if trainer.is_world_process_zero():
        _write_results(config, trainer)
    return trainer


def build(config: PolicyConfig) -> tuple[RankPolicyTrainer, dict[str, Any]]:
    """The trainer that the settings describe, and what is recorded about its data.

    Raises:
        RankRLError: a name, a file or a combination of settings cannot be used.
    """
    from datasets import Dataset

    from rankrl.engines.transformers import load_model
    from rankrl.reranking import build_reranker
    from rankrl.training.adapters import peft_config
    from rankrl.training.policy import RankPolicyTrainer
    from rankrl.training.rewarding import parse_rewards

    assert config.model is not None
    peft = peft_config(config.peft, rank=config.lora_r, alpha=2 * config.lora_r, beta=config.beta)
    reranker = build_reranker(config.reranker, config.reranker_options, model=config.model)
    recipe = getattr(reranker, "recipe", ("ndcg",))
    rewards = parse_rewards(config.reward or recipe, default=recipe)
    model, tokenizer = load_model(config.model, trainable=True, dtype=config.model_init_kwargs)
    reranker = _clipped(reranker, tokenizer)
    rows, held_out, facts = _data(config, reranker)
    facts["rewards"] = [f"{r.name}{dict(r.options) or ''}={r.weight}" for r in rewards]
    trainer = RankPolicyTrainer(
        model,
        rewards=rewards,
        reranker=reranker,
        args=config,
        held_out=held_out,
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows[:1]) if held_out else None,
        processing_class=tokenizer,
        peft_config=peft,
    )
    return trainer, facts


def _clipped(reranker: Reranker, tokenizer: Any) -> Reranker:
    """The reranker with its texts cut by this tokenizer, where it cuts texts."""
    from rankrl.engines.transformers import TokenClip

    return replace(reranker, clip=TokenClip(tokenizer)) if hasattr(reranker, "clip") else reranker  # type: ignore[type-var]
