"""Which rows of a table are of one participant, and what tells their scans apart.

A session is a visit, a run a repetition within it: entities of BIDS,
https://bids-specification.readthedocs.io/en/stable/appendices/entities.html.
"""

from collections.abc import Iterable

import pandas as pd

from fedcl.config.data import Columns

ENTITIES = {"session": "ses", "run": "run"}
"""Column, and the word for it in names of files."""

_ABSENT = {"", "n/a", "na", "nan", "none", "null"}


def described(ids: pd.Series, table: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return participant_id, and session and run where the table has such columns."""
    found = pd.DataFrame({"participant_id": ids})
    for entity, word in ENTITIES.items():
        name = getattr(columns, entity)
        if name in table.columns:
            found[entity] = table[name].astype(str).map(lambda text, word=word: _label(text, word))
    return found


def scan_names(table: pd.DataFrame) -> pd.Series:
    """Return the name of each scan: `ID_ses-1_run-2`, or the id where it is the only one."""
    ids = table["participant_id"]
    return _names(table, ENTITIES).where(ids.duplicated(keep=False), ids)


def matching(wanted: pd.DataFrame, found: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Return names of the rows of two tables, made of the id and of what both tell scans by."""
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
    """`ses-1`, and a label read from a column of floats, 1.0, are the label 1."""
    label = text.strip().removeprefix(f"{word}-")
    if label.lower() in _ABSENT:
        return ""
    return label[:-2] if label.endswith(".0") and label[:-2].isdecimal() else label
