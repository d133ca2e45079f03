"""Bugs found in the seam between TRL and us, each with its story in its name."""

import copy
import math
import sys
from pathlib import Path

import pytest
import torch

from rankrl.errors import ConfigError
from rankrl.rerankers.rank_r1 import RankR1
from rankrl.training.dataset import rows_of
from rankrl.types import Candidate, CandidateList, Query

sys.path.insert(0, str(Path(__file__).resolve().parent))
import toy_rewards

RERANKER = RankR1(template="brief", num_child=3, k=2)
LISTINGS = [
    CandidateList(Query(f"q{i}", f"what is {i}"), tuple(Candidate(f"d{j}", f"passage {j}") for j in range(4)))
    for i in range(6)
]
QRELS = {f"q{i}": {f"d{i % 4}": i + 1} for i in range(6)}


def trainer_of(model_folder, folder, rewards, *, held_out=False, args=None, **changed):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig

    from rankrl.training.held_out import HeldOut
    from rankrl.training.policy import RankPolicyTrainer
    from rankrl.training.rewarding import WeightedReward, parse_reward

    made = [parse_reward(r) if isinstance(r, str) else WeightedReward(r[0].__name__, *r) for r in rewards]
    values = {
        "output_dir": str(folder), "max_steps": 2, "per_device_train_batch_size": 8, "num_generations": 4, "seed": 5,
        "max_completion_length": 8, "learning_rate": 1e-2, "use_cpu": True, "bf16": False, "report_to": "none",
        "logging_steps": 1, "save_strategy": "no", "gradient_checkpointing": False, "disable_tqdm": True,
    }  # fmt: skip
    return RankPolicyTrainer(
        AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32),
        rewards=made,
        reranker=RERANKER,
        args=args or GRPOConfig(**(values | changed)),
        held_out=HeldOut(LISTINGS[:3], QRELS, 8) if held_out else None,
        train_dataset=Dataset.from_list(rows_of(LISTINGS, QRELS, RERANKER)),
        eval_dataset=Dataset.from_list(rows_of(LISTINGS[:1], QRELS, RERANKER)) if held_out else None,
        processing_class=AutoTokenizer.from_pretrained(model_folder, padding_side="left"),
    )


@pytest.mark.slow
def test_evaluation_does_not_eat_the_training_metrics(tiny_model_dir, tmp_path):
    changed = {"max_steps": 4, "logging_steps": 4, "eval_strategy": "steps", "eval_steps": 2}
    trainer = trainer_of(tiny_model_dir, tmp_path, [(toy_rewards.vowels,)], held_out=True, **changed)
    trainer.train()
    log = trainer.state.log_history
    evaluations = [entry for entry in log if "eval_ndcg@10" in entry]
    assert [entry["step"] for entry in evaluations] == [2, 4]
    assert all(name.startswith("eval_") or name in ("step", "epoch") for entry in evaluations for name in entry)
    whole = trainer_of(tiny_model_dir, tmp_path / "b", [(toy_rewards.vowels,)], max_steps=4, logging_steps=4)
    whole.train()
    with_it, without = (next(e for e in t.state.log_history if "reward" in e) for t in (trainer, whole))
    assert with_it["reward"] == without["reward"] and with_it["num_tokens"] == without["num_tokens"]


@pytest.mark.slow
def test_evaluation_changes_neither_the_model_nor_what_is_sampled_next(tiny_model_dir, tmp_path):
    ends = []
    for name, held_out in (("with", True), ("without", False)):
        changed = {"eval_strategy": "steps", "eval_steps": 1} if held_out else {}
        trainer = trainer_of(tiny_model_dir, tmp_path / name, [(toy_rewards.vowels,)], held_out=held_out, **changed)
        trainer.train()
        modes = [module.training for module in trainer.model.modules()]
        ends.append((trainer.model.state_dict(), modes, trainer.model.generation_config.to_dict()))
    assert ends[0][1:] == ends[1][1:]
    assert all(torch.equal(ends[0][0][name], ends[1][0][name]) for name in ends[0][0])


@pytest.mark.slow
def test_a_reward_that_is_only_logged_does_not_turn_does_not_apply_into_zero(tiny_model_dir, tmp_path):
    seen = []
    for rewards in ([(toy_rewards.sometimes,)], [(toy_rewards.sometimes,), (toy_rewards.vowels, 0.0)]):
        trainer = trainer_of(tiny_model_dir, tmp_path / str(len(rewards)), rewards, max_steps=1)
        inner = trainer._generate_and_score_completions

        def watched(inputs, inner=inner, trainer=trainer):
            batch = inner(inputs)
            seen.append((batch["advantages"].clone(), trainer._rewards_BK[:, 0].isnan()))
            return batch

        trainer._generate_and_score_completions = watched
        trainer.train()
    assert torch.equal(seen[0][0], seen[1][0]) and seen[0][1].any() and not seen[0][1].all()
    assert (seen[1][0][seen[1][1]] == 0).all()


def grade_of_the_query(group):
    """A group reward that says whose judgments it was given."""
    return [float(next(iter(group.judgments.values())))] * len(group)


grade_of_the_query.__over_group__ = True


@pytest.mark.slow
def test_a_group_reward_gets_its_own_querys_judgments_and_the_table_shows_what_was_trained_on(tiny_model_dir, tmp_path):
    rewards = [(toy_rewards.vowels,), (grade_of_the_query, 0.0), "unlikeliness"]
    trainer = trainer_of(tiny_model_dir, tmp_path, rewards, max_steps=1)
    inner, seen = trainer._generate_and_score_completions, {}

    def watched(inputs):
        seen["qids"] = [row["qid"] for row in inputs]
        seen["advantages"] = inner(inputs)
        return seen["advantages"]

    trainer._generate_and_score_completions = watched
    trainer.train()
    assert trainer._rewards_BK[:, 1].tolist() == [float(int(qid[1]) + 1) for qid in seen["qids"]]
    assert len(set(seen["qids"])) == 2
    assert list(trainer._logs["advantages"])[-8:] == seen["advantages"]["advantages"].tolist()


def test_held_out_ndcg_is_the_mean_over_all_topics(tiny_model_dir, tmp_path):
    trainer = trainer_of(tiny_model_dir, tmp_path, ["success"], held_out=True)
    measured = trainer.evaluate()
    by_hand = (
        sum(1 / math.log2(rank + 1) for rank in (1, 2, 3)) / 3
    )  # a random policy cannot be read: first-stage order
    assert measured["eval_ndcg@10"] == measured["eval_first_stage_ndcg@10"] == pytest.approx(by_hand)
    assert measured["eval_cut_answers"] == 1.0


@pytest.mark.slow
def test_two_trainers_can_be_made_of_the_same_settings(tiny_model_dir, tmp_path):
    first = trainer_of(tiny_model_dir, tmp_path, ["success=0.5"])
    given = copy.copy(first.args)
    given.reward_weights = None
    for _ in range(2):
        assert trainer_of(tiny_model_dir, tmp_path, ["success=0.5"], args=given).reward_weights.tolist() == [0.5]


@pytest.mark.slow
def test_a_group_reward_alone_is_no_occasion_for_warnings(tiny_model_dir, tmp_path, caplog):
    trainer = trainer_of(tiny_model_dir, tmp_path, [(toy_rewards.longest,)], max_steps=1)
    trainer.train()
    assert "returned None" not in caplog.text
    assert trainer.state.log_history[0]["rewards/longest/mean"] >= 0.25


def test_shapers_alone_or_with_masked_answers_are_refused(tiny_model_dir, tmp_path):
    with pytest.raises(ConfigError, match="no reward to train on"):
        trainer_of(tiny_model_dir, tmp_path, ["unlikeliness"])
    with pytest.raises(ConfigError, match="use one of the two"):
        trainer_of(tiny_model_dir, tmp_path, ["success", "unlikeliness"], mask_truncated_completions=True)
    with pytest.raises(ConfigError, match="scale_rewards must be one of"):
        trainer_of(tiny_model_dir, tmp_path, ["success"], scale_rewards="std")
