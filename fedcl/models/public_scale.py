"""Read published means and SDs to standardise a ROI table by when its own sums may not be used."""

from pathlib import Path

import numpy as np
import pandas as pd

from fedcl.errors import DataError


def read_public_scale(path: Path, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and standard deviation of each feature, float32, each of shape (feature,).

    Raises:
        DataError: the file cannot be read, has other columns or rows, or holds an invalid value.
    """
    try:
        table = pd.read_csv(path, sep=None, engine="python")
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: encoder.public_scale cannot be read: {error}") from None
    absent = {"mean", "sd"} - set(table.columns)
    if absent:
        raise DataError(f"{path}: no column {', '.join(sorted(absent))}; expected mean and sd")
    if len(table) != features:
        raise DataError(f"{path}: {len(table)} rows; the table has {features} features")
    mean, sd = (pd.to_numeric(table[name], errors="coerce").to_numpy() for name in ("mean", "sd"))
    bad = np.flatnonzero(~(np.isfinite(mean) & np.isfinite(sd) & (sd > 0)))
    if len(bad):
        raise DataError(f"{path}, row {bad[0] + 1}: expected a finite mean and an sd above 0")
    return mean.astype(np.float32), sd.astype(np.float32)
