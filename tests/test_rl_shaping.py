"""The unlikeliness reward: the worked examples U1–U5, the vectors of the official code, invariants and traps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.rl.advantages import standardized
from rankrl.rl.shaping import unlikeliness


def shape(rewards, logps, **options):
    group_B = torch.zeros(len(rewards), dtype=torch.long)
    return unlikeliness(torch.tensor(rewards).double(), torch.tensor(logps).double(), group_B, **options)


def advantages(rewards_B, eps=1e-6):
    return standardized(rewards_B, torch.zeros(len(rewards_B), dtype=torch.long), eps=eps)[0].tolist()


def test_u1_multipliers_rewards_and_advantages():
    shaped_B = shape([1, 1, 0, 1], [-0.2, -0.9, -0.5, -1.5])
    assert shaped_B.tolist() == [0.8125, 0.9375, 0.0, 1.0]
    assert advantages(shaped_B) == pytest.approx([0.2688658507, 0.5377317013, -1.4787621786, 0.6721646266], abs=1e-9)
    assert advantages(torch.tensor([1.0, 1, 0, 1]).double()) == pytest.approx([0.499999, 0.499999, -1.499997, 0.499999])


@pytest.mark.parametrize(
    ("size", "reward", "advantage", "negative"),
    [(8, 0.78125, 0.0120851772, 0), (16, 0.765625, -0.2643087312, 4), (32, 0.7578125, -0.5443762798, 12)],
)
def test_u2_one_wrong_answer_turns_likely_right_ones_negative_in_large_groups(size, reward, advantage, negative):
    right = [float(i != size // 2) for i in range(size)]
    shaped_B = shape(right, [-float(i) for i in range(size)])
    values = advantages(shaped_B)
    assert shaped_B[0] == reward
    assert values[0] == pytest.approx(advantage, abs=1e-9)
    assert sum(value < 0 for value, r in zip(values, right, strict=True) if r) == negative


def test_u5_share_of_right_answers_turned_negative_in_a_nearly_solved_group():
    shares = []
    for wrong in range(32):
        right = [float(i != wrong) for i in range(32)]
        values = advantages(shape(right, [-float(i) for i in range(32)]))
        shares.append(sum(value < 0 for value, r in zip(values, right, strict=True) if r) / 31)
    assert sum(shares) / 32 == pytest.approx(0.388983871, abs=0.01)


def test_u3_all_right_is_pure_pressure_against_likelihood_unless_the_group_is_left_alone():
    logps = [-0.1, -0.2, -0.3, -0.4]
    assert shape([1, 1, 1, 1], logps).tolist() == [1, 1, 1, 1]
    assert advantages(shape([1, 1, 1, 1], logps)) == [0, 0, 0, 0]
    # what the factors alone would have made of it
    raw_B = torch.tensor([0.8125, 0.875, 0.9375, 1.0]).double()
    assert advantages(raw_B) == pytest.approx([-1.161880604, -0.3872935347, 0.3872935347, 1.161880604], abs=1e-9)


def test_u4_mean_and_sum_rank_answers_of_different_length_in_opposite_orders():
    sums, lengths = [-40.0, -10.0], [100, 10]
    means = [s / n for s, n in zip(sums, lengths, strict=True)]
    # a third, wrong and least likely, answer varies the group; the two right ones share the two upper ranks
    by_mean = shape([1, 1, 0], [*means, -1e9], beta=0.25)
    by_sum = shape([1, 1, 0], [*sums, -1e9], beta=0.25)
    assert by_mean[0] < by_mean[1] and by_sum[0] > by_sum[1]


def test_vectors_of_the_official_code():
    shaped_B = shape([1, 1, 0, 0], [-1.0, -3, -2, -4])
    assert shaped_B.tolist() == [0.8125, 0.9375, 0, 0]
    assert advantages(shaped_B) == pytest.approx([0.7385, 0.9847, -0.8616, -0.8616], abs=5e-5)
    assert advantages(shape([0, 0, 0, 0], [-1.0, -3, -2, -4])) == [0, 0, 0, 0]


def test_ties_share_a_rank_where_the_double_argsort_ranks_by_position():
    shaped_B = shape([1, 1, 0, 1], [-1.0, -1.0, -2.0, -0.5])
    assert shaped_B[0] == shaped_B[1] == 1 - 0.25 * 1.5 / 4


def test_gate_keeps_graded_rewards_in_order_where_the_bare_product_turns_them_over():
    rewards, logps = [0.8, 0.7, 0.1, 0.1], [-0.1, -0.9, -0.8, -0.7]
    assert shape(rewards, logps)[0] < shape(rewards, logps)[1]
    assert shape(rewards, logps, gate=0.7)[0] > shape(rewards, logps, gate=0.7)[1]


def test_a_reward_that_does_not_apply_stays_so_and_holds_no_rank():
    with_B = shape([1, float("nan"), 0, 1], [-0.2, -0.3, -0.5, -1.5])
    assert with_B[1].isnan()
    assert with_B[[0, 2, 3]].tolist() == shape([1, 0, 1], [-0.2, -0.5, -1.5]).tolist()


def test_beta_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        shape([1, 0], [-1, -2], beta=1.5)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_for_all_groups_factor_in_range_equivariant_shift_free_and_beta_zero_is_grpo(data):
    n = data.draw(st.integers(2, 8))
    rewards_B = torch.tensor(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n))).double()
    logps_B = torch.tensor(data.draw(st.lists(st.integers(-20, 0), min_size=n, max_size=n))).double()
    group_B = torch.zeros(n, dtype=torch.long)
    shaped_B = unlikeliness(rewards_B, logps_B, group_B, beta=0.25)
    right_B = rewards_B == 1
    assert torch.all(shaped_B[~right_B] == 0)
    assert torch.all((shaped_B[right_B] >= 1 - 0.25 * (n - 1) / n) & (shaped_B[right_B] <= 1))
    torch.testing.assert_close(unlikeliness(rewards_B, logps_B + 3, group_B), shaped_B)
    assert torch.equal(unlikeliness(rewards_B, logps_B, group_B, beta=0.0), rewards_B)
    order_B = torch.tensor(data.draw(st.permutations(range(n))))
    torch.testing.assert_close(unlikeliness(rewards_B[order_B], logps_B[order_B], group_B), shaped_B[order_B])
