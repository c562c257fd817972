"""Training on everybody together, where it goes wrong."""

import pytest

from fedcl.errors import RunError
from fedcl.experiment.run import run_experiment
from fedcl.run_folder.folder import RunFolder
from tests.builders import config_of, table_tree, with_values, write_table


def test_a_training_that_diverges_says_so_and_keeps_the_rounds_before(tmp_path):
    write_table(tmp_path / "data")
    optimizer = {"kind": "adam", "learning_rate": 1e30, "weight_decay": 0}
    config = config_of(with_values(table_tree(tmp_path), local__optimizer=optimizer))
    with pytest.raises(RunError, match=r"diverged in round 1: .* smaller local\.optimizer"):
        run_experiment(
            "pooled",
            config,
            resume=False,
            restart=False,
        )
    folder = RunFolder(config.output.path)
    assert folder.checkpoints() == [0]
    assert not folder.results.exists()
