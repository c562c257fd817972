"""A scan unlike the others of its site is found, whatever its grid; ordinary ones are not."""

import numpy as np
import pytest

from fedcl.data.outliers import distances, outliers
from tests.progress import Told


def scans(rng, number, shape):
    usual = rng.uniform(0.2, 1, shape)
    return [usual + 0.1 * rng.normal(size=shape) for _ in range(number)]


def distances_of(arrays):
    return distances(lambda row: arrays[row], range(len(arrays)))


def test_the_distance_is_the_mean_absolute_z_score_written_as_loops(rng):
    arrays = scans(rng, 5, (2, 3))
    for array in arrays:
        array[0, 0] = 7.0  # the same everywhere: no distance along it
    expected = []
    for array in arrays:
        parts = []
        for place in np.ndindex(2, 3):
            column = np.array([other[place] for other in arrays])
            if place != (0, 0):
                parts.append(abs(array[place] - column.mean()) / column.std())
        expected.append(sum(parts) / len(parts))
    np.testing.assert_allclose(distances_of(arrays), expected, rtol=1e-9)


@pytest.mark.parametrize("shape", [(7, 8, 9), (30,)])
@pytest.mark.parametrize("change", [lambda a: a[::-1], lambda a: 3 * a, lambda a: a.clip(0, 0.4)])
def test_one_changed_scan_of_eight_is_far(rng, shape, change):
    arrays = scans(rng, 8, shape)
    assert outliers(distances_of(arrays)) == []
    arrays[5] = change(arrays[5])
    assert outliers(distances_of(arrays)) == [5]


def test_fewer_than_eight_or_all_equal_have_no_outlier(rng):
    arrays = scans(rng, 7, (30,))
    arrays[5] = 3 * arrays[5]
    assert outliers(distances_of(arrays)) == []
    assert outliers(distances_of([arrays[0]] * 9)) == []


def test_a_trifle_above_distances_that_are_alike_is_not_far():
    alike = np.linspace(1.0, 1.01, 20)
    assert outliers(np.append(alike, 1.3)) == []
    assert outliers(np.append(alike, 1.6)) == [20]
    assert outliers(np.append(np.ones(20), 1.6)) == [20]


def test_progress_counts_both_readings(rng):
    told, arrays = Told(), scans(rng, 3, (4,))
    distances(lambda row: arrays[row], range(3), progress=told)
    assert told.counts("Comparing scans") == [(n, 6) for n in range(1, 7)]
