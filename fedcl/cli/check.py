"""`fedcl check DATA`: lists every fault of a data set and prints a table of its sites.

A SITE.yaml is checked by `fedcl.cli.card`.
"""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from fedcl.cli.card import run_site_check
from fedcl.cli.progress import steps
from fedcl.config.counts import Participants
from fedcl.config.data import Data
from fedcl.config.experiment import Config
from fedcl.config.loading import load
from fedcl.config.site import is_site
from fedcl.data.check.preflight import SiteSummary, preflight
from fedcl.data.check.recognise import recognise
from fedcl.data.open import cache_folder
from fedcl.errors import ConfigError, DataError

_MIN_PARTICIPANTS = 3
_SEED = 0


def run_check(path: Path, console: Console, *, overrides: list[str]) -> int:
    """Check a SITE.yaml, an experiment's data or a folder of data, and return the exit code.

    The kind of a folder is recognised.

    Raises:
        FedclError: there is nothing to check, since the file is missing or the folder's kind
            unknown.
    """
    if path.suffix in (".yaml", ".yml") and is_site(path):
        if overrides:
            raise ConfigError(f"--set {overrides[0]}: changes experiments; edit {path} instead")
        return run_site_check(path, console)
    if path.is_dir() or path.suffix not in (".yaml", ".yml"):
        data: Data = recognise(path)
        seed, least = _SEED, _MIN_PARTICIPANTS
        cache = path.absolute().parent / ".cache"
    else:
        config: Config = load(path, overrides)
        data, seed, least = config.data, config.seed, config.local.min_participants
        cache = cache_folder(config.output)
    with steps(console) as bars:
        result = preflight(
            data,
            seed=seed,
            cache=cache,
            min_participants=least,
            progress=bars,
        )
    if result.sites:
        console.print(_table(result.sites))
    for note in result.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for problem in result.problems:
        console.print(f"problem: {problem}", markup=False, highlight=False, soft_wrap=True)
    if result.problems:
        console.print(f"{len(result.problems)} problems: mend them before training.")
        return DataError.exit_code
    participants = sum(_participants(site) for site in result.sites)
    scans = sum(site.scans for site in result.sites)
    more = f" ({scans} scans)" if scans != participants else ""
    console.print(f"No problems: {participants} participants{more} at {len(result.sites)} sites.")
    return 0


def _participants(site: SiteSummary) -> Participants:
    return Participants(site.train + site.internal + site.external)


def _table(sites: tuple[SiteSummary, ...]) -> Table:
    table = Table()
    table.add_column("site")
    for name in ("train", "internal", "external", "age (median)", "female"):
        table.add_column(name, justify="right")
    several = any(site.scans != _participants(site) for site in sites)
    if several:
        table.add_column("scans", justify="right")
    table.add_column("trains")
    for site in sites:
        youngest, median, oldest = site.ages
        table.add_row(
            site.site,
            str(site.train),
            str(site.internal),
            str(site.external),
            f"{youngest:.0f}-{oldest:.0f} ({median:.0f})",
            "-" if site.female is None else f"{site.female:.0%}",
            *([str(site.scans)] if several else []),
            "yes" if site.trains else "no",
        )
    return table
