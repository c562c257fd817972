"""Whether an experiment stays within a site's limits, at its approval and at every message.

The limits stand in SITE.yaml, which no message can change.
"""

from fedcl.config.experiment import Config
from fedcl.config.federation import CommonSteps
from fedcl.config.privacy import NoPrivacy, Privacy
from fedcl.config.site import Limits, PrivacyFloor, Releasable
from fedcl.errors import LimitError


def releases_of(config: Config) -> tuple[Releasable, ...]:
    """Return the entries of `limits.releases` that an experiment asks a site for."""
    # Here, since it imports torch: most commands of a site ask for no limit.
    from fedcl.messages.releases import KINDS

    limits = (kind.limit for kind in KINDS if kind.limit is not None)
    return tuple(dict.fromkeys(limit.name for limit in limits if limit.asked_by(config)))


def require_within(config: Config, limits: Limits) -> None:
    """Refuse an experiment that asks for more than a site allows.

    Raises:
        LimitError: which limit, what the site allows, what the experiment asks.
    """
    if limits.privacy is not None:
        _require_privacy(config.privacy, limits.privacy)
    forbidden = [name for name in releases_of(config) if name not in limits.releases]
    if forbidden:
        raise LimitError(
            f"limits.releases: this site lets out {', '.join(limits.releases) or 'nothing'}, the "
            f"experiment asks for {', '.join(forbidden)}"
        )
    rule = config.federation.rule
    if isinstance(rule, CommonSteps) and rule.least < limits.min_participants:
        raise LimitError(
            f"limits.min_participants: this site says nothing of fewer than "
            f"{limits.min_participants} participants, the experiment asks for gradients of "
            f"{rule.least} (federation.rule.least)"
        )
    if config.federation.rounds > limits.max_rounds:
        raise LimitError(
            f"limits.max_rounds: this site answers {limits.max_rounds}, the experiment plans "
            f"{config.federation.rounds} (federation.rounds)"
        )


def _require_privacy(privacy: Privacy, floor: PrivacyFloor) -> None:
    if isinstance(privacy, NoPrivacy) or privacy.mode not in floor.modes:
        raise LimitError(
            f"limits.privacy.modes: this site takes part with {' or '.join(floor.modes)}, the "
            f"experiment has privacy.mode {privacy.mode}"
        )
    if privacy.test_seed is not None:
        raise LimitError(
            "limits.privacy: the experiment's privacy.test_seed makes noise repeatable"
        )
    if privacy.budget > floor.epsilon:
        raise LimitError(
            f"limits.privacy.epsilon: this site spends at most {floor.epsilon:g}, the experiment's "
            f"privacy.budget is {privacy.budget:g}"
        )
    if privacy.delta > floor.delta:
        raise LimitError(
            f"limits.privacy.delta: this site allows {floor.delta:g}, the experiment has "
            f"{privacy.delta:g}"
        )
