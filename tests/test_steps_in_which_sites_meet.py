"""Steps in which all sites' participants meet: the gradient of one loss on everybody together."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedcl.config.loading import resolved_text
from fedcl.config.local_settings import LocalSettings
from fedcl.data.cohort import TRAIN, feature_sums, training_rows
from fedcl.data.open import open_experiment
from fedcl.errors import ConfigError, RunError
from fedcl.experiment.simulation import simulate_federation
from fedcl.local_round import views_of_batch
from fedcl.messages.orders import Instruction
from fedcl.messages.step_schedule import parts_of_site, shuffled_participants, steps_of_pass
from fedcl.models.network import build_network
from fedcl.models.travelling import read_state, travelling
from fedcl.moments.cross_site import CrossSite
from fedcl.moments.live import LiveSums, NodeSlopes, candidates_in_step, live_sums
from fedcl.moments.of_a_site import resident_shares
from fedcl.moments.snapshot import with_candidates
from fedcl.objective import objective_of
from fedcl.optimizer import build_optimizer
from fedcl.receipts.log import receipts_at
from fedcl.run_folder.folder import RunFolder
from fedcl.sites import app
from fedcl.sites.common_step import share_step
from fedcl.sites.live_step import share_step_moments, share_step_slopes
from fedcl.sites.site import open_site
from fedcl.sites.training import share_moments
from fedcl.terms import encode_views
from tests.builders import MOMENTS, add_scans, config_of, table_tree, with_values, write_table
from tests.test_common_steps_federation import TRAINING, simulated
from tests.test_federation import SITES, another_folder, assert_identical, final_weights

pytestmark = pytest.mark.slow

LIVE = {**MOMENTS, "candidates": "step"}
FAIRKL = {
    "name": "fairkl_regression",
    "weight": 0.5,
    "against": "site",
    "vectors": "embedding",
    "side": "both",
    "form": "squared",
}


@pytest.fixture
def tree(tmp_path):
    write_table(tmp_path / "data")
    changes = {"federation__rule": {"kind": "common_steps"}, "objective__moments": LIVE}
    return with_values(table_tree(tmp_path), **changes)


def together(config):
    """The same steps in one process: every embedding live, one loss, one backward pass a step."""
    cohort, settings, task = open_experiment(config), LocalSettings.of(config), config.objective
    network = build_network(config, cohort.shape, seed=config.seed)
    network.set_feature_scale(*feature_sums(cohort, training_rows(cohort, config.local)).scale())
    own = {site: cohort.rows(split=TRAIN, site=site) for site in TRAINING}
    people = {site: cohort.participants(rows) for site, rows in own.items()}
    steps = steps_of_pass(config, sum(people.values()))
    optimizer = build_optimizer(network, config.local, round_number=1)
    for number in range(1, config.federation.rounds + 1):
        for epoch in range(config.local.epochs):
            draws = {"round_number": number, "epoch": epoch}
            for step in range(steps):
                parts = {}
                for site, rows in own.items():
                    order = shuffled_participants(config, site, people[site], **draws)
                    for part in parts_of_site(config, site, people[site], **draws, steps=steps):
                        if part.step == step:
                            chosen = order[part.first : part.end]
                            parts[site] = rows[np.isin(cohort.owners(rows), chosen)]
                encoded, known, sums = {}, {}, {}
                for site, rows in parts.items():
                    arrays = torch.from_numpy(cohort.load(rows))
                    views, known[site] = views_of_batch(
                        network, cohort, rows, arrays, settings, **draws
                    )
                    encoded[site] = encode_views(network, views)
                    shares = resident_shares(cohort, rows, task)
                    sums[site] = live_sums(encoded[site].embedding, shares)
                total, count = 0.0, 0
                for site, rows in parts.items():
                    others = [one for other, one in sums.items() if other != site]
                    names = ("count", "total", "squares")
                    zero = [0 * getattr(sums[site], name) for name in names]
                    added = [
                        sum((getattr(one, name) for one in others), start=none)
                        for name, none in zip(names, zero, strict=True)
                    ]
                    candidates = candidates_in_step(LiveSums(*added))
                    snapshot = with_candidates(None, task.moments, candidates)
                    at = CrossSite(snapshot, torch.arange(len(rows)))
                    loss = objective_of(encoded[site], known[site], task, at)
                    size = cohort.participants(rows)
                    total, count = total + loss.value * size, count + size
                optimizer.zero_grad()
                (total / count).backward()
                optimizer.step()
    return read_state(network, travelling(network, keep_norm=False))


@pytest.mark.parametrize("order", [1, 2])
def test_steps_are_those_of_one_loss_on_everybody_together(tree, tmp_path, order):
    add_scans(tmp_path / "data", {"south00": 2, "1202": 1})
    config = simulated(tree, objective__moments={**LIVE, "order": order})
    found, expected = final_weights(config), together(config)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=2e-5, err_msg=name)
    # It is not what frozen candidates give, nor what no candidates give.
    alone = simulated(another_folder(tree, "-alone"), objective__moments=None)
    assert any(np.abs(final_weights(alone)[n] - found[n]).max() > 1e-3 for n in found)


@pytest.mark.process
def test_workers_and_resumption_change_nothing(tree):
    tree = with_values(tree, federation__rounds=3, objective__debias=[FAIRKL])
    whole = simulated(tree)
    for rounds, workers in ((2, 2), (3, 1)):
        changes = {"federation__rounds": rounds, "compute__workers": workers}
        part = config_of(another_folder(with_values(tree, **changes), "-parts"))
        simulate_federation(part, sites=SITES, resume=True)
    assert_identical(final_weights(whole), final_weights(part))


def test_each_answer_before_a_step_has_a_receipt(tree):
    config = simulated(tree)
    for site, steps in zip(TRAINING, (10, 2, 6), strict=True):
        (log,) = (one.read() for one in receipts_at(RunFolder(config.output.path).site_path(site)))
        kinds = [one.kind for one in log.receipts]
        for kind in ("step moments", "step slopes", "step gradient"):
            assert kinds.count(kind) == 2 * steps
        assert kinds.count("moments") == 0
        assert log.problem is None


def one_entry(array, value):
    changed = array.copy()
    changed[0, 1] = value  # beside the diagonal of a node's products
    return changed


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (lambda m: replace(m, squares=one_entry(m.squares, 1e30)), "not those of unit embeddings"),
        (lambda m: replace(m, squares=one_entry(m.squares, np.nan)), "not finite"),
        (lambda m: replace(m, count=9 * m.count + 9), "not those of"),
    ],
)
def test_sums_of_a_step_that_cannot_be_are_left_out_by_name(tree, monkeypatch, alter, words):
    def spoiled(site, order, honest=app.share_step_moments):
        share = honest(site, order)
        return replace(share, moments=alter(share.moments)) if site.label == "12" else share

    monkeypatch.setattr(app, "share_step_moments", spoiled)
    config = simulated(tree, federation__rounds=1)
    (line,) = RunFolder(config.output.path).read_log()
    assert words in line.sites["12"].rejected
    assert {line.sites[site].rejected for site in ("north", "south")} == {None}


def test_slopes_steeper_than_losses_are_left_out_by_name(tree, monkeypatch):
    def steep(site, order, honest=app.share_step_slopes):
        share = honest(site, order)
        total = share.slopes.total + (1e7 if site.label == "12" else 0)
        return replace(share, slopes=replace(share.slopes, total=total))

    monkeypatch.setattr(app, "share_step_slopes", steep)
    (line,) = RunFolder(simulated(tree, federation__rounds=1).output.path).read_log()
    assert "longer than any loss" in line.sites["12"].rejected
    assert {line.sites[site].rejected for site in ("north", "south")} == {None}


@pytest.mark.parametrize("question", ["share_step_moments", "share_step_slopes"])
def test_a_site_that_fails_before_the_gradient_is_left_out_until_the_next_round(
    tree, monkeypatch, question
):
    honest = getattr(app, question)

    def failing(site, order):
        if site.label == "12" and (order.round, order.stretch) == (1, 3):
            raise ValueError("no room")
        return honest(site, order)

    monkeypatch.setattr(app, question, failing)
    first, second = RunFolder(simulated(tree).output.path).read_log()
    assert first.sites["12"].rejected == "the training failed"
    assert first.sites["12"].steps == 2
    assert first.sites["south"].steps == 2 * 3
    assert second.sites["12"].rejected is None
    assert second.sites["12"].steps == 2 * 5


def asked_of(config, **told):
    """A site, and a question about the first step in which it has a part."""
    site = open_site(resolved_text(config), 0)
    network = build_network(config, site.cohort.shape, seed=config.seed)
    weights = read_state(network, travelling(network, keep_norm=False))
    draws = {"round_number": 1, "epoch": 0, "steps": 5}
    first = parts_of_site(config, site.label, site.participants, **draws)[0].step + 1
    order = Instruction(1, resolved_text(config), weights, held="abc", stretch=first, steps=5)
    return site, replace(order, **told)


def test_a_site_checks_what_it_is_told_of_a_step(tree):
    config = config_of(tree)
    site, order = asked_of(config)
    moments = share_step_moments(site, order).moments
    later = replace(order, weights={}, in_step=moments)
    slopes = share_step_slopes(site, later).slopes
    assert not np.abs(slopes.total).any()  # it is alone in the step
    told = [
        (replace(order, in_step=moments), "one set of weights"),
        (replace(later, in_step=replace(moments, count=0 * moments.count)), "not among them"),
        (
            replace(later, in_step=replace(moments, total=np.full_like(moments.total, np.inf))),
            "not finite",
        ),
        (replace(later, in_step=replace(moments, total=moments.total[:, 1:])), "of shape"),
    ]
    for question, words in told:
        with pytest.raises(RunError, match=words):
            share_step_slopes(site, question)
    steep = replace(later, slopes=replace(slopes, total=slopes.total + 1e9))
    with pytest.raises(RunError, match="longer than any losses"):
        share_step(site, steep)
    with pytest.raises(RunError, match="compares no snapshot"):
        share_moments(site, order)


def test_a_site_that_compares_snapshots_answers_no_question_of_a_step(tree):
    config = config_of(with_values(tree, objective__moments=MOMENTS))
    site, order = asked_of(config)
    for ask in (share_step_moments, share_step_slopes):
        with pytest.raises(RunError, match="does not compare the participants of a step"):
            ask(site, order)
    zeros = NodeSlopes(np.zeros((8, 4)), np.zeros((8, 10)))
    with pytest.raises(RunError, match="does not compare the participants of a step"):
        share_step(site, replace(order, slopes=zeros))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective__loss": "l1"}, "is about a contrast, and this objective has none"),
        ({"federation__rule": {"kind": "fedavg"}}, "candidates: step meets all sites"),
        ({"federation__rule__local_rounds": 1}, "in a round of its own a site meets nobody"),
        ({"objective__moments__participants": 8}, "participants: 8 is about participants of"),
        ({"objective__moments__momentum": 0.5}, "momentum: 0.5 is about participants of"),
        ({"objective__moments__components": "sites"}, "components: sites is about"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tree, changes, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        config_of(with_values(tree, **changes))
