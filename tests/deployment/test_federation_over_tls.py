"""The whole deployment at once: separate processes, TLS, node keys, and a tap on every line.

One run, which takes its time: Flower's node starts a process, which imports torch, for each of five
messages at each of two sites. Everything below looks at that run.
"""

import json
import struct
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import yaml

from fedcl.experiment.simulation import simulate_federation
from fedcl.run_folder.evaluation_file import read_evaluation
from fedcl.run_folder.folder import RunFolder
from tests.builders import config_of, with_values
from tests.deployment.brisk import BriskLab
from tests.deployment.capture import Captured
from tests.deployment.lab import Lab, own_rows
from tests.deployment.tapped import run_tapped

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"),
        reason="serve and join keep their processes together by means of Linux",
    ),
]
SITES = ("north", "12")
PEOPLE, FEATURES = "ward-7-people.tsv", "ward-7-regions.tsv"


@dataclass(frozen=True)
class Run:
    """What is left when all processes have ended."""

    lab: Lab
    sites: dict[str, Captured]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("federation")
    sums = {"every_rounds": None, "min_cell": 3, "features": ["representation", "embedding"]}
    lab = BriskLab(folder / "machines", SITES)
    lab.tree = with_values(lab.usual(), evaluation__from_sums=sums)
    lab.set_up()
    make_telling(lab)
    return Run(lab, run_tapped(lab, folder))


def make_telling(lab: Lab) -> None:
    """Give participants names and ages, and files names, that stand nowhere by chance."""
    people = pd.read_csv(lab.folder / "data" / "participants.tsv", sep="\t", dtype={"site": str})
    people = people[people["site"].isin(SITES)].reset_index(drop=True)
    features = pd.read_csv(lab.folder / "data" / "features.tsv", sep="\t")
    features = features[features["participant_id"].isin(people["participant_id"])]
    names = {old: f"inpatient-{old}-{7919 * (n + 1)}" for n, old in enumerate(people.iloc[:, 0])}
    people["age"] = [f"{age + 0.04129 + n / 977:.5f}" for n, age in enumerate(people["age"])]
    for table, name in ((people, "participants"), (features, "features")):
        table = table.assign(participant_id=table["participant_id"].map(names))
        table.to_csv(lab.folder / "data" / f"{name}.tsv", sep="\t", index=False)
    for site in SITES:
        own = lab.home(site) / "data"
        own_rows(lab.folder / "data", own, site)
        (own / "participants.tsv").rename(own / PEOPLE)
        (own / "features.tsv").rename(own / FEATURES)
        settings = yaml.safe_load(lab.settings(site).read_text())
        settings["data"] |= {"participants": PEOPLE, "features": FEATURES}
        lab.settings(site).write_text(yaml.safe_dump(settings))


@pytest.fixture(params=SITES)
def site(run, request) -> Captured:
    return run.sites[request.param]


@pytest.fixture(scope="module")
def simulated(run) -> RunFolder:
    """The same experiment in one process, in a folder of its own."""
    tree = with_values(run.lab.tree, output__path=str(run.lab.folder / "simulated"))
    config = config_of(tree)
    simulate_federation(config, sites=len(SITES), resume=False)
    return RunFolder(config.output.path)


def test_the_encoder_is_the_simulations_bit_for_bit(run, simulated):
    expected = simulated.load()
    trained = RunFolder(run.lab.folder / "runs" / "tiny").load()
    assert trained.round == expected.round == 2
    assert list(trained.weights) == list(expected.weights)
    for name, weights in trained.weights.items():
        np.testing.assert_array_equal(weights, expected.weights[name], err_msg=name)
    assert any(np.ptp(weights) > 0 for weights in trained.weights.values())


def test_the_evaluation_is_the_simulations(run, simulated):
    (expected,) = read_evaluation(simulated.evaluation).rounds
    (measured,) = read_evaluation(RunFolder(run.lab.folder / "runs" / "tiny").evaluation).rounds
    assert measured.measures == expected.measures
    assert measured.measures["embedding"].participants["train"] == 14


def test_every_header_of_every_call_is_known(site):
    site.require_known_headers()


def test_every_field_of_every_body_is_known(site):
    seen = site.require_known_fields()
    assert seen["content of an object"] > 20
    assert seen["public key"] == 1


def test_every_object_that_left_has_a_receipt(site):
    site.require_receipts()
    assert [receipt.kind for receipt in site.receipts] == [
        "introduction",
        "update",
        "update",
        "evaluation sums",
        "evaluation errors",
    ]
    assert len(site.announced) == 5


def test_every_object_of_a_receipt_is_what_the_receipt_says(run, site):
    elsewhere = [one.pushed for one in run.sites.values() if one is not site]
    site.require_sent({name: content for one in elsewhere for name, content in one.items()})


def test_no_byte_is_left_over(site):
    account = site.account()
    account.require_whole()
    receipted = sum(array.bytes for one in site.receipts for array in one.arrays)
    # Less than receipted where the server had an array already, more where it asked again.
    assert 0.8 * receipted < account.arrays < 1.2 * receipted


def test_the_guards_own_record_agrees_call_by_call(site):
    lines = site.files.egress.read_text().splitlines()
    site.require_agreement([json.loads(line) for line in lines])


def words(run: Run, site: str) -> list[bytes]:
    """What must stay at a site, as it is written there."""
    people = pd.read_csv(run.lab.home(site) / "data" / PEOPLE, sep="\t", dtype=str)
    found = [*people["participant_id"], *people["age"], PEOPLE, FEATURES, run.lab.home(site).name]
    return [word.encode() for word in found]


def numbers(run: Run, site: str, kind: str) -> list[bytes]:
    """The ages as numbers of a machine."""
    people = pd.read_csv(run.lab.home(site) / "data" / PEOPLE, sep="\t")
    return [struct.pack(kind, age) for age in people["age"]]


def test_nothing_of_a_participant_and_no_path_leaves(run, site):
    for label in SITES:
        packed = [*numbers(run, label, "<f"), *numbers(run, label, "<d")]
        for secret in [*words(run, label), *packed]:
            assert not list(site.where(secret)), secret
    assert "push-object" in site.where(b"ArrayChunk"), "the search finds what is there"


def test_nothing_of_a_participant_and_no_path_of_a_site_reaches_the_servers_disk(run):
    places = [run.lab.server, run.lab.folder / "runs"]
    kept = {f: f.read_bytes() for place in places for f in place.rglob("*") if f.is_file()}
    names = {file.name for file in kept}
    assert {"superlink.db", "superlink.log", "gateway.log", "encoder.safetensors"} <= names
    for label in SITES:
        for secret in [*words(run, label), *numbers(run, label, "<d")]:
            assert not [f for f, content in kept.items() if secret in content], secret


def test_what_is_searched_for_stands_at_the_site(run):
    for label in SITES:
        home = run.lab.home(label)
        people = (home / "data" / PEOPLE).read_bytes()
        kept = people + run.lab.settings(label).read_bytes() + str(home).encode()
        assert all(word in kept for word in words(run, label))


def test_the_receipts_are_whole_for_the_command_too(run):
    for label in SITES:
        said = run.lab.fedcl("receipts", "verify", str(run.lab.home(label)))
        assert "5 receipts whole" in said
