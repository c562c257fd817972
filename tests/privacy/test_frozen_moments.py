"""Losses against released moments: each participant's is their own, FairKL's too."""

import pytest
import torch

from fedcl.moments.frozen import frozen_moments
from fedcl.objective import participant_losses
from fedcl.privacy.clipping import clipped_sums
from tests.builders import FAIRKL, PRIVATE_MOMENTS
from tests.moments.test_private_moments import settings_of, world
from tests.privacy.made import PROTOTYPES, Batch, objective_of, small_network

STRONG = {**FAIRKL, "weight": 10.0}
OBJECTIVES = {
    "moments": objective_of(private_moments=PRIVATE_MOMENTS, prototypes=None),
    "moments and fairkl": objective_of(
        private_moments=PRIVATE_MOMENTS, prototypes=None, debias=[STRONG]
    ),
    "prototypes and fairkl": objective_of(
        private_moments=PRIVATE_MOMENTS, prototypes=PROTOTYPES, debias=[STRONG]
    ),
}


class FrozenBatch(Batch):
    """A batch whose losses compare with released moments of dimension 6."""

    frozen = None

    def losses(self, positions):
        at = list(positions)
        views = tuple(view[at] for view in self.views)
        known = {"age": self.ages[at]}
        return participant_losses(self.network, views, known, self.task, self.frozen)


@pytest.fixture(params=OBJECTIVES)
def batch(request, generator, monkeypatch):
    released, _, _ = world(generator, dim=6)
    device = torch.device("cpu")
    frozen = frozen_moments(released, "c", settings_of(), device=device)
    monkeypatch.setattr(FrozenBatch, "frozen", frozen)
    task = OBJECTIVES[request.param]
    return FrozenBatch(small_network(task), task, generator)


def removed(batch, participant):
    other = batch.without(participant)
    other.__class__ = FrozenBatch
    return other


def summed(batch, gradients, clip_norm=0.5):
    with clipped_sums(batch.network, gradients=gradients, clip_norm=clip_norm) as total:
        return torch.cat([g.flatten() for g in total(batch.losses, range(len(batch)))])


@pytest.mark.slow
@pytest.mark.parametrize("gradients", ["hooks", "loop"])
@pytest.mark.parametrize("value", [0.3, float("nan"), float("inf"), 1e30])
def test_removing_anybody_moves_the_sum_by_at_most_the_norm(batch, gradients, value):
    batch.views[0][2, 1] = value
    whole = summed(batch, gradients)
    for participant in range(len(batch)):
        moved = (whole - summed(removed(batch, participant), gradients)).norm()
        assert moved <= 0.5 * (1 + 1e-5)


def test_a_loss_does_not_move_with_the_others(batch):
    alone = batch.losses([1])[0]
    batch.views[0][0] += 5
    batch.ages[3] = 11
    torch.testing.assert_close(batch.losses(range(5))[1], alone, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_one_does_not_move_with_the_others(batch):
    def gradient(losses, position):
        parts = torch.autograd.grad(losses[position], list(batch.network.parameters()))
        return torch.cat([g.flatten() for g in parts])

    alone = gradient(batch.losses([1]), 0)
    batch.views[1][0] *= -3
    torch.testing.assert_close(gradient(batch.losses(range(5)), 1), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_attack_stays_within_the_norm(batch):
    """Gradient ascent on one participant's views, to move the clipped sum most."""
    victims = removed(batch, 0)
    without = summed(victims, "loop", clip_norm=1.0).detach()
    moved = []
    for _ in range(25):
        view = batch.views[0][0].clone().requires_grad_()
        rows = batch.views[0].clone()
        rows[0] = view
        batch.views[0] = rows
        loss = batch.losses([0]).sum()
        parts = torch.autograd.grad(loss, list(batch.network.parameters()), create_graph=True)
        size = torch.cat([g.flatten() for g in parts]).norm()
        step = torch.autograd.grad(size, view)[0]
        batch.views[0] = rows.detach()
        batch.views[0][0] += 0.5 * step / step.norm().clamp(min=1e-12)
        moved.append(float((summed(batch, "loop", clip_norm=1.0).detach() - without).norm()))
    assert max(moved) <= 1 + 1e-5
    assert max(moved) > 0.99  # the attack reaches what clipping allows


def test_fairkl_moves_the_gradient(generator):
    """It does something: with and without it participants are pulled to different places."""
    released, _, _ = world(generator, dim=6)
    frozen = frozen_moments(released, "c", settings_of(), device=torch.device("cpu"))
    with_it, without = OBJECTIVES["moments and fairkl"], OBJECTIVES["moments"]
    batch = Batch(small_network(without), without, generator)
    known, views = {"age": batch.ages}, tuple(batch.views)
    first, second = (
        participant_losses(batch.network, views, known, task, frozen) for task in (without, with_it)
    )
    assert ((second - first) > 1e-4).all()
