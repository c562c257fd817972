"""Scans far from the others of their site: worth a look before they are trained on.

Each voxel or measure is standardised over the site's scans, and a scan's distance is the mean of
its absolute values, as in the check of sample homogeneity of CAT12 (Gaser et al., GigaScience 2024,
https://doi.org/10.1093/gigascience/giae049). It sees a scan in other units, flipped, blurred or
badly segmented, and serves volumes and ROI tables alike. A scan is far where the modified z-score
of its distance exceeds 3.5 (Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993,
https://www.itl.nist.gov/div898/handbook/eda/section3/eda35h.htm): median and median absolute
deviation, which the far ones do not move. Unlike the handbook, of the distance's logarithm, since
distances are skewed, and only where it is half as much again as usual, since distances over many
voxels are so alike that 3.5 deviations may be a trifle: of 855 scans of the phantom, 4 are far, and
42 would be without that. Far is not wrong: one old participant among children is far too.
"""

from collections.abc import Callable, Sequence

import numpy as np

from fedcl.compute.progress import SILENT, Progress

FEWEST_SCANS = 8
"""Scans; a median absolute deviation of fewer says little."""
THRESHOLD = 3.5
"""Of the modified z-score."""
RATIO = 1.5
"""To the median distance."""
_OF_A_NORMAL = {"median": 0.6745, "mean": 0.7979}
"""Absolute deviation of a standard normal; the mean's serves where the median's is 0."""

_WHAT = "Comparing scans"


def distances(
    read: Callable[[int], np.ndarray],
    rows: Sequence[int],
    *,
    progress: Progress = SILENT,
) -> np.ndarray:
    """Return the mean absolute z-score of each row's array, over elements that differ at all.

    Args:
        read: Returns a row's array; all have one shape. Each is read twice and none is kept.
        rows: At least one.
        progress: Told how many arrays are read; each is read twice.
    """
    number = len(rows)
    total = np.zeros(read(rows[0]).shape)
    squares = total.copy()
    for done, row in enumerate(rows, start=1):
        values = read(row).astype(np.float64)
        total += values
        squares += values**2
        progress.step(_WHAT, done, 2 * number)
    mean = total / number
    variance = squares / number - mean**2
    # What rounding leaves of an element that is the same in all scans is not a spread.
    varies = variance > 1e-9 * squares / number
    mean, spread = mean[varies], np.sqrt(variance[varies])
    found = np.zeros(number)
    for done, row in enumerate(rows, start=1):
        if len(mean):
            found[done - 1] = np.abs((read(row)[varies] - mean) / spread).mean()
        progress.step(_WHAT, number + done, 2 * number)
    return found


def outliers(distances: np.ndarray) -> list[int]:
    """Return the positions of distances far above the others; none where there are fewer than 8."""
    if len(distances) < FEWEST_SCANS or distances.min() <= 0:
        return []  # at no distance: all scans are equal
    logs = np.log(distances)
    away = logs - np.median(logs)
    spread = float(np.median(np.abs(away))) / _OF_A_NORMAL["median"]
    spread = spread or float(np.abs(away).mean()) / _OF_A_NORMAL["mean"]
    outlying = (away > THRESHOLD * spread) & (away > np.log(RATIO))
    return [int(position) for position in np.flatnonzero(outlying)]
