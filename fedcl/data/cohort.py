"""A cohort: who the participants are, and their preprocessed arrays, read lazily.

Readers build it, the local round and the evaluation consume it; nothing else opens participants'
data.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fedcl.arrays.feature_sums import FeatureSums
from fedcl.config.counts import Participants
from fedcl.config.experiment import Config
from fedcl.site_labels import site_order

TRAIN, INTERNAL_TEST, EXTERNAL_TEST = SPLITS = ("train", "internal_test", "external_test")

Rows = np.ndarray
"""Row numbers of a cohort's table, int64: one per scan, so their number counts no participants."""


@dataclass(frozen=True)
class Cohort:
    """Participants' scans and their arrays, in the order (site, participant id, scan).

    Attributes:
        name: The cohort's name in messages and reports.
        table: One row per scan: participant_id, scan (its name, unlike any other's: the
            participant's id where they have only one), site (str), age (years, float), sex
            ("female", "male" or ""), split (one of SPLITS); further columns are covariates. Site
            and split are the same for all scans of a participant.
        shape: The shape of one array: (channel, x, y, z) for volumes, (feature,) for ROI tables.
        read: Returns one row's array, float32, or float16 where it comes from a cache;
            deterministic, no augmentation.
        digest: Hash of the scans and of the identity of their data.
        known: The values by which objectives compare participants, by name: one number or array
            per row, float32.
        pairwise: Names of those values that there are one of per pair of rows.
        files: The path of each row's scan; empty for tables.
    """

    name: str
    table: pd.DataFrame
    shape: tuple[int, ...]
    read: Callable[[int], np.ndarray]
    digest: str
    known: Mapping[str, np.ndarray] = field(default_factory=dict)
    pairwise: frozenset[str] = frozenset()
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """The site labels, numbers in numeric order."""
        return tuple(sorted(self.table["site"].unique(), key=site_order))

    def rows(self, *, split: str | None = None, site: str | None = None) -> Rows:
        """Return the rows of a split, a site, or both, ascending."""
        if site is not None:
            rows = self._of_site.get(site, np.empty(0, dtype=np.int64))
        else:
            rows = np.arange(len(self.table))
        return rows.copy() if split is None else rows[self._splits[rows] == split]

    @cached_property
    def _of_site(self) -> dict[str, Rows]:
        # Thousands of sites each ask for their own: the table is walked once.
        groups = self.table.groupby("site", sort=False).indices
        return {str(site): np.asarray(rows, dtype=np.int64) for site, rows in groups.items()}

    @cached_property
    def _splits(self) -> np.ndarray:
        return self.table["split"].to_numpy(dtype=str)

    @cached_property
    def _owner(self) -> np.ndarray:
        return pd.factorize(self.table["participant_id"])[0]

    def training_sites(self, *, min_participants: int) -> tuple[str, ...]:
        """Return the sites with enough training participants to take part."""
        sizes = {site: self.participants(self.rows(split=TRAIN, site=site)) for site in self.sites}
        return tuple(site for site, size in sizes.items() if size >= min_participants)

    def participants(self, rows: Rows) -> Participants:
        """Return how many participants `rows` are the scans of."""
        return Participants(len(np.unique(self._owner[rows])))

    def owners(self, rows: Rows) -> Rows:
        """Return whose scan each of `rows` is; participants count from 0 in order of appearance."""
        return pd.factorize(self._owner[rows])[0]

    def shares(self, rows: Rows) -> np.ndarray:
        """Return one over the number of the participant's scans among `rows`, float64."""
        owners = self.owners(rows)
        return 1 / np.bincount(owners)[owners]

    def ages(self, rows: Rows) -> np.ndarray:
        """Return ages in years, float64."""
        return self._age[rows]

    @cached_property
    def _age(self) -> np.ndarray:
        return self.table["age"].to_numpy(dtype=np.float64)

    def known_of(self, rows: Rows, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the named values of `rows`; of each pair of them, for pairwise values."""
        return {
            name: self.known[name][np.ix_(rows, rows) if name in self.pairwise else rows]
            for name in names
        }

    def only(self, rows: Rows) -> "Cohort":
        """Return the cohort of these rows alone, before anything is known of them."""
        text = " ".join([self.digest, *(str(row) for row in rows)])
        return replace(
            self,
            table=self.table.iloc[rows].reset_index(drop=True),
            read=lambda row: self.read(int(rows[row])),
            digest=hashlib.sha256(text.encode()).hexdigest()[:16],
            files=tuple(self.files[row] for row in rows) if self.files else (),
        )

    def load(self, rows: Sequence[int] | Rows) -> np.ndarray:
        """Return the arrays of `rows`, float32, shape (len(rows), *shape)."""
        import torch  # takes a second, which who only counts participants need not wait

        # NumPy takes eight times as long to widen float16.
        return torch.from_numpy(self.kept(rows)).float().numpy()

    def kept(self, rows: Sequence[int] | Rows) -> np.ndarray:
        """Return the same in the type of `read`, float16 or float32: to be widened on a device."""
        arrays = [self.read(int(row)) for row in rows]
        return np.stack(arrays) if arrays else np.empty((0, *self.shape), dtype=np.float32)


def held_in_memory(cohort: Cohort, *, most_bytes: int = 2**28) -> Cohort:
    """Return the cohort; volumes that all fit into `most_bytes` are read from the disk once."""
    if len(cohort.shape) == 1 or 4 * len(cohort) * math.prod(cohort.shape) > most_bytes:
        return cohort

    @cache
    def read(row: int) -> np.ndarray:
        volume = cohort.read(row)
        volume.flags.writeable = False
        return volume

    return replace(cohort, read=read)


def in_site_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table in the order (site, participant id, scan), which every cohort has."""
    names = zip(table["site"], table["participant_id"], table["scan"], strict=True)
    keys = [(site_order(site), participant, scan) for site, participant, scan in names]
    return table.iloc[sorted(range(len(table)), key=keys.__getitem__)].reset_index(drop=True)


def manifest_digest(table: pd.DataFrame, sources: Sequence[str]) -> str:
    """Return the hash of who takes part and of what identifies each one's data, 16 digits."""
    described = table[["scan", "site", "age", "sex", "split"]]
    described = described.rename(columns={"scan": "participant_id"})
    text = described.to_csv(index=False) + "\n".join(sources)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def training_rows(cohort: Cohort, config: Config) -> Rows:
    """Return the training participants' scans at every site large enough to take part."""
    sites = cohort.training_sites(min_participants=config.local.min_participants)
    return np.concatenate([cohort.rows(split=TRAIN, site=site) for site in sites])


def feature_sums(cohort: Cohort, rows: Rows) -> FeatureSums:
    """Return the sums that standardise a ROI table; a participant's scans share one weight."""
    features = cohort.load(rows).astype(np.float64)
    weights = cohort.shares(rows)[:, None]
    total, squares = (weights * features).sum(axis=0), (weights * features**2).sum(axis=0)
    return FeatureSums(cohort.participants(rows), total, squares)
