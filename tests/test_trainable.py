"""Which rerankers GRPO can train: chats that show several passages; the others are refused before a model is loaded."""

import pytest

from rankrl.cards import part_of
from rankrl.errors import ConfigError
from rankrl.lookup import names
from rankrl.rerankers.first import First
from rankrl.rerankers.rank_r1 import RankR1
from rankrl.training.dataset import check_trainable

TRAINABLE = {"grouprank", "listwise", "rank_r1", "reasonrank", "setwise", "tourrank"}
ALONE = "a prompt shows it one passage, and rewards judge the order of several"
BEGUN = "it begins the answer .* and TRL would close that turn and open another"


def test_every_reranker_of_the_shelf_can_be_trained_or_says_why_not():
    reasons = {
        "cross_encoder": "its model scores pairs and writes no answer to reward",
        "erank": ALONE,
        "first": BEGUN,
        "prorank": ALONE,
        "prp": BEGUN,
        "rank1": ALONE,
        "yes_no": ALONE,
    }
    assert TRAINABLE | reasons.keys() == set(names("rerankers"))
    for name in TRAINABLE:
        check_trainable(name, part_of(name)())
    for name, reason in reasons.items():
        with pytest.raises(ConfigError, match=f"^{name} cannot be trained .*{reason}"):
            check_trainable(name, part_of(name)())


@pytest.mark.parametrize(
    ("name", "template", "reason"),
    [
        ("listwise", "rankgpt", None),
        ("listwise", "opened", BEGUN),
        ("setwise", "brief", None),
        ("setwise", "plain", "it is plain text, and training asks in chats"),
        ("prp", "t5", "it is plain text"),
    ],
)
def test_it_is_the_template_that_decides(name, template, reason):
    reranker = part_of(name)(template=template)
    if reason is None:
        check_trainable(name, reranker)
    else:
        with pytest.raises(ConfigError, match=f"{name} cannot be trained with this template: {reason}"):
            check_trainable(name, reranker)


def test_a_reranker_that_does_not_say_how_many_it_shows_is_tried_with_two():
    class Short(RankR1):
        shown = None

        def prompt(self, listing):
            assert len(listing) == 2
            return super().prompt(listing)

    check_trainable("short", Short())


def test_the_trainer_itself_refuses_it_before_it_looks_at_the_model():
    from rankrl.training.policy import RankPolicyTrainer

    with pytest.raises(ConfigError, match="First cannot be trained with this template"):
        RankPolicyTrainer("no model", rewards=[], reranker=First(), args=None)


def test_trl_does_close_a_begun_answer():
    """The reason for refusing it: should TRL continue such turns one day, the refusal can go."""
    import inspect

    from trl import GRPOTrainer

    source = inspect.getsource(GRPOTrainer._tokenize_prompts)
    assert "add_generation_prompt=True" in source and "continue_final_message" not in source
