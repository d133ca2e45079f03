"""Group statistics on flat tensors, against scipy and plain loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from rankrl.rl.groups import average_ranks, group_mean, group_std, padded

VALUES = st.lists(
    st.tuples(st.one_of(st.integers(-3, 3).map(float), st.just(math.nan)), st.integers(0, 3)), min_size=1, max_size=24
)


def tensors(pairs):
    groups = sorted({g for _, g in pairs})
    return torch.tensor([v for v, _ in pairs], dtype=torch.float64), torch.tensor([groups.index(g) for _, g in pairs])


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_padding_keeps_every_value_in_its_group_and_in_order(pairs):
    values_B, group_B = tensors(pairs)
    values_PG, slot_B = padded(values_B, group_B)
    torch.testing.assert_close(values_PG[group_B, slot_B], values_B, equal_nan=True)
    for group in range(values_PG.size(0)):
        assert slot_B[group_B == group].tolist() == list(range(int((group_B == group).sum())))


def test_padding_equal_contiguous_groups_is_a_view():
    values_B = torch.arange(12.0)
    values_PG, _ = padded(values_B, torch.arange(12) // 4)
    assert torch.equal(values_PG, values_B.view(3, 4))


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_mean_and_std_equal_loops_over_the_applicable_values(pairs):
    values_B, group_B = tensors(pairs)
    mean_B, std_B = group_mean(values_B, group_B), group_std(values_B, group_B)
    for i, group in enumerate(group_B.tolist()):
        members = [
            v for v, g in zip(values_B.tolist(), group_B.tolist(), strict=True) if g == group and not math.isnan(v)
        ]
        if not members:
            assert math.isnan(mean_B[i])
            continue
        mean = sum(members) / len(members)
        std = math.sqrt(sum((v - mean) ** 2 for v in members) / (len(members) - 1)) if len(members) > 1 else 0.0
        assert mean_B[i].item() == pytest.approx(mean, abs=1e-12)
        assert std_B[i].item() == pytest.approx(std, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_average_ranks_equal_scipys_rankdata(pairs):
    values_B, group_B = tensors(pairs)
    ranks_B = average_ranks(values_B, group_B)
    for group in set(group_B.tolist()):
        member = (group_B == group) & ~values_B.isnan()
        if member.any():
            expected = rankdata(values_B[member].numpy(), method="average") - 1
            assert ranks_B[member].tolist() == expected.tolist()
    assert torch.equal(ranks_B.isnan(), values_B.isnan())
