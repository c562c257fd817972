"""`fedcl keys CONFIG`: makes identity keys for secure sums, each on its own site's machine."""

from pathlib import Path

from rich.console import Console

from fedcl.cli.progress import steps
from fedcl.config.loading import load
from fedcl.errors import ConfigError


def make_keys(path: Path, site: str | None, console: Console, *, overrides: list[str]) -> None:
    """Make the identity key of a site, or of all sites of the cohort, and pin the public halves.

    Raises:
        FedclError: the experiment uses no secure sum, or an existing key cannot be used.
    """
    from fedcl.secure_sum.identity import key_path, make_identity, pin

    config = load(path, overrides)
    settings = config.secure_sum
    if settings is None:
        raise ConfigError(f"{path}: secure_sum is null, so its sites need no identity keys")
    if site is not None:
        sites: tuple[str, ...] = (site,)
    else:
        from fedcl.data.open import open_experiment

        with steps(console) as bars:
            sites = open_experiment(config, prepared=True, progress=bars).sites
    for label in sites:
        public, new = make_identity(settings.keys, label)
        pin(settings.identities, label, public)
        line = f"site {label}: {public.hex()} ({'made' if new else 'kept'})"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    private = key_path(settings.keys, sites[0]) if site is not None else settings.keys
    console.print(
        f"Private: {private}. It never leaves this machine.\n"
        f"Public: {settings.identities}. Hand your line to the other sites and add theirs, and "
        "compare the keys by telephone: not through the server.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if site is None:
        console.print(
            "All keys lie on this machine: that is for a simulation. In a federation each site "
            "makes its own with --site LABEL.",
            soft_wrap=True,
        )
