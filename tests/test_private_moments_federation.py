"""Releases of moments in a federation: paid for, added up, kept over a kill, refused if wrong."""

import numpy as np
import pytest
import torch

from fedcl.config.loading import resolved_text
from fedcl.data.cohort import TRAIN
from fedcl.data.open import open_experiment
from fedcl.errors import ConfigError, RoundError, RunError
from fedcl.experiment.run import run_experiment
from fedcl.experiment.simulation import simulate_federation
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import PrivateMomentShare
from fedcl.models.network import build_network
from fedcl.models.public_scale import read_public_scale
from fedcl.models.travelling import read_state, travelling
from fedcl.moments.grid import node_shares
from fedcl.moments.private import private_sums
from fedcl.privacy.accounting import NoisySums
from fedcl.run_folder.folder import RunFolder
from fedcl.sites.private_moments import share_private_moments
from fedcl.sites.site import open_site
from fedcl.sites.training import train
from tests.builders import (
    FAIRKL,
    MOMENTS,
    PRIVATE_MOMENTS,
    central_private_tree,
    config_of,
    private_tree,
    with_values,
    write_table,
)
from tests.progress import Told
from tests.test_federation import SITES, another_folder, assert_identical, final_weights
from tests.test_private_federation import TRAINING, ledger_of

pytestmark = pytest.mark.slow

CONDITIONAL_MEANS = {
    "name": "conditional_means",
    "weight": 1.0,
    "against": "site",
    "vectors": "embedding",
}
MODES = {"participant": private_tree, "participant_central": central_private_tree}


@pytest.fixture(params=MODES)
def tree(request, tmp_path):
    write_table(tmp_path / "data")
    return _with_moments(MODES[request.param](tmp_path))


def _with_moments(tree, **changes):
    return with_values(
        tree,
        objective__prototypes=None,
        objective__private_moments={**PRIVATE_MOMENTS, **changes},
        objective__debias=[FAIRKL],
        federation__rounds=3,
    )


def released(config, number):
    return RunFolder(config.output.path).load(number).released


@pytest.mark.slow
def test_a_release_is_paid_for_before_every_second_round(tree):
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    for site in TRAINING:
        charges = ledger_of(config, site).charges()
        kinds = [(c.what == "moments", c.round) for c in charges]
        assert kinds == [(True, 1), (False, 1), (False, 2), (True, 3), (False, 3)]
        assert {c.cost for c in charges if c.what == "moments"} == {NoisySums(3.0, 1.0, 1)}
    assert released(config, 2).round == 1
    assert released(config, 3).round == 3
    assert released(config, 3).slots == ("12", "south")  # north has three participants
    assert released(config, 3).sizes == (3, 11, 6)


@pytest.mark.process
def test_workers_and_resumption_change_nothing(tree):
    tree = with_values(tree, privacy__test_seed=5)
    whole = config_of(tree)
    simulate_federation(whole, sites=SITES, resume=False)
    for rounds, workers in ((1, 1), (2, 2), (3, 1)):
        changes = {"federation__rounds": rounds, "compute__workers": workers}
        part = config_of(another_folder(with_values(tree, **changes), "-parts"))
        simulate_federation(part, sites=SITES, resume=True)
    assert_identical(final_weights(whole), final_weights(part))


def test_without_noise_the_release_is_that_of_everybody_at_once(tmp_path):
    write_table(tmp_path / "data")
    tree = _with_moments(central_private_tree(tmp_path), noise_multiplier=1e-9)
    config = config_of(with_values(tree, federation__rounds=1, privacy__budget=1e30))
    simulate_federation(config, sites=SITES, resume=False)
    cohort = open_experiment(config)
    network = build_network(config, cohort.shape, seed=config.seed)
    network.set_feature_scale(*read_public_scale(config.encoder.public_scale, cohort.shape[0]))
    network.eval()
    settings = config.objective.private_moments
    total = None
    for site, slot in (("north", 0), ("12", 1), ("south", 2)):
        rows = cohort.rows(split=TRAIN, site=site)
        with torch.no_grad():
            z = network.project(network.represent(torch.from_numpy(cohort.load(rows))))
        ages = torch.as_tensor(cohort.known_of(rows, ["age"])["age"])
        shares = node_shares({"age": ages}, settings)
        part = private_sums(z, shares, torch.zeros(4, 4), settings, slot=slot, slots=2)
        total = part if total is None else total + part
    for name, array in released(config, 1).sums.arrays().items():
        np.testing.assert_allclose(array, total.arrays()[name], atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_a_target_covers_the_releases_too(tree):
    tree = with_values(tree, privacy__noise_multiplier=None, privacy__target_epsilon=2)
    config = config_of(_with_moments(tree, noise_multiplier=4.0))
    simulate_federation(config, sites=SITES, resume=False)
    for site in TRAINING:
        assert 1.8 <= ledger_of(config, site).epsilon(delta=1e-5) <= 2


def test_a_share_is_never_without_noise(tree):
    config = config_of(tree)
    site, order = open_site(resolved_text(config), 0), _order(config)
    first, second = (share_private_moments(site, order) for _ in range(2))
    assert isinstance(first, PrivateMomentShare)
    for name, array in first.moments.arrays().items():
        another = second.moments.arrays()[name]
        silent = (array == 0) & (another == 0)
        assert ((array != another) | silent).all()
        if name != "residuals":
            assert not silent.any()
    # By itself a site noises its own row alone; together every row has a part of the noise.
    rows = first.moments.residuals.any(axis=1)
    assert rows.sum() == (1 if config.privacy.mode == "participant" else 3)


def test_training_without_the_released_moments_is_refused(tmp_path):
    write_table(tmp_path / "data")
    config = config_of(_with_moments(private_tree(tmp_path)))
    with pytest.raises(RunError, match="no released moments that fit"):
        train(open_site(resolved_text(config), 0), _order(config))


def test_a_spent_budget_ends_with_a_message(tree):
    config = config_of(with_values(tree, privacy__budget=0.01))
    with pytest.raises(RoundError, match="round 1, moments: 0 valid updates from 3 sites"):
        simulate_federation(config, sites=SITES, resume=False)


@pytest.mark.slow
def test_sites_too_small_for_a_mean_of_their_own_are_named(tree):
    told = Told()
    run_experiment(
        "simulate",
        config_of(with_values(tree, federation__rounds=1)),
        resume=False,
        restart=False,
        progress=told,
        page=False,
    )
    (line,) = [line for line in told.lines if "Too small for a mean of their own" in line]
    assert line.endswith("site north.")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective__debias": [{**FAIRKL, "against": "sex"}]}, "one of them changes everybody's"),
        ({"objective__debias": [{**FAIRKL, "vectors": "representation"}]}, "changes everybody's"),
        ({"objective__debias": [CONDITIONAL_MEANS]}, "changes everybody's"),
        ({"objective__loss": "decoupled_uniformity"}, "compares participants of a batch"),
        ({"privacy": {"mode": "none"}}, "a release is paid for by the sites' ledgers"),
    ],
)
def test_what_is_not_a_function_of_one_participant_is_refused(tree, changes, words):
    with pytest.raises(ConfigError, match=words):
        config_of(with_values(tree, **changes))


def test_exact_moments_stay_refused_in_a_private_mode(tmp_path):
    write_table(tmp_path / "data")
    tree = with_values(private_tree(tmp_path), objective__moments=MOMENTS)
    with pytest.raises(ConfigError, match="set moments or prototypes to null"):
        config_of(tree)
    with pytest.raises(ConfigError, match="one of them changes everybody's gradient"):
        config_of(with_values(tree, objective__prototypes=None))


def _order(config):
    cohort = open_experiment(config)
    network = build_network(config, cohort.shape, seed=config.seed)
    network.set_feature_scale(*read_public_scale(config.encoder.public_scale, cohort.shape[0]))
    weights = read_state(network, travelling(network, keep_norm=False))
    return Instruction(1, resolved_text(config), weights, slots=("12", "south"), stretch=1)
