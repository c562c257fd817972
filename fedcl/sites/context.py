"""The surroundings of a site: a number in a simulation, or a folder of its own."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flwr.app import Context, RecordDict
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from fedcl.deployment.home import SiteHome
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import Release
from fedcl.messages.sum_questions import SumQuestion
from fedcl.receipts.log import Receipts
from fedcl.sites.agreement import Counted, begin, require_open, require_releasable
from fedcl.sites.receipts import receipt_of
from fedcl.sites.site import Site, open_home, open_site

SITE_CONFIG_KEY = "site-config"
"""Node configuration: the SITE.yaml of a site between institutions; absent in a simulation."""
PARTITION = "partition-id"
"""Node configuration: the number of a simulation's site."""

Question = Instruction | SumQuestion


class SiteContext(Protocol):
    """What differs between a simulated site and one between institutions."""

    @property
    def name(self) -> str:
        """The site's name, as far as it is known before the site is opened."""

    def open(self, config_text: str, *, counted: Counted | None) -> Site:
        """Open the site for an experiment.

        Args:
            config_text: The experiment as it came.
            counted: What begins, where a site limits how often it may.

        Raises:
            FedclError: the site cannot take part, or its limits forbid it.
        """

    def allow(self, release: Release) -> None:
        """Refuse a release that may not leave.

        Raises:
            LimitError: the site's limits do not name its kind.
        """

    def keep_receipt(
        self, release: Release, content: RecordDict, question: Question | None, site: Site | None
    ) -> None:
        """Note what is about to leave.

        Args:
            release: What is about to leave.
            content: The release as it travels.
            question: What the release answers; None where it could not be read.
            site: The opened site; None where it could not be opened.

        Raises:
            ReceiptError: the record cannot be kept.
        """

    def log_failure(self, text: str, site: Site | None) -> None:
        """Keep the details of a failure, which never leave the site."""


@dataclass(frozen=True)
class SimulatedSite:
    """A site of a simulation.

    Attributes:
        number: Number of the site in the cohort.
    """

    number: int

    @property
    def name(self) -> str:
        """The number."""
        return f"number {self.number}"

    def open(self, config_text: str, *, counted: Counted | None) -> Site:
        """Open it in the experiment's own cohort."""
        return open_site(config_text, self.number)

    def allow(self, release: Release) -> None:
        """Allow every release."""

    def keep_receipt(
        self, release: Release, content: RecordDict, question: Question | None, site: Site | None
    ) -> None:
        """Keep it in the run's folder; a site that could not be opened has none."""
        if site is not None:
            site.memory.keep_receipt(receipt_of(release, question, site))

    def log_failure(self, text: str, site: Site | None) -> None:
        """Keep it in the run's folder, or log it."""
        if site is not None:
            site.memory.log_failure(text)
        else:
            logging.getLogger("fedcl.site").error("site %s cannot open\n%s", self.name, text)


@dataclass(frozen=True)
class DeployedSite:
    """A site between institutions.

    Attributes:
        home: Folder and settings of the site.
    """

    home: SiteHome

    @property
    def name(self) -> str:
        """The label in its settings."""
        return self.home.settings.site

    def open(self, config_text: str, *, counted: Counted | None) -> Site:
        """Open it with its own data, if the experiment is approved and within its limits."""
        require_open(self.home)
        site = open_home(config_text, self.home)
        if counted is not None:
            begin(site.config, self.home, counted)
        return site

    def allow(self, release: Release) -> None:
        """Allow what the site's settings name."""
        require_releasable(release, self.home)

    def keep_receipt(
        self, release: Release, content: RecordDict, question: Question | None, site: Site | None
    ) -> None:
        """Keep it on the disk, object by object: the guard lets out nothing else."""
        objects = tuple(get_all_nested_objects(content))
        receipt = receipt_of(release, question, site, exact=True, objects=objects)
        Receipts(self.home.files.receipts, durable=True).keep(receipt)

    def log_failure(self, text: str, site: Site | None) -> None:
        """Keep it in the site's folder."""
        self.home.log_failure(text)


def site_context(context: Context) -> SiteContext:
    """Return the surroundings of a node's site.

    Raises:
        ConfigError: the site's SITE.yaml cannot be read.
    """
    settings = context.node_config.get(SITE_CONFIG_KEY)
    if settings is not None:
        return DeployedSite(SiteHome.of(Path(str(settings))))
    return SimulatedSite(int(context.node_config[PARTITION]))
