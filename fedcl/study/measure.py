"""Measures a trained run for a study: age errors, the effect of the site, and attacks."""

import numpy as np

from fedcl.audit.run import audit_run
from fedcl.compute.device import choose_device, to_device
from fedcl.config.experiment import Config, RunKind
from fedcl.config.federation import Local
from fedcl.data.cohort import EXTERNAL_TEST, INTERNAL_TEST, SPLITS, TRAIN, Cohort
from fedcl.data.open import open_experiment
from fedcl.evaluation.age_bias import age_bias, cv_predictions
from fedcl.evaluation.cells import People, age_errors_by_cell, gaps
from fedcl.evaluation.from_sums import evaluate_from_sums
from fedcl.evaluation.mlp_probe import fit_site_mlp, mlp_site_from_age
from fedcl.evaluation.openbhb_challenge import Challenge, Split
from fedcl.evaluation.probes import balanced_accuracy, can_fit_site, fit_age
from fedcl.evaluation.variance import site_variance
from fedcl.experiment.figures import embedding_map
from fedcl.experiment.probing import probe_encoder
from fedcl.experiment.representations import features, split_of
from fedcl.files.atomic import write_json
from fedcl.models.network import build_network
from fedcl.run_folder.results_file import Measures, read_results
from fedcl.study.code import measuring_code
from fedcl.study.measured_file import (
    AttackResults,
    Bias,
    CellRow,
    FeatureMeasures,
    MeasuredRun,
    MeasureRequest,
    Spread,
    Sums,
    TestSplit,
)
from fedcl.study.participants import people_by_site, people_of
from fedcl.study.store import StoredRun

_TESTS: dict[TestSplit, str] = {"internal": INTERNAL_TEST, "external": EXTERNAL_TEST}


def measure_run(
    kind: RunKind, config: Config, entry: StoredRun, asked: MeasureRequest
) -> MeasuredRun:
    """Measure the last checkpoint of an evaluated run, and write its map if that is requested.

    Args:
        kind: Who trained together: the federation, all sites pooled, or each site alone.
        config: Configuration of the run, with paths in the store.
        entry: The run's entry in the store.
        asked: The measures that the study requests.

    Raises:
        FedclError: the run or its data cannot be used.
    """
    folder = entry.folder
    results, cohort = read_results(folder.results), open_experiment(config)
    network = build_network(config, cohort.shape, seed=config.seed)
    to_device(network, choose_device(config.compute))
    known = [results.evaluation.representation, results.evaluation.embedding]
    if kind == "local":
        probes = probe_encoder("local", network, config, cohort, folder, jobs=1)
        pairs = zip(known, (probes.representation, probes.embedding), strict=True)
        measured = [_alone(old, predicted, cohort, config.local, asked) for old, predicted in pairs]
    else:
        both = features(network, config, cohort, folder, None)
        from_age = _site_from_age(both[0], cohort, config)
        measured = [
            _together(old, values, from_age, cohort, config, asked)
            for old, values in zip(known, both, strict=True)
        ]
        if asked.map:
            write_json(entry.map, embedding_map(both[1], cohort, config.seed))
    return MeasuredRun(
        version=1,
        code=measuring_code(),
        asked=asked,
        kind=kind,
        config_digest=results.run.config_digest,
        data_digest=results.run.data_digest,
        fedcl_version=results.run.fedcl_version,
        privacy=results.run.privacy,
        parameters=results.training.parameters,
        training_sites=results.cohort.training_sites,
        training_participants=results.cohort.participants[TRAIN],
        seconds=results.training.seconds,
        bytes_per_round=results.training.bytes_per_round,
        messages_per_round=results.training.messages_per_round,
        representation=measured[0],
        embedding=measured[1],
        attacked=_attacked(kind, entry, asked),
    )


def _together(
    known: Measures,
    features: np.ndarray,
    from_age: float | None,
    cohort: Cohort,
    config: Config,
    asked: MeasureRequest,
) -> FeatureMeasures:
    """Return the measures of all participants' features under one common encoder."""
    train, internal, external = (
        split_of(cohort, features, split, config.local) for split in SPLITS
    )
    tests: dict[TestSplit, Split] = {"internal": internal, "external": external}
    probe = fit_age(train.features, train.ages)
    without = cv_predictions(train.features, train.ages, seed=config.seed)
    measures: dict[str, object] = {}
    cells: list[CellRow] = []
    for name, test in tests.items():
        if not len(test):
            continue
        predicted = probe.predict(test.features)
        bias = age_bias(train.ages, without, test.ages, predicted)
        measures[f"bias_{name}"] = Bias(
            slope=bias.slope,
            correlation=bias.correlation,
            corrected_slope=bias.corrected_slope,
            corrected_mae=bias.corrected_mae,
        )
        people = people_of(cohort, _TESTS[name], config.local)
        rows, measures[name] = _cells(name, test.ages, predicted, people, asked)
        cells += rows
    if len(internal):
        sexes = people_of(cohort, INTERNAL_TEST, config.local).sexes
        variance = site_variance(internal.features, internal.ages, sexes, internal.sites)
        measures |= {
            "site_variance": variance.adjusted,
            "site_variance_raw": variance.explained,
        }
        if can_fit_site(train.sites):
            mlp = fit_site_mlp(train.features, train.sites, seed=config.seed)
            right = mlp.predict(internal.features) == internal.sites
            measures["site_accuracy_mlp"] = balanced_accuracy(right, internal.sites)
            measures["site_from_age_mlp"] = from_age
    sums = evaluate_from_sums(train, internal, external, seed=config.seed)
    measures["sums"] = Sums(
        mae_internal=sums.mae_internal,
        mae_external=sums.mae_external,
        site_accuracy=sums.site_balanced_accuracy,
        challenge_score=sums.challenge_score,
        alpha=sums.alpha,
    )
    return FeatureMeasures.model_validate(_known(known) | measures | {"cells": tuple(cells)})


def _site_from_age(features: np.ndarray, cohort: Cohort, config: Config) -> float | None:
    train, test, _ = (split_of(cohort, features, split, config.local) for split in SPLITS)
    if not len(test) or not can_fit_site(train.sites):
        return None
    return mlp_site_from_age(train.ages, train.sites, test.ages, test.sites, seed=config.seed)


def _alone(
    known: Measures, probes: Challenge, cohort: Cohort, local: Local, asked: MeasureRequest
) -> FeatureMeasures:
    """Return the measures of predictions by sites with encoders of their own.

    Features of different encoders cannot be compared, so nothing is measured across sites.
    """
    measures: dict[str, object] = {}
    cells: list[CellRow] = []
    for name, (true, predicted) in probes.predictions.items():
        split: TestSplit = "internal" if name == "internal" else "external"
        of = people_by_site if split == "internal" else people_of
        people = of(cohort, _TESTS[split], local)
        rows, measures[split] = _cells(split, true, predicted, people, asked)
        cells += rows
    return FeatureMeasures.model_validate(_known(known) | measures | {"cells": tuple(cells)})


def _known(found: Measures) -> dict[str, object]:
    """Return the measures that results.json has already, by the names of measured.json."""
    measured = {
        "mae_internal": found.mae_internal,
        "mae_external": found.mae_external,
        "site_accuracy": found.site_balanced_accuracy,
        "challenge_score": found.challenge_score,
    }
    values = {name: None if value is None else value.value for name, value in measured.items()}
    names = ("dim", "median_internal", "median_external", "site_chance", "site_from_age")
    return values | {name: getattr(found, name) for name in names}


def _cells(
    split: TestSplit, true: np.ndarray, predicted: np.ndarray, people: People, asked: MeasureRequest
) -> tuple[list[CellRow], Spread]:
    cells = age_errors_by_cell(true, predicted, people, min_participants=asked.smallest_cell)
    differences = gaps(cells)
    spread = Spread(
        worst_site=differences.worst_site,
        worst_site_mae=differences.worst_site_mae,
        site_gap=differences.site_range,
        site_sd=differences.site_sd,
        sex_gap=differences.sex,
        age_gap=differences.age,
    )
    return [CellRow(split=split, **vars(cell)) for cell in cells], spread


def _attacked(kind: RunKind, entry: StoredRun, asked: MeasureRequest) -> AttackResults | None:
    if asked.attack_runs is None or kind == "local":
        return None
    audit = audit_run(entry.folder.path, runs=asked.attack_runs)
    member, claim = audit.membership, audit.claim
    return AttackResults(
        membership_auc=None if member is None else member.auc,
        found_at_1_percent=None if member is None else member.found_at_1_percent,
        claimed_epsilon=None if claim is None else claim.epsilon,
        certified_epsilon=None if claim is None else claim.certified,
        most_certified=None if claim is None else claim.most_certified,
    )
