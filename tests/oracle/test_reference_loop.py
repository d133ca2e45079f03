"""The readable loop and the trainer do the same: same advantages and same weights from the same rollouts."""

import copy
import sys
from pathlib import Path

import pytest
import torch

from rankrl.rerankers.rank_r1 import RankR1
from rankrl.training import reference_loop
from rankrl.training.dataset import rows_of
from rankrl.types import Candidate, CandidateList, Query

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import toy_rewards

RERANKER = RankR1(template="brief", num_child=3)
LISTINGS = [
    CandidateList(Query(f"q{i}", f"what is {i}"), tuple(Candidate(f"d{j}", f"passage {j}") for j in range(3)))
    for i in range(4)
]
QRELS = {f"q{i}": {"d1": 1} for i in range(4)}


def loaded(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(folder, padding_side="left")


@pytest.mark.slow
@pytest.mark.parametrize("beta_rank", [0.0, 0.25])
def test_one_step_of_the_trainer_is_one_step_of_the_loop(beta_rank, tiny_model_dir, tmp_path):
    from datasets import Dataset
    from trl import GRPOConfig

    from rankrl.training.policy import RankPolicyTrainer
    from rankrl.training.rewarding import WeightedReward, parse_reward

    seen = {}

    class Watched(RankPolicyTrainer):
        def _generate_and_score_completions(self, inputs):
            seen["batch"] = super()._generate_and_score_completions(inputs)
            seen["rewards_B"] = self._rewards_BK[:, 0].clone()
            return seen["batch"]

    model, tokenizer = loaded(tiny_model_dir)
    before = copy.deepcopy(model)
    shapers = [parse_reward(f"unlikeliness(beta={beta_rank})")] if beta_rank else []
    trainer = Watched(
        model,
        rewards=[WeightedReward("vowels", toy_rewards.vowels), *shapers],
        reranker=RERANKER,
        args=GRPOConfig(
            output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=16, num_generations=8, seed=3,
            max_completion_length=12, learning_rate=1e-3, lr_scheduler_type="constant", loss_type="grpo", use_cpu=True,
            bf16=False, report_to="none", save_strategy="no", gradient_checkpointing=False, disable_tqdm=True,
            optim="adamw_torch",
        ),
        train_dataset=Dataset.from_list(rows_of(LISTINGS, QRELS, RERANKER)),
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    batch = seen["batch"]
    start = copy.deepcopy(before.state_dict())
    before.train()
    optimizer = torch.optim.AdamW(before.parameters(), lr=1e-3, weight_decay=0.0)
    advantages_B = reference_loop.optimise(
        before,
        optimizer,
        torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1),
        torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1),
        batch["completion_mask"],
        seen["rewards_B"],
        torch.arange(16) // 8,
        beta_rank=beta_rank,
    )
    torch.testing.assert_close(advantages_B, batch["advantages"], atol=1e-4, rtol=1e-4)
    assert advantages_B.abs().max() > 0.1
    for name, weight in trainer.model.state_dict().items():
        moved = before.state_dict()[name]
        assert not torch.equal(moved, start[name]) or "bias" in name or "norm" in name
        # Adam's first step is lr·sign(gradient): the few weights whose gradient is rounding noise may go either way
        assert ((weight - moved).abs() > 1e-5).float().mean() < 0.02, name


def test_the_loop_learns_a_toy_reward(tiny_model_builder, tmp_path):
    torch.set_num_threads(1)
    model, tokenizer = loaded(tiny_model_builder(tmp_path / "m", seed=1))
    history = reference_loop.train(
        model, tokenizer, RERANKER, LISTINGS, QRELS, toy_rewards.mostly_vowels, steps=25, max_new_tokens=8,
        learning_rate=1e-2, beta_rank=0.25,
    )  # fmt: skip
    assert sum(history[-5:]) / 5 > sum(history[:3]) / 3 + 0.3, history
