"""From scans to participants: each is measured once, however many scans there are."""

import numpy as np

from fedcl.data.cohort import Cohort, Rows
from fedcl.evaluation.split import Split


def per_participant(
    cohort: Cohort, features: np.ndarray, rows: Rows, site: str | None = None
) -> Split:
    """Return what the probes see: each participant once, the mean of their scans and ages.

    Args:
        cohort: Everybody.
        features: Of the scans in `rows`.
        rows: All scans of some participants.
        site: Stands for theirs, where one site's encoder meets others' participants.
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
