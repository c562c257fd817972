"""Flower's list of keys follows the registry's, whenever the registrar was stopped."""

import json

import pytest

from fedcl.kit.folders import ServerFolder
from fedcl.server.registrar import Registrar


class Flower:
    """Flower's list of nodes, as its command tells it."""

    def __init__(self):
        self.nodes = {}

    def __call__(self, what, *words):
        if what == "register":
            if words[0] in self.nodes.values():
                raise ValueError("Public key already in use.")
            self.nodes[str(100 + len(self.nodes))] = words[0]
            return {"node-id": max(self.nodes)}
        if what == "unregister":
            del self.nodes[words[0]]
            return {}
        return {"nodes": [{"node-id": node, "status": "online"} for node in self.nodes]}


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Return (registrar, Flower, the keys that the registry allows)."""
    files = ServerFolder(tmp_path)
    files.state.mkdir()
    allowed = {b"key of north": "north", b"key of south": "south"}
    registrar, flower = Registrar(files), Flower()
    monkeypatch.setattr(registrar, "_flwr", flower)
    monkeypatch.setattr(registrar._registry, "allowed_keys", lambda now: allowed)
    return registrar, flower, allowed


def known(registrar):
    return json.loads(registrar._nodes.read_text())


def test_every_allowed_key_is_registered_once(opened):
    registrar, flower, _ = opened
    registrar.look()
    registrar.look()
    assert known(registrar) == {"key of north": "100", "key of south": "101"}
    assert len(flower.nodes) == 2


def test_a_key_that_is_allowed_no_more_is_unregistered(opened):
    registrar, flower, allowed = opened
    registrar.look()
    del allowed[b"key of north"]
    registrar.look()
    assert known(registrar) == {"key of south": "101"}
    assert list(flower.nodes) == ["101"]


def test_a_node_registered_by_a_killed_registrar_is_found_again(opened):
    registrar, flower, _ = opened
    registrar.look()
    kept = known(registrar)
    registrar._nodes.write_text(json.dumps({"key of north": "100"}))
    registrar.look()
    assert known(registrar) == kept
    assert len(flower.nodes) == 2


def test_two_nodes_that_no_key_is_known_of_are_not_guessed_at(opened):
    registrar, _, _ = opened
    registrar.look()
    registrar._nodes.write_text("{}")
    with pytest.raises(ValueError, match="already in use"):
        registrar.look()
