"""Makes a site's own key, its folder and its request from the invitation.

Each invitation has one key: the same invitation again keeps the key, another invitation makes
another. The former key stays beside it, since the server accepts it until the new one is approved.
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
    """A site's folder with its key and request, ready to be sent.

    Attributes:
        folder: The site's folder, which now holds key, settings and request.
        request: The request that is sent to the server, as it stands in its file.
        former_key: Where the key of an older invitation lies now; None if there was none.
        notes: Faults in the site's own settings that a person should correct.
    """

    folder: SiteFolder
    request: Request
    former_key: Path | None
    notes: tuple[str, ...]


def prepare_request(
    path: Path, folder: Path | None, now: datetime, data: Data | None = None
) -> PreparedSite:
    """Make the site's request, and its key if this invitation has none yet.

    Args:
        path: File of the invitation.
        folder: Folder of the site; by default the invitation's folder if that is a site's, else one
            named after the site in the working directory.
        data: How the site's participants are read, for a SITE.yaml that does not exist yet.

    Raises:
        ConfigError: the invitation cannot be used, the folder belongs to another site, or its key
            is unusable.
    """
    invitation = read_invitation(path)
    require_current(invitation, path, now)
    beside = SiteFolder(path.parent)
    named = Path(file_stem(invitation.site))
    files = SiteFolder(folder or (beside.path if beside.settings.exists() else named))
    previous = _previous_invitation(files, invitation)
    files.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    former = _put_aside(files) if previous != invitation else None
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


def _previous_invitation(files: SiteFolder, invitation: Invitation) -> Invitation | None:
    """Return the folder's last invitation after a check that the new one may follow it."""
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
    previous = read_invitation(files.invitation)
    if (previous.federation, previous.site) != (invitation.federation, invitation.site):
        raise ConfigError(
            f"{files.path}: the folder of site {previous.site} in the federation "
            f"{previous.federation}; site {invitation.site} of {invitation.federation} needs "
            "another (--folder)"
        )
    if invitation.issued < previous.issued:
        raise ConfigError(
            f"{files.path}: has a later invitation ({previous.issued:%Y-%m-%d %H:%M} UTC) than "
            f"this one ({invitation.issued:%Y-%m-%d %H:%M} UTC), which is void"
        )
    return previous


def _put_aside(files: SiteFolder) -> Path | None:
    """Move the key of an older invitation aside, under a name made from its fingerprint."""
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
        f"{files.settings}: {key}: {actual!r}, and the invitation says {expected!r}; correct it"
        for key, actual, expected in pairs
        if actual != expected
    )
