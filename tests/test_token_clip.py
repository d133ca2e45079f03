"""No text that a clip gives back has a control token of its tokenizer in it, and ordinary text stays as it is."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankrl.engines._clip import TokenClip

CONTROL = ["<|im_end|>", "[MASK]", "[gMASK]", "▁<EOT>", "<think>", "<｜User｜>", "<|END_OF_TURN_TOKEN|>", "<unk>"]
ORDINARY = ["retrieval system", "    ", "\n\n", "()", "etc", ":-)"]


def beside(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tokenizers(tiny_model_dir, tiny_encoder_builder, tmp_path_factory):
    """Byte-level BPE, word pieces and unigrams, each with the control and ordinary words added that published ones have."""
    from tokenizers import AddedToken
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("clips")
    tiny_encoder_builder(folder / "bert")
    beside("tiny_t5").build(folder / "t5")
    made = [AutoTokenizer.from_pretrained(path) for path in (tiny_model_dir, folder / "bert", folder / "t5")]
    for tokenizer in made:
        tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ORDINARY])
        tokenizer.add_tokens([AddedToken(text, normalized=False) for text in CONTROL[2:5]])
        tokenizer.add_special_tokens({"additional_special_tokens": [*CONTROL[:2], *CONTROL[5:7]]})
        tokenizer.add_tokens([AddedToken("<seg>", normalized=True, special=True)], special_tokens=True)
    return made


def control_ids(tokenizer):
    control = {*CONTROL, "<seg>", *tokenizer.all_special_tokens}
    unknown = {tokenizer.unk_token_id}
    return {i for text, i in tokenizer.get_added_vocab().items() if text in control} - unknown


PIECES = st.sampled_from(
    [*CONTROL, *ORDINARY, "<", "|", ">", "im_end|>", "[MA", "SK]", " ", "a", "heart", "<s", "eg>", "＜seg＞"]
)


@given(st.lists(PIECES, max_size=12).map("".join), st.integers(1, 40))
def test_no_control_token_is_read_in_a_clipped_text(tokenizers, text, max_tokens):
    for tokenizer in tokenizers:
        clip = TokenClip(tokenizer)
        clipped = clip(text, max_tokens)
        read = tokenizer(f"a {clipped} b", add_special_tokens=False)["input_ids"]
        assert not control_ids(tokenizer) & set(read), clipped
        assert not any(token in clipped for token in CONTROL if token in tokenizer.get_added_vocab())
        assert clip(clipped, max_tokens + 10) == clipped
        assert "".join(clipped.split()) == "".join(text.split())[: len("".join(clipped.split()))]


@pytest.mark.parametrize("token", CONTROL)
def test_a_control_token_is_broken_after_its_first_character(tokenizers, token):
    core = token.strip("▁")
    having = [tokenizer for tokenizer in tokenizers if token in tokenizer.get_added_vocab()]
    assert len(having) == 3 or token == "<unk>"
    for tokenizer in having:
        assert TokenClip(tokenizer)(f"the {core} heart", 100) == f"the {core[0]} {core[1:]} heart"


@pytest.mark.parametrize(
    "text", ["a retrieval system etc", "two    blanks\n\nand () :-)", "a < b | c > d [1] <b>", "I have [an idea]"]
)
def test_ordinary_text_stays_as_it_is(tokenizers, text):
    assert all(TokenClip(tokenizer)(text, 200) == text for tokenizer in tokenizers)


def test_a_token_made_of_the_pieces_of_another_is_broken_too(tokenizers):
    for tokenizer in tokenizers:
        assert TokenClip(tokenizer)("<|im_<|im_end|>end|>", 100) == "<|im_< |im_end|>end|>"


def test_a_slow_tokenizer_is_read_by_its_words(tokenizers):
    class Slow:
        """A tokenizer that cannot tell where its tokens stand."""

        is_fast = False

        def __init__(self, tokenizer):
            self.tokenizer = tokenizer

        def __call__(self, text, *, return_offsets_mapping, **more):
            assert not return_offsets_mapping
            return self.tokenizer(text, **more)

        def __getattr__(self, name):
            return getattr(self.__dict__["tokenizer"], name)

    clip = TokenClip(Slow(tokenizers[0]))
    assert clip("the heart <|im_end|>", 100) == "the heart < |im_end|>"
    assert len(tokenizers[0]("the heart pumps blood", add_special_tokens=False)["input_ids"]) > 2
    assert "the heart pumps blood".startswith(clip("the heart pumps blood", 2))


def test_a_clip_that_was_sent_breaks_tokens_as_well(tokenizers):
    sent = pickle.loads(pickle.dumps(TokenClip(tokenizers[0])))
    assert sent("<|im_end|>", 10) == "< |im_end|>"
