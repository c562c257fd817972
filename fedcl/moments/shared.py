"""Hold the moments of all sites under one encoder, as the server sends them to every site."""

from dataclasses import dataclass

import numpy as np

from fedcl.errors import RunError
from fedcl.moments.sums import NodeSums


@dataclass(frozen=True)
class SharedMoments:
    """Hold the moments of the sites that answered.

    Attributes:
        round: Number of the round whose encoder was used, as it was sent to the sites.
        sites: Labels of the sites whose moments are included.
        parts: Either one part, the sum over the sites, or one part for each site, in their order.
    """

    round: int
    sites: tuple[str, ...]
    parts: tuple[NodeSums, ...]

    def others(self, site: str, own: NodeSums | None, *, summed: bool) -> dict[str, NodeSums]:
        """Return the parts without this site's own share, by site, or "all" for the sum.

        Args:
            site: Label of the site whose share is left out.
            own: Sums that the site released under this encoder, bit for bit; None if it has none.
            summed: Whether `parts` holds one part, the sum over the sites.

        Raises:
            RunError: the site is in the sum, but its own share is no longer stored.
        """
        if not summed:
            parts = dict(zip(self.sites, self.parts, strict=True))
            parts.pop(site, None)
            return parts
        if site not in self.sites:
            return {"all": self.parts[0]}
        if own is None:
            raise RunError(f"the site's own moments of round {self.round} are gone")
        return {"all": self.parts[0] - own}


def mean_over_rounds(
    before: dict[str, NodeSums], now: dict[str, NodeSums], momentum: float
) -> dict[str, NodeSums]:
    """Return momentum * before + (1 - momentum) * now, float32, or now where before is empty.

    A site that is missing in one of the two has sums of zero there.
    """
    if not before:
        return {name: sums.astype(np.float32) for name, sums in now.items()}
    weighted = [
        (name, sums * weight)
        for parts, weight in ((before, momentum), (now, 1 - momentum))
        for name, sums in parts.items()
    ]
    mean: dict[str, NodeSums] = {}
    for name, sums in weighted:
        mean[name] = mean[name] + sums if name in mean else sums
    return {name: sums.astype(np.float32) for name, sums in mean.items()}
