"""A site answers each question once and in order, in whatever process it goes on."""

import numpy as np
import pytest

from fedcl.errors import SecureSumError
from fedcl.secure_sum.protocol import Survivors, UnmaskRequest
from fedcl.secure_sum.site import SiteRound
from tests.secure_sum.game import IDENTITIES, PINNED, SITES, plan_of


def test_a_site_masks_one_input_per_round(played):
    game = played(3)
    with pytest.raises(SecureSumError, match="site Basel: its masked input of round 4 was already"):
        game.rounds["Basel"].mask_input(game.relayed["Basel"], game.words["Cork"])


def test_after_an_error_a_site_says_nothing_more(played):
    game = played(2)
    with pytest.raises(SecureSumError, match=r"the plan says uint64\[7\]"):
        game.rounds["Basel"].mask_input(game.relayed["Basel"], np.zeros(6, "<u8"))
    for again in (
        lambda: game.rounds["Basel"].mask_input(game.relayed["Basel"], game.words["Basel"]),
        lambda: game.rounds["Basel"].sign_survivors(Survivors(4, SITES)),
        lambda: game.rounds["Basel"].reveal_shares(UnmaskRequest(4, (), {})),
    ):
        with pytest.raises(SecureSumError, match="nothing after an error"):
            again()


def test_a_site_signs_one_set_of_survivors(played):
    game = played(4)
    with pytest.raises(SecureSumError, match="signature of the survivors of round 4 was already"):
        game.rounds["Basel"].sign_survivors(Survivors(4, SITES[:3]))


def test_a_site_gives_nothing_out_of_turn(played):
    game = played(2)
    with pytest.raises(SecureSumError, match="revealed shares of round 4 is not due yet"):
        game.rounds["Basel"].reveal_shares(UnmaskRequest(4, SITES, {}))


def test_a_site_that_has_masked_can_no_longer_take_its_masks_off(played):
    kept = played(3).rounds["Basel"]._memory
    assert kept.mask_key == kept.share_key == kept.self_mask == b""
    assert set(kept.shares) == set(SITES)
    assert not played(5).rounds["Basel"]._memory.shares


@pytest.mark.parametrize("until", [0, 1, 2, 3, 4])
def test_what_a_site_kept_is_of_one_round_and_site(played, until):
    game = played(until)
    kept = game.rounds["Basel"].keep()
    again = SiteRound("Basel", game.plan, IDENTITIES["Basel"], PINNED, kept=kept)
    assert again.keep() == kept
    for site, plan, data, words in [
        ("Basel", plan_of(round_number=5), kept, "is of another secure sum"),
        ("Cork", game.plan, kept, "is of another secure sum"),
        ("Basel", game.plan, kept[:-4], "is damaged"),
        ("Basel", game.plan, b"{}", "is damaged"),
    ]:
        with pytest.raises(SecureSumError, match=words):
            SiteRound(site, plan, IDENTITIES[site], PINNED, kept=data)


def test_a_site_rebuilt_from_what_it_kept_still_masks_once(played):
    game = played(3)
    kept = game.rounds["Basel"].keep()
    again = SiteRound("Basel", game.plan, IDENTITIES["Basel"], PINNED, kept=kept)
    with pytest.raises(SecureSumError, match="masked input of round 4 was already asked for"):
        again.mask_input(game.relayed["Basel"], game.words["Basel"])
