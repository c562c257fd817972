"""A server cannot have both kinds of share of one site, whatever it tells whom."""

from dataclasses import replace

import pytest

from fedcl.errors import SecureSumError
from fedcl.secure_sum.protocol import Survivors, UnmaskRequest
from tests.secure_sum.game import IDENTITIES, SITES, plan_of


def signatures(plan, survivors, signers):
    """What sites would sign if each were told these survivors."""
    signed = plan.context("survivors", *survivors)
    return {site: IDENTITIES[site].sign(signed) for site in signers}


def test_a_server_that_asks_for_both_kinds_of_share_is_refused(played):
    game = played(4)
    without = tuple(site for site in SITES if site != "Cork")
    both = UnmaskRequest(4, without, signatures(game.plan, without, without))
    with pytest.raises(SecureSumError, match="both kinds of share of one site"):
        game.rounds["Basel"].reveal_shares(both)
    revealed = game.rounds["Aachen"].reveal_shares(game.request)
    assert set(revealed.self_masks) == set(SITES)
    assert not revealed.mask_keys
    with pytest.raises(SecureSumError, match="revealed shares of round 4 was already asked for"):
        game.rounds["Aachen"].reveal_shares(both)


def test_of_no_site_both_kinds_of_share_are_revealed(played):
    game = played(5, gone={"Delft": 3})
    for message in game.revealed:
        assert not set(message.self_masks) & set(message.mask_keys)
        assert set(message.self_masks) | set(message.mask_keys) == set(SITES)


def test_a_server_that_tells_two_stories_gets_no_shares(played):
    game = played(3)
    without = tuple(site for site in SITES if site != "Cork")
    told = {"Aachen": SITES, "Basel": SITES, "Delft": without, "Ghent": without}
    signed = [game.rounds[s].sign_survivors(Survivors(4, sites)) for s, sites in told.items()]
    given = {message.site: message.signature for message in signed}
    with pytest.raises(SecureSumError, match="site Delft: these survivors are not signed"):
        game.rounds["Aachen"].reveal_shares(UnmaskRequest(4, SITES, given))
    few = {site: given[site] for site in ("Aachen", "Basel")}
    with pytest.raises(SecureSumError, match="2 of 5 sites signed the survivors"):
        game.rounds["Basel"].reveal_shares(UnmaskRequest(4, SITES, few))


def test_signatures_of_another_round_do_not_count(played):
    game, old = played(4), plan_of(round_number=3)
    replayed = game.request.signatures | signatures(old, SITES, ["Ghent"])
    with pytest.raises(SecureSumError, match="site Ghent: these survivors are not signed"):
        game.rounds["Basel"].reveal_shares(replace(game.request, signatures=replayed))


def test_signatures_of_sites_that_are_no_survivors_do_not_count(played):
    game = played(4, gone={"Delft": 3})
    survivors = game.request.survivors
    more = game.request.signatures | signatures(game.plan, survivors, ["Delft"])
    with pytest.raises(SecureSumError, match="signatures of sites that are no survivors"):
        game.rounds["Basel"].reveal_shares(replace(game.request, signatures=more))


@pytest.mark.parametrize(
    ("survivors", "words"),
    [
        (SITES[:2], "2 of 5 sites sent a masked input"),
        (SITES[1:], "leaves Aachen out"),
        ((*SITES, "Zagreb"), "twice, or some that shared no keys"),
        ((*SITES, "Ghent"), "twice, or some that shared no keys"),
    ],
)
def test_survivors_that_cannot_be_are_not_signed(played, survivors, words):
    with pytest.raises(SecureSumError, match=words):
        played(3).rounds["Aachen"].sign_survivors(Survivors(4, survivors))


def test_survivors_that_never_shared_their_keys_are_not_signed(played):
    game = played(3, gone={"Cork": 2})
    with pytest.raises(SecureSumError, match="some that shared no keys"):
        game.rounds["Aachen"].sign_survivors(Survivors(4, SITES))
