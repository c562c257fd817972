"""What a site says whoever asks: who it is, or that it refuses."""

from dataclasses import dataclass

import numpy as np

from fedcl.arrays.feature_sums import FeatureSums
from fedcl.config.counts import Participants
from fedcl.config.experiment import Config
from fedcl.config.network import MLPEncoder
from fedcl.errors import RefusalReason, WireError
from fedcl.messages.fields import PARTICIPANTS, SITE, Category, HeaderValues
from fedcl.messages.headers import get
from fedcl.messages.kinds import KIND, ReleaseKind, SiteLimit
from fedcl.messages.packet import ARRAYS, Packet


@dataclass(frozen=True)
class Introduction:
    """What a site says when it first meets the server.

    Attributes:
        site: Label of the site.
        participants: Number of training participants; 0 for a site that only evaluates.
        shape: Shape of one participant's array, so that the server can build the same encoder.
        feature_sums: Sums that standardise a ROI table; None for images, and where the scale is
            public.
    """

    site: str
    participants: Participants
    shape: tuple[int, ...]
    feature_sums: FeatureSums | None


@dataclass(frozen=True)
class Refusal:
    """A site cannot answer. The reason is a category; details stay in the site's own log.

    Attributes:
        site: Label of the site, or its number where it could not be opened.
        reason: One of `RefusalReason`; a site of another version may have further ones.
    """

    site: str
    reason: str


@dataclass(frozen=True)
class _FeatureSumArrays:
    """The feature sums of an introduction; without any, their count is 0 and no array travels."""

    name: str

    def write(self, value: FeatureSums | None, packet: Packet) -> None:
        packet.header["feature_count"] = value.count if value else 0
        if value is not None:
            arrays = {"feature_total": value.total, "feature_squares": value.squares}
            packet.groups[ARRAYS] = arrays

    def read(self, packet: Packet) -> FeatureSums | None:
        arrays = packet.arrays(ARRAYS)
        if not arrays:
            return None
        names = {"feature_total", "feature_squares"}
        if set(arrays) != names:
            raise WireError(f"an introduction holds the arrays {sorted(names)} or none")
        count = get(packet.header, "feature_count", int)
        return FeatureSums(count, arrays["feature_total"], arrays["feature_squares"])


def _asks_for_feature_sums(config: Config) -> bool:
    encoder = config.encoder
    return isinstance(encoder, MLPEncoder) and encoder.public_scale is None


INTRODUCTION = ReleaseKind(
    name="introduction",
    release=Introduction,
    fields=(
        KIND,
        SITE,
        PARTICIPANTS,
        HeaderValues("shape", int),
        _FeatureSumArrays("feature_sums"),
    ),
    phrase="an introduction",
    words=(
        "Who the site is, when the server first meets it: its label, how many participants it "
        "trains on and the shape of one participant's array. For a table of regional measures "
        "also the sum and the sum of squares of each measure over these participants."
    ),
    limit=SiteLimit(
        "feature_sums",
        asked_by=_asks_for_feature_sums,
        counts=lambda introduction: introduction.feature_sums is not None,
    ),
    array_types=(np.float64,),
)

REFUSAL = ReleaseKind(
    name="refusal",
    release=Refusal,
    fields=(KIND, SITE, Category("reason", RefusalReason)),
    phrase="a refusal",
    words="The site did not answer, and says why in one of a few fixed sentences.",
    limit=None,
)
