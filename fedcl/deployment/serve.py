"""Prepares the processes of a server: the SuperLink on the loopback, its executor, the gateway."""

import sys

from fedcl.deployment.flower import LOOPBACK, environment, flower
from fedcl.deployment.supervisor import Service
from fedcl.files.atomic import write_text
from fedcl.kit.federation import FederationSettings
from fedcl.kit.folders import ServerFolder

FLOWER_CONNECTION = "federation"
"""Name of this folder's SuperLink in Flower's own configuration."""


def server_services(files: ServerFolder, federation: FederationSettings) -> list[Service]:
    """Prepare a server's folder and return its processes in the order in which they start."""
    home = files.state / "flower"
    address = f"{LOOPBACK}:{federation.superlink_port}"
    connection = f'address = "{address}"\nroot-certificates = "{files.authority}"\n'
    write_text(
        home / "config.toml",
        f'[superlink]\ndefault = "{FLOWER_CONNECTION}"\n\n'
        f"[superlink.{FLOWER_CONNECTION}]\n{connection}",
    )
    around = environment(home)
    superlink = Service(
        "superlink",
        flower(
            "flower-superlink",
            *("--host", LOOPBACK, "--port", str(federation.superlink_port)),
            *("--database", str(files.state / "superlink.db")),
            "--enable-supernode-auth",
            *("--ssl-ca-certfile", str(files.authority)),
            *("--ssl-certfile", str(files.certificate)),
            *("--ssl-keyfile", str(files.key)),
            *("--isolation", "process", "--superexec-auth-secret-file", str(files.secret)),
            "--disable-runtime-dependency-installation",
        ),
        around,
        files.path,
    )
    executor = Service(
        "executor",
        flower(
            "flower-superexec",
            *("--runtime-api-address", address),
            *("--root-certificates", str(files.authority)),
            *("--superexec-auth-secret-file", str(files.secret)),
        ),
        around,
        files.path,
    )
    gateway = Service(
        "gateway",
        [sys.executable, "-P", "-m", "fedcl.server.gateway", str(files.path)],
        around,
        files.path,
    )
    return [superlink, executor, gateway]
