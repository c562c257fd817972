"""Name the scans of a table by participant, session and run, and match two tables by these names.

A session is a visit and a run is a repetition within it, as defined by BIDS,
https://bids-specification.readthedocs.io/en/stable/appendices/entities.html.
"""

from collections.abc import Iterable

import pandas as pd

from fedcl.config.data import Columns

ENTITIES = {"session": "ses", "run": "run"}
"""Column name of each BIDS entity, and its key in file names."""

_ABSENT = {"", "n/a", "na", "nan", "none", "null"}


def describe_scans(ids: pd.Series, table: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return a table of participant_id, and of session and run where `table` has these columns."""
    named = pd.DataFrame({"participant_id": ids})
    for entity, word in ENTITIES.items():
        name = getattr(columns, entity)
        if name in table.columns:
            named[entity] = table[name].astype(str).map(lambda text, word=word: _label(text, word))
    return named


def scan_names(table: pd.DataFrame) -> pd.Series:
    """Return the name of each scan: `ID_ses-1_run-2`, or the id of a participant with one scan."""
    ids = table["participant_id"]
    return _names(table, ENTITIES).where(ids.duplicated(keep=False), ids)


def matching(wanted: pd.DataFrame, found: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return names of the rows of two tables, made of the id and the entities that both have."""
    common = [entity for entity in ENTITIES if entity in wanted and entity in found]
    return _names(wanted, common), _names(found, common)


def _names(table: pd.DataFrame, entities: Iterable[str]) -> pd.Series:
    names = table["participant_id"]
    for entity in entities:
        if entity in table:
            labels, word = table[entity], ENTITIES[entity]
            names = names + ("_" + word + "-" + labels).where(labels != "", "")
    return names


def _label(text: str, word: str) -> str:
    """Return the plain label: `ses-1` and 1.0, read from a column of floats, both give 1."""
    label = text.strip().removeprefix(f"{word}-")
    if label.lower() in _ABSENT:
        return ""
    return label[:-2] if label.endswith(".0") and label[:-2].isdecimal() else label
