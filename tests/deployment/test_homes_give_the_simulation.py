"""Sites with folders, data and limits of their own, in one process: the simulation's weights."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from flwr.app import Context, RecordDict

from fedcl.config.loading import parse, resolved_text
from fedcl.deployment.approval import Approvals
from fedcl.errors import RoundError
from fedcl.experiment.simulation import InProcessGrid, simulate_federation
from fedcl.kit.folders import SiteFolder
from fedcl.run_folder.erasure_file import read_projections
from fedcl.run_folder.evaluation_file import read_evaluation
from fedcl.run_folder.folder import RunFolder
from fedcl.secure_sum.identity import key_path
from fedcl.server.app import app as server_app
from fedcl.sites.app import app as site_app
from tests.builders import (
    MOMENTS,
    PRIVATE_MOMENTS,
    SIZES,
    central_private_tree,
    private_tree,
    secure_tree,
    table_tree,
    with_values,
    write_table,
)
from tests.deployment.lab import own_rows

pytestmark = pytest.mark.slow
RELEASES = [
    "feature_sums",
    "moments",
    "private_moments",
    "gradients",
    "step_gradients",
    "updates",
    "evaluation",
    "erasure",
    "secure_sums",
]
FROM_SUMS = {"every_rounds": None, "min_cell": 2, "features": ["representation", "embedding"]}
COMMON_STEPS = {"kind": "common_steps", "least": 3, "local_rounds": 1}
ERASURE = {
    "kind": "leace",
    "features": ["embedding"],
    "ages": {"first": 15, "last": 85, "spacing": 10},
    "keep_age": 1,
    "rank": "auto",
    "shrinkage": "auto",
}
SITES = sorted(SIZES)


def hospitals(folder: Path, tree: dict, **limits) -> tuple[Path, ...]:
    """Make each site's folder, with its own rows only; return the SITE.yamls."""
    text = resolved_text(parse(yaml.safe_dump(tree), source="test"))
    return tuple(_hospital(folder, site, tree, text, limits) for site in SITES)


def _hospital(folder: Path, site: str, tree: dict, text: str, limits: dict) -> Path:
    home = SiteFolder(folder / f"hospital-{site}")
    own_rows(folder / "data", home.path / "data", site)
    settings = {
        "site": site,
        "server": "fl.hospital.example:8443",
        "data": {**tree["data"], "path": "data"},
        "compute": {"device": "cpu", "threads": None},
        "limits": {
            "privacy": None,
            "min_participants": 3,
            "releases": RELEASES,
            "max_rounds": 10,
            "stop_file": "STOP",
            **limits,
        },
    }
    home.settings.write_text(yaml.safe_dump(settings))
    Approvals(home.approved).approve_experiment(text)
    if "secure_sum" in tree:
        shutil.copy(tree["secure_sum"]["identities"], home.identities)
        own_key = key_path(Path(tree["secure_sum"]["keys"]), site)
        home.identity.mkdir(mode=0o700)
        shutil.copy(own_key, home.identity / own_key.name)
    return home.settings


def federate(config_text: str, settings: tuple[Path, ...]) -> RunFolder:
    """Run an experiment on these sites."""

    def at_home(message, context):
        number = int(context.node_config["partition-id"])
        node = {"site-config": str(settings[number])}
        return site_app(message, Context(context.run_id, context.node_id, node, RecordDict(), {}))

    run_config = {"config": config_text, "resume": True}
    context = Context(1, 1, {}, RecordDict(), run_config)
    server_app(InProcessGrid(len(settings), client_app=at_home), context)
    return RunFolder(parse(config_text, source="test").output.path)


EXPERIMENTS = {
    "plain": lambda f: with_values(table_tree(f), local__keep_optimizer=True),
    "moments": lambda f: with_values(table_tree(f), objective__moments=MOMENTS),
    "rounded": lambda f: with_values(
        table_tree(f),
        objective__moments=MOMENTS,
        federation__compression={"weights": "int8", "updates": "int8"},
    ),
    "participant": lambda f: private_tree(f, test_seed=5),
    "central": lambda f: with_values(
        central_private_tree(f, test_seed=5), objective__private_moments=PRIVATE_MOMENTS
    ),
    "sums": secure_tree,
    "common": lambda f: with_values(
        table_tree(f), objective__moments=MOMENTS, federation__rule=COMMON_STEPS
    ),
    "together": lambda f: with_values(
        table_tree(f),
        objective__moments={**MOMENTS, "candidates": "step"},
        federation__rule={"kind": "common_steps", "least": 3},
    ),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_sites_that_see_their_own_rows_alone_train_what_the_simulation_trains(tmp_path, name):
    write_table(tmp_path / "data")
    tree = with_values(EXPERIMENTS[name](tmp_path), federation__min_sites=3)
    config = parse(yaml.safe_dump(tree), source="test")
    simulate_federation(config, sites=4, resume=False)
    deployed = with_values(tree, output__path=str(tmp_path / "runs" / "deployed"))
    text = resolved_text(parse(yaml.safe_dump(deployed), source="test"))
    found = federate(text, hospitals(tmp_path, deployed)).load()
    expected = RunFolder(config.output.path).load()
    assert found.round == expected.round == 2
    for tensor, array in expected.weights.items():
        np.testing.assert_array_equal(array, found.weights[tensor], err_msg=tensor)


def evaluated(folder: Path) -> dict:
    write_table(folder / "data", {"north": 12, "south": 15, "12": 22})
    return with_values(table_tree(folder), federation__min_sites=3, evaluation__from_sums=FROM_SUMS)


def test_sites_at_home_give_the_evaluation_of_the_simulation(tmp_path):
    tree = evaluated(tmp_path)
    config = parse(yaml.safe_dump(tree), source="test")
    simulate_federation(config, sites=4, resume=False)
    deployed = with_values(tree, output__path=str(tmp_path / "runs" / "deployed"))
    text = resolved_text(parse(yaml.safe_dump(deployed), source="test"))
    settings = hospitals(tmp_path, deployed, min_participants=2)
    (found,) = read_evaluation(federate(text, settings).evaluation).rounds
    (expected,) = read_evaluation(RunFolder(config.output.path).evaluation).rounds
    # The simulation has one site more, which only evaluates and takes no part in the fit.
    for kind, measures in found.measures.items():
        rows = [row for row in expected.measures[kind].groups if row.split == "internal"]
        assert list(measures.groups) == rows
        assert measures.mae_internal == expected.measures[kind].mae_internal
        assert measures.alpha == expected.measures[kind].alpha
        assert measures.mae_external is None
    for file in settings:
        lines = SiteFolder(file.parent).receipts.read_text().splitlines()
        said = {one["kind"]: one for one in map(json.loads, lines)}
        sums, errors = said["evaluation sums"], said["evaluation errors"]
        assert {one["name"] for one in sums["arrays"]} == {
            f"{kind}/{name}"
            for kind in ("representation", "embedding")
            for name in ("totals", "products")
        }
        assert errors["header"]["cells"][0] == "internal/all"
        assert errors["header"]["counts"] == [2] * len(errors["header"]["cells"])
        assert errors["objects"]


def test_sites_at_home_give_the_erasure_of_the_simulation(tmp_path):
    tree = {**evaluated(tmp_path), "erasure": ERASURE}
    config = parse(yaml.safe_dump(tree), source="test")
    simulate_federation(config, sites=4, resume=False)
    deployed = with_values(tree, output__path=str(tmp_path / "runs" / "deployed"))
    text = resolved_text(parse(yaml.safe_dump(deployed), source="test"))
    settings = hospitals(tmp_path, deployed, min_participants=2)
    found = read_projections(federate(text, settings).erasure, 2)
    expected = read_projections(RunFolder(config.output.path).erasure, 2)
    assert found.keys() == expected.keys() == {"embedding"}
    np.testing.assert_array_equal(found["embedding"].matrix, expected["embedding"].matrix)
    np.testing.assert_array_equal(found["embedding"].offset, expected["embedding"].offset)
    for file in settings:
        lines = SiteFolder(file.parent).receipts.read_text().splitlines()
        (said,) = [one for one in map(json.loads, lines) if one["kind"] == "erasure sums"]
        assert [(one["name"], one["shape"]) for one in said["arrays"]] == [
            ("embedding/totals", [5]),
            ("embedding/products", [15]),
            ("embedding/node_counts", [8]),
            ("embedding/node_totals", [8, 4]),
        ]


def test_a_sites_own_least_number_counts_where_it_is_more(tmp_path):
    tree = evaluated(tmp_path)
    text = resolved_text(parse(yaml.safe_dump(tree), source="test"))
    federate(text, hospitals(tmp_path, tree, min_participants=3))
    (found,) = read_evaluation(RunFolder(Path(tree["output"]["path"])).evaluation).rounds
    assert found.measures["embedding"].participants == {"train": 43, "internal": 0, "external": 0}


def test_a_site_that_lets_out_no_evaluation_takes_no_part(tmp_path):
    tree = evaluated(tmp_path)
    text = resolved_text(parse(yaml.safe_dump(tree), source="test"))
    allowed = [kind for kind in RELEASES if kind != "evaluation"]
    with pytest.raises(Exception, match="the site's own limits do not allow it"):
        federate(text, hospitals(tmp_path, tree, releases=allowed))


def test_a_site_evaluates_no_more_often_than_it_trains(tmp_path):
    tree = evaluated(tmp_path)
    text = resolved_text(parse(yaml.safe_dump(tree), source="test"))
    settings = hospitals(tmp_path, tree, max_rounds=2)
    folder = federate(text, settings)
    for _ in range(2):
        folder.evaluation.unlink()
        try:
            federate(text, settings)
        except RoundError as error:
            stopped = str(error)
    assert "evaluation after round 2: 0 valid answers from 3 sites" in stopped
    log = SiteFolder(settings[0].parent).failures.read_text()
    assert "limits.max_rounds: this site has begun 2 evaluation-sums of tiny" in log


def test_the_ledger_and_the_receipts_of_a_site_are_in_its_own_folder(tmp_path):
    write_table(tmp_path / "data")
    tree = with_values(private_tree(tmp_path), federation__min_sites=3)
    text = resolved_text(parse(yaml.safe_dump(tree), source="test"))
    settings = hospitals(tmp_path, tree)
    federate(text, settings)
    assert not Path(tree["privacy"]["ledger"]).exists()
    for file in settings:
        home = SiteFolder(file.parent)
        assert len(list(home.ledger.glob("*.jsonl"))) == 1
        assert "epsilon" in home.receipts.read_text()


def test_a_server_cannot_lower_a_sites_privacy_and_says_who_refuses(tmp_path):
    write_table(tmp_path / "data")
    tree = with_values(table_tree(tmp_path), federation__min_sites=3)
    text = resolved_text(parse(yaml.safe_dump(tree), source="test"))
    floor = {"modes": ["participant"], "epsilon": 8.0, "delta": 1e-5}
    settings = hospitals(tmp_path, tree, privacy=floor)
    with pytest.raises(Exception, match="the site's own limits do not allow it"):
        federate(text, settings)
    for file in settings:
        home = SiteFolder(file.parent)
        assert "limits.privacy.modes" in home.failures.read_text()
        assert "limits.privacy.modes" not in home.receipts.read_text()
