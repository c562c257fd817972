"""A federation in which some participants have several scans, plain and private."""

import numpy as np
import pytest

from fedcl import local_round
from fedcl.config.local_settings import LocalSettings
from fedcl.data.cohort import TRAIN
from fedcl.data.open import open_experiment
from fedcl.experiment.run import run_experiment
from fedcl.experiment.simulation import simulate_federation
from fedcl.experiment.training_sites import sites_without_own_mean
from fedcl.models.network import build_network
from fedcl.moments.of_a_site import site_moments
from fedcl.optimizer import build_optimizer
from fedcl.privacy.accounting import NoisySums
from fedcl.privacy.ledger import Ledger
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import read_results
from tests.builders import (
    MOMENTS,
    PRIVATE_MOMENTS,
    add_scans,
    config_of,
    private_tree,
    secure_tree,
    table_tree,
    with_values,
    write_table,
)
from tests.test_federation import SITES, another_folder, final_weights

TRAINING = {"north": 3, "south": 6, "12": 11}
FURTHER = {"north02": 2, "south01": 1, "south02": 1, "1200": 4, "far1": 1}


@pytest.fixture(autouse=True)
def scans(tmp_path):
    add_scans(write_table(tmp_path / "data"), FURTHER)


def evaluated(config):
    settings = {"resume": False, "restart": False, "page": False}
    run_experiment("simulate", config, **settings)
    return read_results(RunFolder(config.output.path).results)


@pytest.mark.slow
def test_a_plain_federation_with_moments_counts_participants(tmp_path):
    tree = table_tree(tmp_path)
    tree["objective"]["moments"] = MOMENTS
    config = config_of(tree)
    results = evaluated(config)
    assert results.cohort.participants == {"train": 20, "internal_test": 6, "external_test": 4}
    for record in RunFolder(config.output.path).read_log():
        assert record.loss > 0
        found = {site: entry.participants for site, entry in record.sites.items()}
        assert found == TRAINING
    internal = [s for s in results.evaluation.representation.per_site if s.split == "internal"]
    assert {one.site: one.participants for one in internal} == {"north": 2, "south": 2, "12": 2}


def test_a_site_needs_participants_and_not_scans(tmp_path):
    config = config_of(with_values(table_tree(tmp_path), local__min_participants=4))
    simulate_federation(config, sites=SITES, resume=False)
    assert set(RunFolder(config.output.path).read_log()[0].sites) == {"south", "12"}


def test_a_secure_sum_counts_participants(tmp_path):
    config = config_of(with_values(secure_tree(tmp_path), federation__rounds=1))
    simulate_federation(config, sites=SITES, resume=False)
    (record,) = RunFolder(config.output.path).read_log()
    found = {site: line.participants for site, line in record.sites.items()}
    assert found == TRAINING
    assert [line.rejected for line in record.sites.values()] == [None] * 3


@pytest.mark.slow
def test_a_private_federation_pays_for_participants(tmp_path):
    weights = []
    for gradients in ("hooks", "loop"):
        tree = with_values(private_tree(tmp_path, test_seed=3), privacy__gradients=gradients)
        tree["privacy"]["ledger"] = str(tmp_path / gradients)
        config = config_of(another_folder(tree, gradients))
        simulate_federation(config, sites=SITES, resume=False)
        for site, participants in TRAINING.items():
            expected = min(4, participants)
            cost = NoisySums(2.0, expected / participants, 2 * -(-participants // expected))
            charges = Ledger.of(config.privacy.ledger, site).charges()
            assert [charge.cost for charge in charges] == [cost, cost]
        weights.append(final_weights(config))
    for name, array in weights[0].items():
        np.testing.assert_allclose(array, weights[1][name], rtol=1e-3, atol=1e-3)


def test_no_two_scans_share_an_augmentation(tmp_path, monkeypatch):
    config = config_of(table_tree(tmp_path))
    cohort = open_experiment(config)
    rows = cohort.rows(split=TRAIN, site="12")
    seen, views = [], local_round.two_views

    def watched(arrays, settings, *, seeds, scale):
        seen.extend(seeds)
        return views(arrays, settings, seeds=seeds, scale=scale)

    monkeypatch.setattr(local_round, "two_views", watched)
    network = build_network(config, cohort.shape, seed=0)
    optimizer = build_optimizer(network, config.local, round_number=1)
    trained = local_round.local_round(
        network, optimizer, cohort, rows, LocalSettings.of(config), round_number=1, site="12"
    )
    assert (trained.participants, len(rows)) == (11, 15)
    assert len(set(seen)) == len(seen) == 2 * len(rows)


def test_a_participant_counts_once_in_the_moments(tmp_path):
    tree = table_tree(tmp_path)
    tree["objective"]["moments"] = MOMENTS
    config = config_of(tree)
    cohort = open_experiment(config)
    network = build_network(config, cohort.shape, seed=0)
    rows = cohort.rows(split=TRAIN, site="12")
    sums, embeddings = site_moments(network, cohort, rows, config)
    assert len(embeddings) == len(rows) == 15
    assert sums.count.sum() == pytest.approx(11)
    weighted = (cohort.shares(rows)[:, None] * embeddings).sum(axis=0)
    np.testing.assert_allclose(sums.total.sum(axis=0), weighted, atol=1e-5)


def test_a_site_is_too_small_for_a_mean_of_its_own_by_participants_and_not_by_scans(tmp_path):
    tree = private_tree(tmp_path)
    tree["objective"]["private_moments"] = {**PRIVATE_MOMENTS, "min_participants": 4}
    config = config_of(tree)
    cohort = open_experiment(config)
    assert len(cohort.rows(split=TRAIN, site="north")) >= 4
    assert sites_without_own_mean(cohort, config.objective, tuple(TRAINING)) == ["north"]
