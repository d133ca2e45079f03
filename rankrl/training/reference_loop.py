"""GRPO with the unlikeliness reward in one readable page of PyTorch: the specification of what the trainer does, and its oracle.

Nothing here is fast or distributed; `RankPolicyTrainer` is. Both call the same pure functions (`rankrl.rl`, `rewards`,
the reranker's `prompt` and `parse`), and a test holds that one optimisation step on the same rollouts gives the same weights.

The algorithm (GRPO, arXiv:2402.03300; unlikeliness, arXiv:2506.02355), per step:
  1. show each prompt to the policy and sample G answers;
  2. read each answer with the reranker's parser, score the order it gives;
  3. discount right answers by how likely they were within their group (optional);
  4. advantage = reward − group mean, over the group's standard deviation + 1e-4;
  5. ascend the clipped, token-averaged objective.

Deviations from the papers, here as in the trainer: (1) no reference policy unless asked for (beta = 0); (2) one optimisation
step per batch, so the ratio is 1 and clipping never acts; (3) standard deviation with ddof = 1 and eps, as TRL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rankrl.contracts import Reranker
from rankrl.rl.advantages import standardized
from rankrl.rl.losses import policy_loss
from rankrl.rl.shaping import unlikeliness
from rankrl.types import CandidateList, Qrels, Rollout


def train(
    model: Any,
    tokenizer: Any,
    reranker: Reranker,
    listings: Sequence[CandidateList],
    qrels: Qrels,
    reward: Callable[..., float | None],
    *,
    steps: int,
    prompts_per_step: int = 4,
    group_size: int = 8,
    max_new_tokens: int = 64,
    learning_rate: float = 1e-5,
    beta_rank: float = 0.0,
    seed: int = 0,
) -> list[float]:
    """The mean reward of each step's rollouts; `model` is trained in place. beta_rank > 0 adds the unlikeliness reward."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=learning_rate, weight_decay=0.0
    )
    order = torch.randperm(len(listings)).tolist()
    history = []
    for step in range(steps):
        chosen = [listings[order[(step * prompts_per_step + i) % len(order)]] for i in range(prompts_per_step)]
        shown = [listing for listing in chosen for _ in range(group_size)]
        group_B = torch.arange(len(shown)) // group_size
        prompts, completions = sample(model, tokenizer, [reranker.prompt(s) for s in shown], max_new_tokens)
        rollouts = [read(reranker, tokenizer, listing, ids) for listing, ids in zip(shown, completions, strict=True)]
        scored = [reward(r, qrels[r.listing.query.qid]) for r in rollouts]
        rewards_B = torch.tensor([float("nan") if value is None else value for value in scored])
        batch = padded_batch(prompts, completions, pad_id=tokenizer.pad_token_id)
        history.append(torch.nanmean(rewards_B).item())
        optimise(model, optimizer, *batch, rewards_B, group_B, beta_rank=beta_rank)
    return history


def sample(model: Any, tokenizer: Any, requests: Sequence[Any], max_new_tokens: int) -> tuple[list[Any], list[Any]]:
    """(prompt ids, completion ids) per request: one answer each, at temperature 1, the end-of-sequence token included."""
    prompts = [
        tokenizer.apply_chat_template(r, add_generation_prompt=True, return_dict=True)["input_ids"] for r in requests
    ]
    width = max(map(len, prompts))
    ids = torch.tensor([[tokenizer.pad_token_id] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    with torch.no_grad():
        out = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            max_new_tokens=max_new_tokens, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    rows = [row[width:].tolist() for row in out]
    end = tokenizer.eos_token_id
    return prompts, [row[: row.index(end) + 1] if end in row else row for row in rows]


def read(reranker: Reranker, tokenizer: Any, listing: CandidateList, ids: Sequence[int]) -> Rollout:
    """The sampled tokens as a Rollout."""
    text = tokenizer.decode(ids, skip_special_tokens=True)
    return Rollout(listing, text, reranker.parse(text, len(listing)), completion_tokens=len(ids))


def padded_batch(prompts: Sequence[Any], completions: Sequence[Any], *, pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """(ids_BL, attention_BL, completion_mask_BT): prompts padded on the left, completions on the right."""
    P, T = max(map(len, prompts)), max(map(len, completions))
    pairs = list(zip(prompts, completions, strict=True))
    ids_BL = torch.tensor([[pad_id] * (P - len(p)) + [*p, *c] + [pad_id] * (T - len(c)) for p, c in pairs])
    lengths = [(len(p), len(c)) for p, c in pairs]
    attention_BL = torch.tensor([[0] * (P - p) + [1] * (p + c) + [0] * (T - c) for p, c in lengths])
    return ids_BL, attention_BL, attention_BL[:, P:]


def completion_logps(model: Any, ids_BL: Tensor, attention_BL: Tensor, T: int) -> Tensor:
    """Log-probability of each of the last T tokens given what stands before it, (B, T), in nats."""
    logits = model(input_ids=ids_BL, attention_mask=attention_BL).logits[:, -T - 1 : -1]
    return torch.as_tensor(logits.float().log_softmax(-1).gather(2, ids_BL[:, -T:, None]).squeeze(2))


def optimise(
    model: Any,
    optimizer: torch.optim.Optimizer,
    ids_BL: Tensor,
    attention_BL: Tensor,
    mask_BT: Tensor,
    rewards_B: Tensor,
    group_B: Tensor,
    *,
    beta_rank: float = 0.0,
    max_grad_norm: float = 1.0,
) -> Tensor:
    """One gradient step on one batch of rollouts; returns the advantages."""
    logps_BT = completion_logps(model, ids_BL, attention_BL, mask_BT.size(1))
    if beta_rank:
        mean_logps_B = (logps_BT.detach() * mask_BT).sum(1) / mask_BT.sum(1).clamp(min=1)
        rewards_B = unlikeliness(rewards_B, mean_logps_B, group_B, beta=beta_rank)
    advantages_B, _ = standardized(rewards_B, group_B)
    loss, _ = policy_loss(logps_BT, advantages_B, mask_BT)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimizer.step()
    return advantages_B
