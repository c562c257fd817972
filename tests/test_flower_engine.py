"""The same apps on Flower's own simulation engine: a smoke test of `flwr run`."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from fedcl.experiment.simulation import simulate_federation
from fedcl.run_folder.folder import RunFolder
from tests.builders import config_of, table_tree, with_values, write_table
from tests.command import fedcl

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None,
        reason="Flower's engine needs Ray: pip install 'fedcl[flower-engine]'",
    ),
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="stopping Flower's daemons reads /proc"
    ),
]


@pytest.fixture
def flower_home(tmp_path):
    """A home of its own for Flower, whose daemons end with the test."""
    home = tmp_path / "flower"
    home.mkdir()
    yield home
    mark = f"FLWR_HOME={home}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue  # gone meanwhile, or not ours


def test_flowers_engine_gives_the_same_weights_as_the_in_process_one(tmp_path, flower_home):
    """Slow (about 40 s): Flower starts a SuperLink and Ray."""
    write_table(tmp_path / "data")
    tree = with_values(
        table_tree(tmp_path), federation__min_sites=3, federation__answer_timeout_s=120
    )
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(tree))
    bin_folder = Path(sys.executable).parent
    # Flower looks its own commands up on the path.
    environment = {
        **os.environ,
        "FLWR_HOME": str(flower_home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
    }
    exported = fedcl("flower-config", file)
    assert exported.returncode == 0, exported.stderr
    (tmp_path / "run.toml").write_text(exported.stdout)
    done = subprocess.run(
        [
            *("flwr", "run", str(ROOT), "--stream", "-c", str(tmp_path / "run.toml")),
            *("--federation-config", "num-supernodes=4"),
        ],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    theirs = RunFolder(Path(tree["output"]["path"]))
    assert theirs.checkpoints(), done.stdout + done.stderr
    assert theirs.load().round == 2, done.stdout + done.stderr
    ours = config_of(with_values(tree, output__path=tree["output"]["path"] + "-ours"))
    simulate_federation(ours, sites=4, resume=False)
    for name, array in RunFolder(ours.output.path).load().weights.items():
        np.testing.assert_array_equal(array, theirs.load().weights[name])
