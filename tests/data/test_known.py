"""What an objective compares participants by is read once, or refused by name."""

import math

import numpy as np
import pandas as pd
import pytest

from fedcl.data.cohort import training_rows
from fedcl.data.open import open_experiment
from fedcl.errors import DataError
from fedcl.experiment.pooled import train_rounds
from fedcl.run_folder.folder import RunFolder
from tests.builders import config_of, table_tree, with_values, write_table

AGE = {"kind": "gaussian", "covariates": ["age"], "bandwidths": [5]}
ANATOMY = {
    "kind": "anatomical",
    "table": "anatomy.tsv",
    "mode": "local",
    "measures": ["thickness", "area"],
    "scales": [2.5, 1000],
}


def cohort_of(tmp_path, kernel, **changes):
    return open_experiment(
        config_of(with_values(table_tree(tmp_path), objective__kernel=kernel, **changes))
    )


@pytest.fixture
def folder(tmp_path):
    return write_table(tmp_path / "data")


def edit(folder, change):
    path = folder / "participants.tsv"
    table = pd.read_csv(path, sep="\t")
    change(table)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return table["participant_id"]


def test_columns_become_numbers_or_codes_and_what_is_missing_is_not_a_number(tmp_path, folder):
    def add(table):
        table["tiv"] = np.arange(len(table)) * 10.0
        table["scanner"] = ["philips", "siemens"] * (len(table) // 2)
        table.loc[0, ["tiv", "scanner", "sex"]] = [np.nan, None, None]

    ids = list(edit(folder, add))
    kernel = {"kind": "discrete", "covariates": ["age", "sex", "tiv", "scanner", "site"]}
    cohort = cohort_of(tmp_path, kernel)
    order = [ids.index(i) for i in cohort.table["participant_id"]]
    first = order.index(0)
    known = cohort.known_of(np.arange(len(cohort)), cohort.known)
    assert all(values.dtype == np.float32 for values in known.values())
    for name in ("sex", "tiv", "scanner"):
        assert math.isnan(known[name][first])
        assert np.isnan(known[name]).sum() == 1
    assert set(known["sex"][~np.isnan(known["sex"])]) == {0, 1}
    second = order.index(3)
    assert known["tiv"][second] == 30
    assert known["scanner"][second] == 1
    assert [cohort.sites[int(s)] for s in known["site"]] == list(cohort.table["site"])


def anatomy_table(folder, ids, **extra):
    rng = np.random.default_rng(3)
    columns = {"participant_id": [f"sub-{i}" for i in ids]}
    for region in ("lh_cuneus", "rh_insula", "lh_lonely"):
        columns[f"{region}_thickness"] = 2 + rng.random(len(ids))
        if region != "lh_lonely":
            columns[f"{region}_area"] = 900 + 300 * rng.random(len(ids))
    table = pd.DataFrame({**columns, **extra}).sample(frac=1, random_state=1)
    table.to_csv(folder / "anatomy.tsv", sep="\t", index=False)
    return table.set_index("participant_id")


def test_anatomy_is_read_by_region_and_measure_whatever_the_order_of_rows(tmp_path, folder):
    ids = edit(folder, lambda _: None)
    table = anatomy_table(folder, ids)
    cohort = cohort_of(tmp_path, ANATOMY)
    anatomy = cohort.known["anatomy.tsv"]
    assert anatomy.shape == (len(cohort), 2, 2)
    row = 4
    expected = table.loc["sub-" + cohort.table["participant_id"][row]]
    assert anatomy[row, 0, 1] == pytest.approx(expected["rh_insula_thickness"] / 2.5)
    assert anatomy[row, 1, 0] == pytest.approx(expected["lh_cuneus_area"] / 1000)


def test_a_precomputed_kernel_follows_the_batch(tmp_path, folder):
    ids = list(edit(folder, lambda _: None))
    rng = np.random.default_rng(5)
    matrix = rng.random((len(ids), len(ids)))
    matrix = (matrix + matrix.T) / 2
    order = rng.permutation(len(ids))
    shuffled = pd.DataFrame(matrix[:, order], columns=[ids[i] for i in order])
    shuffled.insert(0, "participant_id", ids)
    shuffled.to_csv(folder / "kernel.csv", index=False)
    cohort = cohort_of(tmp_path, {"kind": "precomputed", "table": "kernel.csv"})
    rows = np.array([7, 2, 11])
    found = cohort.known_of(rows, ["kernel.csv"])["kernel.csv"]
    place = [ids.index(i) for i in cohort.table["participant_id"][rows]]
    np.testing.assert_allclose(found, matrix[np.ix_(place, place)], rtol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (
            {"kind": "discrete", "covariates": ["scaner"]},
            "compares 'scaner', which is not a column",
        ),
        (ANATOMY, "anatomy.tsv: not found"),
        ({**ANATOMY, "table": "features.tsv"}, "no column ends with _thickness"),
        ({**ANATOMY, "table": "desikan_roi"}, "desikan_roi is OpenBHB's"),
        (
            {"kind": "precomputed", "table": "features.tsv"},
            r"degrees of positiveness are in \[0, 1\]",
        ),
    ],
)
def test_what_is_not_there_is_refused_by_name(tmp_path, folder, kernel, message):
    with pytest.raises(DataError, match=message):
        cohort_of(tmp_path, kernel)


def test_a_training_participant_without_a_row_is_named(tmp_path, folder):
    ids = edit(folder, lambda _: None)
    anatomy_table(folder, [i for i in ids if i != "south02"])
    with pytest.raises(DataError, match="no row for training participant south02"):
        cohort_of(tmp_path, ANATOMY)


@pytest.mark.parametrize(
    "objective",
    [
        {
            "kernel": {"kind": "product", "kernels": [AGE, {**ANATOMY, "mode": "global"}]},
            "loss": "y_aware",
        },
        {"kernel": {"kind": "discrete", "covariates": ["sex"]}, "loss": "sup_con"},
        {
            "debias": [
                {
                    "name": "fairkl_regression",
                    "weight": 0.5,
                    "against": "site",
                    "vectors": "representation",
                    "side": "both",
                    "form": "kl",
                }
            ]
        },
    ],
    ids=["age x anatomy", "sex classes", "fairkl"],
)
def test_a_pooled_run_trains_with_it_and_logs_every_term(tmp_path, folder, objective):
    anatomy_table(folder, edit(folder, lambda _: None))
    changes = {f"objective__{key}": value for key, value in objective.items()}
    config = config_of(with_values(table_tree(tmp_path), **changes))
    cohort = open_experiment(config)
    run = RunFolder(config.output.path)
    run.start(config)
    train_rounds(config, cohort, training_rows(cohort, config.local), run, name="pooled")
    line = run.load().record.sites["pooled"]
    expected = {"loss", "spread", objective.get("loss", "l_exp")}
    expected |= {
        f"fairkl_regression.{s}" for s in ("positive", "negative") if "debias" in objective
    }
    assert set(line.terms) == expected
    assert all(math.isfinite(value) for value in line.terms.values())
    assert min(line.counts.values()) > 0
