"""At a site: an invitation is used as it was signed, the key is the site's own and stays there."""

import stat
from argparse import Namespace
from datetime import timedelta
from typing import get_args

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.cli.supernode.register import try_load_public_key
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.cli.flower_supernode import _try_setup_client_authentication
from hypothesis import given
from hypothesis import strategies as st

from fedcl.config.site import Releasable, load_site
from fedcl.errors import ConfigError
from fedcl.kit.fingerprint import key_fingerprint
from fedcl.kit.folders import SiteFolder
from fedcl.kit.invitation import Invitation, read_invitation
from fedcl.kit.joining import prepare_request
from fedcl.kit.opening import invite
from fedcl.kit.request import read_request
from fedcl.kit.site_template import site_template
from tests.kit.opened import (
    DAY,
    NOW,
    SITES,
    approved,
    opened,
    requested,
    rewritten,
    write_federation,
)


@pytest.fixture
def server(tmp_path):
    return opened(tmp_path)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_flower_loads_both_halves_of_a_sites_key(server):
    site = requested(server, "north")
    private, public = _try_setup_client_authentication(
        Namespace(auth_supernode_private_key=str(site.key), auth_supernode_public_key=None)
    )
    assert isinstance(private.curve, ec.SECP384R1)
    assert try_load_public_key(site.public_key) == public_key_to_bytes(public)


def test_secrets_are_their_owners_alone(server):
    site = requested(server, "north")
    for path in (site.key, site.invitation, server.key, server.authority_key, server.secret):
        assert mode(path) == 0o600
    assert mode(server.registry) == 0o600
    assert mode(server.invitation("12")) == 0o600
    assert mode(server.path) == mode(site.path) == 0o700


def test_no_byte_of_a_private_key_leaves_the_site(server):
    site = requested(server, "north")
    number = load_ssh_private_key(site.key.read_bytes(), None).private_numbers().private_value
    lines = [line for line in site.key.read_text().splitlines() if not line.startswith("-")]
    for leaving in (site.request, site.public_key, site.invitation, server.invitation("north")):
        text = leaving.read_text()
        assert "PRIVATE" not in text
        assert f"{number:x}" not in text
        # The first lines of a key in OpenSSH format hold its public half.
        assert not any(line in text for line in lines[4:])


def test_the_request_holds_no_code(server):
    code = read_invitation(server.invitation("north")).code
    assert code not in requested(server, "north").request.read_text()


def test_invitations_have_a_code_each_and_keep_it_from_the_registry(server):
    codes = [read_invitation(server.invitation(site)).code for site in SITES]
    assert len(set(codes)) == 3
    assert not any(code in server.registry.read_text() for code in codes)


def test_the_template_is_a_sites_settings(server, tmp_path):
    site = requested(server, "St. Anne / Köln")
    settings = load_site(site.settings)
    assert settings.site == "St. Anne / Köln"
    assert settings.server == "fl.hospital.example:8443"
    assert settings.data.path == site.path.absolute() / "data"
    limits = settings.limits
    assert (limits.privacy, limits.min_participants, limits.max_rounds) == (None, 10, 200)
    # Gradients of a few participants without noise are a hospital's own decision.
    assert set(get_args(Releasable)) - set(limits.releases) == {"step_gradients"}
    assert limits.stop_file == "STOP"


@pytest.mark.parametrize("kind", ["table", "openbhb"])
def test_the_templates_other_data_are_settings_too(server, tmp_path, kind):
    """What is commented out is put in place of what is not."""
    lines = site_template(read_invitation(server.invitation("12"))).splitlines()
    start = next(i for i, line in enumerate(lines) if line == "data:")
    end = next(i for i, line in enumerate(lines) if line.startswith("# Or a table"))
    rest = [line for line in lines[end:] if not line.startswith("# Or")]
    table = next(i for i, line in enumerate(rest) if line == "# data:")
    one_line = next(i for i, line in enumerate(rest) if line.startswith("# data: {"))
    chosen = rest[table:one_line] if kind == "table" else [rest[one_line]]
    file = tmp_path / "site.yaml"
    file.write_text("\n".join(lines[:start] + [line[2:] for line in chosen] + rest[one_line + 1 :]))
    settings = load_site(file)
    assert settings.data.kind == kind
    assert settings.site == "12"


def test_the_templates_privacy_floor_is_one(server, tmp_path):
    text = site_template(read_invitation(server.invitation("12")))
    file = tmp_path / "site.yaml"
    file.write_text(text.replace("  privacy: null\n", "").replace("# privacy: {", "privacy: {"))
    assert load_site(file).limits.privacy.epsilon == 8


def test_the_same_invitation_again_keeps_key_and_settings(server):
    site = requested(server, "north")
    key, first = site.key.read_bytes(), read_request(site.request)
    site.settings.write_text(site.settings.read_text().replace("path: data", "path: /mine"))
    settings = site.settings.read_text()
    later = prepare_request(server.invitation("north"), site.path, NOW + DAY)
    assert site.key.read_bytes() == key
    assert site.settings.read_text() == settings
    assert later.former_key is None
    assert later.request.time == NOW + DAY
    assert later.request.public_key == first.public_key
    assert read_request(site.request) == later.request


def test_another_invitation_makes_another_key_and_keeps_the_one_before(server):
    site = approved(server, "north")
    before = site.key.read_bytes()
    invite(server.path, "north", NOW + DAY)
    made = prepare_request(server.invitation("north"), site.path, NOW + DAY)
    assert made.former_key.read_bytes() == before
    assert mode(made.former_key) == 0o600
    assert site.key.read_bytes() != before
    key = load_ssh_private_key(site.key.read_bytes(), None).public_key()
    assert key_fingerprint(key) == made.request.fingerprint


def test_an_older_invitation_does_not_take_the_key_away(server, tmp_path):
    older = tmp_path / "older.yaml"
    older.write_bytes(server.invitation("north").read_bytes())
    invite(server.path, "north", NOW + DAY)
    site = approved(server, "north", NOW + DAY)
    key = site.key.read_bytes()
    refused(older, site.path, "has a later invitation", NOW + 2 * DAY)
    assert site.key.read_bytes() == key


def test_the_invitation_inside_a_sites_folder_means_that_folder(server):
    site = requested(server, "north")
    again = prepare_request(site.invitation, None, NOW)
    assert again.folder == SiteFolder(site.path)


def test_without_a_folder_one_is_named_after_the_site(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = prepare_request(server.invitation("north"), None, NOW)
    assert made.folder.path.absolute() == tmp_path / "north"


def test_settings_that_disagree_with_the_invitation_are_noted(server):
    site = requested(server, "north")
    site.settings.write_text(site.settings.read_text().replace(":8443", ":9443"))
    (note,) = prepare_request(server.invitation("north"), site.path, NOW).notes
    assert "server: 'fl.hospital.example:9443', and the invitation says" in note
    site.settings.write_text("site: north")
    (note,) = prepare_request(server.invitation("north"), site.path, NOW).notes
    assert "data: missing" in note


def refused(invitation, folder, match, now=NOW):
    with pytest.raises(ConfigError, match=match):
        prepare_request(invitation, folder, now)


def test_an_expired_invitation_is_refused_and_nothing_is_written(server, tmp_path):
    for now in (NOW + 14 * DAY, NOW + 99 * DAY):
        refused(server.invitation("north"), tmp_path / "s", "expired 2031-03-19 09:30 UTC", now)
    assert not (tmp_path / "s").exists()
    prepare_request(
        server.invitation("north"), tmp_path / "s", NOW + 14 * DAY - timedelta(seconds=1)
    )


def test_a_clock_that_is_behind_is_told(server, tmp_path):
    behind = NOW - timedelta(minutes=6)
    refused(server.invitation("north"), tmp_path / "s", "set the clock", behind)
    prepare_request(server.invitation("north"), tmp_path / "s", NOW - timedelta(minutes=4))


FIELDS = [name for name in Invitation.model_fields if name != "kind"]


@pytest.fixture(scope="module")
def invitation_text(tmp_path_factory):
    return opened(tmp_path_factory.mktemp("federation")).invitation("north").read_text()


@given(field=st.sampled_from(FIELDS), data=st.data())
def test_an_invitation_with_an_altered_field_is_refused(
    tmp_path_factory, invitation_text, field, data
):
    tree = yaml.load(invitation_text, Loader=yaml.BaseLoader)
    at = data.draw(st.integers(0, len(tree[field]) - 1))
    letter = data.draw(st.sampled_from("0123456789abcdefXYZ +:-"))
    altered = tree[field][:at] + letter + tree[field][at + 1 :]
    file = tmp_path_factory.mktemp("altered") / "invitation.yaml"
    file.write_text(yaml.safe_dump({**tree, field: altered}))
    try:
        read = read_invitation(file)
    except ConfigError:
        return
    file.write_text(invitation_text)
    assert read == read_invitation(file), "as a text another, in meaning the same"


@pytest.mark.parametrize("field", FIELDS)
def test_an_invitation_lacks_no_field(server, field, tmp_path):
    tree = yaml.safe_load(server.invitation("north").read_text())
    del tree[field]
    server.invitation("north").write_text(yaml.safe_dump(tree))
    refused(server.invitation("north"), tmp_path / "s", f"{field}: missing")


def test_an_invitation_with_another_authority_is_refused(server, tmp_path):
    (tmp_path / "other").mkdir()
    other = opened(tmp_path / "other")
    file = rewritten(server.invitation("north"), authority=other.authority.read_text())
    refused(file, tmp_path / "s", "altered since the federation's authority signed it")
    file = rewritten(file, authority=server.certificate.read_text())
    refused(file, tmp_path / "s", "authority: not the certificate of an authority")


def test_an_invitation_that_mail_has_wrapped_in_other_line_ends_is_whole(server, tmp_path):
    file = server.invitation("north")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    prepare_request(file, tmp_path / "s", NOW)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "expected an invitation"),
        (b"kind: [fedcl-invitation]", "expected an invitation"),
        (b"kind: &a fedcl-invitation\nsite: *a", "none holds aliases or deep nesting"),
        (b"a: b: c", "not YAML"),
        (b"\xff\xfe", "this is no text"),
        (b"[" * 60_000, "none holds aliases or deep nesting"),
        (b"a" * 70_000, "too long"),
    ],
)
def test_what_is_no_invitation_is_one_message(tmp_path, content, match):
    (tmp_path / "i.yaml").write_bytes(content)
    refused(tmp_path / "i.yaml", tmp_path / "s", match)


def test_another_file_of_the_kit_is_named(server, tmp_path):
    site = requested(server, "north")
    refused(site.request, None, "expected an invitation.*; this is a site's request")
    refused(site.settings, None, "this is a site's settings")
    refused(server.federation, None, "this is a federation's settings")
    refused(server.path, None, "is a folder; give the file")
    refused(tmp_path / "none", None, "cannot read an invitation: No such file")


def test_a_folder_of_another_site_federation_or_server_is_refused(server, tmp_path):
    site = requested(server, "north")
    refused(server.invitation("12"), site.path, "the folder of site north in the federation brain")
    refused(server.invitation("12"), server.path, "the server's folder")
    refused(server.invitation("12"), server.federation, "is a file")
    (tmp_path / "other").mkdir()
    other = opened(tmp_path / "other")
    kept = site.authority.read_bytes(), site.key.read_bytes()
    refused(other.invitation("north"), site.path, "trusts another authority .* telephone")
    assert (site.authority.read_bytes(), site.key.read_bytes()) == kept


def test_a_key_that_others_may_read_or_of_another_kind_is_refused(server):
    site = requested(server, "north")
    site.key.chmod(0o644)
    refused(server.invitation("north"), site.path, "node.key: others .* chmod 600 it")
    site.key.write_text("no key")
    site.key.chmod(0o600)
    refused(server.invitation("north"), site.path, "not a private key in OpenSSH format")


def test_a_later_host_reaches_the_site_with_its_next_invitation(server, tmp_path):
    write_federation(server.federation, host="new.example")
    invite(server.path, "north", NOW)
    made = prepare_request(server.invitation("north"), tmp_path / "s", NOW)
    assert load_site(made.folder.settings).server == "new.example:8443"
