"""`fedcl check DATA`: everything that is wrong with a data set, and a table per site.

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
    """Check a site, an experiment's data, or a folder whose kind is recognised; return the code.

    Raises:
        FedclError: there is nothing to check: no such file, an unknown kind of folder.
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
        cache = cache_folder(config)
    with steps(console) as bars:
        found = preflight(
            data,
            seed=seed,
            cache=cache,
            min_participants=least,
            progress=bars,
        )
    if found.sites:
        console.print(_table(found.sites))
    for note in found.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for problem in found.problems:
        console.print(f"problem: {problem}", markup=False, highlight=False, soft_wrap=True)
    if found.problems:
        console.print(f"{len(found.problems)} problems: mend them before training.")
        return DataError.exit_code
    participants = sum(_participants(one) for one in found.sites)
    scans = sum(one.scans for one in found.sites)
    more = f" ({scans} scans)" if scans != participants else ""
    console.print(f"No problems: {participants} participants{more} at {len(found.sites)} sites.")
    return 0


def _participants(site: SiteSummary) -> Participants:
    return Participants(site.train + site.internal + site.external)


def _table(sites: tuple[SiteSummary, ...]) -> Table:
    table = Table()
    table.add_column("site")
    for name in ("train", "internal", "external", "age (median)", "female"):
        table.add_column(name, justify="right")
    several = any(one.scans != _participants(one) for one in sites)
    if several:
        table.add_column("scans", justify="right")
    table.add_column("trains")
    for one in sites:
        youngest, median, oldest = one.ages
        table.add_row(
            one.site,
            str(one.train),
            str(one.internal),
            str(one.external),
            f"{youngest:.0f}-{oldest:.0f} ({median:.0f})",
            "-" if one.female is None else f"{one.female:.0%}",
            *([str(one.scans)] if several else []),
            "yes" if one.trains else "no",
        )
    return table
