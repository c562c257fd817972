"""Open the cohort of an experiment, whatever its data format."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedcl.compute.progress import SILENT, Progress
from fedcl.compute.threads import in_threads
from fedcl.config.data import Data, NiftiData, OpenBHBData, PhantomData, TableData
from fedcl.config.experiment import Config, Output
from fedcl.config.harmonise import require_whole_cohort
from fedcl.data.cohort import Cohort, held_in_memory
from fedcl.data.covariates import with_known
from fedcl.data.harmonised import harmonise_cohort
from fedcl.data.nifti import read_nifti_cohort
from fedcl.data.openbhb import openbhb_cohort
from fedcl.data.phantom.cohort import settings_of, write_phantom
from fedcl.data.problems import Problems
from fedcl.data.sample import sample_cohort
from fedcl.data.splits import resplit
from fedcl.data.table import read_table_cohort
from fedcl.errors import ConfigError, DataError


def open_cohort(
    data: Data,
    *,
    seed: int,
    cache: Path,
    prepared: bool = False,
    progress: Progress = SILENT,
    own_site: str | None = None,
) -> Cohort:
    """Open a cohort.

    Args:
        data: Data section of the configuration: kind, folder and columns.
        seed: Seed of the experiment, from which splits are drawn.
        cache: Folder of preprocessed volumes.
        prepared: Whether every volume is preprocessed now rather than when it is read.
        progress: Object that is told about what takes long.
        own_site: Label of the only site whose data are opened; None opens all sites.

    Returns:
        Cohort in the order (site, participant, scan); arrays are read when they are asked for.

    Raises:
        DataError: the data have problems; the first few are shown, all by `fedcl check`.

    Example:
        >>> from pathlib import Path
        >>> import fedcl
        >>> from fedcl.data import open_cohort
        >>> config = fedcl.load_config("configs/tiny.yaml")
        >>> cohort = open_cohort(config.data, seed=config.seed, cache=Path("cache"))
        >>> cohort.sites
        ('10', '13', '17')
        >>> train = cohort.rows(split="train", site="10")
        >>> cohort.load(train).shape == (len(train), 284)
        True
    """
    problems = Problems()
    cohort = survey(
        data,
        seed=seed,
        cache=cache,
        problems=problems,
        progress=progress,
        own_site=own_site,
    )
    problems.stop_if_any()
    if prepared and len(cohort.shape) > 1:
        prepare(cohort, progress)
    return cohort


def open_experiment(
    config: Config,
    *,
    prepared: bool = False,
    progress: Progress = SILENT,
    own_site: str | None = None,
) -> Cohort:
    """Open the cohort of an experiment, with the variables its objective compares participants by.

    With a `harmonise` section, arrays are adjusted for their site when they are read; the
    adjustment is fitted on training participants of the sites that take part.

    Args:
        config: Configuration of the experiment.
        prepared: Whether every volume is preprocessed now rather than when it is read.
        progress: Object that is told about what takes long.
        own_site: Label of the only site whose data are opened; None opens all sites.

    Raises:
        ConfigError: the experiment harmonises, which one site alone cannot do.
        DataError: the data have problems, or lack a variable that the objective names.
    """
    if own_site is not None:
        require_whole_cohort(config.harmonise)
    cache = cache_folder(config.output)
    cohort = open_cohort(
        config.data,
        seed=config.seed,
        cache=cache,
        prepared=prepared,
        progress=progress,
        own_site=own_site,
    )
    if config.sample is not None:
        cohort = sample_cohort(
            cohort,
            config.sample,
            seed=config.seed,
            min_participants=config.local.min_participants,
            one_site=own_site is not None,
        )
    if config.harmonise is not None:
        cohort = harmonise_cohort(
            cohort,
            config.harmonise,
            min_participants=config.local.min_participants,
            cache=cache,
            origin=f"{config.data.model_dump_json(exclude={'path'})} {config.seed}",
            progress=progress,
        )
    return with_known(
        held_in_memory(cohort),
        config.data,
        names=config.objective.names,
        kernels=[term.kernel for _, term in config.objective.terms],
    )


def survey(
    data: Data,
    *,
    seed: int,
    cache: Path,
    problems: Problems,
    progress: Progress = SILENT,
    own_site: str | None = None,
) -> Cohort:
    """Open a cohort, or one site of it, and collect its problems, without reading volumes.

    Args:
        data: The section `data` of an experiment.
        seed: Names the draws of a phantom and of splits, >= 0.
        cache: A folder for preprocessed volumes.
        problems: What is wrong with the data is added here.
        progress: Object that is told how many participants of a phantom are written.
        own_site: The label of the one site whose scans are opened; None: all sites.

    Raises:
        DataError: a problem prevents opening the cohort at all.
        ConfigError: `data` is no section of that name.
    """
    match data:
        case OpenBHBData():
            cohort = openbhb_cohort(data, cache=cache, problems=problems, own_site=own_site)
            return resplit(cohort, data.splits, seed=seed, one_site=own_site is not None)
        case NiftiData():
            return read_nifti_cohort(
                data, seed=seed, cache=cache, problems=problems, own_site=own_site
            )
        case TableData():
            return read_table_cohort(data, seed=seed, problems=problems, own_site=own_site)
        case PhantomData():
            _write_phantom(data, seed, progress)
            openbhb = OpenBHBData(
                kind="openbhb",
                path=data.path,
                modality=data.modality,
                grid=None,
                intensity="vbm" if data.modality == "vbm" else None,
            )
            cohort = openbhb_cohort(openbhb, cache=cache, problems=problems, own_site=own_site)
            return resplit(cohort, data.splits, seed=seed, one_site=own_site is not None)
        case other:
            raise ConfigError(
                f"data: expected the section `data` of an experiment (config.data); found "
                f"{type(other).__name__}"
            )


def prepare(cohort: Cohort, progress: Progress = SILENT, *, threads: int | None = None) -> None:
    """Read every volume once, so that the cache holds it; volumes already cached are read back.

    Args:
        cohort: Cohort whose volumes are preprocessed.
        progress: Object that is told how many volumes are read.
        threads: Number of threads that read at once; None means one for each core.
    """

    def read(row: int) -> None:
        cohort.read(row)  # not returned: together the volumes may be larger than memory

    rows = range(len(cohort))
    in_threads(read, rows, threads=threads, progress=progress, what="Preparing scans")


def cache_folder(output: Output) -> Path:
    """Return the folder of preprocessed volumes, which lies beside the runs and serves them all."""
    return output.path.parent / ".cache"


def _write_phantom(data: PhantomData, seed: int, progress: Progress) -> None:
    wanted = settings_of(
        scale=data.scale,
        grid=data.grid,
        scanner_strength=data.scanner_strength,
        seed=seed,
        sites=data.sites,
    )
    if not data.path.exists():
        with _alone(data.path):
            if not data.path.exists():  # written meanwhile by another process
                write_phantom(
                    data.path,
                    scale=data.scale,
                    grid=data.grid,
                    scanner_strength=data.scanner_strength,
                    seed=seed,
                    sites=data.sites,
                    progress=progress,
                )
    try:
        written = json.loads((data.path / "phantom.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(
            f"{data.path}: exists and is not a phantom (no phantom.json); choose another data.path"
        ) from None
    for key, value in wanted.items():
        if written.get(key) != value:
            raise DataError(
                f"{data.path}: this phantom was written with {key} = {written.get(key)}, the "
                f"experiment asks for {value}; choose another data.path, or delete the folder to "
                "write it anew"
            )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; other processes that ask for it wait."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise DataError(f"{path}: cannot write the phantom: {error.strerror or error}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
