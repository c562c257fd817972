"""What a site has agreed to run: bundles by their bytes, experiments by their text.

Flower's node runs a bundle only with a signature that it trusts. The one it trusts is the site's
own, made here, on this machine, for bundles that were built here.
"""

import base64
import json
import time
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from fedcl.config.loading import fingerprint
from fedcl.deployment.bundle import bundle_digest
from fedcl.errors import ConfigError
from fedcl.files.atomic import write_file, write_secret, write_text

_SIGNER = "fpk_site"
"""What the site's signature is called between this folder and its node."""


class Approvals:
    """The folder of a site's approvals; deleting a file takes one back.

    Args:
        folder: `bundle-DIGEST.fab`, `experiment-FINGERPRINT.yaml`, and the key that vouches.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trusted = folder / "trusted.yaml"
        self._key = folder / "approval.key"

    def approve_bundle(self, bundle: bytes) -> Path:
        """Agree to run a bundle; return the file that says so."""
        file = self.folder / f"bundle-{bundle_digest(bundle)}.fab"
        write_file(file, lambda temporary: _write_read_only(temporary, bundle))
        return file

    def approve_experiment(self, text: str) -> Path:
        """Agree to take part in an experiment, given as the server sends it."""
        file = self.folder / f"experiment-{fingerprint(text)}.yaml"
        write_file(file, lambda temporary: _write_read_only(temporary, text.encode()))
        return file

    def bundles(self) -> tuple[Path, ...]:
        """Return the files of the approved bundles."""
        return tuple(sorted(self.folder.glob("bundle-*.fab")))

    def experiments(self) -> tuple[Path, ...]:
        """Return the files of the approved experiments."""
        return tuple(sorted(self.folder.glob("experiment-*.yaml")))

    def has_bundle(self, bundle: bytes) -> bool:
        """Return whether a bundle is approved, byte for byte."""
        file = self.folder / f"bundle-{bundle_digest(bundle)}.fab"
        return file.exists() and file.read_bytes() == bundle

    def require_experiment(self, text: str) -> None:
        """Refuse an experiment that the site has not agreed to.

        Raises:
            ConfigError: it has not.
        """
        file = self.folder / f"experiment-{fingerprint(text)}.yaml"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"the server's experiment {fingerprint(text)} is not approved here; read its YAML "
                "and run `fedcl approve SITE.yaml EXPERIMENT.yaml` if it is as it should be"
            )

    def vouch(self, bundle: bytes) -> dict[str, str]:
        """Return a signature of the bundle as Flower's node wants it."""
        signed_at = int(time.time())
        message = signed_at.to_bytes(8, "big") + bytes.fromhex(bundle_digest(bundle))
        signature = base64.urlsafe_b64encode(self._signer().sign(message)).decode()
        signed = {"signed_at": signed_at, "signature": signature}
        return {"valid_license": "Valid", _SIGNER: json.dumps(signed)}

    def write_trusted(self) -> Path:
        """Write the list of signers that the node trusts: this folder's own."""
        public = self._signer().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        write_text(self.trusted, yaml.safe_dump({_SIGNER: public.decode()}))
        return self.trusted

    def _signer(self) -> Ed25519PrivateKey:
        if not self._key.exists():
            made = Ed25519PrivateKey.generate()
            pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_secret(self._key, pem)
        key = load_pem_private_key(self._key.read_bytes(), password=None)
        assert isinstance(key, Ed25519PrivateKey)
        return key


def _write_read_only(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    file.chmod(0o444)
