"""A site's card says what its data are like; whatever names a participant stays on the terminal."""

import io
import json
from dataclasses import asdict

import nibabel
import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from fedcl.cli.check import run_check
from fedcl.config.site import load_site
from fedcl.data.check.site_check import check_site
from fedcl.data.phantom.cohort import write_phantom
from fedcl.errors import ConfigError
from tests.builders import add_scans, write_table
from tests.data.test_scans import rewrite, with_cell
from tests.progress import Told

SHAPE = (7, 8, 9)
AGES = [34, 21, 29, 66, 25, 22, 38, 27, 31, 23, 61, 28, 36]


def site_file(tmp_path, data, *, label, least=3):
    tree = {
        "site": label,
        "server": "server.example:9092",
        "data": data,
        "compute": {"device": "cpu", "threads": 1},
        "limits": {
            "privacy": None,
            "min_participants": least,
            "releases": ["updates"],
            "max_rounds": 5,
            "stop_file": "STOP",
        },
    }
    file = tmp_path / "site" / "site.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump(tree))
    return file


def table_data(**changes):
    names = {"participants": "participants.tsv", "features": "features.tsv"}
    return {"kind": "table", "path": "../d", **names, "columns": {}, "splits": None, **changes}


def write_scans(folder):
    """13 participants without a site column: 9 women, 4 men; one voxel size is another."""
    rng = np.random.default_rng(4)
    usual, rows = rng.uniform(0.2, 1, SHAPE), []
    for number, age in enumerate(AGES):
        affine = np.diag([1.2 if number == 2 else 1.0, 1.0, 1.0, 1.0])
        volume = usual + 0.1 * rng.normal(size=SHAPE)
        file = folder / f"sub-QX{number:02d}" / "anat" / f"sub-QX{number:02d}_T1w.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        nibabel.Nifti1Image(volume.astype(np.float32), affine).to_filename(file)
        sex = "m" if number in (1, 5, 6, 9) else "f"
        maker = "Philips" if number in (1, 7) else "GE"
        rows.append((f"sub-QX{number:02d}", age, sex, maker, "3.0"))
    columns = ["participant_id", "age", "sex", "Manufacturer", "MagneticFieldStrength"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "participants.tsv", sep="\t", index=False)
    return folder


def scans_data(**changes):
    return {
        "kind": "nifti",
        "path": "../d",
        "participants": "participants.tsv",
        "pattern": "**/{participant}_T1w.nii.gz",
        "columns": {"site": None},
        "splits": {"external_sites": ["elsewhere"], "internal_fraction": 0.2},
        "grid": [7, 8, 9],
        "spacing_mm": [1.0, 1.0, 1.0],
        "intensity": "vbm",
        "simulated_scanners": None,
        **changes,
    }


@pytest.fixture
def scans(tmp_path):
    write_scans(tmp_path / "d")
    return site_file(tmp_path, scans_data(), label="lyon")


def scan_of(file, number):
    return file.parents[1] / "d" / f"sub-QX{number:02d}" / "anat" / f"sub-QX{number:02d}_T1w.nii.gz"


def checked(file, cache="cache"):
    return check_site(load_site(file), cache=file.parents[1] / cache)


def shown(file, overrides=()):
    text = io.StringIO()
    code = run_check(file, Console(file=text, width=200), overrides=list(overrides))
    return code, text.getvalue()


def test_a_folder_of_scans_is_described(scans):
    found = checked(scans)
    assert found.problems == ()
    card = found.card
    assert (card.site, card.kind, card.preprocessing) == ("lyon", "nifti", "vbm")
    assert card.participants == {"train": 10, "internal_test": 3, "external_test": 0, "all": 13}
    assert card.scans == card.participants
    small = {decade: band for decade, band in card.ages.items() if band != "<5"}
    assert small == {"20-29": "5-9"}
    assert card.ages["30-39"] == "<5"
    assert len(card.ages) == 12
    assert card.median_age == 29
    assert card.sexes is None, "9 and 4: the bands and the total would say it"
    assert card.scanner == {
        "Manufacturer": {"GE": "10-14", "others": "<5"},
        "MagneticFieldStrength": {"3": "all"},
    }
    assert card.file_shape == {"7 x 8 x 9": "all"}
    assert card.file_voxel_mm == {"1 x 1 x 1": "10-14", "others": "<5"}
    assert card.file_axes == {"RAS": "all"}
    assert card.array_shape == (1, *SHAPE)
    assert set(asdict(card.defects).values()) == {0}
    assert "Manufacturer: not 'GE', as most: participant QX01, QX07" in found.notes
    assert any("voxel size: not '1 x 1 x 1', as most: participant QX02" in n for n in found.notes)


def spoil(file):
    """One without age, one without sex, one without scan, one broken, one copied, one flipped."""

    def change(table):
        table.loc[0, "age"] = "n/a"
        table.loc[1, "sex"] = ""
        return pd.concat([table, table.iloc[[6]]])

    rewrite(file.parents[1] / "d", change)
    scan_of(file, 2).unlink()
    scan_of(file, 3).write_bytes(b"no scan")
    scan_of(file, 5).write_bytes(scan_of(file, 4).read_bytes())
    image = nibabel.load(scan_of(file, 8))
    flipped = np.asarray(image.dataobj)[:, :, ::-1].copy()
    nibabel.Nifti1Image(flipped, image.affine).to_filename(scan_of(file, 8))


def test_what_is_wrong_is_counted_on_the_card_and_named_beside_it(scans):
    spoil(scans)
    found = checked(scans)
    assert asdict(found.card.defects) == {
        "without_age": 1,
        "without_sex": 1,
        "without_scan": 1,
        "unreadable_scans": 1,
        "listed_twice": 1,
        "copied_scans": 1,
        "outliers": 1,
    }
    assert found.card.participants["all"] == 10
    assert found.card.scans["all"] == 11, "one is listed twice"
    told = "\n".join(found.problems)
    for message in (
        "listed more than once: participant QX06",
        "no scan fits '**/{participant}_T1w.nii.gz': participant QX02",
        "participant QX03: truncated or not a NIfTI image",
        "identical content: participant QX04, QX05",
    ):
        assert message in told
    assert len(found.problems) == 4
    assert any("far from the site's other scans: participant QX08" in n for n in found.notes)


def test_the_command_names_participants_and_the_file_does_not(scans):
    spoil(scans)
    code, text = shown(scans)
    assert code == 2
    assert "4 problems: mend them before joining." in text
    assert "What stays here: scans, ids" in text
    leaves, stays = text.split("What stays here")
    assert "QX" not in leaves
    assert all(f"QX{number:02d}" in stays for number in (2, 3, 4, 5, 6, 8))
    written = (scans.parent / "card.json").read_text()
    for secret in ("QX", "Philips", str(scans.parents[1]), "T1w", "66", "34"):
        assert secret not in written
    card = json.loads(written)
    assert card["site"] == "lyon"
    assert card["defects"]["copied_scans"] == 1
    assert card["ages"]["20-29"] == "5-9"


def test_a_sound_site_passes_and_its_card_holds_what_is_shown(scans):
    code, text = shown(scans)
    assert code == 0
    assert "No problems." in text
    assert f"Written: {scans.parent / 'card.json'}." in text
    for words in ("13 (train 10, internal_test 3", "GE      10-14", "RAS  all", "1 x 7 x 8 x 9"):
        assert words in text
    card = json.loads((scans.parent / "card.json").read_text())
    listed = json.loads(json.dumps(asdict(checked(scans).card)))
    assert {key: card[key] for key in listed} == listed
    assert set(card) == {"fedcl", "reading", *listed}


def test_other_sites_of_the_folder_are_not_in_the_card(tmp_path):
    write_table(tmp_path / "d")
    file = site_file(tmp_path, table_data(), label="south")
    rewrite(tmp_path / "d", lambda t: t.assign(scanner="Prisma" + 3 * t["site"]))
    before = checked(file).card
    assert before.participants == {"train": 6, "internal_test": 2, "external_test": 0, "all": 8}
    assert before.scanner == {"scanner": {"Prismasouthsouthsouth": "all"}}
    others = lambda t: ~t["participant_id"].str.startswith("south")  # noqa: E731
    rewrite(tmp_path / "d", lambda t: t.assign(age=t["age"].where(~others(t), "99")))
    assert checked(file).card == before


def test_participants_with_several_scans_are_counted_once(tmp_path):
    add_scans(write_table(tmp_path / "d"), {"south01": 2, "south04": 1})
    card = checked(site_file(tmp_path, table_data(), label="south")).card
    assert card.participants == {"train": 6, "internal_test": 2, "external_test": 0, "all": 8}
    assert card.scans == {"train": 7, "internal_test": 4, "external_test": 0, "all": 11}
    rewrite(tmp_path / "d", lambda t: t.drop(columns="split"))
    drawn = table_data(splits={"external_sites": 0, "internal_fraction": 0.25})
    card = checked(site_file(tmp_path, drawn, label="south")).card
    assert card.participants == {"train": 6, "internal_test": 2, "external_test": 0, "all": 8}
    assert card.scans == {
        "train": None,
        "internal_test": None,
        "external_test": None,
        "all": 11,
    }, "which scans are in which split is for each experiment's seed"


def test_a_table_with_a_hole_is_still_described(tmp_path):
    write_table(tmp_path / "d")
    rewrite(tmp_path / "d", lambda t: t.drop(index=[5, 6]), "features.tsv")
    found = checked(site_file(tmp_path, table_data(), label="south"))
    assert found.card.defects.without_scan == 2
    assert found.card.participants["all"] == 6
    assert found.card.defects.copied_scans is None, "six features can be equal by chance"
    assert found.card.defects.outliers is None, "fewer than 8 scans"
    assert found.card.file_shape is None
    assert len(found.problems) == 1
    assert "no row of features: participant south00, south01" in found.problems[0]


def test_a_site_of_four_has_no_median_and_names_no_value(tmp_path):
    write_table(tmp_path / "d")
    rewrite(tmp_path / "d", lambda t: t.assign(scanner="Prisma"))
    found = checked(site_file(tmp_path, table_data(), label="far", least=1))
    card = found.card
    assert card.participants == {"train": 0, "internal_test": 0, "external_test": 4, "all": 4}
    assert card.median_age is None
    assert card.scanner == {"scanner": None}
    assert set(card.ages.values()) == {"<5"}


def test_nothing_leaves_a_site_with_fewer_participants_than_it_asks_for(tmp_path):
    write_table(tmp_path / "d")
    file = site_file(tmp_path, table_data(), label="south", least=7)
    code, text = shown(file)
    assert code == 2
    assert "limits.min_participants: 7, and site south has 6 training participants" in text
    assert "Not written: card.json, see the problems." in text
    assert not (file.parent / "card.json").exists()
    (file.parent / "card.json").write_text("{}")
    assert "the card.json there is of an earlier check" in shown(file)[1]
    assert (file.parent / "card.json").read_text() == "{}"


def test_ages_that_are_none_are_counted_as_missing(tmp_path):
    write_table(tmp_path / "d")
    rewrite(tmp_path / "d", with_cell("age", "130"))
    rewrite(tmp_path / "d", lambda t: t.assign(age=t["age"].where(t.index != 28, "old")))
    found = checked(site_file(tmp_path, table_data(), label="far", least=1))
    assert found.card.defects.without_age == 2
    assert found.card.participants["all"] == 2
    assert len(found.problems) == 3
    rewrite(tmp_path / "d", lambda t: t.assign(age="n/a"))
    found = checked(site_file(tmp_path, table_data(), label="far", least=1))
    assert found.card is None
    assert any("nobody has an age in 'age'" in problem for problem in found.problems)
    rewrite(tmp_path / "d", lambda t: t.assign(age="130"))
    found = checked(site_file(tmp_path, table_data(), label="far", least=1))
    assert found.card is None
    assert any("no scan with an age to describe" in problem for problem in found.problems)


@pytest.mark.slow
def test_a_site_of_openbhb_is_described_from_its_own_scans(tmp_path):
    """Slow (about 4 s): nilearn's template."""
    options = {"scale": 0.1, "grid": (6, 7, 5), "scanner_strength": 1.0, "seed": 4}
    write_phantom(tmp_path / "d", **options, sites=("5", "7", "40"))
    others = [*(tmp_path / "d").rglob("sub-9007*.npy"), *(tmp_path / "d").rglob("sub-9040*.npy")]
    assert len(others) == 2 * (3 + 1 + 3 + 1)
    for path in others:
        path.write_bytes(b"not a scan")
    shapes = {"vbm": {"1 x 1 x 6 x 7 x 5": "all"}, "cat12vbm_roi": None}
    for modality, shape in shapes.items():
        data = {"kind": "openbhb", "path": "../d", "modality": modality, "grid": None}
        data["intensity"] = "vbm" if modality == "vbm" else None
        found = checked(site_file(tmp_path, data, label="5"))
        assert found.problems == ()
        sizes = {"train": 4, "internal_test": 1, "external_test": 0, "all": 5}
        assert found.card.participants == sizes
        assert found.card.scanner["magnetic_field_strength"] == {"3": "all"}
        assert found.card.preprocessing == modality
        assert found.card.file_shape == shape
        assert found.card.file_axes is None
        assert found.card.array_shape == ((1, 6, 7, 5) if modality == "vbm" else (284,))


def test_progress_tells_reading_and_comparing(scans):
    told = Told()
    check_site(load_site(scans), cache=scans.parent / "c", progress=told)
    assert told.counts("Reading scans") == [(n, 13) for n in range(1, 14)]
    assert told.counts("Comparing scans") == [(n, 26) for n in range(1, 27)]
    assert len(told.steps) == 13 + 26


def test_mistakes_in_the_sites_file_are_told(scans, tmp_path):
    with pytest.raises(ConfigError, match=r"--set seed=3: changes experiments; edit .*site\.yaml"):
        shown(scans, ["seed=3"])
    scans.write_text(scans.read_text().replace("threads", "thread"))
    with pytest.raises(ConfigError, match=r"compute\.thread: unknown key; did you mean 'threads'"):
        shown(scans)
    write_table(tmp_path / "d")
    code, text = shown(site_file(tmp_path, table_data(), label="sooth"))
    assert code == 2
    assert "no row is of site 'sooth' (is it 'south'?)" in text
    assert "Not written: card.json" in text
    assert not (scans.parent / "card.json").exists()
