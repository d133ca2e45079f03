"""What only a GPU can show, in one command: `pytest -m gpu`. Skipped, with a reason, where there is none."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_greedy_answers_on_the_gpu_are_those_of_the_cpu(tiny_model_builder, tmp_path):
    from rankrl.engines.transformers import TransformersEngine
    from rankrl.types import Request

    folder = tiny_model_builder(tmp_path, initializer_range=0.3)
    requests = [Request([{"role": "user", "content": f"passage {i} " * (i + 1)}]) for i in range(9)]
    answers = [
        TransformersEngine(folder, max_new_tokens=16, device=device, dtype="float32").generate(requests)
        for device in ("cpu", "cuda")
    ]
    assert [a.text for a in answers[0]] == [a.text for a in answers[1]]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scores_on_the_gpu_are_those_of_the_cpu_and_of_no_batch(dtype, tiny_model_builder, tmp_path):
    from rankrl.engines.transformers import TransformersEngine
    from rankrl.types import Request

    folder = tiny_model_builder(tmp_path, initializer_range=0.1)
    front = "is the passage about the heart of the matter? say yes or no. " * 2
    requests = [
        Request([{"role": "user", "content": f"{front} {'passage ' * (3 * i)}"}], choices=(" yes", " no", "[1] > [2]"))
        for i in range(32)
    ]
    engines = {
        "cpu": TransformersEngine(folder, device="cpu", dtype="float32", batch_size=1),
        "gpu": TransformersEngine(folder, device="cuda", dtype=dtype, batch_size=32),
        "gpu, one by one": TransformersEngine(folder, device="cuda", dtype=dtype, batch_size=1),
    }
    expected, together, alone = ([a.scores for a in engine.generate(requests)] for engine in engines.values())
    for one, other, third in zip(expected, together, alone, strict=True):
        assert other == pytest.approx(one, abs=1e-3 if dtype == "float32" else 0.5)
        assert other == pytest.approx(third, abs=1e-4 if dtype == "float32" else 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("bf16", ["false", "true"])
def test_a_policy_trains_on_the_gpu_and_reranks(bf16, tiny_model_dir, tmp_path):
    train = [
        sys.executable, "-m", "rankrl.train", "--model", str(tiny_model_dir), "--reward", "unlikeliness", "well_formed=0.1",
        "--reranker_options", "num_child=3", "k=2", "template=brief", "passage_tokens=16", "--depth", "10", "--bf16", bf16,
        "--max_completion_length", "8", "--per_device_train_batch_size", "8", "--num_generations", "4", "--max_steps", "3",
        "--held_out_topics", "4", "--held_out_depth", "4", "--report_to", "none", "--output_dir", str(tmp_path),
    ]  # fmt: skip
    done = subprocess.run(train, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "held-out nDCG@10" in done.stdout
