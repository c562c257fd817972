"""Makes a federation, its invitations and the server's next certificate, all at the server."""

import base64
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fedcl.errors import ConfigError, RunError
from fedcl.files.atomic import write_folder, write_secret, write_text
from fedcl.kit.authority import Pair, make_authority, make_server_certificate
from fedcl.kit.certificate_files import load_authority, write_pair
from fedcl.kit.document import read_text
from fedcl.kit.federation import FederationSettings, load_federation
from fedcl.kit.folders import ServerFolder, server_folder
from fedcl.kit.invitation import invitation_text, make_invitation
from fedcl.kit.registry import InvitedEvent, Registry, SiteEntry
from fedcl.kit.units import write_server_units
from fedcl.site_labels import nearest_label

_SECRET_BYTES = 48


def new_federation(file: Path, folder: Path | None, now: datetime) -> ServerFolder:
    """Make the server's folder from FEDERATION.yaml, with an invitation for each site.

    Args:
        file: FEDERATION.yaml, of which the folder keeps a copy.
        folder: Folder to make; by default one named after the federation in the working directory.

    Raises:
        ConfigError: FEDERATION.yaml cannot be read, or a key or value in it is at fault.
        RunError: the folder exists already.
    """
    settings = load_federation(file)
    files = ServerFolder(folder or Path(settings.name))
    if files.path.exists():
        raise RunError(
            f"{files.path}: already there; a federation's keys are not overwritten. Choose another "
            "--folder, or invite a further site with `fedcl kit invite`"
        )
    authority = make_authority(settings, now)
    server = make_server_certificate(settings, authority, now)

    def fill(path: Path) -> None:
        path.chmod(0o700)
        inside = ServerFolder(path)
        write_text(inside.federation, read_text(file, what="the federation's settings"))
        write_pair(authority, certificate=inside.authority, key=inside.authority_key)
        write_pair(server, certificate=inside.certificate, key=inside.key)
        write_secret(inside.secret, base64.b64encode(secrets.token_bytes(_SECRET_BYTES)))
        Registry(path).start()
        for site in settings.sites:
            _invite(inside, settings, authority, site, now)

    write_folder(files.path, fill)
    write_server_units(files.path, settings.name)
    return files


def invite(folder: Path, site: str, now: datetime) -> Path:
    """Make a new invitation for a site and return its file.

    The site may be new. A key that it has already stays valid until another is approved.

    Raises:
        ConfigError: the site is not in the settings' `sites`, or the authority's key is missing.
        RunError: `folder` is not a server's folder, or the authority expired.
    """
    files = server_folder(folder)
    settings = load_federation(files.federation)
    if site not in settings.sites:
        nearest = nearest_label(site, settings.sites)
        raise ConfigError(
            f"{files.federation}: no site {site!r} in `sites`{nearest} A site that joins later is "
            "added there first"
        )
    _invite(files, settings, _current_authority(files, now), site, now)
    return files.invitation(site)


def renew(folder: Path, now: datetime) -> datetime:
    """Make a new server certificate and key for the names in the settings; return when it ends.

    Raises:
        ConfigError: the settings or the authority's key cannot be read.
        RunError: `folder` is not a server's folder, or the authority expired.
    """
    files = server_folder(folder)
    settings = load_federation(files.federation)
    pair = make_server_certificate(settings, _current_authority(files, now), now)
    write_pair(pair, certificate=files.certificate, key=files.key)
    return pair.certificate.not_valid_after_utc


def _invite(
    files: ServerFolder, settings: FederationSettings, authority: Pair, site: str, now: datetime
) -> None:
    invitation = make_invitation(settings, authority, site, now)

    def decide(_: Sequence[SiteEntry]) -> InvitedEvent:
        return InvitedEvent(
            time=invitation.issued,
            site=site,
            verifier=invitation.verifier,
            expires=invitation.expires,
        )

    # The registry comes first: an invitation that it does not know would be refused.
    Registry(files.path).record(decide)
    write_secret(files.invitation(site), invitation_text(invitation).encode())


def _current_authority(files: ServerFolder, now: datetime) -> Pair:
    authority = load_authority(files)
    until = authority.certificate.not_valid_after_utc
    if now >= until:
        raise RunError(
            f"{files.authority}: the authority expired {until:%Y-%m-%d %H:%M} UTC (this machine's "
            f"clock says {now.astimezone(UTC):%Y-%m-%d %H:%M}); make another federation with "
            "`fedcl kit new` and invite all sites to it"
        )
    return authority
