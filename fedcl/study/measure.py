"""What a study measures of a trained run, beyond the challenge: site, equality, bias, attacks."""

from fedcl.config.experiment import Config
from fedcl.outcome import Kind
from fedcl.report.results import Measured as Interval
from fedcl.report.results import Measures, read_results
from fedcl.run_folder import RunFolder
from fedcl.study.code import measuring_code
from fedcl.study.measured import Asked, Measured, OnFeatures


def measure(kind: Kind, config: Config, folder: RunFolder, asked: Asked) -> Measured:
    results = read_results(folder.results)
    return Measured(
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
        training_participants=results.cohort.participants["train"],
        seconds=results.training.seconds,
        bytes_per_round=results.training.bytes_per_round,
        representation=_on(results.evaluation.representation),
        embedding=_on(results.evaluation.embedding),
        attacked=None,
    )


def _value(measured: Interval | None) -> float | None:
    return None if measured is None else measured.value


def _on(found: Measures) -> OnFeatures:
    return OnFeatures(
        dim=found.dim,
        mae_internal=_value(found.mae_internal),
        mae_external=_value(found.mae_external),
        median_internal=found.median_internal,
        median_external=found.median_external,
        site_accuracy=_value(found.site_balanced_accuracy),
        site_accuracy_mlp=None,
        site_chance=found.site_chance,
        site_from_age=found.site_from_age,
        site_from_age_mlp=None,
        challenge_score=_value(found.challenge_score),
        site_variance=None,
        site_variance_raw=None,
        cells=(),
        internal=None,
        external=None,
        bias_internal=None,
        bias_external=None,
        sums=None,
    )
