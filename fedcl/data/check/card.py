"""A site's card: what its data are like, without anything about one participant.

Numbers of people with something (a decade of age, a sex, a scanner) are bands
(`bands`); sizes, and how many rows or files are wrong, are exact. No id, date, path or
smallest or largest age is in it. Cards of one site at two times can be compared, and a band that
moved between them tells of who came: hand over one.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fedcl.config.site import SiteSettings
from fedcl.data.check.bands import WIDTH, bands_of_groups, bands_of_values
from fedcl.data.cohort import SPLITS, Cohort
from fedcl.data.headers import read_header
from fedcl.data.participants import OLDEST_YEARS
from fedcl.data.problems import Problems, listed

Bands = dict[str, str]

_SCANNER = (
    *("magneticfieldstrength", "fieldstrength", "manufacturer", "manufacturersmodelname", "model"),
    *("scanner", "scannermodel", "acquisitionsetting"),
)
"""Columns that tell of scanners in BIDS's and OpenBHB's spellings; case and underscores aside."""
_DECADES = tuple(f"{year}-{year + 9}" for year in range(0, int(OLDEST_YEARS), 10))
_ABSENT = {"", "n/a", "na", "nan", "none", "null"}


@dataclass(frozen=True)
class Defects:
    """How much is wrong with a site's data, or worth a look.

    Attributes:
        without_age: Participants.
        without_sex: Participants.
        without_scan: Participants with a scan that is listed and not there.
        unreadable_scans: There, and broken.
        listed_twice: Participants.
        copied_scans: Scans with exactly the content of another one; None: not looked for.
        outliers: Scans far from the others; None with fewer than 8 to compare.
    """

    without_age: int
    without_sex: int
    without_scan: int
    unreadable_scans: int
    listed_twice: int
    copied_scans: int | None
    outliers: int | None


@dataclass(frozen=True)
class SiteCard:
    """What a site tells of its data.

    Attributes:
        site: Its label.
        kind: Of data: openbhb, nifti or table.
        preprocessing: Modality and intensity, as in `data`; empty for tables.
        participants: How many in each split, and in all.
        scans: Likewise; None in a split that is drawn, where participants have several scans.
        ages: Band of each decade of age, at the first scan; None: withheld.
        median_age: Whole years; None with fewer than 5 participants.
        sexes: Band of each sex, of those whose sex is known; None: withheld.
        scanner: Band of each value of each column about scanners; None: withheld.
        file_shape: Band of each shape of the scans' own files; None: withheld, or no such thing.
        file_voxel_mm: Of each voxel size in mm.
        file_axes: Of each direction of the axes.
        array_shape: Of a scan as a model sees it.
        defects: How much is wrong.
    """

    site: str
    kind: str
    preprocessing: str
    participants: dict[str, int]
    scans: dict[str, int | None]
    ages: Bands | None
    median_age: int | None
    sexes: Bands | None
    scanner: dict[str, Bands | None]
    file_shape: Bands | None
    file_voxel_mm: Bands | None
    file_axes: Bands | None
    array_shape: tuple[int, ...]
    defects: Defects


def site_card(
    settings: SiteSettings,
    cohort: Cohort,
    rows: Sequence[int],
    defects: Defects,
    problems: Problems,
) -> SiteCard:
    """Describe a site.

    Args:
        settings: The site's.
        cohort: Its own.
        rows: Those whose scan and age can be read, at least one.
        defects: Found before.
        problems: Gets a note of who has the rare values, which the card does not name.
    """
    data, table = settings.data, cohort.table.iloc[list(rows)]
    people = table.groupby("participant_id", sort=False)
    first_ages, sexes = people["age"].min(), people["sex"].max()
    scans: dict[str, int | None] = dict(_sizes(table))
    if getattr(data, "splits", None) is not None and len(table) > len(people):
        scans |= dict.fromkeys(SPLITS)
    preprocessing = [getattr(data, key, None) for key in ("modality", "intensity")]
    headers = [read_header(cohort.files[row]) if cohort.files else None for row in rows]

    def bands(what: str, values: Sequence[object]) -> Bands | None:
        of = _one_each(table["participant_id"], values)
        _note_rare(what, of, problems)
        return bands_of_values(list(of.values()))

    return SiteCard(
        site=settings.site,
        kind=data.kind,
        preprocessing=", ".join(dict.fromkeys(part for part in preprocessing if part)),
        participants=_sizes(table.drop_duplicates("participant_id")),
        scans=scans,
        ages=bands_of_groups(_decades(first_ages)),
        median_age=round(float(first_ages.median())) if len(people) >= WIDTH else None,
        sexes=bands_of_groups({sex: int((sexes == sex).sum()) for sex in ("female", "male")}),
        scanner={
            str(name): bands(str(name), table[name].tolist())
            for name in table.columns
            if re.sub("[^a-z]", "", str(name).lower()) in _SCANNER
        },
        file_shape=bands("shape of the file", [h and h.shape for h in headers]),
        file_voxel_mm=bands("voxel size", [h and h.voxel_mm for h in headers]),
        file_axes=bands("direction of the axes", [h and h.axes for h in headers]),
        array_shape=cohort.shape,
        defects=defects,
    )


def _sizes(table: pd.DataFrame) -> dict[str, int]:
    return {split: int((table["split"] == split).sum()) for split in SPLITS} | {"all": len(table)}


def _decades(ages: pd.Series) -> dict[str, int]:
    places = np.minimum(ages.to_numpy() // 10, len(_DECADES) - 1)
    return {decade: int((places == place).sum()) for place, decade in enumerate(_DECADES)}


def _one_each(participants: pd.Series, values: Sequence[object]) -> dict[str, str | None]:
    """Return each participant's value; None where none is known, or their scans differ."""
    of: dict[str, set[str]] = defaultdict(set)
    for participant, value in zip(participants, values, strict=True):
        of[participant] |= {_plain(str(value))} - {""}
    return {who: next(iter(found)) if len(found) == 1 else None for who, found in of.items()}


def _plain(text: str) -> str:
    """A number read as a float, 3.0, is 3; what is not known is empty."""
    text = text.strip()
    if text.lower() in _ABSENT:
        return ""
    return text.rstrip("0").rstrip(".") if re.fullmatch(r"\d+\.\d+", text) else text


def _note_rare(what: str, of: dict[str, str | None], problems: Problems) -> None:
    """Note who differs from the site's usual value, where few do."""
    numbers = Counter(of.values())
    usual = max(numbers, key=lambda value: numbers[value])
    rare = [who for who, value in of.items() if value != usual and numbers[value] < WIDTH]
    if rare:
        problems.notes.append(f"{what}: not {usual!r}, as most: {listed(rare)}")
