"""Each source becomes the same cohort: participants in site order, arrays read when asked."""

import nibabel
import numpy as np
import pandas as pd
import pytest

from fedcl.config.data import Columns, NiftiData, OpenBHBData, SimulatedScanners, Splits, TableData
from fedcl.data.nifti import deal
from fedcl.data.open import open_cohort, prepare

GRID = (7, 8, 9)
IDS = ["300", "100", "200", "400", "500"]


def openbhb_table(folder, **columns):
    table = pd.DataFrame(
        {
            "participant_id": IDS,
            "study": [1, 1, 2, 2, 1],
            "sex": ["female", "male", "female", "male", "female"],
            "age": [30.5, 20.0, 61.0, 44.0, 25.0],
            "site": [5, 5, 1, 1, 9],
            "diagnosis": "control",
            "tiv": 1500.0,
            "acquisition_setting": 1,
            "siteXacq": [10, 10, 2, 2, 31],
            "split": ["train", "internal_test", "train", "train", "external_test"],
        }
    )
    for name, values in columns.items():
        table[name] = values
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)
    return table


def volume(number):
    rng = np.random.default_rng(number)
    return rng.uniform(0, 1, (1, 1, *GRID)).astype(np.float32)


def write_npy(folder, participant, split, array, name="preproc-cat12vbm_desc-gm_T1w"):
    place = folder / split / "derivatives" / f"sub-{participant}" / "ses-1"
    place.mkdir(parents=True, exist_ok=True)
    np.save(place / f"sub-{participant}_{name}.npy", array)


def openbhb(folder):
    openbhb_table(folder)
    for number, participant in enumerate(IDS):
        write_npy(folder, participant, "val" if number in (1, 4) else "train", volume(number))
    return OpenBHBData(kind="openbhb", path=folder, modality="vbm", grid=None, intensity="vbm")


def test_openbhb_volumes_come_in_site_order_with_their_own_values(tmp_path):
    cohort = open_cohort(openbhb(tmp_path / "d"), seed=0, cache=tmp_path / "c")
    assert cohort.table["participant_id"].tolist() == ["200", "400", "100", "300", "500"]
    assert cohort.sites == ("2", "10", "31")
    assert cohort.shape == (1, *GRID)
    np.testing.assert_allclose(cohort.load([3])[0, 0], volume(0)[0, 0], atol=1e-3)
    assert cohort.ages(np.array([0])).tolist() == [61.0]
    assert cohort.training_sites(min_participants=2) == ("2",)
    assert "tiv" in cohort.table


def test_openbhb_volumes_can_be_made_smaller_and_standardised(tmp_path):
    data = openbhb(tmp_path / "d").model_copy(update={"grid": (4, 4, 5), "intensity": "zscore"})
    cohort = open_cohort(data, seed=0, cache=tmp_path / "c")
    array = cohort.load([0])[0]
    assert array.shape == (1, 4, 4, 5)
    assert abs(array.mean()) < 1e-2
    assert array.std() == pytest.approx(1, abs=1e-2)


def test_a_missing_sitexacq_is_rebuilt_from_study_site_and_setting(tmp_path):
    data = openbhb(tmp_path / "d")
    whole = open_cohort(data, seed=0, cache=tmp_path / "c")
    table = openbhb_table(tmp_path / "d")
    table.drop(columns="siteXacq").to_csv(
        tmp_path / "d" / "participants.tsv", sep="\t", index=False
    )
    rebuilt = open_cohort(data, seed=0, cache=tmp_path / "c")
    groups = [
        sorted(c.table.groupby("site")["participant_id"].apply(tuple)) for c in (whole, rebuilt)
    ]
    assert groups[0] == groups[1]


@pytest.mark.parametrize(
    ("modality", "shape", "name", "table"),
    [
        ("cat12vbm_roi", (1, 284), "preproc-cat12vbm_desc-gm_ROI", "cat12vbm_roi/cat12vbm_roi"),
        (
            "desikan_roi",
            (7, 68),
            "preproc-freesurfer_desc-desikan_ROI",
            "freesurfer_roi/desikan_roi",
        ),
        (
            "destrieux_roi",
            (7, 148),
            "preproc-freesurfer_desc-destrieux_ROI",
            "freesurfer_roi/destrieux_roi",
        ),
    ],
)
def test_both_releases_of_the_roi_measures_are_the_same_cohort(
    tmp_path, rng, modality, shape, name, table
):
    values = rng.normal(size=(5, *shape)).astype(np.float32)
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        openbhb_table(folder)
    for number, participant in enumerate(IDS):
        split = "val" if number in (1, 4) else "train"
        write_npy(old, participant, split, values[number][None], name)
    for split, rows in (("train", [0, 2, 3]), ("val", [1, 4])):
        frame = pd.DataFrame(values[rows].reshape(len(rows), -1))
        frame.insert(0, "session", "ses-1")
        frame.insert(0, "participant_id", [IDS[row] for row in rows])
        file = new / split / "derivatives" / f"{table}_features.csv"
        file.parent.mkdir(parents=True)
        frame.to_csv(file, index=False)
    cohorts = [
        open_cohort(
            OpenBHBData(kind="openbhb", path=f, modality=modality, grid=None, intensity=None),
            seed=0,
            cache=tmp_path / "c",
        )
        for f in (old, new)
    ]
    assert cohorts[0].shape == (shape[0] * shape[1],)
    np.testing.assert_allclose(cohorts[0].load(range(5)), cohorts[1].load(range(5)), rtol=1e-6)
    np.testing.assert_array_equal(cohorts[0].load([3])[0], values[0].reshape(-1))


# --- NIfTI ------------------------------------------------------------------------------------


def nifti(folder, *, name="sub-{}/anat/sub-{}_gm.nii.gz", affine=None, count=6):
    rng = np.random.default_rng(5)
    rows = []
    for number in range(count):
        participant = f"P{number:02d}"
        file = folder / name.format(participant, participant)
        file.parent.mkdir(parents=True, exist_ok=True)
        array = rng.uniform(0.1, 1, GRID).astype(np.float32)
        nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine).to_filename(file)
        rows.append((f"sub-{participant}", "s1" if number % 2 else "s2", 20 + number, "f"))
    table = pd.DataFrame(rows, columns=["participant_id", "site", "age", "sex"])
    table.to_csv(folder / "participants.csv", index=False)
    return NiftiData(
        kind="nifti",
        path=folder,
        participants="participants.csv",
        pattern="**/{participant}*.nii.gz",
        columns=Columns(),
        splits=Splits(external_sites=0, internal_fraction=0.34),
        grid=GRID,
        spacing_mm=(1.0, 1.0, 1.0),
        intensity="vbm",
        simulated_scanners=None,
    )


@pytest.mark.parametrize("name", ["sub-{}/anat/sub-{}_gm.nii.gz", "{}_{}x.nii.gz", "sub-{}_{}.nii"])
def test_nifti_folders_are_read_flat_and_bids_like(tmp_path, name):
    data = nifti(tmp_path / "d", name=name)
    if name.endswith(".nii"):
        data = data.model_copy(update={"pattern": "{participant}_*.nii"})
    cohort = open_cohort(data, seed=0, cache=tmp_path / "c")
    assert len(cohort) == 6
    assert cohort.load([0]).shape == (1, 1, *GRID)


def test_orientation_is_brought_to_ras(tmp_path):
    straight = open_cohort(nifti(tmp_path / "a"), seed=0, cache=tmp_path / "c")
    flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped[0, 3] = GRID[0] - 1
    mirrored = open_cohort(nifti(tmp_path / "b", affine=flipped), seed=0, cache=tmp_path / "c")
    np.testing.assert_allclose(straight.load([0])[0, 0], mirrored.load([0])[0, 0, ::-1], atol=2e-3)


def test_spacing_is_resampled_and_the_grid_padded(tmp_path):
    data = nifti(tmp_path / "d").model_copy(
        update={"spacing_mm": (2.0, 2.0, 2.0), "grid": (6, 6, 6)}
    )
    array = open_cohort(data, seed=0, cache=tmp_path / "c").load([0])[0, 0]
    assert array.shape == (6, 6, 6)
    assert (array[0] == 0).all()
    assert array.max() > 0.1


def test_percent_maps_become_densities(tmp_path):
    data = nifti(tmp_path / "d", count=4)
    for file in (tmp_path / "d").rglob("*.nii.gz"):
        image = nibabel.load(file)
        percent = (np.asarray(image.dataobj) * 100).astype(np.uint8)
        nibabel.Nifti1Image(percent, np.eye(4)).to_filename(file)
    assert 0.5 < open_cohort(data, seed=0, cache=tmp_path / "c").load([0]).max() <= 1


def test_simulated_scanners_deal_participants_to_unequal_sites_and_change_the_scans(tmp_path):
    plain = nifti(tmp_path / "d", count=40)
    split = Splits(external_sites=1, internal_fraction=0.2)
    dealt = plain.model_copy(
        update={
            "simulated_scanners": SimulatedScanners(count=3, strength=1.0),
            "splits": split,
        }
    )
    cohort = open_cohort(dealt, seed=4, cache=tmp_path / "c")
    again = open_cohort(dealt, seed=4, cache=tmp_path / "c2")
    assert cohort.sites == ("scanner-00", "scanner-01", "scanner-02")
    assert cohort.table.equals(again.table)
    np.testing.assert_array_equal(cohort.load([0, 9]), again.load([0, 9]))
    external = cohort.table.loc[cohort.table["split"] == "external_test", "site"].unique()
    assert len(external) == 1
    untouched = open_cohort(plain, seed=4, cache=tmp_path / "c")
    row = untouched.table["participant_id"].tolist().index(cohort.table["participant_id"][0])
    assert np.abs(untouched.load([row]) - cohort.load([0])).max() > 0.01


def test_simulated_sites_are_unequal_in_the_promised_proportion():
    people = pd.Series([f"P{number}" for number in range(3000)])
    sizes = deal(people, SimulatedScanners(count=3, strength=1.0), seed=4).value_counts()
    # Shares of 2, 3 and 4 in 9; five standard deviations are about 130 participants.
    for site, share in (("scanner-00", 2), ("scanner-01", 3), ("scanner-02", 4)):
        assert abs(sizes[site] - 3000 * share / 9) < 130


# --- tables and cache -------------------------------------------------------------------------


def test_age_never_becomes_a_feature(tmp_path):
    table = pd.DataFrame(
        {
            "participant_id": ["a", "b", "c"],
            "site": "s",
            "age": [20, 30, 40],
            "sex": "f",
            "split": "train",
            "thickness": [2.5, 2.4, 2.3],
        }
    )
    table.to_csv(tmp_path / "all.csv", index=False)
    data = TableData(
        kind="table",
        path=tmp_path,
        participants="all.csv",
        features="all.csv",
        columns=Columns(),
        splits=None,
    )
    cohort = open_cohort(data, seed=0, cache=tmp_path / "c")
    assert cohort.shape == (1,)
    assert cohort.load([2])[0, 0] == pytest.approx(2.3)


def entries(cache):
    return sorted(path for path in cache.rglob("*.npy"))


def test_a_volume_is_decoded_once_and_only_when_read(tmp_path, monkeypatch):
    data = openbhb(tmp_path / "d")
    cohort = open_cohort(data, seed=0, cache=tmp_path / "c")
    assert entries(tmp_path / "c") == []
    prepare(cohort)
    assert len(entries(tmp_path / "c")) == 5

    def fail(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr("fedcl.data.openbhb.read_npy", fail)
    again = open_cohort(data, seed=0, cache=tmp_path / "c")
    np.testing.assert_array_equal(again.load(range(5)), cohort.load(range(5)))


def test_a_changed_file_or_setting_never_meets_an_old_entry(tmp_path):
    data = openbhb(tmp_path / "d")
    before = open_cohort(data, seed=0, cache=tmp_path / "c").load([3])
    write_npy(tmp_path / "d", "300", "train", volume(99))
    after = open_cohort(data, seed=0, cache=tmp_path / "c").load([3])
    assert np.abs(before - after).max() > 0.1
    scaled = data.model_copy(update={"intensity": "zscore"})
    assert open_cohort(scaled, seed=0, cache=tmp_path / "c").load([3]).min() < -0.5
    assert len(entries(tmp_path / "c")) == 3


def test_identical_scans_of_two_participants_share_an_entry(tmp_path):
    data = openbhb(tmp_path / "d")
    write_npy(tmp_path / "d", "300", "train", volume(2))
    prepare(open_cohort(data, seed=0, cache=tmp_path / "c"))
    assert len(entries(tmp_path / "c")) == 4
