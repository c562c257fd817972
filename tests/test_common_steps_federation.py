"""Steps that all sites take together without privacy: pooled gradient steps from sites' sums."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import Message
from flwr.clientapp import ClientApp

from fedcl.config.loading import resolved_text
from fedcl.config.local_settings import LocalSettings
from fedcl.data.cohort import TRAIN, feature_sums, training_rows
from fedcl.data.open import open_experiment
from fedcl.errors import ConfigError, LimitError, RoundError, RunError
from fedcl.experiment.simulation import InProcessGrid, simulate_federation
from fedcl.local_round import loss_of_batch
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import Refusal, StepGradient
from fedcl.messages.step_schedule import parts_of_site, shuffled_participants, steps_of_pass
from fedcl.models.network import build_network
from fedcl.models.travelling import read_state, travelling
from fedcl.optimizer import build_optimizer
from fedcl.receipts.log import receipts_at
from fedcl.run_folder.folder import RunFolder
from fedcl.server.round_loop import run_rounds
from fedcl.sites.agreement import CountedStep, begin_step
from fedcl.sites.app import app as site_app
from fedcl.sites.common_step import share_step
from fedcl.sites.site import open_site
from fedcl.sites.training import train
from fedcl.wire.orders import decode_instruction
from fedcl.wire.releases import decode_release, encode_release
from tests.builders import (
    MOMENTS,
    add_scans,
    config_of,
    private_tree,
    secure_tree,
    table_tree,
    with_values,
    write_table,
)
from tests.deployment.homes import home_at
from tests.test_federation import SITES, another_folder, assert_identical, final_weights

pytestmark = pytest.mark.slow

TRAINING = ("12", "north", "south")
PASS = 5  # steps: 11 + 3 + 6 participants, 4 in a step


@pytest.fixture
def tree(tmp_path):
    write_table(tmp_path / "data")
    return with_values(table_tree(tmp_path), federation__rule={"kind": "common_steps"})


def simulated(tree, **changes):
    config = config_of(with_values(tree, **changes))
    simulate_federation(config, sites=SITES, resume=False)
    return config


def pooled_by_hand(config):
    """The same steps on everybody's rows at once: one network, one batch, one gradient a step."""
    cohort = open_experiment(config)
    network = build_network(config, cohort.shape, seed=config.seed)
    network.set_feature_scale(*feature_sums(cohort, training_rows(cohort, config.local)).scale())
    own = {site: cohort.rows(split=TRAIN, site=site) for site in TRAINING}
    people = {site: cohort.participants(rows) for site, rows in own.items()}
    steps = steps_of_pass(config, sum(people.values()))
    memory = None
    for number in range(1, config.federation.rounds + 1):
        optimizer = build_optimizer(network, config.local, round_number=number)
        if memory is not None:
            optimizer.load_state_dict(
                {"state": memory, "param_groups": optimizer.state_dict()["param_groups"]}
            )
        for epoch in range(config.local.epochs):
            draws = {"round_number": number, "epoch": epoch}
            for step in range(steps):
                batch = []
                for site, rows in own.items():
                    order = shuffled_participants(config, site, people[site], **draws)
                    for part in parts_of_site(config, site, people[site], **draws, steps=steps):
                        if part.step == step:
                            chosen = order[part.first : part.end]
                            batch += [
                                row
                                for row, owner in zip(rows, cohort.owners(rows), strict=True)
                                if owner in chosen
                            ]
                batch = np.array(batch)
                arrays = torch.from_numpy(cohort.load(batch))
                loss = loss_of_batch(
                    network, cohort, batch, arrays, LocalSettings.of(config), None, **draws
                )
                optimizer.zero_grad()
                loss.value.backward()
                optimizer.step()
        memory = optimizer.state_dict()["state"]
    return read_state(network, travelling(network, keep_norm=False))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_steps_on_sites_are_pooled_steps_where_the_loss_is_a_sum_over_participants(tree, optimizer):
    tree = with_values(tree, objective__loss="l1")
    if optimizer == "sgd":
        tree["local"]["optimizer"] = {
            "kind": "sgd",
            "learning_rate": 0.001,
            "weight_decay": 0.01,
            "momentum": 0.5,
        }
    config = simulated(tree)
    found, expected = final_weights(config), pooled_by_hand(config)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=2e-5, err_msg=name)


def test_every_participant_is_seen_once_a_pass_and_each_gradient_has_a_receipt(tree, tmp_path):
    add_scans(tmp_path / "data", {"south00": 2, "1202": 1})
    config = simulated(tree, local__epochs=3)
    folder = RunFolder(config.output.path)
    for line in folder.read_log():
        assert [line.sites[site].participants for site in TRAINING] == [11, 3, 6]
        # A participant brings all scans into the step.
        assert [line.sites[site].counts["loss"] for site in TRAINING] == [3 * 12, 3 * 3, 3 * 8]
        assert [line.sites[site].steps for site in TRAINING] == [3 * 5, 3 * 1, 3 * 3]
        assert line.loss == pytest.approx(
            sum(s.terms["loss"] * s.counts["loss"] for s in line.valid.values()) / (3 * 23)
        )
    for site, answers in zip(TRAINING, (30, 6, 18), strict=True):
        (log,) = (one.read() for one in receipts_at(folder.site_path(site)))
        gradients = [one for one in log.receipts if one.kind == "step gradient"]
        assert len(gradients) == answers
        assert log.problem is None
        assert len({(one.round, one.step) for one in gradients}) == answers
        assert {one.header["part"] for one in gradients} <= {2, 3}


CHANGES = {
    "moments": {"objective__moments": {**MOMENTS, "momentum": 0.5}},
    "local first": {
        "federation__rule": {
            "kind": "common_steps",
            "local_rounds": 1,
            "batch_size": 6,
            "least": 3,
            "optimizer": {"kind": "sgd", "learning_rate": 0.01, "weight_decay": 0, "momentum": 0.9},
        },
        "local__keep_optimizer": True,
        "federation__outlier_factor": 30,
    },
}


@pytest.mark.process
@pytest.mark.parametrize("name", CHANGES)
def test_workers_and_resumption_change_nothing(tree, name):
    tree = with_values(tree, federation__rounds=3, **CHANGES[name])
    whole = simulated(tree)
    for rounds, workers in ((2, 2), (3, 1)):
        changes = {"federation__rounds": rounds, "compute__workers": workers}
        part = config_of(another_folder(with_values(tree, **changes), "-parts"))
        simulate_federation(part, sites=SITES, resume=True)
    assert_identical(final_weights(whole), final_weights(part))
    first, second = (RunFolder(c.output.path).load().server for c in (whole, part))
    assert_identical(first, second)
    losses = [line.loss for line in RunFolder(whole.output.path).read_log()]
    assert losses[-1] < losses[0]


def test_a_run_stopped_within_a_round_loses_that_round_alone(tree):
    tree = with_values(tree, objective__moments={**MOMENTS, "momentum": 0.5})
    whole = simulated(tree)
    part = config_of(another_folder(tree, "-part"))
    with pytest.raises(KeyboardInterrupt):
        run_rounds(_grid(part, killed=(2, 4)), part, _folder(part))
    assert RunFolder(part.output.path).load().round == 1
    simulate_federation(part, sites=SITES, resume=True)
    assert_identical(final_weights(whole), final_weights(part))


def test_the_first_rounds_are_those_of_fedavg(tree):
    rule = {"kind": "common_steps", "local_rounds": 2}
    common = simulated(tree, federation__rule=rule, federation__rounds=3)
    plain = simulated(
        another_folder(tree, "-plain"),
        federation__rule={"kind": "fedavg"},
        federation__rounds=2,
    )
    assert_identical(RunFolder(common.output.path).load(2).weights, final_weights(plain))


def test_a_site_that_fails_is_left_out_until_the_next_round(tree):
    config = config_of(tree)
    run_rounds(_grid(config, silent={"12": (1, 3)}), config, _folder(config))
    first, second = RunFolder(config.output.path).read_log()
    assert first.sites["12"].rejected == "the training failed"
    assert first.sites["12"].steps == 2
    assert first.sites["south"].steps == 2 * 3
    assert second.sites["12"].rejected is None
    assert second.sites["12"].steps == 2 * 5


def test_too_few_sites_end_the_round(tree):
    config = config_of(with_values(tree, federation__min_sites=3))
    with pytest.raises(RoundError, match="round 1, step 3: 2 valid updates from 3 sites, 3 needed"):
        run_rounds(_grid(config, silent={"12": (1, 3)}), config, _folder(config))
    assert RunFolder(config.output.path).load().round == 0


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (lambda g: np.where(np.arange(len(g)) == 1, np.float32(np.nan), g), "not finite"),
        (lambda g: g[1:], "0: shape"),
        (lambda g: g[:, None], "0: shape"),
        (lambda g: 10_000 * g, "mean gradient is .* the last gradients"),
    ],
)
def test_a_gradient_that_cannot_be_added_is_left_out_by_name(tree, alter, words):
    tree = with_values(tree, federation__outlier_factor=100, federation__rounds=1)
    config = config_of(tree)
    run_rounds(_grid(config, alter={"south": alter}), config, _folder(config))
    sites = RunFolder(config.output.path).read_log()[0].sites
    assert re.search(words, sites["south"].rejected)
    assert all(sites[site].rejected is None for site in ("12", "north"))
    without = config_of(another_folder(tree, "-without"))
    run_rounds(_grid(without, silent={"south": None}), without, _folder(without))
    assert_identical(final_weights(config), final_weights(without))


def test_a_site_answers_no_step_that_it_has_no_part_in(tree):
    config = config_of(tree)
    site = open_site(resolved_text(config), 0)
    network = build_network(config, site.cohort.shape, seed=config.seed)
    weights = read_state(network, travelling(network, keep_norm=False))
    draws = {"round_number": 1, "epoch": 0, "steps": PASS}
    parts = parts_of_site(config, site.label, site.participants, **draws)
    own = {part.step + 1 for part in parts}
    for step in range(1, PASS + 1):
        order = Instruction(1, resolved_text(config), weights, stretch=step, steps=PASS)
        if step in own:
            assert share_step(site, order).step == step
        else:
            with pytest.raises(RunError, match=f"no participants in step {step}"):
                share_step(site, order)
    for step in (0, 2 * PASS + 1):
        order = Instruction(1, resolved_text(config), weights, stretch=step, steps=PASS)
        with pytest.raises(RunError, match=f"step {step} of 10 of round 1, which has no such"):
            share_step(site, order)


def test_a_site_trains_alone_in_the_local_rounds_only(tree):
    rule = {"kind": "common_steps", "local_rounds": 1}
    config = config_of(with_values(tree, federation__rule=rule))
    site = open_site(resolved_text(config), 0)
    network = build_network(config, site.cohort.shape, seed=config.seed)
    weights = read_state(network, travelling(network, keep_norm=False))
    assert train(site, Instruction(1, resolved_text(config), weights)).steps == 6
    with pytest.raises(RunError, match="asks for trained weights in round 2"):
        train(site, Instruction(2, resolved_text(config), weights))
    with pytest.raises(RunError, match="step 1 of 10 of round 1, which has no such step"):
        share_step(site, Instruction(1, resolved_text(config), weights, stretch=1, steps=PASS))


def test_a_round_that_a_site_answers_has_no_step_twice(tree, tmp_path):
    home = home_at(tmp_path, limits__max_rounds=2)
    config = config_of(with_values(tree, output__path=str(tmp_path / "own")))
    for step in (2, 3, 7):
        begin_step(config, home, CountedStep(1, step, 5))
    begin_step(config, home, CountedStep(1, 7, 5))  # once more: the round begins again
    for again in (CountedStep(1, 7, 5), CountedStep(1, 8, 6), CountedStep(2, 1, 5)):
        with pytest.raises(LimitError, match="has begun 2 rounds of tiny and answers 2"):
            begin_step(config, home, again)
    begin_step(config, home, CountedStep(1, 8, 5))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder__norm": "batch"}, "encoder.norm: batch takes statistics"),
        ({"local__keep_optimizer": True}, "one optimiser, at the server"),
        ({"federation__weighting": "sqrt"}, "gives every participant the same weight"),
        ({"federation__compression": {"weights": "none", "updates": "int8"}}, "sends gradients"),
        ({"objective__moments": {**MOMENTS, "fresh": False}}, "sends moments with the updates"),
        ({"objective__moments": {**MOMENTS, "refresh_epochs": 1}}, "renews moments within"),
        ({"federation__rule__local_rounds": 2}, "no less than the 2 federation.rounds"),
        ({"federation__rule__least": 1}, "least"),
    ],
)
def test_what_common_steps_do_not_have_is_refused_by_name(tree, changes, words):
    with pytest.raises(ConfigError, match=words):
        config_of(with_values(tree, **changes))


@pytest.mark.parametrize("made", [private_tree, secure_tree])
def test_privacy_and_secure_sums_are_refused(tmp_path, made):
    tree = with_values(made(tmp_path), federation__rule={"kind": "common_steps"})
    with pytest.raises(ConfigError, match=r"common_steps (sends gradients without|asks at each)"):
        config_of(tree)


# --- a grid with sites that are silent, or say something else -------------------------------------


def _folder(config):
    folder = RunFolder(config.output.path)
    folder.start(config)
    return folder


def _grid(config, *, silent=None, alter=None, killed=None):
    """The sites of a federation, some of which fail from (round, step) on or alter what they say.

    A site that is silent at None fails always. At the step `killed` the process is stopped.
    """
    silent, alter = silent or {}, alter or {}

    class Altered(ClientApp):
        def __call__(self, message, context):
            order = decode_instruction(message.content)
            if (order.round, order.stretch) == killed:
                raise KeyboardInterrupt
            reply = site_app(message, context)
            said = decode_release(reply.content)
            if isinstance(said, StepGradient):
                fails = silent.get(said.site, (0, 0))
                if fails is None or (order.round == fails[0] and order.stretch >= fails[1]):
                    refusal = Refusal(said.site, "the training failed")
                    return Message(encode_release(refusal), reply_to=message)
                if said.site in alter:
                    altered = alter[said.site](said.gradients["0"])
                    said = replace(said, gradients={"0": altered})
                    return Message(encode_release(said), reply_to=message)
            return reply

    return InProcessGrid(SITES, client_app=Altered())
