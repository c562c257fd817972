"""Many participants in one column: exact where it should be, bounded where it is approximate."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.kernels.positiveness import positiveness, within_batch
from fedcl.losses.eps_sup_con import eps_sup_con, eps_sup_info_nce
from fedcl.losses.info_nce import eps_info_nce, info_nce
from fedcl.losses.l_exp import l_exp
from fedcl.losses.l_thr import l_thr
from fedcl.losses.nodes import Nodes, RemoteParticipants, log_mean_exp
from fedcl.losses.pairs import beside_nodes, pairs_of_views
from fedcl.losses.soft_targets import soft_sup_con, x_clr
from fedcl.losses.sup_con import sup_con
from fedcl.losses.uniformity import (
    decoupled_uniformity,
    decoupled_uniformity_across,
)
from fedcl.losses.yaware import y_aware
from tests.losses.made import CLASSES, ages, embeddings, gaussian, gradient

SOFT = {
    "l_exp": l_exp,
    "l_thr": l_thr,
    "y_aware": y_aware,
    "info_nce": info_nce,
    "eps_info_nce": lambda pairs: eps_info_nce(pairs, epsilon=0.3),
    "x_clr": lambda pairs: x_clr(pairs, label_temperature=0.2),
    "soft_sup_con": lambda pairs: soft_sup_con(pairs, label_temperature=0.2),
}
OF_CLASSES = {
    "sup_con": sup_con,
    "eps_sup_info_nce": lambda pairs: eps_sup_info_nce(pairs, epsilon=0.3),
    "eps_sup_con": lambda pairs: eps_sup_con(pairs, epsilon=0.3),
}
NODE_AGES = torch.tensor([20.0, 30.0, 45.0], dtype=torch.float64)
COUNTS = [3, 1, 4]


def unit(generator, rows, dim=5):
    z = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(z, dim=1)


def nodes_of(groups) -> Nodes:
    """The nodes whose participants are given."""
    mean = torch.stack([z.mean(dim=0) for z in groups])
    covariance = torch.stack([(z - z.mean(0)).T @ (z - z.mean(0)) / len(z) for z in groups])
    return Nodes(torch.tensor([len(z) for z in groups]).double(), mean, covariance)


def with_nodes(z, y, nodes, kernel, *, temperature=0.5, order=2):
    weights = within_batch({"age": y}, kernel).to(z.dtype)
    pairs = pairs_of_views(z, weights, temperature=temperature)
    to_nodes = positiveness({"age": y}, {"age": NODE_AGES}, kernel)
    return beside_nodes(pairs, z, nodes, to_nodes, temperature=temperature, order=order)


def with_participants(z, y, groups, kernel, *, temperature=0.5):
    """The same batch against every one of the nodes' participants, each with as many views."""
    weights = within_batch({"age": y}, kernel).to(z.dtype)
    pairs = pairs_of_views(z, weights, temperature=temperature)
    views = z.shape[1]
    rows = z.reshape(-1, z.shape[-1])
    remote = torch.cat(groups).repeat_interleave(views, dim=0)
    at = torch.cat([torch.full((len(g) * views,), i) for i, g in enumerate(groups)])
    to_nodes = positiveness({"age": y}, {"age": NODE_AGES}, kernel).repeat_interleave(views, dim=0)
    further = to_nodes[:, at]
    anchors, candidates = pairs.participants
    numbers = torch.cat([candidates, 100 + torch.arange(len(remote))])
    return replace(
        pairs,
        similarity=torch.cat([pairs.similarity, rows @ remote.T / temperature], dim=1),
        positiveness=torch.cat([pairs.positiveness, further], dim=1),
        allowed=torch.cat([pairs.allowed, torch.ones_like(further, dtype=torch.bool)], dim=1),
        participants=(anchors, numbers),
    )


def assert_same(first, second, z, tolerance=1e-8):
    leaf, other = z.clone().requires_grad_(), z.clone().requires_grad_()
    a, b = first(leaf), second(other)
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        gradient(a, leaf), gradient(b, other), rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("name", [*SOFT, *OF_CLASSES])
@given(seed=st.integers(0, 2**31))
def test_a_node_of_equal_embeddings_counts_as_its_participants(name, seed):
    generator = torch.Generator().manual_seed(seed)
    z = embeddings(generator)
    y = torch.tensor([20.0, 30, 30, 45, 20, 22, 45], dtype=torch.float64)
    kernel = CLASSES if name in OF_CLASSES else gaussian(5.0)
    loss = {**SOFT, **OF_CLASSES}[name]
    groups = [one.expand(n, -1) for one, n in zip(unit(generator, 3), COUNTS, strict=True)]
    nodes = nodes_of(groups)
    assert_same(
        lambda leaf: loss(with_nodes(leaf, y, nodes, kernel)).value,
        lambda leaf: loss(with_participants(leaf, y, groups, kernel)).value,
        z,
        tolerance=1e-6,
    )


@given(seed=st.integers(0, 2**31))
def test_attraction_by_a_spread_out_node_is_exact(seed):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator), ages(generator)
    groups = [unit(generator, n) for n in COUNTS]

    def attraction(pairs):
        return (pairs.weights(pairs.positiveness) * pairs.similarity).sum(dim=1)

    assert_same(
        lambda leaf: attraction(with_nodes(leaf, y, nodes_of(groups), gaussian(9.0))),
        lambda leaf: attraction(with_participants(leaf, y, groups, gaussian(9.0))),
        z,
    )


@given(
    seed=st.integers(0, 2**31),
    power=st.floats(0.01, 1),
    temperature=st.sampled_from([0.05, 0.1, 0.5, 5.0]),
)
def test_the_mean_exponential_lies_between_the_mean_and_the_largest(seed, power, temperature):
    generator = torch.Generator().manual_seed(seed)
    cosines = 2 * torch.rand(40, generator=generator, dtype=torch.float64) - 1
    s = cosines / temperature
    mean, spread = s.mean().reshape(1, 1), s.var(correction=0).reshape(1, 1)
    found = power * log_mean_exp(mean, spread, power, largest=1 / temperature).item()
    assert power * mean.item() - 1e-9 <= found <= power / temperature + 1e-9


@pytest.mark.parametrize("power", [0.2, 1.0])
def test_two_points_at_one_sd_are_exact(power):
    for mean, deviation in [(0.1, 0.4), (-3.0, 2.5), (4.0, 1e-4)]:
        points = torch.tensor([mean - deviation, mean + deviation], dtype=torch.float64)
        exact = (power * points).logsumexp(dim=0).sub(torch.tensor(2.0).log()) / power
        m, v = (torch.tensor([[x]], dtype=torch.float64) for x in (mean, deviation**2))
        found = log_mean_exp(m, v, power, largest=20.0)
        torch.testing.assert_close(found.squeeze(), exact, rtol=1e-6, atol=1e-6)


def test_little_spread_is_the_cumulant_and_none_the_mean():
    mean = torch.tensor([[0.3, -2.0]], dtype=torch.float64)
    spread = torch.tensor([[0.0002, 0.0]], dtype=torch.float64)
    found = log_mean_exp(mean, spread, 0.5, largest=10.0)
    torch.testing.assert_close(found, mean + 0.25 * spread, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("mean", [-10.0, 0.0, 9.999, 10.0])
@pytest.mark.parametrize("spread", [0.0, 1e-12, 1.0, 100.0])
def test_gradients_stay_finite_at_the_edges(mean, spread):
    m = torch.tensor([[mean]], requires_grad=True)
    v = torch.tensor([[spread]], requires_grad=True)
    log_mean_exp(m, v, torch.tensor([[0.0]]), largest=10.0).sum().backward()
    assert m.grad.isfinite().all()
    assert v.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [0.1, 0.2, 1.0])
def test_second_order_is_closer_than_first_on_clusters(generator, temperature):
    """The true denominator against the mean alone and against the spread too, clustered nodes."""
    z, y = embeddings(generator, participants=20), ages(generator, 20)
    groups = []
    for size in (40, 25, 60):
        centres = unit(generator, 3)
        which = torch.randint(0, 3, (size,), generator=generator)
        noise = 0.2 * torch.randn(size, 5, generator=generator, dtype=torch.float64)
        groups.append(torch.nn.functional.normalize(centres[which] + noise, dim=1))
    nodes, kernel = nodes_of(groups), gaussian(5.0)

    for damped in (False, True):
        true = with_participants(z, y, groups, kernel, temperature=temperature)
        exact = _log_denominator(true, damped)
        error = {}
        for order in (1, 2):
            pairs = with_nodes(z, y, nodes, kernel, temperature=temperature, order=order)
            error[order] = (_log_denominator(pairs, damped) - exact).abs().mean().item()
        assert error[2] < 0.7 * error[1]


def _log_denominator(pairs, damped):
    r = pairs.repulsion(damped=damped)
    exponent = r * (1 - pairs.positiveness) if damped else r
    exponent = pairs.candidates(exponent).masked_fill(~pairs.allowed, -torch.inf)
    return exponent.logsumexp(dim=1)


@given(seed=st.integers(0, 2**31))
def test_uniformity_meets_a_node_as_its_participants(seed):
    generator = torch.Generator().manual_seed(seed)
    z = embeddings(generator)
    groups = [one.expand(n, -1) for one, n in zip(unit(generator, 3), COUNTS, strict=True)]
    remote = torch.cat(groups)

    def slow(leaf):
        centroids = leaf.mean(dim=1)
        total, pairs = 0.0, 0
        for i in range(len(centroids)):
            for j in range(i + 1, len(centroids)):
                total, pairs = total + _closeness(centroids[i], centroids[j]), pairs + 1
            for other in remote:
                total, pairs = total + _closeness(centroids[i], other), pairs + 1
        return (total / pairs).log().reshape(1)

    def ours(leaf):
        return decoupled_uniformity_across(
            leaf, RemoteParticipants(nodes_of(groups), None, 2)
        ).value[None]

    assert_same(ours, slow, z, tolerance=1e-6)


def _closeness(first, second):
    return torch.exp(-(first - second).square().sum())


@given(seed=st.integers(0, 2**31))
def test_uniformity_with_a_prior_weighs_a_node_by_its_participants(seed):
    """As if every participant of the node stood in the regression at the node's age."""
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator), ages(generator)
    groups = [unit(generator, n) for n in COUNTS]
    kernel = gaussian(8.0)
    apart = torch.cat([y, NODE_AGES])
    prior = within_batch({"age": apart}, kernel)
    at = torch.repeat_interleave(NODE_AGES, torch.tensor(COUNTS))
    every = torch.cat([y, at])
    full = positiveness({"age": every}, {"age": every}, kernel)
    n = len(every)

    def slow(leaf):
        points = torch.cat([leaf.mean(dim=1), *groups])
        added = 0.7 * n**0.5 * torch.eye(n, dtype=torch.float64)
        smooth = full @ torch.linalg.solve(full + added, points)
        total, pairs = 0.0, 0
        for i in range(len(y)):
            for j in range(i + 1, n):
                total, pairs = total + _closeness(smooth[i], smooth[j]), pairs + 1
        return (total / pairs).log().reshape(1)

    def ours(leaf):
        remote = RemoteParticipants(nodes_of(groups), prior, 2)
        return decoupled_uniformity_across(leaf, remote, ridge=0.7).value[None]

    assert_same(ours, slow, z, tolerance=1e-6)


def test_uniformity_with_nobody_else_is_the_local_one(generator):
    z = embeddings(generator)
    nobody = Nodes(torch.zeros(0), torch.zeros(0, 5), torch.zeros(0, 5, 5))
    for prior in (None, within_batch({"age": ages(generator)}, gaussian(5.0)).double()):
        found = decoupled_uniformity_across(z, RemoteParticipants(nobody, prior, 2)).value
        torch.testing.assert_close(found, decoupled_uniformity(z, prior).value)
