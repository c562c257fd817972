"""Charges the server's ledger for the privacy of whole sites.

The server clips each site's change of the weights and adds noise to their sum, after McMahan et
al., "Learning differentially private recurrent language models", ICLR 2018,
https://arxiv.org/abs/1710.06963. Unlike the paper, no sites are sampled but all are asked in each
round, and the sum is divided by a number fixed in the configuration.
"""

from fedcl.config.experiment import Config
from fedcl.config.privacy import SitePrivacy
from fedcl.privacy.accounting import NoisySums
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.ledger import SITES, Charge, Ledger
from fedcl.privacy.site_level import noise_multiplier


def pay_for_round(config: Config, round_number: int) -> Entropy:
    """Charge the server's ledger for a round before it begins, and return the round's entropy.

    Raises:
        PrivacyError: the budget or the target does not allow the round, or the ledger cannot be
            used.
    """
    privacy = config.privacy
    assert isinstance(privacy, SitePrivacy)
    cost = NoisySums(noise_multiplier(config.privacy, config.federation), 1.0, 1)
    ledger = Ledger.of(privacy.ledger, SITES)
    charge = Charge("aggregation", config.name, round_number, cost)
    ledger.charge(charge, delta=privacy.delta, budget=privacy.budget)
    if privacy.test_seed is not None:
        return Entropy.not_private(privacy.test_seed, SITES, round_number)
    return Entropy.from_system()
