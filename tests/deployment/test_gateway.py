"""Who gets past the server's gateway: keys that the registry allows, now, for themselves."""

import json
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from flwr.cli.supernode.register import try_load_public_key

from fedcl.deployment.relay import (
    DEACTIVATE,
    HEARTBEAT,
    Call,
    RefusedError,
)
from fedcl.kit.admission import revoke
from fedcl.kit.registry import Registry
from fedcl.server.gateway import OnlyApproved
from tests.kit.opened import approved, opened, requested


@pytest.fixture
def server(tmp_path):
    return opened(tmp_path, now())


@pytest.fixture
def gateway(server, tmp_path):
    return OnlyApproved(Registry(server.path), tmp_path / "seen.json")


def now():
    return datetime.now(UTC)


def call(site, name=HEARTBEAT, body=b"beat") -> Call:
    key = b64encode(try_load_public_key(site.public_key)).decode()
    return Call(name, {"flwr-public-key": key}, body)


def refused(gateway, made, status):
    with pytest.raises(RefusedError) as told:
        gateway.onward(made)
    assert told.value.status == status


def test_an_approved_key_passes_and_its_site_is_seen(server, gateway, tmp_path):
    north, twelve = approved(server, "north", now()), approved(server, "12", now())
    assert gateway.onward(call(north)) == b"beat"
    assert set(json.loads((tmp_path / "seen.json").read_text())) == {"north"}
    gateway.onward(call(twelve))
    gateway.onward(call(north, DEACTIVATE))
    assert set(json.loads((tmp_path / "seen.json").read_text())) == {"12"}


def test_a_key_that_waits_for_approval_is_refused_and_passes_once_approved(server, gateway):
    north = requested(server, "north", now())
    refused(gateway, call(north), 401)
    approved(server, "north", now())
    gateway.onward(call(north))


def test_a_revoked_key_is_refused_at_once(server, gateway):
    north = approved(server, "north", now())
    gateway.onward(call(north))
    revoke(server.path, "north", now())
    refused(gateway, call(north), 401)


def test_an_expired_key_is_refused(tmp_path):
    long_ago = now() - timedelta(days=201)
    server = opened(tmp_path, long_ago)
    north = approved(server, "north", long_ago)
    refused(OnlyApproved(Registry(server.path), tmp_path / "seen.json"), call(north), 401)


@pytest.mark.parametrize("header", [None, "", "no base64!", "QUJD"])
def test_a_call_without_a_known_key_is_refused(server, gateway, header):
    approved(server, "north", now())
    headers = {} if header is None else {"flwr-public-key": header}
    refused(gateway, Call(HEARTBEAT, headers, b"beat"), 401)
