"""Writes a systemd unit and a container file, for a server or a site that runs permanently."""

import getpass
import sys
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from fedcl.files.atomic import write_text
from fedcl.site_labels import file_stem

_TEMPLATES = Environment(
    loader=PackageLoader("fedcl.kit", "templates"),
    undefined=StrictUndefined,
    keep_trailing_newline=True,
)


def write_server_units(folder: Path, name: str) -> None:
    """Write a server's unit and container file into its folder."""
    folder = folder.absolute()
    _write(
        folder,
        unit=f"fedcl-{file_stem(name)}.service",
        description=f"the server of federation {name}",
        words=f"serve {folder}",
        in_container="serve /place",
        mounts="--network host",
        site=False,
        server="",
    )


def write_site_units(folder: Path, site: str, server: str) -> None:
    """Write a site's unit and container file into its folder.

    Args:
        folder: Folder of the site, made by `fedcl kit request`.
        server: Address of the gateway, `host:port`.
    """
    folder = folder.absolute()
    _write(
        folder,
        unit=f"fedcl-{file_stem(site)}.service",
        description=f"site {site}",
        words=f"join {folder / 'site.yaml'}",
        in_container="join /place/site.yaml",
        mounts="-v DATA:DATA:ro",
        site=True,
        server=server.rpartition(":")[0],
    )


def _write(
    folder: Path,
    *,
    unit: str,
    description: str,
    words: str,
    in_container: str,
    mounts: str,
    site: bool,
    server: str,
) -> None:
    write_text(
        folder / unit,
        _TEMPLATES.get_template("fedcl.service.j2").render(
            unit=unit,
            description=description,
            command=f"{sys.executable} -P -m fedcl {words}",
            folder=folder,
            user=getpass.getuser(),
            site=site,
            server=server,
            device=site,
        ),
    )
    write_text(
        folder / "Containerfile",
        _TEMPLATES.get_template("Containerfile.j2").render(
            folder=folder, words=in_container, mounts=mounts
        ),
    )
