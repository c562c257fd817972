"""Accounts for every byte that leaves a hospital, at the sites of configs/three_hospitals.yaml.

Server and sites run as processes of their own on this machine, with TLS and node keys, and each
site has only its own participants. Taps read every call: each header and field must be known, each
object must be in a receipt, the guard's own log must agree, and no byte may be left over.
Run: python benchmarks/capture.py [--sites 3], a few minutes
"""

import argparse
import json
import struct
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.deployment.capture import Account, Captured  # noqa: E402  # after the path
from tests.deployment.lab import Lab  # noqa: E402
from tests.deployment.tapped import run_tapped  # noqa: E402

PARTS = {
    "arrays": "arrays, as the receipts say",
    "around": "names, shapes and headers of the releases, in the receipts too",
    "messages": "metadata of messages: run, node, question answered, time",
    "protocol": "names of objects, heartbeats, asking for work",
    "http": "HTTP: key, time and signature of each call",
    "total": "**total, before TLS**",
}


class Hospitals(Lab):
    """A lab whose sites each hold only their own participants of the phantom."""

    def write_data(self) -> None:
        """Write nothing, since nobody holds the whole cohort."""

    def write_own(self, site: str) -> None:
        """Write a site's own participants, the same as in the whole cohort."""
        data = self.tree["data"]
        grid = [str(voxels) for voxels in data["grid"]]
        where = ["--site", site, "--scale", str(data["scale"]), "--grid", *grid]
        self.home(site).mkdir(parents=True, exist_ok=True)
        self.fedcl("phantom", str(self.home(site) / "data"), *where)


def experiment(sites: int) -> dict:
    """Return the experiment of the three hospitals, or of the first few of them."""
    tree = yaml.safe_load((ROOT / "configs" / "three_hospitals.yaml").read_text())
    tree["data"]["sites"] = tree["data"]["sites"][:sites]
    tree["federation"]["min_sites"] = sites
    # The table counts the bytes of rounds; docs/explanation/evaluation.md has an evaluation's.
    tree["evaluation"]["from_sums"] = None
    return tree


def check(captured: dict[str, Captured]) -> dict[str, tuple[Account, Counter[str]]]:
    """Check everything that was sent and return each site's account and the kinds of its fields."""
    found = {}
    for site, one in captured.items():
        others = [other.pushed for other in captured.values() if other is not one]
        one.require_known_headers()
        fields = one.require_known_fields()
        one.require_receipts()
        one.require_sent({name: content for other in others for name, content in other.items()})
        egress = one.files.egress.read_text().splitlines()
        one.require_agreement([json.loads(line) for line in egress])
        for secret in secrets(one):
            assert not list(one.where(secret)), f"{site}: {secret!r} left the site"
        account = one.account()
        account.require_whole()
        found[site] = account, fields
    return found


def secrets(site: Captured) -> list[bytes]:
    """Return texts that must not leave: names of participants and files, the folder, the ages."""
    data = site.files.path / "data"
    people = pd.read_csv(data / "participants.tsv", sep="\t", dtype={"participant_id": str})
    files = [file.name for file in data.rglob("*") if file.is_file()]
    words = [site.files.path.name, *people["participant_id"], *files]
    assert len(words) > 2 * len(people) > 0
    return [*map(str.encode, words), *(struct.pack("<d", age) for age in people["age"])]


def table(found: dict[str, tuple[Account, Counter[str]]], rounds: int) -> str:
    """Return the table of bytes in Markdown."""
    lines = [
        f"| bytes in {rounds} rounds | {' | '.join(f'site {site}' for site in found)} |",
        f"|---|{'---|' * len(found)}",
    ]
    for part, what in PARTS.items():
        values = [getattr(account, part) for account, _ in found.values()]
        lines.append(f"| {what} | {' | '.join(f'{value:,}' for value in values)} |")
    calls = " | ".join(str(account.calls) for account, _ in found.values())
    kinds = sum((fields for _, fields in found.values()), Counter())
    listed = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
    return "\n".join([*lines, f"| calls | {calls} |", "", f"Fields by kind: {listed}."])


def main() -> None:
    """Run the federation, check what left its sites and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=3, choices=(2, 3))
    sites = parser.parse_args().sites
    tree = experiment(sites)
    with tempfile.TemporaryDirectory(prefix="fedcl-capture-") as scratch:
        folder = Path(scratch)
        lab = Hospitals(folder / "machines", tuple(tree["data"]["sites"]), tree)
        lab.longest_s = 1800
        lab.set_up()
        found = check(run_tapped(lab, folder))
        print(table(found, tree["federation"]["rounds"]))


if __name__ == "__main__":
    main()
