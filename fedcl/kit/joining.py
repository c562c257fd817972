"""What a site makes of its invitation: its own key, its folder, and the request it sends.

One invitation, one key: the same invitation again keeps the key, another invitation makes another.
The key before stays beside it, since the server accepts it until the new one is approved.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from fedcl.config.data import Data
from fedcl.config.site import load_site
from fedcl.errors import ConfigError
from fedcl.files.atomic import write_secret, write_text
from fedcl.kit.certificate_files import load_authority_certificate
from fedcl.kit.fingerprint import certificate_fingerprint, key_fingerprint
from fedcl.kit.folders import SiteFolder
from fedcl.kit.invitation import (
    Invitation,
    invitation_text,
    read_invitation,
    require_current,
)
from fedcl.kit.node_key import load_node_key, make_node_key, public_line
from fedcl.kit.request import Request, make_request, request_text
from fedcl.kit.site_template import site_template
from fedcl.kit.units import write_site_units
from fedcl.site_labels import file_stem


@dataclass(frozen=True)
class PreparedSite:
    """A site's folder, ready.

    Attributes:
        folder: The site's folder.
        request: What is sent to the server, in its file.
        former_key: Where the key of an older invitation lies now; None if there was none.
        notes: What the person should look at in the site's own settings.
    """

    folder: SiteFolder
    request: Request
    former_key: Path | None
    notes: tuple[str, ...]


def prepare_request(
    path: Path, folder: Path | None, now: datetime, data: Data | None = None
) -> PreparedSite:
    """Make the site's key, if need be, and its request.

    Args:
        path: The invitation.
        folder: The site's; by default the one that the invitation lies in if that is a site's, else
            one named after the site in the working directory.
        now: The time.
        data: How the site's participants are read, for a SITE.yaml that is not there yet.

    Raises:
        ConfigError: the invitation cannot be used, the folder is another's, or its key is unusable.
    """
    invitation = read_invitation(path)
    require_current(invitation, path, now)
    beside = SiteFolder(path.parent)
    named = Path(file_stem(invitation.site))
    files = SiteFolder(folder or (beside.path if beside.settings.exists() else named))
    held = _held(files, invitation)
    files.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    former = _put_aside(files) if held != invitation else None
    write_secret(files.invitation, invitation_text(invitation).encode())
    write_text(files.authority, invitation.authority)
    key = load_node_key(files.key) if files.key.exists() else make_node_key(files.key)
    write_text(files.public_key, public_line(key.public_key()) + "\n")
    if not files.settings.exists():
        write_text(files.settings, site_template(invitation, data))
        write_site_units(files.path, invitation.site, invitation.server)
    request = make_request(invitation, key, now)
    write_text(files.request, request_text(request), durable=True)
    return PreparedSite(files, request, former, _notes(files, invitation))


def _held(files: SiteFolder, invitation: Invitation) -> Invitation | None:
    """Return the invitation that the folder was made with, once it fits the new one."""
    if files.path.exists() and not files.path.is_dir():
        raise ConfigError(f"{files.path}: is a file; the site's folder goes there (--folder)")
    if (files.path / "registry.jsonl").exists():
        raise ConfigError(f"{files.path}: the server's folder; a site has its own (--folder)")
    if files.authority.exists():
        trusted = certificate_fingerprint(load_authority_certificate(files.authority))
        if trusted != invitation.fingerprint:
            raise ConfigError(
                f"{files.authority}: this site trusts another authority ({trusted}) than the "
                f"invitation's ({invitation.fingerprint}). Ask the federation by telephone; if it "
                "is a new federation, give it a folder of its own (--folder)"
            )
    if not files.invitation.exists():
        return None
    held = read_invitation(files.invitation)
    if (held.federation, held.site) != (invitation.federation, invitation.site):
        raise ConfigError(
            f"{files.path}: the folder of site {held.site} in the federation {held.federation}; "
            f"site {invitation.site} of {invitation.federation} needs another (--folder)"
        )
    if invitation.issued < held.issued:
        raise ConfigError(
            f"{files.path}: has a later invitation ({held.issued:%Y-%m-%d %H:%M} UTC) than this "
            f"one ({invitation.issued:%Y-%m-%d %H:%M} UTC), which is void"
        )
    return held


def _put_aside(files: SiteFolder) -> Path | None:
    """Move the key of an older invitation aside; two keys never share a name."""
    if not files.key.exists():
        return None
    key: ec.EllipticCurvePrivateKey = load_node_key(files.key)
    short = key_fingerprint(key.public_key()).replace(" ", "")[:12]
    return files.key.replace(files.key.with_name(f"{files.key.name}.{short}"))


def _notes(files: SiteFolder, invitation: Invitation) -> tuple[str, ...]:
    try:
        settings = load_site(files.settings)
    except ConfigError as error:
        return (str(error),)
    pairs = (
        ("site", settings.site, invitation.site),
        ("server", settings.server, invitation.server),
    )
    return tuple(
        f"{files.settings}: {key}: {found!r}, and the invitation says {said!r}; correct it"
        for key, found, said in pairs
        if found != said
    )
