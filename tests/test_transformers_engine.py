"""The transformers engine on a tiny random model, CPU, float32."""

from __future__ import annotations

import json
import pickle
import random
import shutil
import time
import warnings
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.engines._batching import plan
from rankrl.engines._generation import gumbel_sampler
from rankrl.engines.transformers import TokenClip, TransformersEngine, load_tokenizer
from rankrl.errors import ConfigError, DataError
from rankrl.types import Request

CLAIM = "the trial shows that a vaccine teaches immune cells to recognise the virus before an infection"
WORDS = CLAIM.split()
REQUESTS = [
    Request([{"role": "user", "content": " ".join(WORDS[i % 5 :] * (1 + (7 * i) % 9)) + f" {i}"}]) for i in range(11)
]


def engine_of(folder, **options):
    return TransformersEngine(folder, **{"max_new_tokens": 24, "device": "cpu", **options})


@pytest.fixture(scope="module")
def tiny_model_dir(tiny_model_builder, tmp_path_factory):
    """A tiny model whose answers differ from prompt to prompt."""
    return tiny_model_builder(tmp_path_factory.mktemp("lively") / "model", initializer_range=0.3)


@pytest.fixture(scope="module")
def engine(tiny_model_dir):
    return engine_of(tiny_model_dir, batch_size=4)


def copied(folder, target, **changes):
    """A copy of a model folder with changed JSON files: name -> function of its content."""
    shutil.copytree(folder, target)
    for name, change in changes.items():
        file = target / f"{name}.json"
        file.write_text(json.dumps(change(json.loads(file.read_text()))))
    return target


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_does_not_depend_on_the_batch_it_was_in(tiny_model_dir, temperature):
    engine = engine_of(tiny_model_dir, temperature=temperature)
    together = engine.generate(REQUESTS)
    engine.batch_size = 1
    assert engine.generate(REQUESTS) == together
    engine.batch_size, engine.batch_tokens = 16, 300
    assert engine.generate(REQUESTS) == together
    assert [engine.generate([request])[0] for request in reversed(REQUESTS)] == together[::-1]
    assert len({answer.text for answer in together}) > 5


def test_greedy_answers_are_those_of_a_plain_argmax_loop(engine):
    import torch

    for request, answer in zip(REQUESTS[:3], engine.generate(REQUESTS[:3]), strict=True):
        text = engine.tokenizer.apply_chat_template(request.prompt, tokenize=False, add_generation_prompt=True)
        token_ids = engine.tokenizer(text, return_tensors="pt").input_ids
        prompt_tokens = token_ids.shape[1]
        for _ in range(24):
            with torch.inference_mode():
                following = engine.model(token_ids).logits[0, -1].argmax()
            token_ids = torch.cat([token_ids, following.view(1, 1)], dim=1)
            if int(following) in engine.end_ids:
                break
        completion = token_ids[0, prompt_tokens:]
        assert answer.text == engine.tokenizer.decode(completion, skip_special_tokens=True)
        assert (answer.prompt_tokens, answer.completion_tokens) == (prompt_tokens, len(completion))


def test_every_end_of_sequence_token_ends_an_answer(tiny_model_dir, tmp_path, engine):
    (plain,) = engine.generate(REQUESTS[:1])
    assert (plain.finish_reason, plain.completion_tokens) == ("length", 24)
    token_ids = engine.tokenizer(plain.text, add_special_tokens=False).input_ids
    stop = token_ids[5]
    folder = copied(tiny_model_dir, tmp_path / "m", generation_config=lambda c: {**c, "eos_token_id": [2, stop]})
    (cut,) = engine_of(folder).generate(REQUESTS[:1])
    assert cut.finish_reason == "stop"
    assert cut.completion_tokens == token_ids.index(stop) + 1


def test_sampling_settings_of_the_checkpoint_are_dropped_without_a_word(tiny_model_dir, tmp_path, engine, capfd):
    leftovers = {"do_sample": True, "temperature": 0.7, "top_k": 3, "top_p": 0.5, "repetition_penalty": 3.0}
    folder = copied(tiny_model_dir, tmp_path / "m", generation_config=lambda c: {**c, **leftovers})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert engine_of(folder).generate(REQUESTS) == engine.generate(REQUESTS)
    assert capfd.readouterr().err == ""


def test_samples_follow_the_softmax_at_the_temperature():
    import torch

    logits, temperature, draws = torch.tensor([2.0, 1.0, 0.0, -1.0]), 0.7, 20_000
    sampler = gumbel_sampler(temperature, range(draws), "cpu")
    counts = torch.bincount(sampler(None, logits.expand(draws, -1)).argmax(-1), minlength=4)
    expected = draws * torch.softmax(logits / temperature, -1)
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 16.27  # the 99.9 % quantile for 3 degrees of freedom


def test_samples_of_a_prompt_are_independent_and_the_seed_decides(tiny_model_dir):
    engine = engine_of(tiny_model_dir, temperature=1.0, seed=1)
    four = [replace(REQUESTS[0], sample=sample) for sample in range(4)]
    first = [answer.text for answer in engine.generate(four)]
    assert len(set(first)) == 4
    assert [answer.text for answer in engine.generate(four[::-1])] == first[::-1]
    engine.seed = 2
    assert not set(first) & {answer.text for answer in engine.generate(four)}


def test_each_answer_is_told_with_the_number_of_its_request(tiny_model_dir):
    seen = {}
    answers = engine_of(tiny_model_dir, batch_size=4).generate(REQUESTS, on_answer=seen.__setitem__)
    assert [seen[i] for i in range(11)] == answers


def test_no_requests_no_answers(engine):
    assert engine.generate([]) == []


def test_an_adapter_is_its_base_until_it_is_trained(tiny_model_dir, tmp_path, engine):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model_dir), LoraConfig(task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path / "fresh")
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weights, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(tmp_path / "trained")
    assert engine_of(tmp_path / "fresh").generate(REQUESTS) == engine.generate(REQUESTS)
    trained = engine_of(tmp_path / "trained")
    assert trained.generate(REQUESTS) != engine.generate(REQUESTS)
    assert trained.fingerprint != engine.fingerprint


def test_an_adapter_without_its_base_says_where_the_base_should_be(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "/gone/base"}')
    with pytest.raises(DataError, match="adapter for the model in /gone/base, which is not there"):
        engine_of(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(DataError, match="base_model_name_or_path"):
        engine_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "no model at ./nowhere: give a folder with config.json, or a name"),
        ("OUT/", "no model at OUT/: give a folder"),
        ("nobody/nothing", "there is no such folder, and the Hugging Face hub is switched off"),
        (".", "neither config.json nor adapter_config.json"),
        ("a-file", "it is a file"),
    ],
)
def test_a_model_that_is_not_there_is_said_so(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").touch()
    with pytest.raises(DataError, match=message):
        engine_of(name)


def test_a_hub_that_cannot_be_reached_is_said_at_once(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    start_s = time.monotonic()
    with pytest.raises(DataError, match=r"no model 'nobody/nothing': .* the Hugging Face hub cannot be reached"):
        engine_of("nobody/nothing")
    assert time.monotonic() - start_s < 5


def test_damaged_weights_are_a_data_error(tiny_model_dir, tmp_path):
    folder = copied(tiny_model_dir, tmp_path / "m")
    (folder / "model.safetensors").write_bytes(b"garbage")
    with pytest.raises(DataError, match="cannot be loaded"):
        engine_of(folder)


def test_a_tokenizer_without_chat_template_is_refused_at_the_first_chat(tiny_model_dir, tmp_path):
    folder = copied(tiny_model_dir, tmp_path / "m")
    (folder / "chat_template.jinja").unlink()
    engine = engine_of(folder)
    with pytest.raises(ConfigError, match="has no chat template; use an instruct model, or add one"):
        engine.generate(REQUESTS)
    with pytest.raises(ConfigError, match="has no chat template"):
        load_tokenizer(str(folder))
    assert engine.generate([Request([{"role": "plain", "content": CLAIM}])])[0].completion_tokens > 0


def test_prompts_that_do_not_fit_are_refused_before_any_work(tiny_model_builder, tmp_path):
    engine = engine_of(tiny_model_builder(tmp_path / "m", context=64), max_new_tokens=16)
    with pytest.raises(DataError, match=r"prompts do not fit: .* max_new_tokens is 16, and the context of .* is 64"):
        engine.generate(REQUESTS)


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"max_new_tokens": "12"}, {"temperature": -1}, {"device": "quantum"}, {"dtype": "f8"}]
)
def test_impossible_options_are_refused(tiny_model_dir, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        engine_of(tiny_model_dir, **wrong)


def test_the_fingerprint_tells_models_and_sampling_apart(tiny_model_builder, tiny_model_dir, tmp_path, engine):
    same = engine_of(copied(tiny_model_dir, tmp_path / "copy")).fingerprint
    other = engine_of(tiny_model_builder(tmp_path / "other", seed=1)).fingerprint
    assert engine.fingerprint == same
    assert len({same, other, engine_of(tiny_model_dir, max_new_tokens=9).fingerprint}) == 3


@given(st.text(max_size=80), st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_a_clipped_text_is_the_beginning_of_the_text_and_short_enough(engine, text, max_tokens):
    clipped = engine.clip(text, max_tokens)
    assert text.startswith(clipped)
    if clipped != text:
        length = len(engine.tokenizer(clipped, add_special_tokens=False).input_ids)
        assert length <= max_tokens + 3  # a character of up to 4 bytes is kept whole


def test_a_long_text_is_cut_where_reading_all_of_it_would_cut_it(engine):
    for seed in range(40):
        text = " ".join(random.Random(seed).choices([*WORDS, "x" * 90, "é", "日本語", "…"], k=300))
        for max_tokens in (1, 7, 32):
            assert engine.clip(text, max_tokens) == engine.clip._clipped(text, max_tokens)


def test_a_borrowed_model_is_given_back_as_it_was(engine, tiny_model_dir):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir).train()
    model.generation_config.top_k, model.generation_config.do_sample = 7, True
    before = model.generation_config
    with TransformersEngine.borrowed(model, engine.tokenizer, max_new_tokens=24) as borrowed:
        assert borrowed.generate(REQUESTS) == engine.generate(REQUESTS)
    assert model.generation_config is before and model.training


def test_a_clip_can_be_sent_to_another_process(engine):
    assert pickle.loads(pickle.dumps(engine.clip))(CLAIM, 4) == TokenClip(engine.tokenizer)(" ".join(WORDS), 4)


def test_a_batch_holds_at_most_the_tokens_and_prompts_allowed():
    lengths = [50, 3, 20, 20, 20, 20, 120, 1, 1, 1, 1, 1]
    prompts = [(i,) * length for i, length in enumerate(lengths)]
    batches = [batch.rows for batch in plan(prompts, size=4, tokens=100, sharing=False)]
    assert sorted(i for batch in batches for i in batch) == list(range(12))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= 100 for b in batches)
    assert all(len(b) <= 4 for b in batches) and [len(b) for b in batches] == [1, 2, 4, 4, 1]


def test_a_batch_of_free_answers_has_room_for_the_answers(tiny_model_dir):
    requests = [Request([{"role": "user", "content": f"river {i}"}]) for i in range(8)]
    scored = [replace(request, choices=("yes", "no")) for request in requests]
    engine = TransformersEngine(tiny_model_dir, max_new_tokens=200, batch_tokens=900, device="cpu")
    prompts = engine.render(requests)
    assert max(map(len, prompts)) < 25
    batches = list(engine._batches(prompts, [[]] * 8 + [[(1,)]] * 8))
    assert [len(batch.rows) for batch in batches] == [4, 4]
    assert [len(batch.rows) for batch in engine._batches(engine.render(scored), [[(1,)]] * 8)] == [8]


PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=60).map(tuple), max_size=30)


@given(PROMPTS, st.integers(1, 9), st.integers(1, 200), st.integers(0, 40), st.integers(0, 60))
def test_every_prompt_is_in_one_batch_and_shares_what_it_says(prompts, size, tokens, front, room):
    prompts = [(7,) * front + prompt for prompt in prompts]
    batches = plan(prompts, size=size, tokens=tokens, sharing=True, room=room)
    assert sorted(i for batch in batches for i in batch.rows) == list(range(len(prompts)))
    widths = [max(len(prompts[i]) for i in batch.rows) for batch in batches]
    assert widths == sorted(widths, reverse=True)
    for batch, width in zip(batches, widths, strict=True):
        assert len(batch.rows) <= size and (len(batch.rows) == 1 or len(batch.rows) * (width + room) <= tokens)
        assert len({prompts[i][: batch.shared] for i in batch.rows}) == 1
        assert all(len(prompts[i]) > batch.shared for i in batch.rows)
        assert batch.shared == 0 or batch.shared + len(batch.rows) * (width - batch.shared) < len(batch.rows) * width


def test_prompts_that_begin_alike_go_together_where_that_saves_tokens():
    groups = [(g,) * 80 + (9, i) + (9,) * (i % 2) for g in range(3) for i in range(4)]
    batches = plan(groups[::-1], size=4, tokens=10_000, sharing=True)
    assert [(len(batch.rows), batch.shared) for batch in batches] == [(4, 81)] * 3
    unalike = [(i,) * 80 for i in range(12)]
    assert all(batch.shared == 0 for batch in plan(unalike, size=4, tokens=10_000, sharing=True))


def test_a_prompt_that_just_fits_is_answered_and_one_token_more_is_refused(engine, monkeypatch):
    request = Request([{"role": "user", "content": "heart lung virus"}])
    length = engine.generate([request])[0].prompt_tokens
    monkeypatch.setattr(engine, "context", length + engine.max_new_tokens)
    assert engine.generate([request])[0].prompt_tokens == length
    monkeypatch.setattr(engine, "context", length + engine.max_new_tokens - 1)
    with pytest.raises(DataError, match="prompts do not fit"):
        engine.generate([request])


def test_what_the_chat_template_is_told_reaches_the_prompt(tiny_model_dir):
    longer = TransformersEngine(
        tiny_model_dir, max_new_tokens=4, chat_template_kwargs={"add_generation_prompt_twice": True}
    )
    plain = TransformersEngine(tiny_model_dir, max_new_tokens=4)
    for engine in (longer, plain):
        engine.tokenizer.chat_template += "{% if add_generation_prompt_twice %}more words{% endif %}"
    request = Request([{"role": "user", "content": "heart"}])
    assert longer.generate([request])[0].prompt_tokens > plain.generate([request])[0].prompt_tokens
    assert longer.fingerprint != plain.fingerprint


def said_by(engine, stop=(), **more):
    return engine.generate([replace(request, stop=stop, **more) for request in REQUESTS])


def test_an_answer_ends_with_the_first_stop_text_and_says_so(tiny_model_dir):
    engine = engine_of(tiny_model_dir)
    free = said_by(engine)
    texts = [answer.text for answer in free]
    for stop in ((texts[0][3:6], "never said"), (texts[1][5:7], texts[0][8:9]), (texts[2][-4:-1],)):
        answers = said_by(engine, stop)
        for i, (whole, answer) in enumerate(zip(free, answers, strict=True)):
            ends = [whole.text.find(text) + len(text) for text in stop if text in whole.text]
            assert answer.text == (whole.text[: min(ends)] if ends else whole.text)
            assert answer.finish_reason == ("stop" if ends else whole.finish_reason)
            assert answer.completion_tokens <= whole.completion_tokens
            assert engine.generate([replace(REQUESTS[i], stop=stop)]) == [answer]
        assert any(answer.finish_reason == "stop" for answer in answers)


def test_nothing_is_generated_after_a_stop_text(tiny_model_dir):
    engine = engine_of(tiny_model_dir, max_new_tokens=200)
    first = engine.generate(REQUESTS[:1])[0].text[:2]
    calls = []
    forward = engine.model.forward
    engine.model.forward = lambda **given: calls.append(1) or forward(**given)
    engine.generate([replace(REQUESTS[0], stop=(first,))])
    assert 0 < len(calls) < 6


def test_requests_of_one_batch_stop_each_at_their_own_text(tiny_model_dir):
    engine = engine_of(tiny_model_dir)
    free = said_by(engine)
    asked = [
        replace(request, stop=(answer.text[i : i + 3],) if i % 2 else ())
        for i, (request, answer) in enumerate(zip(REQUESTS, free, strict=True))
    ]
    for request, whole, answer in zip(asked, free, engine.generate(asked), strict=True):
        place = whole.text.find(request.stop[0]) + 3 if request.stop else len(whole.text)
        assert answer.text == whole.text[:place]


def test_a_stop_text_that_spans_tokens_and_the_log_probabilities_up_to_it(tiny_model_dir):
    engine = engine_of(tiny_model_dir)
    whole = said_by(engine, logprobs=True)[0]
    assert len(whole.tokens) > 6
    stop = "".join(token.text for token in whole.tokens[2:5])
    answer = engine.generate([replace(REQUESTS[0], stop=(stop,), logprobs=True)])[0]
    assert answer.text == "".join(token.text for token in whole.tokens[:5]) and answer.completion_tokens == 5
    assert [t.logprob for t in answer.tokens] == pytest.approx([t.logprob for t in whole.tokens[:5]], abs=1e-5)
    assert len(answer.tokens[-1].alternatives) == 20
    assert answer.tokens[-1].alternatives[0] == pytest.approx(
        (answer.tokens[-1].text, answer.tokens[-1].logprob), abs=1e-6
    )


def test_a_sampled_answer_may_stop_too(tiny_model_dir):
    answers = said_by(engine_of(tiny_model_dir, temperature=1.0), ("a", "e"))
    ends = [min([answer.text.find(stop) for stop in "ae" if stop in answer.text], default=-1) for answer in answers]
    assert [end + 1 for end in ends] == [len(a.text) if a.text[-1:] in ("a", "e") else 0 for a in answers]
    assert sum(answer.finish_reason == "stop" for answer in answers) > 5


ALIKE = [
    Request([{"role": "system", "content": CLAIM}, {"role": "user", "content": f"{CLAIM} {' '.join(WORDS[:i])}"}])
    for i in range(9)
]


def test_an_adapter_shares_beginnings_as_its_base_does(tiny_model_dir, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model_dir), LoraConfig(task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weights, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(tmp_path)
    asked = [*ALIKE, *(replace(request, choices=(" yes", " no", "[1] > [2]")) for request in ALIKE)]
    shared = engine_of(tmp_path).generate(asked)
    whole = engine_of(tmp_path, share_prefixes=False).generate(asked)
    assert max(answer.cached_tokens for answer in shared[:9]) > 16 < max(answer.cached_tokens for answer in shared[9:])
    assert not any(answer.cached_tokens for answer in whole)
    assert [answer.text for answer in shared] == [answer.text for answer in whole]
    for one, other in zip(shared, whole, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=2e-5)


def test_a_prompt_tuning_adapter_answers_as_it_does_alone(tiny_model_dir, tmp_path):
    import torch
    from peft import PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    get_peft_model(base, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5)).save_pretrained(tmp_path)
    engine = engine_of(tmp_path)
    choices = (" yes", "[1] > [2]")
    answers = engine.generate([replace(request, choices=choices) for request in ALIKE[:4]])
    for request, answer in zip(ALIKE, answers, strict=False):
        front = list(engine.render([request])[0].ids)
        for choice, score in zip(choices, answer.scores, strict=True):
            tail = list(engine.render.choice(choice))
            with torch.no_grad():
                logits = engine.model(input_ids=torch.tensor([front + tail])).logits[0, -len(tail) - 1 : -1]
            expected = logits.log_softmax(-1).gather(-1, torch.tensor([tail]).T).sum()
            assert score == pytest.approx(float(expected), abs=1e-4)
    assert engine.generate(ALIKE) == [engine.generate([request])[0] for request in ALIKE]


def test_samples_of_one_prompt_compute_it_once(tiny_model_dir):
    engine = engine_of(tiny_model_dir, temperature=1.0)
    four = [replace(ALIKE[0], sample=sample) for sample in range(4)]
    together = engine.generate(four)
    assert [answer.cached_tokens for answer in together] == [0, *[together[0].prompt_tokens - 1] * 3]
    engine.share_prefixes = False
    assert engine.generate(four) == together and len({answer.text for answer in together}) == 4


def test_a_borrowed_model_scores_and_stops_as_one_of_its_own(engine, tiny_model_dir):
    from transformers import AutoModelForCausalLM

    asked = [replace(ALIKE[0], choices=(" yes", " no")), replace(ALIKE[1], stop=("a",)), ALIKE[2]]
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir).train()
    with TransformersEngine.borrowed(model, engine.tokenizer, max_new_tokens=24) as borrowed:
        answers = borrowed.generate(asked)
    assert model.training and answers == engine.generate(asked)
    model(input_ids=engine.tokenizer("the heart", return_tensors="pt").input_ids).logits.sum().backward()
    assert all(weights.grad is not None for weights in model.parameters())


@pytest.mark.parametrize("option", ["batch_size", "batch_tokens", "share_prefixes"])
def test_what_only_batches_does_not_change_the_fingerprint(tiny_model_dir, engine, option):
    assert engine_of(tiny_model_dir, **{option: 1}).fingerprint == engine.fingerprint
