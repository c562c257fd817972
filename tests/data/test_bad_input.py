"""Every bad input is one message that names the file, the participant and the remedy."""

import gzip
import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from fedcl.cli.check import run_check
from fedcl.config.data import Columns, TableData
from fedcl.data.check.preflight import preflight
from fedcl.data.open import open_cohort
from fedcl.errors import DataError
from tests.builders import table_tree, write_table
from tests.data.test_readers import IDS, nifti, openbhb, openbhb_table, volume, write_npy


def found(data, tmp_path, least=1):
    return preflight(data, seed=0, cache=tmp_path / "c", min_participants=least)


def table_of(folder):
    return TableData(
        kind="table",
        path=folder,
        participants="participants.tsv",
        features="features.tsv",
        columns=Columns(),
        splits=None,
    )


def rewrite(folder, change, name="participants.tsv"):
    table = pd.read_csv(folder / name, sep="\t", dtype=str, keep_default_na=False)
    change(table).to_csv(folder / name, sep="\t", index=False)


def set_cell(column, row, value):
    def change(table):
        table.loc[row, column] = value
        return table

    return change


TABLE_CASES = {
    "missing column": (
        lambda t: t.rename(columns={"age": "ages"}),
        "participants.tsv: column 'age' is missing (is it 'ages'?)",
    ),
    "age in months": (
        lambda t: t.assign(age=(t["age"].astype(float) * 12).astype(str)),
        "'age' looks like months (median",
    ),
    "age out of range": (set_cell("age", 2, "130"), "'age' outside 0-120 years: participant"),
    "negative age": (set_cell("age", 2, "-4"), "'age' outside 0-120 years"),
    "age not a number": (set_cell("age", 2, "old"), "'age' is not a number: participant north02"),
    "duplicate id": (
        lambda t: pd.concat([t, t.iloc[[4]]]),
        "listed more than once: participant north04; keep one row for each",
    ),
    "unknown sex code": (
        set_cell("sex", 1, "2"),
        "unknown sex code '2': participant north01; write female, male or n/a",
    ),
    "unknown split": (set_cell("split", 3, "dev"), "unknown split 'dev': participant north03"),
    "no site": (set_cell("site", 3, ""), "no 'site': participant north03"),
}


@pytest.mark.parametrize("case", TABLE_CASES)
def test_a_bad_participants_table(tmp_path, case):
    change, message = TABLE_CASES[case]
    write_table(tmp_path / "d")
    rewrite(tmp_path / "d", change)
    problems = found(table_of(tmp_path / "d"), tmp_path).problems
    assert len(problems) == 1, problems
    assert message in problems[0]
    assert "participants.tsv" in problems[0]


FEATURE_CASES = {
    "NaN": (set_cell("region2", 3, "nan"), "participant north03: not a finite number in region2"),
    "text": (set_cell("region2", 3, "?"), "participant north03: not a finite number in region2"),
    "absent row": (lambda t: t.drop(index=[0, 1]), "no row of features: participant north00, n"),
    "double row": (lambda t: pd.concat([t, t.iloc[[1]]]), "listed more than once"),
    "no numbers": (lambda t: t[["participant_id"]].assign(x="a"), "no numeric column"),
}


@pytest.mark.parametrize("case", FEATURE_CASES)
def test_a_bad_features_table(tmp_path, case):
    change, message = FEATURE_CASES[case]
    write_table(tmp_path / "d")
    rewrite(tmp_path / "d", change, "features.tsv")
    problems = found(table_of(tmp_path / "d"), tmp_path).problems
    assert len(problems) == 1, problems
    assert message in problems[0]


def truncated(folder):
    file = next(folder.rglob("sub-300_*.npy"))
    file.write_bytes(file.read_bytes()[:500])


def pickled(folder):
    file = next(folder.rglob("sub-300_*.npy"))
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)


VOLUME_CASES = {
    "NaN": (
        lambda f: write_npy(f, "300", "train", np.full_like(volume(0), np.nan)),
        "participant 300: 504 voxels are NaN or infinite",
    ),
    "constant": (
        lambda f: write_npy(f, "300", "train", np.zeros_like(volume(0))),
        "participant 300: the volume is constant",
    ),
    "wrong shape": (
        lambda f: write_npy(f, "300", "train", volume(0)[..., :-1]),
        "participant 300: shape (7, 8, 8), expected (7, 8, 9) as the other scans",
    ),
    "truncated": (truncated, "participant 300: truncated or not a plain .npy array"),
    "pickled": (pickled, "participant 300: truncated or not a plain .npy array"),
    "absent": (
        lambda f: next(f.rglob("sub-300_*.npy")).unlink(),
        "listed but no scan (sub-300_preproc-cat12vbm_desc-gm_T1w.npy): participant 300; download",
    ),
}


@pytest.mark.parametrize("case", VOLUME_CASES)
def test_a_bad_openbhb_volume(tmp_path, case):
    spoil, message = VOLUME_CASES[case]
    data = openbhb(tmp_path / "d")
    spoil(tmp_path / "d")
    problems = found(data, tmp_path).problems
    assert len(problems) == 1, problems
    assert message in problems[0]
    assert "sub-300" in problems[0]


def nifti_file(folder):
    return next(folder.rglob("*P02*.nii.gz"))


NIFTI_CASES = {
    "truncated": (
        lambda f: nifti_file(f).write_bytes(nifti_file(f).read_bytes()[:300]),
        "participant P02: truncated or not a NIfTI image",
    ),
    "truncated inside": (
        lambda f: nifti_file(f).write_bytes(
            gzip.compress(gzip.decompress(nifti_file(f).read_bytes())[:700])
        ),
        "participant P02: truncated or not a NIfTI image",
    ),
    "absent": (
        lambda f: nifti_file(f).unlink(),
        "listed but no scan fits '**/{participant}*.nii.gz': participant P02",
    ),
    "two scans": (
        lambda f: nifti_file(f).with_name("P02_second.nii.gz").write_bytes(b""),
        "participant P02 has 2 scans",
    ),
}


@pytest.mark.parametrize("case", NIFTI_CASES)
def test_a_bad_nifti_folder(tmp_path, case):
    spoil, message = NIFTI_CASES[case]
    data = nifti(tmp_path / "d")
    spoil(tmp_path / "d")
    problems = found(data, tmp_path).problems
    assert len(problems) == 1, problems
    assert message in problems[0]


def test_empty_and_missing_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    data = openbhb(tmp_path / "d")
    for name, message in (("empty", "the folder is empty"), ("none", "no such folder")):
        moved = data.model_copy(update={"path": tmp_path / name})
        with pytest.raises(DataError, match=message):
            open_cohort(moved, seed=0, cache=tmp_path / "c")
    scans = nifti(tmp_path / "n").model_copy(update={"path": tmp_path / "empty"})
    with pytest.raises(DataError, match=r"no \.nii or \.nii\.gz file"):
        open_cohort(scans, seed=0, cache=tmp_path / "c")


def test_all_problems_are_shown_at_once_and_training_stops_on_them(tmp_path):
    write_table(tmp_path / "d")
    rewrite(tmp_path / "d", set_cell("sex", 1, "2"))
    rewrite(tmp_path / "d", set_cell("age", 2, "old"))
    rewrite(tmp_path / "d", set_cell("split", 3, "dev"))
    data = table_of(tmp_path / "d")
    assert len(found(data, tmp_path).problems) == 3
    with pytest.raises(DataError) as caught:
        open_cohort(data, seed=0, cache=tmp_path / "c")
    assert str(caught.value).count("\n") == 2


def test_participants_without_an_age_are_left_out_and_noted(tmp_path):
    write_table(tmp_path / "d")
    rewrite(tmp_path / "d", set_cell("age", 2, "n/a"))
    report = found(table_of(tmp_path / "d"), tmp_path)
    assert report.problems == ()
    assert "1 participants without age left out" in report.notes[0]
    assert "north02" not in set(report.cohort.table["participant_id"])


def test_a_small_site_is_kept_for_evaluation_and_said(tmp_path):
    write_table(tmp_path / "d")
    report = found(table_of(tmp_path / "d"), tmp_path, least=4)
    assert report.problems == ()
    assert [site.site for site in report.sites if not site.trains] == ["far", "north"]
    assert any("site north: 3 training participants, fewer than 4" in n for n in report.notes)


def checked(path, overrides=()):
    text = io.StringIO()
    code = run_check(path, Console(file=text, width=200), overrides=list(overrides))
    return code, text.getvalue()


def test_check_prints_every_site_and_passes_a_good_folder(tmp_path):
    code, text = checked(write_table(tmp_path / "d"))
    assert code == 0
    for site in ("north", "south", "12", "far"):
        assert site in text
    assert "No problems: 30 participants at 4 sites." in text


def test_check_reads_an_openbhb_and_a_nifti_folder(tmp_path):
    openbhb(tmp_path / "o")
    openbhb_table(tmp_path / "o", siteXacq=[2, 2, 2, 10, 10], split="train")
    for participant in IDS:
        write_npy(tmp_path / "o", participant, "train", volume(int(participant)))
    code, text = checked(tmp_path / "o")
    assert code == 2
    assert "fewer than two sites have 3 training participants" in " ".join(text.split())
    nifti(tmp_path / "n")
    assert checked(tmp_path / "n")[0] == 0


def test_check_fails_with_code_2_and_counts_the_problems(tmp_path):
    write_table(tmp_path / "d")
    rewrite(tmp_path / "d", set_cell("sex", 1, "2"))
    code, text = checked(tmp_path / "d")
    assert code == 2
    assert "1 problems: mend them before training." in text


def test_check_takes_an_experiment_and_its_overrides(tmp_path):
    import yaml

    write_table(tmp_path / "d")
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(table_tree(tmp_path)))
    assert checked(file, [f"data.path={tmp_path / 'd'}"])[0] == 0
    with pytest.raises(DataError, match="no such folder"):
        checked(tmp_path / "nowhere")
