"""Hold a cohort: the table of its participants and their preprocessed arrays, read lazily.

The readers of each data format build a cohort; the local round and the evaluation use it. No other
code opens participants' data.
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
from fedcl.config.federation import Local
from fedcl.site_labels import site_order

TRAIN, INTERNAL_TEST, EXTERNAL_TEST = SPLITS = ("train", "internal_test", "external_test")

Rows = np.ndarray
"""Row numbers of a cohort's table, int64: one per scan, so their number counts no participants."""


@dataclass(frozen=True)
class Cohort:
    """Hold the scans of participants and their arrays, in the order (site, participant id, scan).

    Attributes:
        name: Name of the cohort in messages and reports.
        table: One row per scan: participant_id, scan (a unique name: the participant's id where
            they have only one scan), site (str), age (years, float), sex ("female", "male" or ""),
            split (one of SPLITS); further columns are covariates. Site and split are the same for
            all scans of a participant.
        shape: Shape of one array: (channel, x, y, z) for volumes, (feature,) for ROI tables.
        read: Function that returns the array of one row, float32, or float16 where it comes from a
            cache; deterministic, without augmentation.
        digest: Hash of the table and of what identifies each scan's data, 16 hexadecimal digits.
        known: Variables that objectives compare participants by, such as age or an anatomical
            measure: name to one value or array per row, float32, NaN where unknown.
        pairwise: Names of the variables in `known` that hold one value per pair of rows.
        files: File of each row's scan; empty for ROI tables.
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
        """Return the labels of the sites, numeric labels in numeric order."""
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
        # With thousands of sites that each ask for their rows, the table is grouped only once.
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
        """Return the number of distinct participants that the scans in `rows` belong to."""
        return Participants(len(np.unique(self._owner[rows])))

    def owners(self, rows: Rows) -> Rows:
        """Return the participant's number for each row, counted from 0 in order of appearance."""
        return pd.factorize(self._owner[rows])[0]

    def shares(self, rows: Rows) -> np.ndarray:
        """Return the weight of each scan, float64, such that each participant's weights sum to 1.

        The weight is one over the number of scans that the participant has among `rows`.
        """
        owners = self.owners(rows)
        return 1 / np.bincount(owners)[owners]

    def ages(self, rows: Rows) -> np.ndarray:
        """Return the age at each scan in years, float64."""
        return self._age[rows]

    @cached_property
    def _age(self) -> np.ndarray:
        return self.table["age"].to_numpy(dtype=np.float64)

    def known_of(self, rows: Rows, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the named variables of `known` for `rows`; pairwise ones among these rows only."""
        return {
            name: self.known[name][np.ix_(rows, rows) if name in self.pairwise else rows]
            for name in names
        }

    def only(self, rows: Rows) -> "Cohort":
        """Return the cohort restricted to `rows`; call it before `known` is filled."""
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
        import torch  # the import takes a second, and counting participants does not need it

        # NumPy takes eight times as long to widen float16.
        return torch.from_numpy(self.kept(rows)).float().numpy()

    def kept(self, rows: Sequence[int] | Rows) -> np.ndarray:
        """Return the arrays of `rows` in the type of `read`, float16 or float32.

        Half the bytes are copied to a GPU where the type is float16, to be widened there.
        """
        arrays = [self.read(int(row)) for row in rows]
        return np.stack(arrays) if arrays else np.empty((0, *self.shape), dtype=np.float32)


def held_in_memory(cohort: Cohort, *, most_bytes: int = 2**28) -> Cohort:
    """Return the cohort with its volumes held in memory, if all of them fit into `most_bytes`."""
    if len(cohort.shape) == 1 or 4 * len(cohort) * math.prod(cohort.shape) > most_bytes:
        return cohort

    @cache
    def read(row: int) -> np.ndarray:
        volume = cohort.read(row)
        volume.flags.writeable = False
        return volume

    return replace(cohort, read=read)


def in_site_order(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table sorted by (site, participant id, scan), the order of every cohort."""
    names = zip(table["site"], table["participant_id"], table["scan"], strict=True)
    keys = [(site_order(site), participant, scan) for site, participant, scan in names]
    return table.iloc[sorted(range(len(table)), key=keys.__getitem__)].reset_index(drop=True)


def manifest_digest(table: pd.DataFrame, sources: Sequence[str]) -> str:
    """Return the hash of the participants table and of `sources`, 16 hexadecimal digits.

    Args:
        table: One row per scan, as in `Cohort.table`.
        sources: Texts that identify the data, such as the name and size of each file.
    """
    described = table[["scan", "site", "age", "sex", "split"]]
    described = described.rename(columns={"scan": "participant_id"})
    text = described.to_csv(index=False) + "\n".join(sources)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def training_rows(cohort: Cohort, local: Local) -> Rows:
    """Return the rows of training participants at all sites with enough of them to take part."""
    sites = cohort.training_sites(min_participants=local.min_participants)
    return np.concatenate([cohort.rows(split=TRAIN, site=site) for site in sites])


def feature_sums(cohort: Cohort, rows: Rows) -> FeatureSums:
    """Return the sums that standardise ROI features; the scans of a participant share weight 1."""
    features = cohort.load(rows).astype(np.float64)
    weights = cohort.shares(rows)[:, None]
    total, squares = (weights * features).sum(axis=0), (weights * features**2).sum(axis=0)
    return FeatureSums(cohort.participants(rows), total, squares)
