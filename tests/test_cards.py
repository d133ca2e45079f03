"""The card of a trained model, and the fingerprints of prompts and of the tokens that they become."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest

from rankrl.cards import (
    fixed_prompt,
    prompt_fingerprint,
    read_reranker_card,
    settings,
    token_fingerprint,
    with_clip,
    write_reranker_card,
)
from rankrl.engines.transformers import TransformersEngine
from rankrl.errors import DataError
from rankrl.lookup import lookup, names
from rankrl.rerankers.rank_r1 import RankR1
from rankrl.types import CandidateList, Query


@dataclass(frozen=True)
class Backwards(RankR1):
    """A reranker of the same fields with another prompt."""

    def prompt(self, listing):
        return super().prompt(CandidateList(Query("", listing.query.text[::-1]), listing.candidates))


def test_the_prompt_fingerprint_sees_wording_and_not_lengths():
    same = [RankR1(), RankR1(passage_tokens=3, k=1), replace(RankR1(), clip=lambda text, n: "")]
    other = [RankR1(template="brief"), RankR1(label_style="[i]: text"), Backwards()]
    assert len({prompt_fingerprint(reranker) for reranker in same}) == 1
    assert len({prompt_fingerprint(reranker) for reranker in [same[0], *other]}) == 4


@pytest.mark.parametrize("content", ["", "[]", "{", '{"reranker": "rank_r1"}', '{"reranker": "rank_r1", "options": 3}'])
def test_a_damaged_card_is_said_so(tmp_path, content):
    (tmp_path / "rankrl.json").write_text(content)
    with pytest.raises(DataError, match=r"rankrl\.json is not a card"):
        read_reranker_card(tmp_path)


def test_a_card_says_what_was_written(tmp_path, tokenizer):
    assert read_reranker_card(tmp_path) is None
    reranker = with_clip(RankR1(k=3), lambda text, n: text)
    write_reranker_card(tmp_path, "rank_r1", reranker, tokenizer=tokenizer, max_new_tokens=9)
    card = read_reranker_card(tmp_path)
    assert (card.reranker, card.engine_options) == ("rank_r1", {"max_new_tokens": 9})
    assert card.options == settings(RankR1(k=3)) and "clip" not in card.options
    assert (card.prompt_sha256, card.token_sha256) == (
        prompt_fingerprint(reranker),
        token_fingerprint(reranker, tokenizer),
    )


def test_a_card_of_before_tokens_were_recorded_is_read(tmp_path):
    path = write_reranker_card(tmp_path, "rank_r1", RankR1())
    assert "token_sha256" not in json.loads(path.read_text())
    assert read_reranker_card(tmp_path).token_sha256 == ""


@pytest.mark.parametrize("name", names("rerankers"))
def test_every_reranker_has_a_fixed_prompt_within_what_it_shows(name):
    reranker = lookup(name, "rerankers")()
    text = " ".join(message["content"] for message in fixed_prompt(reranker))
    assert "Alpha" in text and ("Beta" in text) == (reranker.shown > 1)
    assert prompt_fingerprint(reranker) == prompt_fingerprint(replace(reranker))


def test_the_fixed_prompt_shows_no_more_than_a_reranker_can():
    class Pair:
        shown = 2

        def prompt(self, listing):
            assert len(listing) == 2
            return [{"role": "user", "content": "".join(listing.docids)}]

    assert fixed_prompt(Pair())[0]["content"] == "01"


@pytest.fixture
def tokenizer(tiny_model_dir):
    """One of its own for each test, which may change it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model_dir)


def changed_template(tokenizer):
    tokenizer.chat_template += "{{ '!' }}"


def changed_end(tokenizer):
    tokenizer.eos_token = "!"


def changed_vocabulary(tokenizer):
    tokenizer.add_tokens(["Alpha"])


@pytest.mark.parametrize("change", [changed_template, changed_end, changed_vocabulary])
def test_the_token_fingerprint_sees_template_special_tokens_and_vocabulary(tokenizer, change):
    before = token_fingerprint(RankR1(), tokenizer)
    assert token_fingerprint(RankR1(k=3), tokenizer) == before != token_fingerprint(Backwards(), tokenizer)
    change(tokenizer)
    assert token_fingerprint(RankR1(), tokenizer) != before


def test_the_token_fingerprint_sees_what_the_template_is_told(tokenizer):
    tokenizer.chat_template += "{{ mood | default('') }}"
    before = token_fingerprint(RankR1(), tokenizer)
    assert token_fingerprint(RankR1(), tokenizer, {"mood": "thoughtful"}) != before


def test_a_template_that_tells_the_date_has_the_same_fingerprint_tomorrow(tokenizer):
    tokenizer.chat_template += "{{ strftime_now('%H:%M:%S.%f') }}"
    before = token_fingerprint(RankR1(), tokenizer)
    assert token_fingerprint(RankR1(), tokenizer) == before
    tokenizer.chat_template += "!"
    assert token_fingerprint(RankR1(), tokenizer) != before


@pytest.mark.parametrize("name", names("rerankers"))
def test_every_protocol_has_a_token_fingerprint(tokenizer, name):
    """Chats, plain prompts, pairs, and prompts that begin the answer."""
    reranker = lookup(name, "rerankers")()
    found = token_fingerprint(reranker, tokenizer)
    assert len(found) == 64 and found == token_fingerprint(reranker, tokenizer)
    tokenizer.add_tokens(["Alpha"])
    assert token_fingerprint(reranker, tokenizer) != found


def test_the_token_fingerprint_hashes_what_the_engine_is_given(tiny_model_dir):
    """The ids of the fixed prompt, as the engine itself renders them, give the fingerprint."""
    import hashlib

    engine = TransformersEngine(tiny_model_dir, max_new_tokens=1)
    text = engine.tokenizer.apply_chat_template(fixed_prompt(RankR1()), tokenize=False, add_generation_prompt=True)
    ids = engine.tokenizer(text, add_special_tokens=False)["input_ids"]
    special = {name: str(token) for name, token in sorted(engine.tokenizer.special_tokens_map.items())}
    expected = hashlib.sha256(json.dumps([ids, special], sort_keys=True).encode()).hexdigest()
    assert token_fingerprint(RankR1(), engine.tokenizer) == expected
