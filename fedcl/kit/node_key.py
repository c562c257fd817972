"""A site's node key: ECDSA on P-384, in the OpenSSH format that Flower's SuperNode loads."""

from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
    load_ssh_public_key,
)

from fedcl.errors import ConfigError
from fedcl.files.atomic import write_secret
from fedcl.kit.private_file import read_private


def make_node_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Make a key and write its private half to a file that only its owner may read."""
    key = ec.generate_private_key(ec.SECP384R1())
    write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    return key


def load_node_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return a site's private key from its file.

    Raises:
        ConfigError: the file is missing, others may read it, or it holds another kind of key.
    """
    raw = read_private(path, what="the node's key; `fedcl kit request INVITATION` makes it")
    try:
        key = load_ssh_private_key(raw, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(
            f"{path}: not a private key in OpenSSH format without a password"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ConfigError(f"{path}: not an ECDSA key on P-384; `fedcl kit request` makes one")
    return key


def public_line(key: ec.EllipticCurvePublicKey) -> str:
    """Return a public key as the one line that `flwr supernode register` reads."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")


def parse_public_line(line: str) -> ec.EllipticCurvePublicKey:
    """Return the public key in a line that `public_line` made.

    Raises:
        ValueError: the line is anything else, such as a key on another curve or with a comment.
    """
    try:
        key = load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("not a public key in OpenSSH format") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ValueError("not an ECDSA public key on P-384")
    if public_line(key) != line:
        raise ValueError("expected the public key alone, on one line")
    return key


def sent_public_key(line: str) -> bytes:
    """Return the public key of a line in the form that Flower's nodes send with each request.

    That form is the PEM of the SubjectPublicKeyInfo, `public_key_to_bytes` in Flower.
    """
    return parse_public_line(line).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
