"""Which sites of an experiment train, which do not, and why."""

from collections.abc import Sequence

from fedcl.compute.progress import SILENT, Progress
from fedcl.config.experiment import Config
from fedcl.config.federation import Local
from fedcl.config.objective import Objective
from fedcl.config.secure_sum import SecureSum
from fedcl.data.cohort import TRAIN, Cohort
from fedcl.data.open import open_experiment
from fedcl.errors import DataError
from fedcl.run_folder.results_file import SkippedSite
from fedcl.secure_sum.identity import own_identity


def require_identities(settings: SecureSum, sites: Sequence[str]) -> None:
    """Check that every site of a simulation has the key that is pinned for it.

    Raises:
        ConfigError: naming a site that has not.
    """
    for site in sites:
        own_identity(settings.keys, settings.identities, site)


def open_for_training(config: Config, progress: Progress = SILENT) -> Cohort:
    """Open the cohort, every volume preprocessed, and check that somebody can train on it.

    Raises:
        DataError: fewer than two training sites.
    """
    cohort = open_experiment(config, prepared=True, progress=progress)
    sites = cohort.training_sites(min_participants=config.local.min_participants)
    if len(sites) < 2:
        raise DataError(
            f"{cohort.name}: {len(sites)} sites have local.min_participants = "
            f"{config.local.min_participants} training participants; at least 2 are needed"
        )
    return cohort


def sites_without_own_mean(cohort: Cohort, task: Objective, sites: Sequence[str]) -> list[str]:
    """Return the sites of too few participants for a mean of their own under the noise."""
    settings = task.private_moments
    if settings is None:
        return []
    least = settings.min_participants
    return [
        site for site in sites if cohort.participants(cohort.rows(split=TRAIN, site=site)) < least
    ]


def skipped_sites(cohort: Cohort, local: Local) -> tuple[SkippedSite, ...]:
    """Return the sites that have training participants, but too few."""
    least = local.min_participants
    sizes = {s: cohort.participants(cohort.rows(split=TRAIN, site=s)) for s in cohort.sites}
    return tuple(
        SkippedSite(
            site=site, participants=size, reason=f"fewer than {least} training participants"
        )
        for site, size in sizes.items()
        if 0 < size < least
    )
