"""The audit has teeth: it rejects the contrast within the batch, and nothing that ships."""

import numpy as np
import pandas as pd
import pytest
import torch

from fedcl.audit.batch import Batch, alike, clipped_sum, losses_of
from fedcl.audit.canary import find_canary
from fedcl.audit.game import (
    Game,
    always,
    certify,
    certify_one_run,
    distance,
    sampled_game,
    scores,
)
from fedcl.data.cohort import Cohort
from fedcl.moments.frozen import frozen_moments
from fedcl.privacy.accounting import NoisySums, calibrate, epsilon_of_sums
from fedcl.privacy.clipping import trainable
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.private_round import plan, private_round
from fedcl.privacy.site_level import noisy_mean
from fedcl.privacy.step_batch import StepBatch
from tests.audit.naive import FEATURES, naive_losses, tiny_network
from tests.builders import (
    FAIRKL,
    PRIVATE_MOMENTS,
    config_of,
    private_tree,
    site_private_tree,
    with_values,
)
from tests.moments.test_private_moments import settings_of, world
from tests.privacy.made import objective_of
from tests.server.test_private_sum import Silence

pytestmark = pytest.mark.slow
DELTA = 1e-5
RELEASED, _, _ = world(torch.Generator().manual_seed(2), dim=6)
LOSSES = {
    "naive": naive_losses,
    "prototypes": losses_of(objective_of()),
    "fairkl": losses_of(
        objective_of(
            prototypes=None, private_moments=PRIVATE_MOMENTS, debias=[{**FAIRKL, "weight": 10.0}]
        ),
        frozen_moments(RELEASED, "c", settings_of(), device=torch.device("cpu")),
    ),
}


def entropy(*names):
    return Entropy.not_private(1, *names)


@pytest.fixture(scope="module")
def found():
    """(losses, others and canary) of each mechanism. Slow (about 4 s): gradient ascent."""
    generator = torch.Generator().manual_seed(0)
    others, players = alike(7, (FEATURES,), generator), {}
    for name, losses in LOSSES.items():
        canary = find_canary(
            losses,
            tiny_network(),
            others,
            clip_norm=1.0,
            restarts=1,
            steps=25,
            generator=generator,
        )
        players[name] = others.followed_by(canary.batch.to(torch.float32)), canary.distance
    return players


def sum_of(name, everybody, clip_norm=1.0):
    return lambda positions: clipped_sum(
        tiny_network(),
        LOSSES[name],
        everybody.at(positions),
        clip_norm=clip_norm,
        gradients="hooks",
    )


def test_the_ascent_finds_what_the_shipped_sum_shows(found):
    """Written apart from the hooks and in float64, it agrees with them."""
    for name, (everybody, moved) in found.items():
        game = always(sum_of(name, everybody), 7, noise_sd=1.0)
        assert distance(game) == pytest.approx(moved, rel=1e-3)
    assert found["naive"][1] > 5
    assert found["prototypes"][1] == pytest.approx(1, abs=1e-5)
    assert found["fairkl"][1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("claim", [1.0, 2.0, 4.0])
def test_only_the_contrast_within_the_batch_is_rejected(found, claim):
    noise = calibrate(target_epsilon=claim, delta=DELTA, sampling_rate=1.0, steps=1)
    for name, (everybody, _) in found.items():
        game = always(sum_of(name, everybody), 7, noise_sd=noise)
        certified = certify(game, runs=10_000, delta=DELTA, entropy=entropy(name))
        assert (certified > claim) == (name == "naive"), (name, certified)


def test_one_run_rejects_the_contrast_within_the_batch_too(found):
    noise = calibrate(target_epsilon=1.0, delta=DELTA, sampling_rate=1.0, steps=1)
    for name, (everybody, _) in found.items():
        game = always(sum_of(name, everybody), 7, noise_sd=noise)
        settings = {"canaries": 1000, "guesses": 100, "delta": DELTA}
        certified = certify_one_run(game, **settings, entropy=entropy(name))
        assert (certified > 1.0) == (name == "naive"), (name, certified)


def test_sampling_and_several_steps_are_audited_at_what_they_cost(found):
    cost = NoisySums(0.8, 0.4, 4)
    claim = epsilon_of_sums([cost], delta=DELTA)
    for name, (everybody, _) in found.items():
        few = everybody.at([0, 1, 2, 7])
        game = sampled_game(sum_of(name, few), 3, rate=0.4, noise_sd=0.8, steps=4)
        assert game.with_canary.sum() == pytest.approx(1)
        assert game.without.sum() == pytest.approx(1)
        certified = certify(game, runs=20_000, delta=DELTA, entropy=entropy(name))
        assert 0.2 * claim < certified
        if name == "prototypes":
            assert certified <= claim


def test_a_site_that_sends_anything_is_hidden_as_claimed(tmp_path):
    noise = calibrate(target_epsilon=2.0, delta=DELTA, sampling_rate=1.0, steps=1)
    config = config_of(site_private_tree(tmp_path, sites=8, clip_norm=0.5))
    generator = torch.Generator().manual_seed(0)
    current = {"weight": torch.randn(5, 4, generator=generator).numpy()}
    sent = [{"weight": current["weight"] + 0.1} for _ in range(7)]
    sent.append({"weight": np.full((5, 4), 1e30, np.float32)})

    def total(positions):
        updates = [(sent[i], 1.0) for i in positions]
        mean = noisy_mean(
            updates, current, config.privacy, config.federation, {"weight"}, Silence()
        )
        return 8 * torch.from_numpy(mean["weight"] - current["weight"]).flatten()

    game = always(total, 7, noise_sd=noise * 0.5)
    assert distance(game) == pytest.approx(0.5, rel=1e-4)
    assert 0.5 < certify(game, runs=20_000, delta=DELTA, entropy=entropy("site")) <= 2.0


def test_a_mechanism_that_forgot_its_noise_or_its_clipping_is_rejected(found):
    everybody, _ = found["prototypes"]
    quiet = always(sum_of("prototypes", everybody), 7, noise_sd=1e-3)
    assert certify(quiet, runs=4000, delta=DELTA, entropy=entropy("quiet")) > 6
    unclipped = always(sum_of("prototypes", everybody, clip_norm=1e9), 7, noise_sd=3.73)
    assert certify(unclipped, runs=4000, delta=DELTA, entropy=entropy("long")) > 4


# --- the game itself ------------------------------------------------------------------------------


def test_a_score_is_the_log_likelihood_ratio_written_out():
    """The same distribution as by loops over outcomes, on noise drawn in the full space."""
    sums = torch.tensor([[0.0, 0, 0], [1, 2, 0], [0.5, 0, 0], [1, 2, 0.7]])
    chances = np.array([0.3, 0.3, 0.2, 0.2]), np.array([0.6, 0, 0.4, 0])
    game, random = Game(sums, *chances, noise_sd=0.9), np.random.default_rng(0)
    for with_canary in (True, False):
        expected = []
        for _ in range(20_000):
            outcome = random.choice(4, p=chances[0 if with_canary else 1])
            seen = sums[outcome].numpy() + 0.9 * random.normal(size=3)
            density = np.exp(-((seen - sums.numpy()) ** 2).sum(axis=1) / (2 * 0.9**2))
            expected.append(np.log(density @ chances[0]) - np.log(density @ chances[1]))
        found = scores(game, 20_000, entropy("ratio"), with_canary=with_canary)
        levels = np.linspace(0.05, 0.95, 7)
        np.testing.assert_allclose(
            np.quantile(found, levels), np.quantile(expected, levels), atol=0.06
        )


def test_two_outcomes_are_told_apart_as_the_noise_allows():
    game = Game(torch.tensor([[3.0, 4.0], [0, 0]]), np.array([1.0, 0]), np.array([0, 1.0]), 2.0)
    with_it = scores(game, 50_000, entropy("with"), with_canary=True)
    without = scores(game, 50_000, entropy("without"), with_canary=False)
    # distance / SD = 2.5: the ratio is normal with mean +-2.5^2 / 2 and SD 2.5.
    assert with_it.mean() == pytest.approx(3.125, abs=0.05)
    assert without.mean() == pytest.approx(-3.125, abs=0.05)
    assert with_it.std() == pytest.approx(2.5, rel=0.02)


def test_a_private_step_is_the_audited_sum_and_its_noise_and_nothing_else(tmp_path):
    """What the audit draws many times is what one step of `private_round` lets go of."""
    tree = with_values(
        private_tree(tmp_path, noise_multiplier=0.7, clip_norm=0.3),
        views={"kind": "none"},
        local__epochs=1,
        local__batch_size=8,
    )
    config = config_of(tree)
    generator = torch.Generator().manual_seed(4)
    everybody = alike(8, (FEATURES,), generator)
    everybody = Batch(everybody.first, everybody.first, everybody.ages)
    rows = np.arange(8)
    cohort = _cohort(everybody)
    network = tiny_network()
    assert plan(config, 8).cost == NoisySums(0.7, 1.0, 1)
    before = torch.cat([p.detach().flatten() for p in trainable(network)])
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    private_round(network, optimizer, cohort, rows, config, entropy("step"), round_number=1)
    released = 8 * (before - torch.cat([p.detach().flatten() for p in trainable(network)]))

    losses = losses_of(config.objective)
    expected = clipped_sum(tiny_network(), losses, everybody, clip_norm=0.3, gradients="loop")
    drawn = StepBatch(tiny_network(), cohort, rows, config, 1, 0)
    torch.testing.assert_close(drawn.losses(range(8)), losses(tiny_network(), everybody))
    source = entropy("step")
    source.uniform(8)  # the coins of who is drawn
    noise = torch.cat([source.normal(p.numel()) for p in trainable(network)])
    torch.testing.assert_close(
        released.double(), expected.double() + 0.7 * 0.3 * noise, rtol=1e-4, atol=1e-5
    )


def _cohort(batch):
    table = pd.DataFrame(
        {
            "participant_id": [f"p{i}" for i in range(len(batch))],
            "scan": [f"p{i}" for i in range(len(batch))],
            "site": "north",
            "age": batch.ages.numpy().astype(float),
            "sex": "",
            "split": "train",
        }
    )
    arrays = batch.first.numpy()
    known = {"age": batch.ages.numpy()}
    return Cohort("made", table, (FEATURES,), lambda row: arrays[row], "none", known)
