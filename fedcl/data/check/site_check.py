"""Look at one site's data before it joins a federation: every problem, and the site's card."""

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

_TELLING = 8
"""Elements of an array below which two participants can be the same by chance."""
_NO_SEED = 0
"""Where a split is drawn, each experiment draws its own: of other participants, as many."""


@dataclass(frozen=True)
class SiteCheck:
    """What was found at a site; all but the card names participants and stays there.

    Attributes:
        card: None where nothing could be read.
        may_leave: Whether the site has the participants that it asks for before anything leaves.
        problems: What prevents training.
        notes: What is good to know.
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
    """Read a site's own data, every scan of it and nobody else's, and describe them.

    Args:
        settings: The site's.
        cache: Where preprocessed volumes are kept.
        progress: Told how many scans are read and compared.
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
    dated = np.isfinite(ages) & (ages > 0) & (ages <= OLDEST_YEARS)
    rows = [row for row in digests if dated[row]]
    if not rows:
        raise DataError(f"{cohort.name}: site {settings.site} has no scan with an age to describe")
    people = cohort.table["participant_id"]
    known = set(people.iloc[rows][cohort.table["sex"].iloc[rows] != ""])
    defects = Defects(
        without_age=len(set(problems.who.get("age", ())) | set(people[~dated])),
        without_sex=len(set(people.iloc[rows]) - known),
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
    """Return the hash of each array that can be read, by row, and how many are broken."""

    def read(row: int) -> tuple[str | None, str | None]:
        try:
            array = np.ascontiguousarray(cohort.read(row))
        except DataError as error:
            return None, str(error)
        except FileNotFoundError:
            return None, None  # already reported, with the other absent scans
        return hashlib.sha256(array.tobytes()).hexdigest(), None

    found = in_threads(read, range(len(cohort)), progress=progress, what="Reading scans")
    messages = [message for _, message in found if message is not None]
    for message in messages:
        problems.add(message)
    digests = {row: digest for row, (digest, _) in enumerate(found) if digest is not None}
    return digests, len(messages)


def _copies(cohort: Cohort, digests: dict[int, str], problems: Problems) -> int | None:
    """Return how many scans repeat another's content, and say which."""
    if np.prod(cohort.shape) < _TELLING:
        problems.notes.append(
            f"{cohort.name}: fewer than {_TELLING} features, so equal rows are not looked for"
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
    """Return how many scans are far from the others, and note which."""
    if len(rows) < FEWEST_SCANS:
        return None
    found = distances(cohort.read, rows, progress=progress)
    names, usual, away = cohort.table["scan"].tolist(), float(np.median(found)), outliers(found)
    for position in away:
        problems.notes.append(
            f"far from the site's other scans: {listed([names[rows[position]]])} (distance "
            f"{found[position]:.2f}, usually {usual:.2f}); look at it"
        )
    return len(away)
