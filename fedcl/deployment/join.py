"""Prepares the processes of a site: a guard, Flower's node, and the executor of the site's app.

The node reaches only the guard, on the loopback, and the guard reaches only the federation. The
node hands the app to holders of a secret only; without it, its port would give the app to anybody.
"""

import secrets
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

from fedcl.deployment.approval import Approvals
from fedcl.deployment.bundle import install
from fedcl.deployment.flower import LOOPBACK, environment, flower
from fedcl.deployment.home import SiteHome
from fedcl.deployment.supervisor import Service
from fedcl.deployment.tls import write_loopback_certificate
from fedcl.errors import ConfigError
from fedcl.files.atomic import write_secret
from fedcl.kit.certificate_problem import site_certificate_problem
from fedcl.kit.node_key import load_node_key


def require_ready(home: SiteHome) -> None:
    """Check that a site has all it needs to join.

    Raises:
        ConfigError: something is missing; the message names it and the command that makes it.
    """
    problem = site_certificate_problem(home.files.path, datetime.now(UTC))
    if problem is not None:
        raise ConfigError(problem)
    load_node_key(home.files.key)
    if home.stop_file.exists():
        raise ConfigError(f"{home.stop_file}: the site has stopped; delete this file to join")
    approvals = Approvals(home.files.approved)
    if not approvals.bundles():
        raise ConfigError(
            f"{home.files.approved}: no bundle is approved, so nothing could run here; "
            "`fedcl approve SITE.yaml EXPERIMENT.yaml` approves what is installed"
        )


def site_services(home: SiteHome, settings: Path) -> list[Service]:
    """Prepare a site's folder and return its processes in the order in which they start.

    Args:
        settings: Path of the site's SITE.yaml.

    Raises:
        RunError: Flower cannot install the bundle.
    """
    state = home.files.state
    state.mkdir(parents=True, exist_ok=True)
    home.files.memory.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificate, key, secret = state / "loopback.crt", state / "loopback.key", state / "secret.txt"
    write_loopback_certificate(certificate, key)
    write_secret(secret, secrets.token_urlsafe(48).encode())
    approvals = Approvals(home.files.approved)
    flower_home = state / "flower"
    around = environment(flower_home)
    install(approvals.bundles(), flower_home)
    guard_port, node_port = _free_ports(2)
    python = (sys.executable, "-P", "-m")
    guard = Service(
        "guard",
        [*python, "fedcl.sites.guard", str(settings.absolute()), str(guard_port)],
        around,
        home.files.path,
    )
    node = Service(
        "node",
        flower(
            "flower-supernode",
            *("--superlink", f"{LOOPBACK}:{guard_port}"),
            *("--root-certificates", str(certificate)),
            *("--auth-supernode-private-key", str(home.files.key)),
            *("--trusted-entities", str(approvals.write_trusted())),
            *("--isolation", "process", "--superexec-auth-secret-file", str(secret)),
            *("--host", LOOPBACK, "--port", str(node_port)),
            *("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)),
            *("--ssl-ca-certfile", str(certificate)),
            *("--node-config", f'site-config="{settings.absolute()}"'),
        ),
        around,
        home.files.path,
    )
    executor = Service(
        "executor",
        flower(
            "flower-superexec",
            *("--runtime-api-address", f"{LOOPBACK}:{node_port}"),
            *("--root-certificates", str(certificate)),
            *("--superexec-auth-secret-file", str(secret)),
        ),
        around,
        home.files.path,
    )
    return [guard, node, executor]


def _free_ports(count: int) -> list[int]:
    """Return ports of the loopback that no process uses now."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports
