"""A run of an experiment in a federation: submitted to its server, followed, gone on with.

The server's app writes the run folder on this machine, and this process reads what stands there. A
run that ended before its last round (a killed process, a server that was started again, too few
sites) is submitted again and goes on from its last checkpoint.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcl.compute.progress import SILENT, Progress
from fedcl.config.experiment import Config
from fedcl.config.federation import Federation
from fedcl.config.loading import resolved_text
from fedcl.deployment.bundle import stage
from fedcl.deployment.flower import environment, flower
from fedcl.deployment.serve import FLOWER_CONNECTION
from fedcl.deployment.supervisor import is_running
from fedcl.errors import FedclError, RoundError, RunError
from fedcl.files.atomic import write_text
from fedcl.privacy.statement import promise
from fedcl.run_folder.encoder_file import write_encoder
from fedcl.run_folder.erasure_file import is_erased
from fedcl.run_folder.evaluation_file import is_measured
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.stop_reason import read_stop
from fedcl.run_folder.submission import Submission, read_submission, write_submission

_LOOK_S = 0.5
_LOG_S = 10.0
_QUIET_S = 15.0
"""Without a sign of the server's app in its folder, Flower is asked whether it still runs: each
question starts a process that takes a second or two of the processor."""
_LONGEST_S = 90.0
_FINISHED = "finished"
_LEAST_BYTES = 2**16
"""Fewest free bytes of a disk: with less, no file can be written whole."""


@dataclass(frozen=True)
class Patience:
    """How often a run that does not get on is submitted again.

    Attributes:
        tries: How many submissions in a row may end without a new round.
        wait_s: Seconds between two submissions.
    """

    tries: int
    wait_s: float


@dataclass(frozen=True)
class FederationServer:
    """A server's folder, as the one who runs experiments uses it.

    Attributes:
        folder: The server's folder, with its federation.yaml.
    """

    folder: Path

    def require_running(self) -> None:
        """Refuse to go on without a server.

        Raises:
            RunError: it does not run.
        """
        if not (self.folder / "federation.yaml").exists():
            raise RunError(f"{self.folder}: not a server's folder (`fedcl kit new` makes one)")
        if not is_running(self.folder / "state"):
            raise RunError(f"{self.folder}: no server runs; start it with `fedcl serve`")

    def submit(self, config: Config, *, base: Path) -> int:
        """Start a run, or go on with it; return its number.

        Args:
            base: The folder that the experiment's relative paths begin at.

        Raises:
            RunError: Flower does not take it.
        """
        fresh = self.folder / "state" / f"bundle-{time.time_ns()}"
        staged = stage(fresh)
        settings = fresh / "run.toml"
        # Quoted as JSON, which TOML reads too: the text may hold any character.
        write_text(
            settings,
            f"config = {json.dumps(resolved_text(config))}\nresume = true\n"
            f"folder = {json.dumps(str(base))}\n",
        )
        try:
            said = self._ask("run", str(staged), FLOWER_CONNECTION, "-c", str(settings))
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return int(said["run-id"])

    def status(self, run: int) -> str:
        """Return what Flower says of a run, such as running or finished:failed.

        Raises:
            RunError: Flower does not answer.
        """
        runs = self._ask("ls", FLOWER_CONNECTION, "--run-id", str(run)).get("runs", [])
        return str(runs[0]["status"]) if runs else "unknown"

    def stop(self, run: int) -> None:
        """End a run.

        Raises:
            RunError: Flower does not answer.
        """
        self._ask("stop", str(run), FLOWER_CONNECTION)

    def _ask(self, *words: str) -> dict[str, Any]:
        try:
            done = subprocess.run(
                flower("flwr", *words, "--format", "json"),
                env=environment(self.folder / "state" / "flower"),
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=_LONGEST_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RunError(f"{self.folder}: the server does not answer") from None
        try:
            said = json.loads(done.stdout[done.stdout.index("{") :])
        except ValueError:
            said = {}
        if done.returncode or not said.get("success"):
            why = said.get("error-message") or done.stderr.strip()[-500:] or done.stdout[-500:]
            raise RunError(f"{self.folder}: Flower refuses `flwr {words[0]}`: {why}")
        return said


def run_to_the_end(
    federation: FederationServer,
    config: Config,
    *,
    base: Path,
    patience: Patience,
    on_look: Callable[[RunFolder], None],
    progress: Progress = SILENT,
) -> RunFolder:
    """Submit an experiment, or follow it where it runs already, until its last round.

    Args:
        base: The folder that the experiment's relative paths begin at.
        patience: How long a run may fail to get on.
        on_look: Called with the run's folder a few times per second.
        progress: Told each time the run is submitted or stops.

    Raises:
        FedclError: why the run cannot be finished.
    """
    folder = RunFolder(base / config.output.path)
    folder.resume(config)
    tries = 0
    while not _is_done(folder, config):
        done = _rounds(folder)
        federation.require_running()
        number = _under_way(federation, folder)
        if number is None:
            folder.stopped.unlink(missing_ok=True)
            number = federation.submit(config, base=base)
            write_submission(folder.submitted, Submission(run=number))
            progress.say(f"Run {number}: {_what_next(done, config.federation)}.")
        else:
            progress.say(f"Run {number} is under way; following it.")
        _follow(federation, folder, number, config, on_look)
        tries = 0 if _rounds(folder) > done else tries + 1
        if _is_done(folder, config):
            break
        why = _why_stopped(folder)
        if tries >= patience.tries or (why is not None and not isinstance(why, RoundError)):
            if _rounds(folder) >= config.federation.rounds:
                # It is trained, though nobody measured it.
                write_encoder(folder, config, privacy=promise(config.privacy, config.secure_sum))
            raise why or RunError(
                f"{folder.path}: the run ended early {tries} times in a row; "
                f"{_guessed(federation, folder)}"
            )
        reached = _rounds(folder)
        since = f"after round {reached}" if reached > 0 else "before round 1 was done"
        told = str(why or _guessed(federation, folder))
        progress.say(
            f"The run stopped {since}: {told.rstrip('.')}. Again in {patience.wait_s:g} s."
        )
        time.sleep(patience.wait_s)
    write_encoder(folder, config, privacy=promise(config.privacy, config.secure_sum))
    return folder


def number_of(folder: RunFolder) -> int | None:
    """Return the number of the run that was last submitted for a folder; None if none was."""
    submission = read_submission(folder.submitted)
    return None if submission is None else submission.run


def _follow(
    federation: FederationServer,
    folder: RunFolder,
    number: int,
    config: Config,
    on_look: Callable[[RunFolder], None],
) -> None:
    """Wait until the run is done, or the app or Flower says that it is over."""
    seen, quiet_since = _signs(folder), time.monotonic()
    while not _is_done(folder, config) and not folder.stopped.exists():
        on_look(folder)
        time.sleep(_LOOK_S)
        signs = _signs(folder)
        if signs != seen:
            seen, quiet_since = signs, time.monotonic()
        elif time.monotonic() - quiet_since > _QUIET_S:
            try:
                if federation.status(number).startswith(_FINISHED):
                    break
            except RunError:
                federation.require_running()
            quiet_since = time.monotonic()
    _wait_for_log(folder)
    on_look(folder)


def _wait_for_log(folder: RunFolder) -> None:
    """Wait for the round's line, which the server writes a moment after its checkpoint."""
    deadline = time.monotonic() + _LOG_S
    while time.monotonic() < deadline:
        done = _rounds(folder)
        if done <= 0 or folder.read_log(skip=done - 1):
            break
        time.sleep(_LOOK_S / 5)


def _signs(folder: RunFolder) -> tuple[int, ...]:
    """Return when the server's app last wrote what it does, and what it has done."""
    files = (folder.now, folder.log)
    return tuple(file.stat().st_mtime_ns for file in files if file.exists())


def _under_way(federation: FederationServer, folder: RunFolder) -> int | None:
    number = number_of(folder)
    if number is None:
        return None
    over = federation.status(number)
    return None if over == "unknown" or over.startswith(_FINISHED) else number


def _rounds(folder: RunFolder) -> int:
    checkpoints = folder.checkpoints()
    return checkpoints[-1] if checkpoints else -1


def _is_done(folder: RunFolder, config: Config) -> bool:
    """Whether the last round is kept, and erased and measured where that is asked for."""
    rounds, sums = config.federation.rounds, config.evaluation.from_sums
    if _rounds(folder) < rounds:
        return False
    if config.erasure is not None and not is_erased(folder.erasure, config.erasure, rounds):
        return False
    return sums is None or is_measured(folder.evaluation, sums, rounds)


def _what_next(done: int, federation: Federation) -> str:
    if done >= federation.rounds:
        return "to evaluate the last round"
    return "from the start" if done <= 0 else f"on from round {done + 1}"


def _guessed(federation: FederationServer, folder: RunFolder) -> str:
    """Say what may have ended an app that had no time to say it."""
    if shutil.disk_usage(folder.path).free < _LEAST_BYTES:
        return f"the disk that holds {folder.path} is full"
    return f"the server's app ended; see fedcl logs {federation.folder} executor"


def _why_stopped(folder: RunFolder) -> FedclError | None:
    reason = read_stop(folder.stopped)
    return None if reason is None else reason.as_error()
