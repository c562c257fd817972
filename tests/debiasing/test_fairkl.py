"""FairKL where the answer is known: Gaussian similarities with planted gaps."""

import math

import pytest
import torch

from fedcl.debiasing.bias_pairs import BiasPairs, bias_pairs
from fedcl.debiasing.end import end
from fedcl.debiasing.fairkl import fairkl, fairkl_regression
from fedcl.debiasing.gaussians import FittedGaussian, kl

N = 400


def planted(similarity, positiveness=None) -> BiasPairs:
    """Pairs of N participants, the first half of one site, with the given similarities."""
    site = (torch.arange(N) >= N // 2).double()
    aligned = (site[:, None] == site[None, :]) & ~torch.eye(N, dtype=torch.bool)
    weights = torch.ones(N, N, dtype=torch.float64) if positiveness is None else positiveness
    return BiasPairs(
        similarity, weights, aligned, site[:, None] != site[None, :], site[:, None] == site[None, :]
    )


def gaussian_similarities(generator, mean_gap, sd_ratio):
    """Aligned pairs follow N(0.3 + mean_gap, 0.1 sd_ratio), conflicting ones N(0.3, 0.1)."""
    noise = torch.randn(N, N, generator=generator, dtype=torch.float64)
    aligned = planted(noise).aligned
    return torch.where(aligned, 0.3 + mean_gap + 0.1 * sd_ratio * noise, 0.3 + 0.1 * noise)


@pytest.mark.parametrize(
    ("mean_gap", "sd_ratio"), [(0.0, 1.0), (0.15, 1.0), (0.0, 2.0), (0.2, 0.5)]
)
def test_planted_gaps_give_the_closed_form(generator, mean_gap, sd_ratio):
    pairs = planted(gaussian_similarities(generator, mean_gap, sd_ratio))
    expected = (sd_ratio**2 + (mean_gap / 0.1) ** 2 - math.log(sd_ratio**2) - 1) / 2
    found = fairkl(pairs.groups, side="positive", form="kl")["positive"].value.item()
    assert found == pytest.approx(expected, abs=0.03)
    squared = fairkl(pairs.groups, side="positive", form="squared")["positive"].value.item()
    assert squared == pytest.approx(mean_gap**2 + (0.1 * (sd_ratio - 1)) ** 2, abs=1e-3)
    per_anchor = fairkl_regression(pairs.groups, side="positive", form="kl")["positive"]
    assert per_anchor.counted.all()
    assert per_anchor.value.mean().item() == pytest.approx(expected, abs=0.1)


def test_the_kl_is_that_of_torch_distributions(generator):
    mean, spread = torch.randn(2, 2, 5, generator=generator).double()
    sd = spread.exp()
    first = FittedGaussian(mean[0], sd[0] ** 2, torch.ones(5))
    second = FittedGaussian(mean[1], sd[1] ** 2, torch.ones(5))
    expected = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean[0], sd[0]), torch.distributions.Normal(mean[1], sd[1])
    )
    torch.testing.assert_close(kl(first, second), expected)


def test_negative_pairs_are_compared_with_negative_pairs_only(generator):
    similarity = gaussian_similarities(generator, 0.2, 2.0)
    classes = torch.arange(N) % 2
    same = (classes[:, None] == classes[None, :]).double()
    # The gap is planted among positives alone; negatives all follow one distribution.
    noise = 0.3 + 0.1 * torch.randn(N, N, generator=generator, dtype=torch.float64)
    pairs = planted(torch.where(same == 1, similarity, noise), same)
    terms = fairkl(pairs.groups, side="both", form="kl")
    assert terms["positive"].value > 1
    assert terms["negative"].value < 0.01
    per_anchor = fairkl_regression(pairs.groups, side="both", form="kl")
    assert per_anchor["positive"].value.mean() > 1
    assert per_anchor["negative"].value.mean() < 0.1


def gaps(pairs):
    aligned = pairs.similarity[pairs.aligned]
    conflicting = pairs.similarity[pairs.conflicting]
    return (
        (aligned.mean() - conflicting.mean()).item(),
        (aligned.std() / conflicting.std()).item(),
    )


def minimised(pairs, loss, steps):
    """Move every group's similarities by a shift and a stretch of its own until the loss is least.

    Parameters are what a debiasing term may change: (shift, log stretch) of both groups.
    """
    base = pairs.similarity
    parameters = torch.zeros(2, 2, dtype=base.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([parameters], lr=0.02)
    for _ in range(steps + 1):
        moved = []
        for group, mask in enumerate((pairs.aligned, pairs.conflicting)):
            centre = base[mask].mean()
            shift, stretch = parameters[group]
            moved.append(torch.where(mask, centre + shift + (base - centre) * stretch.exp(), 0.0))
        current = BiasPairs(
            moved[0] + moved[1],
            pairs.positiveness,
            pairs.aligned,
            pairs.conflicting,
            pairs.same_bias,
        )
        value = loss(current)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return gaps(current)


@pytest.mark.slow
def test_minimising_fairkl_closes_both_gaps_and_matching_means_alone_leaves_the_spread(generator):
    pairs = planted(gaussian_similarities(generator, 0.2, 2.5))
    mean_gap, ratio = gaps(pairs)
    assert mean_gap == pytest.approx(0.2, abs=0.01)
    assert ratio == pytest.approx(2.5, abs=0.02)

    def of_fairkl(p):
        return fairkl(p.groups, side="positive", form="kl")["positive"].value

    def of_end(p):
        return sum(term.value for term in end(p, side="both").values())

    mean_gap, ratio = minimised(pairs, of_fairkl, 200)
    assert abs(mean_gap) < 0.01
    assert ratio == pytest.approx(1, abs=0.02)
    # EnD is of first order: it moves means (here past each other) and no spread at all.
    mean_gap, ratio = minimised(pairs, of_end, 10)
    assert mean_gap < 0.1
    assert ratio == pytest.approx(2.5, abs=0.02)


@pytest.mark.parametrize("form", ["kl", "squared"])
def test_descending_fairkl_on_embeddings_closes_both_gaps(generator, form):
    # Each site has an axis of its own, on which most lie on one side and some on the other.
    bias = (torch.arange(60) % 2).double()
    sign = torch.where(torch.rand(60, generator=generator) < 0.85, 1.0, -1.0)[:, None]
    axis = torch.stack([torch.eye(6)[int(b)] for b in bias]).double()
    z = sign * axis + 0.3 * torch.randn(60, 6, generator=generator, dtype=torch.float64)
    leaf = torch.nn.functional.normalize(z, dim=1)[:, None].clone().requires_grad_()
    optimizer = torch.optim.Adam([leaf], lr=0.01)
    ones = torch.ones(60, 60, dtype=torch.float64)
    before = gaps(bias_pairs(leaf.detach(), ones, bias))
    for _ in range(150):
        pairs = bias_pairs(leaf, ones, bias)
        value = fairkl(pairs.groups, side="positive", form=form)["positive"].value
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    after = gaps(bias_pairs(leaf.detach(), ones, bias))
    assert before[0] > 0.3
    assert abs(after[0]) < 0.02
    assert abs(after[1] - 1) < 0.1 < abs(before[1] - 1)


def test_views_of_one_participant_are_no_pair(generator):
    z = torch.randn(6, 3, 4, generator=generator)
    pairs = bias_pairs(z, torch.ones(6, 6), torch.tensor([0.0, 0, 0, 1, 1, math.nan]))
    own = torch.arange(18) // 3
    itself = own[:, None] == own[None, :]
    assert not (pairs.aligned & itself).any()
    assert not (pairs.conflicting & itself).any()
    assert not pairs.conflicting[15:].any()
    assert not pairs.conflicting[:, 15:].any()
    assert pairs.aligned.sum() == 9 * (6 + 2)
    assert pairs.conflicting.sum() == 9 * 12


def test_an_anchor_far_in_age_from_everybody_has_a_gradient(generator):
    """Its pairs weigh next to nothing, and those outside its group must not weigh infinitely."""
    ages = torch.tensor([7.5, 21.0, 22.0, 23.0, 34.0, 35.0, 36.0])
    weights = torch.exp(-((ages[:, None] - ages[None, :]) ** 2) / 2).float()
    assert 0 < weights[0, 1] < 1e-39, "one over it is no number"
    vectors = torch.randn(7, 1, 5, generator=generator).requires_grad_()
    site = torch.tensor([0.0, 0, 0, 0, 1, 1, 1])
    groups = bias_pairs(vectors, weights, site).groups
    for part in ("positive", "negative"):
        for gaussian in groups.gaussians(part, 1):
            assert gaussian.mean.isfinite().all()
    terms = fairkl_regression(groups, side="both", form="squared")
    sum(term.value.sum() for term in terms.values()).backward()
    assert vectors.grad.isfinite().all()
