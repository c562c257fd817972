"""A site whose update is 1000 times too large costs its round, and nobody else's."""

import numpy as np
import pytest
from flwr.app import Message

from fedcl.errors import ConfigError, RoundError
from fedcl.experiment.simulation import InProcessGrid, simulate_federation
from fedcl.messages.releases import Refusal
from fedcl.run_folder.folder import RunFolder
from fedcl.server.round_loop import run_rounds
from fedcl.wire.orders import decode_instruction
from fedcl.wire.releases import encode_release
from tests.builders import (
    MOMENTS,
    central_private_tree,
    config_of,
    private_tree,
    secure_tree,
    site_private_tree,
    table_tree,
    with_values,
    write_table,
)
from tests.test_federation import (
    SITES,
    _with,
    another_folder,
    assert_identical,
    final_weights,
    spoiling,
)

pytestmark = pytest.mark.slow

FACTOR = 10
KINDS = {
    "fedavg": {},
    "median": {"federation__rule": {"kind": "median"}},
    "cyclic": {"federation__rule": {"kind": "cyclic"}},
    "moments travel": {"objective__moments": {**MOMENTS, "fresh": False}},
    "moments first": {"objective__moments": MOMENTS},
}


@pytest.fixture
def tree(tmp_path):
    write_table(tmp_path / "data")
    return with_values(table_tree(tmp_path), federation__outlier_factor=FACTOR)


def too_large(*rounds):
    """Make the site's change of the weights 1000 times as large in these rounds."""

    def spoil(release, message):
        if release.round not in rounds:
            return Message(encode_release(release), reply_to=message)
        sent = decode_instruction(message.content).weights
        far = {name: sent[name] + 1000 * (w - sent[name]) for name, w in release.weights.items()}
        return Message(encode_release(_with(release, weights=far)), reply_to=message)

    return spoil


def away(*rounds):
    """Let the site refuse in these rounds."""

    def spoil(release, message):
        absent = Refusal(release.site, "the training failed")
        said = absent if release.round in rounds else release
        return Message(encode_release(said), reply_to=message)

    return spoil


def federation(tree, spoil=None):
    """Run or resume the federation; return its configuration and log."""
    config = config_of(tree)
    folder = RunFolder(config.output.path)
    folder.resume(config)
    app = None if spoil is None else spoiling("south", spoil)
    run_rounds(InProcessGrid(SITES, client_app=app), config, folder)
    return config, folder.read_log()


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "moments first"])
def test_a_tampering_site_leaves_the_weights_of_a_federation_without_it(tree, kind, number):
    tree = with_values(tree, federation__rounds=3, **KINDS[kind])
    config, log = federation(tree, too_large(number))
    without, _ = federation(another_folder(tree, "-without"), away(number))
    assert_identical(final_weights(config), final_weights(without))
    for record in log:
        why = record.sites["south"].rejected
        assert (why is not None) == (record.round == number)
        assert all(record.sites[site].rejected is None for site in ("12", "north"))


@pytest.mark.parametrize(
    ("number", "words"),
    [(1, "times the norm of the weights themselves"), (2, "times the median of the last round")],
)
def test_the_reason_names_the_ratio_and_the_log_keeps_the_change(tree, number, words):
    _, log = federation(tree, too_large(number))
    entry = log[number - 1].sites["south"]
    assert f"{words} (federation.outlier_factor: {FACTOR})" in entry.rejected
    ratio = float(entry.rejected.removeprefix("its change of the weights is ").split()[0])
    assert ratio > FACTOR
    if number == 2:
        changes = [site.change for site in log[0].sites.values()]
        assert entry.change / np.median(changes) == pytest.approx(ratio, rel=1e-3)
    assert entry.participants == 0
    assert entry.terms == {}


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [(2,), (1, 2), (1, 2, 3)])
def test_a_run_resumed_in_between_leaves_the_same_site_out(tree, rounds):
    tree = with_values(tree, federation__rounds=3)
    whole, log = federation(tree, too_large(*rounds))
    for count in (1, 2, 3):
        parts = another_folder(with_values(tree, federation__rounds=count), "-parts")
        part, log_of_parts = federation(parts, too_large(*rounds))
    assert_identical(final_weights(whole), final_weights(part))
    for line, other in zip(log, log_of_parts, strict=True):
        for site, entry in line.sites.items():
            assert entry.rejected == other.sites[site].rejected
            assert entry.change == other.sites[site].change


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_an_honest_run_is_the_same_bit_for_bit(tree, kind):
    with_rule, log = federation(with_values(tree, **KINDS[kind]))
    plain = with_values(tree, federation__outlier_factor=None, **KINDS[kind])
    without, other = federation(another_folder(plain, "-none"))
    assert_identical(final_weights(with_rule), final_weights(without))
    assert [r.sites["south"].change for r in log] == [r.sites["south"].change for r in other]


def test_without_a_factor_a_tampering_site_spoils_the_mean(tree):
    tree = with_values(tree, federation__rounds=1, federation__outlier_factor=None)
    spoilt, log = federation(tree, too_large(1))
    honest, _ = federation(another_folder(tree, "-honest"))
    assert log[0].sites["south"].rejected is None
    found, expected = final_weights(spoilt), final_weights(honest)
    assert max(np.abs(found[name] - expected[name]).max() for name in found) > 1


def test_the_change_is_that_of_the_weights_as_they_were_sent(tree):
    _, log = federation(with_values(tree, federation__sites_per_round=1, federation__min_sites=1))
    config = config_of(with_values(tree, federation__sites_per_round=1, federation__min_sites=1))
    folder = RunFolder(config.output.path)
    before, after = (folder.load(number).weights for number in (1, 2))
    trained = [name for name in before if "feature_" not in name]
    assert len(trained) == len(before) - 2
    squares = sum(((after[n].astype(float) - before[n]) ** 2).sum() for n in trained)
    (entry,) = log[1].sites.values()
    # One site's mean is its own update, so the checkpoints are what it received and sent.
    assert entry.change == pytest.approx(np.sqrt(squares), rel=1e-9)


def test_a_federation_that_leaves_too_many_out_says_so_and_goes_on_with_a_larger_factor(tree):
    tree = with_values(tree, federation__quorum=1.0)
    federation(with_values(tree, federation__rounds=1))
    with pytest.raises(RoundError, match=r"round 2: .*outlier_factor: 1\.05\): site 12"):
        federation(with_values(tree, federation__outlier_factor=1.05))
    config, log = federation(tree)
    assert [record.round for record in log] == [1, 2]
    untouched, _ = federation(another_folder(tree, "-untouched"))
    assert_identical(final_weights(config), final_weights(untouched))


ADAM = {"kind": "adam", "learning_rate": 0.01, "weight_decay": 0}
SGD = {"kind": "sgd", "learning_rate": 0.1, "weight_decay": 0, "momentum": 0.9}


@pytest.mark.parametrize("optimizer", [ADAM, SGD], ids=lambda o: o["kind"])
def test_honest_updates_that_are_mostly_noise_pass_from_the_first_round_on(tmp_path, optimizer):
    write_table(tmp_path / "data")
    tree = private_tree(tmp_path, noise_multiplier=8.0)
    tree = with_values(tree, federation__outlier_factor=FACTOR, local__optimizer=optimizer)
    _, log = federation(tree)
    for record in log:
        for entry in record.sites.values():
            assert entry.rejected is None
            assert entry.change > 0


def test_a_sum_in_secret_shows_no_change_of_any_site(tmp_path):
    write_table(tmp_path / "data")
    config = config_of(with_values(secure_tree(tmp_path), federation__rounds=1))
    simulate_federation(config, sites=SITES, resume=False)
    (record,) = RunFolder(config.output.path).read_log()
    assert all(entry.change is None for entry in record.sites.values())


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (secure_tree, "spoils the sum unseen; use null, or secure_sum: null"),
        (site_private_tree, "clips every update, use null"),
        (central_private_tree, "they send gradients"),
    ],
)
def test_where_updates_cannot_be_compared_the_factor_is_refused(tmp_path, build, words):
    tree = with_values(build(tmp_path), federation__outlier_factor=FACTOR)
    with pytest.raises(ConfigError, match=words) as caught:
        config_of(tree)
    assert "federation.outlier_factor" in str(caught.value)


@pytest.mark.parametrize("factor", [1, 0.5, -3, "many"])
def test_a_factor_is_more_than_one(tree, factor):
    with pytest.raises(ConfigError, match=r"federation\.outlier_factor: .*; found"):
        config_of(with_values(tree, federation__outlier_factor=factor))


def test_an_experiment_written_before_the_factor_was_there_still_loads(tree):
    del tree["federation"]["outlier_factor"]
    assert config_of(tree).federation.outlier_factor is None
