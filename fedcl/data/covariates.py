"""Read the variables that an objective compares participants by.

They are columns of the participants table or separate tables named by a kernel. All are read when
the cohort is opened, so that a missing column is reported before any training.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from fedcl.config.data import Columns, Data, OpenBHBData, PhantomData
from fedcl.config.kernels import (
    AnatomicalKernel,
    Kernel,
    MeanKernel,
    PrecomputedKernel,
    ProductKernel,
    RepresentationKernel,
)
from fedcl.data.cohort import TRAIN, Cohort
from fedcl.data.openbhb import read_rois
from fedcl.data.participants import column, plain_id, read_table
from fedcl.data.problems import Problems, listed
from fedcl.data.scans import ENTITIES, describe_scans, matching
from fedcl.errors import DataError

DESIKAN = "desikan_roi"
_DESIKAN_MEASURES = {"area": 0, "volume": 1, "thickness": 2}
"""Position of each measure in OpenBHB's array; the other four are not sizes of a region."""
_DESIKAN_SHAPE = (7, 68)
_SEXES = {"female": 0.0, "male": 1.0}
_ABSENT = {"", "n/a", "na", "nan", "none", "null"}


def with_known(
    cohort: Cohort, data: Data, *, names: Iterable[str], kernels: Iterable[Kernel]
) -> Cohort:
    """Return the cohort with the variables `names` in `known`, float32, NaN where unknown.

    "sex" is 0 (female) or 1 (male), "site" the number of the site; a column of numbers is taken as
    it is; the distinct texts of any other column are numbered.

    Args:
        cohort: Cohort whose participants table and digest are complete.
        data: Data section of the experiment, which names the folder of the tables.
        names: Variables to read: age, sex, site, columns of the participants table, and the files
            of the kernels.
        kernels: Kernels of the objective; each decides how its table is read.

    Raises:
        DataError: a column or table does not exist, or a table lacks a training participant.
    """
    tables = {leaf.table: leaf for kernel in kernels for leaf in _leaves(kernel)}
    values: dict[str, np.ndarray] = {}
    for name in sorted(names):
        if name in tables:
            values[name] = _table(cohort, data, tables[name])
        else:
            values[name] = _column(cohort, name)
    pairwise = frozenset(n for n, leaf in tables.items() if isinstance(leaf, PrecomputedKernel))
    return replace(cohort, known=values, pairwise=pairwise)


def _leaves(
    kernel: Kernel,
) -> Iterator[AnatomicalKernel | RepresentationKernel | PrecomputedKernel]:
    match kernel:
        case ProductKernel() | MeanKernel():
            for part in kernel.kernels:
                yield from _leaves(part)
        case AnatomicalKernel() | RepresentationKernel() | PrecomputedKernel():
            yield kernel


def _column(cohort: Cohort, name: str) -> np.ndarray:
    table = cohort.table
    if name == "age":
        return table["age"].to_numpy(dtype=np.float32)
    if name == "sex":
        return table["sex"].map(_SEXES).to_numpy(dtype=np.float32)
    if name == "site":
        number = {site: float(i) for i, site in enumerate(cohort.sites)}
        return table["site"].map(number).to_numpy(dtype=np.float32)
    if name not in table.columns:
        raise DataError(
            f"{cohort.name}: the objective compares {name!r}, which is not a column of the "
            f"participants table; found {', '.join(table.columns)}"
        )
    texts = table[name].astype(str)
    known = ~texts.str.lower().isin(_ABSENT)
    numbers = pd.to_numeric(texts.where(known), errors="coerce")
    if numbers[known].notna().all():
        return numbers.to_numpy(dtype=np.float32)
    codes = pd.Series(pd.Categorical(texts.where(known)).codes, dtype=np.float32)
    return codes.where(codes >= 0).to_numpy(dtype=np.float32)


def _table(
    cohort: Cohort, data: Data, kernel: AnatomicalKernel | RepresentationKernel | PrecomputedKernel
) -> np.ndarray:
    if isinstance(kernel, AnatomicalKernel) and kernel.table == DESIKAN:
        return _desikan(cohort, data, kernel)
    path = data.path / kernel.table
    raw = read_table(path)
    columns = getattr(data, "columns", Columns())
    ids = column(raw, columns.participant, path).map(plain_id)
    # A table without sessions and runs has one row per participant, which serves all their scans.
    names, present = matching(cohort.table, describe_scans(ids, raw, columns))
    if present.duplicated().any():
        repeated = list(present[present.duplicated()])
        raise DataError(f"{path}: more than one row for {listed(repeated)}")
    entities = (getattr(columns, entity) for entity in ENTITIES)
    beside = [ids.name, *(name for name in entities if name in raw)]
    numbers = raw.drop(columns=beside).apply(pd.to_numeric, errors="coerce")
    numbers.index = pd.Index(present)
    _require_rows(names[cohort.table["split"] == TRAIN], set(present), path)
    wanted = numbers.reindex(names)
    if isinstance(kernel, PrecomputedKernel):
        everybody = cohort.table["participant_id"]
        wanted = wanted.rename(columns=plain_id).reindex(columns=everybody)
        return _in_unit_range(wanted.to_numpy(dtype=np.float32), path)
    if isinstance(kernel, RepresentationKernel):
        return wanted.to_numpy(dtype=np.float32)
    return _measures(wanted, kernel, path)


def _measures(table: pd.DataFrame, kernel: AnatomicalKernel, path: Path) -> np.ndarray:
    """Return an array (row, measure, region) from columns named REGION_MEASURE, scaled."""
    regions: list[list[str]] = []
    for measure in kernel.measures:
        ending = f"_{measure}"
        measured = [str(c).removesuffix(ending) for c in table.columns if str(c).endswith(ending)]
        if not measured:
            raise DataError(f"{path}: no column ends with {ending}; see objective.kernel.measures")
        regions.append(measured)
    common = [r for r in regions[0] if all(r in others for others in regions[1:])]
    if not common:
        raise DataError(f"{path}: no region has all of the measures {', '.join(kernel.measures)}")
    stacked = [
        table[[f"{region}_{measure}" for region in common]].to_numpy(dtype=np.float32) / scale
        for measure, scale in zip(kernel.measures, kernel.scales, strict=True)
    ]
    return np.stack(stacked, axis=1)


def _desikan(cohort: Cohort, data: Data, kernel: AnatomicalKernel) -> np.ndarray:
    if not isinstance(data, OpenBHBData | PhantomData):
        raise DataError(f"objective.kernel.table: {DESIKAN} is OpenBHB's; name a file in data.path")
    unknown = [m for m in kernel.measures if m not in _DESIKAN_MEASURES]
    if unknown:
        raise DataError(
            f"objective.kernel.measures: {', '.join(unknown)} is not in {DESIKAN}; expected "
            f"some of {', '.join(_DESIKAN_MEASURES)}"
        )
    problems = Problems()
    rows = read_rois(data.path, DESIKAN, cohort.table, problems)
    problems.stop_if_any()
    arrays = np.stack([rows[name] for name in cohort.table["scan"]])
    channels = [_DESIKAN_MEASURES[m] for m in kernel.measures]
    scales = np.asarray(kernel.scales, dtype=np.float32)[:, None]
    return arrays.reshape(-1, *_DESIKAN_SHAPE)[:, channels].astype(np.float32) / scales


def _require_rows(training: Iterable[str], present: set[str], path: Path) -> None:
    absent = [name for name in training if name not in present]
    if absent:
        raise DataError(f"{path}: no row for training {listed(absent)}; add it")


def _in_unit_range(matrix: np.ndarray, path: Path) -> np.ndarray:
    known = matrix[np.isfinite(matrix)]
    if len(known) == 0 or known.min() < 0 or known.max() > 1:
        raise DataError(f"{path}: degrees of positiveness are in [0, 1]; found others, or none")
    return matrix
