"""An invitation lets one site join, once and until a date; the federation's authority signs it.

By its secret code the server recognises a request that was made with it. The registry holds only
the hash of the code, which is also the key of the request's authentication code.
"""

import base64
import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import AwareDatetime, Field

from fedcl.config.section import Section
from fedcl.errors import ConfigError
from fedcl.kit.authority import Pair
from fedcl.kit.certificate_files import certificate_pem, parse_authority
from fedcl.kit.document import document_text, read_document, signed_bytes
from fedcl.kit.federation import FederationSettings, Label
from fedcl.kit.fingerprint import certificate_fingerprint

CLOCKS_AGREE = timedelta(minutes=5)
"""Largest difference allowed between two clocks: Flower refuses nodes beyond it."""

_HEADING = """\
Invitation to a federation. Give it to this site alone, in a way that nobody else reads: its code
counts once. There: `fedcl kit request`, and compare the fingerprint by telephone."""


class Invitation(Section):
    """Everything a site needs to request admission."""

    kind: Literal["fedcl-invitation"] = "fedcl-invitation"
    federation: str
    site: Label
    server: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:\[\]-]+:[0-9]+$")]
    """Address of the gateway, `host:port`."""
    authority: str
    """Certificate of the federation's authority as PEM text."""
    fingerprint: str
    """Fingerprint of the authority's certificate, which persons compare by telephone."""
    code: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """32 random bytes in hexadecimal, secret until a request has used them."""
    issued: AwareDatetime
    expires: AwareDatetime
    signature: str
    """Signature of the authority over all other fields, in base64."""

    @property
    def verifier(self) -> str:
        """Hash of the code, which is all that the server's registry holds of it."""
        return code_verifier(self.code)


def code_verifier(code: str) -> str:
    """Return the hash of an invitation's code, 64 hexadecimal digits."""
    return hashlib.sha256(code.encode()).hexdigest()


def make_invitation(
    settings: FederationSettings, authority: Pair, site: str, now: datetime
) -> Invitation:
    """Make an invitation with a new code that ends no later than the authority."""
    end = authority.certificate.not_valid_after_utc
    unsigned = Invitation(
        federation=settings.name,
        site=site,
        server=settings.server,
        authority=certificate_pem(authority.certificate),
        fingerprint=certificate_fingerprint(authority.certificate),
        code=secrets.token_hex(32),
        issued=now.astimezone(UTC).replace(microsecond=0),
        expires=min(now + timedelta(days=settings.days.invitation), end)
        .astimezone(UTC)
        .replace(microsecond=0),
        signature="",
    )
    signature = authority.key.sign(_bytes_to_sign(unsigned), ec.ECDSA(hashes.SHA384()))
    return unsigned.model_copy(update={"signature": base64.b64encode(signature).decode()})


def invitation_text(invitation: Invitation) -> str:
    """Return an invitation as the text of its file."""
    return document_text(invitation, heading=_HEADING)


def read_invitation(path: Path) -> Invitation:
    """Read an invitation and check that nothing was altered; its dates are not checked.

    Raises:
        ConfigError: the file cannot be read, is not an invitation, or was altered.
    """
    invitation = read_document(path, Invitation, kind="fedcl-invitation")
    try:
        certificate = parse_authority(invitation.authority)
    except ValueError as error:
        raise ConfigError(f"{path}: authority: {error}; ask for the invitation again") from None
    key = certificate.public_key()
    genuine = isinstance(key, ec.EllipticCurvePublicKey) and _is_signed_with(key, invitation)
    if not genuine or invitation.fingerprint != certificate_fingerprint(certificate):
        raise ConfigError(
            f"{path}: altered since the federation's authority signed it; ask for it again"
        )
    return invitation


def require_current(invitation: Invitation, path: Path, now: datetime) -> None:
    """Check that an invitation is valid now.

    Raises:
        ConfigError: the invitation expired, or the clocks disagree.
    """
    clock = f"this machine's clock says {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if now >= invitation.expires:
        raise ConfigError(
            f"{path}: the invitation expired {invitation.expires:%Y-%m-%d %H:%M} UTC ({clock}); "
            "ask the federation for another (`fedcl kit invite`)"
        )
    if now < invitation.issued - CLOCKS_AGREE:
        raise ConfigError(
            f"{path}: issued {invitation.issued:%Y-%m-%d %H:%M} UTC, and {clock}; set the clock: "
            f"Flower refuses nodes over {CLOCKS_AGREE.seconds // 60} minutes off"
        )


def _bytes_to_sign(invitation: Invitation) -> bytes:
    return signed_bytes(invitation, purpose="fedcl invitation", leave_out={"signature"})


def _is_signed_with(key: ec.EllipticCurvePublicKey, invitation: Invitation) -> bool:
    try:
        signature = base64.b64decode(invitation.signature, validate=True)
        key.verify(signature, _bytes_to_sign(invitation), ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError):
        return False
    return True
