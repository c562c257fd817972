"""Measures what a secure sum costs over a plain one, in bytes and seconds of site and server.

All sites take turns in one process. A plain sum is of float32; a secure one is of 32-bit words
(--word-bits 64 for the other), plus what the five exchanges carry besides. With dropouts, sites
leave after they shared their keys, where it costs the server most: it grows every mask
that they share with a survivor. Bytes and seconds of a site are means over those that stay.

    python benchmarks/secure_sum.py        # about half a minute
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any, TypeVar

import cryptography
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedcl.secure_sum.fixed_point import FixedPoint
from fedcl.secure_sum.plan import SumPlan
from fedcl.secure_sum.protocol import MaskedInput, RelayedShares
from fedcl.secure_sum.server import add_masked, open_sum, relay_keys, relay_shares, relay_signatures
from fedcl.secure_sum.site import SiteRound

SITES = (8, 64)
LENGTHS = (100_000, 1_000_000)
LEAVING = (0.0, 0.15, 0.3)
"""Shares of the sites that leave during a sum, in [0, 1]."""

T = TypeVar("T")


@dataclass
class Cost:
    """The costs of a whole round.

    Attributes:
        staying: Labels of the sites that stay, whose bytes and seconds are counted.
        sent: Bytes sent by the staying sites together.
        received: Bytes received by the staying sites together.
        site: Seconds of work of the staying sites together.
        server: Seconds of work of the server.
    """

    staying: tuple[str, ...]
    sent: int = 0
    received: int = 0
    site: float = 0.0
    server: float = 0.0
    _all_sites: float = 0.0

    def at_site(self, site: str, work: Callable[..., T], *received: Any) -> T:
        """Time a site's answer and count bytes; arrays are its own, all else is received."""
        started = time.perf_counter()
        answer = work(*received)
        seconds = time.perf_counter() - started
        self._all_sites += seconds
        if site in self.staying:
            self.site += seconds
            self.received += sum(size(one) for one in received if not isinstance(one, np.ndarray))
            self.sent += size(answer)
        return answer

    def at_server(self, work: Callable[..., T], *given: Any) -> T:
        """Time the server's work, without the work of sites in between."""
        started, before = time.perf_counter(), self._all_sites
        answer = work(*given)
        self.server += time.perf_counter() - started - (self._all_sites - before)
        return answer


def size(message: Any) -> int:
    """Return the bytes of a message's values, without any framing."""
    match message:
        case np.ndarray():
            return message.nbytes
        case bytes() | str():
            return len(message)
        case int():
            return 8
        case tuple():
            return sum(size(one) for one in message)
        case dict():
            return sum(size(key) + size(value) for key, value in message.items())
        case _ if is_dataclass(message):
            return sum(size(getattr(message, one.name)) for one in fields(message))
    raise TypeError(type(message).__name__)


def plan_of(sites: int, length: int, word_bits: int) -> SumPlan:
    bits = {32: 20, 64: 32}[word_bits]
    return SumPlan(
        run="benchmark",
        round=1,
        sites=tuple(f"site {number:02d}" for number in range(sites)),
        threshold=2 * sites // 3 + 1,
        length=length,
        encoding=FixedPoint(word_bits=word_bits, fraction_bits=bits, largest=16.0),
    )


def value_of(base: np.ndarray, plan: SumPlan, site: str) -> np.ndarray:
    return base * np.float32(plan.number(site) / len(plan.sites))


def plain(plan: SumPlan, base: np.ndarray) -> float:
    """Return the server's seconds for the plain sum over all sites, in float64."""
    total, seconds = np.zeros(plan.length), 0.0
    for site in plan.sites:
        value = value_of(base, plan, site)
        started = time.perf_counter()
        total += value
        seconds += time.perf_counter() - started
    return seconds


def masked_input(site: SiteRound, relayed: RelayedShares, value: np.ndarray) -> MaskedInput:
    return site.mask_input(relayed, site.plan.encoding.encode({"w": value}))


def secure(plan: SumPlan, base: np.ndarray, leaving: int) -> tuple[Cost, float]:
    """Return the costs of a round and the largest error of its sum."""
    identities = {site: Ed25519PrivateKey.generate() for site in plan.sites}
    pinned = {site: key.public_key().public_bytes_raw() for site, key in identities.items()}
    rounds = {site: SiteRound(site, plan, identities[site], pinned) for site in plan.sites}
    staying = plan.sites[leaving:]
    cost = Cost(staying)

    def ask(sites: tuple[str, ...], name: str, *question: Any) -> list[Any]:
        return [cost.at_site(site, getattr(rounds[site], name), *question) for site in sites]

    def masked_inputs() -> Iterator[MaskedInput]:
        for site in staying:
            value = value_of(base, plan, site)
            yield cost.at_site(site, partial(masked_input, rounds[site]), relayed[site], value)

    keys = cost.at_server(relay_keys, plan, ask(plan.sites, "advertise_keys"))
    relayed = cost.at_server(relay_shares, plan, keys, ask(plan.sites, "share_keys", keys))
    masked = cost.at_server(add_masked, plan, relayed, masked_inputs())
    survivors = masked.survivors
    signed = ask(staying, "sign_survivors", survivors)
    request = cost.at_server(relay_signatures, plan, survivors, signed)
    revealed = ask(staying, "reveal_shares", request)
    opened = cost.at_server(open_sum, plan, keys, masked, revealed)

    found = plan.encoding.decode(opened.words, {"w": (plan.length,)}, sites=len(opened.sites))
    expected = sum(value_of(base, plan, site).astype(np.float64) for site in opened.sites)
    return cost, float(np.abs(found["w"] - expected).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--word-bits", type=int, default=32, choices=[32, 64])
    options = parser.parse_args()
    print(
        "| sites | values | leaving | plain: MB sent | secure: MB sent | besides the words, kB "
        "| kB received | plain: server, s | secure: a site, s | server, s | largest error |"
    )
    print("|" + "---|" * 11)
    for sites in SITES:
        for length in LENGTHS:
            plan = plan_of(sites, length, options.word_bits)
            base = np.random.default_rng(sites).uniform(-16, 16, length).astype(np.float32)
            plain_seconds = plain(plan, base)
            for leaving in (round(share * sites) for share in LEAVING):
                cost, error = secure(plan, base, leaving)
                n = len(cost.staying)
                words = length * options.word_bits / 8
                print(
                    f"| {sites} | {length:,} | {leaving} | {base.nbytes / 1e6:.2f} "
                    f"| {cost.sent / n / 1e6:.2f} | {(cost.sent / n - words) / 1e3:.1f} "
                    f"| {cost.received / n / 1e3:.1f} | {plain_seconds:.3f} "
                    f"| {cost.site / n:.3f} | {cost.server:.3f} | {error:.1e} |",
                    flush=True,
                )
    grid = plan.encoding
    print(
        f"\n{grid.word_bits}-bit words, {grid.fraction_bits} fraction bits, values up to "
        f"{grid.largest:g}; cryptography {cryptography.__version__}, numpy {np.__version__}"
    )


if __name__ == "__main__":
    main()
