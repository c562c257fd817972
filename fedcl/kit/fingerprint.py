"""What two persons compare by telephone: SHA-256, in groups of four hexadecimal digits.

Of a certificate it is what `openssl x509 -noout -fingerprint -sha256 -in ca.crt` shows; of a node's
key, what `ssh-keygen -e -m PKCS8 -f node.pub | openssl pkey -pubin -outform DER | sha256sum` shows.
"""

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def certificate_fingerprint(certificate: x509.Certificate) -> str:
    """Return the fingerprint of a whole certificate."""
    return _grouped(certificate.public_bytes(Encoding.DER))


def key_fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """Return the fingerprint of a public key."""
    return _grouped(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _grouped(data: bytes) -> str:
    return hashlib.sha256(data).digest().hex(" ", 2)
