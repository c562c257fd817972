"""The run in an MLflow store; most of it needs the extra `fedcl[mlflow]`."""

import importlib.util
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from fedcl.cli.run import run_between_institutions as run_between_institutions
from fedcl.errors import ConfigError, RunError
from fedcl.experiment.run import evaluate_again, run_experiment
from fedcl.run_folder.folder import RunFolder
from fedcl.tracking.mlflow import MlflowRun, flatten_settings
from tests.builders import config_of, table_tree, with_values, write_table

INSTALLED = importlib.util.find_spec("mlflow") is not None
needs_mlflow = pytest.mark.skipif(not INSTALLED, reason="the extra fedcl[mlflow] is not installed")
# MLflow itself uses what its own libraries have deprecated.
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def tree(tmp_path):
    write_table(tmp_path / "data")
    return table_tree(tmp_path)


def tracked(tree, uri):
    return with_values(tree, output={**tree["output"], "mlflow": uri})


def train(tree, kind="simulate", **options):
    options = {"resume": False, "restart": False, "page": False, **options}
    return run_experiment(kind, config_of(tree), **options)


def runs(uri):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    return client, client.search_runs([client.get_experiment_by_name("fedcl").experiment_id])


def history(client, run):
    """Every point of a run, by metric: [(round, value), ...]."""
    names = client.get_run(run.info.run_id).data.metrics
    return {
        name: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name))
        for name in names
    }


@needs_mlflow
@quiet
@pytest.mark.parametrize("store", ["sqlite:///{}/deep/mlflow.db", "file:{}/mlruns"])
def test_a_store_holds_parameters_rounds_and_measures(tree, tmp_path, store):
    uri = store.format(tmp_path)
    found, path = train(tracked(tree, uri))
    client, (run,) = runs(uri)
    assert run.info.run_name == "tiny (simulate)"
    assert run.info.status == "FINISHED"
    assert run.data.params["federation.rounds"] == "2"
    assert run.data.params["objective.kernel.bandwidths.0"] == "5.0"
    assert run.data.params["views.noise.sd"] == "0.1"
    assert run.data.params["secure_sum"] == "null"
    assert run.data.tags["fedcl.kind"] == "simulate"
    points = history(client, run)
    log = RunFolder(path).read_log()
    assert points["loss"] == [(r.round, pytest.approx(r.loss)) for r in log]
    assert [step for step, _ in points["mae/internal"]] == [1, 2]
    measured = found.evaluation.embedding.mae_external.value
    assert points["final/embedding/mae_external"] == [(2, pytest.approx(measured))]
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


@needs_mlflow
@quiet
def test_a_resumed_run_goes_on_in_the_same_mlflow_run(tree, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    train(tracked(tree, uri), "pooled")
    longer = tracked(with_values(tree, federation__rounds=4), uri)
    _, path = train(longer, "pooled", resume=True)
    evaluate_again(path)
    client, (run,) = runs(uri)
    points = history(client, run)
    assert [step for step, _ in points["loss"]] == [1, 2, 3, 4]
    assert [step for step, _ in points["final/representation/mae_internal"]] == [2, 4]
    assert run.data.params["federation.rounds"] == "2"  # a parameter is what the run began with


@needs_mlflow
@quiet
def test_a_run_that_is_begun_again_is_another(tree, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    train(tracked(tree, uri), "pooled")
    train(tracked(tree, uri), "pooled", restart=True)
    assert len(runs(uri)[1]) == 2


@needs_mlflow
@quiet
def test_a_stopped_run_is_told_from_a_finished_one(tree, tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db"

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fedcl.experiment.run.evaluate_run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(tracked(tree, uri), "pooled")
    client, (run,) = runs(uri)
    assert run.info.status == "KILLED"
    assert [step for step, _ in history(client, run)["loss"]] == [1, 2]
    train(tracked(tree, uri), "pooled", resume=True)
    client, (run,) = runs(uri)
    assert run.info.status == "FINISHED"
    assert [step for step, _ in history(client, run)["loss"]] == [1, 2]


@needs_mlflow
@quiet
def test_an_undefined_loss_is_logged_once(tree, tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    config, folder = config_of(tracked(tree, uri)), RunFolder(tmp_path / "run")
    for _ in range(2):
        logger = MlflowRun(config, "simulate", folder)
        for _ in range(2):
            logger.write({"loss": float("nan")}, step=1, wall_time=5.0)
        logger.close(finished=True)
    client, (run,) = runs(uri)
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 1


@needs_mlflow
@quiet
def test_a_store_that_does_not_answer_is_a_message_before_anything_is_trained(tree):
    with pytest.raises(RunError, match=r"output\.mlflow: http://127\.0\.0\.1:9 does not take"):
        train(tracked(tree, "http://127.0.0.1:9"), "pooled")
    folder = RunFolder(Path(tree["output"]["path"] + "-pooled"))
    assert folder.checkpoints() == []


@pytest.mark.slow
def test_a_missing_package_is_a_message_before_a_run_is_discarded(tree, monkeypatch):
    _, path = train(tree, "pooled")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"fedcl\[mlflow\]"):
        train(tracked(tree, "sqlite:///mlflow.db"), "pooled", restart=True)
    assert (path / "results.json").exists()


def test_every_leaf_of_a_configuration_is_a_parameter(tree):
    values = config_of(tree).model_dump(mode="json")
    found = dict(flatten_settings(values))
    for name, text in found.items():
        node = values
        for part in name.split("."):
            node = node[int(part) if isinstance(node, list) else part]
        assert text == (node if isinstance(node, str) else json.dumps(node))
    assert {"name", "data.columns.site", "objective.also", "output.path"} <= found.keys()
    assert len(found) > 60


def test_a_run_between_institutions_refuses_what_it_would_not_do(tmp_path):
    config = config_of(tracked(table_tree(tmp_path), "sqlite:///curves.db"))
    with pytest.raises(ConfigError, match=r"output\.mlflow: a run between institutions"):
        run_between_institutions(config, tmp_path, Console())
