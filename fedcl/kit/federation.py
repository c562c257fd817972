"""Reads FEDERATION.yaml, the federation's settings: a person writes it for `fedcl kit new`.

name: brain-age                  # letters, digits, dots, dashes
host: fl.hospital.example        # under which the sites reach the server
port: 8443                       # of the gateway, the only port that sites reach
listen: 0.0.0.0                  # address of this machine that the gateway binds
superlink_port: 18000            # on loopback only
also: []                         # further names or addresses of the server
sites: [north, south, "12"]      # labels, as in the sites' participants tables
days: {authority: 1825, server: 365, invitation: 14, node_key: 365}   # validities
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, Field, field_validator, model_validator

from fedcl.config.loading import validate_tree
from fedcl.config.section import Section
from fedcl.errors import ConfigError
from fedcl.kit.document import document_kind, read_text

Port = Annotated[int, Field(ge=1, le=65535)]
Days = Annotated[int, Field(ge=1, le=7300)]

_NAME_PART = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")


def _printable(label: str) -> str:
    # Labels are shown on the terminal of whoever approves a site.
    if not label.isprintable() or label != label.strip():
        raise ValueError("a label is printable text without space around it")
    return label


def _reachable(host: str) -> str:
    if is_address(host):
        return host
    parts = host.split(".")
    if len(host) > 253 or not all(map(_NAME_PART.fullmatch, parts)) or parts[-1].isdecimal():
        raise ValueError(
            f"expected a DNS name or an IP address, without https:// and port; found {host!r}"
        )
    return host.lower()


Label = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
Host = Annotated[str, AfterValidator(_reachable)]


class Validity(Section):
    """How long certificates, invitations and keys are valid, in days."""

    authority: Days
    """Days the certificate authority is valid, 1 to 7300; then every site is invited anew."""
    server: Days
    """Days the server's certificate is valid, 1 to 7300; `fedcl kit renew` makes the next."""
    invitation: Days
    """Days in which a site's request can be approved, 1 to 7300."""
    node_key: Days
    """Days a site's approved key is valid, 1 to 7300; then the site is invited again."""


class FederationSettings(Section):
    """The settings of one federation between institutions."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$")]
    """Name of the federation: letters, digits, dots, dashes."""
    host: Host
    """DNS name or IP address under which the sites reach the server."""
    port: Port
    """Port of the gateway, 1 to 65535; the only port that sites reach."""
    listen: str
    """IP address that the gateway binds; 0.0.0.0 stands for every interface."""
    superlink_port: Port
    """Port of Flower's SuperLink on loopback, 1 to 65535."""
    also: tuple[Host, ...]
    """Further names and addresses in the server's certificate."""
    sites: Annotated[tuple[Label, ...], Field(min_length=1)]
    """Labels of the sites, as in their participants tables; a number in quotes."""
    days: Validity

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        if not is_address(listen):
            raise ValueError(f"expected an IP address such as 0.0.0.0, found {listen!r}")
        return listen

    @field_validator("sites", mode="before")
    @classmethod
    def _are_texts(cls, sites: object) -> object:
        for site in sites if isinstance(sites, list) else ():
            if isinstance(site, int | float):
                raise ValueError(f'{site} is a number; write a label in quotes, "{site}"')
        return sites

    @field_validator("sites")
    @classmethod
    def _are_different(cls, sites: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({site for site in sites if sites.count(site) > 1})
        if twice:
            raise ValueError(f"each site once; twice here: {', '.join(twice)}")
        return sites

    @model_validator(mode="after")
    def _fits(self) -> "FederationSettings":
        if self.port == self.superlink_port:
            raise ValueError("port and superlink_port must differ: both are on this machine")
        if max(self.days.server, self.days.invitation) > self.days.authority:
            raise ValueError(
                "days.server and days.invitation are at most days.authority, which vouches for them"
            )
        return self

    @property
    def server(self) -> str:
        """Address of the gateway as sites call it, `host:port`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def is_address(host: str) -> bool:
    """Return whether this is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def load_federation(path: Path) -> FederationSettings:
    """Read FEDERATION.yaml.

    Raises:
        ConfigError: the file cannot be read, or a key or value is at fault; the message says what
            was expected.
    """
    text = read_text(path, what="the federation's settings")
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    kind = document_kind(tree)
    if kind is not None and kind != "a federation's settings":
        raise ConfigError(f"{path}: expected a federation's settings; this is {kind}")
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys such as name, host, sites; found none")
    return validate_tree(FederationSettings, tree, source=str(path))
