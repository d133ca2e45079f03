"""`RankPolicyTrainer`: TRL's GRPO with our rewards, shapers and advantages. The only subclass of a TRL trainer.

It overrides three members of `trl.GRPOTrainer` (why these: `rankrl.training._trl_compat`), copies nothing, and hands pure
functions of flat tensors the gathered batch: `_calculate_rewards` keeps the rewards and fills in those that compare a
group; `_generate_and_score_completions` replaces the advantages; `_get_per_token_logps_and_entropies` spares a CPU the
vocabulary at every position of the prompt. Plain GRPO through the first two equals TRL's own to the last bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from transformers import Trainer
from trl import GRPOConfig, GRPOTrainer

from rankrl.contracts import Reranker
from rankrl.errors import ConfigError, unknown_name
from rankrl.rl.advantages import Diagnostics, batch_standardized, centred, standardized
from rankrl.training import _trl_compat as compat
from rankrl.training.checkpoints import SaveRolloutBuffer, last_complete_checkpoint, restore
from rankrl.training.dataset import check_trainable
from rankrl.training.held_out import HeldOut
from rankrl.training.rewarding import TrlReward, WeightedReward, checked, judgments_of, rollouts_of
from rankrl.types import Judgments, Rollout, RolloutGroup

ADVANTAGES: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Diagnostics]]] = {
    "group": standardized,
    "batch": batch_standardized,
    "none": centred,
}
"""TRL's `scale_rewards` -> the advantage function that it asks for."""


class RankPolicyTrainer(GRPOTrainer):  # type: ignore[misc]  # trl carries no types
    """GRPO for a reranker: rewards are read from rankings, shapers see log-probabilities, evaluation is held-out nDCG@10.

    rewards: what `rankrl.training.rewarding.parse_rewards` returns. reranker: its parser reads the answers; the dataset's
    prompts must be its own. held_out: when given, `evaluate()` reranks those topics instead of sampling from a dataset.
    score_completions_only: take log-probabilities from the logits of the completion alone; default: where there is no GPU
    (the same numbers to 2e-6, eighteen times faster in `benchmarks/completion_scoring.py`). Everything else is
    `trl.GRPOTrainer`'s.

    Raises:
        ConfigError: TRL is another than the one we know; a combination that makes no sense (the reason is given).
    """

    control: Any

    def __init__(
        self,
        model: Any,
        *,
        rewards: Sequence[WeightedReward],
        reranker: Reranker,
        args: GRPOConfig,
        held_out: HeldOut | None = None,
        score_completions_only: bool | None = None,
        callbacks: Sequence[Any] = (),
        **kwargs: Any,
    ) -> None:
        compat.check_seams()
        check_trainable(type(reranker).__name__, reranker)
        self._score_completions_only = score_completions_only
        self._shapers = [reward for reward in rewards if reward.kind == "shaper"]
        self._scored = [reward for reward in rewards if reward.kind != "shaper"]
        _refuse_nonsense(args, self._scored, self._shapers)
        args = copy.copy(args)
        args.reward_weights = [reward.weight for reward in self._scored]
        self._reranker = reranker
        self._held_out = held_out
        self._rewards_BK: Tensor | None = None
        self._rollouts: list[Rollout] = []
        self._judgments: list[Judgments] = []
        super().__init__(
            model=model,
            reward_funcs=[TrlReward(reward, reranker) for reward in self._scored],
            args=args,
            callbacks=[*callbacks],
            **kwargs,
        )
        compat.check_state(self)
        if held_out is not None and compat.weights_are_sharded(self):
            raise ConfigError(
                "held-out evaluation generates with whole weights on each process, which FSDP and ZeRO-3 do not have; "
                "set held_out_topics to 0 and use `rankrl rerank` on the result, or train with DDP or ZeRO-2"
            )
        self.add_callback(SaveRolloutBuffer(self))

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **others: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        wanted = self._score_completions_only
        alone = self.accelerator.device.type == "cpu" if wanted is None else wanted
        if alone and not any(value is not None and value is not False for value in others.values()):
            rows = batch_size or len(input_ids)
            return compat.completion_scores(
                self, model, input_ids, attention_mask, logits_to_keep, rows_at_once=rows, entropy=compute_entropy
            )
        scores: tuple[Tensor, Tensor | None, Tensor | None] = super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, **others
        )
        return scores

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[Any], completions: list[Any], completion_ids_list: list[Any]
    ) -> Tensor:
        rewards_BK: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        local = rollouts_of(inputs, completions, completion_ids_list, self._reranker, end_ids=compat.end_ids(self))
        self._rollouts = gather_object(local)
        self._judgments = gather_object([judgments_of(row) for row in inputs])
        for group in self._groups():
            for column, reward in enumerate(self._scored):
                if reward.kind == "group":
                    members = RolloutGroup(tuple(self._rollouts[i] for i in group), self._judgments[group[0]])
                    values = [checked(reward.name, value) for value in reward.bound()(members)]
                    column_G = [float("nan") if value is None else value for value in values]
                    rewards_BK[group, column] = torch.tensor(column_G, device=rewards_BK.device, dtype=rewards_BK.dtype)
        self._record_reports()
        self._rewards_BK = rewards_BK
        return rewards_BK

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self.args.multi_objective_aggregation != "sum_then_normalize":
            return batch
        assert self._rewards_BK is not None
        weights_K = self.reward_weights.to(self._rewards_BK.device)
        rewards_B = (self._rewards_BK * weights_K).nansum(dim=1)
        # Deviation from TRL: a reward of weight 0 is only logged, so it cannot make an answer scored that no other scores
        rewards_B[self._rewards_BK[:, weights_K != 0].isnan().all(dim=1)] = float("nan")
        if self._shapers and self.model.training:
            rewards_B = self._shaped(rewards_B, batch)
        group_B = torch.arange(len(rewards_B), device=rewards_B.device) // compat.generations(self)
        advantages_B, seen = ADVANTAGES[str(self.args.scale_rewards)](rewards_B, group_B)
        size = len(inputs)
        start = self.accelerator.process_index * size
        batch["advantages"] = advantages_B[start : start + size]
        compat.replace_last(self, "frac_reward_zero_std", seen["std_zero"].item())
        compat.replace_logged_advantages(self, advantages_B)
        return batch

    def _shaped(self, rewards_B: Tensor, batch: dict[str, Any]) -> Tensor:
        """The summed rewards after every shaper, in the order given; each sees whole groups with their log-probabilities."""
        mask_BT = batch["completion_mask"]
        local_B = (compat.completion_logps(self, batch) * mask_BT).sum(dim=1)
        logps = self.accelerator.gather(local_B).tolist()
        rollouts = [replace(r, logprob=value) for r, value in zip(self._rollouts, logps, strict=True)]
        values: list[float | None] = [None if r != r else r for r in rewards_B.tolist()]
        for group in self._groups():
            members = RolloutGroup(tuple(rollouts[i] for i in group), self._judgments[group[0]])
            rewards_G: Sequence[float | None] = [values[i] for i in group]
            for shaper in self._shapers:
                rewards_G = [checked(shaper.name, value) for value in shaper.bound()(members, rewards_G)]
            for i, value in zip(group, rewards_G, strict=True):
                values[i] = value
        shaped_B = rewards_B.new_tensor([float("nan") if value is None else value for value in values])
        compat.record(self, "reward_shaped", torch.nanmean(shaped_B).item())
        return shaped_B

    def _groups(self) -> list[range]:
        """The gathered rollouts' indices, prompt by prompt (TRL's sampler repeats each prompt in a row)."""
        size = compat.generations(self)
        return [range(start, start + size) for start in range(0, len(self._rollouts), size)]

    def _record_reports(self) -> None:
        """How the answers were read, in the logs: nothing in training is hidden by a tolerant parser."""
        reports = [rollout.report for rollout in self._rollouts]
        compat.record(self, "parse/clean", sum(report.clean for report in reports) / len(reports))
        compat.record(self, "parse/unreadable", sum(report.unreadable for report in reports) / len(reports))
        distinct = [len({self._rollouts[i].text for i in group}) / len(group) for group in self._groups()]
        compat.record(self, "rollouts/distinct", sum(distinct) / len(distinct))

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Held-out nDCG@10 and how the answers read, as `eval_…` metrics, logged; TRL's own evaluation without `held_out`."""
        if self._held_out is None or eval_dataset is not None:
            return dict(super().evaluate(eval_dataset, ignore_keys, metric_key_prefix))
        measured = self._held_out.measure(
            self.accelerator.unwrap_model(self.model),
            self.processing_class,
            self._reranker,
            self.accelerator,
            chat_template_kwargs=self.args.chat_template_kwargs,
        )
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in measured.items()}
        Trainer.log(self, dict(metrics))  # TRL's own would take the training metrics along and clear them
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def train(self, resume_from_checkpoint: str | Path | bool | None = None, **kwargs: Any) -> Any:
        """Trains; a resumed run goes on exactly where the checkpoint was made, also between two generations.

        resume_from_checkpoint: a checkpoint folder, or True for the newest complete one under `output_dir`.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_complete_checkpoint(self.args.output_dir)
        if resume_from_checkpoint:
            restore(self, Path(resume_from_checkpoint))
        return super().train(
            resume_from_checkpoint=str(resume_from_checkpoint) if resume_from_checkpoint else None, **kwargs
        )


def _refuse_nonsense(args: GRPOConfig, scored: Sequence[WeightedReward], shapers: Sequence[WeightedReward]) -> None:
    if not scored:
        raise ConfigError("no reward to train on: give at least one that is not a shaper")
    if args.reward_weights is not None:
        raise ConfigError("weights are given with the rewards (ndcg=1.0 well_formed=0.1), not as reward_weights")
    if shapers and args.mask_truncated_completions:
        raise ConfigError(
            f"{shapers[0].name} needs every answer's log-probability, which mask_truncated_completions takes from cut ones; "
            "use one of the two"
        )
    if args.loss_type not in compat.LOSS_TYPES:
        raise unknown_name("loss_type", str(args.loss_type), compat.LOSS_TYPES)
    if str(args.scale_rewards) not in ADVANTAGES:
        raise ConfigError(f"scale_rewards must be one of {', '.join(ADVANTAGES)}, got {args.scale_rewards!r}")
    if shapers and args.multi_objective_aggregation != "sum_then_normalize":
        raise ConfigError(
            f"{shapers[0].name} shapes the sum of the rewards, which {args.multi_objective_aggregation!r} never makes; "
            "use multi_objective_aggregation='sum_then_normalize'"
        )
