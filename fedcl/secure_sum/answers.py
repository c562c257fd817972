"""Check the sites' answers to one exchange: their round, at most one per site, enough of them."""

from collections.abc import Collection, Iterable, Iterator
from typing import Protocol, TypeVar

from fedcl.errors import SecureSumError
from fedcl.secure_sum.plan import SumPlan


class SiteAnswer(Protocol):
    """Describe what all messages of a site have in common."""

    @property
    def site(self) -> str:
        """Return the label of the site that answers."""

    @property
    def round(self) -> int:
        """Return the number of the round that the answer belongs to."""


AnyAnswer = TypeVar("AnyAnswer", bound=SiteAnswer)


def admit_answers(
    plan: SumPlan, answers: Iterable[AnyAnswer], allowed: Collection[str]
) -> Iterator[AnyAnswer]:
    """Yield the answers one by one after checking each.

    Args:
        plan: Plan of the sum, including its round.
        answers: Answers of the sites; from a generator, one is in memory at a time.
        allowed: Labels of the sites that were asked.

    Raises:
        SecureSumError: an answer belongs to another round, comes from a site that was not asked, or
            is the second of its site.
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
    """Return the answers by site, in the order of the plan.

    Args:
        plan: Plan of the sum, including its round and threshold.
        answers: Answers of the sites in any order.
        allowed: Labels of the sites that were asked.
        step: Words that say what the sites did, such as "advertised keys", for an error.

    Raises:
        SecureSumError: an answer belongs to another round, comes from a site that was not asked, or
            is the second of its site; or fewer sites answered than the threshold.
    """
    checked = {answer.site: answer for answer in admit_answers(plan, answers, allowed)}
    plan.require_threshold(len(checked), step)
    return {site: checked[site] for site in plan.in_order(checked)}
