"""Summarise a site's data on a card that holds nothing about a single participant.

Numbers of people in a group (a decade of age, a sex, a scanner) are bands (`bands`); sample sizes
and numbers of defective rows or files are exact. The card has no id, date or path, nor the smallest
or largest age. Two cards of one site from different times can be compared, and a band that has
changed tells about the participants who were added: a site should hand over only one.
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
"""Names of columns that describe scanners in BIDS and OpenBHB, in lower case, letters only."""
_DECADES = tuple(f"{year}-{year + 9}" for year in range(0, int(OLDEST_YEARS), 10))
_ABSENT = {"", "n/a", "na", "nan", "none", "null"}


@dataclass(frozen=True)
class Defects:
    """Count the defects of a site's data, and the scans that should be looked at.

    Attributes:
        without_age: Number of participants without a valid age.
        without_sex: Number of participants whose sex is unknown.
        without_scan: Number of participants with a listed scan that has no file.
        unreadable_scans: Number of scans whose file exists and cannot be read.
        listed_twice: Number of participants with a scan listed more than once.
        copied_scans: Number of scans with exactly the content of another one; None where arrays are
            too short to compare.
        outliers: Number of scans far from the others; None with fewer than 8 scans to compare.
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
    """Describe a site's data by numbers that may be handed over.

    Attributes:
        site: Label of the site.
        kind: Kind of data: openbhb, nifti or table.
        preprocessing: Modality and intensity, as in the `data` section; empty for tables.
        participants: Number of participants in each split and in all.
        scans: Number of scans in each split and in all; None for a split that is drawn and whose
            participants have several scans.
        ages: Band of each decade of age at the first scan; None where withheld.
        median_age: Median age at the first scan in whole years; None with fewer than 5 people.
        sexes: Band of each sex among participants whose sex is known; None where withheld.
        scanner: Band of each value of each column about scanners; None where withheld.
        file_shape: Band of each shape of the scans' files; None where withheld or without files.
        file_voxel_mm: Band of each voxel size in mm; None where withheld or without files.
        file_axes: Band of each orientation of the axes; None where withheld or without files.
        array_shape: Shape of a scan's array as an encoder receives it.
        defects: Numbers of defective participants and scans.
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
    """Return the card of a site.

    Args:
        settings: Settings file of the site.
        cohort: Cohort of this site's participants alone.
        rows: Rows whose scan and age can be read, at least one.
        defects: Numbers of defects counted while the scans were read.
        problems: Collection that gets a note on participants with rare values, which the card does
            not name.
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
    """Return each participant's value; None where it is unknown or differs between their scans."""
    distinct: dict[str, set[str]] = defaultdict(set)
    for participant, value in zip(participants, values, strict=True):
        distinct[participant] |= {_plain(str(value))} - {""}
    return {who: next(iter(own)) if len(own) == 1 else None for who, own in distinct.items()}


def _plain(text: str) -> str:
    """Return a text without the decimals that a float column adds (3.0 becomes 3); "" if absent."""
    text = text.strip()
    if text.lower() in _ABSENT:
        return ""
    return text.rstrip("0").rstrip(".") if re.fullmatch(r"\d+\.\d+", text) else text


def _note_rare(what: str, values: dict[str, str | None], problems: Problems) -> None:
    """Note the participants whose value fewer than 5 have and that is not the most frequent."""
    numbers = Counter(values.values())
    usual = max(numbers, key=lambda value: numbers[value])
    rare = [who for who, value in values.items() if value != usual and numbers[value] < WIDTH]
    if rare:
        problems.notes.append(f"{what}: not {usual!r}, as most: {listed(rare)}")
