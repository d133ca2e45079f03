"""Supervised warm-up: a policy learns a reranker's answer format, and what to answer, before RL can improve on it.

RL only strengthens answers that are sampled; a policy that never answers in the format earns nothing. Prompts and ideal
answers are the reranker's own. Cross-entropy on the completion, by transformers' Trainer with two of its own hooks: the model
is asked for the logits of the completion alone (`logits_to_keep`), and `compute_loss_func` takes them. TRL's SFTTrainer would do
the same on a GPU; on a CPU it scores every position of the prompt against the vocabulary (`benchmarks/completion_scoring.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from rankrl.contracts import Reranker
from rankrl.engines._prompts import chat_text
from rankrl.errors import ConfigError, DataError
from rankrl.types import PLAIN, CandidateList


class AnswersLabels(Reranker, Protocol):
    """A reranker that can write the ideal answer naming one label (1-based), as RankR1, Setwise and PRP can."""

    def answer(self, label: int, thought: str | None = None) -> str: ...


def warm_up_rows(
    examples: Iterable[tuple[CandidateList, int]], reranker: AnswersLabels, tokenizer: Any
) -> list[dict[str, Any]]:
    """Rows {"prompt_ids", "completion_ids"} from lists and the position (0-based) of the one right answer.

    The completion is what the chat template makes of the answer, end-of-turn token included; of an answer that the prompt
    begins, what follows the beginning.

    Raises:
        ConfigError: the reranker has no ideal answer that names one label, or asks in plain text.
        DataError: the template rewrites the prompt once an answer follows, so the two cannot be told apart.
    """
    if not hasattr(reranker, "answer"):
        raise ConfigError(
            f"{type(reranker).__name__} has no answer(label), an ideal answer that names one passage, to warm up with; "
            "RankR1, Setwise and PRP have"
        )
    rows = []
    for listing, best in examples:
        messages = reranker.prompt(listing)
        if messages[0]["role"] == PLAIN:
            raise ConfigError(
                f"{type(reranker).__name__} asks in plain text with this template, and a warm-up is for chats; "
                "choose one with user turns"
            )
        begun = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
        asked = messages[:-1] if begun else messages
        answered = [*asked, {"role": "assistant", "content": begun + reranker.answer(best + 1)}]
        prompt = chat_text(tokenizer, messages, {}, "the model")
        whole = tokenizer.apply_chat_template(answered, tokenize=False)
        if not whole.startswith(prompt):
            raise DataError(
                "the chat template changes the prompt when an answer follows; it cannot be used for a warm-up"
            )
        ids = tokenizer([prompt, whole[len(prompt) :]], add_special_tokens=False, verbose=False)["input_ids"]
        rows.append({"prompt_ids": ids[0], "completion_ids": ids[1]})
    return rows


def collator(pad_id: int) -> Callable[[Sequence[dict[str, Any]]], dict[str, Any]]:
    """A function rows -> batch, padded on the left, so that completions stand at the right edge and need few logits."""

    def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        import torch

        whole = [[*row["prompt_ids"], *row["completion_ids"]] for row in rows]
        L, T = max(map(len, whole)), max(len(row["completion_ids"]) for row in rows)
        input_ids_BL = torch.full((len(rows), L), pad_id)
        attention_BL = torch.zeros((len(rows), L), dtype=torch.long)
        labels_BT = torch.full((len(rows), T), -100)
        for i, (ids, row) in enumerate(zip(whole, rows, strict=True)):
            input_ids_BL[i, L - len(ids) :] = torch.tensor(ids)
            attention_BL[i, L - len(ids) :] = 1
            labels_BT[i, T - len(row["completion_ids"]) :] = torch.tensor(row["completion_ids"])
        return {"input_ids": input_ids_BL, "attention_mask": attention_BL, "labels": labels_BT, "logits_to_keep": T + 1}

    return collate


def completion_loss(outputs: Any, labels_BT: Any, num_items_in_batch: Any = None) -> Any:
    """Mean cross-entropy over the completion tokens of the batch, or their sum over the count that the Trainer gives."""
    from torch.nn.functional import cross_entropy

    logits_BTV = outputs.logits[:, -labels_BT.size(1) - 1 : -1].float()
    reduction = "mean" if num_items_in_batch is None else "sum"
    loss = cross_entropy(logits_BTV.flatten(0, 1), labels_BT.flatten(), ignore_index=-100, reduction=reduction)
    return loss if num_items_in_batch is None else loss / num_items_in_batch


def warm_up(
    model: Any,
    tokenizer: Any,
    rows: Sequence[dict[str, Any]],
    *,
    output_dir: str | Path,
    batch_size: int = 16,
    learning_rate: float = 2e-4,
    seed: int = 42,
    bf16: bool = False,
    callbacks: Sequence[Any] = (),
    **more: Any,
) -> list[dict[str, Any]]:
    """The logged steps of one pass over `rows` in their order (a curriculum keeps its order); `model` is trained in place.

    bf16: compute in bfloat16 under autocast, weights stay as they are. more: any other field of TrainingArguments. Nothing is
    saved; the caller saves model and tokenizer, and `write_reranker_card` says with which prompts they were trained.
    """
    import torch
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    settings: dict[str, Any] = {
        "output_dir": str(output_dir),
        "per_device_train_batch_size": batch_size,
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
        "learning_rate": learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.05,
        "adam_beta2": 0.98,
        "max_grad_norm": 1.0,
        "bf16": bf16,
        "use_cpu": not torch.cuda.is_available(),
        "seed": seed,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 20,
        "remove_unused_columns": False,
    }
    trainer = Trainer(
        model,
        TrainingArguments(**(settings | more)),
        data_collator=collator(tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(list(rows)),
        compute_loss_func=completion_loss,
        callbacks=list(callbacks),
    )
    trainer.train()
    return list(trainer.state.log_history)
