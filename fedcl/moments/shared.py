"""What the server tells every site: the moments of all of them, under one encoder."""

from dataclasses import dataclass

from fedcl.errors import RunError
from fedcl.moments.sums import NodeSums


@dataclass(frozen=True)
class Shared:
    """Moments of the sites that answered.

    Attributes:
        round: Whose encoder, as it was sent to the sites.
        sites: Whose moments are in it.
        parts: One, the sum over the sites; or one for each site, in their order.
    """

    round: int
    sites: tuple[str, ...]
    parts: tuple[NodeSums, ...]

    def others(self, site: str, own: NodeSums | None, *, summed: bool) -> tuple[NodeSums, ...]:
        """Return the parts without this site's own share.

        Args:
            site: Whose share is left out.
            own: What it released under this encoder, to the last bit.
            summed: Whether there is one part, the sum.

        Raises:
            RunError: the site is in the sum and no longer has its share.
        """
        if site not in self.sites:
            return self.parts
        if not summed:
            return tuple(
                part for name, part in zip(self.sites, self.parts, strict=True) if name != site
            )
        if own is None:
            raise RunError(f"the site's own moments of round {self.round} are gone")
        return (self.parts[0] - own,)
