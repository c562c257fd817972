"""A site of a federation between institutions: its folder and its settings."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fedcl.config.site import SiteSettings, load_site
from fedcl.kit.folders import SiteFolder


@dataclass(frozen=True)
class SiteHome:
    """The folder and the settings of one site.

    Attributes:
        files: Paths in the site's folder.
        settings: Settings of SITE.yaml, validated.
    """

    files: SiteFolder
    settings: SiteSettings

    @staticmethod
    def of(settings: Path) -> "SiteHome":
        """Return the home that a SITE.yaml describes.

        Raises:
            ConfigError: SITE.yaml cannot be read.
        """
        return SiteHome(SiteFolder(settings.absolute().parent), load_site(settings))

    @property
    def stop_file(self) -> Path:
        """The stop file; while it exists, nothing leaves the site."""
        return self.files.path / self.settings.limits.stop_file

    def log_failure(self, text: str) -> None:
        """Append the details of a failure, which never leave the site."""
        self.files.memory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.files.failures.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text.rstrip()}\n")
