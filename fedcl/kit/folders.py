"""Where things lie: the server's folder and a site's folder."""

from dataclasses import dataclass
from pathlib import Path

from fedcl.errors import RunError
from fedcl.site_labels import file_stem


@dataclass(frozen=True)
class ServerFolder:
    """What `fedcl kit new` writes, at the institution that runs the server."""

    path: Path

    @property
    def federation(self) -> Path:
        """FEDERATION.yaml as given; a site that joins later is added to its `sites`."""
        return self.path / "federation.yaml"

    @property
    def authority(self) -> Path:
        """The authority's certificate, public."""
        return self.path / "authority" / "ca.crt"

    @property
    def authority_key(self) -> Path:
        """Makes certificates and invitations; may be kept elsewhere in between."""
        return self.path / "authority" / "ca.key"

    @property
    def certificate(self) -> Path:
        """The server's certificate, of the gateway and of the SuperLink."""
        return self.path / "server.crt"

    @property
    def key(self) -> Path:
        """The private key of the server's certificate."""
        return self.path / "server.key"

    @property
    def secret(self) -> Path:
        """What Flower's SuperExec shows the SuperLink."""
        return self.path / "secret.txt"

    @property
    def registry(self) -> Path:
        """Who was invited, approved and revoked."""
        return self.path / "registry.jsonl"

    @property
    def state(self) -> Path:
        """Of the running processes."""
        return self.path / "state"

    @property
    def invitations(self) -> Path:
        """One for each site, to be handed over."""
        return self.path / "invitations"

    def invitation(self, site: str) -> Path:
        """A site's last invitation."""
        return self.invitations / f"{file_stem(site)}.yaml"

    def public_key(self, site: str) -> Path:
        """A site's approved public key, as Flower registers it."""
        return self.path / "keys" / f"{file_stem(site)}.pub"


@dataclass(frozen=True)
class SiteFolder:
    """What `fedcl kit request` writes, at the site."""

    path: Path

    @property
    def settings(self) -> Path:
        """SITE.yaml, the site's own."""
        return self.path / "site.yaml"

    @property
    def invitation(self) -> Path:
        """The invitation that was last accepted."""
        return self.path / "invitation.yaml"

    @property
    def authority(self) -> Path:
        """The certificate authority that the site trusts."""
        return self.path / "ca.crt"

    @property
    def key(self) -> Path:
        """The node's private key; it never leaves."""
        return self.path / "node.key"

    @property
    def public_key(self) -> Path:
        """Its public half."""
        return self.path / "node.pub"

    @property
    def request(self) -> Path:
        """What is sent to the server."""
        return self.path / "request.yaml"

    @property
    def approved(self) -> Path:
        """The bundles and experiments that the site takes part in."""
        return self.path / "approved"

    @property
    def memory(self) -> Path:
        """What must outlive everything: ledger, receipts, tensors that stay."""
        return self.path / "memory"

    @property
    def ledger(self) -> Path:
        """The privacy ledger, one for all experiments on the same participants."""
        return self.memory / "ledger"

    @property
    def receipts(self) -> Path:
        """What left, release by release."""
        return self.memory / "receipts.jsonl"

    @property
    def egress(self) -> Path:
        """What left, call by call."""
        return self.memory / "egress.jsonl"

    @property
    def failures(self) -> Path:
        """The details of failures, which never leave the site."""
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
        """Of the running processes; may be deleted while none runs."""
        return self.path / "state"


def server_folder(path: Path) -> ServerFolder:
    """Return the server's folder at `path`.

    Raises:
        RunError: there is none.
    """
    folder = ServerFolder(path)
    if folder.registry.is_file():
        return folder
    if (path / "node.key").exists():
        raise RunError(f"{path}: this is a site's folder; give the server's (`fedcl kit new`)")
    if not path.is_dir():
        found = "is a file" if path.exists() else "there is no such folder"
        raise RunError(f"{path}: {found}; give the server's folder (`fedcl kit new`)")
    raise RunError(f"{path}: no server's folder: it has no registry.jsonl (`fedcl kit new`)")
