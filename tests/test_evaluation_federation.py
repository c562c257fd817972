"""The federation measures itself: evaluation.json says what the same probes say on all features."""

import json
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from flwr.app import Message

from fedcl.config.loading import resolved_text
from fedcl.data.cohort import EXTERNAL_TEST, INTERNAL_TEST, training_rows
from fedcl.data.open import open_experiment
from fedcl.errors import ConfigError, RoundError
from fedcl.evaluation.error_sums import ErrorSums, ParticipantGroup, RecognisedCount
from fedcl.evaluation.from_sums import evaluate_from_sums
from fedcl.evaluation.per_participant import per_participant
from fedcl.evaluation.ridge_sums import RidgeSums
from fedcl.evaluation.summed_probes import SiteErrors
from fedcl.experiment.representations import features
from fedcl.experiment.simulation import InProcessGrid, simulate_federation
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import EvaluationErrors, EvaluationSums, Refusal
from fedcl.models.network import build_network
from fedcl.report.table import evaluation_table
from fedcl.run_folder.evaluation_file import read_evaluation
from fedcl.run_folder.folder import RunFolder
from fedcl.server.round_loop import run_rounds
from fedcl.sites.app import app as site_app
from fedcl.wire.orders import EVALUATION_SUMS, encode_instruction
from fedcl.wire.releases import decode_release, encode_release
from tests.builders import (
    add_scans,
    config_of,
    private_tree,
    secure_tree,
    site_private_tree,
    table_tree,
    with_values,
    write_table,
)

pytestmark = pytest.mark.slow

SITES = 4
SIZES = {"north": 23, "south": 29, "12": 37}
FLOAT32 = 1e-5
"""Sites and the pooled evaluation encode in batches of other sizes, in float32."""


@pytest.fixture
def tree(tmp_path):
    write_table(tmp_path / "data", SIZES)
    file = tmp_path / "data" / "participants.tsv"
    table = pd.read_csv(file, sep="\t", dtype={"site": str})
    third = (table.groupby("site").cumcount() % 3 == 0) & (table["site"] != "far")
    table.loc[third, "split"] = "internal_test"
    table["sex"] = np.where(table.groupby("site").cumcount() % 2, "female", "male")
    table.to_csv(file, sep="\t", index=False)
    return evaluated(table_tree(tmp_path))


def evaluated(tree, **changes):
    settings = {"every_rounds": None, "min_cell": 4, "features": ["representation", "embedding"]}
    return with_values(tree, evaluation__from_sums={**settings, **changes})


def measured(config):
    return read_evaluation(RunFolder(config.output.path).evaluation).rounds


def pooled(config, number=None, **options):
    """What the same evaluation gives with all features of a checkpoint in one place."""
    cohort = open_experiment(config)
    network = build_network(config, cohort.shape, seed=config.seed)
    both = features(network, config, cohort, RunFolder(config.output.path), number)
    rows = (
        training_rows(cohort, config.local),
        cohort.rows(split=INTERNAL_TEST),
        cohort.rows(split=EXTERNAL_TEST),
    )
    found = []
    for one in both:
        splits = [per_participant(cohort, one[part], part) for part in rows]
        found.append(evaluate_from_sums(*splits, seed=config.seed, min_cell=4, **options))
    return dict(zip(("representation", "embedding"), found, strict=True))


def assert_the_same(found, expected):
    assert found.alpha == expected.alpha
    assert found.participants == expected.participants
    assert found.mae_internal == pytest.approx(expected.mae_internal, rel=FLOAT32)
    assert found.mae_external == pytest.approx(expected.mae_external, rel=FLOAT32)
    assert found.site_balanced_accuracy == pytest.approx(expected.site_balanced_accuracy)
    assert found.challenge_score == pytest.approx(expected.challenge_score, rel=FLOAT32)


def test_it_is_the_evaluation_of_all_features_in_one_place(tree):
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    (last,) = measured(config)
    assert last.round == 2
    assert last.problem is None
    for kind, expected in pooled(config).items():
        assert_the_same(last.measures[kind], expected)
    assert last.measures["representation"].participants == {
        "train": 55,
        "internal": 34,
        "external": 4,
    }
    assert last.measures["embedding"].dim == 4
    assert "representation" in str(evaluation_table(last).columns[1].header)
    assert {s: one.participants for s, one in last.sites.items()} == {
        "12": 23,
        "far": 0,
        "north": 14,
        "south": 18,
    }
    assert not any(one.rejected for one in last.sites.values())


def test_participants_with_several_scans_count_once(tree, tmp_path):
    add_scans(tmp_path / "data", {"north02": 2, "south03": 1, "far1": 3})
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    (last,) = measured(config)
    for kind, expected in pooled(config).items():
        assert_the_same(last.measures[kind], expected)
    assert last.measures["embedding"].participants["external"] == 4


@pytest.mark.slow
def test_it_is_measured_every_few_rounds_and_after_the_last(tree):
    config = config_of(
        with_values(
            evaluated(tree, every_rounds=2), federation__rounds=5, evaluation__every_rounds=1
        )
    )
    simulate_federation(config, sites=SITES, resume=False)
    assert [one.round for one in measured(config)] == [2, 4, 5]
    for one in measured(config):
        assert_the_same(one.measures["embedding"], pooled(config, one.round)["embedding"])


def test_workers_change_nothing(tree):
    one = config_of(tree)
    two = config_of(with_values(tree, compute__workers=2, output__path=f"{one.output.path}-2"))
    for config in (one, two):
        simulate_federation(config, sites=SITES, resume=False)
    assert measured(one)[0].measures == measured(two)[0].measures


def test_groups_of_the_result_are_sums_over_sites(tree):
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    (last,) = measured(config)
    rows = last.measures["representation"].groups
    everybody = {(r.split, r.by, r.value): r for r in rows if r.site is None}
    for key, row in everybody.items():
        told = [r for r in rows if r.site is not None and (r.split, r.by, r.value) == key]
        assert row.participants == sum(r.participants for r in told)
        total = sum(r.mae * r.participants for r in told)
        assert row.mae == pytest.approx(total / row.participants)
    assert {(r.by, r.value) for r in rows if r.site == "12"} >= {("sex", "female"), ("all", "")}
    assert everybody["internal", "all", ""].mae == last.measures["representation"].mae_internal


@pytest.mark.slow
def test_a_finished_run_without_its_evaluation_asks_again_and_finds_the_same(tree):
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    folder = RunFolder(config.output.path)
    (before,) = measured(config)
    weights = folder.load().weights
    folder.evaluation.unlink()
    simulate_federation(config, sites=SITES, resume=True)
    assert measured(config)[0].measures == before.measures
    assert all((weights[n] == a).all() for n, a in folder.load().weights.items())
    folder.evaluation.write_text(json.dumps(json.loads(folder.evaluation.read_text())))
    written = folder.evaluation.stat().st_mtime_ns
    simulate_federation(config, sites=SITES, resume=True)
    assert folder.evaluation.stat().st_mtime_ns == written


def test_normalisation_layers_that_stay_are_each_sites_own(tree):
    config = config_of(with_values(tree, federation__rule={"kind": "fedbn"}, encoder__norm="batch"))
    simulate_federation(config, sites=SITES, resume=False)
    (last,) = measured(config)
    assert "far" not in last.sites
    found, expected = last.measures["representation"], pooled(config)["representation"]
    assert found.mae_external is None
    assert found.mae_internal == pytest.approx(expected.mae_internal, rel=FLOAT32)
    assert found.site_balanced_accuracy == pytest.approx(expected.site_balanced_accuracy)


# --- what leaves -----------------------------------------------------------------------------


def listening(heard):
    def app(message, context):
        reply = site_app(message, context)
        release = decode_release(reply.content)
        if isinstance(release, EvaluationSums | EvaluationErrors):
            heard[release.site].append((message, release, reply.content))
        return reply

    return app


def federate(config, app):
    folder = RunFolder(config.output.path)
    folder.start(config)
    run_rounds(InProcessGrid(SITES, client_app=app), config, folder)
    return folder


def test_nothing_of_few_participants_leaves_a_site(tree):
    heard = defaultdict(list)
    config = config_of(evaluated(tree, min_cell=12))
    federate(config, listening(heard))
    assert {type(r) for said in heard.values() for _, r, _ in said} == {
        EvaluationSums,
        EvaluationErrors,
    }
    for site, said in heard.items():
        for _, release, _ in said:
            if isinstance(release, EvaluationErrors):
                for errors in release.errors.values():
                    assert all(sums.count >= 12 for sums in errors.cells.values())
                    assert (errors.recognised is None) == (site != "12")
                    assert bool(errors.cells) == (site == "12")
            else:
                assert release.sums
    assert measured(config)[0].measures["embedding"].participants["external"] == 0
    assert "Lower is better" in evaluation_table(measured(config)[0]).caption


def test_where_all_test_participants_are_few_the_table_says_so(tree):
    config = config_of(evaluated(tree, min_cell=18))
    simulate_federation(config, sites=SITES, resume=False)
    (last,) = measured(config)
    assert last.measures["embedding"].groups == ()
    assert last.measures["embedding"].challenge_score is None
    assert evaluation_table(last).caption.endswith("at the sites: here all of them.")


def test_few_training_participants_say_no_sums_and_are_not_fitted(tree):
    heard = defaultdict(list)
    config = config_of(evaluated(tree, min_cell=16))
    federate(config, listening(heard))
    sums = {
        s: r.sums for s, said in heard.items() for _, r, _ in said if isinstance(r, EvaluationSums)
    }
    assert {site: bool(own) for site, own in sums.items()} == {
        "north": False,
        "south": True,
        "12": True,
    }
    last = measured(config)[0]
    assert last.sites["north"].participants == 0
    assert last.sites["north"].rejected is None
    assert last.measures["embedding"].site_chance == 0.5


def test_the_bytes_of_an_answer_do_not_depend_on_how_many_participants_there_are(tree):
    heard = defaultdict(list)
    federate(config_of(tree), listening(heard))
    sizes = set()
    for site in SIZES:
        for _, release, content in heard[site]:
            if isinstance(release, EvaluationSums):
                arrays = content.array_records["arrays"]
                sizes.add(tuple((n, a.shape, a.dtype) for n, a in sorted(arrays.items())))
    assert sizes == {
        (
            ("embedding/products", (15,), "float64"),
            ("embedding/totals", (5,), "float64"),
            ("representation/products", (45,), "float64"),
            ("representation/totals", (9,), "float64"),
        )
    }


def test_too_few_sites_with_sums_are_said_in_the_file_and_the_run_ends_well(tree):
    config = config_of(evaluated(tree, min_cell=22))
    simulate_federation(config, sites=SITES, resume=False)
    (last,) = measured(config)
    assert "1 of them say the sums" in last.problem
    assert last.measures == {}
    assert evaluation_table(last).caption == last.problem


def test_a_site_answers_no_evaluation_that_is_not_due(tree):
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    folder = RunFolder(config.output.path)
    grid = InProcessGrid(SITES)
    order = Instruction(1, resolved_text(config), folder.load().weights, held="abc")
    message = Message(encode_instruction(order), 3, EVALUATION_SUMS, group_id="1")
    (reply,) = grid.send_and_receive([message])
    release = decode_release(reply.content)
    assert isinstance(release, Refusal)
    log = folder.site_path(release.site) / "failures.log"
    assert "no evaluation from sums is due after round 1" in log.read_text()


# --- answers that cannot be ------------------------------------------------------------------


def spoiling(kind, spoil, site="south"):
    def app(message, context):
        reply = site_app(message, context)
        release = decode_release(reply.content)
        if isinstance(release, kind) and release.site == site:
            return Message(encode_release(spoil(release)), reply_to=message)
        return reply

    return app


def other_sums(release, **changes):
    sums = {kind: replace(one, **changes) for kind, one in release.sums.items()}
    return replace(release, sums=sums)


def negative(release):
    xx = release.sums["representation"].xx.copy()
    xx[0, 0] = -1.0
    own = replace(release.sums["representation"], xx=xx)
    return replace(release, sums={**release.sums, "representation": own})


def impossible(release):
    xx = release.sums["representation"].xx.copy()
    xx[0, 1] = xx[1, 0] = 3 * np.sqrt(xx[0, 0] * xx[1, 1])
    own = replace(release.sums["representation"], xx=xx)
    return replace(release, sums={**release.sums, "representation": own})


def wider(release):
    own = RidgeSums.of(np.ones((release.participants, 9)), np.full(release.participants, 40.0))
    return replace(release, sums={**release.sums, "representation": own})


def longer(release):
    own = release.sums["embedding"]
    own = replace(own, total_x=own.total_x + release.participants)
    return replace(release, sums={**release.sums, "embedding": own})


SPOILT_SUMS = [
    (lambda r: other_sums(r, total_y=np.nan), "sums of the representation: values that are not"),
    (lambda r: other_sums(r, total_y=1e6), "sums of the representation: not those of ages"),
    (lambda r: other_sums(r, yy=-2.0), "sums of the representation: negative sums of squares"),
    (negative, "sums of the representation: negative sums of squares"),
    (impossible, "sums of the representation: products that no participants have"),
    (wider, "sums of the representation: 9 dimensions, expected 8"),
    (longer, "sums of the embedding: not those of unit embeddings"),
    (lambda r: replace(r, participants=500), "claims 500 participants, introduced 18"),
    (lambda r: replace(r, round=1), "answers round 1"),
    (lambda r: replace(r, site="north"), "answers as site north"),
    (lambda r: replace(r, sums={"embedding": r.sums["embedding"]}), "sums of embedding, expected"),
    (lambda r: replace(r, seconds=np.inf), "its seconds are not finite"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "reason"), SPOILT_SUMS)
def test_sums_that_cannot_be_are_named_and_left_out(tree, spoil, reason):
    config = config_of(tree)
    federate(config, spoiling(EvaluationSums, spoil))
    (last,) = measured(config)
    assert reason in last.sites["south"].rejected
    assert last.sites["south"].participants == 0
    assert last.sites["north"].rejected is None
    assert last.measures["representation"].participants["train"] == 37


ALL, FEMALE = ParticipantGroup("internal", "all", ""), ParticipantGroup("internal", "sex", "female")


def other_cell(release, cell, **changes):
    errors = {
        kind: replace(one, cells={**one.cells, cell: replace(one.cells[ALL], **changes)})
        for kind, one in release.errors.items()
    }
    return replace(release, errors=errors)


def other_recognised(release, recognised):
    errors = {k: replace(one, recognised=recognised) for k, one in release.errors.items()}
    return replace(release, errors=errors)


def alone(release):
    cells = {FEMALE: ErrorSums(5, 5.0, 5.0, 5.0)}
    return replace(release, errors={k: SiteErrors(cells, None) for k in release.errors})


SPOILT_ERRORS = [
    (lambda r: other_cell(r, ALL, count=2), "internal/all: 2 participants, 4 at least"),
    (lambda r: other_cell(r, ALL, absolute=np.nan), "internal/all: sums that no errors have"),
    (lambda r: other_cell(r, ALL, signed=1e6), "internal/all: sums that no errors have"),
    (lambda r: other_cell(r, ALL, squared=1e-3), "internal/all: sums that no errors have"),
    (lambda r: other_cell(r, ALL, squared=1e9), "internal/all: sums that no errors have"),
    (lambda r: other_cell(r, FEMALE, count=99, squared=1e3), "internal/sex: more participants"),
    (lambda r: other_recognised(r, RecognisedCount(10, 11)), "11 of 10 recognised, 11 tested"),
    (lambda r: other_recognised(r, RecognisedCount(99, 3)), "3 of 99 recognised, 11 tested"),
    (lambda r: other_recognised(r, None), "of the internal test do not fit"),
    (alone, "internal/sex/female: without everybody's"),
    (lambda r: replace(r, errors={"embedding": r.errors["embedding"]}), "errors of embedding"),
    (lambda r: replace(r, round=7), "answers round 7"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "reason"), SPOILT_ERRORS)
def test_errors_that_cannot_be_are_named_and_left_out(tree, spoil, reason):
    config = config_of(tree)
    federate(config, spoiling(EvaluationErrors, spoil))
    (last,) = measured(config)
    assert reason in last.sites["south"].rejected
    assert last.measures["representation"].participants == {
        "train": 55,
        "internal": 23,
        "external": 4,
    }


def test_without_quorum_the_evaluation_stops_the_run_says_why_and_can_be_repeated(tree):
    config = config_of(with_values(tree, federation__quorum=1.0))
    with pytest.raises(
        RoundError, match=r"evaluation after round 2: 2 valid answers from 3 sites, 3 needed.*south"
    ):
        federate(config, spoiling(EvaluationSums, negative))
    assert RunFolder(config.output.path).load().round == 2
    simulate_federation(config, sites=SITES, resume=True)
    assert measured(config)[0].round == 2


# --- combinations ----------------------------------------------------------------------------


@pytest.mark.parametrize("private", [private_tree, site_private_tree])
def test_with_privacy_it_is_refused(tmp_path, private):
    write_table(tmp_path / "data")
    with pytest.raises(ConfigError, match=r"from_sums.*without noise.*epsilon"):
        config_of(evaluated(private(tmp_path)))


def test_with_secure_sums_it_is_refused(tmp_path):
    write_table(tmp_path / "data")
    with pytest.raises(ConfigError, match=r"from_sums.*every site's own mean.*secure_sum"):
        config_of(evaluated(secure_tree(tmp_path)))


@pytest.mark.parametrize(
    "wrong", [{"min_cell": 1}, {"features": []}, {"features": ["embedding", "embedding"]}]
)
def test_settings_that_say_too_much_or_nothing_are_refused(tmp_path, wrong):
    write_table(tmp_path / "data")
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        config_of(evaluated(table_tree(tmp_path), **wrong))
