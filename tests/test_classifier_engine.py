"""The classifier engine against sentence-transformers' CrossEncoder, on tiny random models; CPU, float32."""

from __future__ import annotations

import importlib.util
import json
import math
import random
from pathlib import Path

import pytest

from rankrl.engines.classifier import ClassifierEngine
from rankrl.engines.transformers import TransformersEngine
from rankrl.errors import ConfigError, DataError
from rankrl.types import PAIR, PLAIN, Request

TEXT = "heart blood cell gene protein mouse drug trial dose risk virus vaccine lung immune infection river sea moon"
WORDS = TEXT.split()
KINDS = ["bert", "qwen2", "qwen2 without a template"]


def beside(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pairs(n=24, *, longest=30, seed=0):
    chance = random.Random(seed)
    return [
        (" ".join(chance.choices(WORDS, k=5)), " ".join(chance.choices(WORDS, k=chance.randint(0, longest))))
        for _ in range(n)
    ]


def asked(query, document, **more):
    turns = [{"role": PAIR, "content": query}, {"role": PAIR, "content": document}]
    return Request(turns, **{"choices": ("relevant",), **more})


def requests(given):
    return [asked(query, document) for query, document in given]


def scores(engine, given):
    return [answer.scores[0] for answer in engine.generate(requests(given))]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """(kind, labels) -> the folder of a tiny classifier, made when it is first asked for."""
    build, folder, made = beside("tiny_classifier").build, tmp_path_factory.mktemp("classifiers"), {}

    def model(kind, labels=1):
        if (kind, labels) not in made:
            name = kind.split()[0]
            made[kind, labels] = build(folder / f"{kind}-{labels}", kind=name, labels=labels, positions=96)
            if "without" in kind:
                (made[kind, labels] / "chat_template.jinja").unlink()
        return made[kind, labels]

    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("longest", [30, 300], ids=["whole", "cut"])
def test_scores_are_those_of_a_cross_encoder(models, kind, longest):
    import torch
    from sentence_transformers import CrossEncoder

    given = pairs(longest=longest)
    oracle = CrossEncoder(str(models(kind)), device="cpu", max_length=96)
    expected = oracle.predict(given, activation_fn=torch.nn.Identity()).tolist()
    found = scores(ClassifierEngine(models(kind), device="cpu"), given)
    assert found == pytest.approx(expected, abs=1e-5)
    assert len({round(score, 4) for score in found}) > 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_does_not_depend_on_the_batch_it_was_in(models, kind):
    given = pairs(32)
    together = scores(ClassifierEngine(models(kind), batch_size=32), given)
    for options in ({"batch_size": 1}, {"batch_size": 5}, {"batch_tokens": 120}):
        assert scores(ClassifierEngine(models(kind), **options), given) == pytest.approx(together, abs=1e-4)
    assert scores(ClassifierEngine(models(kind)), given[::-1]) == pytest.approx(together[::-1], abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_end_of_the_document_is_cut(models, kind):
    engine = ClassifierEngine(models(kind), max_length=48)
    query, text = "heart blood", "virus " * 100
    (whole,) = engine.generate([asked(query, text)])
    assert whole.prompt_tokens <= 48
    (other,) = engine.generate([asked(query, text + "a river and the sea")])
    assert other.scores == whole.scores
    (query_counts,) = engine.generate([asked("heart lung", text)])
    assert query_counts.scores != whole.scores
    with pytest.raises(
        DataError, match=r"1 of 1 queries leave no room for a document: the longest has \d+ tokens of the 48"
    ):
        engine.generate([asked("heart " * 60, "blood")])


def logits(models, kind, labels, query, document):
    import torch

    engine = ClassifierEngine(models(kind, labels), label=0)
    pair = engine.tokenizer(query, document, return_tensors="pt")
    with torch.no_grad():
        return engine.model(**pair).logits[0].double()


def test_two_labels_give_the_difference_of_their_logits(models):
    for query, document in pairs(4):
        zero, one = logits(models, "bert", 2, query, document).tolist()
        assert scores(ClassifierEngine(models("bert", 2)), [(query, document)]) == pytest.approx([one - zero], abs=1e-5)
        flipped = ClassifierEngine(models("bert", 2), label=0)
        assert scores(flipped, [(query, document)]) == pytest.approx([zero - one], abs=1e-5)


def test_of_more_labels_one_is_named_and_its_log_odds_are_the_score(models):
    with pytest.raises(ConfigError, match=r"knows 3 labels \(LABEL_0, LABEL_1, LABEL_2\); say which: label=NAME"):
        ClassifierEngine(models("bert", 3))
    with pytest.raises(ConfigError, match=r"no label 'good'; it can be 0 \(LABEL_0\), 1 \(LABEL_1\), 2 \(LABEL_2\)"):
        ClassifierEngine(models("bert", 3), label="good")
    (query, document), *_ = pairs(1)
    spread = logits(models, "bert", 3, query, document).softmax(-1).tolist()
    for label in (1, "LABEL_1"):
        (score,) = scores(ClassifierEngine(models("bert", 3), label=label), [(query, document)])
        assert score == pytest.approx(math.log(spread[1] / (1 - spread[1])), abs=1e-5)


def test_a_template_with_other_roles_is_left_alone(models, tmp_path):
    """A chat template that cannot write a pair does not swallow it."""
    import shutil

    folder = shutil.copytree(models("qwen2"), tmp_path / "m")
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"
    )
    given = pairs(5)
    assert scores(ClassifierEngine(folder), given) == scores(
        ClassifierEngine(models("qwen2 without a template")), given
    )


def test_what_is_no_pair_is_refused_in_one_sentence(models):
    engine = ClassifierEngine(models("bert"))
    message = r"scores pairs: a query and a document \(role 'pair'\) and one choice; got the roles"
    for request in (
        Request([{"role": "user", "content": "q"}], choices=("yes",)),
        Request([{"role": PLAIN, "content": "q"}]),
        asked("q", "d", choices=()),
        asked("q", "d", choices=("yes", "no")),
    ):
        with pytest.raises(ConfigError, match=message):
            engine.generate([asked("q", "d"), request])
    assert engine.generate([]) == []


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"max_length": 0}, {"max_length": 97}, {"dtype": "f8"}, {"device": "x"}]
)
def test_impossible_options_are_refused(models, wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ClassifierEngine(models("bert"), **wrong)


def test_a_model_without_a_head_is_refused(tiny_encoder_builder, tiny_model_dir, tmp_path):
    for folder in (tiny_encoder_builder(tmp_path / "bert"), tiny_model_dir):
        with pytest.raises(DataError, match=r"cannot be loaded: it has no classification head \(.*is not there\)"):
            ClassifierEngine(folder)


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_classifier_is_no_language_model(models, kind):
    with pytest.raises(
        DataError, match=r"it is a \w+ForSequenceClassification, which writes no text; .*engine 'classifier'"
    ):
        TransformersEngine(models(kind))


def test_weights_that_are_missing_are_not_made_up(models, tmp_path):
    """A checkpoint that says it is a causal model and holds none is refused, not answered from random weights."""
    import shutil

    folder = shutil.copytree(models("bert"), tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": None, "is_decoder": True}))
    with pytest.raises(DataError, match=r"\d+ of its weights are not there \(.*\); is it a language model"):
        TransformersEngine(folder)


@pytest.mark.parametrize(("labels", "own"), [(1, True), (3, True), (1, False)])
def test_an_adapter_brings_its_head(models, tiny_encoder_builder, tmp_path, labels, own):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    base = tiny_encoder_builder(tmp_path / "base", positions=96) if own else models("bert")
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=labels)
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS" if own else None, target_modules=["query", "value"]))
    with torch.no_grad():
        for name, weights in adapted.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                torch.nn.init.normal_(weights, generator=torch.Generator().manual_seed(0))
    adapted.save_pretrained(tmp_path / "adapter")
    engine = ClassifierEngine(tmp_path / "adapter", label=labels - 1)
    (query, document), *_ = pairs(1)
    with torch.no_grad():
        expected = adapted.eval()(**engine.tokenizer(query, document, return_tensors="pt")).logits[0]
    last = expected[-1] - expected[:-1].logsumexp(-1) if labels > 1 else expected[0]
    assert scores(engine, [(query, document)]) == pytest.approx([float(last)], abs=1e-5)
    assert engine.fingerprint != ClassifierEngine(models("bert")).fingerprint


def test_the_fingerprint_tells_what_decides_a_score(models, tmp_path):
    import shutil

    plain = ClassifierEngine(models("bert"))
    assert (
        plain.fingerprint == ClassifierEngine(shutil.copytree(models("bert"), tmp_path / "m"), batch_size=3).fingerprint
    )
    others = [ClassifierEngine(models("bert"), max_length=50), ClassifierEngine(models("bert", 2))]
    others.append(ClassifierEngine(models("bert", 2), label=0))
    assert len({plain.fingerprint, *(engine.fingerprint for engine in others)}) == 4


def test_each_score_is_told_with_the_number_of_its_request(models):
    told = {}
    answers = ClassifierEngine(models("bert"), batch_size=4).generate(requests(pairs(11)), on_answer=told.__setitem__)
    assert [told[i] for i in range(11)] == answers
    assert all(answer.text == "" and answer.completion_tokens == 0 for answer in answers)


def test_a_query_that_is_longer_than_its_document_is_not_cut_either(models):
    engine = ClassifierEngine(models("bert"), max_length=40)
    one, other = scores(engine, [("heart " * 30 + last, "virus " * 10) for last in ("lung", "sea")])
    assert one != other
