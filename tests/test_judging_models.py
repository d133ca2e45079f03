"""Rerankers that score choices, over real (tiny) models: their scores are those of a plain forward pass written here."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from rankrl.engines.drive import drive
from rankrl.lookup import lookup
from rankrl.reranking import load_reranker
from rankrl.types import Answer, Candidate, CandidateList, Query

TEXTS = [
    "Goethe wrote Faust",
    "Rivers run from the mountains to the sea. " * 9,
    "",
    "Paris is the capital",
    "Bread is made of flour",
]
LISTING = CandidateList(Query("q", "who wrote faust?"), tuple(Candidate(f"d{i}", text) for i, text in enumerate(TEXTS)))
ONES = [LISTING.pick([i]) for i in range(len(TEXTS))]


def builder(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build


@pytest.fixture(scope="module")
def causal_dir(tiny_model_builder, tmp_path_factory):
    return tiny_model_builder(tmp_path_factory.mktemp("judging") / "causal", initializer_range=0.3)


@pytest.fixture(scope="module")
def t5_dir(tmp_path_factory):
    return builder("tiny_t5")(tmp_path_factory.mktemp("judging") / "t5")


@pytest.fixture(scope="module")
def causal(causal_dir):
    """text -> log-probabilities of what comes next, of the model alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(causal_dir).eval()
    return Plain(AutoTokenizer.from_pretrained(causal_dir), lambda ids: model(ids).logits[0])


class Plain:
    """Log-probabilities of continuations, one whole forward pass each."""

    def __init__(self, tokenizer, logits):
        self.tokenizer, self.logits = tokenizer, logits

    def ids(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def chat(self, messages):
        return self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)

    def score(self, prompt, choice):
        import torch

        before, after = self.ids(prompt), self.ids(choice)
        with torch.no_grad():
            logprobs = self.logits(torch.tensor([before + after])).log_softmax(-1)
        return sum(float(logprobs[len(before) - 1 + i, token]) for i, token in enumerate(after))


def ranking(loaded):
    (found,) = loaded.rerank_lists([LISTING])
    return found


def check(found, expected):
    assert list(found.scores) == pytest.approx(expected, abs=2e-4)
    assert list(found.order) == sorted(range(len(expected)), key=lambda i: (-found.scores[i], i))
    assert len({round(score, 3) for score in expected}) > 2, "the model does not tell the documents apart"


@pytest.mark.parametrize("batch_size", [1, 8])
def test_prorank_is_the_difference_of_the_two_logits(causal_dir, causal, batch_size):
    loaded = load_reranker("prorank", model=causal_dir, batch_size=batch_size)
    prompts = [causal.chat(loaded.reranker.prompt(one)) for one in ONES]
    check(ranking(loaded), [causal.score(p, "1") - causal.score(p, "0") for p in prompts])
    assert loaded.cost.calls == 5 and loaded.readings == {"ok": 5}


def test_qwen3_goes_on_from_its_empty_thought(causal_dir, causal):
    loaded = load_reranker("yes_no", model=causal_dir, template="qwen3")
    prompts = [causal.chat(loaded.reranker.prompt(one)[:-1]) + "<think>\n\n</think>\n\n" for one in ONES]
    check(ranking(loaded), [causal.score(p, "yes") - causal.score(p, "no") for p in prompts])


@pytest.fixture(scope="module")
def t5(t5_dir):
    """(encoder text, decoder text) -> logits of what comes next."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(t5_dir), AutoModelForSeq2SeqLM.from_pretrained(t5_dir).eval()

    def next_logits(text, begun, *words):
        start = [model.config.decoder_start_token_id, *tokenizer(begun, add_special_tokens=False)["input_ids"]]
        with torch.no_grad():
            logits = model(**tokenizer(text, return_tensors="pt"), decoder_input_ids=torch.tensor([start])).logits[
                0, -1
            ]
        return [float(logits[tokenizer.convert_tokens_to_ids(f"\u2581{word}")]) for word in words]

    return next_logits


def test_monot5_is_the_first_step_of_the_decoder(t5_dir, t5):
    loaded = load_reranker("yes_no", model=t5_dir, template="monot5")
    pairs = [t5(loaded.reranker.prompt(one)[0]["content"], "", "true", "false") for one in ONES]
    check(ranking(loaded), [true - false for true, false in pairs])


def test_prp_over_t5_compares_the_letters_after_passage(t5_dir, t5):
    loaded = load_reranker("prp", model=t5_dir, template="t5", mode="scoring", sort="allpair", soft=True)
    reranker = loaded.reranker
    points = [0.0] * len(TEXTS)
    for i in range(len(TEXTS)):
        for j in range(len(TEXTS)):
            if i != j:
                plain, begun = reranker.prompt(LISTING.pick([i, j]))
                a, b = t5(plain["content"], begun["content"], "A", "B")
                share = 1 / (1 + 2.718281828459045 ** (b - a))
                points[i] += share / 2
                points[j] += (1 - share) / 2
    check(ranking(loaded), points)


def test_prp_over_a_chat_model_compares_the_letters_after_its_begun_answer(causal_dir, causal):
    loaded = load_reranker("prp", model=causal_dir, mode="scoring")
    pair = LISTING.pick([0, 1])
    user, begun = loaded.reranker.prompt(pair)
    prompt = causal.chat([user]) + begun["content"]
    (answer,) = loaded.engine.generate([loaded.reranker.request(pair)])
    assert list(answer.scores) == pytest.approx([causal.score(prompt, " A"), causal.score(prompt, " B")], abs=2e-4)
    assert sorted(ranking(loaded).order) == list(range(5))


def test_rank1_judges_thoughts_that_were_cut_after_ending_them(causal_dir, causal):
    loaded = load_reranker("rank1", model=causal_dir, max_new_tokens=12)
    requests = [loaded.reranker.request(one) for one in ONES]
    answers = loaded.engine.generate(requests)
    assert all(answer.tokens and answer.tokens[-1].alternatives for answer in answers)
    seconds = [loaded.reranker.second(request, answer) for request, answer in zip(requests, answers, strict=True)]
    prompts = ["".join(message["content"] for message in second.prompt) for second in seconds]
    odds = [(causal.score(p, " true"), causal.score(p, " false")) for p in prompts]
    check(ranking(loaded), [1 / (1 + 2.718281828459045 ** (false - true)) for true, false in odds])
    assert loaded.cost.calls == 10


def test_erank_asks_a_model_for_all_grades_after_the_reasoning(causal_dir, causal):
    loaded = load_reranker("erank", model=causal_dir, score="expectation", max_new_tokens=12)
    request = loaded.reranker.request(ONES[0])
    second = loaded.reranker.second(request, Answer("<think>because</think><answer>7</answer>"))
    (answer,) = loaded.engine.generate([second])
    prompt = causal.chat(request.prompt) + "<think>because</think><answer>"
    assert list(answer.scores) == pytest.approx([causal.score(prompt, f"{g}</answer>") for g in range(11)], abs=3e-4)
    assert ranking(loaded).order == tuple(range(5)), "a random model gives no grade"


def test_cross_encoders_give_the_classifiers_logit(tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = builder("tiny_classifier")(tmp_path / "classifier", positions=128)
    loaded = load_reranker("cross_encoder", model=folder)
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    expected = []
    for one in ONES:
        query, document = (message["content"] for message in loaded.reranker.prompt(one))
        with torch.no_grad():
            inputs = tokenizer([query], [document], return_tensors="pt", truncation="only_second", max_length=128)
            expected.append(float(model(**inputs).logits[0, 0]))
    check(ranking(loaded), expected)


@pytest.mark.parametrize(
    ("name", "options", "calls", "readings"),
    [("prp", {"passes": 1}, 8, None), ("grouprank", {"rounds": 2}, 2, {"failed": 2}), ("erank", {}, 5, {"failed": 5})],
)
def test_what_a_random_model_says_leaves_a_list(causal_dir, name, options, calls, readings):
    loaded = load_reranker(name, model=causal_dir, max_new_tokens=4, **options)
    assert sorted(ranking(loaded).order) == list(range(5))
    assert loaded.cost.calls <= calls + 8
    assert readings is None or loaded.readings == readings


def test_two_steps_of_many_lists_go_out_together(causal_dir):
    loaded = load_reranker("rank1", model=causal_dir, max_new_tokens=4)
    lists = [
        CandidateList(Query(f"q{i}", text), LISTING.candidates) for i, text in enumerate(("who?", "what?", "where?"))
    ]
    rounds = []
    together = drive(
        [loaded.reranker.order(one) for one in lists], loaded.engine, on_round=lambda done, sent: rounds.append(sent)
    )
    assert rounds == [15, 15]
    for one, found in zip(lists, together, strict=True):
        (alone,) = drive([loaded.reranker.order(one)], loaded.engine)
        assert alone.order == found.order and list(alone.scores) == pytest.approx(list(found.scores), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "decoding", "fields"),
    [
        ("prorank", {"temperature": 0.0, "max_new_tokens": 2}, {"max_length": 8192, "instruction": "", "score": "logit"}),
        ("yes_no", {"temperature": 0.0, "max_new_tokens": 2}, {"template": "generic", "max_length": None}),
        ("prp", {"temperature": 0.0, "max_new_tokens": 8}, {"passes": 10, "shrinking": True, "passage_tokens": 128}),
        ("erank", {"temperature": 0.0, "max_new_tokens": 4096}, {"query_tokens": 2048, "passage_tokens": 2048}),
        ("rank1", {"temperature": 0.0, "max_new_tokens": 8192}, {"query_tokens": 2048, "passage_tokens": 4096}),
        ("grouprank", {"temperature": 0.3, "top_p": 0.8, "max_new_tokens": 8000},
         {"group_size": 20, "rounds": 1, "passage_chars": 3000}),
        ("cross_encoder", {}, {"max_length": 8192}),
    ],
)  # fmt: skip
def test_the_settings_of_the_protocols(name, decoding, fields):
    reranker = lookup(name, "rerankers")()
    assert reranker.decoding == decoding
    assert reranker.shown == {"prp": 2, "grouprank": 20}.get(name, 1)
    assert {field: getattr(reranker, field) for field in fields} == fields
