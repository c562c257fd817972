"""Paths of the files in the server's folder and in a site's folder."""

from dataclasses import dataclass
from pathlib import Path

from fedcl.errors import RunError
from fedcl.site_labels import file_stem


@dataclass(frozen=True)
class ServerFolder:
    """The folder that `fedcl kit new` makes at the institution that runs the server."""

    path: Path

    @property
    def federation(self) -> Path:
        """Copy of FEDERATION.yaml; a site that joins later is added to its `sites`."""
        return self.path / "federation.yaml"

    @property
    def authority(self) -> Path:
        """The authority's certificate, which is public."""
        return self.path / "authority" / "ca.crt"

    @property
    def authority_key(self) -> Path:
        """The authority's private key, needed only to make certificates and invitations.

        Between these occasions it may be stored elsewhere.
        """
        return self.path / "authority" / "ca.key"

    @property
    def certificate(self) -> Path:
        """The server's certificate, which gateway and SuperLink share."""
        return self.path / "server.crt"

    @property
    def key(self) -> Path:
        """The private key of the server's certificate."""
        return self.path / "server.key"

    @property
    def secret(self) -> Path:
        """The secret by which Flower's SuperExec identifies itself to the SuperLink."""
        return self.path / "secret.txt"

    @property
    def registry(self) -> Path:
        """The registry of invited, approved and revoked sites, one JSON event per line."""
        return self.path / "registry.jsonl"

    @property
    def state(self) -> Path:
        """Folder of what the running processes write."""
        return self.path / "state"

    @property
    def invitations(self) -> Path:
        """Folder with one invitation per site, to be handed over."""
        return self.path / "invitations"

    def invitation(self, site: str) -> Path:
        """Return the path of a site's last invitation."""
        return self.invitations / f"{file_stem(site)}.yaml"

    def public_key(self, site: str) -> Path:
        """Return the path of a site's approved public key, in the form that Flower registers."""
        return self.path / "keys" / f"{file_stem(site)}.pub"


@dataclass(frozen=True)
class SiteFolder:
    """The folder that `fedcl kit request` makes at a site."""

    path: Path

    @property
    def settings(self) -> Path:
        """SITE.yaml, the site's own settings."""
        return self.path / "site.yaml"

    @property
    def invitation(self) -> Path:
        """The last invitation that the site accepted."""
        return self.path / "invitation.yaml"

    @property
    def authority(self) -> Path:
        """The certificate authority that the site trusts."""
        return self.path / "ca.crt"

    @property
    def key(self) -> Path:
        """The node's private key, which never leaves the site."""
        return self.path / "node.key"

    @property
    def public_key(self) -> Path:
        """The public half of the node's key."""
        return self.path / "node.pub"

    @property
    def request(self) -> Path:
        """The request that is sent to the server."""
        return self.path / "request.yaml"

    @property
    def approved(self) -> Path:
        """Folder of the bundles and experiments that the site takes part in."""
        return self.path / "approved"

    @property
    def memory(self) -> Path:
        """Folder of what must never be lost: ledger, receipts, tensors that stay at the site."""
        return self.path / "memory"

    @property
    def ledger(self) -> Path:
        """Folder of the privacy ledger, one for all experiments on the same participants."""
        return self.memory / "ledger"

    @property
    def receipts(self) -> Path:
        """Log of everything that left the site, one line per release."""
        return self.memory / "receipts.jsonl"

    @property
    def egress(self) -> Path:
        """Log of everything that left the site, one line per call."""
        return self.memory / "egress.jsonl"

    @property
    def failures(self) -> Path:
        """Log with the details of failures, which never leave the site."""
        return self.memory / "failures.log"

    @property
    def identities(self) -> Path:
        """The public keys of all sites, for secure sums."""
        return self.path / "identities.yaml"

    @property
    def identity(self) -> Path:
        """The folder of the site's own private key for secure sums."""
        return self.path / "identity"

    @property
    def state(self) -> Path:
        """Folder of what the running processes write; it may be deleted while none runs."""
        return self.path / "state"


def server_folder(path: Path) -> ServerFolder:
    """Return the server's folder at `path` after a check that it is one.

    Raises:
        RunError: `path` is not a server's folder.
    """
    folder = ServerFolder(path)
    if folder.registry.is_file():
        return folder
    if (path / "node.key").exists():
        raise RunError(f"{path}: this is a site's folder; give the server's (`fedcl kit new`)")
    if not path.is_dir():
        why = "is a file" if path.exists() else "there is no such folder"
        raise RunError(f"{path}: {why}; give the server's folder (`fedcl kit new`)")
    raise RunError(f"{path}: no server's folder: it has no registry.jsonl (`fedcl kit new`)")
