"""Find scans that are far from the others of their site, to be looked at before training.

Each voxel or measure is standardised over the site's scans, and a scan's distance is the mean of
its absolute z-scores, as in the check of sample homogeneity of CAT12 (Gaser et al., GigaScience
2024, https://doi.org/10.1093/gigascience/giae049). It detects a scan that is in other units,
flipped, blurred or badly segmented, and works for volumes and ROI tables alike. A scan is an
outlier where the modified z-score of its distance exceeds 3.5 (Iglewicz and Hoaglin, "How to Detect
and Handle Outliers", 1993, https://www.itl.nist.gov/div898/handbook/eda/section3/eda35h.htm), which
uses the median and the median absolute deviation because outliers do not move them. Unlike the
handbook, the z-score is that of the logarithm of the distance, since distances are skewed; and the
distance must also exceed 1.5 times the median, since distances over many voxels are so similar that
3.5 deviations may be a negligible difference: of 855 scans of the phantom, 4 are outliers, and 42
would be without this condition. An outlier is not an error: one old participant among children is
an outlier too.
"""

from collections.abc import Callable, Sequence

import numpy as np

from fedcl.compute.progress import SILENT, Progress

FEWEST_SCANS = 8
"""Least number of scans to compare; a median absolute deviation of fewer is unreliable."""
THRESHOLD = 3.5
"""Modified z-score of the log distance above which a scan is an outlier."""
RATIO = 1.5
"""Ratio to the median distance above which a scan is an outlier."""
_NORMAL_DEVIATION = {"median": 0.6745, "mean": 0.7979}
"""Absolute deviations of a standard normal; the mean one is used where the median one is 0."""

_WHAT = "Comparing scans"


def distances(
    read: Callable[[int], np.ndarray],
    rows: Sequence[int],
    *,
    progress: Progress = SILENT,
) -> np.ndarray:
    """Return the mean absolute z-score of each row's array, over elements that vary at all.

    Args:
        read: Function that returns the array of a row; all arrays have one shape. Each is read
            twice and none is held in memory.
        rows: Rows of the cohort to compare, at least one.
        progress: Object that is told how many arrays are read.
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
    # An element that is equal in all scans may get a tiny variance from rounding.
    varies = variance > 1e-9 * squares / number
    mean, spread = mean[varies], np.sqrt(variance[varies])
    mean_scores = np.zeros(number)
    for done, row in enumerate(rows, start=1):
        if len(mean):
            mean_scores[done - 1] = np.abs((read(row)[varies] - mean) / spread).mean()
        progress.step(_WHAT, number + done, 2 * number)
    return mean_scores


def outliers(distances: np.ndarray) -> list[int]:
    """Return the positions of distances far above the others; empty for fewer than 8 distances."""
    if len(distances) < FEWEST_SCANS or distances.min() <= 0:
        return []  # a distance of 0 means that all scans are equal
    logs = np.log(distances)
    deviations = logs - np.median(logs)
    spread = float(np.median(np.abs(deviations))) / _NORMAL_DEVIATION["median"]
    spread = spread or float(np.abs(deviations).mean()) / _NORMAL_DEVIATION["mean"]
    outlying = (deviations > THRESHOLD * spread) & (deviations > np.log(RATIO))
    return [int(position) for position in np.flatnonzero(outlying)]
