"""Lists the runs that a study needs: each arm at each seed, in each fold of cross-validation."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from fedcl.compute.progress import SILENT, Progress
from fedcl.config.data import PhantomData
from fedcl.config.experiment import Config
from fedcl.config.loading import absolute
from fedcl.config.study import Changes, CrossValidation, Study
from fedcl.data.cohort import Cohort
from fedcl.data.open import open_cohort
from fedcl.errors import ConfigError
from fedcl.seeds import derive
from fedcl.site_labels import site_order
from fedcl.study.arms import ConcreteArm, concrete_arms, experiment
from fedcl.study.measured_file import MeasureRequest
from fedcl.study.store import StoredRun, key_of


@dataclass(frozen=True)
class Trial:
    """One run that a study needs.

    Attributes:
        arm: The arm that the run belongs to.
        seed: Seed of the run's experiment.
        fold: Number of the cross-validation's fold from 0; None without cross-validation.
        config: Configuration of the run, with paths in the store.
        entry: The run's entry in the store.
        asked: Measures to take; at the first seed they include a map.
    """

    arm: ConcreteArm
    seed: int
    fold: int | None
    config: Config
    entry: StoredRun
    asked: MeasureRequest

    @property
    def name(self) -> str:
        """The name of the run in messages."""
        fold = "" if self.fold is None else f", fold {self.fold + 1}"
        return f"{self.arm.name}, seed {self.seed}{fold}"


def trials(study: Study, progress: Progress = SILENT) -> list[Trial]:
    """Return every run of a study, seed by seed, so that the first seeds are complete early.

    The cohorts are opened, and written or preprocessed if that was not done before.

    Raises:
        FedclError: an arm is not valid, or its data cannot be used.
    """
    store, arms = study.store.absolute(), concrete_arms(study)
    opened: dict[str, Cohort] = {}
    runs: list[Trial] = []
    total = len(arms) * len(study.seeds)
    for number, (seed, arm) in enumerate((seed, arm) for seed in study.seeds for arm in arms):
        progress.step("Planning", number, total)
        config = _whole(study, arm, seed, {}, store)
        cohort = _open(config, store, opened, progress)
        folds: list[tuple[int | None, Changes]] = [(None, {})]
        if study.cross_validation is not None:
            folds = list(enumerate(_folds(cohort, study.cross_validation, seed)))
        for fold, changes in folds:
            if fold is not None:
                config = _whole(study, arm, seed, changes, store)
                cohort = _open(config, store, opened, progress)
            entry = StoredRun(store, key_of(arm.train, config, data=cohort.digest))
            asked = MeasureRequest(
                smallest_cell=study.smallest_cell,
                attack_runs=None if study.attacks is None else study.attacks.runs,
                map=seed == study.seeds[0] and fold in (None, 0) and arm.train != "local",
            )
            runs.append(Trial(arm, seed, fold, entry.placed(config), entry, asked))
    progress.step("Planning", total, total)
    return runs


def _whole(study: Study, arm: ConcreteArm, seed: int, more: Changes, store: Path) -> Config:
    config = absolute(experiment(study, arm, seed=seed, more=more))
    if not isinstance(config.data, PhantomData):
        return config
    # Phantoms of different seeds or strengths differ, so the folder is named by a hash of these.
    described = config.data.model_dump(mode="json", exclude={"path", "splits", "modality"})
    text = json.dumps([described, config.seed], sort_keys=True)
    path = store / "phantoms" / hashlib.sha256(text.encode()).hexdigest()[:16]
    return config.model_copy(update={"data": config.data.model_copy(update={"path": path})})


def _open(config: Config, store: Path, opened: dict[str, Cohort], progress: Progress) -> Cohort:
    """Return a cohort before sampling, opened once for all arms that share it."""
    key = json.dumps([config.data.model_dump(mode="json"), config.seed], sort_keys=True)
    if key not in opened:
        opened[key] = open_cohort(
            config.data,
            seed=config.seed,
            cache=store / ".cache",
            prepared=True,
            progress=progress,
        )
    return opened[key]


def _folds(cohort: Cohort, settings: CrossValidation, seed: int) -> list[Changes]:
    """Return the splits of each fold, whose groups of sites have about the same size."""
    sizes = {site: cohort.participants(cohort.rows(site=site)) for site in cohort.sites}
    count = len(sizes) if settings.folds == "site" else settings.folds
    if count > len(sizes):
        raise ConfigError(
            f"cross_validation.folds: {count}, and {cohort.name} has {len(sizes)} sites"
        )
    # Sites of similar size are dealt one to each group, so sums differ by at most the largest site.
    groups: list[list[str]] = [[] for _ in range(count)]
    by_size = sorted(sizes, key=lambda site: -sizes[site])
    for start in range(0, len(by_size), count):
        smallest_first = sorted(groups, key=lambda group: sum(sizes[site] for site in group))
        similar = by_size[start : start + count]
        shuffled = sorted(similar, key=lambda site: derive(seed, "fold", site))
        for group, site in zip(smallest_first, shuffled, strict=False):
            group.append(site)
    return [
        {
            "data.splits": {
                "external_sites": sorted(group, key=site_order),
                "internal_fraction": settings.internal_fraction,
            }
        }
        for group in groups
    ]
