"""A site's request: its new public key, bound to its invitation and proven to be its own.

The signature is made with the private key that belongs to the public one; the authentication code
(HMAC-SHA256, https://www.rfc-editor.org/rfc/rfc2104) with the invitation's code, over everything,
signature included. So an altered request is refused, whatever was altered.
"""

import base64
import hmac
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import AwareDatetime

from fedcl.config.section import Section
from fedcl.kit.document import document_text, read_document, signed_bytes
from fedcl.kit.federation import Label
from fedcl.kit.fingerprint import key_fingerprint
from fedcl.kit.invitation import Invitation
from fedcl.kit.node_key import parse_public_line, public_line

_HEADING = """\
Request of a site to join a federation. Nothing here is secret. Send it to the server's institution;
there: `fedcl kit approve`, and compare the key's fingerprint by telephone."""


class Request(Section):
    """What a site sends to the server, once."""

    kind: Literal["fedcl-request"] = "fedcl-request"
    federation: str
    authority: str
    """Fingerprint of the authority that the site trusts."""
    site: Label
    public_key: str
    """Of the site's node, the line that Flower registers."""
    fingerprint: str
    """Of that key: what is compared by telephone."""
    time: AwareDatetime
    signature: str
    """By the private half of the key, base64."""
    authentication: str
    """With the invitation's code, hexadecimal."""


def make_request(invitation: Invitation, key: ec.EllipticCurvePrivateKey, now: datetime) -> Request:
    """Make a site's request."""
    bare = Request(
        federation=invitation.federation,
        authority=invitation.fingerprint,
        site=invitation.site,
        public_key=public_line(key.public_key()),
        fingerprint=key_fingerprint(key.public_key()),
        time=now.astimezone(UTC).replace(microsecond=0),
        signature="",
        authentication="",
    )
    signature = base64.b64encode(key.sign(_signed(bare), ec.ECDSA(hashes.SHA384()))).decode()
    signed = bare.model_copy(update={"signature": signature})
    return signed.model_copy(update={"authentication": _code(signed, invitation.verifier)})


def request_text(request: Request) -> str:
    """Return a request as the text of its file."""
    return document_text(request, heading=_HEADING)


def read_request(path: Path) -> Request:
    """Read a request; nothing in it is verified yet.

    Raises:
        ConfigError: it cannot be read or is something else.
    """
    return read_document(path, Request, kind="fedcl-request")


def made_with(request: Request, verifier: str) -> bool:
    """Return whether a request is as it was made with the invitation of this verifier."""
    return hmac.compare_digest(request.authentication.encode(), _code(request, verifier).encode())


def key_problem(request: Request) -> str | None:
    """Return why a request does not prove that its key is the site's own; None if it does."""
    try:
        key = parse_public_line(request.public_key)
    except ValueError as error:
        return str(error)
    if request.fingerprint != key_fingerprint(key):
        return "the fingerprint is another key's"
    try:
        signature = base64.b64decode(request.signature, validate=True)
        key.verify(signature, _signed(request), ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError):
        return "not signed with the private half of its key"
    return None


def _signed(request: Request) -> bytes:
    left = {"signature", "authentication"}
    return signed_bytes(request, purpose="fedcl request signed", leave_out=left)


def _code(request: Request, verifier: str) -> str:
    covered = signed_bytes(
        request, purpose="fedcl request authenticated", leave_out={"authentication"}
    )
    return hmac.digest(bytes.fromhex(verifier), covered, "sha256").hex()
