"""Check a data set before training: collect every problem, and describe each site in a table."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedcl.compute.progress import SILENT, Progress
from fedcl.compute.threads import in_threads
from fedcl.config.counts import Participants
from fedcl.config.data import Data
from fedcl.data.cohort import EXTERNAL_TEST, INTERNAL_TEST, SPLITS, TRAIN, Cohort
from fedcl.data.open import survey
from fedcl.data.problems import Problems
from fedcl.errors import DataError


@dataclass(frozen=True)
class SiteSummary:
    """Summarise one site of a cohort.

    Attributes:
        site: Label of the site.
        scans: Number of scans of all its participants.
        train: Number of training participants.
        internal: Number of internal test participants.
        external: Number of external test participants.
        ages: Smallest, median and largest age in years.
        female: Share of women among participants whose sex is known, in [0, 1]; None if no sex is
            known.
        trains: Whether the site has enough training participants to take part.
    """

    site: str
    scans: int
    train: Participants
    internal: Participants
    external: Participants
    ages: tuple[float, float, float]
    female: float | None
    trains: bool


@dataclass(frozen=True)
class Preflight:
    """Hold the result of a check; `problems` is empty where training can start."""

    cohort: Cohort | None
    sites: tuple[SiteSummary, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def preflight(
    data: Data,
    *,
    seed: int,
    cache: Path,
    min_participants: int,
    progress: Progress = SILENT,
) -> Preflight:
    """Open a cohort, read every scan's array, and report all problems.

    Volumes that can be read are preprocessed and stored in the cache.
    """
    problems = Problems()
    cohort = None
    try:
        cohort = survey(data, seed=seed, cache=cache, problems=problems, progress=progress)
    except DataError as error:
        problems.found += [line for line in str(error).splitlines() if line not in problems.found]
    if cohort is None:
        return Preflight(None, (), tuple(problems.found), tuple(problems.notes))

    def read(row: int) -> str | None:
        try:
            cohort.read(row)
        except DataError as error:
            return str(error)
        except FileNotFoundError:
            return None  # already reported, with the other absent scans
        return None

    rows = range(len(cohort))
    for message in in_threads(read, rows, progress=progress, what="Reading participants"):
        if message is not None:
            problems.add(message)

    sites = tuple(_summary(cohort, site, min_participants) for site in cohort.sites)
    for summary in sites:
        if 0 < summary.train < min_participants:
            problems.notes.append(
                f"site {summary.site}: {summary.train} training participants, fewer than "
                f"{min_participants} (local.min_participants): evaluated, not trained on"
            )
    if sum(summary.trains for summary in sites) < 2:
        problems.add(
            f"{cohort.name}: fewer than two sites have {min_participants} training participants; "
            "lower local.min_participants or add participants"
        )
    return Preflight(cohort, sites, tuple(problems.found), tuple(problems.notes))


def _summary(cohort: Cohort, site: str, min_participants: int) -> SiteSummary:
    rows = cohort.rows(site=site)
    ages = cohort.ages(rows)
    sexes = cohort.table.iloc[rows][["participant_id", "sex"]]
    known = sexes[sexes["sex"] != ""].drop_duplicates()["sex"]
    sizes = {s: cohort.participants(cohort.rows(split=s, site=site)) for s in SPLITS}
    return SiteSummary(
        site=site,
        scans=len(rows),
        train=sizes[TRAIN],
        internal=sizes[INTERNAL_TEST],
        external=sizes[EXTERNAL_TEST],
        ages=(float(ages.min()), float(np.median(ages)), float(ages.max())),
        female=float((known == "female").mean()) if len(known) else None,
        trains=sizes[TRAIN] >= min_participants,
    )
