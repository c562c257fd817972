"""A site's part of the evaluation from sums: first sums over training, then errors on the tests."""

import time

import numpy as np

from fedcl.config.evaluation import SumEvaluationSettings, due
from fedcl.data.cohort import EXTERNAL_TEST, INTERNAL_TEST, Rows
from fedcl.errors import ConfigError
from fedcl.evaluation.error_sums import EXTERNAL, INTERNAL
from fedcl.evaluation.ridge_sums import RidgeSums
from fedcl.evaluation.summed_probes import SiteTestSet, errors_of_site
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import EvaluationErrors, EvaluationSums
from fedcl.sites.features import frozen_network, participant_features
from fedcl.sites.held_weights import held_weights
from fedcl.sites.site import Site


def say_sums(site: Site, order: Instruction) -> EvaluationSums:
    """Return sums over the site's training participants, or no sums if they are few.

    The weights are held for `say_errors`.

    Raises:
        FedclError: no evaluation is due, or the weights do not fit the encoder.
    """
    started, settings = time.perf_counter(), _settings(site, order)
    held_weights(site.config.output).put(order.held, order.weights)
    sums = {}
    if site.participants >= settings.min_cell:
        network = frozen_network(site, order)
        found = participant_features(site, network, site.rows, settings.features, order)
        for kind, split in found.items():
            sums[kind] = RidgeSums.of(split.features, split.ages)
    seconds = time.perf_counter() - started
    return EvaluationSums(site.label, order.round, site.participants, sums, seconds)


def say_errors(site: Site, order: Instruction) -> EvaluationErrors:
    """Return the errors on the site's test participants, without those of small groups.

    Raises:
        FedclError: no evaluation is due, or weights or probes do not fit.
    """
    started, settings = time.perf_counter(), _settings(site, order)
    tests = {
        name: rows
        for name, split in ((INTERNAL, INTERNAL_TEST), (EXTERNAL, EXTERNAL_TEST))
        if len(rows := site.cohort.rows(split=split, site=site.label))
    }
    network = frozen_network(site, order) if tests else None
    people: dict[str, dict[str, SiteTestSet]] = {kind: {} for kind in settings.features}
    for name, rows in tests.items():
        assert network is not None
        found = participant_features(site, network, rows, settings.features, order)
        for kind, split in found.items():
            people[kind][name] = SiteTestSet(split.features, split.ages, _sexes(site, rows))
    errors = {}
    for kind, own in people.items():
        probes = order.probes.get(kind)
        if probes is None or any(
            test.features.shape[1] != len(probes.age.coefficients) for test in own.values()
        ):
            raise ConfigError(f"the server's probes do not fit this site's {kind}")
        errors[kind] = errors_of_site(site.label, own, probes, min_cell=settings.min_cell)
    seconds = time.perf_counter() - started
    return EvaluationErrors(site.label, order.round, site.participants, errors, seconds)


def _settings(site: Site, order: Instruction) -> SumEvaluationSettings:
    """Return the settings of the evaluation after a check that the experiment asks for it now."""
    config = site.config
    settings = config.evaluation.from_sums
    if settings is None or not due(settings, order.round, rounds=config.federation.rounds):
        raise ConfigError(f"no evaluation from sums is due after round {order.round}")
    return settings


def _sexes(site: Site, rows: Rows) -> np.ndarray:
    """Return each participant's sex, which is "" if it is unknown or not one of two."""
    _, first = np.unique(site.cohort.owners(rows), return_index=True)
    return site.cohort.table["sex"].to_numpy(dtype=str)[rows][first]
