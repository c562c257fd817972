"""Several scans of one participant: who they are of, which file is whose, and what is refused."""

import nibabel
import numpy as np
import pandas as pd
import pytest

from fedcl.config.data import Columns, NiftiData, OpenBHBData, Splits, TableData
from fedcl.config.kernels import RepresentationKernel
from fedcl.data.check.preflight import preflight
from fedcl.data.cohort import TRAIN
from fedcl.data.covariates import with_known
from fedcl.data.open import open_cohort
from fedcl.errors import DataError
from tests.builders import add_scans, write_table

FURTHER = {"north02": 1, "south01": 2, "far0": 1}


def table_of(folder, splits=None):
    return TableData(
        kind="table",
        path=folder,
        participants="participants.tsv",
        features="features.tsv",
        columns=Columns(),
        splits=splits,
    )


def opened(data, tmp_path):
    return open_cohort(data, seed=0, cache=tmp_path / "c")


@pytest.fixture
def folder(tmp_path):
    return add_scans(write_table(tmp_path / "d"), FURTHER)


def rewrite(folder, change, name="participants.tsv"):
    table = pd.read_csv(folder / name, sep="\t", dtype=str, keep_default_na=False)
    change(table).to_csv(folder / name, sep="\t", index=False)


def test_scans_have_names_and_participants_are_counted_once(folder, tmp_path):
    cohort = opened(table_of(folder), tmp_path)
    assert len(cohort) == 30 + 4
    assert cohort.participants(np.arange(len(cohort))) == 30
    at_north = cohort.rows(site="north")
    names = cohort.table["scan"].to_numpy()[at_north].tolist()
    assert names == ["north00", "north01", "north02_ses-1", "north02_ses-2", "north03", "north04"]
    assert cohort.owners(at_north).tolist() == [0, 1, 2, 2, 3, 4]
    assert cohort.shares(at_north).tolist() == [1, 1, 0.5, 0.5, 1, 1]
    assert cohort.training_sites(min_participants=3) == ("12", "north", "south")
    assert cohort.training_sites(min_participants=4) == ("12", "south")


def test_each_scan_has_its_own_age_and_measures_in_any_order(folder, tmp_path):
    cohort = opened(table_of(folder), tmp_path)
    first, second = np.flatnonzero(cohort.table["participant_id"] == "north02")
    np.testing.assert_allclose(cohort.read(second) - cohort.read(first), [0, 2, 0, 0, 0, 0])
    np.testing.assert_allclose(np.diff(cohort.ages([first, second])), 0.5)
    rewrite(folder, lambda t: t.iloc[::-1], "features.tsv")
    again = opened(table_of(folder), tmp_path)
    np.testing.assert_array_equal(again.load(range(34)), cohort.load(range(34)))


def test_labels_are_read_with_their_words_and_as_floats(folder, tmp_path):
    cohort = opened(table_of(folder), tmp_path)
    rewrite(folder, lambda t: t.assign(session="ses-" + t["session"]))
    rewrite(folder, lambda t: t.assign(session=t["session"] + ".0"), "features.tsv")
    again = opened(table_of(folder), tmp_path)
    assert again.digest == cohort.digest


def with_cell(column, value):
    def change(table):
        table.loc[table.index[-1], column] = value
        return table

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: pd.concat([t, t.iloc[[-1]]]), "listed more than once: participant far0_ses-2"),
        (with_cell("site", "south"), "scans differ in site: participant far0; all scans of"),
        (with_cell("sex", "female"), "scans differ in sex: participant far0; correct it"),
        (with_cell("split", "train"), "scans differ in split: participant far0; all scans of"),
        (lambda t: t.drop(columns="session"), "north02, south01, far0; keep one row for each, or"),
    ],
)
def test_scans_that_contradict_each_other_are_refused(folder, tmp_path, change, message):
    rewrite(folder, change)
    with pytest.raises(DataError, match=message):
        opened(table_of(folder), tmp_path)


def test_a_sex_that_one_scan_does_not_know_is_no_contradiction(folder, tmp_path):
    rewrite(folder, with_cell("sex", "n/a"))
    opened(table_of(folder), tmp_path)


def test_features_that_do_not_tell_scans_apart_are_refused(folder, tmp_path):
    def only_first(table):
        return table[table["session"] == "1"].drop(columns="session")

    rewrite(folder, only_first, "features.tsv")
    with pytest.raises(DataError, match=r"one row of features for several scans: .*south01"):
        opened(table_of(folder), tmp_path)


def test_a_drawn_split_keeps_participants_whole_and_does_not_look_at_their_scans(tmp_path):
    splits = Splits(external_sites=1, internal_fraction=0.4)
    drawn = []
    for name, further in (("one", {}), ("several", FURTHER | {"1207": 3})):
        folder = add_scans(write_table(tmp_path / name), further)
        rewrite(folder, lambda t: t.drop(columns="split"))
        table = opened(table_of(folder, splits), tmp_path).table
        assert (table.groupby("participant_id")["split"].nunique() == 1).all()
        drawn.append(table.groupby("participant_id")["split"].first())
    pd.testing.assert_series_equal(*drawn)


def test_check_says_participants_and_scans(folder, tmp_path):
    report = preflight(table_of(folder), seed=0, cache=tmp_path / "c", min_participants=3)
    assert report.problems == ()
    north = next(one for one in report.sites if one.site == "north")
    assert (north.train, north.internal, north.scans) == (3, 2, 6)


def test_a_table_beside_serves_all_scans_or_each_its_own(folder, tmp_path):
    kernel = RepresentationKernel(kind="representation", table="prior.tsv", bandwidth=1.0)
    cohort = opened(table_of(folder), tmp_path)
    prior = pd.DataFrame({"participant_id": cohort.table["participant_id"]})
    prior["x"] = np.arange(len(prior), dtype=float)
    prior.drop_duplicates("participant_id").to_csv(folder / "prior.tsv", sep="\t", index=False)
    known = with_known(cohort, table_of(folder), names=["prior.tsv"], kernels=[kernel]).known
    twice = np.flatnonzero(cohort.table["participant_id"] == "north02")
    assert known["prior.tsv"].shape == (len(cohort), 1)
    assert len(set(known["prior.tsv"][twice, 0])) == 1
    prior.insert(1, "session", cohort.table["session"])
    prior.to_csv(folder / "prior.tsv", sep="\t", index=False)
    known = with_known(cohort, table_of(folder), names=["prior.tsv"], kernels=[kernel]).known
    np.testing.assert_array_equal(known["prior.tsv"][:, 0], np.arange(len(cohort)))


def nifti(folder, files, rows):
    volume = np.random.default_rng(0).uniform(0, 1, (6, 7, 8)).astype(np.float32)
    for number, name in enumerate(files):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(volume * (number + 1) / 10, np.eye(4)), path)
    columns = ["participant_id", "session", "run", "site", "age", "sex", "split"]
    table = pd.DataFrame([(*row, "a", 30, "male", "train") for row in rows], columns=columns)
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)
    return NiftiData(
        kind="nifti",
        path=folder,
        participants="participants.tsv",
        pattern="**/{participant}*.nii.gz",
        columns=Columns(),
        splits=None,
        grid=(6, 7, 8),
        spacing_mm=(1.0, 1.0, 1.0),
        intensity="vbm",
        simulated_scanners=None,
    )


FILES = [
    "sub-1/ses-1/anat/sub-1_ses-1_run-1_T1w.nii.gz",
    "sub-1/ses-1/anat/sub-1_ses-1_run-2_T1w.nii.gz",
    "sub-1/ses-10/anat/sub-1_ses-10_T1w.nii.gz",
    "sub-2/anat/sub-2_T1w.nii.gz",
]


def test_nifti_files_are_found_by_session_and_run(tmp_path):
    rows = [("1", "10", ""), ("1", "1", "2"), ("1", "1", "1"), ("2", "1", "1")]
    cohort = opened(nifti(tmp_path / "d", FILES, rows), tmp_path)
    assert cohort.table["scan"].tolist() == ["1_ses-10", "1_ses-1_run-1", "1_ses-1_run-2", "2"]
    largest = cohort.load(range(4)).reshape(4, -1).max(axis=1)
    np.testing.assert_allclose(largest / largest[1], [3, 1, 2, 4], rtol=0.01)


def test_a_nifti_scan_whose_files_cannot_be_told_apart_is_refused(tmp_path):
    rows = [("1", "1", ""), ("1", "10", ""), ("2", "", "")]
    with pytest.raises(DataError, match=r"participant 1_ses-1 has 2 scans .*run-1.*run-2"):
        opened(nifti(tmp_path / "d", FILES, rows), tmp_path)
    rows = [("1", "1", "2"), ("1", "3", ""), ("2", "", "")]
    with pytest.raises(DataError, match=r"no scan fits .*: participant 1_ses-3"):
        opened(nifti(tmp_path / "e", FILES, rows), tmp_path)


def openbhb(folder, modality="vbm"):
    table = pd.DataFrame(
        [("100", "1", 20.0), ("100", "2", 22.0), ("200", "1", 40.0)],
        columns=["participant_id", "session", "age"],
    )
    table = table.assign(sex="male", siteXacq="3", split="train")
    folder.mkdir(parents=True)
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)
    intensity = "vbm" if modality == "vbm" else None
    return OpenBHBData(
        kind="openbhb", path=folder, modality=modality, grid=None, intensity=intensity
    )


def test_openbhbs_sessions_lie_in_their_own_folders(tmp_path):
    data = openbhb(tmp_path / "d")
    for number, (participant, session) in enumerate((("100", 1), ("100", 2), ("200", 1))):
        place = tmp_path / "d" / "train" / "derivatives" / f"sub-{participant}" / f"ses-{session}"
        place.mkdir(parents=True)
        volume = np.linspace(0, 0.1 * (number + 1), 24, dtype=np.float32).reshape(1, 1, 2, 3, 4)
        np.save(place / f"sub-{participant}_preproc-cat12vbm_desc-gm_T1w.npy", volume)
    cohort = opened(data, tmp_path)
    assert cohort.table["scan"].tolist() == ["100_ses-1", "100_ses-2", "200"]
    largest = cohort.load(range(3)).reshape(3, -1).max(axis=1)
    np.testing.assert_allclose(largest, [0.1, 0.2, 0.3], rtol=0.01)
    assert cohort.participants(cohort.rows(split=TRAIN)) == 2


def test_openbhbs_roi_tables_are_joined_on_the_session_too(tmp_path):
    data = openbhb(tmp_path / "d", "cat12vbm_roi")
    place = tmp_path / "d" / "train" / "derivatives" / "cat12vbm_roi"
    place.mkdir(parents=True)
    measures = pd.DataFrame(np.arange(3 * 284, dtype=float).reshape(3, 284))
    measures.insert(0, "participant_id", ["200", "100", "100"])
    measures.insert(1, "session", [1, 2, 1])
    measures.to_csv(place / "cat12vbm_roi_features.csv", index=False)
    cohort = opened(data, tmp_path)
    assert cohort.load(range(3))[:, 0].tolist() == [2 * 284, 284, 0]
    measures.drop(columns="session").to_csv(place / "cat12vbm_roi_features.csv", index=False)
    with pytest.raises(DataError, match="for one name: participant 100"):
        opened(data, tmp_path)
