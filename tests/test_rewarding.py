"""`--reward` specifications, and our rewards as stock TRL reward functions."""

import pickle

import pytest

from rankrl.errors import ConfigError
from rankrl.lookup import lookup
from rankrl.rerankers.rank_r1 import RankR1
from rankrl.training.dataset import rows_of
from rankrl.training.rewarding import as_trl_reward, checked, parse_reward, parse_rewards, rollouts_of
from rankrl.types import Candidate, CandidateList, Query

LISTING = CandidateList(Query("q1", "cats"), tuple(Candidate(f"d{i}", f"text {i}") for i in range(3)))
ROWS = rows_of([LISTING], {"q1": {"d1": 1}}, RankR1())


def test_a_spec_has_a_name_options_and_a_weight():
    reward = parse_reward("ndcg(k=5, unclean=-1.0)=0.5")
    assert (reward.name, reward.weight, dict(reward.options), reward.kind) == (
        "ndcg", 0.5, {"k": 5, "unclean": -1.0}, "rollout",
    )  # fmt: skip
    assert parse_reward("well_formed").weight == 1.0
    assert parse_reward("rankrl.testing:check_reward").name == "check_reward"
    assert parse_reward("unlikeliness(beta=0.5)").kind == "shaper"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ndgc", "did you mean 'ndcg'"),
        ("ndcg=", "cannot read reward"),
        ("ndcg=much", "finite number"),
        ("ndcg=nan", "finite number"),
        ("ndcg(k=5", "cannot read reward"),
        ("ndcg(5)", "name=value"),
        ("ndcg(k=open('x'))", "name=value"),
        ("ndcg(kk=5)", "option of reward 'ndcg' 'kk'"),
        ("unlikeliness=0.5", "takes no weight"),
        ("rankrl.types:Judgments", "not a function"),
        ("", "cannot read reward"),
    ],
)
def test_a_spec_that_cannot_be_used_says_why(spec, message):
    if spec == "rankrl.types:Judgments":
        spec, message = "rankrl:__version__", "not a function"
    with pytest.raises(ConfigError, match=message):
        parse_reward(spec)


def test_shapers_alone_get_the_default_reward():
    assert [r.name for r in parse_rewards(["unlikeliness"], default=["success"])] == ["success", "unlikeliness"]
    assert [r.name for r in parse_rewards(["unlikeliness", "ndcg"], default=["success"])] == ["unlikeliness", "ndcg"]


@pytest.mark.parametrize(
    ("specs", "message"), [(["ndcg", "ndcg=2"], "twice"), (["ndcg=0", "well_formed=0"], "weight 0")]
)
def test_reward_lists_that_make_no_sense(specs, message):
    with pytest.raises(ConfigError, match=message):
        parse_rewards(specs)


def columns(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_as_trl_reward_scores_answers_like_the_reward_itself_and_pickles():
    reward = pickle.loads(pickle.dumps(as_trl_reward(lookup("ndcg", "rewards"), k=3)))
    right, wrong = RankR1().answer(2), "I cannot say"
    given = columns(ROWS * 2)
    completions = [[{"role": "assistant", "content": right}], [{"role": "assistant", "content": wrong}]]
    values = reward(given.pop("prompt"), completions, [[1], [2]], **given, trainer_state=None)
    assert values == [1.0, 0.0] and reward.__name__ == "ndcg"


def test_a_group_reward_is_refused_where_groups_are_unknown():
    with pytest.raises(ConfigError, match="use RankPolicyTrainer"):
        as_trl_reward(lookup("unlikeliness", "rewards"))


def test_a_reward_that_raises_stops_the_run_and_names_the_query():
    def broken(rollout, judgments):
        raise KeyError("oops")

    given = columns(ROWS)
    with pytest.raises(KeyError) as caught:
        as_trl_reward(broken)(given.pop("prompt"), ["text"], [[1]], **given)
    assert "reward 'broken', query 'q1'" in caught.value.__notes__[0]


def test_a_dataset_without_our_columns_is_named():
    with pytest.raises(ConfigError, match="lacks the columns qid, query"):
        as_trl_reward(lookup("ndcg", "rewards"))([["p"]], ["t"], [[1]])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", [1.0]])
def test_a_failed_reward_is_never_a_number(value):
    with pytest.raises(ConfigError, match="finite number, or None"):
        checked("mine", value)


def test_an_answer_is_truncated_when_no_end_token_ends_it():
    ends = [[5, 9], [5, 7], [], [9, 5]]
    rollouts = rollouts_of(ROWS * 4, ["x"] * 4, ends, RankR1(), end_ids=frozenset({9}))
    assert [r.truncated for r in rollouts] == [False, True, True, True]
    assert [r.completion_tokens for r in rollouts] == [2, 2, 0, 2]
    assert not any(r.truncated for r in rollouts_of(ROWS * 4, ["x"] * 4, ends, RankR1()))
