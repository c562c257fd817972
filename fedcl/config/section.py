"""The base class of configuration sections and the ranges of numbers in them."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Range = tuple[float, float]


class Section(BaseModel):
    """A frozen section of the configuration, in which an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def one_of(names: Iterable[str]) -> str:
    """Return names as a message lists choices: a, b or c."""
    *some, last = names
    return f"{', '.join(some)} or {last}" if some else last
