"""One experiment from configuration to report: open the data, train, evaluate, write.

Runs of the kinds simulate, pooled and local differ in who trains together and in nothing else.
"""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fedcl.compute.device import choose_device
from fedcl.compute.progress import SILENT, Progress
from fedcl.compute.workers import prepare_workers
from fedcl.config.cautions import cautions
from fedcl.config.experiment import Config, RunKind
from fedcl.config.objective import require_comparable
from fedcl.data.cohort import Cohort, training_rows
from fedcl.errors import ConfigError, RunError
from fedcl.experiment.collapse_watch import CollapseWatch
from fedcl.experiment.erasing import erase_pooled
from fedcl.experiment.evaluate import evaluate_run
from fedcl.experiment.local import train_alone
from fedcl.experiment.pooled import train_rounds
from fedcl.experiment.simulation import simulate_federation
from fedcl.experiment.training_sites import (
    open_for_training,
    require_identities,
    sites_without_own_mean,
    skipped_sites,
)
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import Results, read_results
from fedcl.tracking.follow import tracking
from fedcl.tracking.mlflow import require_mlflow


def run_experiment(
    kind: RunKind,
    config: Config,
    *,
    resume: bool,
    restart: bool,
    progress: Progress = SILENT,
    page: bool = True,
    jobs: int | None = None,
) -> tuple[Results, Path]:
    """Train and evaluate; return the results and the run folder.

    Args:
        kind: Who trains together: "simulate", "pooled" or "local".
        resume: Whether to go on with the run in the folder, where there is one.
        restart: Whether to discard the run in the folder.
        progress: Told of every step, and of what the user should know.
        page: Whether to draw the run's report.
        jobs: How many threads the probes use; by default one per core.

    Raises:
        FedclError: what is wrong and what to do.
    """
    started = datetime.now(UTC)
    _require_meaningful(kind, config)
    folder = RunFolder(config.output.path)
    choose_device(config.compute)
    require_mlflow(config.output)
    if restart:
        _discard(folder)
    if not resume:
        folder.require_new()
    if kind != "pooled":
        prepare_workers(config.compute)
    cohort = open_for_training(config, progress)
    sites = cohort.training_sites(min_participants=config.local.min_participants)
    if kind == "simulate":
        _require_federation(config, sites)
    folder.resume(config)
    _tell_cautions(kind, config, cohort, sites, progress)
    watch = CollapseWatch(folder, progress)
    with tracking(kind, config, folder, progress) as following:

        def follow() -> None:
            following.update()
            watch.update()

        _train(kind, config, cohort, sites, folder, progress, follow)
        watch.update()
        results = evaluate_run(
            kind, config, cohort, folder, started, progress=progress, page=page, jobs=jobs
        )
        following.finish(results)
    return results, folder.path


def _require_meaningful(kind: RunKind, config: Config) -> None:
    """Check that what the experiment asks for means something to a run of this kind.

    Raises:
        ConfigError: naming the key.
    """
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


def _require_federation(config: Config, sites: tuple[str, ...]) -> None:
    """Check that the sites of a simulation are enough, and that each can prove who it is.

    Raises:
        ConfigError: naming the key.
    """
    if len(sites) < config.federation.min_sites:
        raise ConfigError(
            f"federation.min_sites: {config.federation.min_sites}, and {len(sites)} sites have "
            f"local.min_participants = {config.local.min_participants} training participants; "
            "nobody else will come to a simulation, so ask for fewer"
        )
    if config.secure_sum is not None:
        require_identities(config.secure_sum, sites)


def _tell_cautions(
    kind: RunKind, config: Config, cohort: Cohort, sites: tuple[str, ...], progress: Progress
) -> None:
    """Tell what the user should know before the training."""
    for caution in cautions(config, federated=kind == "simulate"):
        progress.say(caution)
    if kind == "local" and config.erasure is not None:
        progress.say(
            "erasure: left aside, since sites are compared under one encoder, and `fedcl local` "
            "trains one at each."
        )
    skipped = skipped_sites(cohort, config.local)
    if skipped:
        names = ", ".join(f"{s.site} ({s.participants})" for s in skipped)
        progress.say(f"Too few training participants, evaluated only: site {names}.")
    small = sites_without_own_mean(cohort, config.objective, sites)
    if small:
        progress.say(
            "Too small for a mean of their own (private_moments.min_participants), so FairKL "
            f"leaves them alone: site {', '.join(small)}."
        )


def _train(
    kind: RunKind,
    config: Config,
    cohort: Cohort,
    sites: tuple[str, ...],
    folder: RunFolder,
    progress: Progress,
    follow: Callable[[], None],
) -> None:
    """Train to the last round; `follow` is called when a round may have been written down."""
    rounds = config.federation.rounds
    match kind:
        case "simulate":

            def on_reply(number: str, waiting: int) -> None:
                if number != "0":
                    follow()
                    progress.step("Rounds", int(number) - (waiting > 0), rounds)
                    progress.step("Sites of this round", asked - waiting, asked)

            asked = min(config.federation.sites_per_round or len(sites), len(sites))
            simulate_federation(config, sites=len(cohort.sites), resume=True, on_reply=on_reply)
        case "pooled":

            def on_round(number: int) -> None:
                follow()
                progress.step("Rounds", number, rounds)

            train_rounds(
                config,
                cohort,
                training_rows(cohort, config.local),
                folder,
                name="pooled",
                on_round=on_round,
            )
            erase_pooled(config, cohort, folder)
        case "local":
            train_alone(config, folder, sites, progress)


def beside(kind: RunKind, config: Config) -> Config:
    """Return the experiment in the folder of its kind.

    Pooled and local runs lie beside the federation's: output.path-pooled, output.path-local.
    """
    if kind == "simulate":
        return config
    path = config.output.path.with_name(f"{config.output.path.name}-{kind}")
    return config.model_copy(update={"output": config.output.model_copy(update={"path": path})})


def evaluate_again(path: Path, progress: Progress = SILENT) -> Results:
    """Evaluate the last checkpoint of a run again and write its results and report.

    Raises:
        FedclError: there is no run, or its data cannot be read.
    """
    folder = RunFolder(path)
    before = read_results(folder.results)
    config = folder.config()
    config = config.model_copy(update={"output": config.output.model_copy(update={"path": path})})
    cohort = open_for_training(config, progress)
    kind = before.run.kind
    with tracking(kind, config, folder) as following:
        results = evaluate_run(kind, config, cohort, folder, datetime.now(UTC), progress=progress)
        following.finish(results)
    return results


def _discard(folder: RunFolder) -> None:
    if not folder.path.exists():
        return
    if not (folder.path / "config.yaml").exists() and any(folder.path.iterdir()):
        raise RunError(
            f"{folder.path}: not a run of fedcl (no config.yaml), so --restart leaves it alone; "
            "choose another output.path"
        )
    shutil.rmtree(folder.path)
