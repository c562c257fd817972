"""A federation erases the site from sums: what rows in one place give, and what leaves for it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import Message

import fedcl
from fedcl.config.loading import resolved_text
from fedcl.data.cohort import SPLITS, TRAIN
from fedcl.data.open import open_experiment
from fedcl.erasure.choose import fit_erasure
from fedcl.erasure.projection import Projection
from fedcl.erasure.settings import nodes_of, settings_of
from fedcl.erasure.sums import ErasureSums
from fedcl.errors import ConfigError, RoundError, RunError
from fedcl.evaluation.from_sums import evaluate_from_sums
from fedcl.evaluation.ridge_sums import RidgeSums
from fedcl.experiment.erasing import erase_pooled
from fedcl.experiment.representations import FEATURE_KINDS, features, split_of
from fedcl.experiment.simulation import InProcessGrid, simulate_federation
from fedcl.files.atomic import read_tensors
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import ErasureShare, Refusal
from fedcl.models.network import build_network
from fedcl.run_folder.encoder_file import write_encoder
from fedcl.run_folder.erasure_file import read_projections, read_record
from fedcl.run_folder.evaluation_file import read_evaluation
from fedcl.run_folder.folder import RunFolder
from fedcl.server.round_loop import run_rounds
from fedcl.sites.app import app as site_app
from fedcl.wire.orders import ERASURE_SUMS, encode_instruction
from fedcl.wire.releases import decode_release, encode_release
from tests.builders import (
    config_of,
    private_tree,
    secure_tree,
    table_tree,
    with_values,
    write_table,
)
from tests.progress import Told

pytestmark = pytest.mark.slow

SITES = 4
SIZES = {"north": 23, "south": 29, "12": 37}
ERASURE = {
    "kind": "leace",
    "features": ["representation", "embedding"],
    "ages": {"first": 15, "last": 85, "spacing": 10},
    "keep_age": "auto",
    "rank": "auto",
    "shrinkage": "auto",
}
FROM_SUMS = {"every_rounds": 1, "min_cell": 2, "features": ["representation", "embedding"]}


def tree_in(folder, **changes):
    write_table(folder / "data", SIZES)
    return with_values({**table_tree(folder), "erasure": ERASURE}, **changes)


def federate(config, client_app=site_app):
    folder = RunFolder(config.output.path)
    folder.start(config)
    run_rounds(InProcessGrid(SITES, client_app=client_app), config, folder)
    return folder


def as_trained(config, folder):
    """Everybody's features of both kinds, and each training participant's age and site."""
    cohort = open_experiment(config)
    network = build_network(config, cohort.shape, seed=config.seed)
    both = features(network, config, cohort, folder, None, as_trained=True)
    return cohort, dict(zip(FEATURE_KINDS, both, strict=True))


def the_same(one, other):
    assert one.keys() == other.keys()
    for kind in one:
        np.testing.assert_array_equal(one[kind].matrix, other[kind].matrix)
        np.testing.assert_array_equal(one[kind].offset, other[kind].offset)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run whose site is erased and that is evaluated from sums after each of its two rounds."""
    folder = tmp_path_factory.mktemp("erased")
    config = config_of(tree_in(folder, evaluation__from_sums=FROM_SUMS))
    return config, federate(config)


def test_it_is_the_erasure_of_rows_in_one_place(finished):
    config, folder = finished
    cohort, both = as_trained(config, folder)
    record = read_record(folder.erasure)
    assert (record.round, record.settings) == (2, config.erasure)
    assert set(record.sites) == {"north", "south", "12"}
    for kind, found in read_projections(folder.erasure, 2).items():
        people = split_of(cohort, both[kind], TRAIN, config.local)
        sums = {
            site: ErasureSums.of(
                people.features[people.sites == site],
                people.ages[people.sites == site],
                nodes_of(config.erasure),
            )
            for site in SIZES
        }
        expected = fit_erasure(sums, settings_of(config.erasure, seed=config.seed))
        # Sites encode in batches of other sizes, in float32.
        size = np.abs(expected.projection.matrix).max()
        np.testing.assert_allclose(found.matrix, expected.projection.matrix, atol=1e-6 * size)
        erased = found(people.features)
        np.testing.assert_allclose(erased, expected.projection(people.features), atol=1e-6)
        told = record.features[kind]
        assert (told.kept, told.rank) == (expected.kept, expected.rank)
        assert told.participants == len(people.ages)


def test_a_pooled_run_of_the_same_weights_erases_the_same(finished, tmp_path):
    config, folder = finished
    other = config.model_copy(
        update={"output": config.output.model_copy(update={"path": tmp_path / "pooled"})}
    )
    pooled = RunFolder(other.output.path)
    pooled.save(folder.load(), keep_every=None)
    erase_pooled(other, open_experiment(config), pooled)
    here, there = (read_projections(one.erasure, 2) for one in (folder, pooled))
    for kind in FEATURE_KINDS:
        scale = np.abs(there[kind].matrix).max()
        np.testing.assert_allclose(here[kind].matrix, there[kind].matrix, atol=1e-6 * scale)


def test_the_exported_encoder_has_the_erasure_inside(finished):
    config, folder = finished
    write_encoder(folder, config, privacy="none")
    arrays = read_tensors(folder.model)
    projections = read_projections(folder.erasure, 2)
    for kind in FEATURE_KINDS:
        np.testing.assert_array_equal(arrays[f"erasure.{kind}.matrix"], projections[kind].matrix)
    encoder = fedcl.load_encoder(folder.path)
    cohort = open_experiment(config)
    network = build_network(config, cohort.shape, seed=config.seed)
    erased, _ = features(network, config, cohort, folder, None)
    table = torch.from_numpy(cohort.load(np.arange(5)))
    np.testing.assert_allclose(encoder(table).detach().numpy(), erased[:5], atol=1e-5)
    assert encoder.width == 8
    assert set(encoder.state_dict()) > {"matrix", "offset"}


def test_the_federation_evaluates_erased_features_once_they_are_erased(finished):
    config, folder = finished
    first, last = read_evaluation(folder.evaluation).rounds
    assert (first.round, last.round) == (1, 2)
    cohort, both = as_trained(config, folder)
    projections = read_projections(folder.erasure, 2)
    for kind in FEATURE_KINDS:
        splits = [
            split_of(cohort, projections[kind](both[kind]), split, config.local) for split in SPLITS
        ]
        expected = evaluate_from_sums(*splits, seed=config.seed, min_cell=2)
        found = last.measures[kind]
        assert found.mae_internal == pytest.approx(expected.mae_internal, rel=1e-4)
        assert found.site_balanced_accuracy == pytest.approx(expected.site_balanced_accuracy)
    assert first.problem is last.problem is None


def test_a_finished_run_without_its_erasure_asks_again_and_finds_the_same_bits(finished):
    config, folder = finished
    before = read_projections(folder.erasure, 2)
    for file in folder.erasure.iterdir():
        file.unlink()
    simulate_federation(config, sites=SITES, resume=True)
    the_same(before, read_projections(folder.erasure, 2))


def test_workers_change_nothing(finished, tmp_path):
    config, folder = finished
    two = config.model_copy(
        update={
            "output": config.output.model_copy(update={"path": tmp_path / "two"}),
            "compute": config.compute.model_copy(update={"workers": 2}),
        }
    )
    simulate_federation(two, sites=SITES, resume=False)
    the_same(
        read_projections(folder.erasure, 2),
        read_projections(RunFolder(two.output.path).erasure, 2),
    )


def test_a_damaged_folder_is_told_of(finished, tmp_path):
    _, folder = finished
    (tmp_path / "erasure.json").write_text((folder.erasure / "erasure.json").read_text())
    with pytest.raises(RunError, match="delete this folder"):
        read_projections(tmp_path, 2)
    (tmp_path / "erasure.json").write_text("{}")
    with pytest.raises(RunError, match="damaged or of another version"):
        read_record(tmp_path)


def test_results_tell_both_what_was_erased_and_what_was_before(tmp_path):
    tree = tree_in(tmp_path, erasure__features=["embedding"], federation__rounds=1)
    results = fedcl.simulate(config_of(tree)).results
    assert set(results.erasure.features) == {"embedding"}
    assert results.erasure.as_trained.representation == results.evaluation.representation
    before, after = results.erasure.as_trained.embedding, results.evaluation.embedding
    assert before.mae_internal != after.mae_internal
    assert before.dim == after.dim == 4


# --- what leaves -----------------------------------------------------------------------------


def spoiling(spoil, heard, site="south"):
    def app(message, context):
        reply = site_app(message, context)
        release = decode_release(reply.content)
        if isinstance(release, ErasureShare):
            heard.append(release.site)
            if release.site == site:
                return Message(encode_release(spoil(release)), reply_to=message)
        return reply

    return app


def changed(share, **changes):
    sums = share.sums["representation"]
    return replace(share, sums={**share.sums, "representation": replace(sums, **changes)})


def too_long(share):
    sums = share.sums["embedding"]
    longer = Projection(1.1 * np.eye(4), np.zeros(4)).of_sums(sums.linear)
    spoiled = replace(sums, linear=longer, totals=1.1 * sums.totals)
    return replace(share, sums={**share.sums, "embedding": spoiled})


SPOILED = [
    (lambda s: replace(s, participants=7), "claims 7 participants"),
    (lambda s: replace(s, sums={"embedding": s.sums["embedding"]}), "expected representation"),
    (lambda s: changed(s, counts=s.sums["representation"].counts * 2), "not those of"),
    (lambda s: changed(s, totals=s.sums["representation"].totals * 2), "do not add up"),
    (lambda s: changed(s, totals=np.full((8, 8), np.nan)), "not finite"),
    (lambda s: changed(s, totals=np.zeros((8, 8)), counts=np.zeros(8)), "not those of"),
    (
        lambda s: changed(s, totals=np.zeros((3, 8)), counts=np.zeros(3)),
        r"shape \(3, 8\) at the nodes of age, expected \(8, 8\)",
    ),
    (
        lambda s: changed(s, linear=RidgeSums(27, np.ones(8), 900.0, -np.eye(8), np.ones(8), 9.0)),
        "negative sums of squares",
    ),
    (too_long, "not those of unit embeddings"),
]


def test_sums_that_cannot_be_cost_their_site_the_erasure(tmp_path):
    """One run whose site is asked anew for every spoiled answer."""
    config = config_of(tree_in(tmp_path, federation__quorum=1.0, federation__rounds=1))
    folder = RunFolder(config.output.path)
    folder.start(config)
    for spoil, reason in SPOILED:
        heard = []
        grid = InProcessGrid(SITES, client_app=spoiling(spoil, heard))
        with pytest.raises(RoundError, match=rf"(?s)erasure after round 1: 2 valid.*{reason}"):
            run_rounds(grid, config, folder)
        assert heard == ["12", "north", "south"]
        assert not folder.erasure.exists()


def test_a_site_that_has_no_part_costs_nothing_within_the_quorum(tmp_path):
    config = config_of(tree_in(tmp_path, federation__rounds=1))
    folder = federate(config, spoiling(lambda share: replace(share, round=9), []))
    record = read_record(folder.erasure)
    assert record.sites == {"12": None, "north": None, "south": "answers round 9"}
    assert {one.sites for one in record.features.values()} == {2}


def test_a_site_answers_no_erasure_that_is_not_due(finished):
    config, folder = finished
    order = Instruction(1, resolved_text(config), folder.load().weights)
    message = Message(encode_instruction(order), 3, ERASURE_SUMS, group_id="1")
    (reply,) = InProcessGrid(SITES).send_and_receive([message])
    release = decode_release(reply.content)
    assert isinstance(release, Refusal)
    log = folder.site_path(release.site) / "failures.log"
    assert "no erasure is due after round 1" in log.read_text()


# --- what is refused -------------------------------------------------------------------------


def test_sums_without_noise_are_refused_with_privacy(tmp_path):
    with pytest.raises(ConfigError, match=r"erasure: sites would say sums .* without noise"):
        config_of({**private_tree(tmp_path), "erasure": ERASURE})


def test_a_secure_sum_that_hides_each_sites_mean_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"erasure: .*which secure_sum hides"):
        config_of({**secure_tree(tmp_path), "erasure": ERASURE})


def test_an_embedding_that_is_not_trained_is_refused(tmp_path):
    tree = with_values({**table_tree(tmp_path), "erasure": ERASURE}, objective__loss="l1")
    with pytest.raises(ConfigError, match=r"erasure\.features: names the embedding"):
        config_of(tree)
    config_of(with_values(tree, erasure__features=["representation"]))


def test_sites_that_train_alone_are_told_that_nothing_is_erased(tmp_path):
    told = Told()
    results = fedcl.local_only(config_of(tree_in(tmp_path)), progress=told).results
    assert any(line.startswith("erasure: left aside") for line in told.lines)
    assert results.erasure is None
