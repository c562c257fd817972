"""The receipt of a release; what is not a release, or malformed, gets none and may not leave."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fedcl.arrays.norms import norm_of
from fedcl.arrays.tensors import State, type_name
from fedcl.compression.codec import decode_own
from fedcl.config.federation import Codec
from fedcl.messages.headers import Header, header_bytes
from fedcl.messages.packet import ARRAYS, Packet
from fedcl.messages.releases import Release, kind_of
from fedcl.receipts.line import (
    AddedNoise,
    ArraySent,
    EpsilonSpent,
    Receipt,
    ReceiptNumber,
    receipt_number,
)


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
    """Return the receipt of a release: its header, and sizes and norms of its arrays.

    Args:
        release: What is about to leave the site.
        round_number: Number of the round of the instruction that it answers.
        step: Number of the step or stretch in that round; None where it names none.
        attempt: Name of the secure sum that the release is part of.
        run: Name of the experiment.
        config_sha256: Hash of the experiment's text.
        noise: Noise that the site added.
        epsilon: Epsilon after the ledger was charged for the release.
        objects: Hexadecimal identifiers of the objects that the release travels as.
        time: Time of leaving, with its zone; now by default.

    Raises:
        TypeError: the object is not a release.
        ValueError: an array is of another type than its kind allows, or the reason of a refusal
            is not a category.
    """
    kind = kind_of(release)
    packet, codec = kind.pack(release), kind.codec_of(release)
    arrays, header = _arrays(packet), packet.header
    allowed = kind.array_types if codec is None else (*kind.array_types, np.uint8)
    for name, array in arrays.items():
        if array.dtype not in allowed:
            raise ValueError(f"{name}: {array.dtype} may not leave the site in this release")
    size = header_bytes(header)
    return Receipt(
        kind=kind.name,
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
                norm=None if kind.masked else _norm(_values(array, codec)),
            )
            for name, array in arrays.items()
        ),
        header=_listed(header),
        header_bytes=size,
        bytes=size + sum(array.nbytes for array in arrays.values()),
        masked=kind.masked,
        noise=noise,
        epsilon=epsilon,
        reason=getattr(release, "reason", None),
        objects=tuple(objects),
    )


def _arrays(packet: Packet) -> State:
    """Return all arrays of a packet; outside the main group a name begins with the group's."""
    return {
        name if group == ARRAYS else f"{group} {name}": array
        for group, arrays in packet.groups.items()
        for name, array in arrays.items()
    }


def _values(array: np.ndarray, codec: Codec | None) -> np.ndarray:
    """Return the values that an array stands for."""
    if codec is None or array.dtype != np.uint8:
        return array
    return decode_own(array, codec)


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
