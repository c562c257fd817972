"""The gateway, the federation's only open port: passes on Flower's fleet calls of approved keys.

Flower's control port obeys whoever reaches it, so the SuperLink listens on the loopback behind this
relay, which speaks TLS. A key that was revoked or has expired is refused here at once.
"""

import binascii
import sys
import threading
import time
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from flwr.proto.fleet_pb2 import PushMessagesRequest
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # has no types

from fedcl.deployment.flower import LOOPBACK
from fedcl.deployment.relay import (
    DEACTIVATE,
    NOT_APPROVED,
    NOT_REACHED,
    PUSH_MESSAGES,
    Call,
    RefusedError,
    relay,
)
from fedcl.deployment.tls import trusting
from fedcl.files.atomic import write_json
from fedcl.kit.federation import load_federation
from fedcl.kit.folders import ServerFolder
from fedcl.kit.registry import Registry
from fedcl.server.registrar import Registrar

_KEY = "flwr-public-key"
_WRITE_S = 2.0
SEEN = "seen.json"


class OnlyApproved:
    """The gateway's rules: a call must name an approved key, whose signature Flower checks.

    Args:
        registry: The registry of approved keys.
        seen: File in which the time of each site's last call is written.
    """

    def __init__(self, registry: Registry, seen: Path) -> None:
        self._registry = registry
        self._file = seen
        self._seen: dict[str, str] = {}
        self._written = 0.0
        self._keys: dict[bytes, str] = {}
        self._changed = 0
        self._asked = 0.0
        self._lock = threading.Lock()

    def first(self, _call: Call) -> None:
        """Return None: the call needs nothing special."""

    def onward(self, call: Call) -> bytes:
        """Pass on the call of an approved key.

        Raises:
            RefusedError: the call names no approved key, or it answers for another node.
        """
        try:
            key = b64decode(call.headers.get(_KEY, ""), validate=True)
        except binascii.Error:
            key = b""
        now = datetime.now(UTC)
        site = self._allowed(now).get(key)
        if site is None:
            raise RefusedError(401, NOT_APPROVED)
        if call.name == PUSH_MESSAGES:
            _require_own(call.body)
        self._note(site, now, gone=call.name == DEACTIVATE)
        return call.body

    def here(self, _call: Call) -> None:
        """Return None: the call needs nothing special."""

    def back(self, _call: Call, answer: bytes) -> bytes:
        """Return the server's answer unchanged."""
        return answer

    def failed(self, _call: Call, status: int, _why: str) -> int:
        """Return 503 while Flower cannot be reached, so that the site's node tries again."""
        return 503 if status == NOT_REACHED else status

    def _allowed(self, now: datetime) -> dict[bytes, str]:
        """Return the approved keys, read again if the file changed and every few seconds."""
        changed = self._registry.path.stat().st_mtime_ns
        with self._lock:
            if changed != self._changed or time.monotonic() - self._asked > _WRITE_S:
                self._keys = self._registry.allowed_keys(now)
                self._changed, self._asked = changed, time.monotonic()
            return self._keys

    def _note(self, site: str, now: datetime, *, gone: bool) -> None:
        with self._lock:
            if gone:
                self._seen.pop(site, None)
            else:
                self._seen[site] = now.isoformat(timespec="seconds")
            if gone or time.monotonic() - self._written > _WRITE_S:
                write_json(self._file, self._seen)
                self._written = time.monotonic()


def _require_own(body: bytes) -> None:
    """Check that all messages in a call come from the calling node, which Flower does not check.

    Raises:
        RefusedError: the call is malformed, or a message is another node's.
    """
    try:
        request = PushMessagesRequest.FromString(body)
    except DecodeError:
        raise RefusedError(400, "not a call of Flower's") from None
    if any(m.metadata.src_node_id != request.node.node_id for m in request.messages_list):
        raise RefusedError(422, "a node answers for itself alone")


def main(folder: Path) -> None:
    """Serve the gateway of a server's folder and keep Flower's list of keys up to date."""
    files = ServerFolder(folder)
    federation = load_federation(files.federation)
    threading.Thread(target=Registrar(files).run, daemon=True).start()
    app = relay(
        f"https://{LOOPBACK}:{federation.superlink_port}",
        trusting(files.authority),
        OnlyApproved(Registry(folder), files.state / SEEN),
    )
    uvicorn.run(
        app,
        host=federation.listen,
        port=federation.port,
        ssl_certfile=str(files.certificate),
        ssl_keyfile=str(files.key),
        server_header=False,
        date_header=False,
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
