"""A site's request carries its new public key, bound to its invitation and proven to be its own.

The signature is made with the private half of that key. The authentication code (HMAC-SHA256,
https://www.rfc-editor.org/rfc/rfc2104) is keyed with the hash of the invitation's code and covers
everything, signature included. So an altered request is refused, whatever was altered.
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
    """The request that a site sends to the server, once per invitation."""

    kind: Literal["fedcl-request"] = "fedcl-request"
    federation: str
    authority: str
    """Fingerprint of the authority that the site trusts."""
    site: Label
    public_key: str
    """Public key of the site's node as the line that Flower registers."""
    fingerprint: str
    """Fingerprint of the public key, which persons compare by telephone."""
    time: AwareDatetime
    signature: str
    """Signature made with the private half of the key, in base64."""
    authentication: str
    """HMAC-SHA256 keyed with the hash of the invitation's code, in hexadecimal."""


def make_request(invitation: Invitation, key: ec.EllipticCurvePrivateKey, now: datetime) -> Request:
    """Make a site's request, signed with its key and authenticated with its invitation."""
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
    signature = base64.b64encode(key.sign(_bytes_to_sign(bare), ec.ECDSA(hashes.SHA384()))).decode()
    signed = bare.model_copy(update={"signature": signature})
    return signed.model_copy(update={"authentication": _code(signed, invitation.verifier)})


def request_text(request: Request) -> str:
    """Return a request as the text of its file."""
    return document_text(request, heading=_HEADING)


def read_request(path: Path) -> Request:
    """Read a request without verifying anything in it.

    Raises:
        ConfigError: the file cannot be read or is not a request.
    """
    return read_document(path, Request, kind="fedcl-request")


def made_with(request: Request, verifier: str) -> bool:
    """Return whether a request is unaltered and was made with the invitation of this verifier."""
    return hmac.compare_digest(request.authentication.encode(), _code(request, verifier).encode())


def key_problem(request: Request) -> str | None:
    """Return why a request does not prove that its key is the site's own, or None if it does."""
    try:
        key = parse_public_line(request.public_key)
    except ValueError as error:
        return str(error)
    if request.fingerprint != key_fingerprint(key):
        return "the fingerprint is another key's"
    try:
        signature = base64.b64decode(request.signature, validate=True)
        key.verify(signature, _bytes_to_sign(request), ec.ECDSA(hashes.SHA384()))
    except (InvalidSignature, ValueError):
        return "not signed with the private half of its key"
    return None


def _bytes_to_sign(request: Request) -> bytes:
    unsigned = {"signature", "authentication"}
    return signed_bytes(request, purpose="fedcl request signed", leave_out=unsigned)


def _code(request: Request, verifier: str) -> str:
    covered = signed_bytes(
        request, purpose="fedcl request authenticated", leave_out={"authentication"}
    )
    return hmac.digest(bytes.fromhex(verifier), covered, "sha256").hex()
