"""`fedcl.load_config` takes a file, a dict or an experiment, and changes of it."""

from pathlib import Path

import pytest
import yaml

import fedcl

TINY = Path(__file__).parents[1] / "configs" / "tiny.yaml"


def test_a_file_a_dict_and_an_experiment_give_the_same():
    config = fedcl.load_config(TINY)
    assert fedcl.load_config(str(TINY)) == config
    assert fedcl.load_config(yaml.safe_load(TINY.read_text())) == config
    assert fedcl.load_config(config) == config


def test_a_dotted_key_and_a_nested_dict_say_the_same():
    dotted = fedcl.load_config(TINY, {"federation.rounds": 7, "seed": 3})
    nested = fedcl.load_config(TINY, {"federation": {"rounds": 7}, "seed": 3})
    assert dotted == nested
    assert (dotted.federation.rounds, dotted.seed) == (7, 3)


def test_what_is_given_is_not_changed():
    tree = yaml.safe_load(TINY.read_text())
    fedcl.load_config(tree, {"federation.rounds": 7})
    assert tree == yaml.safe_load(TINY.read_text())


def test_a_dict_with_a_kind_replaces_the_section_whole():
    encoder = {"kind": "mlp", "hidden": [4]}
    assert fedcl.load_config(TINY, {"encoder": encoder}).encoder.hidden == (4,)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"federation.round": 3}, "did you mean 'rounds'"),
        ({"federatio.rounds": 3}, "there is no section 'federatio'; did you mean 'federation'"),
        ({"federation.rounds": "many"}, "federation.rounds"),
        ({1: 2}, "1: expected the name of a key"),
        ({"seed.": 1}, "'seed.': expected the name of a key"),
        ([("seed", 1)], "expected a dict of keys and values"),
        ("seed=1", "expected a dict of keys and values"),
    ],
)
def test_a_mistake_is_a_message(overrides, message):
    with pytest.raises(fedcl.ConfigError, match=message):
        fedcl.load_config(TINY, overrides)


def test_another_thing_than_a_configuration_is_refused():
    with pytest.raises(fedcl.ConfigError, match="expected a path, a dict or a Config; found int"):
        fedcl.load_config(3)
