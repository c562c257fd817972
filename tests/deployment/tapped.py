"""A federation with a tap on every line: what each site sent, from before it joined to the end."""

import json
from datetime import UTC, datetime
from pathlib import Path

import yaml

from fedcl.deployment.bundle import bundle_digest
from fedcl.kit.folders import SiteFolder
from tests.deployment.capture import Captured
from tests.deployment.lab import Lab
from tests.deployment.tap import Tap


def run_tapped(lab: Lab, scratch: Path) -> dict[str, Captured]:
    """Run a federation that is set up to its end, and end its processes.

    Args:
        lab: Every site has approved the experiment; nothing runs yet.
        scratch: A folder for the taps' certificates.

    Returns:
        What each site sent.
    """
    taps: dict[str, Tap] = {}
    began = datetime.now(UTC)
    try:
        for site in lab.sites:
            taps[site] = Tap(lab.server, lab.gateway, scratch / f"tap-{site}").start()
            settings = yaml.safe_load(lab.settings(site).read_text())
            settings["server"] = f"127.0.0.1:{taps[site].port}"
            lab.settings(site).write_text(yaml.safe_dump(settings))
        lab.start()
        lab.run()
    finally:
        lab.stop()
        for tap in taps.values():
            tap.stop()
    return {site: _captured(lab, site, taps[site], began) for site in lab.sites}


def _captured(lab: Lab, site: str, tap: Tap, began: datetime) -> Captured:
    (bundle,) = (lab.home(site) / "approved").glob("bundle-*.fab")
    folder = lab.folder / lab.tree["output"]["path"]
    return Captured(
        files=SiteFolder(lab.home(site)),
        host=f"127.0.0.1:{tap.port}",
        lines=tap.lines,
        run=json.loads((folder / "submitted.json").read_text())["run"],
        bundle=bundle_digest(bundle.read_bytes()),
        began=began,
        ended=datetime.now(UTC),
    )
