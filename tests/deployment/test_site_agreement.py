"""What a site agreed to, and what it never does: approvals, limits, the stop file."""

import stat
from pathlib import Path

import numpy as np
import pytest
import yaml
from flwr.supercore.fab import Fab
from flwr.supernode.start_client_internal import _verify_fab

from fedcl.config.loading import resolved_text
from fedcl.config.site import Limits, PrivacyFloor
from fedcl.deployment.approval import Approvals
from fedcl.deployment.limits import releases_of, require_within
from fedcl.errors import ConfigError, LimitError
from fedcl.messages.releases import Introduction, Refusal, Update
from fedcl.secure_sum.protocol import MaskedInput
from fedcl.sites.agreement import (
    agreed_config,
    begin_round,
    require_enough,
    require_open,
    require_releasable,
    with_site_settings,
)
from fedcl.sites.site import open_home
from tests.builders import (
    MOMENTS,
    PRIVATE_MOMENTS,
    central_private_tree,
    config_of,
    private_tree,
    secure_tree,
    table_tree,
    with_values,
)
from tests.deployment.homes import home_at

ALL = ("feature_sums", "moments", "private_moments", "gradients", "updates", "secure_sums")


@pytest.fixture
def approvals(tmp_path):
    return Approvals(tmp_path / "approved")


def trusted(approvals: Approvals, bundle: bytes, verifications: dict[str, str]) -> bool:
    """Ask Flower's node whether it would run a bundle."""
    signers = yaml.safe_load(approvals.write_trusted().read_text())
    return _verify_fab(Fab("", bundle, verifications), signers)


def test_flowers_node_trusts_what_the_site_vouches_for_byte_for_byte(approvals):
    vouched = approvals.vouch(b"a bundle")
    assert trusted(approvals, b"a bundle", vouched)
    assert not trusted(approvals, b"a bundle.", vouched)
    assert not trusted(approvals, b"a bundle", {})


def test_another_sites_word_counts_for_nothing(approvals, tmp_path):
    assert not trusted(approvals, b"a bundle", Approvals(tmp_path / "other").vouch(b"a bundle"))


def test_the_key_that_vouches_stays_the_same_and_is_the_sites_alone(approvals):
    first = approvals.write_trusted().read_text()
    assert Approvals(approvals.folder).write_trusted().read_text() == first
    assert stat.S_IMODE((approvals.folder / "approval.key").stat().st_mode) == 0o600


def test_a_bundle_is_approved_until_its_file_is_deleted_or_altered(approvals):
    assert not approvals.has_bundle(b"a bundle")
    file = approvals.approve_bundle(b"a bundle")
    assert approvals.has_bundle(b"a bundle")
    assert not approvals.has_bundle(b"another")
    assert approvals.bundles() == (file,)
    assert stat.S_IMODE(file.stat().st_mode) == 0o444
    file.chmod(0o644)
    file.write_bytes(b"altered")
    assert not approvals.has_bundle(b"a bundle")
    assert not approvals.has_bundle(b"altered")
    file.unlink()
    assert not approvals.has_bundle(b"a bundle")


def test_an_experiment_is_approved_word_for_word(approvals):
    file = approvals.approve_experiment("name: ä\n")
    approvals.require_experiment("name: ä\n")
    with pytest.raises(ConfigError, match=r"is not approved here.*fedcl approve"):
        approvals.require_experiment("name: ä\n\n")
    file.unlink()
    with pytest.raises(ConfigError, match="is not approved here"):
        approvals.require_experiment("name: ä\n")


def test_what_an_experiment_asks_for_has_the_names_of_the_limits(tmp_path):
    table = table_tree(tmp_path)
    moments = with_values(table, objective__moments=MOMENTS)
    private = with_values(private_tree(tmp_path), objective__private_moments=PRIVATE_MOMENTS)
    central = central_private_tree(tmp_path)
    common = with_values(table, federation__rule={"kind": "common_steps"})
    later = {"kind": "common_steps", "local_rounds": 1}
    found = {
        "table": releases_of(config_of(table)),
        "moments": releases_of(config_of(moments)),
        "private": releases_of(config_of(private)),
        "central": releases_of(config_of(central)),
        "secure": releases_of(config_of(secure_tree(tmp_path))),
        "common": releases_of(config_of(common)),
        "common later": releases_of(config_of(with_values(common, federation__rule=later))),
    }
    assert found == {
        "table": ("feature_sums", "updates"),
        "moments": ("feature_sums", "moments", "updates"),
        "private": ("private_moments", "updates"),
        "central": ("gradients",),
        "secure": ("secure_sums",),
        "common": ("feature_sums", "step_gradients"),
        "common later": ("feature_sums", "updates", "step_gradients"),
    }


def limits(**changes) -> Limits:
    known = {
        "privacy": None,
        "min_participants": 3,
        "releases": ALL,
        "max_rounds": 2,
        "stop_file": "STOP",
    }
    return Limits(**{**known, **changes})


def test_what_is_within_the_limits_is_let_in(tmp_path):
    floor = PrivacyFloor(modes=("participant",), epsilon=50, delta=1e-5)
    require_within(config_of(table_tree(tmp_path)), limits())
    require_within(config_of(private_tree(tmp_path)), limits(privacy=floor))


@pytest.mark.parametrize(
    ("floor", "values", "match"),
    [
        ({}, {"privacy": {"mode": "none"}}, "modes: .* with participant, .* none"),
        ({"modes": ("site",)}, {}, "modes: .* with site, .* participant"),
        ({"epsilon": 49}, {}, "epsilon: .* at most 49, .* is 50"),
        ({"delta": 1e-6}, {}, "delta: .* 1e-06, .* 1e-05"),
        ({}, {"privacy__test_seed": 3}, "test_seed makes noise repeatable"),
    ],
)
def test_less_privacy_than_the_sites_is_refused(tmp_path, floor, values, match):
    known = {"modes": ("participant",), "epsilon": 50, "delta": 1e-5, **floor}
    config = config_of(with_values(private_tree(tmp_path), **values))
    with pytest.raises(LimitError, match=match):
        require_within(config, limits(privacy=PrivacyFloor(**known)))


def test_more_rounds_and_other_releases_than_the_sites_are_refused(tmp_path):
    config = config_of(table_tree(tmp_path))
    with pytest.raises(LimitError, match="max_rounds: this site answers 1, the experiment plans 2"):
        require_within(config, limits(max_rounds=1))
    with pytest.raises(LimitError, match="lets out updates, the experiment asks for feature_sums"):
        require_within(config, limits(releases=("updates",)))
    with pytest.raises(LimitError, match="lets out nothing"):
        require_within(config, limits(releases=()))


def test_gradients_of_fewer_participants_than_the_sites_least_are_refused(tmp_path):
    rule = {"kind": "common_steps", "least": 2}
    tree = with_values(table_tree(tmp_path), federation__rule=rule)
    allowed = limits(releases=(*ALL, "step_gradients"))
    with pytest.raises(LimitError, match=r"nothing of fewer than 3 participants, .* of 2"):
        require_within(config_of(tree), allowed)
    require_within(config_of(with_values(tree, federation__rule__least=3)), allowed)


@pytest.fixture
def home(tmp_path):
    return home_at(tmp_path)


@pytest.fixture
def text(tmp_path):
    return resolved_text(config_of(table_tree(tmp_path)))


def test_an_experiment_opens_at_a_site_once_it_is_approved(home, text):
    with pytest.raises(ConfigError, match="is not approved here"):
        open_home(text, home)
    Approvals(home.files.approved).approve_experiment(text)
    site = open_home(text, home)
    assert (site.label, site.participants) == ("north", 3)


def test_an_approved_experiment_is_held_to_limits_that_came_later(tmp_path, text):
    home = home_at(tmp_path, limits__max_rounds=1)
    Approvals(home.files.approved).approve_experiment(text)
    with pytest.raises(LimitError, match="max_rounds"):
        agreed_config(text, home)


def test_few_participants_open_nothing(tmp_path, text):
    home = home_at(tmp_path, limits__min_participants=4)
    Approvals(home.files.approved).approve_experiment(text)
    with pytest.raises(LimitError, match=r"3 training .* nothing of fewer than 4"):
        open_home(text, home)
    require_enough(4, home)


def test_a_stop_file_stops_everything_until_it_is_gone(home, text):
    Approvals(home.files.approved).approve_experiment(text)
    home.stop_file.touch()
    for blocked in (lambda: require_open(home), lambda: agreed_config(text, home)):
        with pytest.raises(LimitError, match="STOP: the site has stopped; delete this file"):
            blocked()
    home.stop_file.unlink()
    agreed_config(text, home)


def test_rounds_are_counted_on_the_disk_whatever_the_server_counts(home, text):
    Approvals(home.files.approved).approve_experiment(text)
    config = agreed_config(text, home)
    begin_round(config, home)
    begin_round(agreed_config(text, home), home)
    with pytest.raises(LimitError, match="has begun 2 rounds of tiny and answers 2"):
        begin_round(config, home)


def test_the_servers_paths_and_device_are_replaced_by_the_sites_own(home, tmp_path):
    tree = with_values(private_tree(tmp_path), output__path="/etc", compute__device="cuda")
    config = with_site_settings(config_of(tree), home, "f" * 64)
    own = home.files.path
    assert config.output.path == own / "memory" / "runs" / "tiny-ffffffffffff"
    assert config.data.path == own / "data"
    assert config.privacy.ledger == own / "memory" / "ledger"
    assert config.compute.device == "cpu"
    secure = with_site_settings(config_of(secure_tree(tmp_path)), home, "f" * 64).secure_sum
    assert (secure.identities, secure.keys) == (own / "identities.yaml", own / "identity")


def test_a_release_of_a_kind_that_the_site_keeps_is_refused(tmp_path):
    home = home_at(tmp_path, limits__releases=["moments"])
    for release in (
        Update("north", 1, 3, {}, {}, 1, 0.1),
        MaskedInput("north", 1, np.zeros(3, np.uint64)),
    ):
        with pytest.raises(LimitError, match="may not leave this site"):
            require_releasable(release, home)
    require_releasable(Introduction("north", 3, (6,), None), home)


def test_a_refusal_may_always_leave(tmp_path):
    home = home_at(tmp_path, limits__releases=[])
    require_releasable(Refusal("north", "the training failed"), home)


def test_a_site_is_a_folder_of_its_own_wherever_it_is_named_from(home, monkeypatch):
    monkeypatch.chdir(home.files.path)
    assert type(home).of(Path("site.yaml")) == home
