"""A study's arms: every combination, each change at its place, and every mistake by name."""

import itertools
from pathlib import Path

import pytest
import yaml

from fedcl.config.data import Sample
from fedcl.config.loading import resolved_text
from fedcl.errors import ConfigError
from fedcl.study.arms import ConcreteArm, concrete_arms, experiment, load_study, set_key, then
from fedcl.study.metrics import METRICS
from tests.builders import FAIRKL, table_tree
from tests.study.small import small_study, study_file, study_tree

SHIPPED = sorted(Path(__file__).parents[2].glob("configs/studies/*.yaml"))


def configs(study, seed=4):
    return {arm.name: experiment(study, arm, seed=seed, more={}) for arm in concrete_arms(study)}


def test_over_makes_every_combination_in_the_order_of_nested_loops(tmp_path):
    over = {
        "local.batch_size": [4, 8],
        "noise": {"some": {"views.noise.sd": 0.2}, "none": {"views.noise.sd": 0.0}},
        "objective.temperature": [0.1, 0.25, 1.0],
    }
    study = small_study(
        tmp_path, compare_to=None, arms={"all": {"train": "simulate", "over": over}}
    )
    loops = []
    for size in (4, 8):
        for noise, sd in (("some", 0.2), ("none", 0.0)):
            for heat in (0.1, 0.25, 1.0):
                name = f"all, batch_size {size}, noise {noise}, temperature {heat:g}"
                loops.append((name, size, sd, heat))
    found = [
        (name, c.local.batch_size, c.views.noise.sd, c.objective.temperature)
        for name, c in configs(study).items()
    ]
    assert found == loops
    levels = {"local.batch_size": "8", "noise": "none", "objective.temperature": "0.1"}
    assert concrete_arms(study)[9].levels == levels


def test_an_arm_without_over_keeps_its_name_and_has_no_levels(tmp_path):
    first, second = concrete_arms(small_study(tmp_path))
    assert (first.name, first.train, first.levels) == ("together", "pooled", {})
    assert (second.name, second.train, second.levels) == ("federation", "simulate", {})


def test_levels_are_called_what_they_are():
    values = [None, True, 3, 0.5, 1e-5, "adam", [1, 2], [1, 3]]
    arms = {"a": {"train": "pooled", "over": {"x.y": values}}}
    study = load_tree(study_tree(Path("/nowhere"), compare_to=None, arms=arms))
    told = ["null", "true", "3", "0.5", "1e-05", "adam", "[1, 2]", "[1, 3]"]
    assert [arm.name for arm in concrete_arms(study)] == [f"a, y {one}" for one in told]


def load_tree(tree):
    from fedcl.config.study import Study

    return Study.model_validate(tree)


@pytest.mark.parametrize("order", list(itertools.permutations(["small", "large"])))
def test_later_parts_win_over_earlier_ones_and_changes_over_parts(tmp_path, order):
    parts = {
        "small": {"local.batch_size": 2, "local.epochs": 1},
        "large": {"local.batch_size": 64, "local.epochs": 3},
    }
    arms = {
        "parts": {"train": "pooled", "parts": list(order)},
        "changed": {"train": "pooled", "parts": list(order), "changes": {"local.epochs": 9}},
        "levels": {
            "train": "pooled",
            "parts": list(order),
            "changes": {"local.epochs": 9},
            "over": {"local.epochs": [7]},
        },
    }
    study = small_study(
        tmp_path, compare_to=None, parts=parts, arms=arms, changes={"local.batch_size": 5}
    )
    found = configs(study)
    last = parts[order[-1]]
    assert found["parts"].local.batch_size == last["local.batch_size"]
    assert found["parts"].local.epochs == last["local.epochs"]
    assert found["changed"].local.epochs == 9
    assert found["levels, epochs 7"].local.epochs == 7


def test_a_key_changed_again_is_changed_after_the_section_between(tmp_path):
    """A section given whole in between must not take the later value away again."""
    local = table_tree(tmp_path)["local"] | {"batch_size": 16}
    arms = {"a": {"train": "pooled", "changes": {"local": local}}}
    first = {"changes": {"local.batch_size": 32}, "compare_to": None, "arms": arms}
    assert configs(small_study(tmp_path, **first))["a"].local.batch_size == 16
    each = small_study(tmp_path, each=["local.batch_size=64"], **first)
    assert configs(each)["a"].local.batch_size == 64
    arms["a"]["over"] = {"local.batch_size": [8]}
    assert configs(small_study(tmp_path, **first))["a, batch_size 8"].local.batch_size == 8


def test_changes_one_after_the_other_are_those_made_at_once(rng):
    keys = ["a", "a.b", "c", "a.c", "b"]
    for _ in range(50):
        steps = [
            {keys[place]: int(rng.integers(100)) for place in rng.permutation(5)[:3]}
            for _ in range(4)
        ]
        slow = [(key, value) for step in steps for key, value in step.items()]
        last = [
            (key, value)
            for place, (key, value) in enumerate(slow)
            if key not in [other for other, _ in slow[place + 1 :]]
        ]
        assert list(then(*steps).items()) == last


def test_each_wins_over_an_arms_own_changes_levels_and_parts(tmp_path):
    study = small_study(
        tmp_path,
        each=["federation.rounds=1", "local.epochs=2"],
        compare_to=None,
        changes={"federation.rounds": 5},
        last={"local.epochs": 8, "local.batch_size": 3},
        parts={"more": {"federation.rounds": 6}},
        arms={
            "a": {
                "train": "pooled",
                "parts": ["more"],
                "changes": {"federation.rounds": 7, "local.epochs": 4},
                "over": {"federation.rounds": [8, 9]},
            }
        },
    )
    for config in configs(study).values():
        assert config.federation.rounds == 1
        assert config.local.epochs == 2
        assert config.local.batch_size == 3, "what the file's own `last` says stays"


def test_a_number_picks_an_element_of_a_list(tmp_path):
    study = small_study(
        tmp_path,
        compare_to=None,
        changes={"objective.debias": [FAIRKL, FAIRKL | {"weight": 0.5}]},
        arms={
            "a": {"train": "pooled", "changes": {"objective.debias.1.weight": 7}},
            "b": {"train": "pooled", "changes": {"objective.debias.0": FAIRKL | {"weight": 2}}},
        },
    )
    found = {name: [d.weight for d in c.objective.debias] for name, c in configs(study).items()}
    assert found == {"a": [0.1, 7], "b": [2, 0.5]}


def test_a_later_change_leaks_into_no_other_arm_and_no_other_seed(tmp_path):
    debias = [dict(FAIRKL)]
    arms = {
        "weak": {"train": "pooled"},
        "strong": {"train": "pooled", "changes": {"objective.debias.0.weight": 50}},
        "after": {"train": "pooled"},
    }
    study = small_study(tmp_path, compare_to=None, changes={"objective.debias": debias}, arms=arms)
    before = study.model_dump(mode="json")
    for seed in (4, 9, 4):
        found = configs(study, seed)
        assert [c.objective.debias[0].weight for c in found.values()] == [0.1, 50, 0.1]
        assert {c.seed for c in found.values()} == {seed}
    assert study.model_dump(mode="json") == before
    assert configs(study)["weak"] == configs(study)["after"]


def test_the_base_is_found_from_the_studys_own_folder(tmp_path, monkeypatch):
    file = study_file(tmp_path / "here")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    study = load_study(file)
    assert configs(study)["together"].name == "tiny"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"arms": {"together": {"train": "pooled", "parts": ["momnets"]}}},
            "arms.together.parts: no part 'momnets'; there are: none",
        ),
        (
            {
                "parts": {"l1": {}, "moments": {}},
                "arms": {"together": {"train": "pooled", "parts": ["momnets"]}},
            },
            "no part 'momnets'; there are: l1, moments",
        ),
        ({"compare_to": "federatoin"}, "compare_to: no arm 'federatoin'; did you mean 'federation"),
        (
            {"arms": {"together": {"train": "pooled", "over": {"seed": []}}}},
            "arms.together.over.seed: no levels",
        ),
        (
            {
                "arms": {
                    "together": {"train": "pooled"},
                    "a": {"train": "pooled", "over": {"x": {"1": {}}}},
                    "a, x 1": {"train": "local"},
                }
            },
            "arms: two rows are called 'a, x 1'; rename one",
        ),
        ({"seeds": [3, 4, 3]}, "seeds: one is given twice"),
        ({"seeds": []}, "seeds"),
        ({"arms": {}}, "arms"),
        ({"arms": {"together": {"train": "alone"}}}, "arms.together.train"),
        ({"metric": ["mae_external"]}, "metric: unknown key; did you mean 'metrics'?"),
        ({"interval": "normal"}, "interval"),
        ({"last": "no section"}, "last"),
        ({"cross_validation": {"folds": 1, "internal_fraction": 0.2}}, "cross_validation.folds"),
    ],
)
def test_a_mistake_in_a_study_is_told_by_file_and_key(tmp_path, changes, told):
    with pytest.raises(ConfigError) as refused:
        small_study(tmp_path, **changes)
    assert told in str(refused.value)
    assert str(refused.value).startswith(str(tmp_path / "study.yaml"))
    if "last" in changes:
        with pytest.raises(ConfigError, match="last"):
            small_study(tmp_path, each=["seed=1"], **changes)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("locl.epochs", "arm 'a': locl: unknown key; did you mean 'local'?"),
        ("local.epochs.first", "arms.a: local.epochs.first: there is no section 'epochs'"),
        ("objective.moments.order", "arm 'a': objective.moments.grid: missing"),
        ("objective.debias.0.weight", "there is no section '0' to change"),
        ("objective.kernel.bandwidths.first", "there is no place 'first' in the list"),
        ("objective.kernel.bandwidths.-1", "there is no place '-1' in the list"),
        ("objective.kernel.bandwidths.0.x", "bandwidths.0.x: nothing can be set there"),
    ],
)
def test_a_change_needs_the_section_it_is_in(tmp_path, key, told):
    study = small_study(
        tmp_path, compare_to=None, arms={"a": {"train": "pooled", "changes": {key: 1}}}
    )
    with pytest.raises(ConfigError) as refused:
        configs(study)
    assert told in str(refused.value)


def test_a_change_begins_an_optional_section(tmp_path):
    study = small_study(
        tmp_path, compare_to=None, arms={"a": {"train": "pooled", "changes": {"sample.sites": 2}}}
    )
    assert {config.sample for config in configs(study).values()} == {Sample(sites=2)}


def test_nothing_is_put_into_a_number():
    with pytest.raises(ConfigError, match=r"here: a\.b: there is no section 'a' to change"):
        set_key({"a": 3}, "a.b", 1, where="here")
    with pytest.raises(ConfigError, match="here: a: nothing can be set there"):
        set_key(3, "a", 1, where="here")


def test_an_arm_that_cannot_be_is_told_by_its_name_and_the_nearest_key(tmp_path):
    arms = {"a": {"train": "pooled", "changes": {"local.epoch": 1}}}
    study = small_study(tmp_path, compare_to=None, arms=arms)
    with pytest.raises(ConfigError, match=r"arm 'a': local.epoch: unknown key; .*'epochs'"):
        configs(study)


@pytest.mark.parametrize("text", ["rounds", "=3", "federation..rounds=3", "a=[1"])
def test_each_is_a_key_and_a_value(tmp_path, text):
    with pytest.raises(ConfigError, match="--each"):
        load_study(study_file(tmp_path), each=[text])


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_study_spells_experiments_that_can_be(file):
    study = load_study(file)
    assert set(study.metrics) <= set(METRICS)
    told = {}
    for arm in concrete_arms(study):
        assert isinstance(arm, ConcreteArm)
        config = experiment(study, arm, seed=study.seeds[0], more={})
        text = resolved_text(config) + arm.train
        # A curve may pass through an arm that has a row of its own.
        assert text not in told or arm.levels, f"{arm.name} is {told[text]} again"
        told[text] = arm.name
        assert yaml.safe_load(resolved_text(config))["seed"] == study.seeds[0]


def test_there_are_studies_to_check():
    assert {"freesurfer49", "openbhb64", "demo"} <= {file.stem for file in SHIPPED}
