"""Writes certificates and their keys, and reads them with a message for each possible fault."""

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fedcl.errors import ConfigError
from fedcl.files.atomic import write_secret, write_text
from fedcl.kit.authority import Pair
from fedcl.kit.document import read_text
from fedcl.kit.folders import ServerFolder
from fedcl.kit.private_file import read_private


def certificate_pem(certificate: x509.Certificate) -> str:
    """Return a certificate as PEM text."""
    return certificate.public_bytes(Encoding.PEM).decode("ascii")


def write_pair(pair: Pair, *, certificate: Path, key: Path) -> None:
    """Write a private key that only its owner may read, then its certificate."""
    raw = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_secret(key, raw)
    write_text(certificate, certificate_pem(pair.certificate), durable=True)


def parse_authority(pem: str) -> x509.Certificate:
    """Return an authority's certificate from its PEM text.

    Raises:
        ValueError: the text is not one certificate of an authority that vouches for itself.
    """
    certificate = _parse(pem)
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        certificate.verify_directly_issued_by(certificate)
    except (x509.ExtensionNotFound, InvalidSignature, ValueError, TypeError):
        raise ValueError("not the certificate of an authority that vouches for itself") from None
    if not basic.value.ca:
        raise ValueError("the certificate of a server, not of an authority")
    return certificate


def load_authority_certificate(path: Path) -> x509.Certificate:
    """Return the authority's certificate from its file.

    Raises:
        ConfigError: the file cannot be read or is not such a certificate.
    """
    try:
        return parse_authority(read_text(path, what="the authority's certificate"))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None


def load_authority(folder: ServerFolder) -> Pair:
    """Return the authority with its private key.

    Raises:
        ConfigError: a file is missing, others may read the key, or certificate and key do not
            belong together.
    """
    what = "the authority's key, which signs invitations and certificates; put it back for this"
    pair = Pair(
        load_authority_certificate(folder.authority), _load_key(folder.authority_key, what=what)
    )
    if pair.key.public_key() != pair.certificate.public_key():
        raise ConfigError(f"{folder.authority_key}: not the key of {folder.authority}")
    return pair


def load_server_certificate(folder: ServerFolder) -> x509.Certificate:
    """Return the server's certificate.

    Raises:
        ConfigError: the file cannot be read or is not a certificate.
    """
    try:
        return _parse(read_text(folder.certificate, what="the server's certificate"))
    except ValueError as error:
        raise ConfigError(f"{folder.certificate}: {error}") from None


def require_server_key(folder: ServerFolder, certificate: x509.Certificate) -> None:
    """Check that the private key of the server's certificate is there.

    Raises:
        ConfigError: the key is missing, others may read it, or it is another certificate's.
    """
    key = _load_key(folder.key, what="the key of the server's certificate")
    if key.public_key() != certificate.public_key():
        raise ConfigError(f"{folder.key}: not the key of {folder.certificate}")


def _parse(pem: str) -> x509.Certificate:
    try:
        certificates = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise ValueError("not a certificate in PEM") from None
    # Whoever trusts the file would trust every certificate in it.
    if len(certificates) != 1:
        raise ValueError(f"expected one certificate, found {len(certificates)}")
    return certificates[0]


def _load_key(path: Path, *, what: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(read_private(path, what=what), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{path}: not a private key in PEM without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path}: not an ECDSA key")
    return key
