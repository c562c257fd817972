"""Receipts of a real federation in one process: what they say is what the wire carried."""

import json

import pandas as pd
import pytest
from flwr.clientapp import ClientApp

from fedcl.errors import RefusalReason, RoundError
from fedcl.experiment.simulation import InProcessGrid, simulate_federation
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import Refusal
from fedcl.messages.sum_questions import SumQuestion
from fedcl.privacy.accounting import renyi_epsilon
from fedcl.privacy.ledger import Ledger
from fedcl.receipts.log import Receipts, receipts_at
from fedcl.run_folder.folder import RunFolder
from fedcl.server.round_loop import run_rounds
from fedcl.sites.app import app as site_app
from fedcl.sites.context import DeployedSite
from fedcl.sites.memory import SiteMemory
from fedcl.sites.receipts import receipt_of
from fedcl.sites.site import open_site
from fedcl.wire.records import payload_bytes
from fedcl.wire.releases import decode_release, encode_release
from tests.builders import (
    PRIVATE_MOMENTS,
    central_private_tree,
    config_of,
    private_tree,
    secure_tree,
    table_tree,
    with_values,
    write_table,
)
from tests.command import fedcl
from tests.deployment.homes import home_at

pytestmark = pytest.mark.slow

SITES = 3  # north, south, and far, which has external test participants only


@pytest.fixture
def cohort(tmp_path):
    write_table(tmp_path / "data", {"north": 7, "south": 8})
    return tmp_path


def kept_of(config, site):
    (receipts,) = receipts_at(RunFolder(config.output.path).site_path(site))
    kept = receipts.read()
    assert kept.problem is None
    return kept.receipts


def carried(config, left, before=lambda message: None):
    """Run with the real ClientApp; put the records that left into `left`, by site."""
    app = ClientApp()

    def through(message, context):
        before(message)
        reply = site_app(message, context)
        left.setdefault(decode_release(reply.content).site, []).append(reply.content)
        return reply

    app.query("introduce")(through)
    app.query("moments")(through)
    app.query("sum")(through)
    app.train()(through)
    app.train("gradient")(through)
    folder = RunFolder(config.output.path)
    folder.start(config)
    run_rounds(InProcessGrid(SITES, client_app=app), config, folder)


def trees(folder):
    plain = with_values(table_tree(folder), federation__min_sites=2)
    secure = secure_tree(folder, sites=("north", "south"))
    central = central_private_tree(folder, participants=11)
    moments = with_values(central, objective__private_moments=PRIVATE_MOMENTS)
    both = {**moments, "secure_sum": secure["secure_sum"]}
    compression = {"weights": "bfloat16", "updates": "int8"}
    rounded = with_values(plain, federation__compression=compression)
    return {
        "plain": plain,
        "secure": secure,
        "central": moments,
        "both": both,
        "rounded": rounded,
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "secure", "central", "both", "rounded"])
def test_receipts_hold_every_byte_that_the_wire_carried(cohort, name):
    config = config_of(trees(cohort)[name])
    left = {}
    carried(config, left)
    assert set(left) == {"north", "south", "far"}
    for site, records in left.items():
        receipts = kept_of(config, site)
        assert [one.bytes for one in receipts] == [payload_bytes(record) for record in records]
        kinds = [record.config_records["fedcl"]["kind"] for record in records]
        assert [one.kind for one in receipts] == kinds
        for one, record in zip(receipts, records, strict=True):
            sent = [array for r in record.array_records.values() for array in r.values()]
            assert [a.bytes for a in one.arrays] == [len(array.data) for array in sent]
            assert [a.shape for a in one.arrays] == [tuple(array.shape) for array in sent]
            assert [a.dtype for a in one.arrays] == [array.dtype for array in sent]
    assert len(left["south"]) > 2


@pytest.mark.parametrize("name", ["plain", "secure", "central"])
def test_no_participant_path_or_age_stands_in_a_receipt(cohort, name):
    config = config_of(trees(cohort)[name])
    simulate_federation(config, sites=SITES, resume=False)
    table = pd.read_csv(cohort / "data" / "participants.tsv", sep="\t")
    words, numbers = [], []

    def walk(value):
        if isinstance(value, dict):
            walk(list(value.values()))
            words.extend(value)
        elif isinstance(value, list):
            for one in value:
                walk(one)
        elif isinstance(value, str):
            words.append(value)
        elif isinstance(value, float):
            numbers.append(value)

    for file in RunFolder(config.output.path).sites.glob("*/receipts.jsonl"):
        for line in file.read_text().splitlines():
            walk(json.loads(line))
    assert len(words) > 50
    for word in words:
        assert not any(name in word for name in table["participant_id"])
        assert str(cohort) not in word
        assert not word.startswith("/")
    assert numbers
    assert not set(numbers) & set(table["age"])


@pytest.mark.slow
def test_noise_and_epsilon_are_told_where_the_ledger_was_charged(cohort):
    config = config_of(trees(cohort)["both"])
    simulate_federation(config, sites=SITES, resume=False)
    receipts = kept_of(config, "south")
    masked = [one for one in receipts if one.masked]
    share = 2**-0.5
    first, second = masked[0].noise, masked[1].noise
    assert (first.multiplier, first.sensitivity, first.share) == (3.0, 2.0, pytest.approx(share))
    assert (second.multiplier, second.sensitivity) == (2.0, 1.0)
    assert all(one.noise is None for one in receipts if not one.masked)
    charged = [one for one in receipts if one.epsilon is not None]
    costs = [charge.cost for charge in Ledger.of(config.privacy.ledger, "south").charges()]
    assert [one.kind for one in charged] == ["sum offer"] * len(costs)
    assert [one.epsilon.epsilon for one in charged] == [
        renyi_epsilon(costs[:paid], delta=1e-5) for paid in range(1, len(costs) + 1)
    ]
    attempts = [one.attempt for one in receipts[1:]]
    assert None not in attempts
    assert len(set(attempts)) == len(attempts) / 5


def test_updates_tell_their_noise_and_a_test_seed(cohort):
    config = config_of(private_tree(cohort, test_seed=5))
    simulate_federation(config, sites=SITES, resume=False)
    updates = [one for one in kept_of(config, "north") if one.kind == "update"]
    assert [one.round for one in updates] == [1, 2]
    for one in updates:
        assert (one.noise.multiplier, one.noise.sensitivity, one.noise.share) == (2.0, 1.0, 1.0)
        assert not one.noise.private
        assert one.epsilon.accountant == "renyi"
    assert updates[0].epsilon.epsilon < updates[1].epsilon.epsilon


@pytest.mark.slow
def test_the_exact_epsilon_is_the_ledgers(cohort):
    config = config_of(private_tree(cohort))
    simulate_federation(config, sites=SITES, resume=False)
    text = (config.output.path / "config.yaml").read_text()
    site = open_site(text, 1)
    order = Instruction(2, text, {})
    refusal = Refusal(site.label, "the training failed")
    assert receipt_of(refusal, order, site, exact=True).epsilon is None
    site.memory.paid = True
    spent = receipt_of(refusal, order, site, exact=True).epsilon
    ledger = Ledger.of(config.privacy.ledger, site.label)
    assert spent.epsilon == ledger.epsilon(delta=1e-5)
    assert spent.accountant == "pld"
    assert spent.epsilon <= renyi_epsilon((c.cost for c in ledger.charges()), delta=1e-5)


def test_a_round_that_was_paid_and_then_failed_tells_what_it_cost(cohort, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("north00 has a broken scan")

    monkeypatch.setattr("fedcl.sites.training.private_round", fails)
    config = config_of(with_values(private_tree(cohort), federation__rounds=1))
    left = {}
    with pytest.raises(RoundError, match="the training failed: site north, south"):
        carried(config, left)
    (refusal,) = [one for one in kept_of(config, "south") if one.kind == "refusal"]
    assert refusal.reason == "the training failed"
    assert refusal.epsilon.epsilon > 0
    assert refusal.noise is None
    assert refusal.bytes == payload_bytes(left["south"][-1])


def test_a_site_whose_record_was_altered_lets_nothing_leave(cohort):
    config = config_of(trees(cohort)["plain"])
    file = RunFolder(config.output.path).site_path("south") / "receipts.jsonl"

    def alter(message):
        if message.metadata.message_type == "train" and file.exists():
            file.write_text(file.read_text().replace('"participants": ', '"participants": 1'))

    left = {}
    with pytest.raises(RoundError, match=r"record of what left it cannot be kept.*: site south"):
        carried(config, left, before=alter)
    refused = left["south"][-1]
    assert decode_release(refused).reason in list(RefusalReason)
    assert not refused.array_records.get("arrays")
    assert len(left["north"][-1].array_records["arrays"]) > 0
    failures = (file.parent / "failures.log").read_text()
    assert "altered" in failures


def test_a_simulation_goes_on_after_a_power_cut_damaged_a_record(cohort):
    config = config_of(trees(cohort)["plain"])
    simulate_federation(config, sites=SITES, resume=False)
    file = RunFolder(config.output.path).site_path("south") / "receipts.jsonl"
    file.write_bytes(file.read_bytes()[:-700])
    longer = config_of(with_values(trees(cohort)["plain"], federation__rounds=3))
    simulate_federation(longer, sites=SITES, resume=True)
    old, new = sorted(receipts_at(file.parent), key=lambda one: len(one.path.name), reverse=True)
    assert "3 receipts were made" in old.read().problem
    assert [one.round for one in new.read().receipts] == [0, 3]
    assert kept_of(longer, "north")[-1].round == 3


def test_a_site_that_never_opened_leaves_the_receipt_of_its_refusal(tmp_path):
    receipts = Receipts(tmp_path / "memory" / "receipts.jsonl", durable=True)
    refusal = Refusal(
        "number 3", "the configuration cannot be used at this site, or is not approved there"
    )
    receipts.keep(receipt_of(refusal, None, None))
    receipts.keep(receipt_of(refusal, Instruction(2, "seed: 1\n", {}), None, objects=("0a",)))
    one, two = receipts.read().receipts
    assert (one.round, one.run, one.config_sha256) == (0, None, None)
    assert (two.round, two.run, len(two.config_sha256)) == (2, None, 64)
    assert two.objects == ("0a",)
    assert one.reason == refusal.reason


@pytest.mark.parametrize("attempt", ["../../etc", "a" * 65, "ä", "", "a b"])
def test_a_name_that_no_sum_can_have_stays_out_of_the_receipt(attempt):
    question = SumQuestion(1, "seed: 1\n", attempt, None)
    refusal = Refusal("number 3", "the training failed")
    assert receipt_of(refusal, question, None).attempt is None


def test_a_site_between_institutions_keeps_one_record_and_a_simulated_one_a_record_a_run(tmp_path):
    refusal = Refusal("north", "the training failed")
    home = home_at(tmp_path)
    for _ in ("one run", "another"):
        DeployedSite(home).keep_receipt(refusal, encode_release(refusal), None, None)
    assert len(Receipts(home.files.receipts, durable=True).read().receipts) == 2
    SiteMemory(tmp_path / "run").keep_receipt(receipt_of(refusal, None, None))
    assert (tmp_path / "run" / "receipts.jsonl").exists()


# --- the commands -----------------------------------------------------------------------------


def test_the_commands_verify_show_and_write_a_page(cohort):
    config = config_of(trees(cohort)["plain"])
    simulate_federation(config, sites=SITES, resume=False)
    run_, site = config.output.path, RunFolder(config.output.path).site_path("south")
    done = fedcl("receipts", "verify", run_)
    assert done.returncode == 0, done.stderr
    assert "site-south/receipts.jsonl: 3 receipts whole, from 20" in done.stdout
    assert done.stdout.count("whole") == SITES
    done = fedcl("receipts", "show", site, "--round", "2")
    assert done.returncode == 0, done.stderr
    assert "update" in done.stdout
    assert "introduction" not in done.stdout
    done = fedcl("receipts", "show", site, "--round", "9")
    assert (done.returncode, done.stderr.strip()) == (2, f"fedcl: {site}: no receipt of round 9")
    done = fedcl("receipts", "page", site)
    assert done.returncode == 0, done.stderr
    assert "The record is whole" in (site / "receipts.html").read_text()

    file = site / "receipts.jsonl"
    file.write_text("".join(file.read_text().splitlines(True)[:-1]))
    for command in ("verify", "page"):
        done = fedcl("receipts", command, run_)
        assert done.returncode == 4
        assert "3 receipts were made and 2 are there, line 3 is the first" in done.stderr
        assert "Traceback" not in done.stderr
    assert "NOT whole" in (site / "receipts.html").read_text()
    assert "The record is whole" in (site.parent / "site-north" / "receipts.html").read_text()
