"""At the server: a request counts as it was made, once, in time, for the key that made it."""

import base64
import re
from datetime import timedelta

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from flwr.cli.supernode.register import try_load_public_key
from hypothesis import given
from hypothesis import strategies as st

from fedcl.errors import ConfigError, RunError
from fedcl.kit.admission import approve, revoke, verify_request
from fedcl.kit.fingerprint import key_fingerprint
from fedcl.kit.folders import SiteFolder
from fedcl.kit.invitation import read_invitation
from fedcl.kit.joining import prepare_request
from fedcl.kit.opening import invite
from fedcl.kit.registry import Registry
from fedcl.kit.request import (
    Request,
    _code,
    key_problem,
    make_request,
    read_request,
    request_text,
)
from tests.kit.opened import (
    DAY,
    NOW,
    approved,
    opened,
    requested,
    rewritten,
    write_federation,
)


@pytest.fixture
def server(tmp_path):
    return opened(tmp_path)


def refused(server, request, match, now=NOW):
    before = server.registry.read_bytes()
    with pytest.raises(ConfigError, match=match):
        approve(server.path, verify_request(server.path, request, now), now)
    assert server.registry.read_bytes() == before


def key_of(site: SiteFolder) -> bytes:
    return try_load_public_key(site.public_key)


def test_an_approved_key_is_allowed_as_flower_sends_it(server):
    site = approved(server, "north")
    assert Registry(server.path).allowed_keys(NOW) == {key_of(site): "north"}
    assert server.public_key("north").read_bytes() == site.public_key.read_bytes()
    assert try_load_public_key(server.public_key("north")) == key_of(site)


def test_a_request_alone_allows_nothing(server):
    site = requested(server, "north")
    verify_request(server.path, site.request, NOW)
    assert Registry(server.path).allowed_keys(NOW) == {}
    assert not server.public_key("north").exists()


def test_a_key_is_allowed_until_it_expires(server):
    approved(server, "north")
    last = NOW + 200 * DAY - timedelta(seconds=1)
    assert len(Registry(server.path).allowed_keys(last)) == 1
    assert Registry(server.path).allowed_keys(NOW + 200 * DAY) == {}


def test_a_revoked_site_is_not_allowed_and_does_not_come_back_on_its_request(server):
    site = approved(server, "north")
    other = approved(server, "12")
    revoke(server.path, "north", NOW + DAY)
    assert Registry(server.path).allowed_keys(NOW + DAY) == {key_of(other): "12"}
    assert not server.public_key("north").exists()
    refused(server, site.request, "void, because the site was revoked", NOW + DAY)


def test_a_revocation_makes_an_open_invitation_void(server):
    site = requested(server, "north")
    revoke(server.path, "north", NOW)
    refused(server, site.request, "void, because the site was revoked")


def test_what_is_approved_twice_is_approved_once(server):
    site = approved(server, "north")
    before = server.registry.read_bytes()
    server.public_key("north").unlink()
    checked = verify_request(server.path, site.request, NOW + 20 * DAY)
    assert approve(server.path, checked, NOW + 20 * DAY) == checked.already
    assert server.registry.read_bytes() == before
    assert server.public_key("north").exists(), "what a killed process left out is mended"
    refused(server, site.request, "its key expired 2031-09-21", NOW + 200 * DAY)


def test_an_approval_looks_again_at_what_happened_since_the_request_was_verified(server):
    site = requested(server, "north")
    checked = verify_request(server.path, site.request, NOW)
    revoke(server.path, "north", NOW)
    with pytest.raises(ConfigError, match="the site was revoked"):
        approve(server.path, checked, NOW)
    assert Registry(server.path).allowed_keys(NOW) == {}


def test_a_next_key_takes_the_place_of_the_one_before(server):
    site = approved(server, "north")
    old, old_request = key_of(site), site.request.read_bytes()
    later = NOW + 190 * DAY
    invite(server.path, "north", later)
    made = prepare_request(server.invitation("north"), site.path, later)
    assert Registry(server.path).allowed_keys(later) == {old: "north"}, "until the next is approved"
    approve(server.path, verify_request(server.path, made.folder.request, later), later)
    assert Registry(server.path).allowed_keys(later) == {key_of(site): "north"}
    assert key_of(site) != old
    site.request.write_bytes(old_request)
    refused(server, site.request, "void, because the site has a later invitation or key", later)


def test_a_later_invitation_makes_an_unused_one_void(server, tmp_path):
    site = requested(server, "north")
    invite(server.path, "north", NOW + DAY)
    refused(server, site.request, "the site has a later invitation", NOW + DAY)


def test_an_invitation_is_not_used_for_two_keys(server, tmp_path):
    first = approved(server, "north")
    second = prepare_request(server.invitation("north"), tmp_path / "elsewhere", NOW)
    used = read_request(first.request).fingerprint
    refused(server, second.folder.request, f"was used already, for the key {used}")


def test_a_key_is_not_approved_a_second_time(server, tmp_path):
    """A site that puts its former key under its next invitation, or another site's name."""
    site = approved(server, "north")
    revoke(server.path, "north", NOW)
    invite(server.path, "north", NOW)
    key = serialization.load_ssh_private_key(site.key.read_bytes(), None)
    for label in ("north", "12"):
        request = make_request(read_invitation(server.invitation(label)), key, NOW)
        site.request.write_text(request_text(request))
        refused(server, site.request, "its key was approved before, for site north")


def test_an_expired_invitation_is_refused_at_the_server_too(server):
    site = requested(server, "north", NOW + 13 * DAY)
    late = NOW + 14 * DAY
    refused(server, site.request, "its invitation expired 2031-03-19 09:30 UTC", late)
    approve(server.path, verify_request(server.path, site.request, NOW + 13 * DAY), NOW + 13 * DAY)


def test_clocks_that_disagree_are_told(server, tmp_path):
    site = requested(server, "north", NOW + timedelta(minutes=6))
    refused(server, site.request, "Set the clock that is wrong")
    invitation = read_invitation(server.invitation("north"))
    key = serialization.load_ssh_private_key(site.key.read_bytes(), None)
    early = make_request(invitation, key, NOW - timedelta(minutes=6))
    site.request.write_text(request_text(early))
    refused(server, site.request, "Set the clock that is wrong")


def test_a_request_for_another_federation_is_refused(server, tmp_path):
    for folder, changes in (("named", {"name": "other"}), ("same", {})):
        (tmp_path / folder).mkdir()
        other = opened(tmp_path / folder, **changes)
        message = "the federation 'other'; this is 'brain-age'" if changes else "of the same name"
        refused(server, requested(other, "north").request, message)


def test_the_nearest_label_is_offered_for_an_unknown_site(server):
    site = requested(server, "north")
    refused(server, rewritten(site.request, site="nroth"), "no site 'nroth'.*did you mean 'north'?")
    with pytest.raises(ConfigError, match=r"no site 'norht' .* did you mean 'north'?"):
        revoke(server.path, "norht", NOW)
    with pytest.raises(ConfigError, match="no site 'norht' in `sites`; did you mean 'north'"):
        invite(server.path, "norht", NOW)
    with pytest.raises(ConfigError, match="known here: north, 12, St"):
        revoke(server.path, "zzz", NOW)


def test_a_site_that_joins_later_is_added_to_the_settings_and_invited(server, tmp_path):
    with pytest.raises(ConfigError, match="A site that joins later is added there first"):
        invite(server.path, "east", NOW)
    write_federation(server.federation, sites=["north", "east"])
    file = invite(server.path, "east", NOW)
    made = prepare_request(file, tmp_path / "east", NOW)
    approve(server.path, verify_request(server.path, made.folder.request, NOW), NOW)
    assert set(Registry(server.path).allowed_keys(NOW).values()) == {"east"}


def test_an_invitation_needs_the_authoritys_key_and_an_approval_does_not(server, tmp_path):
    server.authority_key.rename(tmp_path / "safe")
    with pytest.raises(ConfigError, match=r"ca\.key: not there: .* put it back"):
        invite(server.path, "north", NOW)
    approved(server, "north")
    (tmp_path / "safe").rename(server.authority_key)
    server.authority_key.chmod(0o644)
    with pytest.raises(ConfigError, match=r"ca\.key: others .* chmod 600 it"):
        invite(server.path, "north", NOW)


def test_no_one_is_revoked_twice(server):
    revoke(server.path, "north", NOW)
    with pytest.raises(RunError, match="site north has been revoked already, 2031-03-05"):
        revoke(server.path, "north", NOW + DAY)


FIELDS = [name for name in Request.model_fields if name != "kind"]


@pytest.fixture(scope="module")
def standing(tmp_path_factory):
    server = opened(tmp_path_factory.mktemp("federation"))
    requested(server, "12")
    return server, requested(server, "north").request.read_text()


@given(field=st.sampled_from(FIELDS), data=st.data())
def test_a_request_with_an_altered_field_is_refused(tmp_path_factory, standing, field, data):
    server, text = standing
    tree = yaml.load(text, Loader=yaml.BaseLoader)
    at = data.draw(st.integers(0, len(tree[field]) - 1))
    letter = data.draw(st.sampled_from("0123456789abcdefABCXYZ +:-/="))
    altered = tree[field][:at] + letter + tree[field][at + 1 :]
    file = tmp_path_factory.mktemp("altered") / "request.yaml"
    file.write_text(yaml.safe_dump({**tree, field: altered}))
    accepted_only_if_unaltered(server, file, text)


@given(data=st.data())
def test_a_request_with_an_altered_byte_is_refused(tmp_path_factory, standing, data):
    server, text = standing
    raw = bytearray(text.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("altered") / "request.yaml"
    file.write_bytes(bytes(raw))
    accepted_only_if_unaltered(server, file, text)


def accepted_only_if_unaltered(server, file, text):
    try:
        checked = verify_request(server.path, file, NOW)
    except ConfigError:
        return
    file.write_text(text)
    assert checked.request == read_request(file), "the bytes differ, what they say does not"


@pytest.mark.parametrize("field", FIELDS)
def test_a_request_with_a_field_of_another_one_is_refused(standing, tmp_path, field):
    """Another site's honest request, made at another time: no field of it fits."""
    server, text = standing
    tree = yaml.load(text, Loader=yaml.BaseLoader)
    made = prepare_request(server.invitation("12"), tmp_path / "12", NOW + timedelta(seconds=1))
    other = yaml.load(made.folder.request.read_text(), Loader=yaml.BaseLoader)
    if other[field] == tree[field]:
        other[field] = "another"
    file = tmp_path / "request.yaml"
    file.write_text(yaml.safe_dump({**tree, field: other[field]}))
    with pytest.raises(ConfigError):
        verify_request(server.path, file, NOW)


def test_the_twin_of_a_signature_is_an_alteration_too(server):
    """Of each ECDSA signature (r, s) anybody can make (r, n - s), which verifies as well."""
    site = requested(server, "north")
    request = read_request(site.request)
    order = int(
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
        16,
    )
    r, s = decode_dss_signature(base64.b64decode(request.signature))
    twin = base64.b64encode(encode_dss_signature(r, order - s)).decode()
    assert key_problem(request.model_copy(update={"signature": twin})) is None
    refused(server, rewritten(site.request, signature=twin), "altered")


def authenticated(server, request: Request) -> str:
    """A request that its invitation's holder authenticates, whatever it says."""
    verifier = read_invitation(server.invitation(request.site)).verifier
    code = _code(request, verifier)
    return request_text(request.model_copy(update={"authentication": code}))


def other_line(curve) -> str:
    key = ec.generate_private_key(curve).public_key()
    encoding = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return key.public_bytes(*encoding).decode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: {"public_key": other_line(ec.SECP384R1())}, "the fingerprint is another key's"),
        (lambda r: {"public_key": other_line(ec.SECP256R1())}, "not an ECDSA public key on P-384"),
        (lambda r: {"public_key": r.public_key + " root@host"}, "expected the public key alone"),
        (lambda r: {"public_key": "ssh-ed25519 AAAA"}, "not a public key in OpenSSH format"),
        (lambda r: {"fingerprint": "00"}, "the fingerprint is another key's"),
        (lambda r: {"signature": ""}, "not signed with the private half of its key"),
        (lambda r: {"signature": "*"}, "not signed with the private half of its key"),
        (lambda r: {"time": r.time + DAY}, "not signed with the private half of its key"),
    ],
)
def test_the_code_alone_does_not_vouch_for_a_key(server, change, message):
    site = requested(server, "north")
    request = read_request(site.request)
    forged = request.model_copy(update=change(request))
    site.request.write_text(authenticated(server, forged))
    refused(server, site.request, message)


def test_another_sites_key_under_its_own_fingerprint_needs_its_private_half(server):
    """The holder of an invitation cannot take over a public key that it has seen."""
    theirs = requested(server, "12")
    seen = serialization.load_ssh_public_key(theirs.public_key.read_bytes())
    site = requested(server, "north")
    forged = read_request(site.request).model_copy(
        update={
            "public_key": theirs.public_key.read_text().strip(),
            "fingerprint": key_fingerprint(seen),
        }
    )
    site.request.write_text(authenticated(server, forged))
    refused(server, site.request, "not signed with the private half of its key")


def test_a_request_made_without_the_code_is_refused(server, tmp_path):
    invitation = read_invitation(server.invitation("north"))
    guessed = invitation.model_copy(update={"code": "0" * 64})
    key = ec.generate_private_key(ec.SECP384R1())
    file = tmp_path / "request.yaml"
    file.write_text(request_text(make_request(guessed, key, NOW)))
    refused(server, file, "altered, or not made with an invitation of site north")


def test_another_file_or_folder_is_named(server, tmp_path):
    site = requested(server, "north")
    for file, message in (
        (site.invitation, "expected a site's request.*; this is an invitation"),
        (site.settings, "this is a site's settings"),
        (site.path, "is a folder; give the file"),
        (tmp_path / "none", "cannot read a site's request: No such file"),
    ):
        refused(server, file, message)
    for folder, message in (
        (site.path, "this is a site's folder"),
        (site.request, "is a file"),
        (tmp_path / "none", "there is no such folder"),
        (tmp_path, "no server's folder"),
    ):
        with pytest.raises(RunError, match=f"^{re.escape(str(folder))}: .*{message}"):
            verify_request(folder, site.request, NOW)
