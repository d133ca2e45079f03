"""What a checkpoint must hold beyond the Trainer's own, so that resuming equals not having stopped.

TRL generates rollouts for several steps at once and forgets, in a checkpoint, which of them are still to be trained on.
We save them, last of all: their file also says that the checkpoint is complete, which a killed run's newest may not be.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from rankrl.errors import DataError
from rankrl.training import _trl_compat as compat


def _state_file(folder: Path, process: int) -> Path:
    return folder / f"rankrl_state_{process}.pt"


class SaveRolloutBuffer(TrainerCallback):  # type: ignore[misc]  # transformers carries no types here
    """Writes this process's rollout buffer into each checkpoint, after everything else."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if args.save_only_model or not folder.is_dir():  # nothing to resume from
            return
        target = _state_file(folder, args.process_index)
        partial = target.with_suffix(".partial")
        torch.save(compat.rollout_buffer(self._trainer), partial)
        partial.replace(target)


def _processes(folder: Path) -> int:
    """How many processes wrote a checkpoint: the Trainer leaves one state of the random generators for each."""
    return max(1, len(list(folder.glob("rng_state*.pth"))))


def last_complete_checkpoint(output_dir: str | Path) -> Path:
    """The checkpoint with the highest step under `output_dir` that was written to its end.

    Raises:
        DataError: there is none.
    """
    folders = [p for p in Path(output_dir).glob("checkpoint-*") if p.name.rpartition("-")[2].isdigit()]
    complete = [p for p in folders if all(_state_file(p, i).exists() for i in range(_processes(p)))]
    if not complete:
        raise DataError(f"no complete checkpoint to resume from in {output_dir}; start without resume_from_checkpoint")
    return max(complete, key=lambda p: int(p.name.rpartition("-")[2]))


def restore(trainer: Any, folder: Path) -> None:
    """Give the trainer back the rollouts it had yet to train on when `folder` was written.

    Raises:
        DataError: the folder is no checkpoint of ours, or was cut off while it was written.
    """
    if not folder.is_dir():
        raise DataError(f"checkpoint not found: {folder}")
    source = _state_file(folder, trainer.args.process_index)
    if not source.exists():
        raise DataError(
            f"{folder} has no {source.name}: it was cut off while it was saved, made by another trainer or with "
            "another number of processes; resume from an earlier checkpoint"
        )
    compat.restore_rollout_buffer(trainer, torch.load(source, map_location="cpu", weights_only=True))
