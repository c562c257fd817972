"""Reads from a ledger what a run has released, and compares it with the run's configuration."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedcl.errors import PrivacyError
from fedcl.privacy.accounting import NoisySums, epsilon_of_sums, renyi_epsilon
from fedcl.privacy.ledger import Ledger


@dataclass(frozen=True)
class ClaimedSums:
    """The noisy sums of one run according to one ledger.

    Attributes:
        cost: All sums of the run as one cost.
        epsilon: Epsilon of the run's sums, at least 0.
        ledger_epsilon: Epsilon of everything in the ledger, at least 0.
    """

    cost: NoisySums
    epsilon: float
    ledger_epsilon: float


def claim_of(units: Sequence[tuple[Ledger, NoisySums]], *, run: str, delta: float) -> ClaimedSums:
    """Return the claim of the ledger that spent most on a run.

    Args:
        units: Each ledger with the cost of one round according to the run's configuration.
        run: Name of the experiment, as charges in the ledger carry it.
        delta: The delta at which epsilon is computed, in (0, 1).

    Raises:
        PrivacyError: a ledger cannot be used, or has no charge of such a round.
    """
    claims = []
    for ledger, planned in units:
        steps = sum(
            charge.cost.steps
            for charge in ledger.charges()
            if charge.run == run
            and charge.cost.noise_multiplier == planned.noise_multiplier
            and charge.cost.sampling_rate == planned.sampling_rate
        )
        if not steps:
            raise PrivacyError(
                f"{ledger.path}: no charge of {run} with noise multiplier "
                f"{planned.noise_multiplier:g} and sampling rate {planned.sampling_rate:g}, which "
                "is what the run's configuration does; restore the ledger from a backup"
            )
        cost = NoisySums(planned.noise_multiplier, planned.sampling_rate, steps)
        claims.append((renyi_epsilon([cost], delta=delta), cost, ledger))
    _, cost, ledger = max(claims, key=lambda claim: claim[0])
    return ClaimedSums(cost, epsilon_of_sums([cost], delta=delta), ledger.epsilon(delta=delta))
