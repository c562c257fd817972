"""What is known of the participants of a split, in the order in which the probes see them."""

from dataclasses import dataclass

import numpy as np

from fedcl import pooled
from fedcl.config.experiment import Config
from fedcl.data.cohort import TRAIN, Cohort, Rows

_TESLA = "magnetic_field_strength"


@dataclass(frozen=True)
class People:
    """Participants, each once.

    Attributes:
        sites: Labels.
        sexes: "female", "male" or "".
        ages: Years, mean over their scans.
        tesla: Field strength, as the table has it; "" where it is unknown.
    """

    sites: np.ndarray
    sexes: np.ndarray
    ages: np.ndarray
    tesla: np.ndarray

    def __len__(self) -> int:
        return len(self.ages)


def people_of(cohort: Cohort, split: str, config: Config) -> People:
    """Return the participants of a split, in the order of `fedcl.outcome.split_of`."""
    rows = pooled.training_rows(cohort, config) if split == TRAIN else cohort.rows(split=split)
    return _people(cohort, rows)


def people_alone(cohort: Cohort, sites: tuple[str, ...], split: str) -> People:
    """Return the participants of a split site by site, as sites that train alone predict them."""
    return _people(cohort, np.concatenate([cohort.rows(split=split, site=site) for site in sites]))


def _people(cohort: Cohort, rows: Rows) -> People:
    owners = cohort.owners(rows)
    _, first, scans = np.unique(owners, return_index=True, return_counts=True)
    table = cohort.table.iloc[rows[first]]
    tesla = table[_TESLA].astype(str).to_numpy() if _TESLA in table else np.full(len(first), "")
    return People(
        sites=table["site"].to_numpy(dtype=str),
        sexes=table["sex"].to_numpy(dtype=str),
        ages=np.bincount(owners, weights=cohort.ages(rows)) / scans,
        tesla=tesla,
    )
