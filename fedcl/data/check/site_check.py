"""Check one site's data before it joins a federation: collect every problem, and make its card."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedcl.compute.progress import SILENT, Progress
from fedcl.compute.threads import in_threads
from fedcl.config.site import SiteSettings
from fedcl.data.check.card import Defects, SiteCard, site_card
from fedcl.data.cohort import TRAIN, Cohort
from fedcl.data.open import survey
from fedcl.data.outliers import FEWEST_SCANS, distances, outliers
from fedcl.data.participants import OLDEST_YEARS
from fedcl.data.problems import Problems, listed
from fedcl.errors import DataError

_FEWEST_ELEMENTS = 8
"""Least number of elements by which arrays are compared; shorter ones can be equal by chance."""
_NO_SEED = 0
"""Seed of the check's own splits; an experiment draws other participants, in the same numbers."""


@dataclass(frozen=True)
class SiteCheck:
    """Hold the result of a site's check; only the card may leave the site.

    Attributes:
        card: Summary without single participants; None where no scan could be read.
        may_leave: Whether the site has at least as many training participants as its own limits
            require before anything computed from them leaves it.
        problems: Messages about problems that prevent training; they name participants.
        notes: Messages that need no correction; they name participants.
    """

    card: SiteCard | None
    may_leave: bool
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def check_site(
    settings: SiteSettings,
    *,
    cache: Path,
    progress: Progress = SILENT,
) -> SiteCheck:
    """Read every scan of one site, and no data of other sites, and describe them.

    Args:
        settings: Settings file of the site.
        cache: Folder in which preprocessed volumes are kept.
        progress: Object that is told how many scans are read and compared.
    """
    problems = Problems()
    card = may_leave = None
    try:
        cohort = survey(
            settings.data, seed=_NO_SEED, cache=cache, problems=problems, own_site=settings.site
        )
        card = _card(settings, cohort, problems, progress)
        may_leave = _enough(settings, card, problems)
    except DataError as error:
        problems.found += [line for line in str(error).splitlines() if line not in problems.found]
    return SiteCheck(card, bool(may_leave), tuple(problems.found), tuple(problems.notes))


def _card(
    settings: SiteSettings, cohort: Cohort, problems: Problems, progress: Progress
) -> SiteCard:
    digests, broken = _read_all(cohort, problems, progress)
    ages = cohort.ages(np.arange(len(cohort)))
    valid = np.isfinite(ages) & (ages > 0) & (ages <= OLDEST_YEARS)
    rows = [row for row in digests if valid[row]]
    if not rows:
        raise DataError(f"{cohort.name}: site {settings.site} has no scan with an age to describe")
    people = cohort.table["participant_id"]
    with_sex = set(people.iloc[rows][cohort.table["sex"].iloc[rows] != ""])
    defects = Defects(
        without_age=len(set(problems.who.get("age", ())) | set(people[~valid])),
        without_sex=len(set(people.iloc[rows]) - with_sex),
        without_scan=len(problems.who.get("scan", ())),
        unreadable_scans=broken,
        listed_twice=len(problems.who.get("twice", ())),
        copied_scans=_copies(cohort, digests, problems),
        outliers=_outliers(cohort, rows, problems, progress),
    )
    return site_card(settings, cohort, rows, defects, problems)


def _enough(settings: SiteSettings, card: SiteCard, problems: Problems) -> bool:
    least, training = settings.limits.min_participants, card.participants[TRAIN]
    if training < least:
        problems.add(
            f"limits.min_participants: {least}, and site {card.site} has {training} training "
            "participants, so nothing computed from them may leave; no experiment could be answered"
        )
    return training >= least


def _read_all(cohort: Cohort, problems: Problems, progress: Progress) -> tuple[dict[int, str], int]:
    """Return the hash of each readable array by row, and the number of unreadable scans."""

    def read(row: int) -> tuple[str | None, str | None]:
        try:
            array = np.ascontiguousarray(cohort.read(row))
        except DataError as error:
            return None, str(error)
        except FileNotFoundError:
            return None, None  # already reported, with the other absent scans
        return hashlib.sha256(array.tobytes()).hexdigest(), None

    results = in_threads(read, range(len(cohort)), progress=progress, what="Reading scans")
    messages = [message for _, message in results if message is not None]
    for message in messages:
        problems.add(message)
    digests = {row: digest for row, (digest, _) in enumerate(results) if digest is not None}
    return digests, len(messages)


def _copies(cohort: Cohort, digests: dict[int, str], problems: Problems) -> int | None:
    """Return the number of scans with the content of another one, and report each such group."""
    if np.prod(cohort.shape) < _FEWEST_ELEMENTS:
        problems.notes.append(
            f"{cohort.name}: fewer than {_FEWEST_ELEMENTS} features, so equal rows are not looked "
            "for"
        )
        return None
    names = cohort.table["scan"].tolist()
    same: dict[str, list[str]] = defaultdict(list)
    for row, digest in digests.items():
        if names[row] not in same[digest]:  # a row that is listed twice is another problem
            same[digest].append(names[row])
    groups = [group for group in same.values() if len(group) > 1]
    for group in groups:
        problems.add(
            f"{cohort.name}: identical content: {listed(group)}; a scan is one participant's, "
            "once: correct the files, or remove the rows of the copies"
        )
    return sum(len(group) - 1 for group in groups)


def _outliers(
    cohort: Cohort, rows: list[int], problems: Problems, progress: Progress
) -> int | None:
    """Return the number of scans far from the others, and note which; None for too few scans."""
    if len(rows) < FEWEST_SCANS:
        return None
    away = distances(cohort.read, rows, progress=progress)
    names, usual, positions = cohort.table["scan"].tolist(), float(np.median(away)), outliers(away)
    for position in positions:
        problems.notes.append(
            f"far from the site's other scans: {listed([names[rows[position]]])} (distance "
            f"{away[position]:.2f}, usually {usual:.2f}); look at it"
        )
    return len(positions)
