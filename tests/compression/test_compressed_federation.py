"""A real federation whose weights travel rounded, sites of 5, 8 and 13: against a plain loop."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import yaml
from flwr.app import Message
from flwr.clientapp import ClientApp

from fedcl.compression.codec import decode, encode_array
from fedcl.compression.state import decode_state, encode_change, encode_state
from fedcl.config.local_settings import LocalSettings
from fedcl.data.cohort import TRAIN, feature_sums, training_rows
from fedcl.data.open import open_experiment
from fedcl.errors import ConfigError, RoundError
from fedcl.experiment.simulation import InProcessGrid, simulate_federation
from fedcl.local_round import local_round
from fedcl.messages.releases import Update
from fedcl.models.network import build_network
from fedcl.models.travelling import read_state, travelling, write_state
from fedcl.optimizer import build_optimizer
from fedcl.privacy.ledger import SITES as ALL_SITES
from fedcl.privacy.ledger import Ledger
from fedcl.receipts.log import receipts_at
from fedcl.run_folder.evaluation_file import read_evaluation
from fedcl.run_folder.folder import RunFolder
from fedcl.server.round_loop import run_rounds
from fedcl.sites.app import app as site_app
from fedcl.sites.memory import SiteMemory
from fedcl.wire.orders import TRAIN as TRAIN_MESSAGE
from fedcl.wire.orders import decode_instruction
from fedcl.wire.records import payload_bytes
from fedcl.wire.releases import decode_release, encode_release
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
    _RUN,
    RULES,
    SITES,
    another_folder,
    assert_identical,
    final_weights,
    spoiling,
)

pytestmark = pytest.mark.slow

BOTH = {codec: {"weights": codec, "updates": codec} for codec in ("bfloat16", "int8")}
MIXED = {
    "int8 down": {"weights": "int8", "updates": "none"},
    "int8 up": {"weights": "none", "updates": "int8"},
}


def compressed(tree, compression, **changes):
    return with_values(tree, federation__compression=compression, **changes)


@pytest.fixture
def tree(tmp_path):
    write_table(tmp_path / "data")
    return compressed(table_tree(tmp_path), BOTH["int8"])


def by_hand(config):
    """FedAvg of changes with error feedback as a plain loop; return (weights, residuals)."""
    cohort, compression = open_experiment(config), config.federation.compression
    network = build_network(config, cohort.shape, seed=config.seed)
    sites = cohort.training_sites(min_participants=config.local.min_participants)
    network.set_feature_scale(*feature_sums(cohort, training_rows(cohort, config.local)).scale())
    names = travelling(network, keep_norm=False)
    weights = read_state(network, names)
    matrices = [name for name in names if weights[name].ndim > 1]
    residuals = {site: dict.fromkeys(matrices, 0) for site in sites}
    for number in range(1, config.federation.rounds + 1):
        down = dict(weights)
        if compression.weights != "none":
            down |= {n: encode_array(weights[n], compression.weights)[1] for n in matrices}
        total, count = dict.fromkeys(names, 0.0), 0
        for site in sites:
            rows = cohort.rows(split=TRAIN, site=site)
            write_state(network, down)
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
            for name in matrices:
                change = arrives = state[name] - down[name]
                if compression.updates != "none":
                    change = change + residuals[site][name]
                    arrives = encode_array(change, compression.updates)[1]
                    residuals[site][name] = change - arrives
                # What the server knows is its own weights and the change: not what the site began
                # from.
                state[name] = weights[name] + arrives
            total = {n: total[n] + len(rows) * state[n].astype(np.float64) for n in names}
            count += len(rows)
        weights = {n: (total[n] / count).astype(np.float32) for n in names}
    return weights, residuals


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BOTH, *MIXED])
def test_the_federation_equals_the_plain_loop_bit_for_bit(tree, name):
    config = config_of(compressed(tree, (BOTH | MIXED)[name], federation__rounds=3))
    simulate_federation(config, sites=SITES, resume=False)
    weights, residuals = by_hand(config)
    assert_identical(final_weights(config), weights)
    for site, kept in residuals.items():
        found = SiteMemory(RunFolder(config.output.path).site_path(site)).residual.before(99)
        if name == "int8 down":
            assert found == {}
        else:
            assert_identical(found, kept)


@pytest.mark.slow
@pytest.mark.parametrize("codec", BOTH)
def test_the_weights_are_near_those_of_a_federation_that_rounds_nothing(tree, codec):
    exact = config_of(another_folder(compressed(tree, None), "-exact"))
    rounded = config_of(compressed(tree, BOTH[codec]))
    for config in (exact, rounded):
        simulate_federation(config, sites=SITES, resume=False)
    ours, theirs = final_weights(rounded), final_weights(exact)
    matrices = [name for name in theirs if theirs[name].ndim > 1]
    assert any((ours[name] != theirs[name]).any() for name in matrices)
    for name in matrices:
        assert np.abs(ours[name] - theirs[name]).max() < 0.05 * np.abs(theirs[name]).max()


@pytest.mark.process
def test_one_and_two_workers_give_the_same_weights(tree):
    one = config_of(tree)
    two = config_of(another_folder(with_values(tree, compute__workers=2), "-two"))
    simulate_federation(one, sites=SITES, resume=False)
    simulate_federation(two, sites=SITES, resume=False)
    assert_identical(final_weights(one), final_weights(two))


@pytest.mark.slow
def test_a_run_resumed_after_each_round_equals_an_uninterrupted_one(tree):
    tree = with_values(tree, federation__rounds=3)
    whole = config_of(tree)
    simulate_federation(whole, sites=SITES, resume=False)
    for rounds in (1, 2, 3):
        part = config_of(another_folder(with_values(tree, federation__rounds=rounds), "-parts"))
        simulate_federation(part, sites=SITES, resume=True)
    assert_identical(final_weights(whole), final_weights(part))


def test_a_round_that_is_repeated_starts_from_the_same_residual(tree):
    """As after a server that was killed when the sites had answered."""
    tree = with_values(tree, federation__rounds=3)
    whole = config_of(tree)
    simulate_federation(whole, sites=SITES, resume=False)
    folder = RunFolder(whole.output.path)
    expected = final_weights(whole)
    last = folder.path / "checkpoints" / "round-00003"
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    simulate_federation(whole, sites=SITES, resume=True)
    assert_identical(final_weights(whole), expected)


@pytest.mark.process
def test_a_run_killed_at_a_random_moment_and_resumed_gives_identical_weights(tree, tmp_path):
    """Slow (about 10 s): a real process is killed without warning."""
    tree = with_values(tree, federation__rounds=12, evaluation__every_rounds=None)
    whole = config_of(tree)
    simulate_federation(whole, sites=SITES, resume=False)
    killed = another_folder(tree, "-killed")
    file, program = tmp_path / "killed.yaml", tmp_path / "run.py"
    file.write_text(yaml.safe_dump(killed))
    program.write_text(_RUN)
    folder = RunFolder(config_of(killed).output.path)
    process = subprocess.Popen([sys.executable, str(program), str(file)])
    deadline = time.monotonic() + 60
    while max(folder.checkpoints(), default=0) < 3 and time.monotonic() < deadline:
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 3 <= folder.load().round < 12
    simulate_federation(config_of(killed), sites=SITES, resume=True)
    assert_identical(final_weights(whole), folder.load().weights)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [*RULES, {"kind": "fedbn"}], ids=lambda rule: rule["kind"])
def test_every_rule_trains_and_lowers_the_loss(tree, rule):
    norm = "batch" if rule["kind"] == "fedbn" else "none"
    tree = with_values(tree, federation__rule=rule, federation__rounds=6, encoder__norm=norm)
    config = config_of(with_values(tree, federation__outlier_factor=30))
    simulate_federation(config, sites=SITES, resume=False)
    log = RunFolder(config.output.path).read_log()
    assert log[-1].loss < log[0].loss
    assert all(site.rejected is None for record in log for site in record.sites.values())


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [True, False])
def test_moments_are_those_of_the_weights_that_the_sites_train_from(tree, fresh):
    """With fresh moments the weights travel once, as bytes, and stay so at the site."""
    moments = {**MOMENTS, "fresh": fresh, "refresh_epochs": 1 if fresh else None}
    config = config_of(with_values(tree, objective__moments=moments))
    simulate_federation(config, sites=SITES, resume=False)
    exact = config_of(another_folder(compressed(tree, None, objective__moments=moments), "-exact"))
    simulate_federation(exact, sites=SITES, resume=False)
    ours, theirs = (RunFolder(c.output.path).read_log()[-1] for c in (config, exact))
    assert ours.loss == pytest.approx(theirs.loss, rel=0.1)
    assert ours.loss != theirs.loss
    assert ours.moments_bytes == theirs.moments_bytes > 0


# --- bytes and receipts -----------------------------------------------------------------------


class Seen:
    """The real ClientApp; remembers what came and what left, by kind of message."""

    def __init__(self):
        self.came, self.left = [], []
        self.app = ClientApp()
        self.app.query("introduce")(site_app)
        self.app.train()(self._train)

    def _train(self, message, context):
        assert message.metadata.message_type == TRAIN_MESSAGE
        self.came.append(message.content)
        reply = site_app(message, context)
        self.left.append(reply.content)
        return reply


def array_bytes(record):
    return sum(len(array.data) for array in record.array_records["arrays"].values())


def test_the_log_and_the_receipts_tell_the_bytes_that_travelled(tree):
    wide = with_values(tree, encoder__hidden=[96, 64], federation__rounds=1)
    carried = {}
    for name, compression in {"none": None, **BOTH}.items():
        config = config_of(another_folder(compressed(wide, compression), name))
        seen, folder = Seen(), RunFolder(config.output.path)
        folder.start(config)
        run_rounds(InProcessGrid(SITES, client_app=seen.app), config, folder)
        (line,) = folder.read_log()
        assert line.sent_bytes == sum(map(payload_bytes, seen.came))
        assert line.bytes == sum(map(payload_bytes, seen.left))
        told = 0
        for site in line.sites:
            (receipts,) = receipts_at(folder.site_path(site))
            told += receipts.read().receipts[-1].bytes
        assert line.bytes == told
        arrays = [sum(map(array_bytes, records)) for records in (seen.came, seen.left)]
        carried[name] = sum(arrays)
    assert carried["none"] / carried["int8"] > 3.8  # with biases and feature scales as they are
    assert carried["none"] / carried["bfloat16"] > 2.5


def test_a_receipt_says_what_left_and_how_large_what_it_stands_for_is(tree):
    config = config_of(with_values(tree, federation__rounds=1))
    seen, folder = Seen(), RunFolder(config.output.path)
    folder.start(config)
    run_rounds(InProcessGrid(SITES, client_app=seen.app), config, folder)
    released = {one.site: one for one in map(decode_release, seen.left)}
    shapes = {name: array.shape for name, array in folder.load().weights.items()}
    for site, update in released.items():
        (receipts,) = receipts_at(folder.site_path(site))
        receipt = receipts.read().receipts[-1]
        assert receipt.header["change"] == "int8"
        stands_for = decode_state(update.weights, "int8", shapes)
        for array in receipt.arrays:
            sent = update.weights[array.name]
            assert (array.dtype, array.shape) == (sent.dtype.name, sent.shape)
            assert array.bytes == sent.nbytes
            assert array.norm == pytest.approx(np.linalg.norm(stands_for[array.name]), rel=1e-5)
        assert {a.dtype for a in receipt.arrays} == {"uint8", "float32"}


def test_the_change_in_the_log_is_the_one_that_was_decoded(tree):
    config = config_of(with_values(tree, federation__rounds=1))
    seen, folder = Seen(), RunFolder(config.output.path)
    folder.start(config)
    run_rounds(InProcessGrid(SITES, client_app=seen.app), config, folder)
    before = folder.load(0).weights
    shapes = {name: array.shape for name, array in before.items()}
    (line,) = folder.read_log()
    for update in map(decode_release, seen.left):
        found = decode_state(update.weights, "int8", shapes)
        squares = 0.0
        for name, array in found.items():
            if "feature_" in name:
                continue
            change = array if array.ndim > 1 else array - before[name]
            squares += float(np.square(change.astype(np.float64)).sum())
        assert line.sites[update.site].change == pytest.approx(np.sqrt(squares), rel=1e-4)


def test_an_evaluation_is_of_the_weights_that_are_kept(tree):
    settings = {"every_rounds": None, "min_cell": 2, "features": ["representation"]}
    config = config_of(with_values(tree, evaluation__from_sums=settings))
    sent = []

    def note(message, context):
        sent.append(decode_instruction(message.content))
        return site_app(message, context)

    app = ClientApp()
    app.query("introduce")(site_app)
    app.query("evaluation_sums")(note)
    app.query("evaluation_errors")(note)
    app.train()(site_app)
    folder = RunFolder(config.output.path)
    folder.start(config)
    run_rounds(InProcessGrid(SITES, client_app=app), config, folder)
    with_weights = [order for order in sent if order.weights]
    assert len(with_weights) >= 3
    for order in with_weights:
        assert_identical(order.weights, folder.load().weights)
    (last,) = read_evaluation(folder.evaluation).rounds
    assert all(site.rejected is None for site in last.sites.values())


# --- privacy ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("build", [private_tree, site_private_tree])
def test_rounding_changes_no_epsilon(tmp_path, build):
    write_table(tmp_path / "data")
    spent = []
    for name in ("plain", "int8"):
        tree = build(tmp_path, test_seed=5, ledger=str(tmp_path / f"ledgers-{name}"))
        config = config_of(another_folder(compressed(tree, BOTH.get(name)), name))
        simulate_federation(config, sites=SITES, resume=False)
        whose = ALL_SITES if build is site_private_tree else "south"
        spent.append(Ledger.of(config.privacy.ledger, whose).epsilon(delta=1e-5))
        log = RunFolder(config.output.path).read_log()
        assert all(s.rejected is None for line in log for s in line.sites.values())
    assert spent[0] == spent[1] > 0


def test_the_clipping_of_a_site_sees_its_change_and_not_the_rounding_of_the_weights(tmp_path):
    """Sites that change nothing add nothing, though they began from rounded weights."""
    write_table(tmp_path / "data")
    found = []
    for name in ("plain", "int8"):
        tree = site_private_tree(tmp_path, test_seed=5, ledger=str(tmp_path / f"ledgers-{name}"))
        tree = another_folder(compressed(tree, BOTH.get(name), federation__rounds=1), name)
        config = config_of(with_values(tree, local__optimizer__learning_rate=1e-30))
        simulate_federation(config, sites=SITES, resume=False)
        found.append(final_weights(config))
    assert_identical(*found)


# --- what is malformed, what is refused -------------------------------------------------------


def matrix_of(release):
    return next(name for name, array in release.weights.items() if array.dtype == np.uint8)


def altered(spoil):
    """Let a site's update leave with other arrays, or another header."""

    def leave(release, message):
        return Message(encode_release(spoil(release, message)), reply_to=message)

    return leave


def with_matrix(make):
    def spoil(release, _):
        name = matrix_of(release)
        return replace(release, weights={**release.weights, name: make(release.weights[name])})

    return altered(spoil)


def whole_weights(release, message):
    order = decode_instruction(message.content)
    assert order.codec == "int8"
    floats = {n: np.zeros((2, 2), np.float32) for n in order.weights}
    return replace(release, weights=floats, change=None)


def of_other_shape(release, _):
    # As many values as awaited are bytes of a vector; a float32 matrix would be broadcast.
    return replace(release, weights={n: a[:1] for n, a in release.weights.items()})


def unknown(release, message):
    record = encode_release(release)
    record.config_records["fedcl"]["change"] = "int4"
    return Message(record, reply_to=message)


MALFORMED = {
    "cut off": (with_matrix(lambda array: array[:-1]), r"do not unpack to the \d+ expected"),
    "floats": (
        with_matrix(lambda _: np.zeros((12, 6), np.float32)),
        "float32 of 2 dimensions, expected bytes of int8",
    ),
    "a scale that is not a number": (
        with_matrix(lambda array: scales_of(array, np.nan)),
        "a scale that is not positive, or not finite",
    ),
    "weights": (altered(whole_weights), "holds weights, expected changes as int8"),
    "bfloat16": (
        altered(lambda release, _: replace(release, change="bfloat16")),
        "holds changes as bfloat16, expected changes as int8",
    ),
    "float32": (
        altered(lambda release, _: replace(release, change="none")),
        "holds changes as float32, expected changes as int8",
    ),
    "an unknown codec": (unknown, "unreadable: change: 'int4' is none of none, bfloat16, int8"),
    "broadcastable": (altered(of_other_shape), "expected"),
    "a tensor missing": (
        altered(
            lambda release, _: replace(
                release,
                weights={n: a for n, a in release.weights.items() if n != matrix_of(release)},
            )
        ),
        "tensors missing",
    ),
}


def scales_of(array, scale):
    """Stored bytes of as many values, whose scale is another."""
    count = 72
    assert len(decode(array, "int8", count)) == count
    plain = np.float32(scale).tobytes() + bytes(count)
    return np.frombuffer(b"\0" + plain, np.uint8)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_update_is_named_and_left_out(tree, name):
    spoil, words = MALFORMED[name]
    config = config_of(with_values(tree, federation__rounds=1))
    folder = RunFolder(config.output.path)
    folder.start(config)
    run_rounds(InProcessGrid(SITES, client_app=spoiling("south", spoil)), config, folder)
    (line,) = folder.read_log()
    rejected = line.sites["south"].rejected
    assert re.search(words, rejected), rejected
    assert line.sites["north"].rejected is None


def test_changes_where_weights_are_expected_are_named(tree):
    config = config_of(compressed(tree, None, federation__rounds=1))
    spoil = altered(lambda release, _: replace(release, change="int8"))
    folder = RunFolder(config.output.path)
    folder.start(config)
    run_rounds(InProcessGrid(SITES, client_app=spoiling("south", spoil)), config, folder)
    (line,) = folder.read_log()
    assert line.sites["south"].rejected == ("its update holds changes as int8, expected weights")


def test_a_training_that_diverged_costs_its_round_and_not_the_residual(tree, monkeypatch):
    config = config_of(with_values(tree, federation__rounds=1))
    simulate_federation(config, sites=SITES, resume=False)
    memory = SiteMemory(RunFolder(config.output.path).site_path("south"))
    before = memory.residual.of(1)
    real = local_round

    def diverges(network, *args, site, **kwargs):
        trained = real(network, *args, site=site, **kwargs)
        if site == "south":
            next(network.encoder.parameters()).data.fill_(np.nan)
        return trained

    monkeypatch.setattr("fedcl.sites.training.local_round", diverges)
    config = config_of(with_values(tree, federation__rounds=2))
    simulate_federation(config, sites=SITES, resume=True)
    log = RunFolder(config.output.path).read_log()
    assert log[1].sites["south"].rejected == "the training failed"
    assert log[1].sites["north"].rejected is None
    assert_identical(memory.residual.before(99), before)
    said = (memory.folder / "failures.log").read_text()
    assert "values that are not finite, or beyond 1e38" in said


def test_weights_that_are_not_those_of_the_network_are_refused_by_the_sites(tree, monkeypatch):
    def truncated(state, codec):
        return {
            n: a[:-1] if a.dtype == np.uint8 else a for n, a in encode_state(state, codec).items()
        }

    monkeypatch.setattr("fedcl.wire.orders.encode_state", truncated)
    config = config_of(tree)
    with pytest.raises(RoundError, match="the training failed: site 12, north, south"):
        simulate_federation(config, sites=SITES, resume=False)
    log = RunFolder(config.output.path).site_path("south") / "failures.log"
    assert "do not unpack to the" in log.read_text()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (secure_tree, "on a grid of its own"),
        (central_private_tree, "sites send gradients with their share of the noise"),
    ],
)
def test_what_is_no_change_of_one_site_is_not_compressed(tmp_path, build, words):
    with pytest.raises(ConfigError, match=words) as caught:
        config_of(compressed(build(tmp_path), BOTH["int8"]))
    assert "federation.compression" in str(caught.value)


@pytest.mark.parametrize(
    ("compression", "words"),
    [
        ({"weights": "none", "updates": "none"}, "both none; write compression: null"),
        ({"weights": "int4", "updates": "int8"}, "compression.weights"),
        ({"weights": "int8"}, "compression.updates"),
        ({"weights": "int8", "updates": "int8", "level": 3}, "level"),
        ("int8", "federation.compression"),
    ],
)
def test_a_compression_that_does_not_exist_is_named(tree, compression, words):
    with pytest.raises(ConfigError, match=words):
        config_of(compressed(tree, compression))


def test_an_experiment_written_before_compression_was_there_loads_and_resumes(tree):
    plain = compressed(tree, None)
    del plain["federation"]["compression"]
    config = config_of(plain)
    assert config.federation.compression is None
    RunFolder(config.output.path).resume(config)
    RunFolder(config.output.path).resume(config_of(compressed(tree, None)))


def test_without_compression_a_message_says_nothing_of_it(tree):
    config = config_of(compressed(tree, None, federation__rounds=1))
    seen, folder = Seen(), RunFolder(config.output.path)
    folder.start(config)
    run_rounds(InProcessGrid(SITES, client_app=seen.app), config, folder)
    for record in seen.came:
        assert "codec" not in record.config_records["fedcl"]
    for record in seen.left:
        assert "change" not in record.config_records["fedcl"]
        assert isinstance(decode_release(record), Update)
    (line,) = (folder.site_path("south") / "receipts.jsonl").read_text().splitlines()[1:]
    assert "change" not in json.loads(line)["header"]


def test_the_sum_of_decoded_changes_is_that_of_the_true_ones_over_a_whole_run(tree, monkeypatch):
    true, kept = {}, {}

    def noted(trained, received, residual, codec):
        sent, rest = encode_change(trained, received, residual, codec)
        shapes = {name: array.shape for name, array in trained.items()}
        change = decode_state(sent, codec, shapes)
        for name in rest:
            total = true.setdefault(name, np.zeros(shapes[name]))
            total += trained[name].astype(float) - received[name] - change[name]
        kept.update(rest)
        return sent, rest

    monkeypatch.setattr("fedcl.sites.training.encode_change", noted)
    # One site alone trains.
    config = config_of(
        with_values(tree, federation__rounds=8, federation__min_sites=1, local__min_participants=9)
    )
    simulate_federation(config, sites=SITES, resume=False)
    assert kept
    for name, rest in kept.items():
        np.testing.assert_allclose(true[name], rest, atol=1e-6)
        assert np.abs(rest).max() > 1e-6
