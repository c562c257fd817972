"""What a ledger says that a run has released, held against what the run's configuration does."""

from collections.abc import Sequence
from dataclasses import dataclass

from fedcl.errors import PrivacyError
from fedcl.privacy.accounting import NoisySums, epsilon, renyi_epsilon
from fedcl.privacy.ledger import Ledger


@dataclass(frozen=True)
class ClaimedSums:
    """The sums of one run in one ledger.

    Attributes:
        cost: All of them together.
        epsilon: What they cost.
        ledger_epsilon: What everything in the ledger costs.
    """

    cost: NoisySums
    epsilon: float
    ledger_epsilon: float


def claim_of(units: Sequence[tuple[Ledger, NoisySums]], *, run: str, delta: float) -> ClaimedSums:
    """Return the claim of the ledger that paid most for a run.

    Args:
        units: Each ledger, and the cost of a round as the run's configuration has it.
        run: The name of the experiment.
        delta: In (0, 1).

    Raises:
        PrivacyError: a ledger cannot be used, or holds no such round.
    """
    found = []
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
        found.append((renyi_epsilon([cost], delta=delta), cost, ledger))
    _, cost, ledger = max(found, key=lambda one: one[0])
    return ClaimedSums(cost, epsilon([cost], delta=delta), ledger.epsilon(delta=delta))
