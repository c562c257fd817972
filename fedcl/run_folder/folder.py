"""The folder of a run: what was asked, how far it got, what came out.

config.yaml      the resolved experiment
rounds.jsonl     one line per round
checkpoints/     round-00008/{weights,server}.safetensors, state.json
sites/           each site's memory, receipts and failures (simulation)
now.json         which sites the server waits for, while it runs
stopped.json     why the server stopped before the last round
evaluation.json  what the sites' sums say of the encoder, where they are asked for them
results.json, report.html
tensorboard/     event files, drawn from rounds.jsonl and results.json
mlflow.json      which run of which MLflow store this is, where one is asked for
encoder.safetensors   the trained weights; the header says what is promised about privacy
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import yaml

from fedcl.arrays.tensors import State
from fedcl.config.experiment import Config
from fedcl.config.loading import parse, resolved
from fedcl.errors import FedclError, RunError
from fedcl.files.atomic import read_tensors, write_folder, write_json, write_tensors, write_text
from fedcl.moments.frozen import NoisyMoments
from fedcl.moments.private import PrivateSums
from fedcl.moments.shared import SharedMoments
from fedcl.moments.sums import NodeSums

# What may change between a run and its resumption: none of it alters the rounds already done. The
# outlier factor is there for a round that it stopped: who was left out before, the log says.
_MAY_CHANGE = (
    ("federation", "rounds"),
    ("federation", "outlier_factor"),
    ("compute", "workers"),
    ("evaluation",),
    ("output",),
)


@dataclass(frozen=True)
class Checkpoint:
    """A federation after a round.

    Attributes:
        round: Rounds completed; 0 before the first.
        weights: The travelling tensors.
        server: The aggregation rule's own memory, named tensors.
        record: The round's line in the log; empty at round 0.
        shared: The sites' moments that the next round starts with, where those travel with updates.
        released: Moments with noise, as last released.
    """

    round: int
    weights: State
    server: State
    record: dict[str, Any]
    shared: SharedMoments | None = None
    released: NoisyMoments | None = None


class RunFolder:
    """One run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results = path / "results.json"
        self.report = path / "report.html"
        self.model = path / "encoder.safetensors"
        self.log = path / "rounds.jsonl"
        self.sites = path / "sites"
        self.now = path / "now.json"
        self.stopped = path / "stopped.json"
        self.evaluation = path / "evaluation.json"
        # The last round of the log, once this object has made it whole; then it is added to.
        self._logged: int | None = None

    def site_path(self, site: str) -> Path:
        """Return the folder of one site, whatever characters its label holds."""
        return self.sites / ("site-" + quote(site, safe=" "))

    def require_new(self) -> None:
        """Check that no run is here yet.

        Raises:
            RunError: the folder already holds one.
        """
        if (self.path / "config.yaml").exists():
            raise RunError(
                f"{self.path}: a run is already there; go on with it (--resume), discard it "
                "(--restart), or choose another folder with --set output.path=..."
            )

    def start(self, config: Config) -> None:
        """Begin a new run.

        Raises:
            RunError: the folder already holds one.
        """
        self.require_new()
        write_text(self.path / "config.yaml", resolved(config))

    def resume(self, config: Config) -> None:
        """Check that the run in this folder is the experiment `config`; start it if there is none.

        Raises:
            RunError: naming the first key that differs.
        """
        file = self.path / "config.yaml"
        if not file.exists():
            self.start(config)
            return
        before = yaml.safe_load(file.read_text(encoding="utf-8"))
        now = config.model_dump(mode="json")
        for key, old, new in _differences(before, now):
            if not any(key[: len(free)] == free for free in _MAY_CHANGE):
                raise RunError(
                    f"{self.path}: cannot resume: {'.'.join(key)} was {old!r} and is now {new!r}; "
                    "use the run's own configuration, or another output.path"
                )
        write_text(file, resolved(config))

    def write_stopped(self, error: FedclError) -> None:
        """Say why the run ended, for another process to read."""
        write_json(self.stopped, {"message": str(error), "exit_code": error.exit_code})

    def config(self) -> Config:
        """Return the experiment of this run.

        Raises:
            RunError: there is no run here.
        """
        file = self.path / "config.yaml"
        if not file.exists():
            raise RunError(f"{self.path}: no run here (no config.yaml)")
        return parse(file.read_text(encoding="utf-8"), source=str(file))

    def save(self, checkpoint: Checkpoint, *, keep_every: int | None) -> None:
        """Write a checkpoint whole, then the round's log line, then forget older checkpoints.

        Args:
            checkpoint: What to keep.
            keep_every: Rounds that are multiples of it are kept for good (the curve).
        """

        def fill(folder: Path) -> None:
            write_tensors(folder / "weights.safetensors", checkpoint.weights)
            write_tensors(folder / "server.safetensors", checkpoint.server)
            state: dict[str, Any] = {"round": checkpoint.round, "record": checkpoint.record}
            shared = checkpoint.shared
            if shared is not None:
                state["moments"] = {"round": shared.round, "sites": list(shared.sites)}
                arrays = [part.arrays() for part in shared.parts]
                stacked = {n: np.stack([part[n] for part in arrays]) for n in arrays[0]}
                write_tensors(folder / "moments.safetensors", stacked)
            released = checkpoint.released
            if released is not None:
                state["released"] = {
                    "round": released.round,
                    "slots": list(released.slots),
                    "sizes": list(released.sizes),
                }
                write_tensors(folder / "released.safetensors", released.sums.arrays())
            write_text(folder / "state.json", json.dumps(state, allow_nan=False) + "\n")

        write_folder(self._checkpoint(checkpoint.round), fill)
        self.write_log(checkpoint)
        numbers = self.checkpoints()
        for number in numbers[:-2]:
            if keep_every is None or number % keep_every or number == 0:
                _remove(self._checkpoint(number))

    def write_log(self, checkpoint: Checkpoint) -> None:
        """Make the log end with this checkpoint's round, whatever a killed process left there."""
        if checkpoint.record and self._logged == checkpoint.round - 1:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(checkpoint.record) + "\n")
        else:
            lines = [record for record in self.read_log() if record["round"] < checkpoint.round]
            if checkpoint.record:
                lines.append(checkpoint.record)
            write_text(self.log, "".join(json.dumps(line) + "\n" for line in lines))
        self._logged = checkpoint.round

    def read_log(self) -> list[dict[str, Any]]:
        """Return the rounds' records, oldest first; a torn last line is ignored."""
        records = []
        if self.log.exists():
            for line in self.log.read_text(encoding="utf-8").splitlines():
                try:
                    records.append(json.loads(line))
                except json.JSONDecodeError:
                    break
        return records

    def checkpoints(self) -> list[int]:
        """Return the rounds that have a checkpoint, ascending."""
        return sorted(int(p.name[6:]) for p in (self.path / "checkpoints").glob("round-[0-9]*"))

    def load(self, round_number: int | None = None) -> Checkpoint | None:
        """Return a round's checkpoint, by default the last; None if there is none.

        Raises:
            RunError: the checkpoint is damaged.
        """
        numbers = self.checkpoints()
        if not numbers:
            return None
        folder = self._checkpoint(numbers[-1] if round_number is None else round_number)
        try:
            state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
            return Checkpoint(
                state["round"],
                read_tensors(folder / "weights.safetensors"),
                read_tensors(folder / "server.safetensors"),
                state["record"],
                _shared(folder, state.get("moments")),
                _released(folder, state.get("released")),
            )
        except Exception as error:  # safetensors raises its own types for a damaged file
            raise RunError(
                f"{folder}: damaged checkpoint ({error}); delete this folder to resume from the "
                "round before"
            ) from None

    def _checkpoint(self, round_number: int) -> Path:
        return self.path / "checkpoints" / f"round-{round_number:05d}"


def _shared(folder: Path, described: dict[str, Any] | None) -> SharedMoments | None:
    if described is None:
        return None
    stacked = read_tensors(folder / "moments.safetensors")
    parts = zip(*(stacked[name] for name in ("count", "total", "squares")), strict=True)
    return SharedMoments(
        described["round"], tuple(described["sites"]), tuple(NodeSums(*part) for part in parts)
    )


def _released(folder: Path, described: dict[str, Any] | None) -> NoisyMoments | None:
    if described is None:
        return None
    sums = PrivateSums(**read_tensors(folder / "released.safetensors"))
    slots, sizes = tuple(described["slots"]), tuple(described["sizes"])
    return NoisyMoments(described["round"], slots, sizes, sums)


def _remove(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()


def _differences(
    before: Any, now: Any, key: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], Any, Any]]:
    if isinstance(before, dict) and isinstance(now, dict):
        found = []
        for name in {**before, **now}:
            found += _differences(before.get(name), now.get(name), (*key, name))
        return found
    return [] if before == now else [(key, before, now)]
