"""Train an LLM reranker with a policy gradient: `accelerate launch -m rankrl.train --reward unlikeliness --model MODEL …`.

Settings come from `--config FILE.yaml` and from flags, which win; every flag of TRL's GRPOConfig is one. The output folder
holds the adapter or model, its tokenizer, the reranker's card (`rankrl rerank` reads both), `run.json` (settings,
versions, data, command) and `log.jsonl` (every logged step).
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankrl.errors import ConfigError, MissingDependencyError, RankRLError, unknown_name
from rankrl.files import atomic_writer, clean_up_on_sigterm

if TYPE_CHECKING:
    from rankrl.contracts import Reranker
    from rankrl.training.config import PolicyConfig
    from rankrl.training.held_out import HeldOut
    from rankrl.training.policy import RankPolicyTrainer
    from rankrl.types import Query, Run
    from retrieval.collections import Collection


def main(argv: Sequence[str] | None = None) -> int:
    """Run one training; returns the exit code (0 done, 1 refused with one line on stderr)."""
    clean_up_on_sigterm()
    try:
        trainer = train(parse(sys.argv[1:] if argv is None else argv))
        trainer.accelerator.end_training()  # several processes that just end may abort in their communication threads
    except KeyboardInterrupt:
        print(
            "rankrl.train: interrupted; --resume_from_checkpoint true goes on from the newest checkpoint",
            file=sys.stderr,
        )
        return 130
    except RankRLError as error:
        print(f"rankrl.train: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"rankrl.train: error: {where}{error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def parse(argv: Sequence[str]) -> PolicyConfig:
    """The settings that the command line and its `--config` give.

    Raises:
        ConfigError: the file is not there or has settings nobody knows; a value is refused.
    """
    from trl import TrlParser
    from yaml import YAMLError

    from rankrl.training.config import PolicyConfig

    arguments = list(argv)
    if "--config" in arguments[:-1] and not Path(path := arguments[arguments.index("--config") + 1]).is_file():
        raise ConfigError(f"config not found: {path}")
    try:
        (config,) = TrlParser(PolicyConfig, prog="rankrl.train", description=__doc__).parse_args_and_config(arguments)
    except RankRLError:
        raise
    except YAMLError as error:
        raise ConfigError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    except ValueError as error:
        if unknown := re.search(r"not used by the HfArgumentParser: \['(--[\w-]+)'", str(error)):
            flags = [f"--{name}" for name in PolicyConfig.__dataclass_fields__]
            raise unknown_name("flag", unknown[1], flags, hint=" (`--help` lists them all)") from error
        raise ConfigError(str(error)) from error
    return config  # type: ignore[no-any-return]  # trl carries no types


def train(config: PolicyConfig) -> RankPolicyTrainer:
    """The trainer after training, with everything saved under `config.output_dir`.

    Raises:
        RankRLError: a name, a file or a combination of settings cannot be used.
    """
    check_surroundings(config)
    resume = _checkpoint(config)
    trainer, facts = build(config)
    if trainer.is_world_process_zero():
        _write_json(config, "run.json", {**_provenance(config), **facts})
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model(config.output_dir)
    trainer.save_state()
    if facts["topics"]["held_out"] and not _just_evaluated(trainer):
        trainer.evaluate()
        trainer.save_state()
    return trainer


def check_surroundings(config: PolicyConfig) -> None:
    """Make sure of what would otherwise fail after the model is loaded: loggers, vLLM, the output folder, evaluation.

    Raises:
        RankRLError: one of them cannot be used; what to install or change is said.
    """
    from importlib.util import find_spec

    if not config.model:
        raise ConfigError("no model: give --model with a folder or a hub name")
    for name in config.report_to:
        if name not in ("none", "all") and find_spec(_LOGGERS.get(name, name)) is None:
            raise ConfigError(f"report_to {name}: {_LOGGERS.get(name, name)} is not installed: pip install {name}")
    if config.use_vllm and find_spec("vllm") is None:
        raise MissingDependencyError("vllm, which use_vllm asks for,", extra="gpu")
    if str(getattr(config.eval_strategy, "value", config.eval_strategy)) != "no" and not config.held_out_topics:
        raise ConfigError(
            "eval_strategy asks for evaluation, but held_out_topics is 0; keep some topics or switch it off"
        )
    folder = Path(config.output_dir)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output_dir {folder} is a file; give a folder")
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not os.access(there, os.W_OK):
        raise ConfigError(f"output_dir {folder} cannot be written to")
    if not config.resume_from_checkpoint and any(folder.glob("checkpoint-*")):
        raise ConfigError(
            f"output_dir {folder} holds checkpoints of an earlier run, which a later resume would take up; "
            "go on from them with --resume_from_checkpoint true, or give another folder"
        )


_LOGGERS = {"comet_ml": "comet_ml", "azure_ml": "azureml", "neptune": "neptune", "dagshub": "dagshub"}
"""Logger -> module to look for, where it is not the logger's own name."""


def _checkpoint(config: PolicyConfig) -> Path | None:
    """The checkpoint to go on from: the folder given, or for "true" the newest complete one; None to start afresh."""
    from rankrl.training.checkpoints import last_complete_checkpoint

    asked = config.resume_from_checkpoint
    if asked is None or str(asked).lower() == "false":
        return None
    if str(asked).lower() == "true":
        return last_complete_checkpoint(config.output_dir)
    if not Path(asked).is_dir():
        raise ConfigError(f"checkpoint not found: {asked}; give its folder, or true for the newest one in output_dir")
    return Path(asked)


def _just_evaluated(trainer: RankPolicyTrainer) -> bool:
    state = trainer.state
    return any(entry["step"] == state.global_step and "eval_ndcg@10" in entry for entry in state.log_history)


def build(config: PolicyConfig) -> tuple[RankPolicyTrainer, dict[str, Any]]:
    """The trainer that the settings describe, and what is recorded about its data."""
    from datasets import Dataset
    from transformers import PrinterCallback, ProgressCallback

    from rankrl.engines.transformers import TokenClip, load_tokenizer
    from rankrl.reranking import build_reranker, read_options, with_clip
    from rankrl.training.adapters import peft_config, policy_of
    from rankrl.training.callbacks import LogToFile, OneLine, SaveCard
    from rankrl.training.dataset import check_trainable
    from rankrl.training.policy import RankPolicyTrainer
    from rankrl.training.rewarding import parse_rewards

    assert config.model is not None
    if Path(config.model).is_dir():  # an adapter remembers its base by this name, and may be used from another folder
        config.model = str(Path(config.model).resolve())
    peft = peft_config(config.peft, rank=config.lora_r, alpha=2 * config.lora_r, beta=config.beta)
    plain = build_reranker(config.reranker, read_options(config.reranker_options), model=config.model)
    check_trainable(config.reranker, plain)
    recipe = getattr(plain, "recipe", ("ndcg",))
    rewards = parse_rewards(config.reward or recipe, default=recipe)
    tokenizer = load_tokenizer(config.model)
    reranker = with_clip(plain, TokenClip(tokenizer))
    rows, held_out, facts = _data(config, reranker)
    shown = [*(row["prompt"] for row in rows), *_held_out_prompts(held_out, reranker)]
    check_lengths(shown, tokenizer, config)
    model, peft = policy_of(config.model, config.peft, peft)
    try:
        trainer = RankPolicyTrainer(
            model,
            rewards=rewards,
            reranker=reranker,
            args=config,
            held_out=held_out,
            callbacks=[
                LogToFile(Path(config.output_dir) / "log.jsonl"),
                SaveCard(config.reranker, reranker, tokenizer=tokenizer, **_engine_options(config)),
            ],
            train_dataset=Dataset.from_list(rows),
            eval_dataset=Dataset.from_list(rows[:1]) if held_out else None,
            processing_class=tokenizer,
            peft_config=peft,
        )
    except RankRLError:
        raise
    except ValueError as error:  # TRL, transformers and PEFT refuse settings this way
        raise ConfigError(" ".join(str(error).split())) from error
    trainer.remove_callback(PrinterCallback if config.disable_tqdm else ProgressCallback)
    trainer.add_callback(OneLine)
    return trainer, {**facts, "rewards": [reward.spec for reward in rewards]}


def _engine_options(config: PolicyConfig) -> dict[str, Any]:
    """What an engine has to be told so that it asks as training did."""
    options: dict[str, Any] = {"max_new_tokens": config.max_completion_length}
    if config.chat_template_kwargs:
        options["chat_template_kwargs"] = config.chat_template_kwargs
    return options


def _held_out_prompts(held_out: HeldOut | None, reranker: Reranker) -> list[Any]:
    """The first prompt of each held-out topic, which is as long as the others."""
    size = getattr(reranker, "shown", None)
    listings = held_out.listings if held_out else ()
    return [reranker.prompt(listing.pick(range(min(size or len(listing), len(listing))))) for listing in listings]


def check_lengths(prompts: Sequence[Any], tokenizer: Any, config: PolicyConfig) -> None:
    """Make sure that prompts and answers fit into the model's context; the 64 longest texts are counted in tokens.

    Raises:
        ConfigError: they do not.
    """
    from rankrl.engines.transformers import context_length

    context = context_length(str(config.model))
    longest = sorted(prompts, key=lambda messages: -sum(len(m["content"]) for m in messages))[:64]
    options = dict(config.chat_template_kwargs or {})
    texts = [tokenizer.apply_chat_template(p, tokenize=False, add_generation_prompt=True, **options) for p in longest]
    tokens = max(map(len, tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]))
    if context is not None and tokens + config.max_completion_length > context:
        raise ConfigError(
            f"the longest prompt has {tokens} tokens and max_completion_length is {config.max_completion_length}, but the "
            f"context of {config.model} is {context}; show fewer or shorter passages, or allow shorter answers"
        )


def _data(config: PolicyConfig, reranker: Reranker) -> tuple[list[dict[str, Any]], HeldOut | None, dict[str, Any]]:
    """(rows to train on, held-out topics, what is recorded about both)."""
    from rankrl.lookup import shelf
    from rankrl.training.dataset import rows_of, split_by_document, training_listings
    from rankrl.training.held_out import HeldOut

    shelf("retrievers")
    from retrieval.collections import candidate_lists, load_collection

    collection = load_collection(config.collection)
    qrels = collection.qrels(config.split)
    trained, kept = split_by_document(qrels, config.held_out_topics, seed=config.seed)
    if config.held_out_topics and not kept:
        raise ConfigError(
            f"held_out_topics is {config.held_out_topics}, but every group of topics that share relevant documents is larger; "
            "keep more, or none"
        )
    shown = getattr(reranker, "shown", None)
    size = config.listing_size or shown or 20
    if shown is not None and size > shown:
        raise ConfigError(f"listing_size is {size}, but {config.reranker} shows {shown} passages in a prompt at most")
    queries = {query.qid: query for query in collection.queries(config.split)}
    exclusions = collection.exclusions(config.split)
    run, made_by = _first_stage(config, collection, list(queries.values()), exclusions)
    pools = candidate_lists(collection, run, [queries[qid] for qid in trained], config.depth, exclusions=exclusions)
    relevant = {
        qid: [
            collection.corpus[docid].candidate()
            for docid, grade in qrels[qid].items()
            if grade > 0 and docid in collection.corpus and docid not in exclusions.get(qid, ())
        ]
        for qid in trained
    }
    listings = training_listings(pools, qrels, relevant, size=size, seed=config.seed)
    held_out = None
    if kept:
        kept_lists = candidate_lists(
            collection, run, [queries[qid] for qid in kept], config.held_out_depth, exclusions=exclusions
        )
        held_out = HeldOut(kept_lists, qrels, config.max_completion_length, config.per_device_eval_batch_size)
    facts = {
        "collection": {**collection.provenance, **collection.facts(config.split)},
        "first_stage": made_by,
        "topics": {"trained_on": len(trained), "held_out": kept},
        "prompts": len(listings),
    }
    return rows_of(listings, qrels, reranker), held_out, facts


def _first_stage(
    config: PolicyConfig, collection: Collection, queries: list[Query], exclusions: Mapping[str, frozenset[str]]
) -> tuple[Run, Any]:
    """(run, how it was made): the file given, or BM25."""
    from rankrl.runs import read_run

    if config.first_stage:
        return read_run(config.first_stage), config.first_stage
    from retrieval.bm25 import BM25
    from retrieval.collections import search_without

    # without Java: the same candidates on every machine, and no second runtime beside the trainer's
    bm25 = BM25.from_collection(collection, engine="bm25s")
    found = search_without(bm25, queries, config.depth, exclusions)
    return {f.query.qid: {c.docid: c.score or 0.0 for c in f.candidates} for f in found}, bm25.provenance


def _provenance(config: PolicyConfig) -> dict[str, Any]:
    """Settings, versions and command: what somebody needs to run this again."""
    import platform
    from importlib.metadata import version

    from rankrl import __version__

    packages = ("torch", "transformers", "trl", "accelerate", "peft", "datasets", "bm25s")
    return {
        "command": sys.argv,
        "rankrl": __version__,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "settings": config.to_dict(),
    }


def _write_json(config: PolicyConfig, name: str, content: dict[str, Any]) -> None:
    with atomic_writer(Path(config.output_dir) / name) as file:
        json.dump(content, file, indent=2, default=str)
        file.write("\n")


if __name__ == "__main__":
    sys.exit(main())
