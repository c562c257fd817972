"""The base class of configuration sections and the ranges of numbers in them."""

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
