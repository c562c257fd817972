"""Returns site, sex and field strength of a split's participants, in the order of the probes."""

import numpy as np
import pandas as pd

from fedcl.config.federation import Local
from fedcl.data.cohort import TRAIN, Cohort, Rows, training_rows
from fedcl.evaluation.cells import People

_TESLA = "magnetic_field_strength"


def people_of(cohort: Cohort, split: str, local: Local) -> People:
    """Return the participants of a split, in the order of `fedcl.experiment.evaluate.split_of`."""
    rows = training_rows(cohort, local) if split == TRAIN else cohort.rows(split=split)
    return _people(cohort, rows)


def people_by_site(cohort: Cohort, split: str, local: Local) -> People:
    """Return the participants of a split at the training sites, site by site.

    This is the order in which sites that train alone predict them.
    """
    sites = cohort.training_sites(min_participants=local.min_participants)
    return _people(cohort, np.concatenate([cohort.rows(split=split, site=site) for site in sites]))


def _people(cohort: Cohort, rows: Rows) -> People:
    _, first = np.unique(cohort.owners(rows), return_index=True)
    table = cohort.table.iloc[rows[first]]
    tesla = None
    if _TESLA in table:
        tesla = pd.to_numeric(table[_TESLA], errors="coerce").to_numpy(dtype=np.float64)
    return People(
        sites=table["site"].to_numpy(dtype=str),
        sexes=table["sex"].to_numpy(dtype=str),
        field_strengths=tesla,
    )
