"""What the server decides about sites: a verified key is approved, a site is revoked."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from fedcl.errors import RunError
from fedcl.files.atomic import write_text
from fedcl.kit.federation import load_federation
from fedcl.kit.folders import server_folder
from fedcl.kit.registry import ApprovedEvent, Registry, RevokedEvent, SiteEntry
from fedcl.kit.request import read_request
from fedcl.kit.verification import VerifiedRequest, entry_of, require_same_federation, verified


def verify_request(folder: Path, path: Path, now: datetime) -> VerifiedRequest:
    """Check a site's request against this federation and what stands about the site.

    Raises:
        ConfigError: it is altered, unproven, void, late, for another federation or unknown site.
        RunError: this is no server's folder, or its registry is damaged.
    """
    files, request = server_folder(folder), read_request(path)
    require_same_federation(request, path, files)
    return verified(request, path, Registry(folder).sites(), now)


def approve(folder: Path, checked: VerifiedRequest, now: datetime) -> ApprovedEvent:
    """Accept a verified request's key; one that was accepted before stays as it is.

    Raises:
        ConfigError: what happened since it was verified makes it void.
        RunError: as of `verify_request`.
    """
    files, request = server_folder(folder), checked.request
    days = load_federation(files.federation).days.node_key

    def decide(sites: tuple[SiteEntry, ...]) -> ApprovedEvent:
        again = verified(request, checked.source, sites, now)
        return again.already or ApprovedEvent(
            time=_second(now),
            site=request.site,
            verifier=again.verifier,
            public_key=request.public_key,
            fingerprint=request.fingerprint,
            expires=_second(now + timedelta(days=days)),
        )

    approved = Registry(folder).record(decide)
    write_text(files.public_key(request.site), approved.public_key + "\n", durable=True)
    return approved


def revoke(folder: Path, site: str, now: datetime) -> None:
    """Shut a site out: its key and its open invitation count no more.

    Raises:
        ConfigError: there is no such site.
        RunError: it is shut out already; or as of `verify_request`.
    """
    files = server_folder(folder)

    def decide(sites: tuple[SiteEntry, ...]) -> RevokedEvent:
        entry = entry_of(site, sites, files.registry)
        if entry.approved is None and entry.pending is None:
            raise RunError(f"site {site} has been revoked already, {entry.revoked:%Y-%m-%d}")
        return RevokedEvent(time=_second(now), site=site)

    Registry(folder).record(decide)
    # The registry decides; these would only mislead.
    files.public_key(site).unlink(missing_ok=True)
    files.invitation(site).unlink(missing_ok=True)


def _second(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(microsecond=0)
