"""A secure sum in one process, exchange by exchange, so that a test can interfere between."""

from dataclasses import replace

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedcl.secure_sum.fixed_point import FixedPoint
from fedcl.secure_sum.plan import SumPlan
from fedcl.secure_sum.server import (
    add_masked,
    open_sum,
    relay_keys,
    relay_shares,
    relay_signatures,
)
from fedcl.secure_sum.site import SiteRound

SITES = ("Aachen", "Basel", "Cork", "Delft", "Ghent")
IDENTITIES = {
    site: Ed25519PrivateKey.generate()
    for site in (*SITES, *(f"site {number:02d}" for number in range(64)))
}
PINNED = {site: key.public_key().public_bytes_raw() for site, key in IDENTITIES.items()}


def plan_of(sites=SITES, threshold=3, length=7, word_bits=64, round_number=4, run="OpenBHB, run 1"):
    fraction_bits = {32: 16, 64: 24}[word_bits]
    encoding = FixedPoint(word_bits=word_bits, fraction_bits=fraction_bits, largest=100.0)
    return SumPlan(
        run=run,
        round=round_number,
        sites=sites,
        threshold=threshold,
        length=length,
        encoding=encoding,
    )


def inputs_of(plan, rng):
    """Values of both signs, other ones at each site."""
    return {site: {"w": rng.uniform(-100, 100, plan.length)} for site in plan.sites}


class Game:
    """The messages of one round; a site takes part in an exchange unless it is gone by then.

    Args:
        plan: Of the round.
        inputs: Named arrays by site.
        gone: The first exchange, 1 to 5, that a site does not answer.
        forgetful: Rebuild every site from what it kept between two exchanges.
    """

    def __init__(self, plan, inputs, gone=None, forgetful=False):
        self.plan, self.gone, self.forgetful = plan, gone or {}, forgetful
        self.words = {site: plan.encoding.encode(arrays) for site, arrays in inputs.items()}
        self.rounds = {s: SiteRound(s, plan, IDENTITIES[s], PINNED) for s in plan.sites}

    def site(self, name):
        if self.forgetful:
            kept = self.rounds[name].keep()
            self.rounds[name] = SiteRound(name, self.plan, IDENTITIES[name], PINNED, kept=kept)
        return self.rounds[name]

    def answering(self, step, among):
        return [site for site in among if self.gone.get(site, 6) > step]

    def advertise(self):
        sites = self.answering(1, self.plan.sites)
        self.keys = relay_keys(self.plan, [self.site(s).advertise_keys() for s in sites])

    def share(self):
        sites = self.answering(2, [one.site for one in self.keys.keys])
        self.sealed = [self.site(s).share_keys(self.keys) for s in sites]
        self.relayed = relay_shares(self.plan, self.keys, self.sealed)

    def mask(self):
        sites = self.answering(3, self.relayed)
        self.inputs = [self.site(s).mask_input(self.relayed[s], self.words[s]) for s in sites]
        self.masked = add_masked(self.plan, self.relayed, iter(self.inputs))

    def sign(self):
        sites = self.answering(4, self.masked.survivors.sites)
        self.signed = [self.site(s).sign_survivors(self.masked.survivors) for s in sites]
        self.request = relay_signatures(self.plan, self.masked.survivors, self.signed)

    def reveal(self):
        sites = self.answering(5, self.request.signatures)
        self.revealed = [self.site(s).reveal_shares(self.request) for s in sites]

    def play(self, until=5):
        """Play the first exchanges; after the last one the sum is open."""
        for step in (self.advertise, self.share, self.mask, self.sign, self.reveal)[:until]:
            step()
        return self.open() if until == 5 else None

    def open(self):
        self.opened = open_sum(self.plan, self.keys, self.masked, self.revealed)
        return self.opened

    def decoded(self):
        shapes = {"w": (self.plan.length,)}
        found = self.plan.encoding.decode(self.opened.words, shapes, sites=len(self.opened.sites))
        return found["w"]


def altered(data: bytes, place: int = 20) -> bytes:
    """Flip one bit."""
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def swapped(messages, site, **changes):
    """Return the messages with that of one site changed."""
    return [replace(one, **changes) if one.site == site else one for one in messages]


def assert_sum(game, inputs):
    """The opened sum is the plain sum over the survivors, but for the rounding of the grid."""
    plain = np.sum([inputs[site]["w"] for site in game.opened.sites], axis=0)
    allowed = game.plan.encoding.rounding_error(len(game.opened.sites))
    assert np.abs(game.decoded() - plain).max(initial=0.0) <= allowed * (1 + 1e-9)
