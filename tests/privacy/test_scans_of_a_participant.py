"""However many scans a participant has, they are drawn by one coin and clipped as one."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.data.cohort import Cohort
from fedcl.objective import participant_losses
from fedcl.privacy import private_round as rounds
from fedcl.privacy.clipping import clipped_sums, trainable
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.step_batch import StepBatch
from tests.builders import config_of, private_tree
from tests.privacy.made import small_network

WAYS = ["hooks", "loop"]
CLIP_NORM = 0.3


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return config_of(private_tree(tmp_path_factory.mktemp("private")))


def cohort_of(counts, seed=0, spoilt=None):
    """Participants with so many scans each; the scan `spoilt` holds NaN."""
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(len(counts)), counts)
    order = rng.permutation(len(owners))  # scans of a participant need not lie together
    ids = [f"p{owner}" for owner in owners[order]]
    features = rng.normal(50, 20, (len(owners), 6)).astype(np.float32)
    if spoilt is not None:
        features[spoilt % len(owners), 2] = np.nan
    table = pd.DataFrame({"participant_id": ids, "scan": [f"s{number}" for number in order]})
    known = {"age": rng.uniform(20, 80, len(owners)).astype(np.float32)}
    return Cohort("made", table, (6,), features.__getitem__, "", known)


def drawn_of(config, cohort, rows):
    return StepBatch(small_network(config.objective, features=6), cohort, rows, config, 1, 0)


def sum_of(config, batch, gradients):
    network = batch._network
    with clipped_sums(network, gradients=gradients, clip_norm=CLIP_NORM) as total:
        return torch.cat([g.flatten() for g in total(batch.losses, batch.owners)])


@pytest.mark.slow
@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    spoilt=st.none() | st.integers(0, 20),
    gradients=st.sampled_from(WAYS),
)
def test_removing_anybody_moves_the_sum_by_at_most_the_norm(
    config, counts, seed, spoilt, gradients
):
    cohort = cohort_of(counts, seed, spoilt)
    rows = np.arange(len(cohort))
    everybody = sum_of(config, drawn_of(config, cohort, rows), gradients)
    assert torch.isfinite(everybody).all()
    owners = cohort.owners(rows)
    for participant in range(len(counts)):
        without = drawn_of(config, cohort, rows[owners != participant])
        less = sum_of(config, without, gradients)
        assert (everybody - less).norm() <= CLIP_NORM * (1 + 1e-5)


@pytest.mark.parametrize("gradients", WAYS)
@pytest.mark.parametrize("counts", [(1, 1, 1), (3, 1, 2), (2, 2), (5,)])
def test_the_sum_is_that_of_the_mean_over_each_participants_scans(config, counts, gradients):
    cohort = cohort_of(counts)
    batch = drawn_of(config, cohort, np.arange(len(cohort)))
    network, owners = batch._network, np.asarray(batch.owners)
    clipped = []
    for participant in range(len(counts)):
        losses = []
        for scan in np.flatnonzero(owners == participant):
            views = tuple(view[[scan]] for view in batch._views)
            known = {"age": batch._known["age"][[scan]]}
            losses.append(participant_losses(network, views, known, config.objective))
        parts = torch.autograd.grad(torch.cat(losses).mean(), trainable(network))
        gradient = torch.cat([part.flatten() for part in parts])
        clipped.append(gradient * min(1.0, CLIP_NORM / float(gradient.norm())))
    found = sum_of(config, batch, gradients)
    torch.testing.assert_close(found, sum(clipped), rtol=1e-4, atol=1e-6)


def test_hooks_equal_the_loop_with_ragged_counts(config):
    cohort = cohort_of((1, 5, 2, 3), spoilt=4)
    batch = drawn_of(config, cohort, np.arange(len(cohort)))
    found = [sum_of(config, batch, gradients) for gradients in WAYS]
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_a_scan_that_is_no_number_takes_the_participant_out_and_nobody_else(config):
    cohort = cohort_of((2, 3, 1), spoilt=0)
    rows = np.arange(len(cohort))
    others = rows[cohort.owners(rows) != 0]  # the first row's participant counts as 0
    for gradients in WAYS:
        found = sum_of(config, drawn_of(config, cohort, rows), gradients)
        less = sum_of(config, drawn_of(config, cohort, others), gradients)
        torch.testing.assert_close(found, less, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_step_draws_participants_with_all_their_scans(config, monkeypatch):
    cohort = cohort_of((1, 4, 2, 1, 3, 2, 1, 5))
    seen = []

    class Watched(StepBatch):
        def __init__(self, network, cohort, drawn, *rest):
            seen.append(set(drawn.tolist()))
            super().__init__(network, cohort, drawn, *rest)

    monkeypatch.setattr(rounds, "StepBatch", Watched)
    network = small_network(config.objective, features=6)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    rows = np.arange(len(cohort))
    entropy = Entropy.not_private(1)
    trained = rounds.private_round(
        network, optimizer, cohort, rows, config, entropy, round_number=1
    )
    plan = rounds.plan(config, 8)
    assert (trained.participants, trained.steps) == (8, plan.cost.steps)
    owners = cohort.owners(rows)
    for drawn in seen:
        who = {owners[row] for row in drawn}
        assert drawn == {row for row in rows if owners[row] in who}
    assert len({frozenset(drawn) for drawn in seen}) > 1
