"""What a run shows and leaves behind: a line per logged step, all of it as JSON, and the reranker's card in every saved model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from transformers import ProgressCallback, TrainerCallback

from rankrl.cards import write_reranker_card
from rankrl.contracts import Reranker
from rankrl.files import atomic_writer


class LogToFile(TrainerCallback):  # type: ignore[misc]  # transformers carries no types here
    """Appends {"step": …, metrics} to a file; a resumed run goes on after the checkpoint's step, without repeats."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        with atomic_writer(self._path) as file:  # a checkpoint carries the log up to its step
            file.writelines(self._line(entry) for entry in state.log_history)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if state.is_world_process_zero and logs:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(self._line({"step": state.global_step, **logs}))

    @staticmethod
    def _line(entry: dict[str, Any]) -> str:
        return json.dumps({"step": entry["step"], **entry}, default=str) + "\n"


class SaveCard(TrainerCallback):  # type: ignore[misc]
    """Writes the reranker's card into each checkpoint and, at the end, into the output folder."""

    def __init__(self, name: str, reranker: Reranker, *, tokenizer: Any = None, **engine_options: Any) -> None:
        self._name, self._reranker, self._tokenizer, self._engine_options = name, reranker, tokenizer, engine_options

    def _write(self, folder: Path) -> None:
        if folder.is_dir():
            write_reranker_card(folder, self._name, self._reranker, tokenizer=self._tokenizer, **self._engine_options)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._write(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._write(Path(args.output_dir))


class OneLine(ProgressCallback):  # type: ignore[misc]
    """The Trainer's progress bar with one readable line per logged step; all metrics are in `log.jsonl` and the loggers."""

    _SHOWN: ClassVar[dict[str, str]] = {
        "reward": "reward {:.3f}",
        "loss": "loss {:.4f}",
        "parse/clean": "clean answers {:.0%}",
        "frac_reward_zero_std": "groups without signal {:.0%}",
        "kl": "kl {:.4f}",
        "entropy": "entropy {:.3f}",
        "eval_ndcg@10": "held-out nDCG@10 {:.4f}",
        "eval_first_stage_ndcg@10": "(first stage {:.4f})",
        "train_runtime": "trained in {:.0f} s",
    }

    def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if not args.disable_tqdm:
            super().on_train_begin(args, state, control, **others)

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if self.training_bar is not None:
            super().on_step_end(args, state, control, **others)

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        if self.training_bar is not None:
            super().on_train_end(args, state, control, **others)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if not state.is_world_process_zero or not logs:
            return
        values = [
            text.format(logs[name]) for name, text in self._SHOWN.items() if isinstance(logs.get(name), (int, float))
        ]
        line = f"step {state.global_step}/{state.max_steps}  {'  '.join(values)}"
        if self.training_bar is not None:
            self.training_bar.write(line)
        else:
            print(line, flush=True)
