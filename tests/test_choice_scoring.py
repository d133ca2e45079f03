"""Scores of choices and greedy answers against plain, unpadded, uncached passes, for several architectures; CPU, float32."""

from __future__ import annotations

import importlib.util
import random
from dataclasses import replace
from pathlib import Path

import pytest

from rankrl.engines.transformers import TransformersEngine
from rankrl.errors import ConfigError, DataError
from rankrl.types import PAIR, PLAIN, Request

TEXT = "the heart pumps blood through lungs a vaccine teaches cells to find a virus Paris is the capital of France"
WORDS = TEXT.split()
CHOICES = (" yes", " no", "[1] > [2]", " the immune system", "X")


def beside(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


architectures = beside("tiny_architectures")


def texts(n, *, front="", longest=40, seed=0):
    chance = random.Random(seed)
    return [front + " ".join(chance.choices(WORDS, k=chance.randint(1, longest))) for _ in range(n)]


def plain(text, **more):
    return Request([{"role": PLAIN, "content": text}], **more)


@pytest.fixture(scope="module", params=architectures.KINDS)
def engine(request, tmp_path_factory):
    folder = architectures.build(tmp_path_factory.mktemp("kinds") / "model", request.param)
    return TransformersEngine(folder, max_new_tokens=8, batch_size=32, device="cpu")


@pytest.fixture(scope="module")
def t5(tmp_path_factory):
    return TransformersEngine(
        beside("tiny_t5").build(tmp_path_factory.mktemp("t5") / "m"), max_new_tokens=8, device="cpu"
    )


def naive(engine, text, choice):
    """The summed log-probability of a choice: one sequence, no padding, no cache, all logits."""
    import torch

    front = engine.tokenizer(text, add_special_tokens=False)["input_ids"]
    tail = engine.tokenizer(choice, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        spread = engine.model(input_ids=torch.tensor([front + tail])).logits[0].double().log_softmax(-1)
    return sum(float(spread[len(front) + t - 1, token]) for t, token in enumerate(tail))


def with_options(engine, **options):
    """The same engine with other options, model and all."""
    made = TransformersEngine.__new__(TransformersEngine)
    made.__dict__.update({**engine.__dict__, **options})
    return made


SHORT = texts(7)
ALIKE = texts(
    7, front="A query and a passage: is the passage about the heart of the matter? Say yes or no. ", longest=25
)


@pytest.mark.parametrize("prompts", [SHORT, ALIKE], ids=["unlike", "alike"])
@pytest.mark.parametrize("choices", [CHOICES, CHOICES[:1] + CHOICES[-1:]], ids=["long", "short"])
def test_scores_are_those_of_one_plain_pass_per_choice(engine, prompts, choices):
    requests = [plain(text, choices=choices) for text in prompts]
    for options in ({}, {"batch_size": 1}, {"batch_size": 3}, {"batch_tokens": 150}, {"share_prefixes": False}):
        answers = with_options(engine, **options).generate(requests)
        for text, answer in zip(prompts, answers, strict=True):
            expected = [naive(engine, text, choice) for choice in choices]
            assert answer.scores == pytest.approx(expected, abs=2e-5), options
            assert (answer.text, answer.completion_tokens, answer.finish_reason) == ("", 0, "stop")


def test_greedy_answers_are_those_of_plain_passes(engine):
    import torch

    for prompts in (SHORT, ALIKE):
        together = engine.generate([plain(text) for text in prompts])
        assert together == with_options(engine, batch_size=1).generate([plain(text) for text in prompts])
        assert together == with_options(engine, share_prefixes=False).generate([plain(text) for text in prompts])
        for text, answer in list(zip(prompts, together, strict=True))[:3]:
            ids = engine.tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
            said = []
            while len(said) < 8 and not set(said) & set(engine.end_ids):
                with torch.no_grad():
                    logits = engine.model(input_ids=torch.cat([ids, torch.tensor([said], dtype=torch.long)], 1)).logits
                said.append(int(logits[0, -1].argmax()))
            assert answer.text == engine.tokenizer.decode(said, skip_special_tokens=True)


def test_a_common_beginning_is_computed_once_where_that_is_exact(engine):
    answers = engine.generate([plain(text, choices=CHOICES) for text in ALIKE])
    front = [answer.cached_tokens for answer in answers]
    exact = engine.model.config.model_type in ("gpt2", "llama", "opt", "qwen3")
    assert engine._traits.shareable == exact
    assert (max(front) > 16 and front.count(0) == 1) if exact else not any(front)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_log_probabilities_are_the_models_own_and_end_with_the_likeliest_others(engine, temperature, monkeypatch):
    import torch

    asked, heard, generate = with_options(engine, temperature=temperature), [], engine.model.generate
    monkeypatch.setattr(engine.model, "generate", lambda **given: heard.append(generate(**given)) or heard[-1])
    requests = [plain(text, logprobs=True) for text in SHORT]
    for request in requests:
        (answer,) = asked.generate([request])
        ids = heard[-1]
        front = len(engine.tokenizer(request.prompt[0]["content"], add_special_tokens=False)["input_ids"])
        said = [int(token) for token in ids[0, front:] if int(token) not in engine.end_ids]
        with torch.no_grad():
            spread = engine.model(input_ids=ids[:, : front + len(said)]).logits[0].log_softmax(-1)[front - 1 :]
        assert [token.text for token in answer.tokens] == [engine.spell.token(token) for token in said]
        expected = [float(spread[t, token]) for t, token in enumerate(said)]
        assert [token.logprob for token in answer.tokens] == pytest.approx(expected, abs=2e-5)
        assert all(not token.alternatives for token in answer.tokens[:-1])
        best = spread[len(said) - 1].topk(20)
        others = answer.tokens[-1].alternatives
        assert [value for _, value in others] == pytest.approx(best.values.tolist(), abs=2e-5)
        places = {text: [i for i in range(spread.shape[1]) if engine.spell.token(i) == text] for text, _ in others}
        for text, value in others:
            assert any(float(spread[len(said) - 1, i]) == pytest.approx(value, abs=2e-5) for i in places[text])
    alone = [asked.generate([request])[0] for request in requests]
    for one, other in zip(alone, asked.generate(requests), strict=True):
        assert (one.text, one.completion_tokens) == (other.text, other.completion_tokens)
        assert [t.logprob for t in one.tokens] == pytest.approx([t.logprob for t in other.tokens], abs=1e-4)
    assert all(not answer.tokens for answer in asked.generate([replace(r, logprobs=False) for r in requests]))


def test_free_and_scored_requests_in_one_call_keep_their_places(engine):
    asked = [plain(text, choices=CHOICES if i % 3 else (), logprobs=i % 2 == 0) for i, text in enumerate(SHORT)]
    told = {}
    answers = engine.generate(asked, on_answer=told.__setitem__)
    assert [told[i] for i in range(len(asked))] == answers
    for i, (request, answer) in enumerate(zip(asked, answers, strict=True)):
        (alone,) = engine.generate([request])
        assert bool(answer.scores) == bool(i % 3) and (answer.text, len(answer.tokens)) == (
            alone.text,
            len(alone.tokens),
        )
        assert answer.scores == pytest.approx(alone.scores, abs=1e-4)


def decoded(t5, source, begun, choice):
    """The summed log-probability of a choice at the decoder: one sequence, no padding, no cache."""
    import torch

    ids = t5.tokenizer(source, return_tensors="pt").input_ids
    front = [t5.start_id, *t5.tokenizer(begun, add_special_tokens=False)["input_ids"]]
    tail = t5.tokenizer(choice, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        spread = t5.model(input_ids=ids, decoder_input_ids=torch.tensor([front + tail])).logits[0].log_softmax(-1)
    return sum(float(spread[len(front) + t - 1, token]) for t, token in enumerate(tail))


@pytest.mark.parametrize("choices", [("true", "false"), ("true", "yes no A", "Passage B")])
@pytest.mark.parametrize("begun", ["", "Passage", "Query: A"])
def test_a_decoder_scores_choices_behind_its_beginning(t5, choices, begun):
    sources = [f"Query: heart Document: {text} Relevant:" for text in texts(6)]
    turn = [{"role": "assistant", "content": begun}] if begun else []
    requests = [Request([{"role": PLAIN, "content": source}, *turn], choices=choices) for source in sources]
    for options in ({}, {"batch_size": 1}, {"batch_tokens": 90}):
        for source, answer in zip(sources, with_options(t5, **options).generate(requests), strict=True):
            expected = [decoded(t5, source, begun, choice) for choice in choices]
            assert answer.scores == pytest.approx(expected, abs=5e-5)


def test_the_published_ids_come_out_of_a_sentencepiece_tokenizer(t5):
    """`true` alone is the token with the blank before it, as a decoder says it first."""
    assert t5.tokenizer.convert_ids_to_tokens(t5.render.choice("true")) == ["\u2581true"]
    assert t5.tokenizer.convert_ids_to_tokens(t5.render.choice("false")) == ["\u2581false"]


def test_a_decoder_goes_on_from_its_beginning(t5):
    import torch

    sources = [f"Query: heart Document: {text} Relevant:" for text in texts(6)]
    begun = ["Passage", "", "Query: A", "Passage", "Query: A", ""]
    requests = [
        Request([{"role": PLAIN, "content": s}, *([{"role": "assistant", "content": b}] if b else [])], logprobs=True)
        for s, b in zip(sources, begun, strict=True)
    ]
    together = t5.generate(requests)
    for source, start, answer, request in zip(sources, begun, together, requests, strict=True):
        ids = t5.tokenizer(source, return_tensors="pt").input_ids
        front = [t5.start_id, *t5.tokenizer(start, add_special_tokens=False)["input_ids"]]
        said: list[int] = []
        while len(said) < 8 and not set(said) & set(t5.end_ids):
            with torch.no_grad():
                logits = t5.model(input_ids=ids, decoder_input_ids=torch.tensor([front + said])).logits
            said.append(int(logits[0, -1].argmax()))
        assert answer.text == t5.tokenizer.decode(said, skip_special_tokens=True)
        assert answer.completion_tokens == len(said)
        assert answer.prompt_tokens == ids.shape[1] + len(front) - 1
        assert "".join(t.text for t in answer.tokens).strip() == answer.text
        (alone,) = t5.generate([request])
        assert (alone.text, alone.finish_reason) == (answer.text, answer.finish_reason)
    assert len({answer.text for answer in together}) > 3


def test_what_cannot_be_scored_is_said_in_one_sentence(engine, t5):
    with pytest.raises(ConfigError, match="cannot score a pair of query and document; use the engine 'classifier'"):
        engine.generate([Request([{"role": PAIR, "content": "q"}, {"role": PAIR, "content": "d"}], choices=("yes",))])
    with pytest.raises(ConfigError, match="choice '' has no token"):
        engine.generate([plain("a", choices=("yes", ""))])
    with pytest.raises(ConfigError, match=r"a plain prompt is one message.*got \['plain', 'user'\]"):
        engine.generate([Request([{"role": PLAIN, "content": "a"}, {"role": "user", "content": "b"}])])
    with pytest.raises(ConfigError, match="has no chat template"):
        t5.generate([Request([{"role": "user", "content": "a"}])])
    if engine.context < 10_000:
        with pytest.raises(DataError, match="prompts do not fit"):
            engine.generate([plain("heart " * 600, choices=("yes",))])
