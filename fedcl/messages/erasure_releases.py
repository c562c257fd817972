"""What leaves a site for the erasure: sums over the features of its training participants."""

from dataclasses import dataclass

import numpy as np

from fedcl.config.counts import Participants
from fedcl.config.experiment import Config
from fedcl.erasure.sums import ErasureSums
from fedcl.errors import WireError
from fedcl.evaluation.ridge_sums import RidgeSums
from fedcl.messages.fields import PARTICIPANTS, ROUND, SECONDS, SITE
from fedcl.messages.headers import get, get_list
from fedcl.messages.kinds import KIND, ReleaseKind, SiteLimit, in_the_clear
from fedcl.messages.packet import ARRAYS, Packet, float64_array

_NAMES = ("totals", "products", "node_counts", "node_totals")


@dataclass(frozen=True)
class ErasureShare:
    """What leaves a site for the erasure to be fitted.

    Attributes:
        site: Label of the site.
        round: Number of the round whose encoder gives the features.
        participants: Number of training participants of the site.
        sums: Sums over them, by kind of features.
        seconds: Wall-clock time of the pass over them.
    """

    site: str
    round: int
    participants: Participants
    sums: dict[str, ErasureSums]
    seconds: float


@dataclass(frozen=True)
class _SumArrays:
    """Sums by kind of features; how many participants they are over, the header says."""

    name: str

    def write(self, value: dict[str, ErasureSums], packet: Packet) -> None:
        packet.header["features"] = list(value)
        packet.groups[ARRAYS] = {
            f"{feature}/{name}": array
            for feature, sums in value.items()
            for name, array in sums.arrays().items()
        }

    def read(self, packet: Packet) -> dict[str, ErasureSums]:
        features = get_list(packet.header, "features", str)
        if len(set(features)) < len(features):
            raise WireError("features: named twice")
        expected = {f"{feature}/{name}" for feature in features for name in _NAMES}
        if set(packet.arrays(ARRAYS)) != expected:
            raise WireError(f"expected the arrays {sorted(expected)}")
        return {feature: _sums(packet, feature) for feature in features}


def _sums(packet: Packet, feature: str) -> ErasureSums:
    arrays = packet.arrays(ARRAYS)
    totals, products, counts, node_totals = (
        float64_array(arrays, f"{feature}/{name}", dims)
        for name, dims in zip(_NAMES, (1, 1, 1, 2), strict=True)
    )
    if len(totals) < 2 or len(products) != len(totals) * (len(totals) + 1) // 2:
        raise WireError(f"{feature}: {len(products)} products do not fit {len(totals)} totals")
    if node_totals.shape != (len(counts), len(totals) - 1):
        raise WireError(f"{feature}: totals of shape {node_totals.shape} at {len(counts)} nodes")
    participants = get(packet.header, "participants", int)
    linear = RidgeSums.from_arrays(participants, totals, products)
    return ErasureSums(linear, counts, node_totals)


def _asks_for_erasure(config: Config) -> bool:
    return config.erasure is not None


ERASURE_KIND = ReleaseKind(
    name="erasure sums",
    release=ErasureShare,
    fields=(KIND, SITE, ROUND, PARTICIPANTS, _SumArrays("sums"), SECONDS),
    phrase="sums for the erasure of the site",
    words=(
        "Sums over the site's training participants, with which the site is taken out of what the "
        "trained network computes: the sums of its values and of the participants' ages, the sums "
        "of the products of these about their means, and for ages some years apart how many "
        "participants are near and the sum of their values. No noise is added to them; of an age "
        "that one participant alone is near, the sum is that participant's."
    ),
    limit=SiteLimit("erasure", asked_by=in_the_clear(_asks_for_erasure)),
    array_types=(np.float64,),
)
