"""Registers approved keys with the SuperLink and unregisters all others."""

import json
import logging
import subprocess
import time
from datetime import UTC, datetime

from fedcl.deployment.flower import environment, flower
from fedcl.deployment.serve import FLOWER_CONNECTION
from fedcl.files.atomic import write_json
from fedcl.kit.folders import ServerFolder
from fedcl.kit.registry import Registry

_LOOK_S = 1.0
_LONGEST_S = 60
_IN_USE, _GONE = "already in use", "unregistered"
"""Flower's words for a key that has a node already, and for a node that was unregistered."""
_log = logging.getLogger("fedcl.registrar")


class Registrar:
    """Compares the registry with the keys that Flower knows, as long as the server runs.

    Args:
        files: Paths in the server's folder.
    """

    def __init__(self, files: ServerFolder) -> None:
        self._files = files
        self._registry = Registry(files.path)
        self._nodes = files.state / "nodes.json"

    def run(self) -> None:
        """Compare the keys every second, without end."""
        while True:
            try:
                self.look()
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                _log.warning("keys not registered yet: %s", error)
            time.sleep(_LOOK_S)

    def look(self) -> None:
        """Register keys that are newly approved and unregister keys that are no longer allowed."""
        nodes: dict[str, str] = {}
        if self._nodes.exists():
            known = json.loads(self._nodes.read_text(encoding="utf-8"))
            nodes = {key: str(node) for key, node in known.items()}
        allowed = {key.decode(): site for key, site in self._registry.allowed_keys(_now()).items()}
        for key in sorted(allowed.keys() - nodes.keys()):
            site = allowed[key]
            nodes[key] = self._register(site, nodes)
            write_json(self._nodes, nodes)
        for key in sorted(nodes.keys() - allowed.keys()):
            self._flwr("unregister", nodes[key], FLOWER_CONNECTION)
            del nodes[key]
            write_json(self._nodes, nodes)

    def _register(self, site: str, nodes: dict[str, str]) -> str:
        """Register a site's key and return the id of its node.

        If this process was killed before it wrote the node to the file, Flower has the key
        already; its node is then the one that the file does not name.
        """
        public = str(self._files.public_key(site))
        try:
            return str(self._flwr("register", public, FLOWER_CONNECTION, "--name", site)["node-id"])
        except ValueError as error:
            if _IN_USE not in str(error).lower():
                raise
            listed = self._flwr("list", FLOWER_CONNECTION)["nodes"]
            live = [node["node-id"] for node in listed if node["status"] != _GONE]
            unknown = [node for node in live if node not in nodes.values()]
            if len(unknown) != 1:
                raise
            return str(unknown[0])

    def _flwr(self, *words: str) -> dict:
        done = subprocess.run(
            flower("flwr", "supernode", *words, "--format", "json"),
            env=environment(self._files.state / "flower"),
            cwd=self._files.path,
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
        answer = json.loads(done.stdout or "{}")
        if done.returncode or not answer.get("success"):
            raise ValueError(answer.get("error-message") or done.stderr.strip()[-500:])
        return answer


def _now() -> datetime:
    return datetime.now(UTC)
