"""The only module that touches names TRL keeps private. Each is checked before a trainer is built.

TRL 1.16 offers no hook for advantages, so `RankPolicyTrainer` overrides the methods in `_SEAMS` and reads the state in
`_STATE`. When one moves, `check_seams` or `check_state` says so in one sentence instead of failing in mid-training.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from trl import GRPOTrainer

from rankrl.errors import ConfigError

_SEAMS = {
    "_calculate_rewards": ("inputs", "prompts", "completions", "completion_ids_list"),
    "_generate_and_score_completions": ("inputs",),
    "_get_per_token_logps_and_entropies": (
        "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy",
    ),
}  # fmt: skip
_STATE = ("_metrics", "_logs", "_step", "_buffered_inputs", "num_generations", "num_generations_eval", "temperature")


LOSS_TYPES = ("bnpo", "cispo", "dapo", "dr_grpo", "grpo", "luspo", "sapo", "vespo")
"""What TRL 1.16's loss knows; it would say so only after the first generation."""


def check_seams() -> None:
    """Make sure that the installed TRL has the members we override, with the parameters we pass.

    Raises:
        ConfigError: one is gone or has other parameters; the supported range is named.
    """
    import trl

    for name, parameters in _SEAMS.items():
        method = getattr(GRPOTrainer, name, None)
        found = list(inspect.signature(method).parameters) if method else []
        if missing := [p for p in parameters if p not in found]:
            raise ConfigError(
                f"trl {trl.__version__}: GRPOTrainer.{name} lacks {', '.join(missing)}; rankrl needs trl>=1.16,<1.17"
            )


def check_state(trainer: Any) -> None:
    """Make sure that a built trainer has the state we read.

    Raises:
        ConfigError: something is gone.
    """
    import trl

    if missing := [name for name in _STATE if not hasattr(trainer, name)]:
        raise ConfigError(
            f"trl {trl.__version__}: GRPOTrainer has no {', '.join(missing)}; rankrl needs trl>=1.16,<1.17"
        )


def weights_are_sharded(trainer: Any) -> bool:
    """True when no process holds all weights, as under FSDP and DeepSpeed's ZeRO-3."""
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    return bool(trainer.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3))


def mode(trainer: Any) -> str:
    """ "train" or "eval", the key of TRL's metrics."""
    return "train" if trainer.model.training else "eval"


def generations(trainer: Any) -> int:
    """Rollouts per prompt in the present mode."""
    return int(trainer.num_generations if trainer.model.training else trainer.num_generations_eval)


def record(trainer: Any, name: str, value: float) -> None:
    """Add one value to a metric that TRL averages over the logging window."""
    trainer._metrics[mode(trainer)][name].append(value)


def replace_last(trainer: Any, name: str, value: float) -> None:
    """Put `value` in place of what TRL has just recorded under `name`."""
    trainer._metrics[mode(trainer)][name][-1] = value


def replace_logged_advantages(trainer: Any, advantages_B: Tensor) -> None:
    """Put our advantages where TRL has just logged its own, so that the completions table shows what was trained on."""
    logged = trainer._logs["advantages"]
    for _ in range(min(len(advantages_B), len(logged))):
        logged.pop()
    logged.extend(advantages_B.tolist())


def end_ids(trainer: Any) -> frozenset[int]:
    """The token ids that end an answer."""
    ids = getattr(trainer, "eos_token_ids", None)
    if ids is None:
        ids = trainer.processing_class.eos_token_id
    return frozenset([ids] if isinstance(ids, int) else list(ids))


def completion_logps(trainer: Any, batch: dict[str, Any]) -> Tensor:
    """Log-probabilities (nats) of this process's completion tokens under the present policy, (B, T), without gradient.

    TRL leaves them out of the batch when generation and optimisation steps are aligned; then one forward pass is made.
    """
    present = batch.get("old_per_token_logps")
    if present is not None:
        return torch.as_tensor(present)
    input_ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention_mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    with torch.no_grad():
        logps_BT, *_ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            input_ids,
            attention_mask,
            batch["completion_ids"].size(1),
            batch_size=trainer.args.per_device_train_batch_size,
        )
    return torch.as_tensor(logps_BT)


def completion_scores(
    trainer: Any, model: Any, input_ids: Tensor, attention_mask: Tensor, T: int, *, rows_at_once: int, entropy: bool
) -> tuple[Tensor, Tensor | None, None]:
    """(logps_BT, entropies_BT or None, None), as TRL's own scoring returns them, from the logits of the completions alone.

    Nats, of the temperature-scaled distribution; 0 where the completion is padding. TRL 1.16 scores every position of the
    prompt too where there is no Triton (its comment gives a compiler's reason, which a CPU does not share).
    """
    logps, entropies = [], []
    for start in range(0, len(input_ids), rows_at_once):
        ids, mask = input_ids[start : start + rows_at_once], attention_mask[start : start + rows_at_once]
        with trainer.accelerator.autocast():
            logits_BTV = model(input_ids=ids, attention_mask=mask, logits_to_keep=T + 1, use_cache=False).logits[:, :-1]
        log_softmax_BTV = torch.log_softmax(logits_BTV.float() / trainer.temperature, dim=-1)
        kept_BT = mask[:, -T:]
        logps.append(log_softmax_BTV.gather(2, ids[:, -T:, None]).squeeze(2) * kept_BT)
        if entropy:
            entropies.append(-(log_softmax_BTV.exp() * log_softmax_BTV).sum(-1) * kept_BT)
    return torch.cat(logps), torch.cat(entropies) if entropy else None, None


def generate_every(trainer: Any) -> int:
    """Micro-steps between two generations."""
    return int(trainer.args.steps_per_generation * trainer.num_iterations)


def rollout_buffer(trainer: Any) -> dict[str, Any]:
    """What TRL forgets in a checkpoint: its micro-step count, and the rollouts it has yet to train on."""
    waiting = trainer._step % generate_every(trainer) != 0
    return {"micro_step": trainer._step, "rollouts": trainer._buffered_inputs if waiting else None}


def restore_rollout_buffer(trainer: Any, state: dict[str, Any]) -> None:
    """Put back what `rollout_buffer` returned, on the trainer's device."""
    trainer._step = state["micro_step"]
    rollouts = state["rollouts"]
    device = trainer.accelerator.device
    trainer._buffered_inputs = rollouts and [
        {k: v.to(device) if isinstance(v, Tensor) else v for k, v in chunk.items()} for chunk in rollouts
    ]
