"""The embedded cohort has OpenBHB's folder, sites and ages, and anatomy that ages as published.

Writing a phantom of 254 participants takes 1.5 s, most of it for nilearn's template; the tests
share three of them.
"""

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from fedcl.config.data import PhantomData
from fedcl.data import open as module
from fedcl.data.open import open_cohort
from fedcl.data.phantom.anatomy import (
    FLUID,
    GREY,
    REGIONS,
    WHITE,
    draw_anatomy,
    load_template,
    region_volumes,
)
from fedcl.data.phantom.cohort import draw_participants, site_facts, write_phantom
from fedcl.errors import DataError
from tests.progress import Told

pytestmark = pytest.mark.slow

GRID = (12, 14, 13)
VOXEL_ML = 181.5 * 217.5 * 181.5 / np.prod(GRID) / 1000
SETTINGS = {
    "scale": 0.01,
    "grid": [12, 14, 13],
    "scanner_strength": 1.0,
    "seed": 4,
    "sites": None,
}
MAP, TABLE = "cat12vbm_desc-gm_T1w", "cat12vbm_desc-gm_ROI"


def write(folder: Path, *, strength: float = 1.0, seed: int = 4, **options) -> Path:
    write_phantom(folder, scale=0.01, grid=GRID, scanner_strength=strength, seed=seed, **options)
    return folder


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("phantom") / "cohort")


@pytest.fixture(scope="module")
def unscanned(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("unscanned") / "cohort", strength=0)


@pytest.fixture(scope="module")
def template():
    return load_template(GRID)


def participants(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "participants.tsv", sep="\t", dtype={"siteXacq": str})


def array(folder: Path, person, kind: str) -> np.ndarray:
    half = "train" if person.split == "train" else "val"
    name = f"sub-{person.participant_id}"
    return np.load(folder / half / "derivatives" / name / "ses-1" / f"{name}_preproc-{kind}.npy")


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# --- the folder ----------------------------------------------------------------------------------


def test_the_folder_is_shaped_like_openbhb(phantom):
    table = participants(phantom)
    assert " ".join(table.columns) == (
        "participant_id study sex age site diagnosis tiv csfv gmv wmv magnetic_field_strength "
        "acquisition_setting siteXacq split"
    )
    assert sorted(path.name for path in phantom.iterdir()) == [
        "participants.tsv",
        "phantom.json",
        "train",
        "val",
    ]
    assert table["participant_id"].is_unique
    assert set(table["sex"]) == {"female", "male"}
    for person in table.itertuples():
        volume, regions = array(phantom, person, MAP), array(phantom, person, TABLE)
        assert volume.shape == (1, 1, *GRID)
        assert regions.shape == (1, 1, 2 * REGIONS)
        assert volume.dtype == regions.dtype == np.float32
        assert 0 <= volume.min() < volume.max() <= 1.5
        assert np.isfinite(regions).all()
    assert len(list(phantom.rglob("*.npy"))) == 2 * len(table)


def test_the_settings_are_kept(phantom):
    assert json.loads((phantom / "phantom.json").read_text()) == SETTINGS


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(phantom, tmp_path):
    again = write(tmp_path / "again")
    assert hashes(again) == hashes(phantom)
    other = write(tmp_path / "again", seed=5)  # replaces the phantom that stood there
    same, changed = hashes(phantom), hashes(other)
    assert same.keys() == changed.keys()
    assert all(same[name] != changed[name] for name in same)


@pytest.mark.slow
def test_some_sites_are_the_same_bytes_as_in_the_whole(phantom, tmp_path):
    some = write(tmp_path / "some", sites=("13", "5", "13"))
    whole, part = hashes(phantom), hashes(some)
    table = [name for name in part if not name.endswith(".npy")]
    assert table == ["participants.tsv", "phantom.json"]
    arrays = [name for name in part if name not in table]
    assert all(part[name] == whole[name] for name in arrays)
    everybody = (phantom / "participants.tsv").read_text().splitlines()
    wanted = [line for line in everybody[1:] if line.split("\t")[-2] in ("5", "13")]
    assert (some / "participants.tsv").read_text().splitlines() == [everybody[0], *wanted]
    assert len(arrays) == 2 * len(wanted) > 0
    assert json.loads((some / "phantom.json").read_text()) == {**SETTINGS, "sites": ["5", "13"]}


def test_a_site_that_is_not_in_the_phantom_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match=r"no site '055' \(is it '55'\?\)"):
        write(tmp_path / "some", sites=("5", "055"))
    assert list(tmp_path.iterdir()) == []


def data_of(folder: Path, sites: tuple[str, ...] | None) -> PhantomData:
    return PhantomData(
        kind="phantom",
        path=folder,
        modality="vbm",
        scale=0.01,
        grid=GRID,
        scanner_strength=1.0,
        sites=sites,
    )


@pytest.mark.slow
def test_an_experiment_reads_the_sites_it_names_in_any_order_and_refuses_others(tmp_path):
    some = write(tmp_path / "some", sites=("5", "13"))
    for sites in (("5", "13"), ("13", "5")):
        assert open_cohort(data_of(some, sites), seed=4, cache=tmp_path).sites == ("5", "13")
    for sites in (("5",), None):
        with pytest.raises(DataError, match=r"written with sites = \['5', '13'\]"):
            open_cohort(data_of(some, sites), seed=4, cache=tmp_path)
    written = open_cohort(data_of(tmp_path / "one", ("5",)), seed=4, cache=tmp_path)
    assert written.sites == ("5",)


def test_a_phantom_from_before_there_was_a_choice_is_the_whole(phantom, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(phantom, old)
    before = {key: value for key, value in SETTINGS.items() if key != "sites"}
    (old / "phantom.json").write_text(json.dumps(before))
    assert len(open_cohort(data_of(old, None), seed=4, cache=tmp_path).sites) == 64
    with pytest.raises(DataError, match=r"written with sites = None"):
        open_cohort(data_of(old, ("5",)), seed=4, cache=tmp_path)


@pytest.mark.slow
def test_an_interrupted_writing_leaves_nothing(tmp_path):
    class Interrupting(Told):
        def step(self, what, done, total):
            super().step(what, done, total)
            if done == 3:
                raise KeyboardInterrupt

    told = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "cohort", progress=told)
    assert list(tmp_path.iterdir()) == []
    total = len(draw_participants(scale=0.01, seed=4))
    assert told.counts("Writing participants") == [(1, total), (2, total), (3, total)]


def test_a_folder_that_is_no_phantom_is_never_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="not a phantom"):
        write(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cohort: cannot write the phantom"):
        write(tmp_path / "file" / "cohort")


@pytest.mark.slow
def test_of_two_that_need_it_at_once_one_writes_and_the_other_waits(tmp_path, monkeypatch):
    written = Mock(wraps=write_phantom)
    monkeypatch.setattr(module, "write_phantom", written)
    data = data_of(tmp_path / "cohort", ("5", "13"))
    with ThreadPoolExecutor(3) as askers:
        opened = [askers.submit(open_cohort, data, seed=4, cache=tmp_path / "c") for _ in range(3)]
    assert [one.result().sites for one in opened] == [("5", "13")] * 3
    assert written.call_count == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"cohort", "c"}


# --- the participants ----------------------------------------------------------------------------


def test_sixty_four_sites_of_which_six_are_external_only(phantom):
    sites = participants(phantom).groupby("split")["siteXacq"].unique()
    assert set(sites["train"]) | set(sites["external_test"]) == {str(n) for n in range(64)}
    assert len(sites["train"]) == 58
    assert len(sites["internal_test"]) == 56
    assert set(sites["internal_test"]) < set(sites["train"])
    assert set(sites["external_test"]) == {"13", "15", "31", "48", "57", "59"}


@pytest.mark.parametrize("scale", [0.01, 0.15, 1.0])
def test_site_sizes_follow_the_facts(scale):
    people = draw_participants(scale=scale, seed=4)
    sizes = people.groupby(["siteXacq", "split"]).size()
    for fact in site_facts().itertuples():
        for split, fewest in (("train", 3), ("internal_test", 1), ("external_test", 3)):
            real = getattr(fact, f"n_{split}")
            expected = max(fewest, int(scale * real + 0.5)) if real else 0
            assert sizes.get((fact.siteXacq, split), 0) == expected
    if scale == 1:
        assert people["split"].value_counts().to_dict() == {
            "train": 3227,
            "internal_test": 362,
            "external_test": 395,
        }


def test_ages_sexes_and_fields_follow_the_facts():
    people = draw_participants(scale=1, seed=4)
    for fact in site_facts().itertuples():
        site = people[people["siteXacq"] == fact.siteXacq]
        assert fact.age_min <= site["age"].min()
        assert site["age"].max() <= fact.age_max
        assert site["age"].mean() == pytest.approx(fact.age_mean, abs=0.25 * fact.age_sd + 0.3)
        assert site["age"].median() == pytest.approx(fact.age_p50, abs=0.5 * fact.age_sd + 0.3)
        assert site["age"].std() == pytest.approx(fact.age_sd, rel=0.25, abs=0.3)
        assert (site["sex"] == "female").sum() == fact.n_female
        assert set(site["magnetic_field_strength"]) == {fact.field_strength_t}


def test_a_site_of_two_generations_keeps_its_gap():
    people = draw_participants(scale=1, seed=4)
    ages = people.loc[people["siteXacq"] == "27", "age"]
    assert not ages.between(30.5, 54.5).any()
    assert (ages < 31).sum() == 12


# --- the anatomy ---------------------------------------------------------------------------------


def test_tissue_columns_are_the_volumes_of_the_maps(unscanned):
    for person in participants(unscanned).itertuples():
        assert array(unscanned, person, MAP).sum() * VOXEL_ML == pytest.approx(person.gmv, abs=0.1)
        assert person.tiv == pytest.approx(person.gmv + person.wmv + person.csfv, abs=0.05)


def test_scanners_change_the_maps_but_not_the_tissue_columns(phantom, unscanned):
    pd.testing.assert_frame_equal(participants(phantom), participants(unscanned))
    person = next(participants(phantom).itertuples())
    assert not np.allclose(array(phantom, person, MAP), array(unscanned, person, MAP), atol=0.01)


def test_volumes_follow_the_published_regressions(unscanned):
    people = participants(unscanned)
    age, male = people["age"].to_numpy(), (people["sex"] == "male").to_numpy()
    design = np.stack([np.ones_like(age), age, age**2, male], axis=1)
    for column, model in (("gmv", GREY), ("wmv", WHITE), ("csfv", FLUID)):
        volumes = people[column].to_numpy()
        fitted, (squares,), _, _ = np.linalg.lstsq(design, volumes, rcond=None)
        # Three standard errors of the fitted mean, written out as for any least squares.
        for at_age in (12, 20, 40, 65):
            row = np.array([1, at_age, at_age**2, 0.5])
            error = model.residual_sd * np.sqrt(row @ np.linalg.inv(design.T @ design) @ row)
            expected = (
                model.expected_ml(at_age, male=True) + model.expected_ml(at_age, male=False)
            ) / 2
            assert row @ fitted == pytest.approx(expected, abs=3 * error)
        residual_sd = np.sqrt(squares / (len(people) - 4))
        assert residual_sd == pytest.approx(model.residual_sd, rel=0.2)


def test_grey_matter_falls_and_fluid_grows_with_age(template):
    def mean_volumes(age: float) -> np.ndarray:
        drawn = [draw_anatomy(template, age_years=age, male=False, seed=s) for s in range(40)]
        return np.mean([(a.grey_ml, a.fluid_ml) for a in drawn], axis=0)

    (young_grey, young_fluid), (old_grey, old_fluid) = mean_volumes(20), mean_volumes(70)
    # The same seeds draw the same residuals, so that the difference is the regression's.
    for model, difference in ((GREY, old_grey - young_grey), (FLUID, old_fluid - young_fluid)):
        expected = model.expected_ml(70, male=False) - model.expected_ml(20, male=False)
        assert difference == pytest.approx(expected, rel=1e-6)
    assert old_grey < young_grey
    assert old_fluid > young_fluid


def test_shrinkage_differs_between_regions(template):
    def mean_map(age: float) -> np.ndarray:
        drawn = [draw_anatomy(template, age_years=age, male=True, seed=s) for s in range(20)]
        return np.mean([a.grey for a in drawn], axis=0)

    kept = mean_map(75)[template.grey > 0.3] / mean_map(20)[template.grey > 0.3]
    fast = template.ageing[template.grey > 0.3] > 0.4
    slow = template.ageing[template.grey > 0.3] < -0.4
    assert kept[fast].mean() < 0.7 < kept[slow].mean()


def test_a_participant_depends_on_their_own_seed_alone(template):
    first, again = (draw_anatomy(template, age_years=33, male=True, seed=9) for _ in range(2))
    other = draw_anatomy(template, age_years=33, male=True, seed=10)
    assert np.array_equal(first.grey, again.grey)
    assert not np.allclose(first.grey, other.grey, rtol=0.02)


def test_regions_mirror_each_other_and_add_up(template):
    assert np.array_equal(np.unique(template.region_of % 2), [0, 1])
    left, right = template.region_of[:6] % 2, template.region_of[6:] % 2
    assert (left == 0).all()
    assert (right == 1).all()
    volumes = region_volumes(template.grey, template)
    regions, _ = template.empty_regions
    filled = np.setdiff1d(np.arange(REGIONS), regions)
    total = template.grey.sum() * template.voxel_ml
    assert volumes[filled].sum() == pytest.approx(total, rel=1e-4)
    assert (volumes > 0).mean() > 0.9
