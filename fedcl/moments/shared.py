"""What the server tells every site: the moments of all of them, under one encoder."""

from dataclasses import dataclass

import numpy as np

from fedcl.errors import RunError
from fedcl.moments.sums import NodeSums


@dataclass(frozen=True)
class SharedMoments:
    """Moments of the sites that answered.

    Attributes:
        round: Whose encoder, as it was sent to the sites.
        sites: Whose moments are in it.
        parts: One, the sum over the sites; or one for each site, in their order.
    """

    round: int
    sites: tuple[str, ...]
    parts: tuple[NodeSums, ...]

    def others(self, site: str, own: NodeSums | None, *, summed: bool) -> dict[str, NodeSums]:
        """Return the parts without this site's own share, by site, or "all" for the sum.

        Args:
            site: Whose share is left out.
            own: What it released under this encoder, to the last bit.
            summed: Whether there is one part, the sum.

        Raises:
            RunError: the site is in the sum and no longer has its share.
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
    """Return momentum * before + (1 - momentum) * now, float32; nobody before: now.

    Who is missing in one of the two counts there as nobody.
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
