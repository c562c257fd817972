"""Fingerprints that two persons compare by telephone.

A fingerprint is a SHA-256 hash in groups of four hexadecimal digits. The same hash of a certificate
is shown by `openssl x509 -noout -fingerprint -sha256 -in ca.crt`, and of a node's key by
`ssh-keygen -e -m PKCS8 -f node.pub | openssl pkey -pubin -outform DER | sha256sum`.
"""

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def certificate_fingerprint(certificate: x509.Certificate) -> str:
    """Return the fingerprint of a whole certificate, in its DER encoding."""
    return _grouped(certificate.public_bytes(Encoding.DER))


def key_fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return the fingerprint of a public key, in its DER encoding."""
    return _grouped(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _grouped(data: bytes) -> str:
    return hashlib.sha256(data).digest().hex(" ", 2)
