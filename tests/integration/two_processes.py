"""Run by test_two_processes.py under torch.distributed: each rank writes what it saw of one generation."""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import test_training_seam as seam
import toy_rewards


def main(model_folder: str, out: str) -> None:
    rewards = [(toy_rewards.vowels,), (toy_rewards.longest, 0.5), "unlikeliness"]
    trainer = seam.trainer_of(
        model_folder, f"{out}/trainer", rewards, max_steps=1, per_device_train_batch_size=6, held_out=True
    )
    inner = trainer._generate_and_score_completions

    def watched(inputs):
        batch = inner(inputs)
        texts = trainer.processing_class.batch_decode(batch["completion_ids"], skip_special_tokens=True)
        logps_BT = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            *(seam.torch.cat([batch[f"prompt_{x}"], batch[f"completion_{x}"]], 1) for x in ("ids", "mask")),
            batch["completion_ids"].size(1),
        )[0]
        mean_B = (logps_BT * batch["completion_mask"]).sum(1) / batch["completion_mask"].sum(1)
        rows = {
            "qids": [row["qid"] for row in inputs], "texts": texts, "advantages": batch["advantages"].tolist(),
            "mean_logps": mean_B.tolist(), "rewards": trainer._rewards_BK.tolist(),
        }  # fmt: skip
        Path(f"{out}/rank{trainer.accelerator.process_index}.json").write_text(json.dumps(rows))
        return batch

    trainer._generate_and_score_completions = watched
    trainer.train()
    measured = trainer.evaluate()
    Path(f"{out}/eval{trainer.accelerator.process_index}.json").write_text(json.dumps(measured))
    trainer.accelerator.end_training()  # as rankrl.train does; without it a process may abort (SIGABRT) at its very end
    sys.stdout.flush()
    os._exit(
        0
    )  # and with it still can, once in a while: threads of torch that are not joined. What was seen is written


if __name__ == "__main__":
    main(*sys.argv[1:])
