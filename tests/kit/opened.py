"""A small federation for the tests of the kit: three sites, and a time that stands still."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from fedcl.kit.admission import approve, verify_request
from fedcl.kit.folders import ServerFolder, SiteFolder
from fedcl.kit.joining import prepare_request
from fedcl.kit.opening import new_federation

NOW = datetime(2031, 3, 5, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)
SITES = ["north", "12", "St. Anne / Köln"]


def federation_tree(**changes) -> dict:
    """FEDERATION.yaml as a dict."""
    return {
        "name": "brain-age",
        "host": "fl.hospital.example",
        "port": 8443,
        "listen": "0.0.0.0",
        "superlink_port": 18000,
        "also": ["10.1.2.3"],
        "sites": SITES,
        "days": {"authority": 1000, "server": 300, "invitation": 14, "node_key": 200},
        **changes,
    }


def write_federation(path: Path, **changes) -> Path:
    path.write_text(yaml.safe_dump(federation_tree(**changes), allow_unicode=True))
    return path


def opened(folder: Path, now: datetime = NOW, **changes) -> ServerFolder:
    """Return a federation's server folder, `folder / "server"`."""
    file = write_federation(folder / "FEDERATION.yaml", **changes)
    return new_federation(file, folder / "server", now)


def requested(server: ServerFolder, site: str, now: datetime = NOW) -> SiteFolder:
    """Let a site use its last invitation."""
    folder = server.path.parent / f"at-{SITES.index(site)}"
    return prepare_request(server.invitation(site), folder, now).folder


def approved(server: ServerFolder, site: str, now: datetime = NOW) -> SiteFolder:
    """Let a site use its last invitation, and the server approve its key."""
    files = requested(server, site, now)
    approve(server.path, verify_request(server.path, files.request, now), now)
    return files


def rewritten(file: Path, **changes) -> Path:
    """Change fields of an invitation or request in its file."""
    tree = yaml.load(file.read_text(), Loader=yaml.BaseLoader)
    file.write_text(yaml.safe_dump({**tree, **changes}, allow_unicode=True))
    return file
