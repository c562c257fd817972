"""An experiment as it runs at one site between institutions: its own data, folders and limits.

What the server sends says what to compute. Where the data lie, where the memory is kept and what
may leave is the site's alone, so every path in the server's text is replaced here.
"""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from fedcl.config.counts import Participants
from fedcl.config.data import Data
from fedcl.config.experiment import Config
from fedcl.config.loading import fingerprint, parse
from fedcl.config.privacy import NoPrivacy
from fedcl.config.site import SiteSettings
from fedcl.deployment.approval import Approvals
from fedcl.deployment.home import SiteHome
from fedcl.deployment.limits import require_within
from fedcl.errors import ConfigError, LimitError
from fedcl.files.atomic import write_text
from fedcl.messages.releases import Release, kind_of

CountedWork = Literal[
    "rounds",
    "step-moments",
    "step-slopes",
    "evaluation-sums",
    "evaluation-errors",
    "erasure-sums",
]
"""The kinds of work that limits.max_rounds limits, each by itself."""


@dataclass(frozen=True)
class CountedStep:
    """A step that all sites take together, one of many in a round.

    Attributes:
        round: Number of the round, from 1.
        step: Number of the step in the round, from 1.
        steps: Number of steps of a pass.
        work: What the site does for the step, which is counted by itself.
    """

    round: int
    step: int
    steps: int
    work: CountedWork = "rounds"


Counted = CountedWork | CountedStep
"""What a site counts before it begins it."""

_SAME = ("modality", "intensity", "spacing_mm", "grid")
"""Keys that decide what a participant's array means: equal at every site."""


def agreed_config(config_text: str, home: SiteHome) -> Config:
    """Return the experiment as this site runs it.

    Raises:
        ConfigError: the experiment is not approved here, or does not fit the site's data.
        LimitError: the experiment asks for more than the site allows.
    """
    require_open(home)
    Approvals(home.files.approved).require_experiment(config_text)
    config = parse(config_text, source="the experiment from the server")
    require_within(config, home.settings.limits)
    return with_site_settings(config, home, fingerprint(config_text))


def require_open(home: SiteHome) -> None:
    """Refuse everything while the site's stop file is there.

    Raises:
        LimitError: the stop file is there.
    """
    if home.stop_file.exists():
        raise LimitError(f"{home.stop_file}: the site has stopped; delete this file to go on")


def with_site_settings(config: Config, home: SiteHome, name: str) -> Config:
    """Return an experiment with this site's own data, folders and device."""
    settings = home.settings
    _require_same_arrays(config.data, settings)
    run = home.files.memory / "runs" / f"{config.name}-{name[:12]}"
    changes: dict[str, object] = {
        "data": settings.data,
        "output": config.output.model_copy(update={"path": run}),
        "compute": config.compute.model_copy(update=settings.compute.model_dump(exclude_none=True)),
    }
    if not isinstance(config.privacy, NoPrivacy):
        changes["privacy"] = config.privacy.model_copy(update={"ledger": home.files.ledger})
    sums = config.evaluation.from_sums
    if sums is not None:
        least = max(sums.min_cell, settings.limits.min_participants)
        sums = sums.model_copy(update={"min_cell": least})
        changes["evaluation"] = config.evaluation.model_copy(update={"from_sums": sums})
    if config.secure_sum is not None:
        paths = {"identities": home.files.identities, "keys": home.files.identity}
        changes["secure_sum"] = config.secure_sum.model_copy(update=paths)
    return config.model_copy(update=changes)


def begin(config: Config, home: SiteHome, counted: Counted) -> None:
    """Count what begins: a round, or a step that may be the first of one.

    Raises:
        LimitError: the site has begun as many of this experiment as it allows.
    """
    if isinstance(counted, CountedStep):
        begin_step(config, home, counted)
    else:
        begin_round(config, home, counted)


def begin_step(config: Config, home: SiteHome, asked: CountedStep) -> None:
    """Note a step on the disk; one that does not follow the last step of its round begins a round.

    So a round of `limits.max_rounds` never has more steps than its passes, each answered once.

    Raises:
        LimitError: the site has begun as many rounds of this experiment as it allows.
    """
    file = config.output.path / f"last-step-{asked.work}.json"
    last = CountedStep(**json.loads(file.read_text())) if file.exists() else None
    follows = (
        last is not None
        and (last.round, last.steps) == (asked.round, asked.steps)
        and last.step < asked.step
    )
    if not follows:
        begin_round(config, home, asked.work)
    write_text(file, json.dumps(asdict(asked)), durable=True)


def begin_round(config: Config, home: SiteHome, counted: CountedWork = "rounds") -> None:
    """Count a round that the site is about to train or evaluate, on the disk before it begins.

    Raises:
        LimitError: the site has begun as many of this experiment as it allows.
    """
    file = config.output.path / f"{counted}-begun.json"
    begun = json.loads(file.read_text()) if file.exists() else 0
    most = home.settings.limits.max_rounds
    if begun >= most:
        raise LimitError(
            f"limits.max_rounds: this site has begun {begun} {counted} of {config.name} and "
            f"answers {most}, repeated ones counted"
        )
    write_text(file, json.dumps(begun + 1), durable=True)


def require_enough(participants: Participants, home: SiteHome) -> None:
    """Refuse to release anything computed from few participants.

    Raises:
        LimitError: there are fewer participants than the site's least.
    """
    least = home.settings.limits.min_participants
    if participants < least:
        raise LimitError(
            f"limits.min_participants: {participants} training participants, this site says "
            f"nothing of fewer than {least}"
        )


def require_releasable(release: Release, home: SiteHome) -> None:
    """Refuse a release whose kind the site's limits do not name.

    Raises:
        LimitError: `limits.releases` lacks the entry that it needs.
    """
    limit = kind_of(release).limit
    if limit is None or not limit.counts(release):
        return
    if limit.name not in home.settings.limits.releases:
        raise LimitError(f"limits.releases: {limit.name} may not leave this site")


def _require_same_arrays(asked: Data, settings: SiteSettings) -> None:
    own = settings.data
    if asked.kind == "phantom":  # the rehearsal cohort is read as OpenBHB
        asked_values = {"modality": asked.modality}
    else:
        asked_values = {key: getattr(asked, key) for key in _SAME if hasattr(asked, key)}
    for key, value in asked_values.items():
        here = getattr(own, key, value)
        if here != value:
            raise ConfigError(
                f"data.{key}: SITE.yaml of {settings.site} says {here}, the experiment {value}; "
                "every site must read its scans the same way"
            )
