"""What debiasing must not depend on: order, how often a view is seen, and the vectors' length."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.debiasing.bias_pairs import bias_pairs
from fedcl.debiasing.coral import coral
from fedcl.debiasing.end import end
from fedcl.debiasing.fairkl import fairkl, fairkl_regression
from fedcl.debiasing.feature_moments import feature_moments
from fedcl.kernels.positiveness import within_batch
from fedcl.losses.uniformity import decoupled_uniformity
from tests.losses.made import CLASSES, ages, classes, embeddings, gaussian

PARTICIPANTS = 9


def numbers(z, y, bias):
    """Every debiasing statistic of a batch, per-anchor ones summed over a participant's views."""
    pairs = bias_pairs(z, within_batch({"age": y}, gaussian(20.0)).double(), bias)
    of_classes = bias_pairs(z, within_batch({"age": y.round(decimals=-1)}, CLASSES).double(), bias)
    per_anchor = fairkl_regression(pairs.groups, side="both", form="kl").values()
    rows, codes = z.flatten(0, 1), bias.repeat_interleave(z.shape[1])
    return torch.stack(
        [
            *(t.value for t in fairkl(of_classes.groups, side="both", form="kl").values()),
            *(t.value for t in fairkl(of_classes.groups, side="both", form="squared").values()),
            *(t.value for t in end(pairs, side="both").values()),
            *(t.value.mean() for t in per_anchor),
            *(t.value.mean() for t in feature_moments(rows, codes).values()),
        ]
    )


def made(seed):
    generator = torch.Generator().manual_seed(seed)
    bias = classes(generator, PARTICIPANTS, 3)
    return embeddings(generator, PARTICIPANTS), ages(generator, PARTICIPANTS), bias, generator


@given(seed=st.integers(0, 2**31))
def test_the_order_of_participants_and_views_does_not_matter(seed):
    z, y, bias, generator = made(seed)
    order = torch.randperm(PARTICIPANTS, generator=generator)
    shuffled = numbers(z[order].flip(1), y[order], bias[order])
    torch.testing.assert_close(shuffled, numbers(z, y, bias))
    rows = z[:, 0]
    torch.testing.assert_close(
        coral(rows[order], bias[order])["covariance"].value, coral(rows, bias)["covariance"].value
    )


@given(seed=st.integers(0, 2**31))
def test_seeing_every_view_twice_changes_nothing(seed):
    z, y, bias, _ = made(seed)
    twice = torch.cat([z, z], dim=1)
    # Four times the pairs leave every moment; only sides too small to be counted may join in.
    before, after = numbers(z, y, bias), numbers(twice, y, bias)
    counted = before != 0
    torch.testing.assert_close(after[counted], before[counted], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(decoupled_uniformity(twice).value, decoupled_uniformity(z).value)


@given(seed=st.integers(0, 2**31), scale=st.sampled_from([1e-3, 1e3]))
def test_the_length_of_the_vectors_does_not_matter_to_similarities(seed, scale):
    z, y, bias, _ = made(seed)
    weights = within_batch({"age": y}, gaussian(20.0)).double()
    plain, scaled = bias_pairs(z, weights, bias), bias_pairs(scale * z, weights, bias)
    torch.testing.assert_close(scaled.similarity, plain.similarity)


@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_groups_that_are_moved_but_not_deformed_differ_in_their_means_alone(generator, shift):
    x = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    both = torch.cat([x, x + shift])
    bias = torch.cat([torch.zeros(40), torch.ones(40)]).double()
    terms = feature_moments(both, bias)
    assert terms["mean"].value.mean().item() == pytest.approx(shift**2)
    assert terms["spread"].value.abs().max() < 1e-8
    assert coral(both, bias)["covariance"].value < 1e-12
