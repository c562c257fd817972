"""What leaves a site for the training: updates, moments and gradients."""

from dataclasses import dataclass

from fedcl.arrays.tensors import State
from fedcl.config.counts import Participants
from fedcl.config.experiment import Config
from fedcl.config.federation import Codec, CommonSteps
from fedcl.config.privacy import CentralPrivacy
from fedcl.messages.fields import (
    PARTICIPANTS,
    ROUND,
    SECONDS,
    SITE,
    Arrays,
    CodecName,
    HeaderValue,
)
from fedcl.messages.kinds import KIND, ReleaseKind, SiteLimit, in_the_clear
from fedcl.messages.moment_fields import NodeSumArrays, PrivateSumArrays
from fedcl.messages.term_sums import TermColumns, TermSum
from fedcl.moments.private import PrivateSums
from fedcl.moments.sums import NodeSums


@dataclass(frozen=True)
class Update:
    """What leaves a site after a local round.

    Attributes:
        site: Label of the site.
        round: Number of the round, from 1.
        participants: Number of training participants behind the update.
        weights: The travelling tensors after training; of kernels and matrices the change, where
            `change` says so.
        terms: The loss and every term of the objective; none where the weights are private.
        steps: Number of optimiser steps taken.
        seconds: Wall-clock time of the training.
        moments: Moments of the training participants under the weights received, where they travel
            with the update; float32.
        change: How the change is encoded (none: float32; else bytes); None: the weights themselves.
    """

    site: str
    round: int
    participants: Participants
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
        site: Label of the site.
        round: Number of the round, from 1.
        participants: Number of training participants behind the sums.
        moments: Moments of the training participants under the weights received; float32.
        seconds: Wall-clock time of the pass over them.
    """

    site: str
    round: int
    participants: Participants
    moments: NodeSums
    seconds: float


@dataclass(frozen=True)
class PrivateMomentShare:
    """What leaves a site where moments are released with noise.

    Attributes:
        site: Label of the site.
        round: Number of the round, from 1.
        participants: Number of training participants of the site.
        moments: Moments with the site's noise; float32.
        seconds: Wall-clock time of the pass over them.
    """

    site: str
    round: int
    participants: Participants
    moments: PrivateSums
    seconds: float


@dataclass(frozen=True)
class GradientShare:
    """What leaves a site at each step that all sites take together.

    Attributes:
        site: Label of the site.
        round: Number of the round, from 1.
        step: Number of the step in the round, from 1.
        participants: Number of training participants of the site, in the step's batch or not.
        gradients: Gradients clipped, summed and noised, by parameter; float32.
        seconds: Wall-clock time of the step.
    """

    site: str
    round: int
    step: int
    participants: Participants
    gradients: State
    seconds: float


TrainingRelease = Update | MomentShare | PrivateMomentShare | GradientShare

MOMENT_SHARE = ReleaseKind(
    name="moments",
    release=MomentShare,
    fields=(KIND, SITE, ROUND, PARTICIPANTS, NodeSumArrays("moments", required=True), SECONDS),
    phrase="moments",
    words=(
        "Sums over the site's participants at points along age: how many they are, their "
        "embeddings and the products of these. Where only one participant is near a point, the "
        "sums there are that participant's."
    ),
    limit=SiteLimit(
        "moments", asked_by=in_the_clear(lambda config: config.objective.compares_snapshots)
    ),
)

PRIVATE_MOMENT_SHARE = ReleaseKind(
    name="private moments",
    release=PrivateMomentShare,
    fields=(KIND, SITE, ROUND, PARTICIPANTS, PrivateSumArrays("moments"), SECONDS),
    phrase="moments with noise",
    words=(
        "Sums along age over the site's participants, each cut to a longest length, with noise "
        "that was added at the site before they left."
    ),
    limit=SiteLimit(
        "private_moments",
        asked_by=in_the_clear(lambda config: config.objective.private_moments is not None),
    ),
)


def _asks_for_updates(config: Config) -> bool:
    rule = config.federation.rule
    if isinstance(rule, CommonSteps):
        return rule.local_rounds > 0
    return not isinstance(config.privacy, CentralPrivacy)


GRADIENT_SHARE = ReleaseKind(
    name="gradient",
    release=GradientShare,
    fields=(
        KIND,
        SITE,
        ROUND,
        HeaderValue("step", int),
        PARTICIPANTS,
        Arrays("gradients"),
        SECONDS,
    ),
    phrase="gradients",
    words=(
        "In which direction the participants drawn for one step would change the weights: a sum, "
        "each participant's part cut to a longest length, with the site's noise added."
    ),
    limit=SiteLimit(
        "gradients",
        asked_by=in_the_clear(lambda config: isinstance(config.privacy, CentralPrivacy)),
    ),
)

UPDATE_KIND = ReleaseKind(
    name="update",
    release=Update,
    fields=(
        KIND,
        SITE,
        ROUND,
        PARTICIPANTS,
        Arrays("weights"),
        TermColumns("terms"),
        HeaderValue("steps", int),
        SECONDS,
        NodeSumArrays("moments", required=False),
        CodecName("change", absent=None),
    ),
    phrase="an update",
    words=(
        "The network's weights after the site has trained them on its participants, or by how "
        "much it changed them; where no privacy is promised, each term of the objective as a sum "
        "over these participants; and where moments travel with it, those too. Without noise such "
        "weights can tell about single participants."
    ),
    limit=SiteLimit(
        "updates",
        asked_by=in_the_clear(_asks_for_updates),
    ),
    codec_of=lambda update: None if update.change == "none" else update.change,
)

TRAINING_KINDS = (
    MOMENT_SHARE,
    PRIVATE_MOMENT_SHARE,
    GRADIENT_SHARE,
    UPDATE_KIND,
)
