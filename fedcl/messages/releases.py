"""Everything that may leave a site: each a kind of release, with one record.

A site hands one of these to the wire and nothing else; nothing else can be packed. No release
holds a participant's id, a path, or a value of one participant.
"""

from typing import Any

from fedcl.errors import WireError
from fedcl.messages.erasure_releases import ERASURE_KIND, ErasureShare
from fedcl.messages.evaluation_releases import (
    EVALUATION_KINDS,
    EvaluationErrors,
    EvaluationRelease,
    EvaluationSums,
)
from fedcl.messages.headers import get
from fedcl.messages.introductions import INTRODUCTION, REFUSAL, Introduction, Refusal
from fedcl.messages.kinds import KIND, ReleaseKind
from fedcl.messages.packet import Packet
from fedcl.messages.step_releases import (
    STEP_KINDS,
    StepGradient,
    StepMoments,
    StepRelease,
    StepSlopes,
)
from fedcl.messages.sum_answers import SUM_KINDS, SumAnswer, SumOffer
from fedcl.messages.term_sums import TermSum
from fedcl.messages.training_releases import (
    TRAINING_KINDS,
    GradientShare,
    MomentShare,
    PrivateMomentShare,
    TrainingRelease,
    Update,
)

__all__ = [
    "KINDS",
    "ErasureShare",
    "EvaluationErrors",
    "EvaluationSums",
    "GradientShare",
    "Introduction",
    "MomentShare",
    "PrivateMomentShare",
    "Refusal",
    "Release",
    "StepGradient",
    "StepMoments",
    "StepSlopes",
    "SumAnswer",
    "SumOffer",
    "TermSum",
    "Update",
    "kind_named",
    "kind_of",
    "kind_of_class",
    "pack_release",
    "unpack_release",
]

Release = (
    Introduction
    | Refusal
    | TrainingRelease
    | StepRelease
    | EvaluationRelease
    | ErasureShare
    | SumAnswer
)

KINDS: tuple[ReleaseKind[Any], ...] = (
    INTRODUCTION,
    *EVALUATION_KINDS,
    ERASURE_KIND,
    *TRAINING_KINDS,
    *STEP_KINDS,
    *SUM_KINDS,
    REFUSAL,
)


def kind_of(release: object) -> ReleaseKind[Any]:
    """Return the record of a release's kind.

    Raises:
        TypeError: the object is not a release.
    """
    return kind_of_class(type(release))


def kind_of_class(release: type) -> ReleaseKind[Any]:
    """Return the record of a class of releases.

    Raises:
        TypeError: its objects are not releases.
    """
    for kind in KINDS:
        if issubclass(release, kind.release):
            return kind
    raise TypeError(f"{release.__name__} is not a release: it may not leave the site")


def kind_named(name: object) -> ReleaseKind[Any] | None:
    """Return the record of the kind that a header or a receipt names; None where none is known."""
    return next((kind for kind in KINDS if kind.name == name), None)


def pack_release(release: Release) -> Packet:
    """Return a release as it travels.

    Raises:
        TypeError: the object is not a release.
        ValueError: it says something else than its kind allows.
    """
    return kind_of(release).pack(release)


def unpack_release(packet: Packet) -> Release:
    """Return the release that a packet holds.

    Raises:
        WireError: what is missing or malformed.
    """
    get(packet.header, "site", str)
    name = packet.header.get(KIND)
    kind = kind_named(name)
    if kind is None:
        raise WireError(f"unknown kind of release: {name!r}")
    release: Release = kind.unpack(packet)
    return release
