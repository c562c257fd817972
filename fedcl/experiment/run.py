"""One experiment from configuration to report: open the data, train, evaluate, write.

`simulate_federation`, `pooled` and `local` differ in who trains together and in nothing else.
"""

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from fedcl.compute.device import choose_device
from fedcl.compute.workers import prepare_workers
from fedcl.config.experiment import Config, RunKind
from fedcl.config.harmonise import cautions
from fedcl.config.objective import require_comparable
from fedcl.config.secure_sum import SecureSum
from fedcl.data.cohort import TRAIN, Cohort, training_rows
from fedcl.data.open import open_experiment
from fedcl.errors import ConfigError, DataError, RunError
from fedcl.experiment import local as alone
from fedcl.experiment import pooled
from fedcl.experiment.evaluate import OnStep, evaluate_run, skipped_sites
from fedcl.experiment.simulation import simulate_federation
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import Results, read_results
from fedcl.secure_sum.identity import own_identity
from fedcl.tracking.follow import tracking
from fedcl.tracking.mlflow import require_mlflow

Say = Callable[[str], object]


def run_experiment(
    kind: RunKind,
    config: Config,
    *,
    resume: bool,
    restart: bool,
    on_step: OnStep,
    say: Say,
    page: bool = True,
    jobs: int | None = None,
) -> tuple[Results, Path]:
    """Train and evaluate; return the results and the run folder.

    Args:
        kind: Who trains together.
        config: The experiment.
        resume: Go on with the run in the folder, or start one.
        restart: Discard the run in the folder.
        on_step: Progress.
        say: Shows one line to the user.
        page: Whether to draw the run's report.
        jobs: Threads for the probes; by default one per core.

    Raises:
        FedclError: what is wrong and what to do.
    """
    started = datetime.now(UTC)
    if kind != "pooled":
        require_comparable(config.objective, federated=kind == "simulate")
    if kind != "simulate" and config.privacy.mode != "none":
        raise ConfigError(
            f"privacy.mode: {config.privacy.mode} is about what leaves a site, and `fedcl {kind}` "
            "lets nothing leave; set privacy: {mode: none}, or use fedcl simulate"
        )
    if kind == "local" and config.harmonise is not None:
        raise ConfigError(
            "harmonise: ComBat compares all sites, and `fedcl local` is what each has by itself; "
            "write harmonise: null"
        )
    folder = RunFolder(config.output.path)
    choose_device(config.compute)
    require_mlflow(config)
    if restart:
        _discard(folder)
    if not resume:
        folder.require_new()
    if kind != "pooled":
        prepare_workers(config.compute)
    cohort = open_for_training(config, on_step)
    sites = cohort.training_sites(min_participants=config.local.min_participants)
    if kind == "simulate" and len(sites) < config.federation.min_sites:
        raise ConfigError(
            f"federation.min_sites: {config.federation.min_sites}, and {len(sites)} sites have "
            f"local.min_participants = {config.local.min_participants} training participants; "
            "nobody else will come to a simulation, so ask for fewer"
        )
    if kind == "simulate" and config.secure_sum is not None:
        require_identities(config.secure_sum, sites)
    folder.resume(config)
    for caution in cautions(config.harmonise):
        say(caution)
    skipped = skipped_sites(cohort, config)
    if skipped:
        names = ", ".join(f"{s.site} ({s.participants})" for s in skipped)
        say(f"Too few training participants, evaluated only: site {names}.")
    small = _without_own_mean(cohort, config, sites)
    if small:
        say(
            "Too small for a mean of their own (private_moments.min_participants), so FairKL "
            f"leaves them alone: site {', '.join(small)}."
        )

    with tracking(kind, config, folder, say) as following:
        _train(kind, config, cohort, sites, folder, on_step, following.look)
        results = evaluate_run(kind, config, cohort, folder, started, on_step, page=page, jobs=jobs)
        following.finish(results)
    return results, folder.path


def _train(
    kind: RunKind,
    config: Config,
    cohort: Cohort,
    sites: tuple[str, ...],
    folder: RunFolder,
    on_step: OnStep,
    look: Callable[[], None],
) -> None:
    """Train to the last round; `look` is called when a round may have been written down."""
    rounds = config.federation.rounds
    match kind:
        case "simulate":

            def on_reply(number: str, waiting: int) -> None:
                if number != "0":
                    look()
                    on_step("Rounds", int(number) - (waiting > 0), rounds)
                    on_step("Sites of this round", asked - waiting, asked)

            asked = min(config.federation.sites_per_round or len(sites), len(sites))
            simulate_federation(config, sites=len(cohort.sites), resume=True, on_reply=on_reply)
        case "pooled":

            def on_round(number: int) -> None:
                look()
                on_step("Rounds", number, rounds)

            pooled.train_rounds(
                config,
                cohort,
                training_rows(cohort, config),
                folder,
                name="pooled",
                on_round=on_round,
            )
        case "local":
            done: list[str] = []

            def on_site(site: str) -> None:
                done.append(site)
                on_step("Sites", len(done), len(sites))

            alone.train_alone(config, folder, sites, on_site=on_site)


def beside(kind: RunKind, config: Config) -> Config:
    """Return the experiment in the folder of its kind.

    Pooled and local runs lie beside the federation's: output.path-pooled, output.path-local.
    """
    if kind == "simulate":
        return config
    path = config.output.path.with_name(f"{config.output.path.name}-{kind}")
    return config.model_copy(update={"output": config.output.model_copy(update={"path": path})})


def evaluate_again(path: Path, on_step: OnStep) -> Results:
    """Evaluate the last checkpoint of a run again and write its results and report.

    Raises:
        FedclError: there is no run, or its data cannot be read.
    """
    folder = RunFolder(path)
    before = read_results(folder.results)
    config = folder.config()
    config = config.model_copy(update={"output": config.output.model_copy(update={"path": path})})
    cohort = open_for_training(config, on_step)
    kind = before.run.kind
    with tracking(kind, config, folder, lambda _: None) as following:
        results = evaluate_run(kind, config, cohort, folder, datetime.now(UTC), on_step)
        following.finish(results)
    return results


def require_identities(settings: SecureSum, sites: Sequence[str]) -> None:
    """Check that every site of a simulation has the key that is pinned for it.

    Raises:
        ConfigError: naming a site that has not.
    """
    for site in sites:
        own_identity(settings.keys, settings.identities, site)


def open_for_training(config: Config, on_step: OnStep) -> Cohort:
    """Open the cohort and check that somebody can train on it.

    Raises:
        DataError: fewer than two training sites.
    """
    cohort = open_experiment(config, lambda done, total: on_step("Preparing scans", done, total))
    sites = cohort.training_sites(min_participants=config.local.min_participants)
    if len(sites) < 2:
        raise DataError(
            f"{cohort.name}: {len(sites)} sites have local.min_participants = "
            f"{config.local.min_participants} training participants; at least 2 are needed"
        )
    return cohort


def _without_own_mean(cohort: Cohort, config: Config, sites: Sequence[str]) -> list[str]:
    """The sites whose own moments the noise would drown."""
    settings = config.objective.private_moments
    if settings is None:
        return []
    sizes = {site: len(cohort.rows(split=TRAIN, site=site)) for site in sites}
    return [site for site in sites if sizes[site] < settings.min_participants]


def _discard(folder: RunFolder) -> None:
    if not folder.path.exists():
        return
    if not (folder.path / "config.yaml").exists() and any(folder.path.iterdir()):
        raise RunError(
            f"{folder.path}: not a run of fedcl (no config.yaml), so --restart leaves it alone; "
            "choose another output.path"
        )
    shutil.rmtree(folder.path)
