"""The whole federation in one process: the real ClientApp and ServerApp, sites of 5, 8 and 13."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from flwr.app import Message
from flwr.clientapp import ClientApp

from fedcl.config.local_settings import LocalSettings
from fedcl.data.cohort import TRAIN, feature_sums, training_rows
from fedcl.data.open import open_experiment
from fedcl.errors import ConfigError, RoundError
from fedcl.experiment.run import run_experiment
from fedcl.experiment.simulation import InProcessGrid, simulate_federation
from fedcl.local_round import local_round
from fedcl.messages.releases import Update
from fedcl.models.network import build_network
from fedcl.models.travelling import read_state, travelling, write_state
from fedcl.optimizer import build_optimizer
from fedcl.run_folder.folder import RunFolder
from fedcl.server.round_loop import run_rounds
from fedcl.sites.app import app as site_app
from fedcl.sites.memory import SiteMemory
from fedcl.wire.releases import decode_release, encode_release
from tests.builders import config_of, table_tree, volume_tree, with_values, write_table

pytestmark = pytest.mark.slow

SITES = 4  # north, south, 12 and far, which has external test participants only

RULES = [
    {"kind": "fedavg"},
    {"kind": "fedprox", "mu": 0.1},
    {"kind": "fedavgm", "learning_rate": 1.0, "momentum": 0.5},
    {"kind": "fedadam", "learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.99, "tau": 0.001},
    {"kind": "trimmed_mean", "fraction": 0.34},
    {"kind": "median"},
    {"kind": "cyclic"},
]


@pytest.fixture
def tree(tmp_path):
    write_table(tmp_path / "data")
    return table_tree(tmp_path)


def final_weights(config):
    return RunFolder(config.output.path).load().weights


def assert_identical(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def another_folder(tree, name):
    return with_values(tree, output__path=tree["output"]["path"] + name)


def by_hand(config):
    """FedAvg over the sites as a plain loop: what two rounds must give."""
    cohort = open_experiment(config)
    network = build_network(config, cohort.shape, seed=config.seed)
    sites = cohort.training_sites(min_participants=config.local.min_participants)
    network.set_feature_scale(*feature_sums(cohort, training_rows(cohort, config.local)).scale())
    names = travelling(network, keep_norm=False)
    weights = read_state(network, names)
    for number in range(1, config.federation.rounds + 1):
        total, count = dict.fromkeys(names, 0.0), 0
        for site in sites:
            rows = cohort.rows(split=TRAIN, site=site)
            write_state(network, weights)
            optimizer = build_optimizer(network, config.local, round_number=number)
            local_round(
                network,
                optimizer,
                cohort,
                rows,
                LocalSettings.of(config),
                round_number=number,
                site=site,
            )
            state = read_state(network, names)
            total = {n: total[n] + len(rows) * state[n].astype(np.float64) for n in names}
            count += len(rows)
        weights = {n: (total[n] / count).astype(np.float32) for n in names}
    return weights


def test_the_federation_equals_the_plain_loop_bit_for_bit(tree):
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    assert_identical(final_weights(config), by_hand(config))


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["kind"])
def test_every_rule_trains_and_lowers_the_loss(tree, rule):
    config = config_of(with_values(tree, federation__rule=rule, federation__rounds=6))
    simulate_federation(config, sites=SITES, resume=False)
    log = RunFolder(config.output.path).read_log()
    assert [record.round for record in log] == [1, 2, 3, 4, 5, 6]
    assert log[-1].loss < log[0].loss
    assert all(site.rejected is None for record in log for site in record.sites.values())


def test_one_and_two_workers_give_the_same_weights(tree):
    one = config_of(tree)
    two = config_of(another_folder(with_values(tree, compute__workers=2), "-two"))
    simulate_federation(one, sites=SITES, resume=False)
    simulate_federation(two, sites=SITES, resume=False)
    assert_identical(final_weights(one), final_weights(two))


@pytest.mark.slow
@pytest.mark.parametrize("keep", [False, True])
def test_a_run_resumed_after_each_round_equals_an_uninterrupted_one(tree, keep):
    tree = with_values(tree, local__keep_optimizer=keep, federation__rounds=3)
    whole = config_of(tree)
    simulate_federation(whole, sites=SITES, resume=False)
    for rounds in (1, 2, 3):
        part = config_of(another_folder(with_values(tree, federation__rounds=rounds), "-parts"))
        simulate_federation(part, sites=SITES, resume=True)
    assert_identical(final_weights(whole), final_weights(part))


@pytest.mark.slow
def test_an_optimiser_kept_at_the_sites_changes_the_result(tree):
    kept = config_of(another_folder(with_values(tree, local__keep_optimizer=True), "-kept"))
    fresh = config_of(tree)
    for config in (kept, fresh):
        simulate_federation(config, sites=SITES, resume=False)
    assert any(
        (final_weights(kept)[name] != array).any() for name, array in final_weights(fresh).items()
    )


def test_few_sites_per_round_are_drawn_anew_each_round(tree):
    config = config_of(with_values(tree, federation__sites_per_round=2, federation__rounds=6))
    simulate_federation(config, sites=SITES, resume=False)
    drawn = {tuple(record.sites) for record in RunFolder(config.output.path).read_log()}
    assert all(len(sites) == 2 for sites in drawn)
    assert len(drawn) > 1


def test_nothing_a_site_keeps_or_sends_names_a_participant(tree, tmp_path):
    # Names with letters that no hash has: "1203" would stand in one sooner or later.
    write_table(tmp_path / "data", {"north": 5, "south": 8, "west": 13})
    config = config_of(with_values(tree, local__keep_optimizer=True))
    simulate_federation(config, sites=SITES, resume=False)
    identifiers = open_experiment(config).table["participant_id"]
    for file in config.output.path.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            for identifier in identifiers:
                assert identifier.encode() not in content, (file, identifier)


def test_receipts_tell_what_left_each_site(tree):
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    folder = RunFolder(config.output.path)
    lines = (folder.site_path("south") / "receipts.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == ["introduction", "update", "update"]
    log = folder.read_log()
    assert json.loads(lines[1])["bytes"] == log[0].sites["south"].bytes


# --- sites that misbehave ---------------------------------------------------------------------


def spoiling(site, spoil):
    """The real ClientApp, but one site's updates are spoiled on their way out."""
    app = ClientApp()

    @app.query("introduce")
    def introduce(message, context):
        return site_app(message, context)

    @app.train()
    def train(message, context):
        reply = site_app(message, context)
        release = decode_release(reply.content)
        if release.site == site:
            return spoil(release, message)
        return reply

    return app


def nan(release, message):
    weights = dict(release.weights)
    name = next(iter(weights))
    weights[name] = np.full_like(weights[name], np.nan)
    return Message(encode_release(_with(release, weights=weights)), reply_to=message)


def broadcastable(release, message):
    weights = {name: array.reshape(-1)[:1] for name, array in release.weights.items()}
    return Message(encode_release(_with(release, weights=weights)), reply_to=message)


def greedy(release, message):
    return Message(encode_release(_with(release, participants=10**6)), reply_to=message)


def double(release, message):
    weights = {name: array.astype(np.float64) for name, array in release.weights.items()}
    return Message(encode_release(_with(release, weights=weights)), reply_to=message)


def _with(release, **changes):
    return Update(**{**vars(release), **changes})


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (nan, "values that are not finite"),
        (broadcastable, "expected ("),
        (greedy, "claims 1000000 participants, introduced 6"),
        (double, "float64, expected float32"),
    ],
)
def test_a_bad_update_is_rejected_named_and_left_out(tree, spoil, reason):
    config = config_of(tree)
    grid = InProcessGrid(SITES, client_app=spoiling("south", spoil))
    folder = RunFolder(config.output.path)
    folder.start(config)
    run_rounds(grid, config, folder)
    for record in folder.read_log():
        assert reason in record.sites["south"].rejected
        assert record.sites["north"].rejected is None
    assert all(np.isfinite(array).all() for array in folder.load().weights.values())


def test_a_round_without_quorum_stops_says_why_and_keeps_the_round_before(tree):
    config = config_of(with_values(tree, federation__quorum=1.0))
    folder = RunFolder(config.output.path)
    folder.start(config)
    grid = InProcessGrid(SITES, client_app=spoiling("south", nan))
    with pytest.raises(
        RoundError, match=r"round 1: 2 valid updates from 3 sites, 3 needed .*south"
    ):
        run_rounds(grid, config, folder)
    assert folder.load().round == 0


def test_a_site_that_fails_leaves_only_a_category_and_keeps_the_details(tree, monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError("north00 has a broken scan in /secret/path")

    monkeypatch.setattr("fedcl.sites.training.local_round", fail)
    config = config_of(tree)
    with pytest.raises(RoundError) as caught:
        simulate_federation(config, sites=SITES, resume=False)
    assert "the training failed: site 12, north, south" in str(caught.value)
    assert "secret" not in str(caught.value)
    log = RunFolder(config.output.path).site_path("north") / "failures.log"
    assert "/secret/path" in log.read_text()


class Forgetful(InProcessGrid):
    """A network on which one node never answers, and the others answer in reverse."""

    def pull_messages(self, message_ids):
        replies = []
        while found := super().pull_messages(message_ids):
            replies += found
        return [r for r in reversed(replies) if not self._silent(r)]

    @staticmethod
    def _silent(reply):
        release = decode_release(reply.content)
        return isinstance(release, Update) and release.site == "north"


@pytest.mark.slow
def test_a_silent_site_is_given_up_and_late_order_does_not_matter(tree):
    tree = with_values(tree, federation__answer_timeout_s=0.3, federation__rounds=1)
    config = config_of(tree)
    folder = RunFolder(config.output.path)
    folder.start(config)
    run_rounds(Forgetful(SITES), config, folder)
    record = folder.read_log()[0]
    assert record.sites["north"].rejected == "no answer in time"
    without = config_of(
        another_folder(with_values(tree, federation__answer_timeout_s=5), "-without")
    )
    other = RunFolder(without.output.path)
    other.start(without)
    run_rounds(InProcessGrid(SITES, client_app=spoiling("north", nan)), without, other)
    assert_identical(folder.load().weights, other.load().weights)


def test_too_few_sites_is_a_message_that_says_why(tree):
    config = config_of(
        with_values(tree, local__min_participants=50, federation__answer_timeout_s=0.1)
    )
    with pytest.raises(RoundError, match=r"0 sites can train, federation\.min_sites asks for 2"):
        simulate_federation(config, sites=SITES, resume=False)


def test_a_simulation_does_not_wait_for_sites_that_cannot_come(tree):
    config = config_of(with_values(tree, federation__min_sites=4))
    with pytest.raises(ConfigError, match=r"federation\.min_sites: 4, and 3 sites have"):
        run_experiment(
            "simulate",
            config,
            resume=False,
            restart=False,
        )
    assert not config.output.path.exists()


def test_a_node_that_appears_later_joins_and_one_that_goes_is_forgotten(tree):
    config = config_of(with_values(tree, federation__rounds=3))
    folder = RunFolder(config.output.path)
    folder.start(config)
    grid = InProcessGrid(SITES)
    nodes = list(grid.get_node_ids())
    # 0-based calls: gather, then once per round. Site "12" (node 0) is late; "south" leaves.
    present = iter([nodes[1:], nodes[1:], nodes, nodes[:3], nodes[:3]])
    grid.get_node_ids = lambda: next(present)
    run_rounds(grid, config, folder)
    asked = [set(record.sites) for record in folder.read_log()]
    assert asked == [{"north", "south"}, {"12", "north", "south"}, {"12", "north"}]


# --- killed and resumed -----------------------------------------------------------------------

_RUN = """
import sys, yaml
from fedcl.config.loading import parse
from fedcl.experiment.simulation import simulate_federation
if __name__ == "__main__":
    simulate_federation(parse(open(sys.argv[1]).read(), source="t"), sites=4, resume=True)
"""


@pytest.mark.process
def test_a_run_killed_at_a_random_moment_and_resumed_gives_identical_weights(tree, tmp_path):
    """Slow (about 15 s): two real processes are killed without warning."""
    tree = with_values(
        tree, federation__rounds=30, local__keep_optimizer=True, evaluation__every_rounds=None
    )
    whole = config_of(tree)
    simulate_federation(whole, sites=SITES, resume=False)
    killed = another_folder(tree, "-killed")
    file = tmp_path / "killed.yaml"
    file.write_text(yaml.safe_dump(killed))
    program = tmp_path / "run.py"
    program.write_text(_RUN)
    folder = RunFolder(config_of(killed).output.path)
    for rounds in (3, 11):
        process = subprocess.Popen([sys.executable, str(program), str(file)])
        deadline = time.monotonic() + 60
        while max(folder.checkpoints(), default=0) < rounds and time.monotonic() < deadline:
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert rounds <= folder.load().round < 30
    simulate_federation(config_of(killed), sites=SITES, resume=True)
    assert_identical(final_weights(whole), folder.load().weights)
    assert [record.round for record in folder.read_log()] == list(range(1, 31))


def test_fedbn_of_a_table_keeps_batch_statistics_at_the_sites(tree):
    tree = with_values(
        tree, federation__rule={"kind": "fedbn"}, encoder__norm="batch", federation__rounds=3
    )
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    folder = RunFolder(config.output.path)
    network = build_network(config, (6,), seed=config.seed)
    norm = set(travelling(network, keep_norm=False)) - set(travelling(network, keep_norm=True))
    assert any("running_mean" in name for name in norm)
    assert not norm & set(folder.load().weights)
    assert set(SiteMemory(folder.site_path("south")).tensors.before(99)) == norm


# --- volumes ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_fedbn_keeps_normalisation_at_the_sites_and_still_evaluates_unseen_ones(tmp_path):
    """Slow (about 10 s): 64 sites of volumes, four of them drawn per round."""
    tree = with_values(
        volume_tree(tmp_path),
        federation__rule={"kind": "fedbn"},
        federation__sites_per_round=4,
        local__epochs=1,
        local__min_participants=2,
        encoder={"kind": "resnet18", "width": 2, "norm": "batch"},
    )
    config = config_of(tree)
    results, path = run_experiment(
        "simulate",
        config,
        resume=False,
        restart=False,
        page=False,
    )
    folder = RunFolder(path)
    network = build_network(config, (1, 10, 12, 10), seed=config.seed)
    norm = set(travelling(network, keep_norm=False)) - set(travelling(network, keep_norm=True))
    assert norm
    assert not norm & set(folder.load().weights)
    drawn = {site for record in folder.read_log() for site in record.sites}
    for site in drawn:
        assert set(SiteMemory(folder.site_path(site)).tensors.before(99)) == norm
    assert results.evaluation.representation.mae_external.value > 0
