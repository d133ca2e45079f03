"""Advantages: worked numbers, invariants, and what must not happen."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rankrl.rl.advantages import batch_standardized, centred, leave_one_out, standardized

EVERY = [standardized, centred, leave_one_out, batch_standardized]
NAN = float("nan")


def one_group(*rewards):
    return torch.tensor(rewards, dtype=torch.float64), torch.zeros(len(rewards), dtype=torch.long)


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ((1.0, 0, 0, 0), (1.49970, -0.49990, -0.49990, -0.49990)),
        ((1.0, 1, 0, 0), (0.86588, 0.86588, -0.86588, -0.86588)),
        ((1.0, 1, 1, 1), (0, 0, 0, 0)),
    ],
)
def test_standardized_gives_the_known_numbers_at_eps_1e_4(rewards, expected):
    advantages_B, _ = standardized(*one_group(*rewards))
    assert advantages_B.tolist() == pytest.approx(expected, abs=1e-5)


def test_standardized_gives_the_known_numbers_for_graded_rewards():
    advantages_B, _ = standardized(*one_group(1.3, 0.98, -1, 0), eps=1e-6)
    assert advantages_B.tolist() == pytest.approx([0.94289, 0.63501, -1.27001, -0.30788], abs=1e-5)


def test_leave_one_out_is_the_centred_reward_times_g_over_g_minus_1():
    assert leave_one_out(*one_group(1, 0, 0, 1))[0].tolist() == pytest.approx([2 / 3, -2 / 3, -2 / 3, 2 / 3])


@pytest.mark.parametrize("advantage", EVERY)
def test_a_group_without_variance_and_a_group_of_one_give_exactly_zero(advantage):
    rewards_B = torch.tensor([0.7, 0.7, 0.7, 1.0], dtype=torch.float64)
    advantages_B, diagnostics = advantage(rewards_B, torch.tensor([0, 0, 0, 1]))
    assert torch.all(advantages_B.abs() < 1e-10) and advantages_B[3] == 0
    assert diagnostics["scored"] == 1.0


@pytest.mark.parametrize("advantage", EVERY)
def test_a_reward_that_does_not_apply_moves_nobodys_baseline(advantage):
    rewards_B = torch.tensor([1.0, 0.0, NAN, 1.0], dtype=torch.float64)
    with_B, diagnostics = advantage(rewards_B, torch.zeros(4, dtype=torch.long))
    without_B, _ = advantage(*one_group(1.0, 0.0, 1.0))
    assert with_B[[0, 1, 3]].tolist() == pytest.approx(without_B.tolist())
    assert with_B[2] == 0 and diagnostics["scored"] == 0.75


@pytest.mark.parametrize("advantage", [standardized, centred, leave_one_out])
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_groups_do_not_feel_each_other_nor_the_order_of_the_batch(advantage, data):
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    group_B = torch.cat([torch.full((n,), i) for i, n in enumerate(sizes)])
    rewards_B = torch.tensor(data.draw(st.lists(st.floats(-2, 2), min_size=sum(sizes), max_size=sum(sizes)))).double()
    together_B, _ = advantage(rewards_B, group_B)
    for i in range(len(sizes)):
        alone_G, _ = advantage(rewards_B[group_B == i], torch.zeros(sizes[i], dtype=torch.long))
        torch.testing.assert_close(together_B[group_B == i], alone_G)
    order_B = torch.tensor(data.draw(st.permutations(range(len(group_B)))))
    torch.testing.assert_close(advantage(rewards_B[order_B], group_B[order_B])[0], together_B[order_B])
