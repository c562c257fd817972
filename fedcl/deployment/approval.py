"""Records what a site has agreed to run: bundles by their bytes, experiments by their text.

Flower's node runs a bundle only with a signature that it trusts. It trusts the site's own
signature alone, which is made on this machine for bundles that were built here.
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
"""Name of the site's signature in this folder and at its node."""


class Approvals:
    """The folder of a site's approvals; deleting a file withdraws that approval.

    Args:
        folder: Folder with the files `bundle-DIGEST.fab` and `experiment-FINGERPRINT.yaml`, and the
            key that signs for them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trusted = folder / "trusted.yaml"
        self._key = folder / "approval.key"

    def approve_bundle(self, bundle: bytes) -> Path:
        """Approve a bundle and return the file that records it."""
        file = self.folder / f"bundle-{bundle_digest(bundle)}.fab"
        write_file(file, lambda temporary: _write_read_only(temporary, bundle))
        return file

    def approve_experiment(self, text: str) -> Path:
        """Approve an experiment, given as the text that the server sends, and return its file."""
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
        """Refuse an experiment that the site has not approved.

        Raises:
            ConfigError: the experiment is not approved, letter for letter.
        """
        file = self.folder / f"experiment-{fingerprint(text)}.yaml"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"the server's experiment {fingerprint(text)} is not approved here; read its YAML "
                "and run `fedcl approve SITE.yaml EXPERIMENT.yaml` if it is as it should be"
            )

    def vouch(self, bundle: bytes) -> dict[str, str]:
        """Return a signature of the bundle in the form that Flower's node verifies."""
        signed_at = int(time.time())
        message = signed_at.to_bytes(8, "big") + bytes.fromhex(bundle_digest(bundle))
        signature = base64.urlsafe_b64encode(self._signer().sign(message)).decode()
        signed = {"signed_at": signed_at, "signature": signature}
        return {"valid_license": "Valid", _SIGNER: json.dumps(signed)}

    def write_trusted(self) -> Path:
        """Write the list of signers that the node trusts, with this folder's key only."""
        public = self._signer().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        write_text(self.trusted, yaml.safe_dump({_SIGNER: public.decode()}))
        return self.trusted

    def _signer(self) -> Ed25519PrivateKey:
        if not self._key.exists():
            new = Ed25519PrivateKey.generate()
            pem = new.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            write_secret(self._key, pem)
        key = load_pem_private_key(self._key.read_bytes(), password=None)
        assert isinstance(key, Ed25519PrivateKey)
        return key


def _write_read_only(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    file.chmod(0o444)
