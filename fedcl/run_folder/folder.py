"""The folder of a run: what was asked, how far it got, what came out.

config.yaml      the resolved experiment
rounds.jsonl     one line per round
checkpoints/     round-00008/{weights,server}.safetensors, state.json
sites/           each site's memory, receipts and failures (simulation)
now.json         which sites the server waits for, while it runs
stopped.json     why the server stopped before the last round
submitted.json   which run of the federation's server this is
evaluation.json  what the sites' sums say of the encoder, where they are asked for them
erasure/         the projections that erase the site, where that is asked for
results.json, report.html
tensorboard/     event files, drawn from rounds.jsonl and results.json
mlflow.json      which run of which MLflow store this is, where one is asked for
encoder.safetensors   the trained weights; the header says what is promised about privacy
"""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from fedcl.config.experiment import Config
from fedcl.config.loading import parse, resolved_text
from fedcl.errors import FedclError, RunError
from fedcl.files.atomic import write_folder, write_text
from fedcl.run_folder.checkpoint import Checkpoint, fill_checkpoint, read_checkpoint
from fedcl.run_folder.rounds_file import RoundLine, append_round, read_rounds, write_rounds
from fedcl.run_folder.stop_reason import write_stop

# What may change between a run and its resumption: none of it alters the rounds already done. The
# outlier factor is there for a round that it stopped: who was left out before, the log says.
_MAY_CHANGE = (
    ("federation", "rounds"),
    ("federation", "outlier_factor"),
    ("compute", "workers"),
    ("evaluation",),
    ("output",),
)


class RunFolder:
    """The files of one run, by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results = path / "results.json"
        self.report = path / "report.html"
        self.model = path / "encoder.safetensors"
        self.log = path / "rounds.jsonl"
        self.sites = path / "sites"
        self.now = path / "now.json"
        self.stopped = path / "stopped.json"
        self.submitted = path / "submitted.json"
        self.evaluation = path / "evaluation.json"
        self.erasure = path / "erasure"
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
        write_text(self.path / "config.yaml", resolved_text(config))

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
        write_text(file, resolved_text(config))

    def write_stopped(self, error: FedclError) -> None:
        """Write why the run ended, for another process to read."""
        write_stop(self.stopped, error)

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
            keep_every: Rounds that are multiples of it are kept for good (for the curve); None:
                only the last two rounds are.
        """

        write_folder(
            self._checkpoint(checkpoint.round), lambda folder: fill_checkpoint(folder, checkpoint)
        )
        self.write_log(checkpoint)
        numbers = self.checkpoints()
        for number in numbers[:-2]:
            if keep_every is None or number % keep_every or number == 0:
                _remove(self._checkpoint(number))

    def write_log(self, checkpoint: Checkpoint) -> None:
        """Make the log end with this checkpoint's round, whatever a killed process left there."""
        line = checkpoint.record
        if line is not None and self._logged == checkpoint.round - 1:
            append_round(self.log, line)
        else:
            lines = [before for before in self.read_log() if before.round < checkpoint.round]
            write_rounds(self.log, lines if line is None else [*lines, line])
        self._logged = checkpoint.round

    def read_log(self, *, skip: int = 0) -> list[RoundLine]:
        """Return the rounds' lines, oldest first, without the first `skip`; a torn end is ignored.

        Raises:
            RunError: a line cannot be read.
        """
        return read_rounds(self.log, skip=skip)

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
        return read_checkpoint(
            self._checkpoint(numbers[-1] if round_number is None else round_number)
        )

    def _checkpoint(self, round_number: int) -> Path:
        return self.path / "checkpoints" / f"round-{round_number:05d}"


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
