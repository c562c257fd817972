"""A site pays for a private round before it reads a scan."""

import numpy as np

from fedcl.config.privacy import ParticipantPrivacy
from fedcl.errors import PrivacyError
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.ledger import Charge, Ledger
from fedcl.privacy.private_round import plan
from sites.site import Site


def pay(site: Site, privacy: ParticipantPrivacy, round_number: int) -> Entropy:
    """Charge the site's ledger for a round; return the round's entropy.

    Raises:
        PrivacyError: the budget does not allow it, or the ledger cannot be trusted.
    """
    ledger = Ledger.of(privacy.ledger, site.label)
    known = site.memory.charges.before(round_number).get("charges", np.array(0))
    if len(ledger.charges()) < known:
        raise PrivacyError(f"{ledger.path}: lines are gone that this run has paid; restore it")
    cost = plan(site.config, site.participants).cost
    charge = Charge("training", site.config.name, round_number, cost)
    ledger.charge(charge, delta=privacy.delta, budget=privacy.budget)
    site.memory.charges.write(round_number, {"charges": np.array(len(ledger.charges()))})
    if privacy.test_seed is not None:
        return Entropy.not_private(privacy.test_seed, site.label, round_number)
    return Entropy.from_system()
