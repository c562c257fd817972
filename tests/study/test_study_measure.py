"""What is measured of runs of each kind on a tiny table, and of a planted site effect."""

import numpy as np
import pandas as pd
import pytest

from fedcl.data.cohort import EXTERNAL_TEST, INTERNAL_TEST
from fedcl.data.open import open_experiment
from fedcl.evaluation.mlp_probe import fit_site_mlp
from fedcl.evaluation.probes import balanced_accuracy, fit_age
from fedcl.experiment.representations import features, split_of
from fedcl.models.network import build_network
from fedcl.run_folder.results_file import read_results
from fedcl.study.measured_file import MeasureRequest
from fedcl.study.metrics import METRICS
from fedcl.study.participants import people_by_site, people_of
from fedcl.study.run_trial import run_trial
from fedcl.study.store import StoredRun
from tests.builders import config_of, table_tree, with_values, write_table

pytestmark = pytest.mark.slow
KINDS = ("simulate", "pooled", "local")
SIZES = {"a": 9, "b": 12, "c": 15, "12": 2}


def run(folder, kind, tree, *, asked):
    entry = StoredRun(folder / "store", kind)
    config = entry.placed(config_of(tree))
    failure = run_trial(kind, config, entry, asked)
    assert failure is None, failure
    return config, entry, entry.found(asked)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Slow (about 8 s): one run of each kind, trained, evaluated and measured."""
    folder = tmp_path_factory.mktemp("measure")
    write_table(folder / "data", SIZES)
    found = {}
    for kind in KINDS:
        asked = MeasureRequest(smallest_cell=2, attack_runs=None, map=kind != "local")
        found[kind] = run(folder, kind, table_tree(folder), asked=asked)
    return found


def test_what_the_run_found_is_kept_as_it_is(runs):
    for kind, (_, entry, measured) in runs.items():
        results = read_results(entry.folder.results)
        assert measured.kind == kind == results.run.kind
        assert measured.training_sites == 3, "the fourth has too few participants"
        assert measured.training_participants == results.cohort.participants["train"]
        for name in ("representation", "embedding"):
            on, known = getattr(measured, name), getattr(results.evaluation, name)
            assert on.mae_external == known.mae_external.value
            assert on.mae_internal == known.mae_internal.value
            assert on.dim == known.dim == {"representation": 8, "embedding": 4}[name]
            assert on.median_external == known.median_external


def test_all_that_is_defined_is_there_and_nothing_else(runs):
    attacks = {"membership_auc", "claimed_epsilon", "certified_epsilon"}
    # Four participants of one unseen site and one sex: nothing to compare. Of the seven of the
    # internal test age, sex and site leave no variance to share.
    alike = {"site_gap", "sex_gap", "site_variance"}
    alone = {"mae_internal", "mae_external", "worst_site", "worst_training_site"}
    for kind, (_, _, measured) in runs.items():
        for on in (measured.representation, measured.embedding):
            told = {n for n, metric in METRICS.items() if metric.value(measured, on) is not None}
            if kind == "local":
                assert alone | {"seconds", "megabytes"} <= told
                of_all = {name for name in METRICS if "site_acc" in name or "slope" in name}
                of_all |= {"challenge_score", "corrected_mae"}
                of_all |= {name for name in METRICS if "sums" in name}
                assert not told & (of_all | attacks | alike)
            else:
                assert alone | {"challenge_score", "age_slope", "corrected_mae"} <= told
                assert {"site_accuracy", "site_accuracy_mlp", "sums_mae_external"} <= told
                assert not told & (attacks | alike)
                assert on.site_from_age_mlp == measured.representation.site_from_age_mlp


def test_measures_are_those_of_the_trained_features(runs):
    for kind in ("simulate", "pooled"):
        config, entry, measured = runs[kind]
        cohort = open_experiment(config)
        network = build_network(config, cohort.shape, seed=config.seed)
        for on, of in zip(
            (measured.representation, measured.embedding),
            features(network, config, cohort, entry.folder, None),
            strict=True,
        ):
            splits = ("train", INTERNAL_TEST, EXTERNAL_TEST)
            train, internal, external = (split_of(cohort, of, s, config.local) for s in splits)
            predicted = fit_age(train.features, train.ages).predict(external.features)
            assert on.mae_external == pytest.approx(np.abs(predicted - external.ages).mean())
            slope = np.polyfit(external.ages, predicted - external.ages, 1)[0]
            assert on.bias_external.slope == pytest.approx(slope)
            probe = fit_site_mlp(train.features, train.sites, seed=config.seed)
            right = probe.predict(internal.features) == internal.sites
            assert on.site_accuracy_mlp == balanced_accuracy(right, internal.sites)
            predicted = fit_age(train.features, train.ages).predict(internal.features)
            by_site = {
                site: np.abs(predicted - internal.ages)[internal.sites == site].mean()
                for site in np.unique(internal.sites)
            }
            told = {
                cell.label: cell.mae
                for cell in on.cells
                if (cell.split, cell.kind) == ("internal", "site") and cell.mae is not None
            }
            # One is of a site of one, and with another's the sum would tell that one's error.
            assert len(told) == 2
            assert told == pytest.approx({site: by_site[site] for site in told})
            assert on.internal.worst_site == max(told, key=told.get)
            assert on.internal.worst_site_mae == max(told.values())
            assert on.internal.site_gap == pytest.approx(max(told.values()) - min(told.values()))


def test_people_are_in_the_order_of_the_probes(runs):
    config, _, _ = runs["pooled"]
    cohort = open_experiment(config)
    of = np.arange(len(cohort), dtype=np.float64)[:, None]
    for split in ("train", INTERNAL_TEST, EXTERNAL_TEST):
        assert people_of(cohort, split, config.local).sites.tolist() == (
            split_of(cohort, of, split, config.local).sites.tolist()
        )
    alone = people_by_site(cohort, INTERNAL_TEST, config.local).sites
    assert "12" not in alone, "nobody trained there by themselves"
    assert {"a", "b", "c"} == set(alone)


def test_a_map_is_drawn_where_it_is_asked_for(runs):
    there = {kind: entry.map.exists() for kind, (_, entry, _) in runs.items()}
    assert there == {"simulate": True, "pooled": True, "local": False}


def test_small_groups_are_not_told(tmp_path):
    write_table(tmp_path / "data", SIZES)
    asked = MeasureRequest(smallest_cell=3, attack_runs=None, map=False)
    _, _, measured = run(tmp_path, "pooled", table_tree(tmp_path), asked=asked)
    cells = measured.representation.cells
    assert any(cell.participants is None for cell in cells)
    assert all(cell.participants is None or cell.participants >= 3 for cell in cells)
    assert all((cell.participants is None) == (cell.mae is None) for cell in cells)


def test_measuring_again_trains_nothing_and_tells_more(tmp_path, monkeypatch):
    write_table(tmp_path / "data", SIZES)
    tree, asked = table_tree(tmp_path), MeasureRequest(smallest_cell=2, attack_runs=None, map=False)
    _, entry, before = run(tmp_path, "pooled", tree, asked=asked)

    def trained(*_arguments, **_more):
        raise AssertionError("trained again")

    monkeypatch.setattr("fedcl.study.run_trial.run_experiment", trained)
    more = asked.model_copy(update={"map": True})
    assert entry.found(more) is None
    _, _, after = run(tmp_path, "pooled", tree, asked=more)
    assert entry.map.exists()
    assert after.model_copy(update={"asked": asked}) == before
    fewer = asked.model_copy(update={"smallest_cell": 3})
    _, _, told = run(tmp_path, "pooled", tree, asked=fewer)
    assert told.answers(more.model_copy(update={"smallest_cell": 3})), "the map is still there"


def planted(folder, strength):
    """Three sites alike but for a shift of so many standard deviations along a line of each."""
    rng = np.random.default_rng(8)
    rows, measures = [], []
    lines = {site: rng.normal(size=6) for site in ("a", "b", "c", "far")}
    for site, line in lines.items():
        for person in range(8 if site == "far" else 36):
            age = round(float(rng.uniform(18, 80)), 1)
            split = (
                "external_test" if site == "far" else ("train", "internal_test")[person % 3 == 1]
            )
            sex = "female" if rng.integers(2) else "male"
            rows.append((f"{site}{person:02d}", site, age, sex, split))
            measures.append(rng.normal(size=6) + np.eye(6)[0] * age / 10 + strength * line)
    columns = ["participant_id", "site", "age", "sex", "split"]
    table = pd.DataFrame(rows, columns=columns)
    folder.mkdir(parents=True)
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)
    values = pd.DataFrame(np.asarray(measures), columns=[f"region{i}" for i in range(6)])
    values.insert(0, "participant_id", table["participant_id"])
    values.to_csv(folder / "features.tsv", sep="\t", index=False)


def test_a_planted_site_effect_is_told_in_its_order_by_every_measure(tmp_path):
    """Slow (about 6 s): the same participants at five strengths, each under a pooled encoder."""
    found = []
    for strength in (0.0, 0.3, 0.6, 1.2, 2.4):
        folder = tmp_path / str(strength)
        planted(folder / "data", strength)
        tree = with_values(
            table_tree(folder), federation__rounds=1, local__epochs=1, encoder__hidden=[32, 16]
        )
        asked = MeasureRequest(smallest_cell=2, attack_runs=None, map=False)
        _, _, measured = run(folder, "pooled", tree, asked=asked)
        on = measured.representation
        found.append((on.site_variance, on.site_accuracy, on.site_accuracy_mlp))
    for name, values in zip(("variance", "linear", "mlp"), np.transpose(found), strict=True):
        assert (np.diff(values) > 0).sum() >= 3, (name, values)
        assert (np.diff(values) >= 0).all(), (name, values)
    none, strong = found[0], found[-1]
    assert abs(none[0]) < 0.1
    assert strong[0] > 0.5
    assert max(none[1:]) < 0.55, "a third is guessing"
    assert min(strong[1:]) > 0.9
