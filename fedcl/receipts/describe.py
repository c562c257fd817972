"""From a release to its receipt; what is no release, or malformed, gets none and may not leave."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fedcl.arrays.norms import norm_of
from fedcl.arrays.tensors import State, type_name
from fedcl.compression.codec import decode_own
from fedcl.messages.headers import Header, header_bytes
from fedcl.messages.release_headers import release_header
from fedcl.messages.releases import (
    REFUSALS,
    EvaluationErrors,
    EvaluationSums,
    Introduction,
    Refusal,
    Release,
    Update,
    arrays_of,
    moments_of,
)
from fedcl.receipts.line import (
    AddedNoise,
    ArraySent,
    EpsilonSpent,
    Receipt,
    ReceiptNumber,
    receipt_number,
)
from fedcl.secure_sum.protocol import MaskedInput


def describe(
    release: Release,
    *,
    round_number: int,
    step: int | None = None,
    attempt: str | None = None,
    run: str | None = None,
    config_sha256: str | None = None,
    noise: AddedNoise | None = None,
    epsilon: EpsilonSpent | None = None,
    objects: Sequence[str] = (),
    time: datetime | None = None,
) -> Receipt:
    """Return the receipt of a release: what it holds, and no value of it but sums that it says.

    Args:
        release: About to leave the site.
        round_number: Of the instruction that it answers.
        step: Likewise, where it names one.
        attempt: The secure sum it is part of.
        run: The experiment's name.
        config_sha256: Of its text.
        noise: That the site added.
        epsilon: Where the ledger was charged for it.
        objects: Hexadecimal identifiers of what it travels as.
        time: Of leaving, with its zone; now by default.

    Raises:
        TypeError: the object is not a release.
        ValueError: it is malformed: wrong type of array, or a reason that is not a category.
    """
    if not isinstance(release, Release):
        raise TypeError(f"{type(release).__name__} is not a release: it may not leave the site")
    if isinstance(release, Refusal) and release.reason not in REFUSALS:
        raise ValueError("a refusal's reason is one of release.REFUSALS; details stay at the site")
    arrays, header = _arrays(release), release_header(release)
    allowed = _types(release)
    for name, array in arrays.items():
        if array.dtype not in allowed:
            raise ValueError(f"{name}: {array.dtype} may not leave the site in this release")
    size = header_bytes(header)
    masked = isinstance(release, MaskedInput)
    return Receipt(
        kind=str(header["kind"]),
        round=round_number,
        step=step,
        attempt=attempt,
        time=(time or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        run=run,
        config_sha256=config_sha256,
        participants=getattr(release, "participants", None),
        arrays=tuple(
            ArraySent(
                name=name,
                shape=array.shape,
                dtype=type_name(array.dtype),
                bytes=array.nbytes,
                norm=None if masked else _norm(_stands_for(array, release)),
            )
            for name, array in arrays.items()
        ),
        header=_listed(header),
        header_bytes=size,
        bytes=size + sum(array.nbytes for array in arrays.values()),
        masked=masked,
        noise=noise,
        epsilon=epsilon,
        reason=release.reason if isinstance(release, Refusal) else None,
        objects=tuple(objects),
    )


def _arrays(release: Release) -> State:
    arrays, moments = dict(arrays_of(release)), moments_of(release)
    if moments is not None:
        arrays |= {f"moments {name}": array for name, array in moments.arrays().items()}
    return arrays


def _types(release: Release) -> tuple[type[np.generic], ...]:
    """The types of array that a kind of release may hold."""
    match release:
        case Introduction() | EvaluationSums() | EvaluationErrors():
            return (np.float64,)
        case MaskedInput():
            return (np.uint32, np.uint64)
        case Update(change="bfloat16" | "int8"):
            return (np.float32, np.uint8)
        case _:
            return (np.float32,)


def _stands_for(array: np.ndarray, release: Release) -> np.ndarray:
    """Return the values of an array that may be encoded."""
    match release:
        case Update(change="bfloat16" | "int8" as codec) if array.dtype == np.uint8:
            return decode_own(array, codec)
        case _:
            return array


def _norm(array: np.ndarray) -> ReceiptNumber:
    return receipt_number(float(f"{norm_of([array]):.6g}"))


def _listed(header: Header) -> dict[str, Any]:
    return {
        key: [_word(one) for one in value] if isinstance(value, list) else _word(value)
        for key, value in header.items()
    }


def _word(value: object) -> object:
    match value:
        case bytes():
            return f"{len(value)} bytes"
        case float():
            return receipt_number(value)
        case _:
            return value
