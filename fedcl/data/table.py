"""Read a table of ROI measures: one row per scan, each measure in its own unit.

The measures are not standardised here: the encoder does it, from sums that add across sites.
"""

import hashlib

import numpy as np
import pandas as pd

from fedcl.config.data import TableData
from fedcl.data.cohort import Cohort, in_site_order, manifest_digest
from fedcl.data.participants import column, plain_id, read_table, tidy
from fedcl.data.problems import Problems
from fedcl.data.scans import describe_scans, matching
from fedcl.data.splits import draw_splits
from fedcl.errors import DataError


def read_table_cohort(
    data: TableData, *, seed: int, problems: Problems, own_site: str | None = None
) -> Cohort:
    """Return the cohort of a table; every numeric column of the features file is a feature.

    Problems of single participants are collected in `problems`; one that prevents reading the
    cohort at all is raised. With `own_site`, rows of other sites are not used.

    Raises:
        DataError: the folder or a file does not exist, a column is missing, or none is numeric.
    """
    if not data.path.is_dir():
        raise DataError(f"{data.path}: no such folder; set data.path to the table's folder")
    who, what = data.path / data.participants, data.path / data.features
    table = tidy(
        read_table(who),
        data.columns,
        who,
        problems,
        needs_split=data.splits is None,
        own_site=own_site,
    )
    raw = read_table(what)
    ids = column(raw, data.columns.participant, what).map(plain_id)
    # A features file may repeat the participants' columns: age must not become a feature.
    texts = raw.drop(columns=list(set(data.columns.model_dump().values()) & set(raw.columns)))
    numbers = texts.apply(pd.to_numeric, errors="coerce")
    measures = numbers.loc[:, numbers.notna().mean() > 0.5]
    if measures.shape[1] == 0:
        raise DataError(f"{what}: no numeric column; expected one measure per column")
    if own_site is not None:
        own = ids.isin(set(table["participant_id"]))
        raw, ids = raw[own].reset_index(drop=True), ids[own].reset_index(drop=True)
        measures = measures[own].reset_index(drop=True)
    wanted, present = matching(table, describe_scans(ids, raw, data.columns))
    told_apart = "tell scans apart in the columns that the participants table has for it"
    repeated = list(present[present.duplicated()].unique())
    problems.add_each(
        str(what), "listed more than once", repeated, f"keep one row, or {told_apart}"
    )
    shared = list(wanted[wanted.duplicated() & ~table["scan"].duplicated()].unique())
    problems.add_each(str(what), "one row of features for several scans", shared, told_apart)
    without = ~wanted.isin(set(present))
    problems.who["scan"] = tuple(table["participant_id"][without].unique())
    absent = sorted(set(wanted[without]))
    problems.add_each(str(what), "no row of features", absent, f"add it, or remove them from {who}")
    bad = ~np.isfinite(measures.to_numpy(dtype=np.float64))
    for row in np.flatnonzero(bad.any(axis=1)):
        if present[row] in set(wanted):
            columns = ", ".join(measures.columns[bad[row]][:3])
            problems.add(
                f"{what}: participant {present[row]}: not a finite number in {columns}; fill it in "
                "or remove the participant"
            )
    table = table[wanted.isin(set(present[~bad.any(axis=1)]))].reset_index(drop=True)
    if table.empty:
        problems.stop_if_any()
    if data.splits is not None:
        table["split"] = draw_splits(table, data.splits, seed=seed, one_site=own_site is not None)
    table = in_site_order(table)
    wanted, present = matching(table, describe_scans(ids, raw, data.columns))
    place = pd.Series(range(len(present)), index=present)
    place = place[~place.index.duplicated()]
    features = measures.to_numpy(dtype=np.float32)[place[wanted].to_numpy()]
    return Cohort(
        name=f"table {data.path.name}",
        table=table,
        shape=(features.shape[1],),
        read=lambda row: features[row],
        digest=manifest_digest(table, [hashlib.sha256(features.tobytes()).hexdigest()]),
    )
