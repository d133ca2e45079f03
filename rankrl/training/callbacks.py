"""What a run leaves behind: each logged step as a line of JSON, and the reranker's card in every saved model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from rankrl.contracts import Reranker
from rankrl.files import atomic_writer
from rankrl.reranking import write_reranker_card


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

    def __init__(self, name: str, reranker: Reranker, **engine_options: Any) -> None:
        self._name, self._reranker, self._engine_options = name, reranker, engine_options

    def _write(self, folder: Path) -> None:
        if folder.is_dir():
            write_reranker_card(folder, self._name, self._reranker, **self._engine_options)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._write(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._write(Path(args.output_dir))
