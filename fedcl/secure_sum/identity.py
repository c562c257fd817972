"""Manage a site's long-lived identity: an Ed25519 key whose public half the other sites pin.

https://www.rfc-editor.org/rfc/rfc8032. The private half is a PEM file on the site's own disk that
only its owner may read. The public halves of all sites are in one YAML file, of which every site
has its own copy.
"""

import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fedcl.errors import ConfigError
from fedcl.files.atomic import write_secret, write_text
from fedcl.secure_sum.keys import KEY_BYTES
from fedcl.site_labels import file_stem


def key_path(folder: Path, site: str) -> Path:
    """Return the path of a site's private key."""
    return folder / f"{file_stem(site)}.key"


def make_identity(folder: Path, site: str) -> tuple[bytes, bool]:
    """Return a site's public key, and whether it is new; an existing key is not replaced.

    Raises:
        ConfigError: there is a key that cannot be used.
    """
    path = key_path(folder, site)
    if path.exists():
        return load_identity(folder, site).public_key().public_bytes_raw(), False
    identity = Ed25519PrivateKey.generate()
    pem = identity.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_secret(path, pem)
    return identity.public_key().public_bytes_raw(), True


def load_identity(folder: Path, site: str) -> Ed25519PrivateKey:
    """Return a site's private key.

    Raises:
        ConfigError: there is no key, other users may read it, or it is not an Ed25519 key.
    """
    path = key_path(folder, site)
    if not path.exists():
        raise ConfigError(
            f"{path}: site {site} has no identity key; make one with `fedcl keys CONFIG --site "
            f"'{site}'` and hand its public half to the other sites (secure_sum.keys)"
        )
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise ConfigError(f"{path}: others may read this private key; chmod 600 it")
    try:
        identity = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError):
        raise ConfigError(f"{path}: not a private key in PEM without a password") from None
    if not isinstance(identity, Ed25519PrivateKey):
        raise ConfigError(f"{path}: not an Ed25519 key; `fedcl keys` makes one")
    return identity


def read_identities(file: Path) -> dict[str, bytes]:
    """Return the pinned public key of every site, 32 bytes.

    Raises:
        ConfigError: the file does not exist, or does not hold public keys by site.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{file}: cannot read the sites' identities: {error.strerror}; `fedcl keys` writes "
            "this file (secure_sum.identities)"
        ) from None
    try:
        pinned = dict(_parsed(text))
    except (yaml.YAMLError, AttributeError, TypeError, ValueError):
        raise ConfigError(f"{file}: expected lines of `site: public key in hexadecimal`") from None
    for site, key in pinned.items():
        if len(key) != KEY_BYTES:
            raise ConfigError(f"{file}: site {site}: a public key is {2 * KEY_BYTES} hexadecimals")
    return pinned


# The keys are needed for every message of a sum, and parsing YAML takes longer than cryptography.
@lru_cache(maxsize=4)
def _parsed(text: str) -> tuple[tuple[str, bytes], ...]:
    # Every scalar is read as text, since a label may be a number and a key may be all digits.
    tree = yaml.load(text, Loader=yaml.BaseLoader)
    return tuple((site, bytes.fromhex(key)) for site, key in (tree or {}).items())


def require_pinned(identities: Mapping[str, bytes], sites: tuple[str, ...], *, file: Path) -> None:
    """Check that the identity of every site is pinned.

    Raises:
        ConfigError: an identity is not pinned; the message names the sites.
    """
    unknown = [site for site in sites if site not in identities]
    if unknown:
        raise ConfigError(
            f"{file}: no identity key is pinned for site {', '.join(unknown)}; add the public half "
            "of its key, after checking it with the site itself"
        )


def own_identity(folder: Path, file: Path, site: str) -> Ed25519PrivateKey:
    """Return a site's private key after checking that its public half is pinned for the site.

    Raises:
        ConfigError: the key is missing, its public half is not pinned, or another key is pinned.
    """
    identity, pinned = load_identity(folder, site), read_identities(file)
    require_pinned(pinned, (site,), file=file)
    if pinned[site] != identity.public_key().public_bytes_raw():
        raise ConfigError(
            f"{file}: another identity key is pinned for site {site} than {key_path(folder, site)}"
        )
    return identity


def pin(file: Path, site: str, public: bytes) -> None:
    """Add a site's public key to the file of pinned keys, unless it is pinned already.

    Raises:
        ConfigError: another key is pinned for the site.
    """
    pinned = read_identities(file) if file.exists() else {}
    if pinned.get(site, public) != public:
        raise ConfigError(
            f"{file}: another key is pinned for site {site}; if the site has a new one, remove "
            "this line here and at every other site"
        )
    if site not in pinned:
        whole = {name: key.hex() for name, key in {**pinned, site: public}.items()}
        write_text(file, yaml.safe_dump(whole, sort_keys=False, allow_unicode=True))
