"""The registry: lines that stay, a state for each site, and every damage told by its line."""

import json
import threading

import pytest
from flwr.cli.supernode.register import try_load_public_key

from fedcl.errors import ConfigError, RunError
from fedcl.kit.admission import revoke
from fedcl.kit.opening import invite, new_federation
from fedcl.kit.overview import overview
from fedcl.kit.registry import Registry
from tests.kit.opened import DAY, NOW, SITES, approved, opened, write_federation


@pytest.fixture
def server(tmp_path):
    return opened(tmp_path)


def states(server, now):
    return {line.what: line.state for line in overview(server.path, now)}


def entry(server, site):
    return next(e for e in Registry(server.path).sites() if e.site == site)


def test_a_new_federation_has_invited_its_sites_in_order(server):
    assert [e.site for e in Registry(server.path).sites()] == SITES
    assert states(server, NOW) == {
        "authority": "valid",
        "server": "valid",
        **dict.fromkeys(SITES, "invited"),
    }


def test_each_state_follows_from_what_happened_and_the_time(server):
    seen = []

    def look(now):
        seen.append(states(server, now)["north"])

    look(NOW + 14 * DAY)
    invite(server.path, "north", NOW + 20 * DAY)
    look(NOW + 20 * DAY)
    approved(server, "north", NOW + 21 * DAY)
    look(NOW + 21 * DAY)
    invite(server.path, "north", NOW + 30 * DAY)
    look(NOW + 30 * DAY)
    look(NOW + 50 * DAY)
    revoke(server.path, "north", NOW + 51 * DAY)
    look(NOW + 51 * DAY)
    invite(server.path, "north", NOW + 60 * DAY)
    look(NOW + 60 * DAY)
    approved(server, "north", NOW + 61 * DAY)
    look(NOW + 61 * DAY)
    look(NOW + 261 * DAY)
    assert seen == [
        "invitation expired",
        "invited",
        "approved",
        "approved, invited again",
        "approved",
        "revoked",
        "invited",
        "approved",
        "key expired",
    ]


def test_the_overview_says_the_dates_the_key_and_the_days_left(server):
    site = approved(server, "12", NOW + DAY)
    lines = {line.what: line for line in overview(server.path, NOW + 2 * DAY)}
    assert lines["12"].since == NOW + DAY
    assert lines["12"].until == NOW + 201 * DAY
    assert lines["12"].days_left(NOW + 2 * DAY) == 199
    assert lines["12"].days_left(NOW + 201 * DAY) is None
    assert lines["12"].fingerprint in site.request.read_text()
    assert lines["north"].fingerprint is None
    assert lines["server"].until == NOW + 300 * DAY
    assert states(server, NOW + 300 * DAY)["server"] == "expired"
    assert states(server, NOW - DAY)["authority"] == "not yet valid"


def test_a_site_in_the_settings_that_was_not_invited_is_listed_so(server):
    write_federation(server.federation, sites=["east", *SITES[1:]])
    found = states(server, NOW)
    assert found["east"] == "not invited"
    assert found["north"] == "invited", "the registry forgets nobody"


def test_a_listing_needs_no_private_key(server):
    server.authority_key.unlink()
    server.key.unlink()
    assert states(server, NOW)["server"] == "valid"


def test_lines_are_only_added(server):
    before = server.registry.read_bytes()
    approved(server, "north")
    revoke(server.path, "north", NOW)
    after = server.registry.read_bytes()
    assert after.startswith(before)
    assert [json.loads(line)["event"] for line in after.splitlines()] == [
        *["invited"] * 3,
        "approved",
        "revoked",
    ]


def test_decisions_made_at_once_are_all_kept(server):
    workers = [threading.Thread(target=invite, args=(server.path, site, NOW)) for site in SITES * 3]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert {len(e.invitations) for e in Registry(server.path).sites()} == {4}


def test_a_reader_never_sees_half_an_event(server):
    registry, stop, failures = Registry(server.path), threading.Event(), []

    def read():
        while not stop.is_set():
            try:
                registry.sites()
            except RunError as error:
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        invite(server.path, "north", NOW)
    stop.set()
    reader.join()
    assert failures == []


def test_a_decision_that_fails_writes_nothing(server):
    before = server.registry.read_bytes()

    def decide(sites):
        raise RunError("no")

    with pytest.raises(RunError, match="no"):
        Registry(server.path).record(decide)
    assert server.registry.read_bytes() == before


def damaged(server, lines, number, why=""):
    server.registry.write_bytes(b"".join(lines))
    for read in (Registry(server.path).sites, lambda: Registry(server.path).allowed_keys(NOW)):
        with pytest.raises(RunError, match=rf"registry\.jsonl, line {number}: damaged \({why}"):
            read()


def test_damage_is_told_by_its_line(server):
    approved(server, "north")
    lines = server.registry.read_bytes().splitlines(keepends=True)
    key = json.loads(lines[3])["public_key"].encode()
    damaged(server, [lines[0], b"{\n", *lines[2:]], 2)
    damaged(server, [*lines[:2], b"\n", *lines[2:]], 3)
    damaged(server, [*lines[:3], lines[3][:-1]], 4, "it is cut")
    damaged(server, [*lines[:3], lines[3][:40]], 4, "it is cut")
    damaged(server, lines[1:], 3, "site north was not invited before")
    damaged(server, [lines[0].replace(b"invited", b"invted"), *lines[1:]], 1)
    damaged(server, [*lines[:3], lines[3].replace(key, key[:-4])], 4, "approved.public_key")
    damaged(server, [*lines[:3], lines[3].replace(b"Z", b"")], 4, "approved.time")
    damaged(server, [*lines[:3], lines[3].replace(b"}", b',"extra":1}')], 4, "approved.extra")


def test_a_registry_that_is_missing_or_open_to_others_is_refused(server):
    server.registry.chmod(0o664)
    with pytest.raises(ConfigError, match=r"registry\.jsonl: others .* chmod 600 it"):
        Registry(server.path).allowed_keys(NOW)
    server.registry.unlink()
    with pytest.raises(RunError, match=r"registry\.jsonl: cannot read the registry"):
        Registry(server.path).allowed_keys(NOW)


def test_allowed_keys_are_those_of_the_approved_only(server):
    sites = {site: approved(server, site) for site in SITES}
    revoke(server.path, "12", NOW)
    assert Registry(server.path).allowed_keys(NOW) == {
        try_load_public_key(sites[site].public_key): site for site in SITES if site != "12"
    }


def test_a_folder_that_is_there_is_not_overwritten(server, tmp_path):
    before = {p: p.read_bytes() for p in server.path.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match="already there"):
        new_federation(server.federation, server.path, NOW)
    assert {p: p.read_bytes() for p in server.path.rglob("*") if p.is_file()} == before


def test_a_folder_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fedcl.kit.opening.write_secret", fail)
    with pytest.raises(OSError, match="No space left"):
        opened(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["FEDERATION.yaml"]


def test_the_secret_is_the_base64_of_48_bytes(server):
    assert len(server.secret.read_bytes()) == 64
    assert len({server.secret.read_bytes(), server.key.read_bytes()}) == 2


def test_the_revoked_entry_says_since_when(server):
    approved(server, "north")
    revoke(server.path, "north", NOW + DAY)
    assert entry(server, "north").revoked == NOW + DAY
    assert entry(server, "north").allowed(NOW + DAY) is None
