"""What leaves a site at a step that all sites take together without privacy.

Where the contrast meets the participants of the step (objective.moments.candidates: step), two
small answers come before the gradient: the sums of embeddings, and derivatives by everybody's sums.
"""

from dataclasses import dataclass

import numpy as np

from fedcl.arrays.tensors import State
from fedcl.config.counts import Participants
from fedcl.config.experiment import Config
from fedcl.config.federation import CommonSteps
from fedcl.messages.fields import PARTICIPANTS, ROUND, SECONDS, SITE, Arrays, HeaderValue
from fedcl.messages.kinds import KIND, ReleaseKind, SiteLimit, in_the_clear
from fedcl.messages.moment_fields import NodeSlopeArrays, NodeSumArrays
from fedcl.messages.packet import ARRAYS
from fedcl.messages.term_sums import TermColumns, TermSum
from fedcl.moments.live import NodeSlopes
from fedcl.moments.sums import NodeSums


@dataclass(frozen=True)
class StepMoments:
    """What leaves a site before a step whose contrast meets all sites' participants in it.

    Attributes:
        site: Label of the site.
        round: Number of the round, from 1.
        step: Number of the step in the round, from 1.
        participants: Number of training participants of the site, in the step or not.
        part: Number of the participants in the step.
        moments: Sums at the nodes over those in the step, under the weights received; float64.
        seconds: Wall-clock time of the pass over them.
    """

    site: str
    round: int
    step: int
    participants: Participants
    part: Participants
    moments: NodeSums
    seconds: float


@dataclass(frozen=True)
class StepSlopes:
    """What leaves a site when it has seen all sites' sums of a step.

    Attributes:
        site: Label of the site.
        round: Number of the round, from 1.
        step: Number of the step in the round, from 1.
        participants: Number of training participants of the site, in the step or not.
        part: Number of the participants in the step.
        slopes: Derivatives of (mean loss times `part`) by the sums over other sites' participants.
        seconds: Wall-clock time of the pass.
    """

    site: str
    round: int
    step: int
    participants: Participants
    part: Participants
    slopes: NodeSlopes
    seconds: float


@dataclass(frozen=True)
class StepGradient:
    """What leaves a site at a step that sites take together without privacy.

    Attributes:
        site: Label of the site.
        round: Number of the round, from 1.
        step: Number of the step in the round, from 1.
        participants: Number of training participants of the site, in the step or not.
        part: Number of the participants in the step.
        gradients: Gradient of (mean loss times `part`): parameters one after another, in the arrays
            that `fedcl.messages.gradient_pieces` names; float32.
        terms: The loss and every term of the objective, over the participants in the step.
        seconds: Wall-clock time of the step.
    """

    site: str
    round: int
    step: int
    participants: Participants
    part: Participants
    gradients: State
    terms: dict[str, TermSum]
    seconds: float


StepRelease = StepMoments | StepSlopes | StepGradient

_OF_PART = (
    KIND,
    SITE,
    ROUND,
    HeaderValue("step", int),
    PARTICIPANTS,
    HeaderValue("part", int),
)
"""The fields that name a site's part of a step."""


def _takes_common_steps(config: Config) -> bool:
    return isinstance(config.federation.rule, CommonSteps)


def meets_the_step(config: Config) -> bool:
    """Return whether a contrast meets all sites' participants of the same step."""
    moments = config.objective.moments
    return moments is not None and moments.candidates == "step"


STEP_MOMENTS_KIND = ReleaseKind(
    name="step moments",
    release=StepMoments,
    fields=(
        *_OF_PART,
        NodeSumArrays("moments", group=ARRAYS),
        SECONDS,
    ),
    phrase="moments of a step",
    words=(
        "Sums over a few of the site's participants at points along age: how many they are, their "
        "embeddings and the products of these. Where only one participant is near a point, the "
        "sums there are that participant's."
    ),
    limit=SiteLimit("step_gradients", asked_by=in_the_clear(meets_the_step)),
    array_types=(np.float64,),
)

STEP_SLOPES_KIND = ReleaseKind(
    name="step slopes",
    release=StepSlopes,
    fields=(
        *_OF_PART,
        NodeSlopeArrays("slopes", group=ARRAYS),
        SECONDS,
    ),
    phrase="slopes of a step",
    words=(
        "In which direction a few of the site's participants would move the embeddings of other "
        "sites' participants, at points along age."
    ),
    limit=SiteLimit("step_gradients", asked_by=in_the_clear(meets_the_step)),
    array_types=(np.float64,),
)

STEP_GRADIENT = ReleaseKind(
    name="step gradient",
    release=StepGradient,
    fields=(
        *_OF_PART,
        Arrays("gradients"),
        TermColumns("terms"),
        SECONDS,
    ),
    phrase="the gradient of a step",
    words=(
        "In which direction a few of the site's participants would change the weights, and each "
        "term of the objective as a sum over them; without noise. From the gradient of a few "
        "participants more can be told about single ones than from trained weights."
    ),
    limit=SiteLimit(
        "step_gradients",
        asked_by=in_the_clear(_takes_common_steps),
    ),
)

STEP_KINDS = (STEP_MOMENTS_KIND, STEP_SLOPES_KIND, STEP_GRADIENT)
