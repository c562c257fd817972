"""Remove site shifts and scales from a cohort with ComBat, fitted on training participants only.

The fit uses the sums that the sites of a federation would send (`fedcl/harmonisation/sums.py`), so
that the result equals that of distributed ComBat. The model is fitted on training participants and
applied to all participants of the same sites, as in Pomponio et al., "Harmonization of large MRI
datasets for the analysis of brain imaging patterns throughout the lifespan", NeuroImage 2020,
https://doi.org/10.1016/j.neuroimage.2019.116450
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

from fedcl.compute.progress import SILENT, Progress
from fedcl.config.harmonise import CombatSettings, SplineAge
from fedcl.data.adjustment_cache import adjustments_on_disk
from fedcl.data.cache import VolumeCache
from fedcl.data.cohort import TRAIN, Cohort, Rows
from fedcl.errors import DataError
from fedcl.harmonisation.adjustment import (
    Adjustment,
    at_participant,
    at_site_mean,
    location_only,
    site_effect,
)
from fedcl.harmonisation.design import covariate_columns, covariate_names
from fedcl.harmonisation.shared_estimates import SharedEstimates, coefficients, estimate_shared
from fedcl.harmonisation.sums import covariate_sums, site_residuals

_METHOD = "combat 1"
"""Version of the method in the names of cached fits; the number changes with the arithmetic."""
_FEWEST = 2
"""Least number of participants from which a scale can be estimated."""


@dataclass(frozen=True)
class _Fit:
    """Hold the scans that a fit uses and its settings.

    Attributes:
        cohort: Cohort whose arrays are as measured, before harmonisation.
        settings: Harmonisation section of the experiment.
        design: Covariates of every row, shape (row, covariate).
        training: Rows of training participants, by site.
        own: Rows of all participants of each site with too few training participants, which is
            harmonised by its own scans; empty where such sites are left unchanged.
    """

    cohort: Cohort
    settings: CombatSettings
    design: np.ndarray
    training: dict[str, Rows]
    own: dict[str, Rows]

    @property
    def rows(self) -> Rows:
        """Return the rows of all scans that the fit reads."""
        return np.concatenate([*self.training.values(), *self.own.values()])


def harmonise_cohort(
    cohort: Cohort,
    settings: CombatSettings,
    *,
    min_participants: int,
    cache: Path,
    origin: str,
    progress: Progress = SILENT,
) -> Cohort:
    """Return the cohort whose arrays are harmonised when they are read.

    Args:
        cohort: Cohort whose arrays are as measured, before harmonisation.
        settings: Harmonisation section: covariates to preserve and how a site is adjusted.
        min_participants: Least number of training participants of a site that takes part in the
            fit; a smaller site is treated as one not seen in training.
        cache: Folder in which the adjustments of volumes are kept.
        origin: Text that names everything that decides how a file becomes an array.
        progress: Object that is told how many scans are read; only volumes take time.

    Raises:
        DataError: fewer than two sites take part, or the covariates' effects cannot be told apart.
    """
    fit = _fit(cohort, settings, max(min_participants, _FEWEST))
    if len(cohort.shape) == 1:
        adjustments = dict(_adjustments(fit, SILENT))
    else:
        name = _content_name(fit, cache, origin)
        folder = cache / "harmonised" / name
        adjustments = adjustments_on_disk(folder, lambda: _adjustments(fit, progress))
    sites = cohort.table["site"].to_numpy()

    def read(row: int) -> np.ndarray:
        measured = cohort.read(row).astype(np.float32)
        if sites[row] not in adjustments:
            return measured
        adjusted = adjustments[sites[row]](measured.reshape(-1), fit.design[row])
        return adjusted.astype(np.float32).reshape(cohort.shape)

    text = f"{cohort.digest} {_METHOD} {settings.model_dump_json()} {min_participants}"
    return replace(cohort, read=read, digest=hashlib.sha256(text.encode()).hexdigest()[:16])


def _fit(cohort: Cohort, settings: CombatSettings, fewest: int) -> _Fit:
    sites = cohort.training_sites(min_participants=fewest)
    if len(sites) < 2:
        raise DataError(
            f"{cohort.name}: harmonise compares sites, and {len(sites)} of {len(cohort.sites)} "
            f"have {fewest} training participants; lower local.min_participants, or write "
            "harmonise: null"
        )
    training = {site: cohort.rows(split=TRAIN, site=site) for site in sites}
    others = {site: cohort.rows(site=site) for site in cohort.sites if site not in sites}
    own = {site: rows for site, rows in others.items() if cohort.participants(rows) >= _FEWEST}
    design = covariate_columns(
        cohort.ages(np.arange(len(cohort))),
        cohort.table["sex"].tolist(),
        age="age" in settings.covariates,
        knots=_knots(settings),
        sex="sex" in settings.covariates,
    )
    return _Fit(cohort, settings, design, training, own if settings.unseen == "own" else {})


def _adjustments(fit: _Fit, progress: Progress) -> Iterator[tuple[str, Adjustment]]:
    """Read the training scans three times, and yield (site, adjustment) for one site at a time.

    The third reading spares keeping every site's residuals, which for volumes exceed the memory.
    """
    done, total = 0, 2 * sum(map(len, fit.training.values())) + len(fit.rows)

    def scans(rows: Rows) -> Iterator[np.ndarray]:
        nonlocal done
        for row in rows:
            yield fit.cohort.read(int(row)).reshape(-1)
            done += 1
            progress.step("Harmonising scans", done, total)

    cohort, design = fit.cohort, fit.design
    sums = (covariate_sums(scans(r), design[r], cohort.shares(r)) for r in fit.training.values())
    fitted = coefficients(reduce(add, sums), _names(fit.settings))
    residuals = (
        site_residuals(scans(r), design[r], cohort.shares(r), fitted.slopes)
        for r in fit.training.values()
    )
    shared = estimate_shared(fitted, reduce(add, (site.said for site in residuals)))
    for site, rows in fit.training.items():
        yield site, _of_site(fit, scans(rows), rows, design, shared)
    if fit.settings.adjust != "participant":  # of a site not seen in training only scans are known
        design, shared = design[:, :0], shared.without_covariates()
    for site, rows in fit.own.items():
        yield site, _of_site(fit, scans(rows), rows, design, shared)


def _of_site(
    fit: _Fit, scans: Iterator[np.ndarray], rows: Rows, design: np.ndarray, shared: SharedEstimates
) -> Adjustment:
    shares = fit.cohort.shares(rows)
    residuals = site_residuals(scans, design[rows], shares, shared.coefficients.slopes)
    effect = site_effect(residuals, shared)
    match fit.settings.adjust:
        case "site_mean":
            return at_site_mean(effect, shared, residuals.covariates)
        case "location":
            return location_only(effect)
        case "participant":
            return at_participant(effect, shared)


def _knots(settings: CombatSettings) -> tuple[float, ...] | None:
    return settings.age.knots if isinstance(settings.age, SplineAge) else None


def _names(settings: CombatSettings) -> Sequence[str]:
    return covariate_names(
        age="age" in settings.covariates,
        knots=_knots(settings),
        sex="sex" in settings.covariates,
    )


def _content_name(fit: _Fit, cache: Path, origin: str) -> str:
    """Return the hash of everything that decides a fit, the content of the scans included."""
    store = VolumeCache(cache, origin)
    columns = ["scan", "participant_id", "site", "age", "sex"]
    who = fit.cohort.table.iloc[fit.rows][columns].to_csv(index=False)
    contents = [store.path(fit.cohort.files[row]).name for row in fit.rows]
    text = "\n".join([_METHOD, origin, fit.settings.model_dump_json(), who, *contents])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
