"""Reads SITE.yaml, a site's own settings, which no server sees or changes.

An experiment travels to the sites; the location of a site's data and its limits never travel.
"""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

from fedcl.config.data import NiftiData, OpenBHBData, TableData
from fedcl.config.loading import validate_tree
from fedcl.config.section import Count, Positive, Section
from fedcl.errors import ConfigError

Releasable = Literal[
    "feature_sums",
    "moments",
    "private_moments",
    "gradients",
    "step_gradients",
    "updates",
    "evaluation",
    "erasure",
    "secure_sums",
]
"""Kinds of release that a site can forbid; its introduction and its refusals are always sent."""


class PrivacyFloor(Section):
    """The least privacy with which a site takes part."""

    modes: Annotated[
        tuple[Literal["participant", "participant_central", "site"], ...], Field(min_length=1)
    ]
    """Allowed values of an experiment's `privacy.mode`, at least one."""
    epsilon: Positive
    """Largest `privacy.budget` that an experiment may have, greater than 0."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """Largest `privacy.delta` that an experiment may have, in (0, 1)."""


class Limits(Section):
    """Limits of a site that no server and no experiment can loosen."""

    privacy: PrivacyFloor | None
    """Least privacy of an experiment; null allows experiments without privacy too."""
    min_participants: Count
    """Fewest participants, at least 1, from whom something computed may leave the site."""
    releases: tuple[Releasable, ...]
    """Kinds of release that may leave the site."""
    max_rounds: Count
    """Largest number of rounds of one experiment that the site answers, at least 1; it counts them
    itself."""
    stop_file: str
    """Name of a file in the site's folder; while it exists, nothing is computed or released."""


class SiteCompute(Section):
    """Where the arithmetic runs at this site, in place of the experiment's settings."""

    device: Literal["auto", "cpu", "cuda"]
    """Device of the arithmetic; auto takes a GPU if there is one."""
    threads: Count | None
    """Number of threads, at least 1; null takes the experiment's, so that a rehearsal gives the
    same weights."""


class SiteSettings(Section):
    """The settings of one site between institutions; relative paths begin at the file's folder."""

    site: Annotated[str, Field(min_length=1)]
    """Label of the site in the participants table, in invitations and in the server's log."""
    server: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:\[\]-]+:[0-9]+$")]
    """Address of the federation's gateway, `host:port`."""
    data: Annotated[OpenBHBData | NiftiData | TableData, Field(discriminator="kind")]
    """How the site's own participants are read, in place of the experiment's `data`."""
    compute: SiteCompute
    """Where the arithmetic runs at this site."""
    limits: Limits
    """Limits of what the site computes and releases."""


def is_site(path: Path) -> bool:
    """Return whether a file is a SITE.yaml, valid or not, rather than an experiment."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(tree, dict) and "site" in tree and "seed" not in tree


def load_site(path: Path) -> SiteSettings:
    """Read SITE.yaml and make its relative data paths absolute.

    Raises:
        ConfigError: the file, a key or a value is at fault; the message says what was expected.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the site's settings: {error.strerror}") from None
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys such as site, server, data; found none")
    settings = validate_tree(SiteSettings, tree, source=str(path))
    data = settings.data.model_copy(update={"path": path.absolute().parent / settings.data.path})
    return settings.model_copy(update={"data": data})
