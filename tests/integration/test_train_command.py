"""Training as a user starts it: real processes, a tiny random model, bundled SciFact."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENV = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "ACCELERATE_USE_CPU": "true",
}
TINY = [
    "--reranker_options", "num_child=3", "k=2", "template=brief", "passage_tokens=16", "--listing_size", "4",
    "--depth", "10", "--max_completion_length", "8", "--per_device_train_batch_size", "4", "--num_generations", "4",
    "--learning_rate", "1e-2", "--report_to", "none", "--logging_steps", "1", "--disable_tqdm", "true",
    "--held_out_topics", "4", "--held_out_depth", "4",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model_dir):
    """A working folder with a model and a corpus small enough to index in no time."""
    folder = tmp_path_factory.mktemp("train")
    words = ["heart", "lung", "virus", "gene", "mouse", "drug", "trial", "risk", "cell", "protein", "vaccine", "diet"]
    (folder / "c" / "qrels").mkdir(parents=True)
    with (folder / "c" / "corpus.jsonl").open("w") as corpus:
        for i, word in enumerate(words):
            text = f"{word} {words[(i + 1) % 12]} {words[(i + 5) % 12]} study of {word}"
            corpus.write(json.dumps({"_id": f"d{i}", "title": word, "text": text}) + "\n")
    with (folder / "c" / "queries.jsonl").open("w") as queries:
        for i, word in enumerate(words):
            queries.write(json.dumps({"_id": f"q{i}", "text": f"does {word} change {words[(i + 1) % 12]}"}) + "\n")
    qrels = "".join(f"q{i}\td{i}\t1\n" for i in range(12))
    (folder / "c" / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + qrels)
    return folder


def command(model, *more):
    return [sys.executable, "-m", "rankrl.train", "--model", str(model), "--collection", "c", *TINY, *map(str, more)]


def run(folder, *arguments, **options):
    done = subprocess.run(arguments, cwd=folder, env=ENV, capture_output=True, text=True, timeout=300, **options)
    return done


@pytest.mark.slow
def test_train_then_rerank_then_evaluate(folder, tiny_model_dir):
    """accelerate launch of the script, with several rewards; what it leaves behind reranks through the CLI."""
    (folder / "settings.yaml").write_text("max_steps: 9\nbeta: 0.01\n")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1",
              "--mixed_precision", "no", "--dynamo_backend", "no"]  # fmt: skip
    script = [*launch, str(ROOT / "scripts" / "train_grpo.py"), *command(tiny_model_dir)[3:]]
    rewards = [
        "--reward",
        "unlikeliness(beta=0.5)",
        "toy_rewards:vowels=0.5",
        "well_formed=0.1",
        "toy_rewards:longest=0",
    ]
    done = run(folder, *script, *rewards, "--config", "settings.yaml", "--max_steps", "2", "--output_dir", "out",
               "--eval_strategy", "steps", "--eval_steps", "1")  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    log = [json.loads(line) for line in (folder / "out" / "log.jsonl").read_text().splitlines()]
    steps = [entry for entry in log if "loss" in entry]
    assert [entry["step"] for entry in steps] == [1, 2]
    for name in (
        "rewards/vowels/mean",
        "rewards/longest/mean",
        "reward_shaped",
        "parse/clean",
        "rollouts/distinct",
        "kl",
    ):
        assert name in steps[0], name
    assert steps[0]["rewards/longest/mean"] >= 0.25
    assert steps[0]["reward_shaped"] < steps[0]["reward"]
    assert [e["step"] for e in log if "eval_ndcg@10" in e] == [1, 2]
    assert "step 2/2  reward" in done.stdout and "held-out nDCG@10" in done.stdout and "{'" not in done.stdout
    facts = json.loads((folder / "out" / "run.json").read_text())
    assert facts["rewards"] == rewards[1:]
    assert facts["settings"]["beta"] == 0.01 and facts["settings"]["max_steps"] == 2
    assert len(facts["topics"]["held_out"]) == 4 and facts["topics"]["trained_on"] == 8

    rankrl = [sys.executable, "-m", "rankrl"]
    first = run(folder, *rankrl, "retrieve", "bm25", "--engine", "bm25s", "--collection", "c",
                "--split", "train", "-o", "bm25.trec")  # fmt: skip
    assert first.returncode == 0, first.stderr
    again = run(folder, *rankrl, "rerank", "rank_r1", "--run", "bm25.trec", "--collection", "c", "--split", "train",
                "--model", "out", "--depth", "4", "-o", "reranked.trec")  # fmt: skip
    assert again.returncode == 0, again.stderr
    scored = run(folder, *rankrl, "evaluate", "reranked.trec", "--qrels", "c/qrels/train.tsv", "--metrics", "nDCG@10")
    assert scored.returncode == 0 and "nDCG@10" in scored.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grouprank", "listwise", "reasonrank", "setwise", "tourrank"])
def test_what_else_writes_answers_about_several_passages_trains_and_reranks(
    name, folder, tiny_model_dir, monkeypatch, capfd
):
    from rankrl import load_reranker
    from rankrl.train import main

    monkeypatch.chdir(folder)
    options = ["num_child=3", "query_tokens=16"] if name == "setwise" else ["query_tokens=16"]
    out = f"out_{name}"
    arguments = [*command(tiny_model_dir)[3:], "--reranker", name, "--reranker_options", *options]
    assert main([*arguments, "--max_steps", "1", "--output_dir", out]) == 0, capfd.readouterr().err
    assert "step 1/1" in capfd.readouterr().out
    made = load_reranker(name, model=out)
    assert made.reranker.query_tokens == 16
    found = made.rerank("does heart change lung", ["heart lung", "virus gene", "drug trial"])
    assert sorted(scored.docid for scored in found) == ["0", "1", "2"] and made.cost.calls > 0


CASES = {
    "every step its own rollouts": ("--save_steps", "1"),
    "in the middle of a generation": ("--save_steps", "1", "--num_iterations", "2", "--steps_per_generation", "2"),
    "all weights, several micro-batches": ("--save_steps", "1", "--peft", "none", "--gradient_accumulation_steps", "2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_killed_and_resumed_run_ends_with_the_same_weights(case, folder, tiny_model_dir):
    name = str(list(CASES).index(case))
    shared = ["--reward", "unlikeliness", "toy_rewards:vowels", "--max_steps", "7", "--beta", "0.02", *CASES[case]]
    whole = run(folder, *command(tiny_model_dir, *shared, "--output_dir", f"whole{name}"))
    assert whole.returncode == 0, whole.stderr[-3000:]

    broken = [*command(tiny_model_dir, *shared), "--output_dir", f"broken{name}"]
    process = subprocess.Popen(broken, cwd=folder, env=ENV, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    saved = folder / f"broken{name}" / "checkpoint-3" / "rankrl_state_0.pt"
    deadline = time.monotonic() + 200
    while not saved.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was over before it could be killed"
    assert not (folder / f"broken{name}" / "trainer_state.json").exists()

    resumed = run(folder, *broken, "--resume_from_checkpoint", "true")
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    weights = "model.safetensors" if "--peft" in CASES[case] else "adapter_model.safetensors"
    ends = [(folder / f"{which}{name}" / weights).read_bytes() for which in ("whole", "broken")]
    starts = (folder / f"whole{name}" / "checkpoint-1" / weights).read_bytes()
    assert ends[0] == ends[1] and ends[0] != starts
    assert json.loads((folder / f"whole{name}" / "checkpoint-1" / "rankrl.json").read_text())["reranker"] == "rank_r1"
    logs = [
        [json.loads(line) for line in (folder / f"{w}{name}" / "log.jsonl").read_text().splitlines()]
        for w in ("whole", "broken")
    ]
    assert (
        [e["step"] for e in logs[0] if "loss" in e] == [e["step"] for e in logs[1] if "loss" in e] == list(range(1, 8))
    )
    assert [e["reward"] for e in logs[0] if "reward" in e] == [e["reward"] for e in logs[1] if "reward" in e]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--model", "./gone"], "no model at ./gone"),
        (["--reward", "ndgc"], "did you mean 'ndcg'"),
        (["--reranker", "rank_r2"], "did you mean 'rank_r1'"),
        (["--reranker_options", "num_chld=3"], "did you mean 'num_child'"),
        (["--collection", "scifacts"], "did you mean 'scifact'"),
        (["--split", "tran"], "did you mean 'train'"),
        (["--first_stage", "gone.trec"], "run not found: gone.trec"),
        (["--config", "gone.yaml"], "config not found: gone.yaml"),
        (["--held_out_topics", "12"], "held_out_topics must lie in 0..11"),
        (["--listing_size", "1"], "listing_size must be at least 2"),
        (["--peft", "lore"], "peft must be 'lora', 'none' or a JSON file"),
        (["--resume_from_checkpoint", "true"], "no complete checkpoint to resume from"),
        (["--resume_from_checkpoint", "gone"], "checkpoint not found: gone"),
        (["--report_to", "wandb"], "report_to wandb: wandb is not installed: pip install wandb"),
        (["--use_vllm", "true"], 'pip install "rankrl[gpu]"'),
        (["--config", "broken.yaml"], "broken.yaml: no YAML"),
        (["--eval_strategy", "steps", "--held_out_topics", "0"], "held_out_topics is 0"),
        (["--output_dir", "broken.yaml"], "output_dir broken.yaml is a file"),
        (["--output_dir", "/proc/nope"], "/proc/nope"),
        (["--output_dir", "c/qrels/train.tsv/x"], "c/qrels/train.tsv/x"),
        (["--output_dir", "earlier"], "holds checkpoints of an earlier run"),
        (["--model", ""], "no model: give --model"),
        (["--betta", "0.1"], "no flag '--betta', did you mean '--beta'"),
        (["--loss_type", "grop"], "did you mean 'grpo'"),
        (["--peft", "nowhere.json"], "nowhere"),
        (["--max_completion_length", "5000"], "but the context of"),
        (["--reward", "unlikeliness(beta=5)", "success"], "beta must lie in [0, 1], got 5"),
        (["--reward", "ndcg(k='x')"], "reward \"ndcg(k='x')\" cannot be used"),
        (["--reranker", "prp", "--reranker_options", "passes=2"], "prp cannot be trained with this template"),
        (["--reranker", "erank", "--reranker_options", "score=product"], "erank cannot be trained here"),
        (["--listing_size", "5"], "rank_r1 shows 4 passages in a prompt at most"),
        (["--reward", "unlikeliness", "success", "--mask_truncated_completions", "true"], "use one of the two"),
        (["--reward_weights", "1.0"], "weights are given with the rewards"),
        (["--reward", "unlikeliness", "--multi_objective_aggregation", "normalize_then_sum"], "shapes the sum"),
    ],
)
def test_a_mistake_is_one_clear_line(changed, message, folder, tiny_model_dir, monkeypatch, capsys):
    from rankrl.train import main

    monkeypatch.chdir(folder)
    (folder / "broken.yaml").write_text("beta: [1\n")
    (folder / "nowhere.json").write_text('{"peft_type": "LORA", "target_modules": ["nowhere"]}')
    (folder / "earlier" / "checkpoint-5").mkdir(parents=True, exist_ok=True)
    arguments = [*command(tiny_model_dir)[3:], "--output_dir", "mistake", "--max_steps", "1", *changed]
    assert main(arguments) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("rankrl.train: error: ") and message in said[-1]
    assert not (folder / "mistake" / "run.json").exists()
