"""Conformance of every reward on the shelf, and what each one is worth on answers we can check by hand."""

import pickle

import pytest

from rankrl.contracts import is_over_group, is_shaper
from rankrl.errors import ConfigError
from rankrl.lookup import lookup, names
from rankrl.parsing.permutation import parse_permutation
from rankrl.parsing.winner import parse_winner
from rankrl.testing import check_reward
from rankrl.types import Candidate, CandidateList, Query, Rollout, RolloutGroup

GRADES = {"d2": 2, "d0": 1, "elsewhere": 3}


def listing(n=4):
    return CandidateList(Query("q1", "cats"), tuple(Candidate(f"d{i}", f"text {i}") for i in range(n)))


def listwise(text, n=4, **fields):
    return Rollout(listing(n), text, parse_permutation(text, n), **fields)


def setwise(text, n=4, **fields):
    return Rollout(listing(n), text, parse_winner(text, n), **fields)


@pytest.mark.parametrize("name", names("rewards"))
def test_every_reward_on_the_shelf_keeps_the_contract(name):
    check_reward(lookup(name, "rewards"))


@pytest.mark.parametrize("name", ["ndcg", "reciprocal_rank", "average_precision", "success", "recall"])
def test_the_best_order_of_the_candidates_shown_is_worth_one(name):
    assert lookup(name, "rewards")(listwise("[3] > [1] > [2] > [4]"), GRADES) == 1.0


@pytest.mark.parametrize("name", ["ndcg", "reciprocal_rank", "average_precision", "success", "recall"])
def test_an_apology_over_a_well_ordered_list_earns_nothing(name):
    rollout, reward = listwise("I am sorry, I cannot rank these."), lookup(name, "rewards")
    judgments = {"d0": 1}
    assert reward(rollout, judgments) == 0.0
    assert reward(rollout, judgments, unclean=-1.0) == -1.0
    assert reward(rollout, judgments, unclean=None) == 1.0


@pytest.mark.parametrize("name", ["ndcg", "reciprocal_rank", "average_precision", "success", "recall"])
@pytest.mark.parametrize("judgments", [{}, {"elsewhere": 1}, {"d1": 0}, {"d1": -1}])
def test_a_prompt_without_a_relevant_candidate_does_not_apply(name, judgments):
    assert lookup(name, "rewards")(listwise("[3] > [1] > [2] > [4]"), judgments) is None


def test_values_by_hand():
    third = listwise("[2] > [4] > [3] > [1]")
    assert lookup("reciprocal_rank", "rewards")(third, GRADES) == 1 / 3
    assert lookup("reciprocal_rank", "rewards")(third, GRADES, k=2) == 0.0
    assert lookup("reciprocal_rank", "rewards")(third, GRADES, grade=1) == 1 / 3
    assert lookup("success", "rewards")(third, GRADES, k=3) == 1.0
    assert lookup("recall", "rewards")(third, GRADES, k=3) == 0.5
    assert lookup("average_precision", "rewards")(third, GRADES) == (1 / 3 + 2 / 4) / 2
    assert lookup("ndcg", "rewards")(third, GRADES) == pytest.approx(
        (2 / 2 + 1 / 2.321928) / (2 + 1 / 1.584963), abs=1e-6
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<think>r</think><answer>[3]</answer>", 1.0),
        ("<think>r</think> <answer>[1]</answer>", 0.0),
        ("<answer>[3]</answer>", 0.0),
        ("<think>r</think><answer>3</answer>", 0.0),
        ("<think>r</think><answer>[3], [2]</answer>", 0.0),
        ("<think>r</think><answer>[3]</answer> because", 0.0),
    ],
)
def test_success_is_rank_r1s_exact_label_reward(text, value):
    assert lookup("success", "rewards")(setwise(text), {"d2": 1}) == value


@pytest.mark.parametrize(
    "text",
    ["[3] > [1] > [2]", "[3] > [3] > [1] > [2] > [4]", "[3] > [1] > [2] > [4] > [9]", "[0] > [3] > [1] > [2] > [4]"],
)
def test_holes_of_others_duplicates_foreign_and_missing_labels_are_charged(text):
    assert lookup("ndcg", "rewards")(listwise(text), GRADES) == 0.0
    assert lookup("well_formed", "rewards")(listwise(text), GRADES) == 0.0


def group(*pairs, judgments=None):
    """Rollouts from (text, logprob, tokens)."""
    rollouts = tuple(setwise(text, logprob=logprob, completion_tokens=tokens) for text, logprob, tokens in pairs)
    return RolloutGroup(rollouts, judgments or {"d2": 1})


def test_unlikeliness_ranks_by_mean_or_sum_as_asked():
    shaper = lookup("unlikeliness", "rewards")
    members = group(("a", -40.0, 100), ("b", -10.0, 10), ("c", -1e9, 1))
    assert shaper(members, [1.0, 1.0, 0.0], rank_by="mean") == [1 - 0.25 * 2 / 3, 1 - 0.25 * 1 / 3, 0.0]
    assert shaper(members, [1.0, 1.0, 0.0], rank_by="sum") == [1 - 0.25 * 1 / 3, 1 - 0.25 * 2 / 3, 0.0]


def test_unlikeliness_gives_the_same_answer_one_rank_despite_noise_in_its_log_probabilities():
    shaper = lookup("unlikeliness", "rewards")
    members = group(("same", -1.0, 1), ("same", -1.0000001, 1), ("rare", -5.0, 1), ("wrong", -3.0, 1))
    first, second, rare, wrong = shaper(members, [1.0, 1.0, 1.0, 0.0])
    assert first == second == 1 - 0.25 * 2.5 / 4 and rare == 1.0 and wrong == 0.0


def test_unlikeliness_needs_log_probabilities_and_a_known_ranking():
    shaper = lookup("unlikeliness", "rewards")
    with pytest.raises(ConfigError, match="log-probability"):
        shaper(RolloutGroup((setwise("x"),)), [1.0])
    with pytest.raises(ConfigError, match="'mean' or 'sum'"):
        shaper(group(("x", -1.0, 1)), [1.0], rank_by="median")


def test_marks_and_pickles():
    assert is_shaper(lookup("unlikeliness", "rewards")) and is_over_group(lookup("unlikeliness", "rewards"))
    assert not is_over_group(lookup("ndcg", "rewards"))
    for name in names("rewards"):
        assert pickle.loads(pickle.dumps(lookup(name, "rewards"))) is lookup(name, "rewards")


def test_the_same_answer_is_as_likely_as_its_rollouts_on_average():
    shaper = lookup("unlikeliness", "rewards")
    members = group(("same", -1.0, 1), ("same", -3.0, 1), ("other", -1.5, 1), ("wrong", -9.0, 1))
    first, second, other, _ = shaper(members, [1.0, 1.0, 1.0, 0.0])
    assert first == second == 1 - 0.25 * 1.5 / 4 and other == 1 - 0.25 * 3 / 4


@pytest.mark.parametrize("name", ["reciprocal_rank", "average_precision", "success", "recall"])
def test_relevant_means_judged_at_least_the_grade_asked_for(name):
    reward, judgments = lookup(name, "rewards"), {"d2": 2, "d0": 1}
    assert reward(listwise("[1] > [3] > [2] > [4]"), {"d0": 1}, grade=2) is None
    whole = {"k": 4} if name != "success" else {"k": 1}
    value = reward(listwise("[1] > [3] > [2] > [4]"), judgments, grade=2, **whole)
    assert value == {"reciprocal_rank": 0.5, "average_precision": 0.5, "success": 0.0, "recall": 1.0}[name]
    assert lookup("recall", "rewards")(listwise("[1] > [3] > [2] > [4]"), judgments, grade=2, k=1) == 0.0
