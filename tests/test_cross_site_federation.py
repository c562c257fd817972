"""Moments through a whole federation: asked for before the training, or with the updates."""

import json

import numpy as np
import pytest
import torch
from flwr.app import Message
from flwr.clientapp import ClientApp

from fedcl.data.cohort import TRAIN
from fedcl.data.open import open_experiment
from fedcl.errors import ConfigError, RoundError
from fedcl.experiment.simulation import InProcessGrid, simulate_federation
from fedcl.messages.releases import MomentShare, Refusal, Update
from fedcl.models.network import build_network
from fedcl.models.travelling import write_state
from fedcl.moments.grid import node_count
from fedcl.moments.of_a_site import site_moments
from fedcl.moments.sums import NodeSums
from fedcl.run_folder.folder import RunFolder
from fedcl.server.round_loop import run_rounds
from fedcl.sites.app import app as site_app
from fedcl.wire.releases import decode_release, encode_release
from tests.builders import FAIRKL, MOMENTS, config_of, table_tree, with_values, write_table
from tests.test_federation import SITES, another_folder, assert_identical, final_weights

pytestmark = pytest.mark.slow

STALE = {**MOMENTS, "fresh": False}
REFRESHED = {**MOMENTS, "refresh_epochs": 2}
MOMENTUM = {**MOMENTS, "momentum": 0.75}
APART = {**MOMENTS, "components": "sites"}


@pytest.fixture
def tree(tmp_path):
    write_table(tmp_path / "data")
    tree = table_tree(tmp_path)
    kernel = {"kind": "gaussian", "covariates": ["age"], "bandwidths": [15]}
    return with_values(tree, objective__debias=[FAIRKL], objective__kernel=kernel)


def moments_tree(tree, moments, **changes):
    return with_values(tree, objective__moments=moments, **changes)


def seen(monkeypatch):
    """Collect what every local round is given, by (round, site)."""
    import fedcl.sites.training

    snapshots, real = {}, fedcl.sites.training.local_round

    def local_round(*args, round_number, site, snapshot, **kwargs):
        snapshots[round_number, site] = snapshot
        return real(*args, round_number=round_number, site=site, snapshot=snapshot, **kwargs)

    monkeypatch.setattr("fedcl.sites.training.local_round", local_round)
    return snapshots


def moments_of_all(config, round_number):
    """Every site's moments under the encoder that round started from."""
    cohort = open_experiment(config)
    network = build_network(config, cohort.shape, seed=config.seed)
    write_state(network, RunFolder(config.output.path).load(round_number - 1).weights)
    sites = cohort.training_sites(min_participants=config.local.min_participants)
    return {
        site: site_moments(network, cohort, cohort.rows(split=TRAIN, site=site), config)
        for site in sites
    }


@pytest.mark.parametrize("moments", [MOMENTS, STALE, APART], ids=["fresh", "stale", "apart"])
def test_a_site_sees_all_the_others_under_one_encoder_and_itself_apart(tree, moments, monkeypatch):
    snapshots = seen(monkeypatch)
    config = config_of(moments_tree(tree, moments, federation__rounds=3))
    simulate_federation(config, sites=SITES, resume=False)
    assert moments["fresh"] == (snapshots[1, "south"] is not None)
    true = moments_of_all(config, 3 if moments["fresh"] else 2)
    for site in true:
        snapshot = snapshots[3, site]
        torch.testing.assert_close(
            snapshot.residents.embeddings, torch.from_numpy(true[site][1]), rtol=0, atol=0
        )
        others = NodeSums.add_all(
            (sums for name, (sums, _) in true.items() if name != site), node_count_of(config), 4
        )
        count = np.zeros(node_count_of(config))
        total = np.zeros((node_count_of(config), 4))
        at, nodes = snapshot.others.at.numpy(), snapshot.others.nodes
        np.add.at(count, at, nodes.count.numpy())
        np.add.at(total, at, (nodes.count[:, None] * nodes.mean).numpy())
        used = others.count >= 1
        np.testing.assert_allclose(count[used], others.count[used], rtol=1e-5)
        np.testing.assert_allclose(total[used], others.total[used], rtol=1e-4, atol=1e-5)
        assert not count[~used].any()


def node_count_of(config):
    return node_count(config.objective.moments)


@pytest.mark.parametrize("moments", [MOMENTS, STALE], ids=["fresh", "stale"])
def test_fairkl_counts_anchors_where_no_site_has_two_scanners(tree, moments):
    config = config_of(moments_tree(tree, moments, federation__rounds=3))
    simulate_federation(config, sites=SITES, resume=False)
    log = RunFolder(config.output.path).read_log()
    for record in log[0 if moments["fresh"] else 1 :]:
        for site in ("12", "south"):  # north's three participants are no distribution
            entry = record.sites[site]
            assert entry.counts["fairkl_regression.negative"] > 0
            assert np.isfinite(entry.terms["fairkl_regression.negative"])
    if not moments["fresh"]:
        for entry in log[0].sites.values():
            assert entry.counts["fairkl_regression.negative"] == 0
            assert entry.skipped["fairkl_regression.negative"] > 0


@pytest.mark.parametrize("components", ["sum", "sites"])
def test_with_momentum_a_contrast_meets_a_mean_over_rounds_and_debiasing_one_encoder(
    tree, components, monkeypatch
):
    snapshots = seen(monkeypatch)
    moments = {**MOMENTUM, "components": components}
    config = config_of(moments_tree(tree, moments, federation__rounds=3))
    simulate_federation(config, sites=SITES, resume=False)
    nodes = node_count_of(config)

    def on_grid(others):
        count, total = np.zeros(nodes), np.zeros((nodes, 4))
        np.add.at(count, others.at.numpy(), others.nodes.count.numpy())
        sums = (others.nodes.count[:, None] * others.nodes.mean).numpy()
        np.add.at(total, others.at.numpy(), sums)
        return np.column_stack([count, total])

    for site in ("south", "12", "north"):
        mean = on_grid(snapshots[1, site].others)
        np.testing.assert_array_equal(on_grid(snapshots[1, site].candidates), mean)
        for number in (2, 3):
            now = on_grid(snapshots[number, site].others)
            mean = 0.75 * mean + 0.25 * now
            found = on_grid(snapshots[number, site].candidates)
            np.testing.assert_allclose(found, mean, rtol=1e-4, atol=1e-5)
            assert np.abs(found - now).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("rule", [{"kind": "fedavg"}, {"kind": "fedprox", "mu": 0.5}])
def test_a_round_in_stretches_is_the_same_round(tree, rule):
    """Where no term looks at the moments, exchanging them midway changes nothing."""
    unused = {**MOMENTS, "participants": 0}
    tree = with_values(tree, objective__debias=[], local__epochs=5, federation__rule=rule)
    whole = config_of(moments_tree(tree, unused))
    simulate_federation(whole, sites=SITES, resume=False)
    tree = moments_tree(tree, {**unused, "refresh_epochs": 2})
    parts = config_of(another_folder(tree, "-parts"))
    simulate_federation(parts, sites=SITES, resume=False)
    assert_identical(final_weights(whole), final_weights(parts))
    logs = [RunFolder(config.output.path).read_log() for config in (whole, parts)]
    for one, other in zip(*logs, strict=True):
        assert other.moments_bytes > 2.5 * one.moments_bytes
        for site, entry in one.sites.items():
            assert other.sites[site].steps == entry.steps
            assert other.sites[site].counts == entry.counts
            assert other.sites[site].terms["loss"] == pytest.approx(entry.terms["loss"])


def test_a_later_stretch_sees_what_everybody_has_trained_so_far(tree, monkeypatch):
    import fedcl.sites.training

    stretches, real = {}, fedcl.sites.training.local_round

    def local_round(network, *args, site, epochs, snapshot, **kwargs):
        stretches.setdefault(site, []).append((epochs, snapshot))
        return real(network, *args, site=site, epochs=epochs, snapshot=snapshot, **kwargs)

    monkeypatch.setattr("fedcl.sites.training.local_round", local_round)
    wide = {"kind": "spaced", "covariate": "age", "first": 15, "last": 85, "spacing": 70}
    moments = {**REFRESHED, "grid": [wide]}  # nobody at a node of too few
    tree = moments_tree(tree, moments, local__epochs=5, federation__rounds=1)
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    for parts in stretches.values():
        assert [epochs for epochs, _ in parts] == [range(2), range(2, 4), range(4, 5)]
        residents = [snapshot.residents.embeddings for _, snapshot in parts]
        means = [snapshot.others.nodes.mean for _, snapshot in parts]
        for before, after in ((0, 1), (1, 2)):
            assert (residents[before] - residents[after]).abs().max() > 1e-4
            assert (means[before] - means[after]).abs().max() > 1e-4
    # What a site meets of the others is what the others then have, each under its own weights.
    everybody = [np.asarray(stretches[site][1][1].residents.embeddings) for site in ("12", "north")]
    others = stretches["south"][1][1].others.nodes
    total = (others.count[:, None] * others.mean).sum(dim=0).numpy()
    np.testing.assert_allclose(total, np.concatenate(everybody).sum(axis=0), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_site_that_fails_midway_is_left_out_of_the_rest(tree, monkeypatch):
    import fedcl.sites.training

    real = fedcl.sites.training.local_round

    def local_round(*args, site, epochs, **kwargs):
        if site == "12" and epochs.start == 2:
            raise RuntimeError("out of memory at a path of the site")
        return real(*args, site=site, epochs=epochs, **kwargs)

    monkeypatch.setattr("fedcl.sites.training.local_round", local_round)
    config = config_of(moments_tree(tree, REFRESHED, local__epochs=5, federation__rounds=1))
    simulate_federation(config, sites=SITES, resume=False)
    (record,) = RunFolder(config.output.path).read_log()
    assert record.sites["12"].rejected == "the training failed"
    assert record.sites["south"].rejected is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({**REFRESHED, "fresh": False}, "refresh"),
        ({**MOMENTS, "refresh_epochs": 2}, "no less than the 2 local.epochs"),
    ],
)
def test_a_refresh_that_cannot_be_is_refused(tree, changes, words):
    with pytest.raises(ConfigError, match=words):
        config_of(moments_tree(tree, changes))


@pytest.mark.process
@pytest.mark.parametrize(
    "moments",
    [MOMENTS, STALE, MOMENTUM, {**MOMENTUM, "refresh_epochs": 1}],
    ids=["fresh", "stale", "momentum", "refreshed"],
)
def test_workers_and_resuming_do_not_change_a_bit(tree, moments):
    """Slow (about 6 s): worker processes start, and three runs resume."""
    tree = moments_tree(tree, moments, federation__rounds=3)
    whole = config_of(tree)
    simulate_federation(whole, sites=SITES, resume=False)
    two = config_of(another_folder(with_values(tree, compute__workers=2), "-two"))
    simulate_federation(two, sites=SITES, resume=False)
    assert_identical(final_weights(whole), final_weights(two))
    for rounds in (1, 2, 3):
        part = config_of(another_folder(with_values(tree, federation__rounds=rounds), "-parts"))
        simulate_federation(part, sites=SITES, resume=True)
    assert_identical(final_weights(whole), final_weights(part))


@pytest.mark.parametrize(
    "changes",
    [
        {"objective__loss": "l_thr"},
        {"objective__loss": "y_aware"},
        {"objective__loss": "decoupled_uniformity"},
        {"objective__loss": "decoupled_uniformity", "objective__ridge": 1.0},
        {"objective__debias": [{**FAIRKL, "form": "kl"}]},
        {"objective__debias": [{"name": "feature_moments", "weight": 1, "against": "site"}]},
        {"objective__debias": [{"name": "conditional_means", "weight": 1, "against": "site"}]},
    ],
    ids=lambda c: " ".join(str(v if isinstance(v, str) else "") for v in c.values()),
)
def test_every_loss_with_nodes_trains(tree, changes):
    for debias in changes.get("objective__debias", []):
        debias.setdefault("vectors", "embedding")
    config = config_of(moments_tree(tree, MOMENTS, **changes, federation__rounds=4))
    simulate_federation(config, sites=SITES, resume=False)
    log = RunFolder(config.output.path).read_log()
    assert log[-1].loss < log[0].loss


def test_sites_of_classes_share_nodes_of_classes(tree):
    grid = [{"kind": "classes", "covariate": "sex", "values": [0, 1]}]
    config = config_of(
        moments_tree(
            tree,
            {**MOMENTS, "grid": grid},
            objective__loss="eps_sup_info_nce",
            objective__epsilon=0.2,
            objective__kernel={"kind": "discrete", "covariates": ["sex"]},
            objective__debias=[{**FAIRKL, "name": "fairkl"}],
        )
    )
    simulate_federation(config, sites=SITES, resume=False)
    record = RunFolder(config.output.path).read_log()[-1]
    for entry in record.sites.values():
        assert entry.counts["fairkl.positive"] > 0


# --- what travels -----------------------------------------------------------------------------


def test_the_weights_travel_once_and_the_moments_are_counted(tree):
    tree = with_values(tree, encoder__hidden=[64, 64])
    config = config_of(moments_tree(tree, MOMENTS))
    plain = config_of(another_folder(with_values(tree, objective__debias=[]), "-plain"))
    for one in (config, plain):
        simulate_federation(one, sites=SITES, resume=False)
    record, without = (RunFolder(c.output.path).read_log()[0] for c in (config, plain))
    nodes, dim, sites = 8, 4, 3
    share = 4 * nodes * (1 + dim + dim * (dim + 1) // 2)
    assert record.moments_bytes == 2 * sites * share
    assert without.moments_bytes == 0
    # Two more headers per site, and never the weights again.
    for way in ("bytes", "sent_bytes"):
        more = getattr(record, way) - getattr(without, way) - sites * share
        assert 0 < more < sites * 6000, way
    weights = sum(array.nbytes for array in final_weights(config).values())
    assert weights > 3 * 6000


def test_receipts_hold_the_share_and_no_embedding(tree):
    config = config_of(moments_tree(tree, MOMENTS, federation__rounds=1))
    simulate_federation(config, sites=SITES, resume=False)
    folder = RunFolder(config.output.path).site_path("south")
    lines = [json.loads(line) for line in (folder / "receipts.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["introduction", "moments", "update"]
    arrays = {array["name"]: array["bytes"] for array in lines[1]["arrays"]}
    assert arrays == {
        "moments count": 4 * 8,
        "moments total": 4 * 8 * 4,
        "moments squares": 4 * 8 * 10,
    }


# --- sites that join, leave or fail -----------------------------------------------------------


def federation(config, *, at_moments=None, at_training=None):
    """Run with the real ClientApp behind functions that may replace its replies."""
    app = ClientApp()

    @app.query("introduce")
    def introduce(message, context):
        return site_app(message, context)

    @app.query("moments")
    def moments(message, context):
        return _through(message, context, at_moments)

    @app.train()
    def train(message, context):
        return _through(message, context, at_training)

    folder = RunFolder(config.output.path)
    folder.start(config)
    run_rounds(InProcessGrid(SITES, client_app=app), config, folder)
    return folder.read_log()


def _through(message, context, change):
    reply = site_app(message, context)
    if change is None:
        return reply
    release = change(decode_release(reply.content))
    return Message(encode_release(release), reply_to=message)


def refusing(site):
    def change(release):
        return Refusal(site, "the training failed") if release.site == site else release

    return change


def altering(site, alter):
    def change(release):
        if release.site != site or not isinstance(release, MomentShare | Update):
            return release
        if release.moments is None:
            return release
        return type(release)(**{**vars(release), "moments": alter(release.moments)})

    return change


def test_a_site_that_fails_before_the_training_is_left_out_of_the_sums(tree, monkeypatch):
    snapshots = seen(monkeypatch)
    config = config_of(moments_tree(tree, MOMENTS, federation__rounds=1))
    (record,) = federation(config, at_moments=refusing("south"))
    assert record.sites["south"].rejected == "the training failed"
    assert record.sites["north"].rejected is None
    assert (1, "south") not in snapshots
    assert snapshots[1, "north"].others.participants <= 11 + 1e-4  # those of site 12 alone


def test_a_site_that_fails_after_its_moments_leaves_them_behind(tree, monkeypatch):
    snapshots = seen(monkeypatch)
    config = config_of(moments_tree(tree, MOMENTS, federation__rounds=1))
    (record,) = federation(config, at_training=refusing("south"))
    assert record.sites["south"].rejected == "the training failed"
    assert record.sites["12"].rejected is None
    assert snapshots[1, "north"].others.participants > 11 + 1


@pytest.mark.parametrize(
    ("alter", "reason"),
    [
        (lambda m: NodeSums(m.count, m.total * np.nan, m.squares), "total: values that are not"),
        (lambda m: NodeSums(m.count, m.total[:, :1], m.squares), "total: float32 of shape (8, 1)"),
        (lambda m: NodeSums(m.count * 9, m.total, m.squares), "not those of 6 participants"),
        (lambda m: NodeSums(-m.count, m.total, m.squares), "not those of 6 participants"),
        (lambda m: NodeSums(m.count, m.total, m.squares * 50), "not those of unit embeddings"),
        (lambda m: NodeSums(m.count, m.total * 50, m.squares), "not those of unit embeddings"),
        (lambda m: m.astype(np.float64), "float64 of shape"),
    ],
)
@pytest.mark.parametrize("moments", [MOMENTS, STALE], ids=["fresh", "stale"])
def test_moments_that_cannot_be_are_named_and_left_out(tree, moments, alter, reason):
    config = config_of(moments_tree(tree, moments, federation__rounds=1))
    spoil = altering("south", alter)
    (record,) = federation(config, at_moments=spoil, at_training=spoil)
    assert reason in record.sites["south"].rejected
    assert record.sites["north"].rejected is None


def test_a_site_that_joins_sees_the_others_before_it_has_a_share_of_its_own(tree, monkeypatch):
    snapshots = seen(monkeypatch)
    config = config_of(moments_tree(tree, STALE, federation__rounds=4))
    folder = RunFolder(config.output.path)
    folder.start(config)
    grid = InProcessGrid(SITES)
    nodes = list(grid.get_node_ids())
    # Site "12" (node 0) comes in round 2; "south" leaves after round 2.
    present = iter([nodes[1:], nodes[1:], nodes, nodes[:3], nodes[:3], nodes[:3]])
    grid.get_node_ids = lambda: next(present)
    run_rounds(grid, config, folder)
    log = folder.read_log()
    assert snapshots[2, "12"].residents is None
    assert snapshots[2, "12"].others.participants > 5
    assert log[1].sites["12"].counts["fairkl_regression.negative"] == 0
    assert snapshots[3, "12"].residents is not None
    # South's moments of round 2 are still in round 3's sums, and gone from round 4's.
    assert snapshots[3, "north"].others.participants > snapshots[4, "north"].others.participants


def test_a_site_that_lost_the_weights_it_held_says_so(tree, monkeypatch):
    config = config_of(moments_tree(tree, MOMENTS, federation__rounds=1))

    def lose(release):
        for file in (config.output.path / "held").glob("*"):
            file.unlink()
        return release

    with pytest.raises(RoundError, match="its memory of earlier rounds cannot be read"):
        federation(config, at_moments=lose)


def test_held_weights_do_not_pile_up(tree):
    config = config_of(moments_tree(tree, MOMENTS, federation__rounds=4))
    simulate_federation(config, sites=SITES, resume=False)
    assert len(list((config.output.path / "held").iterdir())) == 1
    assert len(list((RunFolder(config.output.path).site_path("12") / "moments").iterdir())) == 2


# --- what cannot be asked for -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"federation__rule": {"kind": "cyclic"}}, "cyclic federation has no common encoder"),
        ({"objective__variant": "released"}, r"l_exp \(released\) takes no participants"),
        (
            {"objective__kernel": {"kind": "discrete", "covariates": ["sex"]}},
            "compares sex, which is not on the grid",
        ),
        (
            {"objective__moments": {**MOMENTS, "grid": [{**MOMENTS["grid"][0], "last": 83}]}},
            "from 15 to 83 is not a whole number of steps of 10",
        ),
        (
            {"objective__moments": {**MOMENTS, "grid": MOMENTS["grid"] * 2}},
            "one axis for each covariate",
        ),
        (
            {"objective__moments": {**MOMENTS, "ordre": 2}},
            "ordre: unknown key; did you mean 'order'",
        ),
    ],
)
def test_what_moments_cannot_do_is_a_message(tree, changes, message):
    with pytest.raises(ConfigError, match=message):
        config_of(with_values(tree, **{"objective__moments": MOMENTS, **changes}))
