"""Natural mistakes of a Python program end in a message that says what was expected."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import fedcl
from fedcl.data import open_cohort, write_phantom
from fedcl.evaluation import Split
from fedcl.models import alexnet, resnet18, tiny_densenet
from fedcl.privacy import calibrate, epsilon

TINY = Path(__file__).parents[1] / "configs" / "tiny.yaml"


def test_a_whole_experiment_is_no_section_of_data(tmp_path):
    config = fedcl.load_config(TINY)
    with pytest.raises(fedcl.ConfigError, match=r"config\.data.*; found Config"):
        open_cohort(config, seed=7, cache=tmp_path)


def test_a_phantom_larger_than_openbhb_is_refused(tmp_path):
    with pytest.raises(fedcl.DataError, match=r"scale: 6; expected a share .* in \(0, 1\]"):
        write_phantom(tmp_path / "phantom", scale=6)
    assert not (tmp_path / "phantom").exists()


@pytest.mark.parametrize("build", [resnet18, tiny_densenet, alexnet])
def test_a_forgotten_channel_is_named(build):
    encoder = build(8)
    with pytest.raises(ValueError, match=r"\(batch, channel, x, y, z\); got shape \(2, 7, 8, 9\)"):
        encoder(torch.zeros(2, 7, 8, 9))


def test_an_unknown_normalisation_builds_no_network():
    with pytest.raises(ValueError, match="norm must be group or batch; got 'layer'"):
        resnet18(4, norm="layer")


def test_a_split_takes_lists_tensors_and_columns_of_a_table():
    features, ages, sites = [[1.0, 2.0], [3.0, 4.0]], [30.0, 41.0], ["a", "b"]
    whole = Split(np.array(features), np.array(ages), np.array(sites))
    frame = pd.DataFrame({"x": [1.0, 3.0], "y": [2.0, 4.0], "age": ages, "site": sites})
    others = (
        Split(features, ages, sites),
        Split(torch.tensor(features), torch.tensor(ages), sites),
        Split(frame[["x", "y"]], frame["age"], frame["site"]),
    )
    for other in others:
        np.testing.assert_array_equal(other.features, whole.features)
        np.testing.assert_array_equal(other.sites, whole.sites)
    with pytest.raises(fedcl.RunError, match="features: infinite or undefined values"):
        Split([[np.nan]], [30.0], ["a"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"delta": 1.5}, "delta: 1.5; expected a number between 0 and 1"),
        ({"steps": 10.5}, "steps: 10.5; expected a whole number from 1"),
        ({"target_epsilon": 0.0}, "target_epsilon: 0; expected a number over 0"),
    ],
)
def test_noise_is_calibrated_to_what_can_be(wrong, message):
    settings = {"target_epsilon": 3.0, "delta": 1e-5, "sampling_rate": 0.1, "steps": 10, **wrong}
    with pytest.raises(fedcl.PrivacyError, match=message):
        calibrate(**settings)


def test_epsilon_of_another_file_or_a_folder_leaves_nothing_behind(tmp_path):
    (tmp_path / "experiment.yaml").write_text("name: x\n")
    (tmp_path / "ledgers").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    for name in ("experiment.yaml", "ledgers"):
        with pytest.raises(fedcl.PrivacyError, match=f"{name}: not a ledger"):
            epsilon(tmp_path / name, delta=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_file_of_an_encoder_names_its_run(tmp_path):
    with pytest.raises(fedcl.RunError, match=r"no run here \(no config.yaml\)"):
        fedcl.load_encoder(tmp_path / "encoder.safetensors")
