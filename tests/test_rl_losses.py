"""Losses and ratios: worked numbers, gradients in float64, and algebra."""

import pytest
import torch

from rankrl.rl.losses import aggregate, clipped_surrogate, k3_divergence, policy_loss
from rankrl.rl.ratios import log_ratio, segment_mean


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective"), [(1.5, 1, 1.2), (1.5, -1, -1.5), (0.5, 1, 0.5), (0.5, -1, -0.8)]
)
def test_clip_takes_the_pessimistic_side(ratio, advantage, objective):
    loss = clipped_surrogate(t([ratio]).log(), t([advantage]))
    assert loss.item() == pytest.approx(-objective)


def test_k3_numbers():
    assert k3_divergence(t(0.0, 0.0), t(-0.2, 0.2)).tolist() == pytest.approx([0.018731, 0.021403], abs=1e-6)


def test_segment_mean_at_item_level():
    log_ratios_BT, item_BT = t([0.1, 0.3, -0.2, 0.0, 0.5]), torch.tensor([[0, 0, 1, 1, 1]])
    ratio_BT = segment_mean(log_ratios_BT.view(1, -1), item_BT, torch.ones(1, 5)).exp()
    assert ratio_BT[0, [0, 2]].tolist() == pytest.approx([1.2214, 1.1052], abs=5e-5)


def test_segment_mean_leaves_masked_tokens_out():
    mean_BT = segment_mean(
        t([1.0, 3.0, 100.0]).view(1, -1), torch.zeros(1, 3, dtype=torch.long), torch.tensor([[1, 1, 0]])
    )
    assert mean_BT.tolist() == [[2.0, 2.0, 0.0]]


def test_sequence_level_carries_the_mean_to_every_token():
    new_BT, old_BT = t([0.1, -0.02, 0.07]).view(1, -1), torch.zeros(1, 3).double()
    ratio_BT = log_ratio(new_BT, old_BT, torch.ones(1, 3), level="sequence").exp()
    assert ratio_BT[0].tolist() == pytest.approx([1.0512710964] * 3)


def test_aggregations_differ_as_documented():
    loss_BT, mask_BT = t([1.0, 1.0, 1.0], [4.0, 0.0, 0.0]).view(2, 3), torch.tensor([[1, 1, 1], [1, 0, 0]])
    assert aggregate(loss_BT, mask_BT, how="sequence_mean") == 2.5
    assert aggregate(loss_BT, mask_BT, how="token_mean") == 7 / 4
    assert aggregate(loss_BT, mask_BT, how="constant", constant=10) == 7 / 20
    with pytest.raises(ValueError, match="constant"):
        aggregate(loss_BT, mask_BT, how="constant")


def test_on_policy_gradient_is_minus_the_advantage_per_token():
    logps_BT = t([-1.0, -2.0], [-0.5, -0.1]).view(2, 2).requires_grad_()
    loss, seen = policy_loss(logps_BT, t(2.0, -1.0), torch.ones(2, 2))
    loss.backward()
    assert logps_BT.grad.tolist() == [[-0.5, -0.5], [0.25, 0.25]]
    assert seen["clipped"] == 0


@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("how", ["sequence_mean", "token_mean", "constant"])
def test_gradient_equals_finite_differences(level, how):
    generator = torch.Generator().manual_seed(0)
    logps_BT = (-torch.rand(3, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    old_BT = logps_BT.detach() + 0.05 * torch.randn(3, 4, generator=generator, dtype=torch.float64)
    mask_BT = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]]).double()

    def loss(x_BT):
        options = {"old_logps_BT": old_BT, "reference_logps_BT": old_BT - 0.1, "beta": 0.1, "level": level}
        return policy_loss(x_BT, t(1.0, -1.0, 0.5), mask_BT, how=how, constant=4.0, **options)[0]

    assert torch.autograd.gradcheck(loss, (logps_BT,), atol=1e-6)


def test_beta_without_reference_is_refused():
    with pytest.raises(ValueError, match="reference"):
        policy_loss(t([-1.0]), t(1.0), torch.ones(1, 1), beta=0.1)
