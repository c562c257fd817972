"""Everything that may leave a site: each a kind of release.

A site hands one of these to the wire and nothing else; the wire cannot encode anything else. No
release holds a participant's id, a path, or a value of one participant.
"""

from dataclasses import dataclass

from fedcl.arrays.feature_sums import FeatureSums
from fedcl.arrays.tensors import State
from fedcl.config.federation import Codec
from fedcl.evaluation.ridge_sums import RidgeSums
from fedcl.evaluation.summed_probes import SiteErrors
from fedcl.moments.private import PrivateSums
from fedcl.moments.sums import NodeSums
from fedcl.secure_sum.protocol import (
    AdvertisedKeys,
    MaskedInput,
    RevealedShares,
    SealedShares,
    SurvivorSignature,
)


@dataclass(frozen=True)
class Introduction:
    """What a site says when it first meets the server.

    Attributes:
        site: Its label.
        participants: Training participants; 0 for a site that only evaluates.
        shape: Of one participant's array, so that the server can build the same encoder.
        feature_sums: For ROI tables only.
    """

    site: str
    participants: int
    shape: tuple[int, ...]
    feature_sums: FeatureSums | None


@dataclass(frozen=True)
class TermSum:
    """One term of the objective over a round; sums that add across sites.

    Attributes:
        total: Sum of the term's values.
        count: How many anchors (participants for the loss itself, batches for a statistic of the
            batch) it holds.
        skipped: How many the term said nothing about: without a positive, or nothing to compare.
    """

    total: float
    count: int
    skipped: int

    @staticmethod
    def of(total: float, count: float, skipped: float) -> "TermSum":
        """Return the sum from three numbers as a tensor holds them."""
        return TermSum(total, int(count), int(skipped))

    def __add__(self, other: "TermSum") -> "TermSum":
        return TermSum(
            self.total + other.total, self.count + other.count, self.skipped + other.skipped
        )

    @property
    def mean(self) -> float:
        """The total over the count; 0 without any."""
        return self.total / max(self.count, 1)


@dataclass(frozen=True)
class Update:
    """What leaves a site after a local round.

    Attributes:
        site: Its label.
        round: The round it answers.
        participants: Training participants behind the update.
        weights: The travelling tensors after training; of kernels and matrices the change, where
            `change` says so.
        terms: Of the loss and of every term of the objective; none where the weights are private.
        steps: Optimiser steps taken.
        seconds: Wall-clock time of the training.
        moments: Of the training participants under the weights received, where they travel with
            the update; float32.
        change: How the change is encoded (none: float32; else bytes); None: the weights themselves.
    """

    site: str
    round: int
    participants: int
    weights: State
    terms: dict[str, TermSum]
    steps: int
    seconds: float
    moments: NodeSums | None = None
    change: Codec | None = None


@dataclass(frozen=True)
class MomentShare:
    """What leaves a site before a local round, where moments are asked for by themselves.

    Attributes:
        site: Its label.
        round: The round it answers.
        participants: Training participants behind the sums.
        moments: Of the training participants under the weights received; float32.
        seconds: Wall-clock time of the pass over them.
    """

    site: str
    round: int
    participants: int
    moments: NodeSums
    seconds: float


@dataclass(frozen=True)
class PrivateMomentShare:
    """What leaves a site where moments are released with noise.

    Attributes:
        site: Its label.
        round: The round it answers.
        participants: Training participants of the site.
        moments: With the site's noise; float32.
        seconds: Wall-clock time of the pass over them.
    """

    site: str
    round: int
    participants: int
    moments: PrivateSums
    seconds: float


@dataclass(frozen=True)
class GradientShare:
    """What leaves a site at each step that all sites take together.

    Attributes:
        site: Its label.
        round: The round it answers.
        step: The step of the round, from 1.
        participants: Training participants of the site, drawn or not.
        gradients: Clipped, summed and noised, by parameter; float32.
        seconds: Wall-clock time of the step.
    """

    site: str
    round: int
    step: int
    participants: int
    gradients: State
    seconds: float


@dataclass(frozen=True)
class SumOffer:
    """What leaves a site that holds its part of a secure sum ready, and no value of it.

    Attributes:
        site: Its label.
        round: The round it answers.
        participants: Training participants behind the part.
        shapes: Of the arrays that the part holds, by name.
        keys: Of this sum.
        steps: Optimiser steps taken.
        seconds: Wall-clock time of the work.
    """

    site: str
    round: int
    participants: int
    shapes: dict[str, tuple[int, ...]]
    keys: AdvertisedKeys
    steps: int
    seconds: float


@dataclass(frozen=True)
class EvaluationSums:
    """What leaves a site for the probes to be fitted.

    Attributes:
        site: Its label.
        round: The round whose encoder is evaluated.
        participants: Training participants of the site.
        sums: Over them, by kind of features; none where they are few.
        seconds: Wall-clock time of the pass over them.
    """

    site: str
    round: int
    participants: int
    sums: dict[str, RidgeSums]
    seconds: float


@dataclass(frozen=True)
class EvaluationErrors:
    """What leaves a site of its test participants, under probes of all sites' sums.

    Attributes:
        site: Its label.
        round: The round whose encoder is evaluated.
        participants: Training participants of the site; 0 for one that only evaluates.
        errors: By kind of features; the groups are the same for each.
        seconds: Wall-clock time of the pass over the test participants.
    """

    site: str
    round: int
    participants: int
    errors: dict[str, SiteErrors]
    seconds: float


SumAnswer = SumOffer | SealedShares | MaskedInput | SurvivorSignature | RevealedShares
"""What a site says in the five exchanges of a secure sum."""


@dataclass(frozen=True)
class Refusal:
    """A site cannot answer. The reason is a category; details stay in the site's own log.

    Attributes:
        site: Its label.
        reason: One of REFUSALS.
    """

    site: str
    reason: str


REFUSALS = (
    "its data cannot be read",
    "the configuration cannot be used at this site, or is not approved there",
    "the configuration text does not match its hash",
    "its memory of earlier rounds cannot be read",
    "the training failed",
    "its privacy ledger allows no further round or cannot be used",
    "it does not go on with the secure sum; its own log says why",
    "the site's own limits do not allow it",
    "its record of what left it cannot be kept, so nothing leaves",
)

Release = (
    Introduction
    | MomentShare
    | PrivateMomentShare
    | GradientShare
    | Update
    | EvaluationSums
    | EvaluationErrors
    | Refusal
    | SumAnswer
)


def terms_as_json(terms: dict[str, TermSum]) -> dict[str, dict[str, float]]:
    """Return what the log of a round says of the terms: means, counts, and what was skipped."""
    return {
        "terms": {name: term.mean for name, term in terms.items()},
        "counts": {name: term.count for name, term in terms.items()},
        "skipped": {name: term.skipped for name, term in terms.items() if term.skipped},
    }


def arrays_of(release: Release) -> State:
    """Return the arrays a release holds, by name, but for its moments."""
    match release:
        case Update():
            return release.weights
        case PrivateMomentShare():
            return release.moments.arrays()
        case GradientShare():
            return release.gradients
        case Introduction(feature_sums=FeatureSums() as sums):
            return {"feature_total": sums.total, "feature_squares": sums.squares}
        case MaskedInput():
            return {"words": release.words}
        case EvaluationSums():
            return {
                f"{kind}/{name}": array
                for kind, sums in release.sums.items()
                for name, array in sums.arrays().items()
            }
        case EvaluationErrors():
            return {
                f"{kind}/errors": said.error_array()
                for kind, said in release.errors.items()
                if said.cells
            }
        case _:
            return {}


def moments_of(release: Release) -> NodeSums | None:
    """Return the moments a release holds."""
    return release.moments if isinstance(release, MomentShare | Update) else None
