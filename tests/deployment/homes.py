"""A site's folder for tests that need no process: SITE.yaml, three participants, memory."""

from pathlib import Path

import yaml

from fedcl.deployment.home import SiteHome
from tests.builders import table_tree, with_values, write_table
from tests.deployment.lab import own_rows

SITE = {
    "site": "north",
    "server": "fl.hospital.example:8443",
    "data": None,
    "compute": {"device": "cpu", "threads": 1},
    "limits": {
        "privacy": None,
        "min_participants": 3,
        "releases": ["feature_sums", "updates"],
        "max_rounds": 2,
        "stop_file": "STOP",
    },
}


def home_at(folder: Path, **changes) -> SiteHome:
    """Return a site's home in a new folder, with `section__key=value` replaced in its SITE.yaml."""
    write_table(folder / "all" / "data")
    path = folder / "hospital"
    own_rows(folder / "all" / "data", path / "data", "north")
    tree = {**SITE, "data": {**table_tree(folder)["data"], "path": "data"}}
    (path / "site.yaml").write_text(yaml.safe_dump(with_values(tree, **changes)))
    for part in ("memory", "state", "approved"):
        (path / part).mkdir()
    return SiteHome.of(path / "site.yaml")
