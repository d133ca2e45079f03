"""Plain GRPO through RankPolicyTrainer is stock TRL: same rollouts, advantages to the bit, losses, weights."""

import sys
from pathlib import Path

import pytest
import torch

from rankrl.rerankers.rank_r1 import RankR1
from rankrl.training.dataset import rows_of
from rankrl.types import Candidate, CandidateList, Query

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import toy_rewards

pytestmark = pytest.mark.slow

RERANKER = RankR1(template="brief", num_child=3)


def rows(prompts=6):
    listings = [
        CandidateList(
            Query(f"q{i}", f"what is number {i}"),
            tuple(Candidate(f"d{i}-{j}", f"passage {j} of {i}") for j in range(3)),
        )
        for i in range(prompts)
    ]
    return rows_of(listings, {f"q{i}": {f"d{i}-1": 1} for i in range(prompts)}, RERANKER)


def settings(folder, **changed):
    from trl import GRPOConfig

    values = {
        "output_dir": str(folder), "max_steps": 3, "per_device_train_batch_size": 8, "num_generations": 4,
        "max_completion_length": 12, "learning_rate": 1e-2, "use_cpu": True, "bf16": False, "report_to": "none",
        "logging_steps": 1, "save_strategy": "no", "seed": 7, "gradient_checkpointing": False, "loss_type": "grpo",
        "disable_tqdm": True,
    }  # fmt: skip
    return GRPOConfig(**(values | changed))


def loaded(tiny_model_dir):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return (
        AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32),
        AutoTokenizer.from_pretrained(tiny_model_dir, padding_side="left"),
    )


def stock(tiny_model_dir, folder, functions, seen, **changed):
    """The weights and logs of TRL's own trainer; its advantages go to `seen`."""
    from datasets import Dataset
    from trl import GRPOTrainer

    from rankrl.training.rewarding import as_trl_reward

    class Watched(GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            batch = super()._generate_and_score_completions(inputs)
            seen.append((batch["completion_ids"].clone(), batch["advantages"].clone()))
            return batch

    model, tokenizer = loaded(tiny_model_dir)
    rewards = [as_trl_reward(function, reranker=RERANKER) for function in functions]
    trainer = Watched(
        model,
        rewards,
        args=settings(folder, **changed),
        train_dataset=Dataset.from_list(rows()),
        processing_class=tokenizer,
    )
    trainer.train()
    return model.state_dict(), trainer.state.log_history


def ours(tiny_model_dir, folder, functions, seen, **changed):
    from datasets import Dataset

    from rankrl.training.policy import RankPolicyTrainer
    from rankrl.training.rewarding import WeightedReward

    class Watched(RankPolicyTrainer):
        def _generate_and_score_completions(self, inputs):
            batch = super()._generate_and_score_completions(inputs)
            seen.append((batch["completion_ids"].clone(), batch["advantages"].clone()))
            return batch

    model, tokenizer = loaded(tiny_model_dir)
    weights = changed.pop("reward_weights", [1.0] * len(functions))
    rewards = [WeightedReward(f.__name__, f, weight) for f, weight in zip(functions, weights, strict=True)]
    trainer = Watched(
        model,
        rewards=rewards,
        reranker=RERANKER,
        args=settings(folder, **changed),
        train_dataset=Dataset.from_list(rows()),
        processing_class=tokenizer,
        score_completions_only=False,
    )
    trainer.train()
    return model.state_dict(), trainer.state.log_history


CASES = {
    "grpo": {},
    "dapo, two rewards with weights": {"loss_type": "dapo", "reward_weights": [1.0, 0.5]},
    "batch scaling, accumulation": {"scale_rewards": "batch", "gradient_accumulation_steps": 2},
    "no scaling, two iterations": {"scale_rewards": "none", "num_iterations": 2},
    "several steps a generation": {"steps_per_generation": 2, "per_device_train_batch_size": 4},
}


@pytest.mark.parametrize("case", CASES)
def test_plain_grpo_equals_trl(case, tiny_model_dir, tmp_path):
    changed = CASES[case]
    functions = [toy_rewards.vowels, toy_rewards.sometimes][: len(changed.get("reward_weights", [1.0]))]
    theirs, mine = [], []
    weights_trl, log_trl = stock(tiny_model_dir, tmp_path / "trl", functions, theirs, **changed)
    weights_ours, log_ours = ours(tiny_model_dir, tmp_path / "ours", functions, mine, **changed)
    assert len(theirs) == len(mine) > 0
    for (ids_trl, advantages_trl), (ids_ours, advantages_ours) in zip(theirs, mine, strict=True):
        assert torch.equal(ids_trl, ids_ours)
        assert torch.equal(advantages_trl, advantages_ours)
    assert any(advantages.abs().max() > 0.01 for _, advantages in mine), "no signal: the test would pass on zeros"
    for step_trl, step_ours in zip(log_trl, log_ours, strict=True):
        assert step_ours.get("loss", 0.0) == pytest.approx(step_trl.get("loss", 0.0), abs=1e-6)
        assert step_ours.get("frac_reward_zero_std") == step_trl.get("frac_reward_zero_std")
    for name, weight in weights_trl.items():
        assert torch.equal(weight, weights_ours[name]), name


def test_our_pure_loss_equals_trls_on_its_own_batch(tiny_model_dir, tmp_path):
    from datasets import Dataset

    from rankrl.rl.losses import policy_loss
    from rankrl.training.policy import RankPolicyTrainer
    from rankrl.training.rewarding import WeightedReward

    compared = []
    how = {"grpo": "sequence_mean", "bnpo": "token_mean", "dr_grpo": "constant"}

    class Compared(RankPolicyTrainer):
        def _compute_loss(self, model, inputs):
            loss = super()._compute_loss(model, inputs)
            ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
            mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
            T = inputs["completion_ids"].size(1)
            logps_BT = self._get_per_token_logps_and_entropies(model, ids, mask, T)[0]
            pure, _ = policy_loss(
                logps_BT,
                inputs["advantages"],
                inputs["completion_mask"],
                old_logps_BT=inputs.get("old_per_token_logps"),
                reference_logps_BT=inputs.get("ref_per_token_logps"),
                beta=self.beta,
                level=self.importance_sampling_level,
                how=how[self.loss_type],
                constant=self.max_completion_length,
            )
            compared.append((pure.item(), loss.item()))
            return loss

    for loss_type in how:
        for level in ("token", "sequence"):
            model, tokenizer = loaded(tiny_model_dir)
            trainer = Compared(
                model,
                rewards=[WeightedReward("vowels", toy_rewards.vowels)],
                reranker=RERANKER,
                args=settings(
                    tmp_path / f"{loss_type}{level}", loss_type=loss_type, importance_sampling_level=level, beta=0.05,
                    num_iterations=2, max_steps=4, use_bias_correction_kl=False,
                ),
                train_dataset=Dataset.from_list(rows()),
                processing_class=tokenizer,
            )  # fmt: skip
            trainer.train()
    assert len(compared) == 6 * 4 and any(abs(loss) > 1e-3 for _, loss in compared)
    for pure, loss in compared:
        assert pure == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_scores_of_completions_alone_equal_trls_fused_scores(temperature, tiny_model_dir, tmp_path):
    from datasets import Dataset

    from rankrl.training.policy import RankPolicyTrainer
    from rankrl.training.rewarding import WeightedReward

    model, tokenizer = loaded(tiny_model_dir)
    trainer = RankPolicyTrainer(
        model,
        rewards=[WeightedReward("low_tokens", toy_rewards.low_tokens)],
        reranker=RERANKER,
        args=settings(tmp_path, temperature=temperature),
        train_dataset=Dataset.from_list(rows()),
        processing_class=tokenizer,
    )
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, len(tokenizer), (5, 15), generator=generator)
    mask = torch.ones_like(ids)
    for row, (left, right) in enumerate([(0, 0), (4, 0), (0, 3), (7, 5), (2, 1)]):
        mask[row, :left], mask[row, 15 - right :] = 0, 0
    scores, gradients = [], []
    for alone in (False, True):
        trainer._score_completions_only = alone
        logps, entropies, _ = trainer._get_per_token_logps_and_entropies(model, ids, mask, 6, 2, True)
        model.zero_grad()
        (logps * torch.linspace(-1, 1, 30).view(5, 6)).sum().backward()
        scores.append((logps.detach(), entropies.detach()))
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for theirs, ours_alone in zip(*scores, strict=True):
        torch.testing.assert_close(ours_alone, theirs, atol=1e-5, rtol=1e-5)
    assert (scores[0][0] == 0).sum() == 9 and scores[0][0].min() < -3
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4)
