"""State the privacy guarantee for participants or sites, in the words that each result contains."""

from collections.abc import Sequence

from fedcl.config.privacy import (
    CentralPrivacy,
    NoPrivacy,
    ParticipantPrivacy,
    Privacy,
    SitePrivacy,
)
from fedcl.config.secure_sum import SecureSum
from fedcl.privacy.accounting import renyi_epsilon
from fedcl.privacy.ledger import SITES, Ledger

_SUMMED = "The server saw sums over sites only (secure_sum)"
_NONE = "none: the weights and this report may tell about the participants behind them"


def statement(privacy: Privacy, secure_sum: SecureSum | None, sites: Sequence[str]) -> str:
    """Return the guarantee for the participants of these sites, according to their ledgers.

    Raises:
        PrivacyError: a ledger is damaged or shortened.
    """
    if isinstance(privacy, NoPrivacy):
        return _NONE if secure_sum is None else f"{_NONE}. {_SUMMED}"
    if isinstance(privacy, SitePrivacy):
        words = _for_sites(privacy)
    else:
        words = _for_participants(privacy, sites, _against(privacy, secure_sum))
        if secure_sum is not None:
            words = f"{words}. {_SUMMED}"
    if privacy.test_seed is not None:
        return f"NOT PRIVATE: whoever knows privacy.test_seed knows the noise. {words}"
    return words


def promise(privacy: Privacy, secure_sum: SecureSum | None) -> str:
    """Return the guarantee of a run between institutions, whose ledgers lie at the sites.

    Raises:
        PrivacyError: the server's own ledger is damaged or shortened.
    """
    if not isinstance(privacy, ParticipantPrivacy | CentralPrivacy):
        return statement(privacy, secure_sum, ())
    words = (
        f"participant: epsilon of at most {privacy.budget:g} at delta {privacy.delta:g} at each "
        "site, all runs in its own ledger together (privacy.budget; the ledgers lie at the sites "
        "and say how much less it is), for adding or removing one participant with all their "
        f"scans. {_against(privacy, secure_sum)}. Taken as public: site sizes, the configuration. "
        "Not covered: time"
    )
    if secure_sum is not None:
        words = f"{words}. {_SUMMED}"
    if privacy.test_seed is not None:
        return f"NOT PRIVATE: whoever knows privacy.test_seed knows the noise. {words}"
    return words


def _for_participants(
    privacy: ParticipantPrivacy | CentralPrivacy, sites: Sequence[str], against: str
) -> str:
    ledgers = [Ledger.of(privacy.ledger, site) for site in sites]
    most = _most([ledger for ledger in ledgers if ledger.charges()], delta=privacy.delta)
    return (
        f"participant: epsilon {most:.2f} at delta {privacy.delta:g} at the site that has paid "
        "most, all runs in its ledger together, for adding or removing one participant with all "
        f"their scans (privacy loss distribution, dp-accounting). {against}. Taken as "
        "public: site sizes, ages' range, the configuration. Not covered: this "
        "report's measures and figures, time, and choices made by looking at them"
    )


def _against(privacy: Privacy, secure_sum: SecureSum | None) -> str:
    if isinstance(privacy, ParticipantPrivacy):
        return "Holds against the server, other sites and whoever sees the weights"
    sums = "for sums that federation.min_sites honest sites are in"
    if secure_sum is None:
        return (
            f"Holds against other sites and whoever sees the weights, {sums}; not against the "
            "server, which sees each site's sum with that site's share of the noise"
        )
    return (
        f"Holds against a server that follows the protocol, other sites and whoever sees the "
        f"weights, {sums}, up to the rounding of the secure sum's fixed point"
    )


def _for_sites(privacy: SitePrivacy) -> str:
    spent = Ledger.of(privacy.ledger, SITES).epsilon(delta=privacy.delta)
    return (
        f"site: epsilon {spent:.2f} at delta {privacy.delta:g}, all runs in the server's ledger "
        "together, for adding or removing one whole site (privacy loss distribution, "
        "dp-accounting). Holds against other sites and whoever sees the weights, not against the "
        "server, which sees every update. Taken as public: about how many sites there are, the "
        "configuration. Not covered: the server's log, this report's measures and figures, and "
        "choices made by looking at them"
    )


def _most(ledgers: Sequence[Ledger], *, delta: float) -> float:
    """Return the largest epsilon of the ledgers, exactly computed where the fast bound requires."""
    bounds = [
        (renyi_epsilon((charge.cost for charge in ledger.charges()), delta=delta), ledger)
        for ledger in ledgers
    ]
    most = 0.0
    for bound, ledger in sorted(bounds, key=lambda pair: -pair[0]):
        if bound <= most:
            break
        most = max(most, ledger.epsilon(delta=delta))
    return most
