"""The server's decisions about sites: it approves a verified key, or revokes a site."""

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
    """Check a site's request against this federation and against the site's registry entry.

    Raises:
        ConfigError: the request was altered, does not prove its key, is void or late, or is for
            another federation or an unknown site.
        RunError: `folder` is not a server's folder, or its registry is damaged.
    """
    files, request = server_folder(folder), read_request(path)
    require_same_federation(request, path, files)
    return verified(request, path, Registry(folder).sites(), now)


def approve(folder: Path, checked: VerifiedRequest, now: datetime) -> ApprovedEvent:
    """Approve the key of a verified request and return the event; an earlier approval stands.

    Raises:
        ConfigError: the request became void since it was verified.
        RunError: `folder` is not a server's folder, or its registry is damaged.
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
    """Revoke a site: its key and its open invitation are no longer valid.

    Raises:
        ConfigError: no such site was ever invited.
        RunError: the site is revoked already, `folder` is not a server's folder, or its registry is
            damaged.
    """
    files = server_folder(folder)

    def decide(sites: tuple[SiteEntry, ...]) -> RevokedEvent:
        entry = entry_of(site, sites, files.registry)
        if entry.approved is None and entry.pending is None:
            raise RunError(f"site {site} has been revoked already, {entry.revoked:%Y-%m-%d}")
        return RevokedEvent(time=_second(now), site=site)

    Registry(folder).record(decide)
    # Only the registry decides; files of a revoked site would mislead whoever finds them.
    files.public_key(site).unlink(missing_ok=True)
    files.invitation(site).unlink(missing_ok=True)


def _second(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(microsecond=0)
