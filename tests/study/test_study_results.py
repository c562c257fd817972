"""From runs to a study's numbers: whole seeds, paired differences, cells that are told."""

import csv
import json
import math

import numpy as np
import pytest

from fedcl.study.arms import concrete_arms
from fedcl.study.measured_file import CellRow
from fedcl.study.metrics import METRICS
from fedcl.study.page_rows import main_rows, study_verdict
from fedcl.study.results import FEATURES, StudyResults, results_of, write_tables
from fedcl.study.run_trial import TrialFailure, keep_failure
from fedcl.study.statistics import difference, estimate
from fedcl.study.store import StoredRun
from tests.study.small import found_of, measured, small_study, trial

VALUES = {
    ("together", 4): 3.0,
    ("together", 9): 5.0,
    ("federation", 4): 3.5,
    ("federation", 9): 6.5,
}


def cell(label, mae, kind="site", split="external", participants=12):
    told = mae is not None
    return CellRow(
        split=split,
        kind=kind,
        label=label,
        participants=participants if told else None,
        mae=mae,
        mean_error=-mae if told else None,
    )


def results_for(tmp_path, values, **changes):
    study = small_study(tmp_path, **changes)
    return results_of(study, "text", found_of(study, tmp_path, values))


def test_values_are_by_seed_and_differences_paired(tmp_path):
    results = results_for(tmp_path, VALUES)
    together, federation = results.arms
    assert federation.on["representation"].values["mae_external"] == {4: 3.5, 9: 6.5}
    assert federation.on["embedding"].values["mae_external"] == {4: 4.5, 9: 7.5}
    assert federation.on["representation"].values["sex_gap"] == {4: 3.5 / 4, 9: 6.5 / 4}
    for kind in FEATURES:
        for metric, of in federation.on[kind].values.items():
            base = together.on[kind].values[metric]
            assert federation.on[kind].estimates[metric] == estimate(of, "t")
            assert federation.on[kind].differences[metric] == difference(of, base, "t")
    assert federation.on["embedding"].differences["mae_external"].mean == pytest.approx(1.0)
    assert together.on["representation"].differences == {}, "none from itself"
    assert results.complete


def test_a_seed_that_one_arm_lacks_is_in_no_difference(tmp_path):
    results = results_for(tmp_path, VALUES | {("together", 4): None})
    together, federation = results.arms
    assert together.on["embedding"].values["mae_external"] == {9: 6.0}
    less = federation.on["embedding"].differences["mae_external"]
    assert (less.mean, less.low, less.seeds) == (1.5, None, 1)
    assert federation.on["embedding"].estimates["mae_external"].seeds == 2
    assert not results.complete
    assert [(arm.done, arm.asked) for arm in results.arms] == [(1, 2), (2, 2)]


def test_without_a_reference_there_is_no_difference(tmp_path):
    results = results_for(tmp_path, VALUES, compare_to=None)
    assert all(not arm.on[kind].differences for arm in results.arms for kind in FEATURES)


def test_a_value_that_is_nowhere_defined_is_nowhere_told(tmp_path):
    results = results_for(tmp_path, VALUES)
    for arm in results.arms:
        for kind in FEATURES:
            there = set(METRICS) - {"claimed_epsilon", "certified_epsilon"}
            assert set(arm.on[kind].estimates) == set(arm.on[kind].values) == there


def test_every_metric_is_what_its_name_says(tmp_path):
    one = measured(4.0)
    told = {name: metric.value(one, one.representation) for name, metric in METRICS.items()}
    assert told == {
        "mae_internal": 3.5,
        "mae_external": 4.0,
        "site_accuracy": 0.04,
        "site_accuracy_mlp": 0.08,
        "site_variance": 0.02,
        "challenge_score": 2.0,
        "worst_site": 8.0,
        "worst_training_site": 8.0,
        "site_gap": 2.0,
        "sex_gap": 1.0,
        "age_gap": 0.5,
        "age_slope": -0.5,
        "corrected_slope": 0.1,
        "corrected_mae": 4 / 3,
        "sums_mae_external": 4.25,
        "sums_difference": 0.25,
        "sums_site_accuracy": 0.5,
        "membership_auc": 0.5,
        "claimed_epsilon": None,
        "certified_epsilon": None,
        "seconds": 2.5,
        "megabytes": 4.0,
        "messages": 6.0,
    }
    nothing = one.model_copy(update={"attacked": None})
    bare = one.representation.model_copy(
        update={"external": None, "internal": None, "bias_external": None, "sums": None}
    )
    told = {name for name, metric in METRICS.items() if metric.value(nothing, bare) is not None}
    on = {"mae_internal", "mae_external", "site_accuracy", "site_accuracy_mlp", "site_variance"}
    assert told == on | {"challenge_score", "seconds", "megabytes", "messages"}


def folded(tmp_path, values, **changes):
    """A cross-validation of three folds; `values` by (seed, fold)."""
    study = small_study(
        tmp_path,
        compare_to=None,
        arms={"a": {"train": "pooled"}},
        cross_validation={"folds": 3, "internal_fraction": 0.2},
        **changes,
    )
    (arm,) = concrete_arms(study)
    pairs = []
    for (seed, fold), value in values.items():
        run = value if value is None or not isinstance(value, float) else measured(value, "pooled")
        pairs.append((trial(tmp_path, arm, seed, fold=fold), run))
    return results_of(study, "text", pairs).arms[0]


def test_a_seeds_value_is_the_mean_over_its_folds_if_all_are_there(tmp_path):
    values = {(4, 0): 1.0, (4, 1): 2.0, (4, 2): 6.0, (9, 0): 10.0, (9, 1): None, (9, 2): 11.0}
    arm = folded(tmp_path, values)
    assert arm.on["representation"].values["mae_external"] == {4: 3.0}
    assert (arm.done, arm.asked) == (5, 6)
    whole = folded(tmp_path, values | {(9, 1): 12.0})
    assert whole.on["representation"].values["mae_external"] == {4: 3.0, 9: 11.0}


def test_a_metric_that_one_fold_cannot_tell_is_not_the_mean_of_the_others(tmp_path):
    blind = measured(2.0, "pooled", site_accuracy=None)
    arm = folded(tmp_path, {(4, 0): 1.0, (4, 1): blind, (4, 2): 3.0})
    assert "site_accuracy" not in arm.on["representation"].values
    assert arm.on["representation"].values["mae_external"] == {4: 2.0}


def test_cells_are_averaged_over_the_runs_that_tell_them(tmp_path):
    study = small_study(tmp_path, compare_to=None, arms={"a": {"train": "pooled"}})
    (arm,) = concrete_arms(study)
    runs = [
        measured(1.0, cells=(cell("far", 2.0), cell("few", None), cell("once", 5.0))),
        measured(1.0, cells=(cell("far", 4.0), cell("few", None), cell("once", None))),
    ]
    pairs = [(trial(tmp_path, arm, seed), run) for seed, run in zip((4, 9), runs, strict=True)]
    cells = results_of(study, "text", pairs).arms[0].on["representation"].cells
    told = {(c.label, c.participants, c.mae, c.mean_error) for c in cells}
    assert told == {("far", 12, 3.0, -3.0), ("few", None, None, None), ("once", 12, 5.0, -5.0)}


def test_one_label_of_two_kinds_and_splits_is_two_cells(tmp_path):
    study = small_study(tmp_path, seeds=[4], compare_to=None, arms={"a": {"train": "pooled"}})
    (arm,) = concrete_arms(study)
    both = (cell("3", 2.0), cell("3", 4.0, kind="field"), cell("3", 8.0, split="internal"))
    pairs = [(trial(tmp_path, arm, 4), measured(1.0, cells=both))]
    cells = results_of(study, "text", pairs).arms[0].on["embedding"].cells
    assert [(c.split, c.kind, c.mae) for c in cells] == [
        ("external", "site", 2.0),
        ("external", "field", 4.0),
        ("internal", "site", 8.0),
    ]


def test_why_a_run_failed_is_kept_until_it_is_there(tmp_path):
    study = small_study(tmp_path)
    found = found_of(study, tmp_path, VALUES | {("federation", 9): None})
    broken = found[-1][0]
    assert (broken.arm.name, broken.seed) == ("federation", 9)
    keep_failure(broken.entry, TrialFailure("no such folder", "Traceback ..."))
    failed = results_of(study, "text", found).arms[1].failed
    assert [(one.seed, one.fold, one.message) for one in failed] == [(9, None, "no such folder")]
    done = [*found[:-1], (broken, measured(4.0))]
    assert results_of(study, "text", done).arms[1].failed == ()
    (tmp_path / "store" / "x").mkdir()
    (tmp_path / "store" / "x" / "failed.json").write_text("{")
    assert StoredRun(tmp_path / "store", "x").failure() is None


def test_a_study_of_which_nothing_is_there_has_numbers_of_nobody(tmp_path):
    results = results_for(tmp_path, {})
    assert not results.complete
    assert [arm.done for arm in results.arms] == [0, 0]
    assert all(not arm.on[kind].estimates for arm in results.arms for kind in FEATURES)
    assert results.data_digests == results.training_sites == ()


def test_the_tables_hold_what_the_json_holds(tmp_path):
    results = results_for(tmp_path, VALUES | {("federation", 9): None})
    write_tables(tmp_path, results)
    read = StudyResults.model_validate_json((tmp_path / "study.json").read_text())
    assert read == results
    tree = json.loads((tmp_path / "study.json").read_text())
    of = {arm["name"]: arm["on"] for arm in tree["arms"]}
    seen = set()
    with (tmp_path / "table.csv").open() as lines:
        for row in csv.DictReader(lines):
            on = of[row["arm"]][row["features"]]
            one, less = on["estimates"][row["metric"]], on["differences"].get(row["metric"])
            for name in ("mean", "low", "high", "seeds"):
                assert same(row[name], one[name])
            for name in ("mean", "low", "high"):
                key = "difference" if name == "mean" else f"difference_{name}"
                assert same(row[key], None if less is None else less[name])
            seen.add((row["arm"], row["features"], row["metric"]))
    listed = {(a, k, m) for a, on in of.items() for k in on for m in on[k]["estimates"]}
    assert seen == listed
    with (tmp_path / "runs.csv").open() as lines:
        runs = [
            (r["arm"], r["features"], r["metric"], r["seed"], r["value"])
            for r in csv.DictReader(lines)
        ]
    values = [
        (a, k, m, seed, value)
        for a, on in of.items()
        for k in on
        for m, by_seed in on[k]["values"].items()
        for seed, value in by_seed.items()
    ]
    assert [row[:4] for row in runs] == [row[:4] for row in values]
    assert all(same(run[4], value[4]) for run, value in zip(runs, values, strict=True))


def same(text, value):
    return text == "" if value is None else math.isclose(float(text), value, rel_tol=0)


def test_arm_names_with_commas_and_quotes_stay_one_field(tmp_path):
    names = ['with "quotes", and commas', "=SUM(A1)"]
    arms = {name: {"train": "pooled"} for name in names}
    values = {(name, seed): 2.0 for name in names for seed in (4, 9)}
    write_tables(tmp_path, results_for(tmp_path, values, compare_to=None, arms=arms))
    with (tmp_path / "runs.csv").open() as lines:
        assert {row["arm"] for row in csv.DictReader(lines)} == set(names)


def test_means_over_runs_skip_what_is_not_known(tmp_path):
    study = small_study(tmp_path, compare_to=None, arms={"a": {"train": "pooled"}})
    (arm,) = concrete_arms(study)
    runs = [measured(1.0, site_chance=None, site_from_age=0.5), measured(1.0, site_chance=0.2)]
    pairs = [(trial(tmp_path, arm, seed), run) for seed, run in zip((4, 9), runs, strict=True)]
    guessing = results_of(study, "text", pairs).arms[0].on["embedding"].guessing
    assert guessing.site_chance == 0.2
    assert guessing.site_from_age == pytest.approx(np.mean([0.5, 0.3]))


@pytest.mark.parametrize(("dim", "best"), [(1, "federation"), (3, "together")])
def test_features_that_are_the_prediction_itself_are_not_the_best_of_all(tmp_path, dim, best):
    study, dims = small_study(tmp_path), {"together": dim, "federation": 3}
    runs = [
        (one, measured(VALUES[one.arm.name, one.seed], dim=dims[one.arm.name]))
        for one, _ in found_of(study, tmp_path, VALUES)
    ]
    results = results_of(study, "text", runs)
    assert study_verdict(results).startswith(f"{best} has the best MAE")
    rows = main_rows(results, "representation")
    assert [row.arm.name for row in rows if row.cells[-1].best] == [best]
