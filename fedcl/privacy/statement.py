"""What is promised about the participants, in words that stand in every result."""

from collections.abc import Sequence

from fedcl.config.privacy import ParticipantPrivacy, Privacy
from fedcl.privacy.accounting import renyi_epsilon
from fedcl.privacy.ledger import Ledger

_NONE = "none: the weights and this report may tell about the participants behind them"


def statement(privacy: Privacy, sites: Sequence[str]) -> str:
    """Return the promise to the participants of these sites, as their ledgers have it.

    Raises:
        PrivacyError: a ledger cannot be used.
    """
    if not isinstance(privacy, ParticipantPrivacy):
        return _NONE
    ledgers = [Ledger.of(privacy.ledger, site) for site in sites]
    most = _most([ledger for ledger in ledgers if ledger.charges()], delta=privacy.delta)
    promise = (
        f"participant: epsilon {most:.2f} at delta {privacy.delta:g} at the site that has paid "
        "most, all runs in its ledger together, for adding or removing one participant with all "
        "their views (privacy loss distribution, dp-accounting). Holds against the server, other "
        "sites and whoever sees the weights. Taken as public: site sizes, ages' range, the "
        "configuration. Not covered: this report's measures and figures, time, and choices made "
        "by looking at them"
    )
    if privacy.test_seed is not None:
        return f"NOT PRIVATE: whoever knows privacy.test_seed knows the noise. {promise}"
    return promise


def _most(ledgers: Sequence[Ledger], *, delta: float) -> float:
    """The largest epsilon; the exact one only where the quick bound leaves it open."""
    bounds = [(renyi_epsilon((c.cost for c in one.charges()), delta=delta), one) for one in ledgers]
    most = 0.0
    for bound, ledger in sorted(bounds, key=lambda pair: -pair[0]):
        if bound <= most:
            break
        most = max(most, ledger.epsilon(delta=delta))
    return most
