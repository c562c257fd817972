"""Calls of strangers: without a key, with an unapproved or a revoked key, to other interfaces."""

import json
import socket
import ssl
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import yaml
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)
from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.routers.runtime.responses import router as more_runtime_calls
from flwr.supercore.routers.runtime.router import router as runtime_calls
from flwr.superlink.routers.control.router import router as control_calls

from faulty.scene import Scene, UnexpectedError, quote, until
from faulty.told import Told

_PARTS = (control_calls, runtime_calls, more_runtime_calls)


def key_of(file: Path) -> ec.EllipticCurvePrivateKey:
    """Return a node's private key."""
    data = file.read_bytes()
    load = load_ssh_private_key if b"OPENSSH" in data else load_pem_private_key
    key = load(data, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def signed(key: ec.EllipticCurvePrivateKey, when: datetime | None = None) -> dict[str, str]:
    """Return the headers by which Flower identifies a node."""
    time = (when or datetime.now(UTC)).isoformat()
    signature = key.sign(time.encode("ascii"), ec.ECDSA(hashes.SHA256()))
    return {
        "content-type": "application/protobuf",
        "flwr-public-key": b64encode(public(key)).decode(),
        "flwr-timestamp": time,
        "flwr-signature": b64encode(signature).decode(),
    }


def public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def call(scene: Scene, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
    """Call the gateway over TLS, as anybody can."""
    trusting = ssl.create_default_context(cafile=str(scene.lab.server / "authority" / "ca.crt"))
    return httpx.post(scene.gateway + path, content=body, headers=headers, verify=trusting)


def _refused(answer: httpx.Response, status: int) -> str:
    if answer.status_code != status:
        raise UnexpectedError(
            f"HTTP {answer.status_code} in place of {status}: {answer.text[:200]}"
        )
    return f"{status} “{answer.text}”"


def calls(scene: Scene) -> Told:
    """Call without a key, with another's key and without TLS while a run goes on."""
    run = scene.begin()
    run.mid_round(1, "12")
    stranger = ec.generate_private_key(ec.SECP384R1())
    body = ActivateNodeRequest(public_key=public(stranger), heartbeat_interval=30)
    request = body.SerializeToString()
    activate = "/v1/fleet/activate-node"
    plain = {"content-type": "application/protobuf"}
    no_key = _refused(call(scene, activate, request, plain), 401)
    wrong = _refused(call(scene, activate, request, signed(stranger)), 401)
    own = key_of(scene.lab.home("12") / "node.key")
    forged = signed(stranger) | {"flwr-public-key": signed(own)["flwr-public-key"]}
    forged_body = ActivateNodeRequest(public_key=public(own), heartbeat_interval=30)
    forgery = call(scene, activate, forged_body.SerializeToString(), forged)
    _refused(forgery, 401)
    with socket.create_connection(("127.0.0.1", scene.lab.gateway), timeout=5) as bare:
        head = f"POST {activate} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        bare.sendall(head.encode())
        try:
            heard = bare.recv(1000)
        except OSError:
            heard = b""
    if b"HTTP/" in heard:
        raise UnexpectedError(f"plain HTTP is answered: {heard[:100]!r}")
    run.finish()
    return Told(
        "in round 1, to the gateway: a call without a key, one with a key nobody approved, one "
        "with 12's key and another's signature, one without TLS",
        run,
        server=f"{no_key}; {wrong}; 401 by Flower; closed without an answer",
    )


def wrong_key(scene: Scene) -> Told:
    """Let a site join with a key that nobody approved, then approve it."""
    lab = scene.lab
    run = scene.begin()
    file = lab.server / "federation.yaml"
    federation = yaml.safe_load(file.read_text())
    federation["sites"] = [*federation["sites"], "east"]
    file.write_text(yaml.safe_dump(federation))
    lab.fedcl("kit", "invite", "lab", "east")
    home = lab.home("east")
    lab.fedcl("kit", "request", "lab/invitations/east.yaml", "--folder", str(home))
    settings = yaml.safe_load((home / "site.yaml").read_text())
    settings["data"] = {**lab.tree["data"], "path": "data"}
    (home / "data").mkdir()
    (home / "site.yaml").write_text(yaml.safe_dump(settings))
    lab.fedcl("approve", str(home / "site.yaml"), str(lab.experiment), "--yes")
    try:
        said = lab.fedcl("join", str(home / "site.yaml"), "--background", check=False)
        message = quote(said, "not approved")
        status = quote(lab.fedcl("status", str(home), check=False), "not approved")
        run.finish()
        lab.fedcl("kit", "approve", "lab", str(home / "request.yaml"), "--yes")
        until(lambda: "it answers" in lab.fedcl("status", str(home), check=False), "east is let in")
    finally:
        lab.fedcl("stop", str(home), check=False)
        lab.fedcl("kit", "revoke", "lab", "east", check=False)
    return Told(
        "a fourth site joins before its key is approved; approved after the run",
        run,
        site=f"`fedcl join`: {message}; `fedcl status`: {status}; once approved it connects by "
        "itself",
    )


def revoked(scene: Scene) -> Told:
    """Revoke a key within a round, then admit the site with a new invitation and request."""
    lab = scene.lab
    run = scene.begin()
    run.mid_round(1, "12")
    lab.fedcl("kit", "revoke", "lab", "12")
    until(lambda: "refuses this site's node.key" in scene.status("12"), "12 is told", longest_s=90)
    status = quote(scene.status("12"), "refuses")
    message = run.says("The run stopped")
    home = lab.home("12")
    lab.fedcl("kit", "invite", "lab", "12")
    lab.fedcl("kit", "request", "lab/invitations/12.yaml", "--folder", str(home))
    lab.fedcl("kit", "approve", "lab", str(home / "request.yaml"), "--yes")
    lab.fedcl("stop", str(home))
    lab.join("12")
    if run.process.poll() is not None:
        run.follow()
    run.finish()
    return Told(
        "`fedcl kit revoke lab 12` in round 1; then invited, requested and approved again, and "
        "joined again",
        run,
        site=f"`fedcl status`: {status}",
        message=message,
    )


def control(scene: Scene) -> Told:
    """Call Flower's other interfaces from outside."""
    run = scene.begin()
    run.mid_round(1, "12")
    own = signed(key_of(scene.lab.home("12") / "node.key"))
    known = [route.path for part in _PARTS for route in part.routes]
    known += ["/v1/fleet/register-node", "/v1/fleet/unregister-node"]
    paths = [*known, "/v1/fleet/../control/start-run", "/", "/docs", "/openapi.json", "/health"]
    before = _runs(scene)
    for path in paths:
        _refused(call(scene, path, b"", own), 404)
    if _runs(scene) != before:
        raise UnexpectedError("a run was started through the gateway")
    addresses = listening(scene.lab.superlink)
    if addresses != {"127.0.0.1"}:
        raise UnexpectedError(f"the SuperLink listens on {addresses}")
    run.finish()
    return Told(
        f"in round 1, to the gateway with 12's own key: all {len(known)} calls of Flower's control "
        f"and runtime interfaces and of registration, and {len(paths) - len(known)} paths more",
        run,
        server=f"404 to all {len(paths)}; no run started; the SuperLink listens on "
        f"{', '.join(addresses)} alone",
    )


def listening(port: int) -> set[str]:
    """Return the addresses on which this machine listens at a port."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, state = line.split()[1], line.split()[3]
        address, number = local.split(":")
        if state == "0A" and int(number, 16) == port:
            found.add(socket.inet_ntoa(bytes.fromhex(address)[::-1]))
    for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]:
        local, state = line.split()[1], line.split()[3]
        if state == "0A" and int(local.split(":")[1], 16) == port:
            found.add("IPv6")
    return found


def _runs(scene: Scene) -> int:
    import subprocess

    from fedcl.deployment.flower import environment, flower

    done = subprocess.run(
        flower("flwr", "ls", "federation", "--format", "json"),
        env=environment(scene.lab.server / "state" / "flower"),
        cwd=scene.lab.server,
        capture_output=True,
        text=True,
        check=True,
    )
    return len(json.loads(done.stdout[done.stdout.index("{") :])["runs"])


def stale() -> datetime:
    """Return a time that is too long ago for Flower to accept."""
    return datetime.now(UTC) - timedelta(minutes=10)
