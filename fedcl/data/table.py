"""A ROI table: one row of measures per scan, each measure in its own unit.

Standardisation is not done here: the encoder does it, from sums that add across sites.
"""

import hashlib

import numpy as np
import pandas as pd

from fedcl.config.data import TableData
from fedcl.data.cohort import Cohort, in_site_order, manifest_digest
from fedcl.data.participants import column, plain_id, read_table, tidy
from fedcl.data.problems import Problems
from fedcl.data.scans import described, matching
from fedcl.data.splits import draw_splits
from fedcl.errors import DataError


def read_table_cohort(data: TableData, *, seed: int, problems: Problems) -> Cohort:
    """Return the cohort; every numeric column of the features file is a feature.

    Raises:
        DataError: no such folder or file, a missing column, no numeric column.
    """
    if not data.path.is_dir():
        raise DataError(f"{data.path}: no such folder; set data.path to the table's folder")
    who, what = data.path / data.participants, data.path / data.features
    table = tidy(read_table(who), data.columns, who, problems, needs_split=data.splits is None)
    raw = read_table(what)
    ids = column(raw, data.columns.participant, what).map(plain_id)
    # A features file may repeat the participants' columns: age as a feature would be the answer.
    texts = raw.drop(columns=list(set(data.columns.model_dump().values()) & set(raw.columns)))
    numbers = texts.apply(pd.to_numeric, errors="coerce")
    measures = numbers.loc[:, numbers.notna().mean() > 0.5]
    if measures.shape[1] == 0:
        raise DataError(f"{what}: no numeric column; expected one measure per column")
    wanted, found = matching(table, described(ids, raw, data.columns))
    told_apart = "tell scans apart in the columns that the participants table has for it"
    repeated = list(found[found.duplicated()].unique())
    problems.add_each(
        str(what), "listed more than once", repeated, f"keep one row, or {told_apart}"
    )
    shared = list(wanted[wanted.duplicated() & ~table["scan"].duplicated()].unique())
    problems.add_each(str(what), "one row of features for several scans", shared, told_apart)
    absent = sorted(set(wanted) - set(found))
    problems.add_each(str(what), "no row of features", absent, f"add it, or remove them from {who}")
    bad = ~np.isfinite(measures.to_numpy(dtype=np.float64))
    for row in np.flatnonzero(bad.any(axis=1)):
        if found[row] in set(wanted):
            columns = ", ".join(measures.columns[bad[row]][:3])
            problems.add(
                f"{what}: participant {found[row]}: not a finite number in {columns}; fill it in "
                "or remove the participant"
            )
    problems.stop_if_any()
    if data.splits is not None:
        table["split"] = draw_splits(table, data.splits, seed=seed)
    table = in_site_order(table)
    wanted, found = matching(table, described(ids, raw, data.columns))
    place = pd.Series(range(len(found)), index=found)
    features = measures.to_numpy(dtype=np.float32)[place[wanted].to_numpy()]
    return Cohort(
        name=f"table {data.path.name}",
        table=table,
        shape=(features.shape[1],),
        read=lambda row: features[row],
        digest=manifest_digest(table, [hashlib.sha256(features.tobytes()).hexdigest()]),
    )
