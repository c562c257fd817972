"""Runs for a Python program: train, evaluate, and read what came out, without a word printed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fedcl.compute.progress import SILENT, Progress
from fedcl.config.experiment import Config, RunKind
from fedcl.errors import ConfigError, FedclError, RunError
from fedcl.experiment.encoder import load_encoder
from fedcl.experiment.run import beside, evaluate_again, run_experiment
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import Results, read_results
from fedcl.run_folder.rounds_file import RoundLine


@dataclass(frozen=True)
class Run:
    """A run in its folder. Every property reads the disk, so that it is as new as the files.

    Attributes:
        path: The run's folder (`output.path` of its configuration).

    Example:
        >>> import fedcl
        >>> run = fedcl.simulate(fedcl.load_config("configs/tiny.yaml"))
        >>> run.config.federation.rounds, len(run.rounds)
        (2, 2)
        >>> run.encoder().width
        8
    """

    path: Path

    @property
    def config(self) -> Config:
        """The experiment, complete.

        Raises:
            RunError: There is no run in the folder.
        """
        return RunFolder(self.path).config()

    @property
    def results(self) -> Results:
        """What the run measured: ages in years, accuracies in [0, 1].

        Raises:
            RunError: There are no results yet, or the file is damaged.
        """
        return read_results(RunFolder(self.path).results)

    @property
    def rounds(self) -> tuple[RoundLine, ...]:
        """The finished rounds, oldest first: number, seconds, mean loss, bytes, and each site's."""
        return tuple(RunFolder(self.path).read_log())

    def encoder(self) -> nn.Module:
        """Return the trained encoder; see `fedcl.load_encoder`.

        Raises:
            RunError: The run has none.
        """
        return load_encoder(self.path)


def simulate(
    config: Config,
    *,
    progress: Progress | None = None,
    resume: bool = False,
    restart: bool = False,
) -> Run:
    """Train a federation of all the sites on this machine, and evaluate its encoder.

    Worker processes do not import the calling script, so that a script needs no
    `if __name__ == "__main__"` and a notebook may use several.

    Args:
        config: The experiment, as `load_config` returns it.
        progress: Object that is told of each step and of what the user should know (its methods are
            `step` and `say`, see `fedcl.compute.progress`); None: nothing is shown.
        resume: Go on with the run in `output.path`, or start one.
        restart: Discard the run in `output.path`, and start one.

    Returns:
        The run, whose results are written.

    Raises:
        ConfigError: The experiment cannot be run as it is written.
        DataError: The data cannot be read.
        RunError: There is a run in the folder already, it cannot be resumed, or the folder cannot
            be written.
        RoundError: Too few sites gave a valid update.
        PrivacyError: The privacy budget does not allow a round.

    Example:
        >>> import fedcl
        >>> config = fedcl.load_config("configs/tiny.yaml")
        >>> run = fedcl.simulate(config)
        >>> run.results.evaluation.representation.mae_external.value > 0
        True
        >>> fedcl.simulate(config)
        Traceback (most recent call last):
        fedcl.errors.RunError: runs/tiny: a run is already there; ...
    """
    return _run("simulate", config, progress, resume=resume, restart=restart)


def pooled(
    config: Config,
    *,
    progress: Progress | None = None,
    resume: bool = False,
    restart: bool = False,
) -> Run:
    """Train on the participants of all sites together: the reference for a federation.

    The run lies beside the federation's, in `output.path` with `-pooled` at its end.

    Args:
        config: The experiment, as `load_config` returns it.
        progress: Object that is told of each step and of what the user should know (its methods are
            `step` and `say`, see `fedcl.compute.progress`); None: nothing is shown.
        resume: Go on with the run in that folder, or start one.
        restart: Discard the run in that folder, and start one.

    Returns:
        The run, whose results are written.

    Raises:
        FedclError: As `simulate` does.

    Example:
        >>> import fedcl
        >>> run = fedcl.pooled(fedcl.load_config("configs/tiny.yaml"))
        >>> print(run.path, run.results.run.kind)
        runs/tiny-pooled pooled
    """
    return _run("pooled", config, progress, resume=resume, restart=restart)


def local_only(
    config: Config,
    *,
    progress: Progress | None = None,
    resume: bool = False,
    restart: bool = False,
) -> Run:
    """Train one encoder per site, on its own participants: what a site has without a federation.

    The run lies beside the federation's, in `output.path` with `-local` at its end.

    Args:
        config: The experiment, as `load_config` returns it.
        progress: Object that is told of each step and of what the user should know (its methods are
            `step` and `say`, see `fedcl.compute.progress`); None: nothing is shown.
        resume: Go on with the run in that folder, or start one.
        restart: Discard the run in that folder, and start one.

    Returns:
        The run, whose results are written; it has no encoder of all sites.

    Raises:
        FedclError: As `simulate` does.

    Example:
        >>> import fedcl
        >>> run = fedcl.local_only(fedcl.load_config("configs/tiny.yaml"))
        >>> run.results.cohort.training_sites
        2
    """
    return _run("local", config, progress, resume=resume, restart=restart)


def load_run(path: str | Path) -> Run:
    """Return a run that is on the disk, finished or not.

    Args:
        path: The run's folder.

    Raises:
        RunError: There is no run in the folder.

    Example:
        >>> import fedcl
        >>> fedcl.load_run("runs/nothing")
        Traceback (most recent call last):
        fedcl.errors.RunError: runs/nothing: no run here (no config.yaml)
    """
    run = Run(Path(path))
    _ = run.config  # says what is wrong with the folder, if anything is
    return run


def evaluate(run: Run | str | Path, *, progress: Progress | None = None) -> Results:
    """Evaluate the last checkpoint of a run again; write its results and its report.

    Args:
        run: The run, or its folder.
        progress: Object that is told of each step and of what the user should know; None: nothing
            is shown.

    Returns:
        The results, as `run.results` gives them from now on.

    Raises:
        RunError: There is no run in the folder, or it was never evaluated.
        DataError: The data cannot be read.

    Example:
        >>> import fedcl
        >>> run = fedcl.simulate(fedcl.load_config("configs/tiny.yaml"))
        >>> before = run.results.evaluation
        >>> fedcl.evaluate(run).evaluation == before
        True
    """
    path = run.path if isinstance(run, Run) else Path(run)
    with _as_it_was(path):
        return evaluate_again(path, progress or SILENT)


def _run(
    kind: RunKind, config: Config, progress: Progress | None, *, resume: bool, restart: bool
) -> Run:
    if not isinstance(config, Config):
        raise ConfigError(
            f"config: expected an experiment, found {type(config).__name__}; "
            "fedcl.load_config(...) makes one from a file or a dict"
        )
    own = beside(kind, config)
    with _as_it_was(own.output.path):
        _, path = run_experiment(
            kind,
            own,
            resume=resume,
            restart=restart,
            progress=progress or SILENT,
        )
    return Run(path)


@contextmanager
def _as_it_was(path: Path) -> Iterator[None]:
    """Give the caller its number of threads back, and a message where a file cannot be written."""
    threads = torch.get_num_threads()
    try:
        yield
    except FedclError:
        raise
    except OSError as error:
        if error.filename is None:
            raise  # not about a file: a connection, say
        raise RunError(
            f"{error.filename}: {error.strerror}; the finished rounds in {path} are whole. Use "
            "resume=True once this place can be used, or choose another output.path"
        ) from error
    finally:
        torch.set_num_threads(threads)
