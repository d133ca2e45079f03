"""From messages to the text a model goes on from, for several styles of chat template."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.engines._prompts import Renderer, chat_text
from rankrl.errors import ConfigError
from rankrl.types import Request

ASKED = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Which one?"}]
HEAD = "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nWhich one?<|im_end|>\n<|im_start|>assistant\n"

HYBRID = """
{%- for m in messages %}
{%- if m.role == 'assistant' %}
{%- set said = m.content.split('</think>') %}
{{- '<|im_start|>assistant\n' }}
{%- if loop.last %}
{{- '<think>\n' + (said[0].split('<think>')[-1].strip('\n') if said|length > 1 else '') + '\n</think>\n\n' }}
{%- endif %}
{{- said[-1].lstrip('\n') + '<|im_end|>\n' }}
{%- else %}
{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}
{%- endif %}"""
"""Thinks or not, as it is told; writes an empty thought before an answer that has none."""

THINKER = """
{%- for m in messages %}
{{- '<|im_start|>' + m.role + '\n' + m.content.split('</think>')[-1] + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}"""
"""Always thinks, and drops the thoughts of answers."""

OPENER = """
{%- for m in messages %}
{%- if m.role != 'assistant' %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{%- endif %}
{%- endfor %}
{{- '<|im_start|>assistant\n<think>\n' }}"""
"""Always thinks, and leaves answers out."""

TRIMMER = """
{%- for m in messages %}{{- '<h>' + m.role + '</h>\n\n' + m.content | trim + '<eot>' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<h>assistant</h>\n\n' }}{%- endif %}"""
"""Trims every turn."""

INSTRUCT = """
{%- for m in messages %}
{%- if m.role == 'user' %}{{- '[INST] ' + m.content + ' [/INST]' }}
{%- elif m.role == 'assistant' %}{{- ' ' + m.content + '</s>' }}
{%- else %}{{- raise_exception('only user and assistant roles') }}{%- endif %}
{%- endfor %}"""
"""Knows no header of an answer but a blank, and no system."""


@pytest.fixture(scope="module")
def tokenizer(tiny_model_dir):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model_dir)


def written(tokenizer, template, begun, asked=ASKED, **told):
    kept = tokenizer.chat_template
    tokenizer.chat_template = kept if template is None else template
    try:
        turn = [] if begun is None else [{"role": "assistant", "content": begun}]
        return chat_text(tokenizer, [*asked, *turn], told, "the model")
    finally:
        tokenizer.chat_template = kept


EMPTY = "<think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("template", "told", "begun", "expected"),
    [
        (None, {}, None, HEAD),
        (None, {}, "", HEAD),
        (None, {}, "[", HEAD + "["),
        (None, {}, " Passage: ", HEAD + " Passage: "),
        (None, {}, "\n", HEAD + "\n"),
        (None, {}, EMPTY, HEAD + EMPTY),
        (HYBRID, {}, None, HEAD),
        (HYBRID, {}, "Passage", HEAD + EMPTY + "Passage"),
        (HYBRID, {"enable_thinking": False}, None, HEAD + EMPTY),
        (HYBRID, {"enable_thinking": False}, "Passage", HEAD + EMPTY + "Passage"),
        (HYBRID, {}, EMPTY, HEAD + EMPTY),
        (HYBRID, {"enable_thinking": False}, EMPTY, HEAD + EMPTY),
        (HYBRID, {}, "<think>\nFirst, ", HEAD + "<think>\nFirst, "),
        (HYBRID, {"enable_thinking": False}, "<think>\nFirst, ", HEAD + "<think>\nFirst, "),
        (HYBRID, {}, "<think>a</think> [", HEAD + "<think>a</think> ["),
        (THINKER, {}, None, HEAD + "<think>\n"),
        (THINKER, {}, "Passage", HEAD + "Passage"),
        (THINKER, {}, "<think>\nFirst", HEAD + "<think>\nFirst"),
        (THINKER, {}, EMPTY, HEAD + EMPTY),
        (OPENER, {}, "Passage", HEAD + EMPTY + "Passage"),
        (OPENER, {}, "<think>\nFirst", HEAD + "<think>\nFirst"),
        (OPENER, {}, "so.</think>[", HEAD + "<think>\nso.</think>["),
    ],
)
def test_an_answer_goes_on_from_its_beginning_to_the_letter(tokenizer, template, told, begun, expected):
    assert written(tokenizer, template, begun, **told) == expected


def test_blanks_of_a_beginning_are_kept_where_the_template_trims(tokenizer):
    head = "<h>system</h>\n\nBe short.<eot><h>user</h>\n\nWhich one?<eot><h>assistant</h>\n\n"
    for begun in ("Passage", " Passage", "Passage ", "\n[", ""):
        assert written(tokenizer, TRIMMER, begun) == head + begun


def test_the_blank_before_an_answer_is_the_templates(tokenizer):
    asked = ASKED[1:]
    assert written(tokenizer, INSTRUCT, None, asked) == "[INST] Which one? [/INST]"
    for begun in ("Passage", " Passage"):
        assert written(tokenizer, INSTRUCT, begun, asked) == "[INST] Which one? [/INST] Passage"


def test_what_a_template_refuses_is_said_in_one_sentence(tokenizer):
    for begun in (None, "Passage"):
        with pytest.raises(
            ConfigError, match="refuses a prompt of the turns system, user: only user and assistant roles"
        ):
            written(tokenizer, INSTRUCT, begun)


def test_a_template_without_a_system_has_its_words_in_the_users_first_turn(tokenizer):
    renderer = Renderer(tokenizer, "model", {}, encoder=False)
    before = tokenizer.chat_template
    try:
        tokenizer.chat_template = INSTRUCT
        told = [{"role": "user", "content": "Be short.\n\nWhich one?"}]
        for end in ([], [{"role": "assistant", "content": "Passage"}]):
            assert renderer([Request([*ASKED, *end])]) == renderer([Request([*told, *end])])
        with pytest.raises(ConfigError, match="the turns system: only user and assistant roles"):
            renderer([Request(ASKED[:1])])
    finally:
        tokenizer.chat_template = before


@given(st.text(alphabet="ab \n[]<>/{}%", max_size=12), st.sampled_from([None, HYBRID, THINKER, OPENER, TRIMMER]))
def test_every_beginning_is_the_end_of_the_text(tokenizer, begun, template):
    text = written(tokenizer, template, begun)
    assert text.endswith(begun)
    assert text.count("Which one?") == 1
    assert written(tokenizer, template, begun) == text


def test_a_passage_that_speaks_of_the_continuation_is_not_taken_for_it(tokenizer):
    asked = [{"role": "user", "content": "CONTINUE_FINAL_MESSAGE_TAG Passage"}]
    assert written(tokenizer, None, "Passage", asked).endswith("TAG Passage<|im_end|>\n<|im_start|>assistant\nPassage")


def request_of(*turns):
    from rankrl.types import Request

    return Request([{"role": role, "content": text} for role, text in turns])


def test_a_plain_prompt_gets_what_the_tokenizer_puts_in_front_and_no_end(tiny_model_dir, tmp_path):
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    bare = tokenizer("the heart").input_ids
    first, last = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    render = Renderer(tokenizer, "m", {}, encoder=False)
    assert render([request_of(("plain", "the heart"))])[0].ids == tuple(bare)
    special = [("<|im_start|>", first), ("<|im_end|>", last)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A <|im_end|>", special_tokens=special
    )
    render = Renderer(tokenizer, "m", {}, encoder=False)
    assert render([request_of(("plain", "the heart"))])[0].ids == (first, *bare)
    assert render([request_of(("plain", "<|im_start|>the heart"))])[0].ids == (first, *bare)
    begun = render([request_of(("plain", "the"), ("assistant", " heart"))])[0]
    assert (begun.ids, begun.begun) == ((first, *bare), ())
    both = Renderer(tokenizer, "m", {}, encoder=True)([request_of(("plain", "the"), ("assistant", " heart"))])[0]
    assert both.ids == (first, *tokenizer("the", add_special_tokens=False).input_ids, last)
    assert both.begun == tuple(tokenizer(" heart", add_special_tokens=False).input_ids)


def sentencepiece(kind):
    """A tokenizer that writes blanks as `\u2581`, and one at the start of a text: in front of what is there, or for it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    merges = [("\u2581", "\u2581"), ("\u2581", "A"), ("\u2581", "["), ("e", "s"), ("y", "es"), ("\u2581", "yes")]
    pieces = ["<unk>", "\u2581", *"A[]:>\nyes"]
    pieces += [a + b for a, b in merges]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True))
    if kind == "llama":
        made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    else:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


@pytest.mark.parametrize("kind", ["llama", "metaspace"])
@pytest.mark.parametrize(
    ("choice", "begun", "tokens"),
    [
        ("yes", "", ["\u2581yes"]),
        (" yes", "", ["\u2581yes"]),
        ("A", "[", ["A"]),
        (" A", " Passage:", ["\u2581A"]),
        ("yes", "<think>\n\n</think>\n\n", ["yes"]),
        ("es", "y", ["es"]),
    ],
)
def test_a_choice_has_the_tokens_that_it_has_behind_the_begun_answer(kind, choice, begun, tokens):
    tokenizer = sentencepiece(kind)
    ids = Renderer(tokenizer, "m", {}, encoder=False).choice(choice, begun)
    assert tokenizer.convert_ids_to_tokens(list(ids)) == tokens


@pytest.mark.parametrize("begun", ["", "[", "x", "Passage:", "</think>\n\n", "<answer>"])
@pytest.mark.parametrize("choice", ["A", " A", "yes", "10</answer>", " true"])
def test_with_a_tokenizer_of_bytes_a_choice_is_the_same_behind_anything(begun, choice, tiny_model_dir):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    ids = Renderer(tokenizer, "m", {}, encoder=False).choice(choice, begun)
    assert list(ids) == tokenizer(choice, add_special_tokens=False)["input_ids"]
