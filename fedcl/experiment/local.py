"""Each site trains alone: what a hospital gets without a federation, by the same local round."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from fedcl.compute.device import choose_workers
from fedcl.compute.progress import SILENT, Progress
from fedcl.compute.workers import worker_pool
from fedcl.config.experiment import Config
from fedcl.config.loading import parse, resolved_text
from fedcl.data.cohort import TRAIN
from fedcl.data.open import open_experiment
from fedcl.experiment.pooled import train_rounds
from fedcl.run_folder.folder import RunFolder


def site_folder(folder: RunFolder, site: str) -> RunFolder:
    """Return where one site's own training is kept."""
    return RunFolder(folder.site_path(site))


def train_alone(
    config: Config,
    folder: RunFolder,
    sites: tuple[str, ...],
    progress: Progress = SILENT,
) -> None:
    """Train one encoder per site, side by side; a resumed run goes on from each site's checkpoint.

    Args:
        folder: The run; each site's checkpoints lie under `sites/`.
        sites: Labels of the training sites.
        progress: Told how many sites are done.
    """
    text = resolved_text(config)
    workers = choose_workers(config.compute)
    if workers == 1:
        for done, site in enumerate(sites, start=1):
            _train_one(text, site, folder.path)
            progress.step("Sites", done, len(sites))
        return
    with worker_pool(workers) as pool:
        for done in _counted(pool, text, sites, folder.path):
            progress.step("Sites", done, len(sites))


def _counted(
    pool: ProcessPoolExecutor, text: str, sites: tuple[str, ...], path: Path
) -> Iterator[int]:
    """Train side by side; yield how many sites are done as each ends."""
    futures = [pool.submit(_train_one, text, site, path) for site in sites]
    for done, future in enumerate(as_completed(futures), start=1):
        future.result()
        yield done


def _train_one(config_text: str, site: str, path: Path) -> None:
    config = parse(config_text, source="the run's configuration")
    cohort = open_experiment(config)
    rows = cohort.rows(split=TRAIN, site=site)
    train_rounds(config, cohort, rows, site_folder(RunFolder(path), site), name=site)
