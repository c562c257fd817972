"""What a site sees of the others is what it would see of their participants."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from fedcl.config.kernels import DiscreteKernel, ProductKernel
from fedcl.debiasing.fairkl import fairkl, fairkl_regression
from fedcl.debiasing.feature_moments import feature_moments, feature_moments_of_others
from fedcl.kernels.positiveness import positiveness, within_batch
from fedcl.losses.l_exp import l_exp
from fedcl.losses.pairs import pairs_of_views
from fedcl.moments.cross_site import bias_groups, remote_of, with_others
from fedcl.moments.grid import node_shares, nodes_known
from tests import reference
from tests.losses.made import assert_equal, gaussian
from tests.moments.world import batch_of, beside, interpolated, settings, spaced, world

pytestmark = pytest.mark.slow

SITE = 1
ROWS = [2, 0, 5, 11, 7]
DISTANCES = {"kl": reference.kl, "squared": reference.squared_gap}
SEX = DiscreteKernel(kind="discrete", covariates=("sex",))
AGE_AND_SEX = [
    *spaced(5),
    {"kind": "classes", "covariate": "sex", "values": [0, 1]},
]


def anchors(generator, count=5, dim=6):
    """Live embeddings, which have moved on since the snapshot."""
    z = torch.randn(count, 2, dim, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(z, dim=-1)


def pooled_fairkl(leaf, some, weight, form, *, positive):
    """FairKL per anchor, its similarities to every participant of the snapshot, as loops.

    `weight(anchor, site, participant)` is the degree of positiveness.
    """
    values = []
    for row in range(len(ROWS)):
        for view in range(2):
            z = leaf[row, view] / leaf[row, view].norm()
            groups = {True: ([], []), False: ([], [])}
            for site, others in enumerate(some.embeddings):
                for k in range(len(others)):
                    if site == SITE and k == ROWS[row]:
                        continue
                    w = weight(row, site, k)
                    similarities, weights = groups[site == SITE]
                    similarities.append((z * others[k]).sum())
                    weights.append(w if positive else 1 - w)
            fitted = [reference.moments(*groups[same]) for same in (True, False)]
            values.append(DISTANCES[form](*fitted[0], *fitted[1]))
    return torch.stack(values)


def table_of_weights(some, kernel, moments=None):
    """Weights of (anchor, site, participant): interpolated by the grid, or exact."""
    batch = batch_of(some, SITE, ROWS)
    tables = [
        positiveness(batch, known, kernel)
        if moments is None
        else interpolated(batch, known, kernel, moments)
        for known in some.known
    ]
    return lambda anchor, site, participant: tables[site][anchor, participant]


def federated(leaf, some, kernel, moments, form, side, *, float32=False):
    snapshot = some.seen_from(SITE, moments, float32=float32)
    groups = bias_groups(leaf, batch_of(some, SITE, ROWS), beside(snapshot, ROWS), kernel)
    terms = fairkl_regression(groups, side=side, form=form, min_effective=0)
    return terms[side].value


@pytest.mark.parametrize("components", ["sum", "sites"])
@pytest.mark.parametrize("form", DISTANCES)
@pytest.mark.parametrize("side", ["positive", "negative"])
@examples(max_examples=12)  # of each of the eight; the loops take a fiftieth of a second
@given(seed=st.integers(0, 2**31), sigma=st.sampled_from([5.0, 15.0]))
def test_federated_fairkl_is_the_pooled_one(components, form, side, seed, sigma):
    generator = torch.Generator().manual_seed(seed)
    some, moments = world(generator), settings(components=components)
    weight = table_of_weights(some, gaussian(sigma), moments)
    assert_equal(
        lambda leaf: federated(leaf, some, gaussian(sigma), moments, form, side),
        lambda leaf: pooled_fairkl(leaf, some, weight, form, positive=side == "positive"),
        anchors(generator),
        tolerance=1e-7,
    )


@pytest.mark.parametrize("form", DISTANCES)
@pytest.mark.parametrize("side", ["positive", "negative"])
def test_it_still_is_after_the_sums_have_travelled_as_float32(form, side, generator):
    some, moments = world(generator, sizes=(40, 30, 20)), settings()
    weight = table_of_weights(some, gaussian(8.0), moments)
    z = anchors(generator)
    assert_equal(
        lambda leaf: federated(leaf, some, gaussian(8.0), moments, form, side, float32=True),
        lambda leaf: pooled_fairkl(leaf, some, weight, form, positive=side == "positive"),
        z,
        tolerance=1e-5,
    )


@pytest.mark.parametrize("kernel", [SEX, ProductKernel(kind="product", kernels=(SEX, gaussian(9)))])
def test_it_is_over_an_age_and_sex_grid_too(kernel, generator):
    some, moments = world(generator, sizes=(20, 30, 20)), settings(grid=AGE_AND_SEX)
    weight = table_of_weights(some, kernel, moments)
    assert_equal(
        lambda leaf: federated(leaf, some, kernel, moments, "squared", "negative"),
        lambda leaf: pooled_fairkl(leaf, some, weight, "squared", positive=False),
        anchors(generator),
        tolerance=1e-7,
    )


def test_finer_grids_converge_to_the_exact_kernel(generator):
    some = world(generator, sizes=(40, 30, 20))
    z, kernel = anchors(generator), gaussian(8.0)
    exact = pooled_fairkl(z, some, table_of_weights(some, kernel), "kl", positive=True)
    errors = []
    for spacing in (10.0, 5.0, 2.5, 1.25):
        moments = settings(grid=spaced(spacing))
        found = federated(z, some, kernel, moments, "kl", "positive")
        errors.append((found - exact).abs().max().item())
    for coarse, fine in pairwise(errors):
        assert fine < coarse / 2.5
    assert errors[-1] < 1e-2


def test_fairkl_of_classes_compares_all_anchors_together(generator):
    """Sex as the label, whose kernel the grid has exactly."""
    some = world(generator, sizes=(20, 30, 20))
    moments = settings(grid=[AGE_AND_SEX[1]])
    snapshot, z = some.seen_from(SITE, moments), anchors(generator)
    groups = bias_groups(z, batch_of(some, SITE, ROWS), beside(snapshot, ROWS), SEX)
    weight = table_of_weights(some, SEX)
    for side, positive in (("positive", True), ("negative", False)):
        found = {True: ([], []), False: ([], [])}
        for row in range(len(ROWS)):
            for view in range(2):
                for site, others in enumerate(some.embeddings):
                    for k in range(len(others)):
                        if site == SITE and k == ROWS[row]:
                            continue
                        w = weight(row, site, k)
                        found[site == SITE][0].append((z[row, view] * others[k]).sum())
                        found[site == SITE][1].append(w if positive else 1 - w)
        fitted = [reference.moments(*found[same]) for same in (True, False)]
        for form, distance in DISTANCES.items():
            term = fairkl(groups, side=side, form=form)[side]
            assert term.counted == 1
            torch.testing.assert_close(
                term.value, distance(*fitted[0], *fitted[1]), rtol=1e-8, atol=1e-10
            )


def test_an_anchor_with_too_few_others_is_skipped(generator):
    """Effective pairs, not a sum of weights: one participant is no distribution."""
    some = world(generator, sizes=(1, 12))
    snapshot = some.seen_from(SITE, settings())
    groups = bias_groups(
        anchors(generator), batch_of(some, SITE, ROWS), beside(snapshot, ROWS), gaussian(5.0)
    )
    assert not fairkl_regression(groups, side="positive", form="kl")["positive"].counted.any()


def test_without_a_share_of_its_own_a_site_skips_fairkl_and_keeps_the_contrast(generator):
    some, z = world(generator), anchors(generator)
    snapshot = replace(some.seen_from(SITE, settings()), residents=None)
    known, at = batch_of(some, SITE, ROWS), beside(snapshot, ROWS)
    groups = bias_groups(z, known, at, gaussian(5.0))
    terms = fairkl_regression(groups, side="both", form="kl")
    assert not any(term.counted.any() for term in terms.values())
    assert not any(term.value.any() for term in terms.values())
    pairs = pairs_of_views(z, within_batch(known, gaussian(5.0)), temperature=0.1)
    seen = with_others(pairs, z, known, at, gaussian(5.0), temperature=0.1)
    assert seen.similarity.shape[1] == pairs.similarity.shape[1] + len(snapshot.candidates.nodes)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("components", ["sum", "sites"])
def test_with_nobody_elsewhere_the_loss_is_the_local_one(components, order, generator):
    some, moments = world(generator, sizes=(9,)), settings(order=order, components=components)
    known = some.known[0]
    snapshot, rows = some.seen_from(0, moments), list(range(9))
    z = anchors(generator, count=9)
    pairs = pairs_of_views(z, within_batch(known, gaussian(5.0)), temperature=0.1)
    seen = with_others(pairs, z, known, beside(snapshot, rows), gaussian(5.0), temperature=0.1)
    assert torch.equal(l_exp(seen).value, l_exp(pairs).value)
    terms = fairkl_regression(
        bias_groups(z, known, beside(snapshot, rows), gaussian(5.0)), side="both", form="kl"
    )
    assert not any(term.counted.any() for term in terms.values())


def denominators(pairs):
    exponent = pairs.repulsion(damped=True) * (1 - pairs.positiveness)
    return pairs.candidates(exponent).masked_fill(~pairs.allowed, -torch.inf).logsumexp(dim=1)


def true_denominators(z, known, some, kernel, moments, temperature):
    """Every participant of the other sites, twice (two views), shared out between its nodes."""
    pairs = pairs_of_views(z, within_batch(known, kernel), temperature=temperature)
    local = (pairs.similarity * (1 - pairs.positiveness)).masked_fill(~pairs.allowed, -torch.inf)
    others, of_others = some.everybody_but(SITE)
    shares = node_shares(of_others, moments)
    to_nodes = positiveness(known, nodes_known(moments), kernel).repeat_interleave(2, dim=0)
    s = z.reshape(-1, z.shape[-1]) @ others.T / temperature
    remote = s[:, :, None] * (1 - to_nodes[:, None, :]) + (2 * shares).log()[None]
    return torch.cat([local, remote.flatten(1)], dim=1).logsumexp(dim=1)


@pytest.mark.parametrize("temperature", [0.1, 0.2, 0.5])
def test_the_spread_brings_the_pooled_denominator_closer_and_sites_apart_closer_still(
    temperature, generator
):
    some = world(generator, sizes=(60, 30, 50, 40), clusters=0.15)
    z, kernel, known = anchors(generator), gaussian(5.0), batch_of(some, SITE, ROWS)

    def error(**changes):
        moments = settings(**changes)
        at = beside(some.seen_from(SITE, moments), ROWS)
        pairs = pairs_of_views(z, within_batch(known, kernel), temperature=temperature)
        seen = with_others(pairs, z, known, at, kernel, temperature=temperature)
        true = true_denominators(z, known, some, kernel, moments, temperature)
        return (denominators(seen) - true).abs().mean().item()

    first, second = error(order=1), error(order=2)
    apart = error(order=2, components="sites")
    assert second < 0.6 * first
    assert apart < second


def test_nodes_of_too_few_are_not_used(generator):
    some = world(generator, sizes=(8, 12, 9))
    everywhere = some.seen_from(SITE, settings(min_count=1))
    fewer = some.seen_from(SITE, settings(min_count=2))
    assert 0 < len(fewer.others.nodes) < len(everywhere.others.nodes)
    assert (fewer.others.nodes.count >= 2).all()
    # With components the threshold is on all sites together: none is lost for being small.
    apart = some.seen_from(SITE, settings(min_count=2, components="sites"))
    assert set(apart.others.at.tolist()) == set(fewer.others.at.tolist())
    assert apart.others.nodes.count.min() < 2


def test_others_can_be_left_out_of_the_contrast_and_kept_for_debiasing(generator):
    some, z = world(generator), anchors(generator)
    known, kernel = batch_of(some, SITE, ROWS), gaussian(5.0)
    pairs = pairs_of_views(z, within_batch(known, kernel), temperature=0.1)
    at = beside(some.seen_from(SITE, settings(participants=0)), ROWS)
    assert not at.contrasts
    assert with_others(pairs, z, known, at, kernel, temperature=0.1) is pairs
    assert bias_groups(z, known, at, kernel).conflicting.multiplicity.sum() > 0


def test_others_can_stand_for_fewer_than_they_are(generator):
    some, z = world(generator), anchors(generator)
    known, kernel = batch_of(some, SITE, ROWS), gaussian(5.0)
    pairs = pairs_of_views(z, within_batch(known, kernel), temperature=0.1)
    at = beside(some.seen_from(SITE, settings(participants=8)), ROWS)
    seen = with_others(pairs, z, known, at, kernel, temperature=0.1)
    assert seen.log_multiplicity is not None
    assert abs(seen.log_multiplicity.exp()[10:].sum().item() - 2 * 8) < 1e-6
    assert abs(remote_of(known, at, kernel).nodes.count.sum().item() - 8) < 1e-6
    # FairKL weighs the others as many as they are: that is what its threshold counts.
    groups = bias_groups(z, known, at, kernel)
    assert abs(groups.conflicting.multiplicity[0].sum().item() - 12) < 1e-6


def test_moments_count_for_as_much_as_their_nodes_differ(generator):
    """auto: the true number times the variance between the nodes' means, as loops."""
    some, z = world(generator), anchors(generator)
    known, kernel = batch_of(some, SITE, ROWS), gaussian(5.0)
    pairs = pairs_of_views(z, within_batch(known, kernel), temperature=0.1)
    at = beside(some.seen_from(SITE, settings(participants="auto")), ROWS)
    nodes = at.snapshot.candidates.nodes
    everybody = float(nodes.count.sum())
    common = sum(n * m for n, m in zip(nodes.count, nodes.mean, strict=True)) / everybody
    apart = zip(nodes.count, nodes.mean, strict=True)
    variance = sum(float(n * (m - common).square().sum()) for n, m in apart) / everybody
    seen = with_others(pairs, z, known, at, kernel, temperature=0.1)
    found = seen.log_multiplicity.exp()[10:].sum().item()
    assert found == pytest.approx(2 * everybody * variance, rel=1e-9)
    together = replace(nodes, mean=nodes.mean[:1].expand_as(nodes.mean))
    candidates = replace(at.snapshot.candidates, nodes=together)
    at = replace(at, snapshot=replace(at.snapshot, candidates=candidates))
    seen = with_others(pairs, z, known, at, kernel, temperature=0.1)
    assert 0 < seen.log_multiplicity.exp()[10:].sum().item() < 1e-4


def test_feature_moments_of_others_are_those_of_a_batch_that_holds_them(generator):
    some, moments = world(generator, sizes=(30, 12, 25)), settings()
    others, _ = some.everybody_but(SITE)
    own = some.embeddings[SITE]
    vectors = torch.cat([own, others])
    bias = torch.cat([torch.zeros(len(own)), torch.ones(len(others))]).double()
    pooled = feature_moments(vectors, bias)
    found = feature_moments_of_others(own, some.seen_from(SITE, moments).others.nodes)
    for name in ("mean", "spread"):
        torch.testing.assert_close(found[name].value, pooled[name].value[0], rtol=1e-7, atol=1e-9)
        assert found[name].counted == 1


def test_a_snapshot_is_of_the_type_and_place_the_training_runs_in(generator):
    snapshot = world(generator).seen_from(SITE, settings(), float32=True)
    nodes = snapshot.others.nodes
    tensors = (nodes.count, nodes.mean, nodes.covariance)
    assert {t.dtype for t in tensors} == {torch.float32}
    assert np.isfinite(snapshot.others.participants)
