"""Each site alone: what a hospital gets without a federation, from the same local round."""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from fedcl.compute.device import choose_workers
from fedcl.compute.workers import worker_pool
from fedcl.config.experiment import Config
from fedcl.config.loading import parse, resolved
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
    *,
    on_site: Callable[[str], None] = lambda _: None,
) -> None:
    """Train one encoder per site, side by side; a resumed run goes on from each site's checkpoint.

    Args:
        config: The experiment.
        folder: The run; each site's checkpoints lie under `sites/`.
        sites: Labels of the training sites.
        on_site: Called with the label when a site is done.
    """
    text = resolved(config)
    workers = choose_workers(config.compute)
    if workers == 1:
        for site in sites:
            _train_one(text, site, folder.path)
            on_site(site)
        return
    with worker_pool(workers) as pool:
        for site in _as_done(pool, text, sites, folder.path):
            on_site(site)


def _as_done(
    pool: ProcessPoolExecutor, text: str, sites: tuple[str, ...], path: Path
) -> Iterator[str]:
    futures = {pool.submit(_train_one, text, site, path): site for site in sites}
    for future in as_completed(futures):
        future.result()
        yield futures[future]


def _train_one(config_text: str, site: str, path: Path) -> None:
    config = parse(config_text, source="the run's configuration")
    cohort = open_experiment(config)
    rows = cohort.rows(split=TRAIN, site=site)
    train_rounds(config, cohort, rows, site_folder(RunFolder(path), site), name=site)
