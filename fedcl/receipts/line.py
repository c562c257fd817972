"""One line of the receipts: sizes, norms and noise of a release; no value of a participant."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from fedcl.config.section import Section

ReceiptNumber = float | Literal["nan", "inf", "-inf"]
"""A number; JSON has none that is not finite."""

_ID = re.compile(r"[0-9a-f]+")


def receipt_number(value: float) -> ReceiptNumber:
    """Return a number as a receipt holds it."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def _hexadecimal(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError("expected hexadecimal digits")
    return text


class ArraySent(Section):
    """One array of a release."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    norm: ReceiptNumber | None
    """L2 norm to six digits; of encoded bytes that of the values they stand for; null for masked
    words, which look like noise."""


class AddedNoise(Section):
    """Noise that the site added before the release left."""

    mechanism: Literal["gaussian"]
    multiplier: float
    """SD of the whole noise over `sensitivity`."""
    sensitivity: float
    """L2 norm of the most that one participant moves what the noise is added to; for gradients
    privacy.clip_norm."""
    share: float
    """SD of this site's noise over that of the whole; 1 where the site needs no other's noise."""
    private: bool
    """False: the noise comes from privacy.test_seed, and whoever knows that knows the noise."""


class EpsilonSpent(Section):
    """The privacy that the participants have paid so far, by all lines of the site's ledger."""

    epsilon: float
    delta: float
    accountant: Literal["pld", "renyi"]
    """pld: exact up to its discretisation; renyi: an upper bound, quick to compute."""


class Receipt(Section):
    """One line: what left the site, when, and for what."""

    kind: str
    """Kind of the release, as its header says it."""
    round: int
    """Number of the round; 0 for the introduction, and where no instruction could be read."""
    step: int | None
    """Number of a step that all sites take together, or of a stretch of the training."""
    attempt: str | None
    """Name of the secure sum that the release is part of."""
    time: str
    """UTC, ISO 8601, whole seconds."""
    run: str | None
    """Name of the experiment; null where its text could not be read."""
    config_sha256: str | None
    """Hash of the experiment's text as it came."""
    participants: int | None
    """Number of training participants behind the release, where it says so."""
    arrays: tuple[ArraySent, ...]
    header: dict[str, Any]
    """All that left beside the arrays, word for word; of keys, shares and signatures the size."""
    header_bytes: int
    """Bytes of the header's names and values."""
    bytes: int
    """Bytes of arrays and header, as they travel."""
    masked: bool
    """Whether the arrays are words of a secure sum: uniform noise for whoever has one site's."""
    noise: AddedNoise | None
    epsilon: EpsilonSpent | None
    """Epsilon after a charge to the ledger; null for a release that cost nothing more."""
    reason: str | None
    """Reason of a refusal."""
    objects: tuple[Annotated[str, AfterValidator(_hexadecimal)], ...] = Field(default=())
    """Identifiers of the objects that the release travelled as."""

    @property
    def norm(self) -> float | None:
        """L2 norm of all arrays together; None for masked words, and without arrays."""
        if not self.arrays or any(array.norm is None for array in self.arrays):
            return None
        return math.hypot(*(float(array.norm or 0.0) for array in self.arrays))
