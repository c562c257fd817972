"""One participant moves the clipped sum by at most the norm, whatever they hold."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.losses.l_exp import l_exp
from fedcl.losses.prototypes import pairs_with_prototypes, prototype_ages, prototype_curve
from fedcl.models.network import Network
from fedcl.models.projector import Projector
from fedcl.models.resnet import ResNet18
from fedcl.objective import objective, participant_losses
from fedcl.privacy.clipping import clipped_sums, trainable
from tests.privacy.made import Batch, objective_of, small_network

pytestmark = pytest.mark.slow

LOSSES = ["l_exp", "l_thr", "y_aware", "info_nce", "l1", "l2"]
WAYS = ["hooks", "loop"]


def sum_of(batch, *, clip_norm, gradients="loop"):
    with clipped_sums(batch.network, gradients=gradients, clip_norm=clip_norm) as total:
        return torch.cat([g.flatten() for g in total(batch.losses, range(len(batch)))])


def one_gradient(batch, participant):
    loss = batch.losses([participant]).sum()
    found = torch.autograd.grad(
        loss, trainable(batch.network), allow_unused=True, materialize_grads=True
    )
    return torch.cat([g.flatten() for g in found])


@pytest.mark.parametrize("gradients", WAYS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_sum_is_that_of_each_participants_gradient_clipped(loss, gradients, generator):
    task = objective_of(loss)
    batch = Batch(small_network(task), task, generator)
    norms = [one_gradient(batch, i).norm() for i in range(len(batch))]
    clip_norm = float(torch.stack(norms).median())  # some are clipped, some are not
    expected = sum(
        one_gradient(batch, i) * min(1.0, clip_norm / norms[i]) for i in range(len(batch))
    )
    found = sum_of(batch, clip_norm=clip_norm, gradients=gradients)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * clip_norm)


@pytest.mark.slow
@given(seed=st.integers(0, 10_000), loss=st.sampled_from(LOSSES), gradients=st.sampled_from(WAYS))
def test_removing_anybody_moves_the_sum_by_at_most_the_norm(seed, loss, gradients):
    generator = torch.Generator().manual_seed(seed)
    task = objective_of(loss)
    batch = Batch(small_network(task), task, generator, count=4)
    batch.views[0][2] = batch.views[0][1]  # the same scan twice
    clip_norm = 0.3
    everybody = sum_of(batch, clip_norm=clip_norm, gradients=gradients)
    for participant in range(len(batch)):
        less = sum_of(batch.without(participant), clip_norm=clip_norm, gradients=gradients)
        assert (everybody - less).norm() <= clip_norm * (1 + 1e-5)


@pytest.mark.parametrize("gradients", WAYS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30, -1e30])
def test_a_record_that_is_no_number_adds_at_most_the_norm(value, gradients, generator):
    task = objective_of()
    batch = Batch(small_network(task), task, generator)
    batch.views[0][1, 0] = value
    found = sum_of(batch, clip_norm=0.5, gradients=gradients)
    less = sum_of(batch.without(1), clip_norm=0.5, gradients=gradients)
    assert torch.isfinite(found).all()
    assert (found - less).norm() <= 0.5 * (1 + 1e-5)
    if value != value:
        torch.testing.assert_close(found, less, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("gradients", WAYS)
def test_an_age_that_is_not_known_leaves_the_others_alone(gradients, generator):
    task = objective_of()
    batch = Batch(small_network(task), task, generator)
    batch.ages[3] = float("nan")
    found = sum_of(batch, clip_norm=0.5, gradients=gradients)
    less = sum_of(batch.without(3), clip_norm=0.5, gradients=gradients)
    assert torch.isfinite(found).all()
    assert (found - less).norm() <= 0.5 * (1 + 1e-5)


@pytest.mark.parametrize("gradients", WAYS)
def test_nobody_drawn_is_a_sum_of_zeros(gradients, generator):
    task = objective_of()
    batch = Batch(small_network(task), task, generator, count=1).without(0)
    assert not sum_of(batch, clip_norm=1.0, gradients=gradients).any()


def test_nothing_of_the_hooks_stays_behind(generator):
    task = objective_of()
    batch = Batch(small_network(task), task, generator)
    before = {name for p in batch.network.parameters() for name in p.__dict__}
    first = sum_of(batch, clip_norm=0.5, gradients="hooks")
    second = sum_of(batch, clip_norm=0.5, gradients="hooks")
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    for p in batch.network.parameters():
        assert p.grad is None
        assert getattr(p, "grad_sample", None) is None
    assert before == set()


@pytest.mark.parametrize("gradients", WAYS)
def test_a_volume_encoder_clips_alike_by_hooks_and_one_by_one(gradients, generator):
    """GroupNorm, strided convolutions and the padded stem, through the hooks."""
    task = objective_of()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = ResNet18(2, channels=1, norm="group")
        network = Network(encoder, Projector(encoder.width, hidden=4, dim=4), None)
    views = tuple(torch.rand(3, 1, 10, 12, 10, generator=generator) for _ in range(2))
    ages = torch.tensor([31.0, 64.0, 50.0])

    def losses(positions):
        at = list(positions)
        return participant_losses(network, (views[0][at], views[1][at]), {"age": ages[at]}, task)

    with clipped_sums(network, gradients=gradients, clip_norm=0.2) as total:
        found = torch.cat([g.flatten() for g in total(losses, range(3))])
    clipped = []
    for i in range(3):
        parts = torch.autograd.grad(losses([i]).sum(), trainable(network))
        one = torch.cat([g.flatten() for g in parts])
        clipped.append(one * min(1.0, 0.2 / float(one.norm())))
    torch.testing.assert_close(found, sum(clipped), rtol=1e-3, atol=1e-6)


# --- the attack: does clipping each gradient bound what one participant does? ---------------------


def attack(losses_of, start, steps=30, clip_norm=1.0):
    """Find, by gradient ascent, a participant who moves the clipped sum most when removed.

    `losses_of(weight, rows)` gives one loss per row of a linear encoder.
    """
    rows, weight = start

    def clipped(rows):
        weight_ = weight.clone().requires_grad_()
        losses = losses_of(weight_, rows)
        total = torch.zeros_like(weight)
        for one in losses:
            (g,) = torch.autograd.grad(one, weight_, retain_graph=True, create_graph=True)
            total = total + g * (clip_norm / g.norm().clamp(min=1e-12)).clamp(max=1.0)
        return total

    victim = rows[:1].clone().requires_grad_()
    optimizer = torch.optim.Adam([victim], lr=0.1)
    most = 0.0
    for _ in range(steps):
        moved = (clipped(torch.cat([victim, rows[1:]])) - clipped(rows[1:])).norm()
        most = max(most, float(moved.detach()))
        optimizer.zero_grad()
        (-moved).backward()
        optimizer.step()
    return most


def against_prototypes(embeddings, ages, task):
    """L_exp of one view each, written out: differentiable twice, which the library's is not."""
    points = prototype_ages(task.prototypes)
    curve = prototype_curve(points, embeddings.shape[1], bandwidth_years=task.prototypes.bandwidth)
    curve = curve.to(embeddings.dtype)
    weights = torch.exp(-(((ages[:, None] - points) / 8) ** 2) / 2).to(embeddings.dtype)
    similarity = embeddings @ curve.T / task.temperature
    count = task.prototypes.multiplicity
    mass = count * torch.exp(similarity * (1 - weights))
    one_less = mass.sum(dim=1, keepdim=True) - mass / count  # one of its participants, not all
    log_ratio = similarity - one_less.log()
    return -(weights * log_ratio).sum(dim=1) / weights.sum(dim=1)


@pytest.mark.slow
def test_the_attack_breaks_a_contrast_within_the_batch_and_not_one_against_prototypes(generator):
    """Slow (about 4 s): second derivatives through every participant's gradient."""
    task = objective_of()
    ages = torch.linspace(48, 52, 12)
    # Scans that are all alike: who comes from elsewhere then pulls everybody the same way.
    rows = torch.ones(12, 6) + 0.02 * torch.randn(12, 6, generator=generator)
    weight = torch.randn(4, 6, generator=generator)

    def embed(weight, rows):
        return torch.nn.functional.normalize(rows @ weight.T, dim=1)

    def decomposable(weight, rows):
        return against_prototypes(embed(weight, rows), ages[-len(rows) :], task)

    def within_batch(weight, rows):
        embeddings, years = embed(weight, rows), ages[-len(rows) :]
        itself = torch.eye(len(rows), dtype=torch.bool)
        close = torch.exp(-((years[:, None] - years) ** 2) / 128).masked_fill(itself, 0)
        similarity = (embeddings @ embeddings.T / 0.1).masked_fill(itself, -1e4)
        return -(close * similarity.log_softmax(dim=1)).sum(dim=1) / close.sum(dim=1)

    pairs = pairs_with_prototypes(
        embed(weight, rows)[:, None],
        {"age": ages},
        task.prototypes,
        task.kernel,
        temperature=task.temperature,
    )
    torch.testing.assert_close(l_exp(pairs).value, decomposable(weight, rows))
    assert attack(decomposable, (rows, weight)) <= 1 + 1e-4
    assert attack(within_batch, (rows, weight)) > 3


def test_a_loss_against_prototypes_is_what_the_whole_objective_minimises(generator):
    """Without privacy the same objective is the mean over participants of the same losses."""
    task = objective_of()
    batch = Batch(small_network(task), task, generator, count=4)
    whole = objective(batch.network, tuple(batch.views), {"age": batch.ages}, task).value
    each = batch.losses(range(4))
    torch.testing.assert_close(whole, each.mean())
    moved = [view.clone() for view in batch.views]
    moved[0][2] += 5
    batch.views = moved
    again = batch.losses(range(4))
    torch.testing.assert_close(again[[0, 1, 3]], each[[0, 1, 3]], rtol=0, atol=0)
    assert again[2] != each[2]
