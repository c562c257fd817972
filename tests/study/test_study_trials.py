"""The runs a study needs: seeds, folds, one place for one experiment."""

import pandas as pd
import pytest

from fedcl.config.study import CrossValidation
from fedcl.data.cohort import EXTERNAL_TEST, INTERNAL_TEST
from fedcl.data.open import open_experiment
from fedcl.errors import ConfigError, FedclError
from fedcl.study.plan import _folds, trials
from tests.builders import add_scans, write_table
from tests.study.small import small_study

pytestmark = pytest.mark.slow

SITES = {"a": 5, "b": 6, "c": 7, "d": 9, "e": 10, "12": 13}


def runs_of(tmp_path, **changes):
    if not (tmp_path / "data").exists():
        write_table(tmp_path / "data", SITES)
    return trials(small_study(tmp_path, **changes))


def folded(tmp_path, folds, seeds=(4, 9), **changes):
    settings = {"folds": folds, "internal_fraction": 0.25}
    arms = {"together": {"train": "pooled"}}
    return runs_of(tmp_path, cross_validation=settings, seeds=list(seeds), arms=arms, **changes)


def groups(runs):
    """The unseen sites of each seed and fold."""
    found = {}
    for run in runs:
        found.setdefault(run.seed, []).append(set(run.config.data.splits.external_sites))
    return found


def test_there_is_a_run_for_every_arm_and_seed_the_first_seed_first(tmp_path):
    runs = runs_of(tmp_path)
    told = [(run.arm.name, run.seed, run.fold) for run in runs]
    assert told == [
        ("together", 4, None),
        ("federation", 4, None),
        ("together", 9, None),
        ("federation", 9, None),
    ]
    assert [run.config.seed for run in runs] == [4, 4, 9, 9]
    assert len({run.entry.key for run in runs}) == 4
    assert runs[0].name == "together, seed 4"
    store = tmp_path / "store"
    assert all(run.config.output.path == store / run.entry.key for run in runs)


@pytest.mark.parametrize("folds", [2, 3, "site"])
def test_every_site_is_unseen_exactly_once_for_every_seed(tmp_path, folds):
    everybody = {*SITES, "far"}
    for held_out in groups(folded(tmp_path, folds)).values():
        assert len(held_out) == (len(everybody) if folds == "site" else folds)
        assert sorted(site for group in held_out for site in group) == sorted(everybody)


@pytest.mark.parametrize("folds", [2, 3])
def test_an_unseen_site_is_in_no_training_and_a_share_of_the_others_is_tested(tmp_path, folds):
    for run in folded(tmp_path, folds, seeds=[4]):
        cohort = open_experiment(run.config)
        unseen = set(run.config.data.splits.external_sites)
        table = cohort.table
        assert set(table["site"][table["split"] == EXTERNAL_TEST]) == unseen
        for site in set(cohort.sites) - unseen:
            tested = len(cohort.rows(split=INTERNAL_TEST, site=site))
            assert tested == round(0.25 * len(cohort.rows(site=site)))
            assert tested < len(cohort.rows(site=site))


class Sizes:
    """Sites of so many participants, and nothing else that a cohort has."""

    name = "made"

    def __init__(self, sizes):
        self.sites = tuple(sizes)
        self._sizes = sizes

    def rows(self, *, site):
        return site

    def participants(self, site):
        return self._sizes[site]


def drawn(sizes, count, seed):
    settings = CrossValidation(folds=count, internal_fraction=0.2)
    folds = _folds(Sizes(sizes), settings, seed)
    return [set(fold["data.splits"]["external_sites"]) for fold in folds]


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_groups_differ_by_no_more_than_the_largest_site(rng, count):
    for seed in range(20):
        sizes = {f"s{number}": int(rng.integers(3, 200)) for number in range(count + seed)}
        sums = [sum(sizes[site] for site in group) for group in drawn(sizes, count, seed)]
        assert min(sums) > 0
        assert max(sums) - min(sums) <= max(sizes.values())
        assert sum(sums) == sum(sizes.values())


def test_groups_are_drawn_anew_for_every_seed_though_no_two_sites_are_of_one_size():
    sizes = {f"s{number}": 10 + 7 * number for number in range(12)}
    partitions = {frozenset(map(frozenset, drawn(sizes, 3, seed))) for seed in range(20)}
    assert len(partitions) > 15
    # Any two sites of different size may come together or not.
    largest = {frozenset(("s11", f"s{number}")) for number in range(9)}
    together = {
        pair for groups in partitions for group in groups for pair in largest if pair <= group
    }
    assert together == largest
    assert drawn(sizes, 3, 5) == drawn(sizes, 3, 5)


def test_each_seed_has_its_folds_whatever_other_seeds_there_are(tmp_path):
    assert groups(folded(tmp_path, 3, seeds=[4, 9]))[9] == groups(folded(tmp_path, 3, [9]))[9]


def test_all_arms_of_a_seed_have_the_same_folds(tmp_path):
    settings = {"folds": 2, "internal_fraction": 0.25}
    runs = runs_of(tmp_path, cross_validation=settings, seeds=[4])
    by_arm = {}
    for run in runs:
        by_arm.setdefault(run.arm.name, []).append(run.config.data.splits.external_sites)
    assert by_arm["together"] == by_arm["federation"]
    assert runs[1].name == "together, seed 4, fold 2"


def test_more_folds_than_sites_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"cross_validation.folds: 8, and table .* has 7 sites"):
        folded(tmp_path, 8)
    assert len(folded(tmp_path, 7, seeds=[4])) == 7


def test_the_same_experiment_under_two_names_is_one_run(tmp_path):
    arms = {
        "together": {"train": "pooled"},
        "again": {"train": "pooled", "changes": {"name": "other", "local.batch_size": 4}},
        "other": {"train": "pooled", "changes": {"local.batch_size": 5}},
        "federation": {"train": "simulate"},
    }
    runs = runs_of(tmp_path, arms=arms, seeds=[4])
    first, again, other, federation = (run.entry.key for run in runs)
    assert first == again
    assert len({first, other, federation}) == 3


def test_another_study_finds_the_same_runs_and_moved_data_too(tmp_path):
    runs = runs_of(tmp_path)
    (tmp_path / "data").rename(tmp_path / "moved")
    settings = {"name": "other", "question": "?", "output": str(tmp_path / "o"), "seeds": [9]}
    changes = {"data.path": str(tmp_path / "moved")}
    study = small_study(tmp_path, changes=changes, **settings)
    assert [run.entry.key for run in trials(study)] == [r.entry.key for r in runs[2:]]
    table = tmp_path / "moved" / "features.tsv"
    features = pd.read_csv(table, sep="\t", dtype={"participant_id": str})
    features.loc[3, "region2"] += 1
    features.to_csv(table, sep="\t", index=False)
    assert not {run.entry.key for run in trials(study)} & {r.entry.key for r in runs}


def test_a_sample_is_another_run_on_the_same_data(tmp_path):
    over = {"sample": {"all": {}, "half": {"sample": {"participants": 0.5}}}}
    arms = {"together": {"train": "pooled", "over": over}}
    everybody, half = runs_of(tmp_path, arms=arms, seeds=[4], compare_to=None)
    assert everybody.entry.key != half.entry.key
    assert len(open_experiment(half.config)) < len(open_experiment(everybody.config))


def test_the_first_seed_alone_draws_maps_and_no_site_alone_does(tmp_path):
    arms = {name: {"train": name} for name in ("simulate", "pooled", "local")}
    runs = runs_of(tmp_path, arms=arms, seeds=[9, 4], compare_to=None)
    drawing = {(run.arm.name, run.seed) for run in runs if run.asked.map}
    assert drawing == {("simulate", 9), ("pooled", 9)}
    mapped = [run.fold for run in folded(tmp_path, 3, seeds=[9, 4]) if run.asked.map]
    assert mapped == [0]


def test_what_is_asked_for_is_what_the_study_says(tmp_path):
    runs = runs_of(tmp_path, attacks={"runs": 300}, smallest_cell=7)
    assert {(r.asked.attack_runs, r.asked.smallest_cell) for r in runs} == {(300, 7)}
    assert {run.asked.attack_runs for run in runs_of(tmp_path)} == {None}


def test_data_that_is_not_there_is_told_before_anything_is_run(tmp_path):
    write_table(tmp_path / "data", SITES)
    with pytest.raises(FedclError, match="no such folder"):
        runs_of(tmp_path, changes={"data.path": str(tmp_path / "nowhere")})


@pytest.mark.slow
def test_a_phantom_is_written_once_for_what_it_is_of(tmp_path):
    """Slow (about 6 s): three tiny phantoms are written."""
    phantom = {
        "kind": "phantom",
        "path": "ignored",
        "modality": "cat12vbm_roi",
        "scale": 0.001,
        "grid": [10, 12, 10],
        "scanner_strength": 1.0,
        "sites": ["1", "4", "10"],
    }
    arms = {
        "together": {"train": "pooled", "over": {"data.scanner_strength": [1.0, 2.0]}},
        "federation": {"train": "simulate"},
    }
    settings = {"changes": {"data": phantom}, "arms": arms, "compare_to": None}
    runs = trials(small_study(tmp_path, seeds=[4], **settings))
    paths = [run.config.data.path for run in runs]
    assert paths[0] == paths[2] != paths[1]
    assert all(path.parent == tmp_path / "store" / "phantoms" for path in paths)
    assert all((path / "participants.tsv").exists() for path in paths)
    (other,) = {
        run.config.data.path
        for run in trials(
            small_study(tmp_path, seeds=[5], **settings | {"arms": {"f": {"train": "simulate"}}}),
        )
    }
    assert other not in paths, "another seed draws other participants"


def test_scans_of_a_participant_are_in_one_fold(tmp_path):
    write_table(tmp_path / "data", SITES)
    add_scans(tmp_path / "data", {"a00": 2, "b01": 1, "c03": 3})
    for run in folded(tmp_path, 3, seeds=[4]):
        table = open_experiment(run.config).table
        assert (table.groupby("participant_id")["split"].nunique() == 1).all()
