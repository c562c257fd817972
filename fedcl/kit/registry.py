"""The server's registry: every decision about a site, one event per line, in order.

registry.jsonl only grows: no line ever changes. It is rewritten whole under a lock, so a reader
sees all of an event or nothing of it, and never waits.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, AwareDatetime, Field, TypeAdapter, ValidationError

from fedcl.config.section import Section
from fedcl.errors import RunError
from fedcl.files.atomic import sync, write_secret
from fedcl.kit.federation import Label
from fedcl.kit.node_key import parse_public_line, sent_public_key
from fedcl.kit.private_file import require_private

SiteState = Literal["approved", "invited", "invitation expired", "key expired", "revoked"]


def _is_key(line: str) -> str:
    parse_public_line(line)
    return line


class InvitedEvent(Section):
    """A site was given an invitation, which makes an older unused invitation void."""

    event: Literal["invited"] = "invited"
    time: AwareDatetime
    site: Label
    verifier: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Hash of the invitation's code, 64 hexadecimal digits."""
    expires: AwareDatetime


class ApprovedEvent(Section):
    """A site's key was approved; it replaces the key before it."""

    event: Literal["approved"] = "approved"
    time: AwareDatetime
    site: Label
    verifier: str
    """Hash of the code of the invitation that this approval used up."""
    public_key: Annotated[str, AfterValidator(_is_key)]
    """The site's public key as the line that Flower registers."""
    fingerprint: str
    expires: AwareDatetime


class RevokedEvent(Section):
    """A site's key and its open invitation were made void."""

    event: Literal["revoked"] = "revoked"
    time: AwareDatetime
    site: Label


Event = Annotated[InvitedEvent | ApprovedEvent | RevokedEvent, Field(discriminator="event")]
E = TypeVar("E", InvitedEvent, ApprovedEvent, RevokedEvent)
_EVENT: TypeAdapter[InvitedEvent | ApprovedEvent | RevokedEvent] = TypeAdapter(Event)


@dataclass(frozen=True)
class SiteEntry:
    """The state of one site after all events.

    Attributes:
        site: Label of the site.
        invitations: All invitations that were ever made for it, oldest first.
        approvals: All approvals of its keys, oldest first.
        pending: The invitation that is not used yet, expired or not; None if there is none.
        approved: The approval of its present key, expired or not; None if it has no key.
        revoked: Time at which the site was revoked; None if it is not.
    """

    site: str
    invitations: tuple[InvitedEvent, ...] = ()
    approvals: tuple[ApprovedEvent, ...] = ()
    pending: InvitedEvent | None = None
    approved: ApprovedEvent | None = None
    revoked: datetime | None = None

    def state(self, now: datetime) -> SiteState:
        """Return the site's state; a valid key counts before an open invitation."""
        if self.allowed(now) is not None:
            return "approved"
        if self.pending is not None:
            return "invited" if now < self.pending.expires else "invitation expired"
        return "revoked" if self.approved is None else "key expired"

    def allowed(self, now: datetime) -> ApprovedEvent | None:
        """Return the approval of the key that the site may connect with now; None if it may not."""
        if self.approved is None or now >= self.approved.expires:
            return None
        return self.approved


class Registry:
    """The registry file of a server's folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "registry.jsonl"

    def sites(self) -> tuple[SiteEntry, ...]:
        """Return the state of each site that was ever invited, in the order of first invitations.

        Raises:
            RunError: the registry is missing or damaged; the message names the line.
            ConfigError: others may read or write it.
        """
        entries: dict[str, SiteEntry] = {}
        for number, event in enumerate(self._events(), 1):
            entry = entries.get(event.site, SiteEntry(event.site))
            if isinstance(event, InvitedEvent):
                entry = replace(entry, invitations=(*entry.invitations, event), pending=event)
            elif not entry.invitations:
                raise self._damaged(number, f"site {event.site} was not invited before")
            elif isinstance(event, ApprovedEvent):
                approvals = (*entry.approvals, event)
                entry = replace(
                    entry, approvals=approvals, approved=event, pending=None, revoked=None
                )
            else:
                entry = replace(entry, approved=None, pending=None, revoked=event.time)
            entries[event.site] = entry
        return tuple(entries.values())

    def allowed_keys(self, now: datetime) -> dict[bytes, str]:
        """Return the sites that may connect now, by the key that Flower's nodes send.

        Raises:
            RunError: the registry is missing or damaged.
            ConfigError: others may read or write it.
        """
        allowed = ((entry.allowed(now), entry.site) for entry in self.sites())
        return {sent_public_key(key.public_key): site for key, site in allowed if key is not None}

    def start(self) -> None:
        """Write the empty registry of a new federation."""
        write_secret(self.path, b"")

    def record(self, decide: Callable[[tuple[SiteEntry, ...]], E]) -> E:
        """Record the event that `decide` returns for the present state of the sites.

        A lock keeps other decisions out until the event is on the disk. An event that is recorded
        already is not written twice. An exception of `decide` is passed on, and nothing is written.

        Raises:
            RunError: the registry is missing or damaged.
            ConfigError: others may read or write it.
        """
        with self._locked():
            event = decide(self.sites())
            if event not in self._events():
                line = f"{event.model_dump_json()}\n".encode()
                write_secret(self.path, self.path.read_bytes() + line)
                sync(self.path.parent)
        return event

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.path.parent / ".registry.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _events(self) -> list[InvitedEvent | ApprovedEvent | RevokedEvent]:
        try:
            require_private(self.path)
            raw = self.path.read_bytes()
        except OSError as error:
            raise RunError(f"{self.path}: cannot read the registry: {error.strerror}") from None
        *lines, rest = raw.split(b"\n")
        if rest:
            raise self._damaged(len(lines) + 1, "it is cut")
        return [self._event(line, number) for number, line in enumerate(lines, 1)]

    def _event(self, line: bytes, number: int) -> InvitedEvent | ApprovedEvent | RevokedEvent:
        try:
            return _EVENT.validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            why = ": ".join(part for part in (where, first["msg"]) if part)
            raise self._damaged(number, why) from None

    def _damaged(self, number: int, why: str) -> RunError:
        return RunError(
            f"{self.path}, line {number}: damaged ({why}); restore the registry from a backup, and "
            "revoke again what was revoked since"
        )
