"""What a hospital says of its own site: SITE.yaml, which no server sees or changes.

An experiment travels to the sites; where a site's data lie, and what it allows, never does.
"""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

from fedcl.config.data import NiftiData, OpenBHBData, TableData
from fedcl.config.loading import validated
from fedcl.config.section import Count, Positive, Section
from fedcl.errors import ConfigError

Releasable = Literal[
    "feature_sums",
    "moments",
    "private_moments",
    "gradients",
    "updates",
    "evaluation",
    "secure_sums",
]
"""Kinds of release that a site can forbid; who it is, and that it refuses, it always says."""


class PrivacyFloor(Section):
    """The least privacy that a site takes part with."""

    modes: Annotated[
        tuple[Literal["participant", "participant_central", "site"], ...], Field(min_length=1)
    ]
    """The privacy.mode of an experiment must be one of these."""
    epsilon: Positive
    """The most privacy.budget that an experiment may ask for."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """The most privacy.delta."""


class Limits(Section):
    """What the server cannot lower."""

    privacy: PrivacyFloor | None
    """null: experiments without privacy are allowed too."""
    min_participants: Count
    """Nothing computed from fewer participants leaves the site."""
    releases: tuple[Releasable, ...]
    """What may leave it."""
    max_rounds: Count
    """Of one experiment: so many rounds are answered, whatever the server counts."""
    stop_file: str
    """While a file of this name lies in the site's folder, nothing is computed or released."""


class SiteCompute(Section):
    """Where the arithmetic runs at this site, whatever the experiment says."""

    device: Literal["auto", "cpu", "cuda"]
    """auto: the GPU where there is one."""
    threads: Count | None
    """null: as the experiment says, so that a rehearsal gives the same weights."""


class SiteSettings(Section):
    """One site between institutions; relative paths begin at the file's own folder."""

    site: Annotated[str, Field(min_length=1)]
    """Its label: in the participants table, in invitations, in the server's log."""
    server: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:\[\]-]+:[0-9]+$")]
    """host:port of the federation's gateway."""
    data: Annotated[OpenBHBData | NiftiData | TableData, Field(discriminator="kind")]
    """How its own participants are read, in place of the experiment's `data`."""
    compute: SiteCompute
    limits: Limits


def is_site(path: Path) -> bool:
    """Whether a file is a SITE.yaml, right or wrong, rather than an experiment."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(tree, dict) and "site" in tree and "seed" not in tree


def load_site(path: Path) -> SiteSettings:
    """Read SITE.yaml; relative data paths become absolute.

    Raises:
        ConfigError: the file, key or value at fault, and what was expected.
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
    settings = validated(SiteSettings, tree, source=str(path))
    data = settings.data.model_copy(update={"path": path.absolute().parent / settings.data.path})
    return settings.model_copy(update={"data": data})
