"""Steps that all sites take together: one sum, the whole noise, no step twice."""

import math

import numpy as np
import pytest
import torch
from flwr.app import Message
from flwr.clientapp import ClientApp

from fedcl.config.loading import resolved_text
from fedcl.data.cohort import TRAIN
from fedcl.data.open import open_experiment
from fedcl.errors import ConfigError, PrivacyError, RoundError, RunError
from fedcl.experiment.simulation import InProcessGrid, simulate_federation
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import GradientShare, Refusal
from fedcl.models.network import build_network
from fedcl.models.public_scale import read_public_scale
from fedcl.models.travelling import read_state, travelling
from fedcl.optimizer import build_optimizer
from fedcl.privacy.accounting import NoisySums
from fedcl.privacy.central_step import gradient_share
from fedcl.privacy.clipping import trainable, trainable_names
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.plan import longest_share
from fedcl.privacy.step_batch import StepBatch
from fedcl.run_folder.folder import RunFolder
from fedcl.server.round_loop import run_rounds
from fedcl.sites.app import app as site_app
from fedcl.sites.gradient import share_gradient
from fedcl.sites.site import open_site
from fedcl.sites.training import train
from fedcl.wire.orders import decode_instruction
from fedcl.wire.releases import decode_release, encode_release
from tests.builders import central_private_tree, config_of, with_values, write_table
from tests.test_federation import SITES, another_folder, assert_identical, final_weights
from tests.test_private_federation import TRAINING, evaluated, ledger_of

pytestmark = pytest.mark.slow

STEPS = 2 * 5  # two epochs of 20 / 4 steps


@pytest.fixture
def tree(tmp_path):
    write_table(tmp_path / "data")
    return central_private_tree(tmp_path)


def sized(cohort, config):
    network = build_network(config, cohort.shape, seed=config.seed)
    network.set_feature_scale(*read_public_scale(config.encoder.public_scale, cohort.shape[0]))
    return network


def by_hand(config):
    """One site that holds everybody, each participant clipped on their own in a plain loop."""
    cohort = open_experiment(config)
    network, privacy = sized(cohort, config), config.privacy
    share = privacy.noise_multiplier * privacy.clip_norm / math.sqrt(config.federation.min_sites)
    for number in range(1, config.federation.rounds + 1):
        optimizer = build_optimizer(network, config.local, round_number=number)
        for step in range(1, STEPS + 1):
            total = [torch.zeros_like(p, dtype=torch.float64) for p in trainable(network)]
            for site in cohort.training_sites(min_participants=3):
                rows = cohort.rows(split=TRAIN, site=site)
                stream = Entropy.not_private(privacy.test_seed, site, number, step)
                drawn = rows[stream.uniform(len(rows)) < 4 / 20]
                batch = StepBatch(network, cohort, drawn, config, number, step)
                for position in range(len(drawn)):
                    loss = batch.losses([position]).sum()
                    found = torch.autograd.grad(
                        loss, trainable(network), allow_unused=True, materialize_grads=True
                    )
                    norm = math.sqrt(sum(float(g.double().square().sum()) for g in found))
                    for held, one in zip(total, found, strict=True):
                        held += one * min(1.0, privacy.clip_norm / norm)
                for held in total:
                    held += share * stream.normal(held.numel()).view_as(held)
            for parameter, one in zip(trainable(network), total, strict=True):
                parameter.grad = (one / 4).float()
            optimizer.step()
    return read_state(network, travelling(network, keep_norm=False))


@pytest.mark.slow
def test_the_federation_equals_one_site_that_holds_everybody(tree):
    config = config_of(with_values(tree, privacy__test_seed=5))
    simulate_federation(config, sites=SITES, resume=False)
    found, expected = final_weights(config), by_hand(config)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], atol=2e-5, err_msg=name)


@pytest.mark.process
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_and_resumption_change_nothing(tree, workers):
    tree = with_values(tree, privacy__test_seed=5, local__keep_optimizer=True)
    whole = config_of(tree)
    simulate_federation(whole, sites=SITES, resume=False)
    for rounds in (1, 2):
        changes = {"federation__rounds": rounds, "compute__workers": workers}
        part = config_of(another_folder(with_values(tree, **changes), "-parts"))
        simulate_federation(part, sites=SITES, resume=True)
    assert_identical(final_weights(whole), final_weights(part))


@pytest.mark.slow
def test_every_site_pays_for_a_round_what_everybody_pays(tree):
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    for site in TRAINING:
        charges = ledger_of(config, site).charges()
        assert [c.cost for c in charges] == [NoisySums(2.0, 0.2, STEPS)] * 2
    log = RunFolder(config.output.path).read_log()
    assert all(entry.steps == STEPS for record in log for entry in record.sites.values())
    assert all(entry.terms == {} for record in log for entry in record.sites.values())


def test_min_sites_shares_make_the_whole_noise(tree):
    config = config_of(tree)
    cohort = open_experiment(config)
    network = sized(cohort, config)
    nobody = cohort.rows(split=TRAIN, site="south")[:0]
    sums = []
    for _ in range(40):
        shares = [
            gradient_share(
                network, cohort, nobody, config, Entropy.from_system(), round_number=1, step=1
            )
            for _ in range(config.federation.min_sites)
        ]
        sums += [sum(share[name].ravel() for share in shares) for name in shares[0]]
    values = np.concatenate(sums)
    # 40 times some hundred numbers: the SD of the SD is 2 / sqrt(2 n).
    assert values.std() == pytest.approx(2.0, abs=5 * 2.0 / math.sqrt(2 * len(values)))


def test_a_share_is_never_without_noise(tree):
    config = config_of(tree)
    cohort = open_experiment(config)
    network = sized(cohort, config)
    rows = cohort.rows(split=TRAIN, site="north")
    first, second = (
        gradient_share(network, cohort, rows, config, Entropy.from_system(), round_number=1, step=1)
        for _ in range(2)
    )
    assert set(first) == set(trainable_names(network))
    assert all((first[name] != second[name]).any() for name in first)


def test_a_step_is_taken_once(tree):
    config = config_of(tree)
    site, order = open_site(resolved_text(config), 0), _first_order(config)
    share_gradient(site, order)
    share_gradient(site, _at(order, 3))  # it may have been away at step 2
    for step in (3, 2, STEPS + 1):
        with pytest.raises(PrivacyError, match="taken already"):
            share_gradient(site, _at(order, step))
    assert len(ledger_of(config, site.label).charges()) == 1
    share_gradient(site, order)  # the round begins again, and is paid again
    assert len(ledger_of(config, site.label).charges()) == 2


def test_a_step_of_a_round_that_is_not_paid_is_refused(tree):
    config = config_of(tree)
    site, order = open_site(resolved_text(config), 0), _first_order(config)
    with pytest.raises(PrivacyError, match="the round is not paid for"):
        share_gradient(site, _at(order, 2))


def test_trained_weights_which_have_no_noise_never_leave(tree):
    config = config_of(tree)
    with pytest.raises(RunError, match="asks for trained weights in round 1"):
        train(open_site(resolved_text(config), 0), _first_order(config))


@pytest.mark.slow
def test_a_site_may_miss_steps_and_too_few_end_the_round(tree):
    config = config_of(tree)
    run_rounds(_grid(config, silent={"12": range(3, 6)}), config, _folder(config))
    log = RunFolder(config.output.path).read_log()
    assert [record.sites["12"].steps for record in log] == [STEPS - 3] * 2
    assert all(record.sites["south"].steps == STEPS for record in log)

    config = config_of(another_folder(tree, "-few"))
    with pytest.raises(RoundError, match="round 1, step 4: 1 valid updates from 3 sites, 2 needed"):
        run_rounds(_grid(config, silent={"12": [4], "south": [4]}), config, _folder(config))
    assert RunFolder(config.output.path).load().round == 0


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (lambda g: {**g, next(iter(g)): np.float32(np.nan) + g[next(iter(g))]}, "not finite"),
        (lambda g: dict(list(g.items())[1:]), "tensors missing"),
        (lambda g: {name: array[..., None] for name, array in g.items()}, "shape"),
        (lambda g: {name: 1000 * array for name, array in g.items()}, "none of them over privacy"),
    ],
)
def test_a_share_that_cannot_be_added_is_left_out_by_name(tree, alter, words):
    config = config_of(with_values(tree, federation__rounds=1))
    run_rounds(_grid(config, alter={"12": alter}), config, _folder(config))
    entry = RunFolder(config.output.path).read_log()[0].sites["12"]
    assert words in entry.rejected
    assert entry.participants == 0


@pytest.mark.parametrize("noise", [0.01, 2.0, 50.0])
def test_no_honest_share_is_longer_than_the_longest(tree, noise):
    config = config_of(with_values(tree, privacy__noise_multiplier=noise))
    cohort = open_experiment(config)
    network = sized(cohort, config)
    values = sum(p.numel() for p in trainable(network))
    for site in TRAINING:
        rows = cohort.rows(split=TRAIN, site=site)
        longest = longest_share(config, len(rows), values)
        for step in range(1, 9):
            share = gradient_share(
                network, cohort, rows, config, Entropy.from_system(), round_number=1, step=step
            )
            norm = math.sqrt(sum(float((a.astype(float) ** 2).sum()) for a in share.values()))
            assert norm < longest
            # Noise alone is a tenth of what is allowed for it, give or take 10 times its own SD.
            if noise == 50.0:
                assert norm == pytest.approx(longest / 10, rel=10 / math.sqrt(2 * values))


def test_a_site_cannot_say_that_it_has_more_participants_than_everybody(tree):
    config = config_of(tree)
    assert longest_share(config, 10**6, 7) == longest_share(config, 20, 7)
    assert longest_share(config, 5, 7) == longest_share(config, 20, 7) - 15.0


@pytest.mark.slow
def test_the_result_says_whom_the_promise_holds_against(tree):
    results, _ = evaluated(config_of(tree))
    assert results.run.privacy.startswith("participant: epsilon ")
    assert "not against the server" in results.run.privacy


@pytest.mark.slow
def test_a_target_is_met_over_the_planned_rounds(tree):
    config = config_of(with_values(tree, privacy__noise_multiplier=None, privacy__target_epsilon=1))
    simulate_federation(config, sites=SITES, resume=False)
    assert 0.9 <= ledger_of(config, "south").epsilon(delta=1e-5) <= 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective__prototypes": None}, "one of them changes everybody's gradient"),
        ({"federation__rule": {"kind": "median"}}, "sites send gradients that the server adds up"),
        ({"federation__sites_per_round": 2}, "the same chance to be in every step"),
        ({"privacy__participants": 3}, "is more than the privacy.participants"),
    ],
)
def test_what_would_make_the_epsilon_wrong_is_refused(tree, changes, words):
    with pytest.raises(ConfigError, match=words):
        config_of(with_values(tree, **changes))


# --- a grid with sites that are silent, or say something else -------------------------------------


def _first_order(config):
    network = sized(open_experiment(config), config)
    weights = read_state(network, travelling(network, keep_norm=False))
    return Instruction(1, resolved_text(config), weights, stretch=1)


def _at(order, step):
    return Instruction(order.round, order.config_text, order.weights, stretch=step)


def _folder(config):
    folder = RunFolder(config.output.path)
    folder.start(config)
    return folder


def _grid(config, *, silent=None, alter=None):
    """The sites of a federation, some of which fail at some steps or alter what they say."""
    silent, alter = silent or {}, alter or {}

    class Altered(ClientApp):
        def __call__(self, message, context):
            order = decode_instruction(message.content)
            reply = site_app(message, context)
            said = decode_release(reply.content)
            if isinstance(said, GradientShare):
                if order.stretch in silent.get(said.site, ()):
                    refusal = Refusal(said.site, "the training failed")
                    return Message(encode_release(refusal), reply_to=message)
                if said.site in alter:
                    changed = alter[said.site](dict(said.gradients))
                    said = GradientShare(
                        said.site, said.round, said.step, said.participants, changed, said.seconds
                    )
                    return Message(encode_release(said), reply_to=message)
            return reply

    return InProcessGrid(SITES, client_app=Altered())
