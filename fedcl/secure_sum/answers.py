"""The sites' answers to one exchange: of this round, at most one per site, and enough of them."""

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol, TypeVar

from fedcl.errors import SecureSumError
from fedcl.secure_sum.plan import SumPlan


class SiteAnswer(Protocol):
    """Any message of a site."""

    @property
    def site(self) -> str:
        """Who answers."""

    @property
    def round(self) -> int:
        """The round it answers in."""


AnyAnswer = TypeVar("AnyAnswer", bound=SiteAnswer)


def admitted(
    plan: SumPlan, answers: Iterable[AnyAnswer], allowed: Collection[str]
) -> Iterator[AnyAnswer]:
    """Yield the answers one by one.

    Args:
        plan: Of the round.
        answers: May come from a generator, so that one is in memory at a time.
        allowed: The sites that were asked.

    Raises:
        SecureSumError: one is of another round, of a site that was not asked, or the site's second.
    """
    seen: set[str] = set()
    for answer in answers:
        plan.require_round(f"site {answer.site}", answer.round)
        if answer.site not in allowed:
            raise SecureSumError(f"site {answer.site} answers, but it was not asked")
        if answer.site in seen:
            raise SecureSumError(f"site {answer.site} answers twice")
        seen.add(answer.site)
        yield answer


def by_site(
    plan: SumPlan, answers: Iterable[AnyAnswer], allowed: Collection[str], step: str
) -> dict[str, AnyAnswer]:
    """Return the answers by site, in the plan's order.

    Raises:
        SecureSumError: as `admitted`, or fewer than the threshold; `step` says what they did.
    """
    found = {answer.site: answer for answer in admitted(plan, answers, allowed)}
    plan.require_threshold(len(found), step)
    return {site: found[site] for site in plan.in_order(found)}
