"""Read OpenBHB as downloaded: participants.tsv, train/ and val/ with one folder per participant.

Dufumier et al., "OpenBHB: a large-scale multi-site brain MRI data-set for age prediction and
debiasing", NeuroImage 2022, https://doi.org/10.1016/j.neuroimage.2022.119637. File names are those
of the public release and of its loader in nidl: volumes
`derivatives/sub-ID/ses-1/sub-ID_preproc-cat12vbm_desc-gm_T1w.npy` (and `..._preproc-quasiraw_T1w`);
another session lies in its own folder, and one of several runs has `_run-2` after the id;
ROI measures as one `.npy` per participant in older releases and as one table per split,
`derivatives/cat12vbm_roi/cat12vbm_roi_features.csv`, in newer ones.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from fedcl.config.data import ROI_MODALITIES, VOLUME_MODALITIES, Columns, OpenBHBData
from fedcl.config.loading import validate_tree
from fedcl.data.cache import VolumeCache
from fedcl.data.cohort import TRAIN, Cohort, in_site_order, manifest_digest
from fedcl.data.participants import plain_id, read_table, tidy
from fedcl.data.problems import Problems, listed
from fedcl.data.scans import describe_scans, matching
from fedcl.data.volumes import check_finite, read_npy, scale, to_grid
from fedcl.errors import ConfigError, DataError

Modality = Literal["vbm", "quasiraw", "cat12vbm_roi", "desikan_roi", "destrieux_roi"]

OPENBHB_COLUMNS = Columns(site="siteXacq")

_FILES = {
    "vbm": "sub-{}_preproc-cat12vbm_desc-gm_T1w.npy",
    "quasiraw": "sub-{}_preproc-quasiraw_T1w.npy",
    "cat12vbm_roi": "sub-{}_preproc-cat12vbm_desc-gm_ROI.npy",
    "desikan_roi": "sub-{}_preproc-freesurfer_desc-desikan_ROI.npy",
    "destrieux_roi": "sub-{}_preproc-freesurfer_desc-destrieux_ROI.npy",
}
_TABLES = {
    "cat12vbm_roi": "cat12vbm_roi/cat12vbm_roi_features.csv",
    "desikan_roi": "freesurfer_roi/desikan_roi_features.csv",
    "destrieux_roi": "freesurfer_roi/destrieux_roi_features.csv",
}
_LOOKED_AT = 25
"""Number of scans whose headers decide the common shape."""

_ROI_SHAPES = {"cat12vbm_roi": (1, 284), "desikan_roi": (7, 68), "destrieux_roi": (7, 148)}
_NOT_MEASURES = ("participant_id", "session", "run")


def read_openbhb(
    path: str | Path,
    *,
    modality: Modality,
    cache: str | Path,
    grid: tuple[int, int, int] | None = None,
    intensity: Literal["vbm", "zscore"] | None = None,
) -> Cohort:
    """Open OpenBHB's folder, or one that is shaped like it, with its official splits.

    Args:
        path: OpenBHB's root folder, which holds `participants.tsv`, `train` and `val`.
        modality: "vbm" or "quasiraw" volumes; "cat12vbm_roi", "desikan_roi" or "destrieux_roi"
            tables.
        cache: A folder for preprocessed volumes; not used for tables.
        grid: Voxels per axis that volumes are resampled to; None keeps the files' own.
        intensity: "vbm" keeps the values, grey-matter density; "zscore" standardises them over the
            brain. None is "vbm" for volumes; tables have none.

    Returns:
        The cohort, in the order (site, participant, scan).

    Raises:
        ConfigError: An unknown modality, or a grid or an intensity for a table.
        DataError: The first problems found in the folder.

    Example:
        >>> from fedcl.data import read_openbhb, write_phantom
        >>> write_phantom("phantom", scale=0.01, grid=(10, 12, 10), sites=["10", "13"])
        >>> cohort = read_openbhb("phantom", modality="vbm", cache="cache")
        >>> cohort.shape, cohort.sites
        ((1, 10, 12, 10), ('10', '13'))
        >>> cohort.table["split"].unique().tolist()
        ['train', 'internal_test', 'external_test']
    """
    is_table = modality in ROI_MODALITIES
    if is_table and not (grid is None and intensity is None):
        raise ConfigError(
            f"grid, intensity: {modality} is a table, which has neither; leave both out"
        )
    tree = {
        "kind": "openbhb",
        "path": Path(path),
        "modality": modality,
        "grid": grid,
        "intensity": intensity if is_table else intensity or "vbm",
    }
    problems = Problems()
    data = validate_tree(OpenBHBData, tree, source="read_openbhb")
    cohort = openbhb_cohort(data, cache=Path(cache), problems=problems)
    problems.stop_if_any()
    return cohort


def openbhb_cohort(
    data: OpenBHBData, *, cache: Path, problems: Problems, own_site: str | None = None
) -> Cohort:
    """Return the cohort of an OpenBHB folder.

    Problems of single participants are collected in `problems`; one that prevents reading the
    cohort at all is raised. The site is siteXacq; where that column is missing, it is rebuilt as
    the number of the sorted distinct (study, site, acquisition setting). With `own_site`, only
    scans of that site are looked for.

    Raises:
        DataError: the folder does not exist, lists no participants, or lacks a column.
    """
    table = read_participants(data.path, problems, own_site)
    if data.modality in VOLUME_MODALITIES:
        return _volumes(data, table, cache, problems)
    return _rois(data, table, problems)


def read_participants(
    folder: Path, problems: Problems, own_site: str | None = None
) -> pd.DataFrame:
    """Return the checked participants table in site order; with `own_site`, only that site's rows.

    Raises:
        DataError: the folder or file does not exist, a column is missing, or `own_site` has no row.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; set data.path to OpenBHB's root folder")
    if not any(folder.iterdir()):
        raise DataError(f"{folder}: the folder is empty; set data.path to OpenBHB's root folder")
    path = folder / "participants.tsv"
    table = read_table(path)
    if "siteXacq" not in table.columns:
        parts = [name for name in ("study", "site", "acquisition_setting") if name in table.columns]
        if len(parts) == 3:
            table["siteXacq"] = table.groupby(parts, sort=True).ngroup().astype(str)
            problems.notes.append(f"{path}: siteXacq rebuilt from study, site, acquisition_setting")
    tidied = tidy(table, OPENBHB_COLUMNS, path, problems, needs_split=True, own_site=own_site)
    return in_site_order(tidied)


def _files(folder: Path, modality: str, table: pd.DataFrame) -> list[Path]:
    files = []
    for row in table.to_dict("records"):
        first, second = ("train", "val") if row["split"] == TRAIN else ("val", "train")
        participant, session, run = row["participant_id"], row.get("session"), row.get("run")
        subject = participant
        if run and row["scan"] != participant:
            subject = f"{participant}_run-{run}"
        place = f"derivatives/sub-{participant}/ses-{session or 1}"
        name = f"{place}/{_FILES[modality].format(subject)}"
        usual, other = folder / first / name, folder / second / name
        files.append(other if other.exists() and not usual.exists() else usual)
    return files


def _present(table: pd.DataFrame, files: list[Path], problems: Problems) -> list[bool]:
    """Return whether each scan has its file; all scans without one are reported as one problem."""
    exists = [file.exists() for file in files]
    absent = [name for name, there in zip(table["scan"], exists, strict=True) if not there]
    _without_scan(table, absent, problems)
    if absent:
        first = files[exists.index(False)]
        problems.add(
            f"{first.parent}: listed but no scan ({first.name}): {listed(absent)}; download them, "
            "or remove their rows from participants.tsv"
        )
    return exists


def _without_scan(table: pd.DataFrame, absent: list[str], problems: Problems) -> None:
    participants = table["participant_id"][table["scan"].isin(absent)]
    problems.who["scan"] = tuple(participants.unique())


def _volumes(data: OpenBHBData, table: pd.DataFrame, cache: Path, problems: Problems) -> Cohort:
    files = _files(data.path, data.modality, table)
    exists = _present(table, files, problems)
    if not any(exists):
        problems.stop_if_any()
    native = _native_shape([file for file, ok in zip(files, exists, strict=True) if ok])
    grid = data.grid or native
    store = VolumeCache(cache, f"openbhb {data.modality} {grid} {data.intensity} 1")
    name_of = dict(zip(files, table["scan"], strict=True))
    intensity = data.intensity or "vbm"

    def make(file: Path) -> np.ndarray:
        participant = name_of[file]
        volume = _squeezed(read_npy(file, participant))
        if volume.shape != native:
            raise DataError(
                f"{file}: participant {participant}: shape {volume.shape}, expected {native} as "
                "the other scans; preprocess it like them"
            )
        check_finite(volume, file, participant)
        return scale(volume if grid == native else to_grid(volume, grid), intensity)[None]

    sizes = [f"{f.name} {f.stat().st_size}" for f, ok in zip(files, exists, strict=True) if ok]
    return Cohort(
        name=f"OpenBHB {data.modality} ({data.path.name})",
        table=table,
        shape=(1, *grid),
        read=lambda row: store.read(files[row], make),
        digest=manifest_digest(table, sizes),
        files=tuple(files),
    )


def _native_shape(files: list[Path]) -> tuple[int, int, int]:
    """Return the most frequent shape of the first scans, so that one broken file does not decide.

    Raises:
        DataError: none of the first scans is a volume.
    """
    shapes: Counter[tuple[int, ...]] = Counter()
    for file in files[:_LOOKED_AT]:
        try:
            header = np.load(file, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError):
            continue  # read_npy reports the defect when the scan is read
        shapes[_squeezed(header).shape] += 1
    volumes = [shape for shape, _ in shapes.most_common() if len(shape) == 3]
    if not volumes:
        raise DataError(
            f"{files[0]}: not a volume (1, 1, x, y, z), nor are the other scans; check data.path "
            "and data.modality"
        )
    x, y, z = volumes[0]
    return x, y, z


def _squeezed(array: np.ndarray) -> np.ndarray:
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    return array


def _rois(data: OpenBHBData, table: pd.DataFrame, problems: Problems) -> Cohort:
    size = int(np.prod(_ROI_SHAPES[data.modality]))
    rows = read_rois(data.path, data.modality, table, problems)
    usable = {n for n, values in rows.items() if values.size == size and np.isfinite(values).all()}
    table = table[table["scan"].isin(usable)].reset_index(drop=True)
    if table.empty:
        problems.stop_if_any()
    features = np.array([rows[name] for name in table["scan"]], dtype=np.float32).reshape(-1, size)
    return Cohort(
        name=f"OpenBHB {data.modality} ({data.path.name})",
        table=table,
        shape=(size,),
        read=lambda row: features[row],
        digest=manifest_digest(table, [hashlib.sha256(features.tobytes()).hexdigest()]),
    )


def read_rois(
    folder: Path, modality: str, table: pd.DataFrame, problems: Problems
) -> dict[str, np.ndarray]:
    """Return the ROI measures of each scan by its name, from the splits' tables or single files."""
    size = int(np.prod(_ROI_SHAPES[modality]))
    tables = [folder / split / "derivatives" / _TABLES[modality] for split in ("train", "val")]
    rows: dict[str, np.ndarray] = {}
    if any(path.exists() for path in tables):
        read = [_roi_table(path, size) for path in tables if path.exists()]
        measures = np.concatenate([values for _, values in read])
        whose = pd.concat([who for who, _ in read], ignore_index=True)
        wanted, present = matching(table, whose)
        place = {name: number for number, name in enumerate(present)}
        rows = {
            scan: measures[place[name]]
            for scan, name in zip(table["scan"], wanted, strict=True)
            if name in place
        }
        where, remedy = str(tables[0]), "tell scans apart by session and run, as participants.tsv"
        repeated = set(present[present.duplicated()]) | set(wanted[wanted.duplicated()])
        repeated &= set(wanted)
        problems.add_each(where, "several scans, or rows, for one name", sorted(repeated), remedy)
        absent = [scan for scan in table["scan"] if scan not in rows]
        _without_scan(table, absent, problems)
        problems.add_each(where, "listed but not in the ROI tables", absent, "remove their rows")
    else:
        files = _files(folder, modality, table)
        _present(table, files, problems)
        for name, file in zip(table["scan"], files, strict=True):
            if file.exists():
                rows[name] = read_npy(file, name).reshape(-1)
    for participant, values in rows.items():
        if values.size != size:
            problems.add(
                f"{folder}: participant {participant}: {values.size} ROI values, expected {size}"
            )
        elif not np.isfinite(values).all():
            problems.add(f"{folder}: participant {participant}: ROI values are NaN or infinite")
    return rows


def _roi_table(path: Path, size: int) -> tuple[pd.DataFrame, np.ndarray]:
    try:
        raw = pd.read_csv(path, dtype={"participant_id": str})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a csv table: {error}") from None
    if "participant_id" not in raw.columns:
        raise DataError(f"{path}: column 'participant_id' is missing")
    values = raw.drop(columns=[name for name in _NOT_MEASURES if name in raw.columns])
    if values.shape[1] != size:
        raise DataError(f"{path}: {values.shape[1]} measures, expected {size}")
    array = values.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float32)
    return describe_scans(raw["participant_id"].map(plain_id), raw, OPENBHB_COLUMNS), array
