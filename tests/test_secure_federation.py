"""A federation whose server sees sums only: the same weights, and nothing of any one site."""

import json
import re
import stat
from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedcl.config.loading import fingerprint, resolved_text
from fedcl.data.open import open_experiment
from fedcl.errors import ConfigError, RoundError
from fedcl.experiment.simulation import InProcessGrid, simulate_federation
from fedcl.messages.orders import Instruction, SumInvitation
from fedcl.messages.releases import Introduction, Refusal, SumOffer, Update
from fedcl.messages.sum_questions import SumQuestion
from fedcl.messages.summed_arrays import moment_arrays, plan_of, update_arrays
from fedcl.models.network import build_network
from fedcl.models.travelling import read_state, travelling_names
from fedcl.run_folder.folder import RunFolder
from fedcl.secure_sum.identity import load_identity, make_identity, pin, read_identities
from fedcl.secure_sum.protocol import (
    AllKeys,
    MaskedInput,
    RevealedShares,
    SealedShares,
    Survivors,
    SurvivorSignature,
)
from fedcl.server.round_loop import run_rounds
from fedcl.sites.app import app as site_app
from fedcl.wire.orders import encode_instruction, encode_question
from fedcl.wire.records import payload_bytes
from fedcl.wire.releases import decode_release, encode_release
from tests.builders import (
    FAIRKL,
    MOMENTS,
    PROTOTYPES,
    config_of,
    private_tree,
    secure_tree,
    site_private_tree,
    table_tree,
    with_values,
    write_table,
)
from tests.secure_sum.game import altered
from tests.test_federation import SITES, another_folder, assert_identical, final_weights

pytestmark = pytest.mark.slow

FEDADAM = {"kind": "fedadam", "learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.99, "tau": 0.001}
EXCHANGES = [SumOffer, SealedShares, MaskedInput, SurvivorSignature, RevealedShares]
STALE = {**MOMENTS, "fresh": False}
REFRESHED = {**MOMENTS, "refresh_epochs": 1}


@pytest.fixture
def tree(tmp_path):
    write_table(tmp_path / "data")
    return secure_tree(tmp_path)


def in_the_clear(tree):
    return another_folder(with_values(tree, secure_sum=None), "-clear")


def with_moments(tree, moments):
    kernel = {"kind": "gaussian", "covariates": ["age"], "bandwidths": [15]}
    return with_values(
        tree, objective__debias=[FAIRKL], objective__kernel=kernel, objective__moments=moments
    )


def assert_close(found, expected, config, *, steps=1.0):
    """Equal but for the grid (n sites, half a step each, over at least one participant) and one
    float32 rounding, times `steps`."""
    assert found.keys() == expected.keys()
    grid = config.secure_sum.grid.rounding_error(3)
    for name, array in expected.items():
        allowed = steps * (grid + np.spacing(np.abs(array)))
        assert (np.abs(found[name].astype(np.float64) - array) <= allowed).all(), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"federation__weighting": "uniform"},
        {"federation__weighting": "sqrt"},
        {"federation__rule": {"kind": "fedprox", "mu": 0.1}},
        {"federation__rule": {"kind": "fedavgm", "learning_rate": 1.0, "momentum": 0.5}},
        {"federation__rule": FEDADAM},
        {"federation__rule": {"kind": "fedbn"}, "encoder__norm": "batch"},
        {"secure_sum__word_bits": 32, "secure_sum__fraction_bits": 16},
    ],
    ids=lambda changes: " ".join(str(value) for value in changes.values())[:20] or "fedavg",
)
def test_a_round_of_sums_gives_the_weights_of_a_round_in_the_clear(tree, changes):
    tree = with_values(tree, **changes, federation__rounds=1)
    if "secure_sum__word_bits" in changes:
        tree["secure_sum"]["largest"] = 2000.0
    secret, clear = config_of(tree), config_of(in_the_clear(tree))
    for config in (secret, clear):
        simulate_federation(config, sites=SITES, resume=False)
    # The first step of FedAdam moves at most eta (1 - beta_1) / tau = 1 times what the mean does.
    assert_close(final_weights(secret), final_weights(clear), secret, steps=2)
    (record,) = RunFolder(secret.output.path).read_log()
    (other,) = RunFolder(clear.output.path).read_log()
    precision = 2.0 ** -tree["secure_sum"]["fraction_bits"]
    assert record.loss == pytest.approx(other.loss, abs=precision)


@pytest.mark.slow
@pytest.mark.parametrize("moments", [MOMENTS, STALE, REFRESHED], ids=["fresh", "stale", "midway"])
def test_moments_are_summed_too_and_training_goes_on_as_in_the_clear(tree, moments):
    tree = with_values(with_moments(tree, moments), federation__rounds=3)
    secret, clear = config_of(tree), config_of(in_the_clear(tree))
    for config in (secret, clear):
        simulate_federation(config, sites=SITES, resume=False)
    for name, array in final_weights(clear).items():
        np.testing.assert_allclose(final_weights(secret)[name], array, rtol=1e-3, atol=1e-4)
    logs = [RunFolder(config.output.path).read_log() for config in (secret, clear)]
    for record, other in zip(*logs, strict=True):
        assert record.moments_bytes > other.moments_bytes  # eight bytes instead of four
        assert record.loss == pytest.approx(other.loss, abs=1e-3)
        of_sites = [entry.counts for entry in other.sites.values()]
        for term, count in record.counts.items():
            assert count == sum(counts[term] for counts in of_sites)


@pytest.mark.process
def test_two_worker_processes_and_a_resumed_run_give_the_same_bits(tree):
    """Slow (about 6 s): worker processes start. Masks differ each time, and cancel exactly."""
    tree = with_moments(tree, MOMENTS)
    whole = config_of(tree)
    simulate_federation(whole, sites=SITES, resume=False)
    two = config_of(another_folder(with_values(tree, compute__workers=2), "-two"))
    simulate_federation(two, sites=SITES, resume=False)
    assert_identical(final_weights(whole), final_weights(two))
    for rounds in (1, 2):
        part = config_of(another_folder(with_values(tree, federation__rounds=rounds), "-parts"))
        simulate_federation(part, sites=SITES, resume=True)
    assert_identical(final_weights(whole), final_weights(part))


@pytest.mark.slow
def test_private_updates_are_summed_without_a_loss(tmp_path):
    write_table(tmp_path / "data")
    tree = secure_tree(tmp_path)
    tree["privacy"] = private_tree(tmp_path)["privacy"]
    tree["objective"]["prototypes"] = PROTOTYPES
    config = config_of(tree)
    simulate_federation(config, sites=SITES, resume=False)
    for record in RunFolder(config.output.path).read_log():
        assert record.loss is None
        assert all(entry.rejected is None for entry in record.sites.values())


# --- what the server is told ------------------------------------------------------------------


def through(change):
    """The real ClientApp; `change(release, message)` may replace what leaves a site."""
    app = ClientApp()

    def handle(message, context):
        reply = site_app(message, context)
        release = decode_release(reply.content)
        changed = change(release, message)
        if changed is release:
            return reply
        return Message(encode_release(changed), reply_to=message)

    for kind in ("introduce", "moments", "sum"):
        app.query(kind)(handle)
    app.train()(handle)
    app.train("gradient")(handle)
    return app


def federation(config, change, *, grid=InProcessGrid):
    folder = RunFolder(config.output.path)
    folder.resume(config)
    run_rounds(grid(SITES, client_app=through(change)), config, folder)
    return folder.read_log()


def test_no_release_holds_a_sites_own_vector(tree, monkeypatch):
    config = config_of(with_values(with_moments(tree, STALE), federation__rounds=1))
    vectors, left = {}, []

    def seen(update, weighting):
        vectors[update.site] = update_arrays(update, weighting)
        return vectors[update.site]

    monkeypatch.setattr("fedcl.messages.summed_arrays.update_arrays", seen)
    federation(config, lambda release, _: left.append(release) or release)
    assert {type(release) for release in left} == {Introduction, *EXCHANGES}
    masked = {release.site: release.words for release in left if isinstance(release, MaskedInput)}
    assert masked.keys() == vectors.keys() == {"north", "south", "12"}
    for site, words in masked.items():
        own = config.secure_sum.grid.encode(vectors[site])
        assert own.any()
        # Random words of 64 bits fall on the right ones once in 2^64.
        assert not (words == own).any()
        # They are uniform: their mean is half the range, within five standard errors.
        allowed = 5 * np.sqrt(1 / 12 / len(words))
        assert abs(words.astype(np.float64).mean() / 2.0**64 - 0.5) < allowed
    for release in left:
        arrays = [value for value in vars(release).values() if isinstance(value, np.ndarray)]
        assert all(array.dtype == np.uint64 for array in arrays)
        assert getattr(release, "feature_sums", None) is None


def test_receipts_tell_the_exchanges_and_nothing_is_kept_when_the_sum_is_over(tree):
    config = config_of(with_values(with_moments(tree, MOMENTS), federation__rounds=1))
    simulate_federation(config, sites=SITES, resume=False)
    folder = RunFolder(config.output.path).site_path("south")
    lines = [json.loads(line) for line in (folder / "receipts.jsonl").read_text().splitlines()]
    exchanges = [
        "sum offer",
        "sealed shares",
        "masked input",
        "survivor signature",
        "revealed shares",
    ]
    assert [line["kind"] for line in lines] == ["introduction", *exchanges, *exchanges]
    words = sum(array.size for array in final_weights(config).values())
    terms = RunFolder(config.output.path).read_log()[0].terms
    (array,) = lines[8]["arrays"]
    assert array["bytes"] == 8 * (words + 3 * len(terms))
    assert array["norm"] is None
    assert [line["masked"] for line in lines[6:]] == [False, False, True, False, False]
    assert len({line["attempt"] for line in lines[1:6]}) == 1
    assert len({line["attempt"] for line in lines}) == 3  # the introduction is part of none
    assert all(0 < line["bytes"] < 1000 for line in lines[4:8] if line["kind"] != "masked input")
    assert sorted(path.name for path in (folder / "sums").iterdir()) == [".lock", "attempts.txt"]


def test_bytes_of_all_exchanges_are_counted(tree):
    config = config_of(with_values(tree, federation__rounds=1))
    left, sent = [], []

    def count(release, message):
        if not isinstance(release, Introduction | Refusal):
            left.append(release)
            sent.append(message)
        return release

    (record,) = federation(config, count)
    assert record.bytes == sum(payload_bytes(encode_release(release)) for release in left)
    assert record.bytes == sum(entry.bytes for entry in record.sites.values())
    assert record.sent_bytes == sum(payload_bytes(message.content) for message in sent)
    assert len(left) == 5 * 3


# --- sites that go ----------------------------------------------------------------------------


def failing(site, *kinds):
    """A site that refuses to give answers of some kinds."""

    def change(release, _):
        if isinstance(release, kinds) and release.site == site:
            return Refusal(site, "the training failed")
        return release

    return change


def without(tree, site, name="-without"):
    """The weights of a plain round that one site takes no part in; None: of all."""
    config = config_of(another_folder(with_values(tree, secure_sum=None), name))
    federation(config, failing(site, Update))
    return final_weights(config)


@pytest.mark.parametrize("number", range(1, 6))
def test_a_site_that_drops_out_at_any_exchange_leaves_the_sum_of_the_others(tree, number):
    tree = with_values(tree, federation__rounds=1)
    config = config_of(tree)
    (record,) = federation(config, failing("south", EXCHANGES[number - 1]))
    entry = record.sites["south"]
    inside = number > 3  # its masked input is in
    assert (entry.rejected is None) == inside
    assert (entry.left if inside else entry.rejected) == "the training failed"
    assert entry.participants == (6 if inside else 0)
    expected = without(tree, None if inside else "south")
    assert_close(final_weights(config), expected, config)
    others = [record.sites[site] for site in ("north", "12")]
    assert all(other.rejected is None and other.left is None for other in others)


class Deaf(InProcessGrid):
    """A network on which one site's masked input is never heard."""

    def pull_messages(self, message_ids):
        for reply in super().pull_messages(message_ids):
            said = decode_release(reply.content)
            if not (isinstance(said, MaskedInput) and said.site == "south"):
                yield reply


@pytest.mark.slow
def test_a_silent_site_is_given_up(tree):
    tree = with_values(tree, federation__rounds=1, federation__answer_timeout_s=0.3)
    config = config_of(tree)
    (record,) = federation(config, lambda release, _: release, grid=Deaf)
    assert record.sites["south"].rejected == "no answer in time"
    assert_close(final_weights(config), without(tree, "south"), config)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, 6))
def test_too_few_sites_end_with_a_message_and_the_run_goes_on_with_more(tree, number):
    config = config_of(with_values(tree, secure_sum__threshold=1.0))
    kind = EXCHANGES[number - 1]

    def second_round(release, message):
        if isinstance(release, kind) and release.round == 2 and release.site == "south":
            return Refusal("south", "the training failed")
        return release

    with pytest.raises(RoundError) as caught:
        federation(config, second_round)
    words = str(caught.value)
    assert "round 2, secure sum (update): round 2: 2 of 3 sites" in words
    assert "the threshold is 3" in words
    assert "can be resumed" in words
    if number <= 3:
        assert "the training failed: site south." in words
    assert RunFolder(config.output.path).load().round == 1
    simulate_federation(config, sites=SITES, resume=True)
    clear = config_of(in_the_clear(tree))
    simulate_federation(clear, sites=SITES, resume=False)
    for name, array in final_weights(clear).items():
        np.testing.assert_allclose(final_weights(config)[name], array, rtol=1e-3, atol=1e-4)


def test_a_site_that_fails_at_its_moments_is_left_out_of_the_round(tree):
    config = config_of(with_values(with_moments(tree, MOMENTS), federation__rounds=1))
    asked = []

    def change(release, message):
        if isinstance(release, SealedShares) and release.site == "south":
            return Refusal("south", "the training failed")
        asked.append(release)
        return release

    (record,) = federation(config, change)
    assert record.sites["south"].rejected == "the training failed"
    assert record.sites["north"].rejected is None
    assert [type(r) for r in asked if getattr(r, "site", "") == "south"][1:] == [SumOffer]


# --- what is altered on the way ---------------------------------------------------------------


def altering(site, kind, /, **changes):
    """A site whose answers of one kind are altered, `changes` being functions of what was."""

    def change(release, _):
        if isinstance(release, kind) and release.site == site:
            return replace(release, **{k: f(getattr(release, k)) for k, f in changes.items()})
        return release

    return change


def first_altered(shares):
    """One bit of the first share."""
    name = next(iter(shares))
    return {**shares, name: altered(shares[name])}


@pytest.mark.parametrize(
    ("kind", "changes", "where", "why"),
    [
        (
            SumOffer,
            {"keys": lambda keys: replace(keys, mask_key=altered(keys.mask_key))},
            "rejected",
            "site south: its keys are not signed by its pinned identity",
        ),
        (SumOffer, {"shapes": lambda s: {**s, "terms/more": (3,)}}, "rejected", "other terms"),
        (SumOffer, {"shapes": lambda s: {**s, "weights/x": (3,)}}, "rejected", "weights/x: shape"),
        (SumOffer, {"participants": lambda n: n + 1}, "rejected", "claims 7 participants"),
        (SumOffer, {"round": lambda n: n + 1}, "rejected", "answers round 2"),
        (SealedShares, {"sealed": lambda _: {}}, "rejected", "did not seal one share"),
        (MaskedInput, {"words": lambda w: w[1:]}, "rejected", "the plan says"),
        (MaskedInput, {"words": lambda w: w.astype(float)}, "rejected", "may not leave|the plan"),
        (MaskedInput, {"site": lambda _: "north"}, "rejected", "answers as site north"),
        (SurvivorSignature, {"signature": altered}, "left", "these survivors are not signed"),
        (RevealedShares, {"self_masks": lambda _: {}}, "left", "one share per site"),
    ],
)
def test_what_a_site_sends_wrong_is_named_and_the_others_go_on(tree, kind, changes, where, why):
    tree = with_values(tree, federation__rounds=1)
    config = config_of(tree)
    (record,) = federation(config, altering("south", kind, **changes))
    assert re.search(why, getattr(record.sites["south"], where))
    assert_close(
        final_weights(config), without(tree, "south" if where == "rejected" else None), config
    )


def test_a_masked_input_altered_on_the_way_is_found_in_the_sum(tree):
    config = config_of(with_values(tree, federation__rounds=1))
    spoil = altering("south", MaskedInput, words=lambda words: words + np.uint64(2**62))
    with pytest.raises(RoundError, match="exceeds what 3 sites can reach"):
        federation(config, spoil)


def test_a_revealed_share_altered_on_the_way_opens_nothing(tree):
    config = config_of(with_values(tree, federation__rounds=1))
    with pytest.raises(RoundError, match=r"self mask of .*|shares"):
        federation(config, altering("12", RevealedShares, self_masks=first_altered))


def test_a_share_altered_by_the_server_is_named_in_the_receivers_log(tree):
    """The site that finds it sends no masked input, and the sum is that of the others."""
    tree = with_values(tree, federation__rounds=1)
    config = config_of(tree)
    spoil = altering("12", SealedShares, sealed=lambda s: {**s, "south": altered(s["south"])})
    (record,) = federation(config, spoil)
    assert record.sites["south"].rejected.startswith("it does not go on with the secure sum")
    log = RunFolder(config.output.path).site_path("south") / "failures.log"
    assert "12" in log.read_text().splitlines()[-1]
    assert_close(final_weights(config), without(tree, "south"), config)


def test_a_value_that_does_not_fit_the_grid_keeps_its_site_out(tree, monkeypatch):
    tree = with_values(tree, federation__rounds=1)

    def spoiled(update, weighting):
        arrays = update_arrays(update, weighting)
        if update.site == "south":
            arrays = {name: array * np.nan for name, array in arrays.items()}
        return arrays

    monkeypatch.setattr("fedcl.messages.summed_arrays.update_arrays", spoiled)
    config = config_of(tree)
    (record,) = federation(config, lambda release, _: release)
    assert record.sites["south"].rejected.startswith("it does not go on")
    log = RunFolder(config.output.path).site_path("south") / "failures.log"
    assert "NaN or infinite" in log.read_text()
    assert_close(final_weights(config), without(tree, "south"), config)


def test_moments_that_cannot_be_are_found_in_the_sum(tree, monkeypatch):
    def spoiled(sums):
        return {name: 50 * array for name, array in moment_arrays(sums).items()}

    monkeypatch.setattr("fedcl.messages.summed_arrays.moment_arrays", spoiled)
    config = config_of(with_values(with_moments(tree, MOMENTS), federation__rounds=1))
    with pytest.raises(RoundError, match="the sum over sites 12, north, south holds moments"):
        federation(config, lambda release, _: release)


# --- a server that does not follow the protocol -----------------------------------------------


class Site:
    """A site asked message by message, as a server of one's own would."""

    def __init__(self, config, label="south", **node):
        self.config, self.label, self.node = config, label, node
        self.text = resolved_text(config)
        self.order = Instruction(1, self.text, first_weights(config))

    def ask(self, record, kind):
        numbers = {site: n for n, site in enumerate(open_experiment(self.config).sites)}
        node = {"partition-id": numbers[self.label], **self.node}
        context = Context(1, 2, node, RecordDict(), {})
        message = Message(record, 2, kind, group_id="1")
        return decode_release(site_app(message, context).content)

    def train(self, invitation):
        return self.ask(encode_instruction(replace(self.order, invitation=invitation)), "train")

    def go_on(self, attempt, relayed):
        return self.ask(encode_question(SumQuestion(1, self.text, attempt, relayed)), "query.sum")

    def log(self):
        return RunFolder(self.config.output.path).site_path(self.label) / "failures.log"


def first_weights(config):
    network = build_network(config, (6,), seed=config.seed)
    return read_state(network, travelling_names(network, config.federation))


ALL = ("12", "north", "south")


@pytest.mark.parametrize(
    ("invitation", "why"),
    [
        (None, "asks in the clear"),
        (SumInvitation("abc", ("12", "north")), "without naming it"),
        (SumInvitation("abc", ("south",)), "the threshold is 2"),
        (SumInvitation("../x", ALL), "names no secure sum"),
        (SumInvitation("", ALL), "names no secure sum"),
        (SumInvitation("abc", (*ALL, "stranger")), "no identity key is pinned for site stranger"),
    ],
)
def test_a_site_refuses_an_invitation_before_it_trains(tree, invitation, why, monkeypatch):
    def never(*_args, **_kwargs):
        raise AssertionError("it trained")

    monkeypatch.setattr("fedcl.sites.training.local_round", never)
    site = Site(config_of(tree))
    assert isinstance(site.train(invitation), Refusal)
    assert why in site.log().read_text()


@pytest.mark.slow
def test_a_sums_name_is_used_once_and_each_answer_is_given_once(tree):
    config = config_of(tree)
    sites = {label: Site(config, label) for label in ALL}
    offers = {label: site.train(SumInvitation("abc", ALL)) for label, site in sites.items()}
    south = sites["south"]
    everybody = AllKeys(1, tuple(offers[label].keys for label in ALL))
    assert isinstance(south.go_on("other", everybody), Refusal)
    assert "the site is in another" in south.log().read_text()
    assert isinstance(south.go_on("abc", everybody), SealedShares)
    assert isinstance(south.go_on("abc", everybody), Refusal)
    assert "was already asked for" in south.log().read_text()
    # After that error it is out of the sum, and enters none of that name again.
    assert isinstance(south.go_on("abc", Survivors(1, ALL)), Refusal)
    assert "its part of it is over" in south.log().read_text()
    assert isinstance(south.train(SumInvitation("abc", ALL)), Refusal)
    assert "was entered before" in south.log().read_text()
    assert isinstance(south.train(SumInvitation("abd", ALL)), SumOffer)


def test_a_site_finds_keys_that_the_server_made_up(tree):
    config = config_of(tree)
    sites = {label: Site(config, label) for label in ALL}
    keys = [sites[label].train(SumInvitation("abc", ALL)).keys for label in ALL]
    forged = [replace(keys[0], mask_key=keys[1].mask_key), *keys[1:]]
    assert isinstance(sites["south"].go_on("abc", AllKeys(1, tuple(forged))), Refusal)
    assert "site 12: its keys are not signed" in sites["south"].log().read_text()


def test_a_site_told_another_configuration_midway_goes_no_further(tree):
    """The plan is bound to the configuration: a lower threshold is another plan."""
    config = config_of(tree)
    sites = {label: Site(config, label) for label in ALL}
    keys = tuple(sites[label].train(SumInvitation("abc", ALL)).keys for label in ALL)
    south = sites["south"]
    south.text = resolved_text(config_of(with_values(tree, secure_sum__largest=9_999.0)))
    assert isinstance(south.go_on("abc", AllKeys(1, keys)), Refusal)
    assert "is of another secure sum" in south.log().read_text()


def test_a_site_that_agreed_to_sums_trains_under_no_other_configuration(tree):
    """Otherwise a server could ask for the same work in the clear."""
    config = config_of(tree)
    agreed = {"config-sha256": fingerprint(resolved_text(config))}
    assert isinstance(Site(config, **agreed).train(SumInvitation("abc", ALL)), SumOffer)
    clear = config_of(with_values(tree, secure_sum=None))
    refusal = Site(clear, **agreed).train(None)
    assert refusal == Refusal(
        "number 3", "the configuration cannot be used at this site, or is not approved there"
    )
    assert isinstance(Site(clear).train(None), Update)


def test_secrets_of_a_sum_under_way_are_the_owners_alone(tree):
    config = config_of(tree)
    Site(config).train(SumInvitation("abc", ALL))
    files = list((RunFolder(config.output.path).site_path("south") / "sums" / "open").iterdir())
    assert {file.name for file in files} == {"kept", "words", "entered.json"}
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)


# --- thresholds and identities ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("sites", "share", "least", "threshold"),
    [(10, 0.7, 2, 7), (10, 0.51, 2, 6), (3, 1.0, 2, 3), (3, 0.51, 2, 2), (9, 0.6, 7, 7)],
)
def test_the_threshold_is_a_share_rounded_up_and_never_below_a_round(
    tree, sites, share, least, threshold
):
    config = config_of(with_values(tree, secure_sum__threshold=share, federation__min_sites=least))
    names = [f"site {number}" for number in range(sites)]
    plan = plan_of(
        config, names, agreed="f", round_number=1, attempt="a", purpose="update", length=3
    )
    assert plan.threshold == threshold


def test_a_site_without_its_key_does_not_join(tree, tmp_path):
    (tmp_path / "keys" / "south.key").unlink()
    config = config_of(with_values(tree, federation__min_sites=3, federation__answer_timeout_s=0.1))
    with pytest.raises(RoundError, match=r"2 sites can train.*configuration cannot be used"):
        simulate_federation(config, sites=SITES, resume=False)
    log = RunFolder(config.output.path).site_path("south") / "failures.log"
    assert "site south has no identity key; make one with `fedcl keys" in log.read_text()


def test_an_identity_is_made_once_and_read_by_its_owner_alone(tmp_path):
    folder, label = tmp_path / "keys", "../zürich 3"
    public, new = make_identity(folder, label)
    assert new
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    assert make_identity(folder, label) == (public, False)
    assert file.read_bytes() == before
    assert load_identity(folder, label).public_key().public_bytes_raw() == public
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_identity(folder, label)
    file.chmod(0o600)
    file.write_text("none")
    with pytest.raises(ConfigError, match="not a private key"):
        load_identity(folder, label)


def test_a_pinned_identity_is_never_replaced(tmp_path):
    file = tmp_path / "identities.yaml"
    pin(file, "12", b"\x12" * 32)
    pin(file, "no", b"\xa0" * 32)
    pin(file, "12", b"\x12" * 32)
    assert read_identities(file) == {"12": b"\x12" * 32, "no": b"\xa0" * 32}
    with pytest.raises(ConfigError, match="another key is pinned for site 12"):
        pin(file, "12", b"\x13" * 32)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "cannot read the sites' identities"),
        ("[a, b]", "expected lines"),
        ("a: nothex", "expected lines"),
        ("a: [1]", "expected lines"),
        ("a: 'abcd'", "site a: a public key is 64 hexadecimals"),
    ],
)
def test_identities_that_cannot_be_read_are_a_message(tmp_path, text, why):
    file = tmp_path / "identities.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=why):
        read_identities(file)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"federation__rule": {"kind": "median"}}, "federation.rule: median needs each site's"),
        (
            {"federation__rule": {"kind": "trimmed_mean", "fraction": 0.2}},
            "federation.rule: trimmed_mean needs",
        ),
        ({"federation__rule": {"kind": "cyclic"}}, "federation.rule: cyclic needs"),
        ({"objective__moments": {**MOMENTS, "components": "sites"}}, "components: sites tells"),
        ({"encoder__public_scale": None}, "encoder.public_scale: a table is standardised"),
        ({"secure_sum__threshold": 0.5}, "threshold: Input should be greater than 0.5"),
        ({"secure_sum__fraction_bits": 64}, "fraction_bits is 64: use 0 to 63"),
        ({"secure_sum__largest": 1e30}, "a word has 64"),
        ({"secure_sum__treshold": 0.6}, "treshold: unknown key; did you mean 'threshold'"),
    ],
)
def test_what_sums_cannot_do_is_refused(tree, changes, why):
    with pytest.raises(ConfigError, match=why):
        config_of(with_values(tree, **changes))


def test_privacy_of_whole_sites_needs_updates_in_the_clear(tmp_path):
    tree = secure_tree(tmp_path)
    tree["federation"]["weighting"] = "uniform"
    tree["privacy"] = site_private_tree(tmp_path)["privacy"]
    with pytest.raises(ConfigError, match="clips each site's change of the weights at the server"):
        config_of(tree)


def test_an_experiment_without_the_section_sums_nothing(tmp_path):
    assert config_of(table_tree(tmp_path)).secure_sum is None
