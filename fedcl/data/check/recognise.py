"""Recognise the kind of data in a folder by the names of its files."""

from pathlib import Path

from fedcl.config.data import Columns, NiftiData, OpenBHBData, Splits, TableData
from fedcl.errors import DataError

_ANY_SPLIT = Splits(external_sites=0, internal_fraction=0.1)


def recognise(folder: Path, *, one_site: bool = False) -> OpenBHBData | NiftiData | TableData:
    """Return a data section that reads a folder, chosen by the names of its files.

    Args:
        folder: Folder with a participants table and scans or ROI measures.
        one_site: Whether the folder belongs to one site, whose table needs no column of sites.

    Raises:
        DataError: the folder does not exist, is empty, or has no participants table.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder or experiment (.yaml)")
    if not any(folder.iterdir()):
        raise DataError(f"{folder}: the folder is empty")
    tables = [name for name in ("participants.tsv", "participants.csv") if (folder / name).exists()]
    if not tables:
        raise DataError(f"{folder}: no participants.tsv or participants.csv in it")
    header = (folder / tables[0]).read_text(encoding="utf-8", errors="replace").split("\n", 1)[0]
    names = header.replace(",", "\t").split("\t")
    splits = None if "split" in names else _ANY_SPLIT
    columns = Columns(site=None) if one_site and "site" not in names else Columns()
    if (folder / "train").is_dir() or (folder / "val").is_dir():
        return OpenBHBData(kind="openbhb", path=folder, modality="vbm", grid=None, intensity="vbm")
    for name in ("features.tsv", "features.csv"):
        if (folder / name).exists():
            return TableData(
                kind="table",
                path=folder,
                participants=tables[0],
                features=name,
                columns=columns,
                splits=splits,
            )
    return NiftiData(
        kind="nifti",
        path=folder,
        participants=tables[0],
        pattern="**/{participant}*.nii*",
        columns=columns,
        splits=splits,
        grid=(91, 109, 91),
        spacing_mm=(2.0, 2.0, 2.0),
        intensity="zscore",
        simulated_scanners=None,
    )
