"""The messages of a secure sum as headers: what the exchanges of `fedcl.secure_sum` say."""

from collections.abc import Mapping

from fedcl.errors import WireError
from fedcl.messages.headers import Header, get, get_list, get_pairs
from fedcl.messages.releases import SumAnswer, SumOffer
from fedcl.secure_sum.fixed_point import Words
from fedcl.secure_sum.protocol import (
    AdvertisedKeys,
    AllKeys,
    MaskedInput,
    RelayedShares,
    RevealedShares,
    SealedShares,
    Survivors,
    SurvivorSignature,
    UnmaskRequest,
)

Relayed = AllKeys | RelayedShares | Survivors | UnmaskRequest
"""What the server sends to a site after the first exchange."""


def relayed_header(message: Relayed) -> Header:
    """Return the header of a message to a site, but for its round."""
    match message:
        case AllKeys():
            return {
                "says": "keys",
                "sites": [keys.site for keys in message.keys],
                "mask_keys": [keys.mask_key for keys in message.keys],
                "share_keys": [keys.share_key for keys in message.keys],
                "self_masks": [keys.self_mask for keys in message.keys],
                "signatures": [keys.signature for keys in message.keys],
            }
        case RelayedShares():
            return {
                "says": "shares",
                "sites": list(message.sealed),
                "sealed": list(message.sealed.values()),
            }
        case Survivors():
            return {"says": "survivors", "sites": list(message.sites)}
        case UnmaskRequest():
            return {
                "says": "unmask",
                "sites": list(message.survivors),
                "signers": list(message.signatures),
                "signatures": list(message.signatures.values()),
            }


def read_relayed(header: Mapping[str, object]) -> Relayed:
    """Read what `relayed_header` wrote.

    Raises:
        WireError: what is missing or malformed.
    """
    number, sites = get(header, "round", int), get_list(header, "sites", str)
    match header.get("says"):
        case "keys":
            names = ("mask_keys", "share_keys", "self_masks", "signatures")
            columns = [get_list(header, name, bytes) for name in names]
            if any(len(column) != len(sites) for column in columns):
                raise WireError("keys: expected four values for each site")
            rows = zip(sites, *columns, strict=True)
            return AllKeys(
                number, tuple(AdvertisedKeys(site, number, *rest) for site, *rest in rows)
            )
        case "shares":
            return RelayedShares(number, get_pairs(header, "sites", "sealed"))
        case "survivors":
            return Survivors(number, tuple(sites))
        case "unmask":
            return UnmaskRequest(number, tuple(sites), get_pairs(header, "signers", "signatures"))
        case says:
            raise WireError(f"unknown message of a secure sum: {says!r}")


def answer_header(answer: SumAnswer) -> Header:
    """Return the header of a site's answer, but for its words."""
    header: Header = {"site": answer.site, "round": answer.round}
    match answer:
        case SumOffer(keys=keys):
            header |= {
                "kind": "sum offer",
                "participants": answer.participants,
                "names": list(answer.shapes),
                "dims": [len(shape) for shape in answer.shapes.values()],
                "sizes": [size for shape in answer.shapes.values() for size in shape],
                "mask_key": keys.mask_key,
                "share_key": keys.share_key,
                "self_mask": keys.self_mask,
                "signature": keys.signature,
                "steps": answer.steps,
                "seconds": answer.seconds,
            }
        case SealedShares():
            header |= {
                "kind": "sealed shares",
                "sites": list(answer.sealed),
                "sealed": list(answer.sealed.values()),
            }
        case MaskedInput():
            header |= {"kind": "masked input"}
        case SurvivorSignature():
            header |= {"kind": "survivor signature", "signature": answer.signature}
        case RevealedShares():
            header |= {
                "kind": "revealed shares",
                "gone": list(answer.mask_keys),
                "mask_keys": list(answer.mask_keys.values()),
                "survivors": list(answer.self_masks),
                "self_masks": list(answer.self_masks.values()),
            }
    return header


def read_answer(kind: str, header: Mapping[str, object], words: Words | None) -> SumAnswer | None:
    """Read what `answer_header` wrote; None where the kind is none of a secure sum.

    Raises:
        WireError: what is missing or malformed.
    """
    site, number = get(header, "site", str), get(header, "round", int)
    match kind:
        case "sum offer":
            names = ("mask_key", "share_key", "self_mask", "signature")
            keys = AdvertisedKeys(site, number, *(get(header, name, bytes) for name in names))
            return SumOffer(
                site=site,
                round=number,
                participants=get(header, "participants", int),
                shapes=_shapes(header),
                keys=keys,
                steps=get(header, "steps", int),
                seconds=get(header, "seconds", float),
            )
        case "sealed shares":
            return SealedShares(site, number, get_pairs(header, "sites", "sealed"))
        case "masked input":
            if words is None:
                raise WireError("the masked input carries no words")
            return MaskedInput(site, number, words)
        case "survivor signature":
            return SurvivorSignature(site, number, get(header, "signature", bytes))
        case "revealed shares":
            gone = get_pairs(header, "gone", "mask_keys")
            return RevealedShares(site, number, gone, get_pairs(header, "survivors", "self_masks"))
    return None


def _shapes(header: Mapping[str, object]) -> dict[str, tuple[int, ...]]:
    names, dims = get_list(header, "names", str), get_list(header, "dims", int)
    sizes = get_list(header, "sizes", int)
    if len(set(names)) != len(dims) or sum(dims) != len(sizes) or min([0, *dims, *sizes]) < 0:
        raise WireError("names, dims, sizes: expected one shape for each name, once")
    left = iter(sizes)
    return {
        name: tuple(next(left) for _ in range(dim)) for name, dim in zip(names, dims, strict=True)
    }
