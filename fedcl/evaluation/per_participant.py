"""Average the features of each participant's scans, so that every participant is measured once."""

import numpy as np

from fedcl.data.cohort import Cohort, Rows
from fedcl.evaluation.split import Split


def per_participant(
    cohort: Cohort, features: np.ndarray, rows: Rows, site: str | None = None
) -> Split:
    """Return one row per participant for the probes: the means of their scans' features and ages.

    Args:
        cohort: Cohort that the scans belong to.
        features: Features of the scans in `rows`, shape (scans, dim).
        rows: Rows of all scans of some participants.
        site: Label given to all participants instead of their own, for participants of other sites
            under one site's encoder; None keeps their own.
    """
    owners = cohort.owners(rows)
    _, first, scans = np.unique(owners, return_index=True, return_counts=True)
    means = np.zeros((len(first), features.shape[1]), dtype=features.dtype)
    np.add.at(means, owners, features)
    sites = cohort.table["site"].to_numpy(dtype=str)[rows][first]
    return Split(
        means / scans[:, None].astype(features.dtype),
        np.bincount(owners, weights=cohort.ages(rows)) / scans,
        sites if site is None else np.full(len(first), site),
    )
