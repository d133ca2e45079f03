"""Supervised warm-up: completions are what is learned, prompts are not touched, and the format is there in no time."""

import pytest
import torch

from rankrl.engines.transformers import TransformersEngine
from rankrl.errors import ConfigError, DataError
from rankrl.rerankers.first import First
from rankrl.rerankers.grouprank import GroupRank
from rankrl.rerankers.listwise import Listwise
from rankrl.rerankers.prp import PRP
from rankrl.rerankers.rank_r1 import RankR1
from rankrl.rerankers.reasonrank import ReasonRank
from rankrl.rerankers.setwise import Setwise
from rankrl.rerankers.tourrank import TourRank
from rankrl.training.sft import collator, completion_loss, warm_up, warm_up_rows
from rankrl.types import Candidate, CandidateList, Query, Request

RERANKER = RankR1(template="brief", num_child=3)
LISTING = CandidateList(Query("q", "what is it"), tuple(Candidate(f"d{j}", f"passage {j}") for j in range(3)))


@pytest.fixture(scope="module")
def tokenizer(tiny_model_dir):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model_dir)


def test_a_row_is_the_prompt_and_the_ideal_answer_to_its_end(tokenizer):
    (row,) = warm_up_rows([(LISTING, 1)], RERANKER, tokenizer)
    prompt = tokenizer.apply_chat_template(RERANKER.prompt(LISTING), add_generation_prompt=True, tokenize=False)
    assert tokenizer.decode(row["prompt_ids"]) == prompt
    assert tokenizer.decode(row["completion_ids"]).startswith("<think>match</think><answer>[2]</answer><|im_end|>")


def test_a_template_that_rewrites_the_prompt_is_refused(tokenizer):
    import copy

    rewriting = copy.copy(tokenizer)
    rewriting.chat_template = "{{ messages | length }}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(DataError, match="changes the prompt when an answer follows"):
        warm_up_rows([(LISTING, 1)], RERANKER, rewriting)


def test_the_batch_ends_with_the_completions_and_labels_nothing_else():
    rows = [{"prompt_ids": [5, 6, 7], "completion_ids": [8, 9]}, {"prompt_ids": [1], "completion_ids": [2]}]
    batch = collator(0)(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9], [0, 0, 0, 1, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [0, 0, 0, 1, 1]]
    assert batch["labels"].tolist() == [[8, 9], [-100, 2]] and batch["logits_to_keep"] == 3


def test_the_loss_is_the_models_own_over_the_completion(tiny_model_dir, tokenizer):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    rows = warm_up_rows([(LISTING, 0), (LISTING.pick([0, 1]), 1)], RERANKER, tokenizer)
    batch = collator(tokenizer.pad_token_id)(rows)
    labels_BT = batch.pop("labels")
    whole_BL = torch.full_like(batch["input_ids"], -100)
    whole_BL[:, -labels_BT.size(1) :] = labels_BT
    theirs = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=whole_BL).loss
    ours = completion_loss(model(**batch), labels_BT)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    count = (labels_BT != -100).sum()
    torch.testing.assert_close(completion_loss(model(**batch), labels_BT, 2 * count), theirs / 2)


@pytest.mark.slow
def test_a_random_model_answers_in_the_format_after_a_short_warm_up(tiny_model_builder, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    folder = tiny_model_builder(tmp_path / "m", seed=4)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = warm_up_rows([(LISTING, i % 3) for i in range(60 * 8)], RERANKER, tokenizer)
    before = TransformersEngine(folder, max_new_tokens=40).generate([Request(RERANKER.prompt(LISTING))])[0]
    log = warm_up(
        model, tokenizer, rows, output_dir=tmp_path / "o", batch_size=8, learning_rate=3e-3, disable_tqdm=True
    )
    model.save_pretrained(tmp_path / "w")
    tokenizer.save_pretrained(tmp_path / "w")
    after = TransformersEngine(tmp_path / "w", max_new_tokens=40).generate([Request(RERANKER.prompt(LISTING))])[0]
    assert not RERANKER.parse(before.text, 3).report.clean and RERANKER.parse(after.text, 3).report.clean
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert losses[-1] < losses[0] / 4 and after.finish_reason == "stop"


def test_a_beginning_that_the_prompt_gives_is_no_turn_of_its_own(tokenizer):
    reranker = PRP()
    (row,) = warm_up_rows([(LISTING.pick([0, 1]), 1)], reranker, tokenizer)
    asked, begun = reranker.prompt(LISTING.pick([0, 1]))
    prompt = tokenizer.apply_chat_template([asked], add_generation_prompt=True, tokenize=False)
    assert tokenizer.decode(row["prompt_ids"]) == prompt + begun["content"]
    assert tokenizer.decode(row["completion_ids"]) == " B<|im_end|>\n"


@pytest.mark.parametrize("reranker", [Listwise(), ReasonRank(), First(), TourRank(), GroupRank()])
def test_a_reranker_whose_answers_name_many_is_refused_in_a_sentence(reranker, tokenizer):
    with pytest.raises(
        ConfigError, match=f"{type(reranker).__name__} has no answer\\(label\\).* RankR1, Setwise and PRP have"
    ):
        warm_up_rows([(LISTING, 1)], reranker, tokenizer)


def test_plain_text_is_refused_in_a_sentence(tokenizer):
    with pytest.raises(ConfigError, match="Setwise asks in plain text with this template, and a warm-up is for chats"):
        warm_up_rows([(LISTING, 1)], Setwise(template="plain"), tokenizer)
