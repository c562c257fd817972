"""FEDERATION.yaml: what is wrong with it is told, key by key."""

import re

import pytest
import yaml

from fedcl.errors import ConfigError
from fedcl.kit import federation
from fedcl.kit.federation import load_federation
from tests.kit.opened import SITES, federation_tree, write_federation


def test_a_federation_is_read_as_it_is_written(tmp_path):
    settings = load_federation(write_federation(tmp_path / "f.yaml"))
    assert settings.sites == tuple(SITES)
    assert settings.server == "fl.hospital.example:8443"
    assert settings.days.node_key == 200


def test_the_example_in_the_module_is_a_federation(tmp_path):
    (tmp_path / "f.yaml").write_text(federation.__doc__.split("\n\n", 1)[1])
    assert load_federation(tmp_path / "f.yaml").sites == ("north", "south", "12")


def test_an_ipv6_address_stands_in_brackets_before_the_port(tmp_path):
    file = write_federation(tmp_path / "f.yaml", host="2001:db8::7")
    assert load_federation(file).server == "[2001:db8::7]:8443"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host": "https://fl.example"}, "host: expected a DNS name or an IP address, without"),
        ({"host": "fl.example:8443"}, "host: expected a DNS name"),
        ({"host": "fl..example"}, "host: expected a DNS name"),
        ({"host": "-fl.example"}, "host: expected a DNS name"),
        ({"host": "10.1.2.300"}, "host: expected a DNS name"),
        ({"host": "a" * 64}, "host: expected a DNS name"),
        ({"also": ["*.example"]}, "also.0: expected a DNS name"),
        ({"listen": "all"}, "listen: expected an IP address"),
        ({"port": 0}, "port: .* found 0"),
        ({"port": 70000}, "port: .* found 70000"),
        ({"port": 18000}, "port and superlink_port must differ"),
        ({"name": "../elsewhere"}, "name: "),
        ({"sites": []}, "sites: "),
        ({"sites": ["a", "b", "a"]}, "sites: each site once; twice here: a"),
        ({"sites": [12]}, 'sites: 12 is a number; write a label in quotes, "12"'),
        ({"sites": ["a\x1b[2J"]}, "sites.0: a label is printable text"),
        ({"sites": [" a"]}, "sites.0: a label is printable text"),
        ({"sites": [""]}, "sites.0: "),
        (
            {"days": {"authority": 10, "server": 11, "invitation": 1, "node_key": 1}},
            "days.server and days.invitation are at most days.authority",
        ),
        (
            {"days": {"authority": 10, "server": 10, "invitation": 0, "node_key": 1}},
            "days.invitation: .* found 0",
        ),
        ({"prot": 1}, "prot: unknown key; did you mean 'port'?"),
    ],
)
def test_each_mistake_names_the_file_and_the_key(tmp_path, changes, message):
    file = write_federation(tmp_path / "f.yaml", **changes)
    with pytest.raises(ConfigError, match=message) as raised:
        load_federation(file)
    assert str(raised.value).startswith(f"{file}: ")


def test_a_missing_key_is_named(tmp_path):
    tree = federation_tree()
    del tree["also"]
    (tmp_path / "f.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match="also: missing; every key is written down"):
        load_federation(tmp_path / "f.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [", "not YAML"),
        (b"[" * 3_000, "not YAML"),
        (b"- a", "expected keys such as name, host, sites"),
        (b"", "expected keys such as name, host, sites"),
        (b"\xff\xfe\x00", "this is no text"),
        (b"#" * 70_000, "too long for the federation's settings"),
        (b"limits: {}\nserver: x", "expected a federation's settings; this is a site's settings"),
        (b"objective: {}\nencoder: {}", "this is an experiment"),
    ],
)
def test_another_file_is_one_message(tmp_path, content, message):
    (tmp_path / "f.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_federation(tmp_path / "f.yaml")


def test_a_file_that_is_not_there_is_one_message(tmp_path):
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path / 'none.yaml'}: cannot read")):
        load_federation(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder; give the file"):
        load_federation(tmp_path)
