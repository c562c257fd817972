"""The folder of a site between institutions: what lies where."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fedcl.config.site import SiteSettings, load_site


@dataclass(frozen=True)
class Home:
    """A site's folder.

    Attributes:
        folder: That of SITE.yaml.
        settings: What SITE.yaml says.
    """

    folder: Path
    settings: SiteSettings

    @staticmethod
    def of(settings: Path) -> "Home":
        """Return the home of a SITE.yaml.

        Raises:
            ConfigError: it cannot be read.
        """
        return Home(settings.absolute().parent, load_site(settings))

    @property
    def authority(self) -> Path:
        """The federation's certificate authority."""
        return self.folder / "ca.crt"

    @property
    def node_key(self) -> Path:
        """The site's private key."""
        return self.folder / "node.key"

    @property
    def approved(self) -> Path:
        """The bundles and experiments that the site takes part in."""
        return self.folder / "approved"

    @property
    def memory(self) -> Path:
        """What must outlive everything: ledgers, receipts, tensors that stay."""
        return self.folder / "memory"

    @property
    def ledgers(self) -> Path:
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
    def identities(self) -> Path:
        """The public keys of all sites, for secure sums."""
        return self.folder / "identities.yaml"

    @property
    def identity_keys(self) -> Path:
        """The folder of the site's own private key for secure sums."""
        return self.folder / "identity"

    @property
    def state(self) -> Path:
        """What concerns running processes only; may be deleted while none runs."""
        return self.folder / "state"

    @property
    def stop_file(self) -> Path:
        """While it lies here, nothing leaves."""
        return self.folder / self.settings.limits.stop_file

    def log_failure(self, text: str) -> None:
        """Append the details of a failure, which never leave the site."""
        self.memory.mkdir(parents=True, exist_ok=True)
        with (self.memory / "failures.log").open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text.rstrip()}\n")
