"""A federation of three sites on this machine for faults, and runs of an experiment in it."""

import json
import os
import re
import shutil
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))

from faulty.wires import LOOPBACK, Cable, Tap
from fedcl.deployment.supervisor import read_status
from fedcl.privacy.ledger import Ledger
from fedcl.run_folder.folder import RunFolder
from tests.builders import private_tree, with_values
from tests.deployment.lab import Lab, free_ports

ROUNDS = 2
EPOCHS = 100
"""Local epochs of a round, enough for some seconds in which a process can be killed."""
PATIENCE_S = 90
"""The experiment's federation.answer_timeout_s, in seconds."""
_LONGEST_S = 600.0
_LOOK_S = 0.05
_QUOTED = 260


class UnexpectedError(Exception):
    """Tells that a fault did not end as it should, and what was seen instead."""


@dataclass
class MarkedLab(Lab):
    """A lab whose participants have ids and ages that occur in no other text.

    Attributes:
        routes: Ports by which some sites reach the server another way, by label.
    """

    routes: dict[str, int] = field(default_factory=dict)

    def write_data(self) -> None:
        super().write_data()
        data = self.folder / "data"
        for name in ("participants.tsv", "features.tsv"):
            table = pd.read_csv(data / name, sep="\t", dtype=str)
            table["participant_id"] = "quoll-" + table["participant_id"]
            if "age" in table:
                table["age"] = [f"{age}{1000 + 37 * i}" for i, age in enumerate(table["age"])]
            table.to_csv(data / name, sep="\t", index=False)

    def server_of(self, site: str) -> str | None:
        return f"{LOOPBACK}:{self.routes[site]}" if site in self.routes else None

    def needles(self) -> dict[str, bytes]:
        """Return the bytes that may exist at the sites only, by a name of each."""
        people = pd.read_csv(self.folder / "data" / "participants.tsv", sep="\t", dtype=str)
        people = people[people["site"].isin(self.sites)]
        found = {f"id {name}": name.encode() for name in people["participant_id"]}
        for age in people["age"]:
            found[f"age {age}"] = age.encode()
            found[f"age {age} in binary"] = struct.pack("<d", float(age))
        for site in self.sites:
            found[f"path of {site}"] = self.home(site).name.encode()
        return found


@dataclass
class Scene:
    """The lab with its connections, and the outcome of an undisturbed run.

    Attributes:
        folder: Folder of everything in the scene.
        say: A function that shows a line of progress.
    """

    folder: Path
    say: Callable[[str], None]
    reference: dict[str, bytes] = field(default_factory=dict)

    def set_up(self) -> None:
        """Set up and start the lab: north behind a cable, south behind a tap, and 12 direct."""
        self.cable, self.tap = Cable(), Tap(free_ports(1)[0])
        lab = MarkedLab(self.folder, routes={"north": self.cable.port, "south": self.tap.port})
        self.folder.mkdir(parents=True, exist_ok=True)
        lab.tree = with_values(
            private_tree(self.folder, test_seed=7, budget=1e6),
            federation__rounds=ROUNDS,
            local__epochs=EPOCHS,
            federation__min_sites=len(lab.sites),
            federation__answer_timeout_s=PATIENCE_S,
            output__path="runs/tiny",
        )
        self.lab = lab.set_up()
        self.cable.upstream = lab.gateway
        server = lab.server
        files = [str(server / name) for name in ("server.crt", "server.key", "authority/ca.crt")]
        self.tap.start(f"https://{LOOPBACK}:{lab.gateway}", *files)
        self.tolerant = self.folder / "tolerant.yaml"
        values = {
            "name": "tolerant",
            "federation__min_sites": 2,
            "federation__outlier_factor": 10,
            "output__path": "runs/tolerant",
        }
        self.tolerant.write_text(yaml.safe_dump(with_values(lab.tree, **values)))
        for site in lab.sites:
            lab.fedcl("approve", str(lab.settings(site)), str(self.tolerant), "--yes")
        lab.start()

    @property
    def gateway(self) -> str:
        return f"https://{LOOPBACK}:{self.lab.gateway}"

    def place(self, where: str) -> Path:
        """Return the folder of the server or of a site."""
        return self.lab.server if where == "server" else self.lab.home(where)

    def service(self, where: str, name: str) -> dict:
        """Return the entry of a process in the status of the server or a site."""
        status = read_status(self.place(where) / "state")
        return (status or {"services": {}})["services"].get(name, {"pid": None, "restarts": 0})

    def supervisor(self, where: str) -> int:
        status = read_status(self.place(where) / "state")
        assert status is not None
        return int(status["pid"])

    def kill(self, where: str, name: str) -> int:
        """Kill a process with SIGKILL and return its id."""
        pid = self.supervisor(where) if name == "supervisor" else self.service(where, name)["pid"]
        os.kill(pid, signal.SIGKILL)
        return int(pid)

    def app(self, where: str) -> int | None:
        """Return the id of the app's process at a site or at the server, or None without one."""
        name = b"flwr-serverapp" if where == "server" else b"flwr-clientapp"
        executor = self.service(where, "executor")["pid"]
        for pid in children(executor) if executor else ():
            if name in command(pid):
                return pid
        return None

    def wait_healthy(self) -> None:
        """Wait until every process runs and every site has called since."""
        began = time.time()

        def healthy() -> bool:
            for where in ("server", *self.lab.sites):
                status = read_status(self.place(where) / "state")
                if status is None or any(s["pid"] is None for s in status["services"].values()):
                    return False
            seen = self.lab.server / "state" / "seen.json"
            heard = json.loads(seen.read_text()) if seen.exists() else {}
            times = [pd.Timestamp(heard[s]).timestamp() for s in self.lab.sites if s in heard]
            return len(times) == len(self.lab.sites) and min(times) >= int(began)

        until(healthy, "every process up and every site heard")

    def leaks(self, *texts: str) -> list[str]:
        """Return the traces of participants and of sites' folders found at the server."""
        found, needles = [], self.lab.needles()
        places = [self.lab.server, self.folder / "runs"]
        contents = [
            (str(f), f.read_bytes())
            for p in places
            for f in sorted(p.rglob("*"))
            if f.is_file() and not f.is_symlink()
        ]
        contents += [("what was printed", text.encode()) for text in texts]
        for name, content in contents:
            found += [f"{what} in {name}" for what, one in needles.items() if one in content]
        return found

    def status(self, where: str) -> str:
        return self.lab.fedcl("status", str(self.place(where)), check=False)

    def log(self, where: str, name: str) -> str:
        return (self.place(where) / "state" / "logs" / f"{name}.log").read_text(errors="replace")

    def failures(self, site: str) -> str:
        file = self.lab.home(site) / "memory" / "failures.log"
        return file.read_text() if file.exists() else ""

    def put_aside(self, run_folder: Path) -> None:
        """Move an earlier run away, so that a run starts from its beginning."""
        if run_folder.exists():
            (self.folder / "earlier").mkdir(exist_ok=True)
            shutil.move(run_folder, self.folder / "earlier" / str(time.time_ns()))

    def begin(self, *words: str, tolerant: bool = False, tree: Path | None = None) -> "Run":
        """Start `fedcl run` of the experiment from its beginning."""
        self.wait_healthy()
        file = self.tolerant if tolerant else self.lab.experiment
        run = Run(self, file, self.folder / "runs" / file.stem)
        self.put_aside(run.folder.path)
        run.follow(*words, tree=tree)
        return run

    def end(self) -> None:
        """End every process of the scene."""
        self.cable.plug()
        self.lab.stop()


class Run:
    """A run of an experiment: its folder, the output of `fedcl run`, and what it must not lose."""

    def __init__(self, scene: Scene, experiment: Path, folder: Path) -> None:
        self.scene, self.experiment, self.folder = scene, experiment, RunFolder(folder)
        self._printed: list[Path] = []
        self._before = {site: self._kept(site) for site in scene.lab.sites}
        self.began = time.monotonic()

    def follow(self, *words: str, tree: Path | None = None) -> None:
        """Start `fedcl run`, which follows or resumes the run."""
        lab = self.scene.lab
        out = self.scene.folder / f"printed-{time.time_ns()}.txt"
        self._printed.append(out)
        words = ("run", str(self.experiment), "--federation", "lab", *words)
        with out.open("w") as into:
            self.process = lab.popen(*words, tree=tree, into=into)

    def printed(self) -> str:
        return "".join(out.read_text(errors="replace") for out in self._printed)

    def round(self) -> int:
        """Return the number of the last round with a checkpoint, or -1 before the start."""
        return (self.folder.checkpoints() or [-1])[-1]

    def mid_round(self, number: int, where: str) -> int:
        """Wait until a round is under way at a site, and return the id of its app's process."""
        found: list[int] = []

        def going() -> bool:
            pid = self.scene.app(where)
            if self.round() != number - 1 or pid is None:
                return False
            # A site's app that answered an earlier question may still be ending.
            if where == "server" or began(pid) > self._kept_at():
                found.append(pid)
            return bool(found)

        self.until(going, f"round {number} under way at {where}")
        return found[0]

    def _kept_at(self) -> float:
        """Return the time of the last checkpoint, or of the start, in seconds since 1970."""
        return (self.folder.path / "checkpoints" / f"round-{self.round():05d}").stat().st_mtime

    def mid_training(self, number: int, site: str) -> int:
        """Wait until a site has paid for a round and trains, and return its app's process id."""
        app = self.mid_round(number, site)
        paid = self._before[site][0].count(b"\n") + number
        self.until(lambda: self._kept(site)[0].count(b"\n") >= paid, f"{site} pays")
        return app

    def until(self, true: Callable[[], bool], what: str, *, longest_s: float = _LONGEST_S) -> None:
        """Wait for something to happen while the run goes on."""

        def look() -> bool:
            if self.process.poll() is not None and not true():
                raise UnexpectedError(f"`fedcl run` ended before {what}: {tail(self.printed())}")
            return true()

        until(look, what, longest_s=longest_s)

    def says(self, pattern: str, *, longest_s: float = _LONGEST_S) -> str:
        """Wait until `fedcl run` prints a line that fits a pattern, and return the line."""
        self.until(
            lambda: bool(re.search(pattern, self.printed(), re.MULTILINE)),
            f"/{pattern}/ printed",
            longest_s=longest_s,
        )
        return quote(self.printed(), pattern)

    def finish(self) -> None:
        """Wait for the end.

        Raises:
            UnexpectedError: the run ends without its last round.
        """
        deadline = time.monotonic() + _LONGEST_S
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                self.process.kill()
                raise UnexpectedError(f"not done after {_LONGEST_S:g} s: {tail(self.printed())}")
            time.sleep(_LOOK_S)
        if self.process.returncode or self.round() != ROUNDS:
            raise UnexpectedError(f"exit {self.process.returncode}: {tail(self.printed())}")

    def outcome(self) -> str:
        """Return in words how the run ended, after a check of its weights.

        If no site was left out, they must be those of the undisturbed run.

        Raises:
            UnexpectedError: no site was left out, and the weights differ.
        """
        log = self.folder.read_log()
        left = [
            f"{site} left out of round {one.round} ({entry.rejected})"
            for one in log
            for site, entry in one.sites.items()
            if entry.rejected
        ]
        weights = self.folder.path / "checkpoints" / f"round-{ROUNDS:05d}" / "weights.safetensors"
        content = weights.read_bytes()
        kind = self.experiment.stem
        text = f"{len(log)} of {ROUNDS} rounds in {time.monotonic() - self.began:.0f} s"
        times = len(re.findall(r"^Run \d+: ", self.printed(), re.MULTILINE))
        text += f", submitted {times} time{'s' if times != 1 else ''}"
        if left:
            return f"{text}; {'; '.join(left)}"
        if kind == "tiny" and self.scene.reference.setdefault(kind, content) != content:
            raise UnexpectedError(f"{text}; weights differ from the undisturbed run's")
        return f"{text}, every site in every round, weights equal bit for bit"

    def lost(self) -> str:
        """Return in words that checkpoints, ledgers and receipts are whole.

        Raises:
            UnexpectedError: something is missing, cut or altered.
        """
        rounds = [record.round for record in self.folder.read_log()]
        if rounds != list(range(1, ROUNDS + 1)) or self.folder.load() is None:
            raise UnexpectedError(f"rounds.jsonl holds rounds {rounds}")
        paid = receipts = 0
        for site, (ledger, receipted) in self._before.items():
            now = self._kept(site)
            for name, old, new in (("ledger", ledger, now[0]), ("receipts", receipted, now[1])):
                if not new.startswith(old) or not new.endswith(b"\n"):
                    raise UnexpectedError(f"{site}: its {name} lost lines")
            lines = [json.loads(line) for line in now[1][len(receipted) :].splitlines()]
            receipted_rounds = {line["round"] for line in lines if line["kind"] == "update"}
            if not self._counted(site) <= receipted_rounds:
                raise UnexpectedError(f"{site}: receipts of rounds {receipted_rounds} alone")
            said = self.scene.lab.fedcl("receipts", "verify", str(self.scene.lab.home(site)))
            if not re.search(r"\d+ receipts", said):
                raise UnexpectedError(f"`fedcl receipts verify`: {tail(said)}")
            folder = self.scene.lab.home(site) / "memory" / "ledger"
            charges = len(Ledger.of(folder, site).charges())
            if charges != now[0].count(b"\n"):
                raise UnexpectedError(f"{site}: {charges} charges in the ledger's file")
            paid += charges - ledger.count(b"\n")
            receipts += len(lines)
        return (
            f"nothing: {ROUNDS} checkpoints, ledgers whole (+{paid} lines), receipts verified "
            f"(+{receipts} lines)"
        )

    def _counted(self, site: str) -> set[int]:
        """Return the rounds that hold a site's update."""
        log = self.folder.read_log()
        return {line.round for line in log if site in line.valid}

    def _kept(self, site: str) -> tuple[bytes, bytes]:
        memory = self.scene.lab.home(site) / "memory"
        ledgers = list((memory / "ledger").glob("*.jsonl"))
        receipts = memory / "receipts.jsonl"
        return (
            ledgers[0].read_bytes() if ledgers else b"",
            receipts.read_bytes() if receipts.exists() else b"",
        )


def until(true: Callable[[], bool], what: str, *, longest_s: float = _LONGEST_S) -> None:
    """Wait until a condition is true.

    Raises:
        UnexpectedError: the condition does not become true in time.
    """
    deadline = time.monotonic() + longest_s
    while not true():
        if time.monotonic() > deadline:
            raise UnexpectedError(f"waited {longest_s:g} s in vain for {what}")
        time.sleep(_LOOK_S)


def quote(text: str, pattern: str) -> str:
    """Return the last line that holds a pattern, in quotation marks, shortened.

    Raises:
        UnexpectedError: no line holds the pattern.
    """
    for line in reversed(text.splitlines()):
        if re.search(pattern, line):
            short = " ".join(line.split()).replace("|", "/")
            return f"“{short[:_QUOTED]}{'…' if len(short) > _QUOTED else ''}”"
    raise UnexpectedError(f"no line holds /{pattern}/; the end: {tail(text)}")


def tail(text: str) -> str:
    return " / ".join(" ".join(line.split()) for line in text.splitlines()[-8:])[-700:]


def children(parent: int) -> Iterator[int]:
    """Yield the processes that a process has started and that are not dead."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, owner = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if int(owner) == parent and state != "Z":
            yield int(entry.name)


def began(pid: int) -> float:
    """Return when a process was started, in seconds since 1970, or 0 if it has ended."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
        booted = time.time() - float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return 0.0
    return booted + ticks / os.sysconf("SC_CLK_TCK")


def command(pid: int) -> bytes:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""
