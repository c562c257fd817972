"""Makes TLS contexts, and a certificate for a site's own loopback."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fedcl.deployment.flower import LOOPBACK
from fedcl.files.atomic import write_secret, write_text

_DAYS = 365


def trusting(authority: Path) -> ssl.SSLContext:
    """Return a client's TLS context (1.2 or newer) that trusts one authority and no other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=str(authority))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def write_loopback_certificate(certificate: Path, key: Path) -> None:
    """Write a new certificate for this machine's loopback, signed with its own key."""
    private = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedcl on this machine")])
    now = datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address(LOOPBACK))]
    loopback = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(private, SHA384())
    )
    write_secret(key, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    write_text(certificate, loopback.public_bytes(Encoding.PEM).decode())
