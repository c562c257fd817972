"""Every debiasing term equals its formula written as Python loops, in value and gradient."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.debiasing.bias_pairs import bias_pairs
from fedcl.debiasing.coral import coral
from fedcl.debiasing.end import end
from fedcl.debiasing.fairkl import fairkl, fairkl_authors_variant, fairkl_regression
from fedcl.debiasing.feature_moments import feature_moments
from fedcl.kernels.positiveness import within_batch
from tests import reference
from tests.losses.made import CLASSES, ages, assert_equal, embeddings, gaussian

pytestmark = pytest.mark.slow

# Two sites and two classes, each combination present, so that every group has pairs.
SITES = [0, 1, 0, 1, 0, 1, 1]
LABELS = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
OWNER = [i // 2 for i in range(14)]
BIAS = [SITES[i] for i in OWNER]
DISTANCES = {"kl": reference.kl, "squared": reference.squared_gap}


def rows(leaf):
    flat = leaf.reshape(-1, leaf.shape[-1])
    return flat / flat.norm(dim=1, keepdim=True)


def spread(weights):
    return weights.repeat_interleave(2, 0).repeat_interleave(2, 1)


def made(leaf, weights):
    return bias_pairs(leaf, weights, torch.tensor(SITES, dtype=torch.float64))


@pytest.mark.parametrize("form", DISTANCES)
@pytest.mark.parametrize("side", ["positive", "negative"])
@given(seed=st.integers(0, 2**31))
def test_fairkl_of_classes(form, side, seed):
    z = embeddings(torch.Generator().manual_seed(seed))
    weights = within_batch({"age": LABELS}, CLASSES).double()
    assert_equal(
        lambda leaf: fairkl(made(leaf, weights).groups, side=side, form=form)[side].value,
        lambda leaf: reference.fairkl(
            rows(leaf), spread(weights), BIAS, OWNER, DISTANCES[form], positive=side == "positive"
        ),
        z,
    )


@pytest.mark.parametrize("form", DISTANCES)
@pytest.mark.parametrize("side", ["positive", "negative"])
@given(seed=st.integers(0, 2**31), sigma=st.sampled_from([5.0, 30.0]))
def test_fairkl_of_continuous_labels(form, side, seed, sigma):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator), ages(generator)
    weights = within_batch({"age": y}, gaussian(sigma)).double()
    found = fairkl_regression(made(z, weights).groups, side=side, form=form, min_effective=0)[side]
    assert found.counted.all()
    assert_equal(
        lambda leaf: (
            fairkl_regression(made(leaf, weights).groups, side=side, form=form, min_effective=0)[
                side
            ].value
        ),
        lambda leaf: reference.fairkl_regression(
            rows(leaf), spread(weights), BIAS, OWNER, DISTANCES[form], positive=side == "positive"
        ),
        z,
    )


@given(seed=st.integers(0, 2**31))
def test_fairkl_as_the_authors_compute_it(seed):
    z = embeddings(torch.Generator().manual_seed(seed), views=1)[:, 0]
    classes = LABELS.int().tolist()
    bias = torch.tensor(SITES, dtype=torch.float64)
    assert_equal(
        lambda leaf: sum(
            t.value for t in fairkl_authors_variant(leaf, LABELS[:, None] == LABELS, bias).values()
        ),
        lambda leaf: reference.fairkl_authors_variant(leaf, classes, SITES),
        z,
    )


@given(seed=st.integers(0, 2**31), sigma=st.sampled_from([0.5, 5.0, 30.0]))
def test_end(seed, sigma):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator), ages(generator)
    weights = within_batch({"age": y}, gaussian(sigma)).double() + 1e-3

    def ours(leaf):
        terms = end(made(leaf, weights), side="both")
        return torch.stack([terms["decorrelate"].value, terms["entangle"].value])

    assert_equal(
        ours, lambda leaf: torch.stack(reference.end(rows(leaf), spread(weights), BIAS, OWNER)), z
    )


@given(seed=st.integers(0, 2**31), scale=st.sampled_from([1.0, 50.0]))
def test_feature_moments_and_coral(seed, scale):
    generator = torch.Generator().manual_seed(seed)
    x = scale * torch.randn(7, 3, generator=generator, dtype=torch.float64) + 4
    bias = torch.tensor(SITES, dtype=torch.float64)

    def ours(leaf):
        terms = feature_moments(leaf, bias)
        return torch.cat([terms["mean"].value, terms["spread"].value])

    assert_equal(ours, lambda leaf: torch.cat(reference.feature_moments(leaf, SITES)), x)
    assert_equal(
        lambda leaf: coral(leaf, bias)["covariance"].value,
        lambda leaf: reference.coral(leaf, SITES),
        x,
    )
