"""A whole federation as processes on this machine, set up with the commands that people type."""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pandas as pd
import yaml

from tests.builders import table_tree, with_values, write_table

SITES = ("north", "south", "12")


@dataclass
class Lab:
    """One server and its sites, each in a folder of its own.

    Attributes:
        folder: Of everything.
        sites: Labels.
        tree: The experiment, as a dict; its data are the whole cohort's, which no site sees.
        through: host:port that sites are told to reach the server by; None: the gateway itself.
        longest_s: That a command may take.
    """

    folder: Path
    sites: tuple[str, ...] = SITES
    tree: dict = field(default_factory=dict)
    gateway: int = 0
    superlink: int = 0
    through: str | None = None
    longest_s: float = 400.0

    @property
    def server(self) -> Path:
        return self.folder / "lab"

    @property
    def experiment(self) -> Path:
        return self.folder / "tiny.yaml"

    def home(self, site: str) -> Path:
        return self.folder / f"hospital-{site}"

    def settings(self, site: str) -> Path:
        return self.home(site) / "site.yaml"

    def set_up(self) -> "Lab":
        """Write the data, make the kit, ask, approve: everything but start."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_data()
        if not self.tree:
            self.tree = self.usual()
        self.experiment.write_text(yaml.safe_dump(self.tree))
        self.gateway, self.superlink = free_ports(2)
        federation = {
            "name": "lab",
            "host": "127.0.0.1",
            "port": self.gateway,
            "listen": "127.0.0.1",
            "superlink_port": self.superlink,
            "also": [],
            "sites": list(self.sites),
            "days": {"authority": 100, "server": 50, "invitation": 5, "node_key": 50},
        }
        (self.folder / "FEDERATION.yaml").write_text(yaml.safe_dump(federation))
        self.fedcl("kit", "new", "FEDERATION.yaml", "--folder", "lab")
        for site in self.sites:
            self.invite(site)
            self.approve(site)
        return self

    def usual(self) -> dict:
        """Return the experiment of a lab that is given none."""
        return with_values(
            table_tree(self.folder),
            federation__min_sites=len(self.sites),
            federation__answer_timeout_s=120,
            output__path="runs/tiny",
        )

    def write_data(self) -> None:
        """Write the whole cohort; each site is given its own rows of it."""
        write_table(self.folder / "data")

    def write_own(self, site: str) -> None:
        """Write a site's own participants."""
        own_rows(self.folder / "data", self.home(site) / "data", site)

    def server_of(self, _site: str) -> str | None:
        """Return the host:port that a site is told to reach the server by."""
        return self.through

    def invite(self, site: str) -> None:
        """Make a site's folder from its invitation, and approve its key."""
        home = self.home(site)
        self.write_own(site)
        self.fedcl(
            *("kit", "request", f"lab/invitations/{site}.yaml"),
            *("--folder", str(home), "--data", str(home / "data")),
        )
        self.fedcl("kit", "approve", "lab", str(home / "request.yaml"), "--yes")
        settings = yaml.safe_load(self.settings(site).read_text())
        settings["limits"]["min_participants"] = 3
        through = self.server_of(site)
        if through is not None:
            settings["server"] = through
        self.settings(site).write_text(yaml.safe_dump(settings))

    def approve(self, site: str) -> None:
        """Let a site agree to the experiment."""
        self.fedcl("approve", str(self.settings(site)), str(self.experiment), "--yes")

    def start(self) -> "Lab":
        """Start the server and every site."""
        self.fedcl("serve", "lab", "--background")
        for site in self.sites:
            self.join(site)
        return self

    def join(self, site: str) -> str:
        return self.fedcl("join", str(self.settings(site)), "--background")

    def run(self, *words: str, check: bool = True) -> str:
        return self.fedcl("run", str(self.experiment), "--federation", "lab", *words, check=check)

    def stop(self) -> None:
        """End everything, whatever state it is in."""
        for place in (*map(self.home, self.sites), self.server):
            if place.exists():
                self.fedcl("stop", str(place), check=False)

    def fedcl(self, *words: str, check: bool = True) -> str:
        """Run a command as a person types it; return what it printed."""
        done = self.popen(*words)
        try:
            said, _ = done.communicate(timeout=self.longest_s)
        except subprocess.TimeoutExpired:
            done.kill()
            done.communicate()
            raise
        if check and done.returncode:
            raise AssertionError(f"fedcl {' '.join(words)}: exit {done.returncode}\n{said}")
        return said

    def popen(
        self, *words: str, tree: Path | None = None, into: int | IO[str] = subprocess.PIPE
    ) -> "subprocess.Popen[str]":
        """Start a command; with the fedcl of another source tree, where one is given."""
        root = tree or Path(__file__).parents[2]
        return subprocess.Popen(
            [sys.executable, "-m", "fedcl", *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": self.module_path(root), "COLUMNS": "200"},
            stdout=into,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def module_path(self, root: Path) -> str:
        """Return where the processes look for modules; fedcl's source tree is `root`."""
        return str(root)


def own_rows(cohort: Path, folder: Path, site: str) -> None:
    """Write a hospital's own folder: its participants and nobody else's."""
    folder.mkdir(parents=True, exist_ok=True)
    people = pd.read_csv(cohort / "participants.tsv", sep="\t", dtype=str)
    people = people[people["site"] == site]
    features = pd.read_csv(cohort / "features.tsv", sep="\t", dtype=str)
    features = features[features["participant_id"].isin(people["participant_id"])]
    people.to_csv(folder / "participants.tsv", sep="\t", index=False)
    features.to_csv(folder / "features.tsv", sep="\t", index=False)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
