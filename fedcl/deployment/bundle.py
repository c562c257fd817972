"""Builds the bundle: fedcl's own code as a Flower app, the same bytes wherever it is built.

Server and sites each build it from the fedcl that they installed. A site runs a bundle only if it
built and approved the same one, so a server cannot run code that the site does not know.
"""

import hashlib
import shutil
import subprocess
import tempfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import fedcl
from fedcl.deployment.flower import environment, flower
from fedcl.errors import RunError

_LONGEST_S = 120
_DESCRIPTION = f"""\
[project]
name = "fedcl"
version = "{fedcl.__version__}"
description = "Train a brain-MRI encoder across hospitals without moving a scan"
license = "Apache-2.0"

[tool.flwr.app]
publisher = "fedcl"
fab-include = ["fedcl/**/*.py"]

[tool.flwr.app.components]
clientapp = "fedcl.sites.app_process:app"
serverapp = "fedcl.server.app:app"

[tool.flwr.app.config]
config = ""
resume = false
folder = ""
"""


def stage(folder: Path) -> Path:
    """Copy the app's sources into a new folder and return the app's own folder in it.

    Raises:
        RunError: fedcl's sources cannot be found.
    """
    app = folder / "fedcl"
    app.mkdir(parents=True)
    source = Path(fedcl.__file__).parent
    shutil.copytree(source, app / "fedcl", ignore=shutil.ignore_patterns("__pycache__"))
    (app / "pyproject.toml").write_text(_DESCRIPTION, encoding="utf-8")
    return app


def build() -> bytes:
    """Return the bundle of the fedcl that is installed here.

    Raises:
        RunError: Flower cannot build it.
    """
    with tempfile.TemporaryDirectory(prefix="fedcl-bundle-") as scratch:
        app = stage(Path(scratch))
        done = subprocess.run(
            flower("flwr", "build", "--app", str(app)),
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
        bundles = list(Path(scratch).glob("*.fab"))
        if done.returncode or len(bundles) != 1:
            raise RunError(f"Flower cannot build the bundle: {(done.stdout + done.stderr).strip()}")
        return bundles[0].read_bytes()


def bundle_digest(bundle: bytes) -> str:
    """Return the SHA-256 of a bundle, 64 hexadecimal digits, by which it is named."""
    return hashlib.sha256(bundle).hexdigest()


def install(bundles: Sequence[Path], home: Path) -> None:
    """Unpack bundles read-only where Flower looks for them, in place of those there before.

    Args:
        bundles: Files of the bundles to install.
        home: Flower's home folder, whose folder `apps` is written anew.

    Raises:
        RunError: Flower cannot install one.
    """
    apps = home / "apps"
    if apps.exists():
        _protect(apps, writable=True)
        shutil.rmtree(apps)
    apps.mkdir(parents=True)
    for bundle in bundles:
        with tempfile.TemporaryDirectory(prefix="fedcl-bundle-") as scratch:
            named = Path(scratch) / _flowers_name(bundle)
            shutil.copyfile(bundle, named)
            done = subprocess.run(
                flower("flwr", "install", str(named)),
                env=environment(home),
                cwd=scratch,
                capture_output=True,
                text=True,
                timeout=_LONGEST_S,
                check=False,
            )
        if done.returncode:
            output = (done.stdout + done.stderr).strip()
            raise RunError(f"{bundle}: Flower cannot install this bundle: {output}")
    _protect(apps, writable=False)


def _flowers_name(bundle: Path) -> str:
    """Return the file name that Flower demands for a bundle."""
    with zipfile.ZipFile(bundle) as archive:
        project = tomllib.loads(archive.read("pyproject.toml").decode())["project"]
    version = project["version"].replace(".", "-")
    return f"fedcl.{project['name']}.{version}.{bundle_digest(bundle.read_bytes())[:8]}.fab"


def _protect(folder: Path, *, writable: bool) -> None:
    for path in [folder, *folder.rglob("*")]:
        allowed = path.stat().st_mode & 0o555
        path.chmod(allowed | 0o200 if writable else allowed)
