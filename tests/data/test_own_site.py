"""What a site reads when it sees itself only is what a simulation reads of it, and no more."""

import numpy as np
import pandas as pd
import pytest
import yaml

from fedcl.config.data import Columns, SimulatedScanners, Splits
from fedcl.config.loading import parse
from fedcl.data.open import open_cohort, open_experiment, prepare
from fedcl.errors import ConfigError, DataError
from tests.builders import FEATURES, table_tree, write_table
from tests.data.test_readers import nifti, openbhb
from tests.data.test_scans import rewrite, table_of, with_cell

SPLITS = Splits(external_sites=("far",), internal_fraction=0.34)


def cohorts_of(data, tmp_path, label):
    """What everybody reads of the site, and what it reads itself, elsewhere."""
    whole = open_cohort(data, seed=5, cache=tmp_path / "c1")
    own = open_cohort(data, seed=5, cache=tmp_path / "c2", own_site=label)
    return whole, whole.rows(site=label), own


def require_same(whole, rows, own):
    pd.testing.assert_frame_equal(own.table, whole.table.iloc[rows].reset_index(drop=True))
    np.testing.assert_array_equal(own.load(range(len(own))), whole.load(rows))
    assert own.sites == (own.table["site"].iloc[0],)
    assert own.shape == whole.shape


@pytest.mark.parametrize("label", ["north", "south", "12", "far"])
def test_a_site_draws_the_split_that_a_simulation_draws_for_it(tmp_path, label):
    data = table_of(write_table(tmp_path / "d"), SPLITS)
    rewrite(tmp_path / "d", lambda t: t.drop(columns="split"))
    whole, rows, own = cohorts_of(data, tmp_path, label)
    require_same(whole, rows, own)
    assert own.table["split"].nunique() == (1 if label == "far" else 2)


@pytest.mark.parametrize("label", ["s1", "s2"])
def test_a_site_with_scans_draws_the_split_that_a_simulation_draws_for_it(tmp_path, label):
    data = nifti(tmp_path / "d", count=13)
    require_same(*cohorts_of(data, tmp_path, label))


@pytest.mark.parametrize("label", ["2", "10", "31"])
def test_a_site_of_openbhb_reads_its_own(tmp_path, label):
    require_same(*cohorts_of(openbhb(tmp_path / "d"), tmp_path, label))


def test_where_no_column_says_the_site_all_rows_are_its_own(tmp_path):
    whole = nifti(tmp_path / "d", count=13)
    everybody = open_cohort(whole, seed=5, cache=tmp_path / "c")
    table = pd.read_csv(tmp_path / "d" / "participants.csv")
    alone = whole.model_copy(update={"columns": Columns(site=None)})
    for label in ("s1", "s2"):
        own = table[table["site"] == label].drop(columns="site")
        own.to_csv(tmp_path / "d" / "participants.csv", index=False)
        cohort = open_cohort(alone, seed=5, cache=tmp_path / "c", own_site=label)
        require_same(everybody, everybody.rows(site=label), cohort)


def test_scans_of_others_are_never_opened_and_their_rows_never_judged(tmp_path):
    data = nifti(tmp_path / "d", count=13)
    table = pd.read_csv(tmp_path / "d" / "participants.csv", dtype=str)
    others = table["site"] == "s2"
    for participant in table["participant_id"][others]:
        next((tmp_path / "d").rglob(f"*{participant}_gm.nii.gz")).write_bytes(b"not a scan")
    table.loc[others, ["age", "sex"]] = ["old", "7"]
    table.to_csv(tmp_path / "d" / "participants.csv", index=False)
    own = open_cohort(data, seed=5, cache=tmp_path / "c", own_site="s1")
    prepare(own)
    assert len(own) == 6
    with pytest.raises(DataError, match="not a number"):
        open_cohort(data, seed=5, cache=tmp_path / "c")


def test_features_of_others_are_not_judged(tmp_path):
    data = table_of(write_table(tmp_path / "d"))
    whole = open_cohort(data, seed=5, cache=tmp_path / "c")

    def spoil(table):
        others = ~table["participant_id"].str.startswith("south")
        table.loc[others, "region2"] = "nan"
        return pd.concat([table, table[others]])

    rewrite(tmp_path / "d", spoil, "features.tsv")
    rewrite(tmp_path / "d", lambda t: t.assign(session=""))
    own = open_cohort(data, seed=5, cache=tmp_path / "c", own_site="south")
    # The columns are those of the whole file, so that all sites have the same.
    assert own.shape == (FEATURES - 1,)
    expected = np.delete(whole.load(whole.rows(site="south")), 2, axis=1)
    np.testing.assert_array_equal(own.load(range(8)), expected)


def test_a_label_that_is_not_in_the_table_is_refused_with_the_nearest(tmp_path):
    data = table_of(write_table(tmp_path / "d"))
    with pytest.raises(DataError, match=r"no row is of site 'nord' \(is it 'north'\?\)"):
        open_cohort(data, seed=5, cache=tmp_path / "c", own_site="nord")


def test_a_participant_who_is_at_another_site_too_is_a_problem(tmp_path):
    data = table_of(write_table(tmp_path / "d"))
    rewrite(tmp_path / "d", lambda t: t.assign(session="1"))
    rewrite(tmp_path / "d", with_cell("participant_id", "north02"))
    with pytest.raises(DataError, match=r"scans differ in site: participant north02"):
        open_cohort(data, seed=5, cache=tmp_path / "c", own_site="north")


def test_external_sites_are_named_where_a_site_sees_itself_only(tmp_path):
    write_table(tmp_path / "d")
    rewrite(tmp_path / "d", lambda t: t.drop(columns="split"))
    elsewhere = Splits(external_sites=("paris", "south"), internal_fraction=0.2)
    own = open_cohort(
        table_of(tmp_path / "d", elsewhere), seed=5, cache=tmp_path / "c", own_site="north"
    )
    assert own.table["split"].value_counts().to_dict() == {"train": 4, "internal_test": 1}
    with pytest.raises(DataError, match="no site paris"):
        open_cohort(table_of(tmp_path / "d", elsewhere), seed=5, cache=tmp_path / "c")
    drawn = table_of(tmp_path / "d", Splits(external_sites=1, internal_fraction=0.2))
    with pytest.raises(DataError, match="1 sites cannot be drawn where a site sees itself only"):
        open_cohort(drawn, seed=5, cache=tmp_path / "c", own_site="north")
    none = table_of(tmp_path / "d", Splits(external_sites=0, internal_fraction=0.2))
    assert len(open_cohort(none, seed=5, cache=tmp_path / "c", own_site="north")) == 5


def test_invented_scanners_are_no_sites_of_a_hospital(tmp_path):
    scanners = SimulatedScanners(count=3, strength=1.0)
    data = nifti(tmp_path / "d").model_copy(update={"simulated_scanners": scanners})
    with pytest.raises(DataError, match=r"simulated_scanners: .* site 's1' has its own"):
        open_cohort(data, seed=5, cache=tmp_path / "c", own_site="s1")


def test_an_experiment_cannot_say_that_all_rows_are_one_sites(tmp_path):
    tree = table_tree(tmp_path)
    tree["data"]["columns"] = {"site": None}
    with pytest.raises(ConfigError, match=r"data\.columns\.site: null means"):
        parse(yaml.safe_dump(tree), source="x.yaml")
    data = table_of(write_table(tmp_path / "d"))
    data = data.model_copy(update={"columns": Columns(site=None)})
    with pytest.raises(DataError, match="nobody says whose rows these are"):
        open_cohort(data, seed=5, cache=tmp_path / "c")


def test_an_experiment_is_opened_for_one_site_with_what_its_objective_compares(tmp_path):
    write_table(tmp_path / "data")
    tree = table_tree(tmp_path)
    tree["objective"]["kernel"]["covariates"] = ["sex"]
    config = parse(yaml.safe_dump(tree), source="x.yaml")
    whole, own = open_experiment(config), open_experiment(config, own_site="south")
    rows = whole.rows(site="south")
    require_same(whole, rows, own)
    np.testing.assert_array_equal(own.known["sex"], whole.known["sex"][rows])
