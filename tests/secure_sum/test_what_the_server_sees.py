"""What sites send hides their secrets and inputs; a plan is bound into every key of it."""

import numpy as np

from fedcl.secure_sum.fixed_point import FixedPoint
from fedcl.secure_sum.masks import add_pair_mask
from fedcl.secure_sum.plan import SumPlan
from fedcl.secure_sum.server import add_masked
from fedcl.secure_sum.shamir import Share, recover
from tests.secure_sum.game import SITES, Game, plan_of


def test_the_late_input_of_a_site_called_dropped_stays_under_its_self_mask(played):
    game = played(3)
    late = game.inputs[3]
    game.masked = add_masked(game.plan, game.relayed, [m for m in game.inputs if m is not late])
    game.sign()
    game.reveal()
    shares = [Share.from_bytes(m.mask_keys["Delft"], sender=m.site) for m in game.revealed]
    private = recover(shares, threshold=3, what="mask key")
    words = late.words.copy()
    for keys in game.keys.keys:
        if keys.site != "Delft":
            pair = {"private": private, "public": keys.mask_key, "subtract": True}
            add_pair_mask(words, game.plan, site="Delft", other=keys.site, **pair)
    # All pairwise masks are off; what is left differs from the input in every word.
    assert not (words == game.words["Delft"]).any()
    assert all("Delft" not in message.self_masks for message in game.revealed)


def test_the_server_sees_no_secret_in_anything_sites_send(played):
    plan = plan_of()
    game = Game(plan, {site: {"w": np.zeros(plan.length)} for site in SITES})
    secrets = [
        secret
        for round_ in game.rounds.values()
        for secret in (round_._memory.mask_key, round_._memory.share_key, round_._memory.self_mask)
    ]
    game.play(until=3)
    seen = b"".join(
        [
            *(keys.mask_key + keys.share_key + keys.signature for keys in game.keys.keys),
            *(sealed for message in game.sealed for sealed in message.sealed.values()),
            *(message.words.tobytes() for message in game.inputs),
        ]
    )
    assert len(secrets) == 15
    assert not any(secret in seen for secret in secrets)
    assert game.keys.keys[0].mask_key in seen


def test_every_part_of_a_plan_is_in_its_context():
    grid = {"word_bits": 64, "fraction_bits": 24, "largest": 100.0}
    base = {
        "run": "a",
        "round": 1,
        "sites": SITES,
        "threshold": 3,
        "length": 7,
        "encoding": FixedPoint(**grid),
    }
    changes = [
        {},
        {"run": "b"},
        {"round": 2},
        {"sites": (*SITES, "Zagreb"), "threshold": 4},
        {"threshold": 4},
        {"length": 8},
        *(
            {"encoding": FixedPoint(**(grid | change))}
            for change in (
                {"word_bits": 32, "fraction_bits": 16},
                {"fraction_bits": 23},
                {"largest": 99.0},
            )
        ),
    ]
    plans = [SumPlan(**(base | change)) for change in changes]
    contexts = {plan.context(purpose) for plan in plans for purpose in ("keys", "survivors")}
    assert len(contexts) == 2 * len(plans)
    assert plans[0].context("keys", "ab", "c") != plans[0].context("keys", "a", "bc")
