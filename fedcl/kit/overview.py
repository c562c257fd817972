"""The lines of `fedcl kit list`: the authority, the server's certificate and each site."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from fedcl.kit.certificate_files import load_authority_certificate, load_server_certificate
from fedcl.kit.federation import load_federation
from fedcl.kit.fingerprint import certificate_fingerprint
from fedcl.kit.folders import server_folder
from fedcl.kit.registry import Registry, SiteEntry


@dataclass(frozen=True)
class Line:
    """The state of a certificate or of a site, with its dates.

    Attributes:
        what: The word "authority" or "server", or the label of a site.
        state: The state in words, such as "valid" or "invitation expired".
        fingerprint: Fingerprint of the certificate or of the site's key; None while a site has
            none.
        since: Time at which this state began.
        until: Time at which it ends or ended; None if it has no end.
    """

    what: str
    state: str
    fingerprint: str | None
    since: datetime | None
    until: datetime | None

    def days_left(self, now: datetime) -> int | None:
        """Return the whole days until the end; None if it is past or there is none."""
        if self.until is None or now >= self.until:
            return None
        return (self.until - now).days


def overview(folder: Path, now: datetime) -> tuple[Line, ...]:
    """Return the state of authority, server and sites, with sites in the order of the settings.

    Raises:
        ConfigError: the settings or a certificate cannot be read.
        RunError: `folder` is not a server's folder, or its registry is damaged.
    """
    files = server_folder(folder)
    entries = {entry.site: entry for entry in Registry(folder).sites()}
    labels = dict.fromkeys([*load_federation(files.federation).sites, *entries])
    return (
        _certificate("authority", load_authority_certificate(files.authority), now),
        _certificate("server", load_server_certificate(files), now),
        *(_site(entries.get(label, SiteEntry(label)), now) for label in labels),
    )


def _certificate(what: str, certificate: x509.Certificate, now: datetime) -> Line:
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    state = "expired" if now >= until else "valid" if now >= since else "not yet valid"
    return Line(what, state, certificate_fingerprint(certificate), since, until)


def _site(entry: SiteEntry, now: datetime) -> Line:
    if not entry.invitations:
        return Line(entry.site, "not invited", None, None, None)
    state, pending = entry.state(now), entry.pending
    if pending is not None and state != "approved":
        return Line(entry.site, state, None, pending.time, pending.expires)
    last = entry.approvals[-1] if entry.approvals else None
    fingerprint = None if last is None else last.fingerprint
    if last is None or state == "revoked":
        return Line(entry.site, state, fingerprint, entry.revoked, None)
    words = f"{state}, invited again" if pending and now < pending.expires else state
    return Line(entry.site, words, fingerprint, last.time, last.expires)
