"""Checks everything about a site's request but the fingerprint, which persons compare."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fedcl.errors import ConfigError
from fedcl.kit.certificate_files import load_authority_certificate
from fedcl.kit.federation import load_federation
from fedcl.kit.fingerprint import certificate_fingerprint
from fedcl.kit.folders import ServerFolder
from fedcl.kit.invitation import CLOCKS_AGREE
from fedcl.kit.registry import ApprovedEvent, InvitedEvent, SiteEntry
from fedcl.kit.request import Request, key_problem, made_with
from fedcl.site_labels import nearest_label

_AGAIN = "invite the site again (`fedcl kit invite`), and there: `fedcl kit request`"


@dataclass(frozen=True)
class VerifiedRequest:
    """A request that passed every check; only the fingerprint remains for persons to compare.

    Attributes:
        request: The request as the site sent it.
        source: File of the request, for messages.
        verifier: Hash of the code of the invitation that the request was made with.
        already: The earlier approval of this very request; None if it was not approved before.
    """

    request: Request
    source: Path
    verifier: str
    already: ApprovedEvent | None


def require_same_federation(request: Request, path: Path, files: ServerFolder) -> None:
    """Check that a request is meant for this federation.

    Raises:
        ConfigError: the request is for another federation.
    """
    name = load_federation(files.federation).name
    authority = certificate_fingerprint(load_authority_certificate(files.authority))
    if request.federation != name:
        raise ConfigError(f"{path}: for the federation {request.federation!r}; this is {name!r}")
    if request.authority != authority:
        raise ConfigError(
            f"{path}: for another federation of the same name: the site trusts the authority "
            f"{request.authority!r}, and this one's is {authority!r} ({files.authority})"
        )


def verified(
    request: Request, path: Path, sites: tuple[SiteEntry, ...], now: datetime
) -> VerifiedRequest:
    """Return a request after a check against the registry's entries.

    Raises:
        ConfigError: the request was altered, does not prove its key, is void or late, or comes from
            an unknown site.
    """
    entry = entry_of(request.site, sites, path)
    used = _invitation_of(request, path, entry)
    if problem := key_problem(request):
        raise ConfigError(f"{path}: public_key: {problem}; `fedcl kit request` makes it rightly")
    before = next((a for a in entry.approvals if a.verifier == used.verifier), None)
    if before is not None and before.public_key != request.public_key:
        raise ConfigError(
            f"{path}: its invitation was used already, for the key {before.fingerprint}; {_AGAIN}"
        )
    if before is not None and before == entry.approved:
        if now >= before.expires:
            raise ConfigError(f"{path}: its key expired {before.expires:%Y-%m-%d}; {_AGAIN}")
        return VerifiedRequest(request, path, used.verifier, before)
    _require_open(used, path, entry, now)
    _require_clocks(request, path, used.time, now)
    for known in (approval for other in sites for approval in other.approvals):
        if known.public_key == request.public_key:
            raise ConfigError(
                f"{path}: its key was approved before, for site {known.site}; each invitation "
                "needs a new one: at the site, `fedcl kit request` with the new invitation"
            )
    return VerifiedRequest(request, path, used.verifier, None)


def entry_of(site: str, sites: Sequence[SiteEntry], source: Path) -> SiteEntry:
    """Return the registry's entry of a site; `source` names the file of its label in the message.

    Raises:
        ConfigError: the site was never invited; the message offers the nearest label.
    """
    for entry in sites:
        if entry.site == site:
            return entry
    known = nearest_label(site, [entry.site for entry in sites])
    raise ConfigError(f"{source}: no site {site!r} was invited to this federation{known}")


def _invitation_of(request: Request, path: Path, entry: SiteEntry) -> InvitedEvent:
    for invitation in entry.invitations:
        if made_with(request, invitation.verifier):
            return invitation
    raise ConfigError(
        f"{path}: altered, or not made with an invitation of site {entry.site}; ask the site for "
        f"its request again, or {_AGAIN}"
    )


def _require_open(used: InvitedEvent, path: Path, entry: SiteEntry, now: datetime) -> None:
    if used != entry.pending:
        why = "site was revoked" if entry.revoked else "site has a later invitation or key"
        raise ConfigError(f"{path}: its invitation is void, because the {why}; {_AGAIN}")
    if now >= used.expires:
        raise ConfigError(
            f"{path}: its invitation expired {used.expires:%Y-%m-%d %H:%M} UTC (this machine's "
            f"clock says {_minute(now)}); {_AGAIN}"
        )


def _require_clocks(request: Request, path: Path, invited: datetime, now: datetime) -> None:
    if invited - CLOCKS_AGREE <= request.time <= now + CLOCKS_AGREE:
        return
    raise ConfigError(
        f"{path}: made {_minute(request.time)} UTC by the site's clock; its invitation was made "
        f"{_minute(invited)}, and here it is {_minute(now)}. Set the clock that is wrong: Flower "
        f"refuses nodes over {CLOCKS_AGREE.seconds // 60} minutes off. Then the site repeats "
        "`fedcl kit request`"
    )


def _minute(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M}"
