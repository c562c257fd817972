"""Read and check the participants table: site, age, sex and split of every participant.

Every kind of defect gives one message. A participant may have several rows, one for each scan; they
share a site, a sex and a split, and ages may differ.
"""

import difflib
from pathlib import Path

import numpy as np
import pandas as pd

from fedcl.config.data import Columns
from fedcl.data.cohort import EXTERNAL_TEST, INTERNAL_TEST, TRAIN
from fedcl.data.problems import Problems
from fedcl.data.scans import describe_scans, scan_names
from fedcl.errors import DataError
from fedcl.site_labels import site_order

OLDEST_YEARS = 120.0
_ABSENT = {"", "n/a", "na", "nan", "none", "null"}
_OF_THE_PARTICIPANT = {
    "site": "all scans of a participant belong to one site; correct it, or leave the others out",
    "sex": "correct it, or write n/a",
    "split": "all scans of a participant belong to one split, or the test would know them",
}
_LABELS_SHOWN = 10
_SEXES = {"female": "female", "f": "female", "male": "male", "m": "male"}
_SPLITS = {
    "train": TRAIN,
    "training": TRAIN,
    "internal_test": INTERNAL_TEST,
    "internal_val": INTERNAL_TEST,
    "internal": INTERNAL_TEST,
    "external_test": EXTERNAL_TEST,
    "external_val": EXTERNAL_TEST,
    "external": EXTERNAL_TEST,
}


def read_table(path: Path) -> pd.DataFrame:
    """Return a tsv or csv file as a table of texts, without converting any value.

    Raises:
        DataError: the file is absent, empty or not a table.
    """
    if not path.exists():
        raise DataError(f"{path}: not found; expected a participants table (tsv or csv)")
    separator = "," if path.suffix == ".csv" else "\t"
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not a table separated by {'commas' if separator == ',' else 'tabs'}: {error}"
        ) from None
    if table.empty:
        raise DataError(f"{path}: no participants in it")
    return table.map(str.strip)


def column(table: pd.DataFrame, name: str, path: Path) -> pd.Series:
    """Return the named column of a table.

    Raises:
        DataError: the column is missing; the message offers the nearest name.
    """
    if name in table.columns:
        return table[name]
    close = difflib.get_close_matches(name, table.columns, n=1, cutoff=0.4)
    nearest = f" (is it {close[0]!r}?)" if close else ""
    raise DataError(
        f"{path}: column {name!r} is missing{nearest}; found {', '.join(table.columns)}. Rename "
        "the column, or name yours in data.columns"
    )


def plain_id(text: str) -> str:
    """Return a participant id without the BIDS prefix `sub-`."""
    return text.removeprefix("sub-")


def tidy(
    table: pd.DataFrame,
    columns: Columns,
    path: Path,
    problems: Problems,
    *,
    needs_split: bool,
    own_site: str | None = None,
) -> pd.DataFrame:
    """Return a table of participant_id, scan, site, age, sex, split and all other columns.

    Session and run are included where the table has them. Scans without an age are left out and
    noted. Sex may be absent; numeric codes are refused, since data sets disagree on their meaning.

    Args:
        table: Participants table as `read_table` returns it.
        columns: Names of the columns in this table.
        path: File of the table, named in messages.
        problems: Collection to which defects are added.
        needs_split: Whether the split is read from the table rather than drawn later.
        own_site: Label of the only site whose rows are read; where `columns.site` is null, all rows
            belong to it. None reads all sites.

    Raises:
        DataError: a column is missing, no row belongs to `own_site`, or nobody has an age.
    """
    labels = _sites(table, columns, path, own_site)
    if own_site is not None:
        own = _own(labels, own_site, columns, path)
        _not_elsewhere(column(table, columns.participant, path), own, path, problems)
        table, labels = table[own], labels[own]
    ids = column(table, columns.participant, path).map(plain_id)
    tidied = describe_scans(ids, table, columns)
    tidied["scan"] = scan_names(tidied)
    again = tidied["scan"].duplicated()
    problems.who["twice"] = tuple(ids[again].unique())
    problems.add_each(
        str(path),
        "listed more than once",
        list(tidied["scan"][again].unique()),
        f"keep one row for each, or tell scans apart in columns {columns.session!r} and "
        f"{columns.run!r}",
    )
    tidied["site"] = labels
    no_site = list(ids[tidied["site"].isin(_ABSENT)])
    problems.add_each(str(path), f"no {columns.site!r}", no_site, "every participant has one site")
    tidied["age"] = _ages(column(table, columns.age, path), ids, columns.age, path, problems)
    tidied["sex"] = _sexes(table, columns, ids, path, problems)
    if needs_split:
        tidied["split"] = _splits(column(table, columns.split, path), ids, path, problems)
    _same_for_all_scans(tidied, path, problems)
    named = set(columns.model_dump().values())
    covariates = [name for name in table.columns if name not in named | set(tidied.columns)]
    tidied = pd.concat([tidied, table[covariates]], axis=1)

    missing = column(table, columns.age, path).str.lower().isin(_ABSENT)
    problems.who["age"] = tuple(ids[missing].unique())
    if missing.all():
        raise DataError(f"{path}: nobody has an age in {columns.age!r}; write years")
    if missing.any():
        problems.notes.append(f"{path}: {int(missing.sum())} participants without age left out")
    return tidied[~missing].reset_index(drop=True)


def _sites(table: pd.DataFrame, columns: Columns, path: Path, own_site: str | None) -> pd.Series:
    if columns.site is not None:
        return column(table, columns.site, path).map(_label)
    if own_site is None:
        raise DataError(
            f"{path}: data.columns.site is null and nobody says whose rows these are; name the "
            "column with the sites (null is for SITE.yaml)"
        )
    return pd.Series(own_site, index=table.index)


def _own(labels: pd.Series, own_site: str, columns: Columns, path: Path) -> pd.Series:
    own = labels == own_site
    if not own.any():
        others = sorted(labels.unique(), key=site_order)
        close = difflib.get_close_matches(own_site, others, n=1, cutoff=0.4)
        nearest = f" (is it {close[0]!r}?)" if close else ""
        more = ", ..." if len(others) > _LABELS_SHOWN else ""
        raise DataError(
            f"{path}: no row is of site {own_site!r}{nearest}; column {columns.site!r} has "
            f"{', '.join(others[:_LABELS_SHOWN])}{more}. Write the site as the table does, or "
            "data.columns.site: null where all rows are its own"
        )
    return own


def _not_elsewhere(ids: pd.Series, own: pd.Series, path: Path, problems: Problems) -> None:
    """Report participants of this site who also have scans at another site."""
    ids = ids.map(plain_id)
    elsewhere = ids[own & ids.isin(set(ids[~own]))]
    problems.add_each(
        str(path), "scans differ in site", list(elsewhere.unique()), _OF_THE_PARTICIPANT["site"]
    )


def _same_for_all_scans(tidied: pd.DataFrame, path: Path, problems: Problems) -> None:
    """Report participants whose scans differ in site, sex or split."""
    for name, remedy in _OF_THE_PARTICIPANT.items():
        if name in tidied:
            known = tidied[~tidied[name].isin(_ABSENT) & tidied[name].notna()]
            values = known.groupby("participant_id", sort=False)[name].nunique()
            several = list(values.index[values > 1])
            problems.add_each(str(path), f"scans differ in {name}", several, remedy)


def _label(text: str) -> str:
    """Return the site's label; a label read as a float, such as 3.0, becomes 3."""
    return text[:-2] if text.endswith(".0") and text[:-2].isdecimal() else text


def _ages(texts: pd.Series, ids: pd.Series, name: str, path: Path, problems: Problems) -> pd.Series:
    present = ~texts.str.lower().isin(_ABSENT)
    ages = pd.to_numeric(texts.where(present), errors="coerce").astype(float)
    unreadable = present & ages.isna()
    problems.add_each(
        str(path), f"{name!r} is not a number", list(ids[unreadable]), "write years, or n/a"
    )
    known = ages[ages.notna()]
    if len(known) and known.median() > OLDEST_YEARS:
        problems.add(
            f"{path}: {name!r} looks like months (median {known.median():g}); divide by 12, ages "
            "are years"
        )
        return ages
    outside = ages.notna() & ~((ages > 0) & (ages <= OLDEST_YEARS) & np.isfinite(ages))
    problems.add_each(
        str(path),
        f"{name!r} outside 0-{OLDEST_YEARS:g} years",
        [f"{i} ({a:g})" for i, a in zip(ids[outside], ages[outside], strict=True)],
        "correct it, or write n/a to leave the participant out",
    )
    return ages


def _sexes(
    table: pd.DataFrame, columns: Columns, ids: pd.Series, path: Path, problems: Problems
) -> pd.Series:
    if columns.sex not in table.columns:
        problems.notes.append(f"{path}: no column {columns.sex!r}; sex is unknown")
        return pd.Series("", index=table.index)
    texts = table[columns.sex].str.lower()
    unknown = ~texts.isin(_SEXES) & ~texts.isin(_ABSENT)
    codes = sorted(set(table[columns.sex][unknown]))
    problems.add_each(
        str(path),
        f"unknown sex code {', '.join(map(repr, codes[:3]))}",
        list(ids[unknown]),
        "write female, male or n/a",
    )
    return texts.map(_SEXES).fillna("")


def _splits(texts: pd.Series, ids: pd.Series, path: Path, problems: Problems) -> pd.Series:
    split = texts.str.lower().map(_SPLITS)
    wrong = split.isna()
    problems.add_each(
        str(path),
        f"unknown split {', '.join(map(repr, sorted(set(texts[wrong]))[:3]))}",
        list(ids[wrong]),
        "write train, internal_test or external_test",
    )
    return split
