"""Two processes see whole groups, also those that lie on both: their advantages are those of one process's pure functions."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rankrl.rl.advantages import standardized
from rankrl.rl.shaping import unlikeliness

HERE = Path(__file__).resolve().parent


@pytest.mark.slow
def test_advantages_over_two_processes_are_those_of_the_gathered_groups(tiny_model_dir, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    path = os.pathsep.join([str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {
        **os.environ,
        "PYTHONPATH": path,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [*launch, str(HERE / "two_processes.py"), str(tiny_model_dir), str(tmp_path)],
        capture_output=True, text=True, env=env, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{i}.json").read_text()) for i in range(2)]
    qids, texts, given, logps = (
        ranks[0][name] + ranks[1][name] for name in ("qids", "texts", "advantages", "mean_logps")
    )
    assert ranks[0]["rewards"] == ranks[1]["rewards"] and len(qids) == 12
    assert qids[4] == qids[6] and len(set(qids)) == 3, "a group must lie on both processes"

    group_B = torch.arange(12) // 4
    vowels = [sum(t.lower().count(v) for v in "aeiou") / max(len(t), 1) for t in texts]
    longest = [float(len(t) == max(len(u) for u in texts[i // 4 * 4 : i // 4 * 4 + 4])) for i, t in enumerate(texts)]
    assert torch.allclose(torch.tensor(ranks[0]["rewards"]), torch.tensor([vowels, longest]).T)
    rewards_B = torch.tensor(vowels) + 0.5 * torch.tensor(longest)
    expected_B, _ = standardized(unlikeliness(rewards_B, torch.tensor(logps), group_B), group_B)
    torch.testing.assert_close(torch.tensor(given), expected_B, atol=1e-4, rtol=1e-4)
    assert expected_B.abs().max() > 0.5
    evaluations = [json.loads((tmp_path / f"eval{i}.json").read_text()) for i in range(2)]
    assert evaluations[0] == evaluations[1]
    by_hand = sum(1 / math.log2(rank + 1) for rank in (1, 2, 3)) / 3  # nothing can be read: first-stage order
    assert evaluations[0]["eval_ndcg@10"] == pytest.approx(by_hand)
