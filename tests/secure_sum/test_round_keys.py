"""Keys and envelopes: whatever was altered, replayed or signed by another is refused by name."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedcl.errors import FedclError, SecureSumError
from fedcl.secure_sum.keys import agree, fresh_secret, public_of
from fedcl.secure_sum.sealing import SharePair, seal, unseal
from fedcl.secure_sum.shamir import Share
from fedcl.secure_sum.site import SiteRound
from tests.secure_sum.game import IDENTITIES, PINNED, Game, altered, inputs_of, plan_of, swapped


def advertised(rng, plan=None):
    plan = plan or plan_of()
    game = Game(plan, inputs_of(plan, rng))
    game.advertise()
    return game


def with_keys_of(game, site, **changes):
    return replace(game.keys, keys=tuple(swapped(game.keys.keys, site, **changes)))


def with_keys(game, relayed):
    keys = (relayed if one.site == relayed.site else one for one in game.keys.keys)
    return replace(game.keys, keys=tuple(keys))


def test_both_sites_agree_on_one_secret_per_context():
    mine, yours = fresh_secret(), fresh_secret()
    there = agree(mine, public_of(yours), context=b"masks", other="b")
    back = agree(yours, public_of(mine), context=b"masks", other="a")
    assert there == back != agree(mine, public_of(yours), context=b"shares", other="b")
    assert len(there) == 32


@pytest.mark.parametrize("public", [bytes(32), b"short"])
def test_a_public_key_that_fixes_the_secret_is_refused(public):
    with pytest.raises(SecureSumError, match="site Basel: its public key of this round"):
        agree(fresh_secret(), public, context=b"", other="Basel")


@pytest.mark.parametrize("which", ["mask_key", "share_key", "self_mask", "signature"])
def test_a_key_that_the_server_changes_is_refused_by_name(which, rng):
    game = advertised(rng)
    changed = altered(getattr(game.keys.keys[1], which))
    with pytest.raises(SecureSumError, match="site Basel: its keys are not signed"):
        game.rounds["Aachen"].share_keys(with_keys_of(game, "Basel", **{which: changed}))


def test_keys_signed_by_an_identity_that_is_not_pinned_are_refused(rng):
    game = advertised(rng)
    impostor = Ed25519PrivateKey.generate()
    theirs = PINNED | {"Basel": impostor.public_key().public_bytes_raw()}
    forged = SiteRound("Basel", game.plan, impostor, theirs).advertise_keys()
    assert forged.site == "Basel"
    with pytest.raises(SecureSumError, match="site Basel: its keys are not signed by its pinned"):
        game.rounds["Aachen"].share_keys(with_keys(game, forged))


def test_one_site_cannot_speak_for_another(rng):
    game = advertised(rng)
    cork = game.keys.keys[2]
    everybody = with_keys_of(game, "Basel", mask_key=cork.mask_key, signature=cork.signature)
    with pytest.raises(SecureSumError, match="site Basel: its keys are not signed"):
        game.rounds["Aachen"].share_keys(everybody)


@pytest.mark.parametrize(
    "before", [{"round_number": 3}, {"run": "OpenBHB, run 0"}, {"threshold": 4}, {"length": 8}]
)
def test_keys_of_another_round_run_or_plan_are_refused(before, rng):
    game, old = advertised(rng), advertised(rng, plan_of(**before))
    replayed = replace(old.keys.keys[1], round=game.plan.round)
    with pytest.raises(SecureSumError, match="site Basel: its keys are not signed"):
        game.rounds["Aachen"].share_keys(with_keys(game, replayed))


def test_a_site_whose_own_keys_were_swapped_notices(rng):
    game, again = advertised(rng), advertised(rng)
    everybody = with_keys(game, again.keys.keys[0])
    with pytest.raises(SecureSumError, match="other keys for Aachen than it advertised"):
        game.rounds["Aachen"].share_keys(everybody)


def test_a_site_without_a_pinned_identity_is_refused(rng):
    game = advertised(rng)
    pinned = {site: key for site, key in PINNED.items() if site != "Cork"}
    kept = game.rounds["Aachen"].keep()
    aachen = SiteRound("Aachen", game.plan, IDENTITIES["Aachen"], pinned, kept=kept)
    with pytest.raises(SecureSumError, match="site Cork: no identity key is pinned"):
        aachen.share_keys(game.keys)


def test_the_server_cannot_relay_keys_twice_or_of_strangers_or_too_few(rng):
    keys = advertised(rng).keys.keys
    stranger = replace(keys[0], site="Zagreb")
    for relayed, words in [
        ((*keys, keys[-1]), "twice, or of one not invited"),
        ((*keys, stranger), "twice, or of one not invited"),
        (keys[:2], "2 of 5 sites advertised keys, the threshold is 3"),
    ]:
        game = advertised(rng)
        with pytest.raises(SecureSumError, match=words):
            game.rounds["Aachen"].share_keys(replace(game.keys, keys=relayed))


def test_two_sites_with_one_key_are_refused(rng):
    plan, mine = plan_of(), fresh_secret()
    game = Game(plan, inputs_of(plan, rng))
    for site in ("Basel", "Delft"):
        round_ = game.rounds[site]
        round_._memory = replace(round_._memory, mask_key=mine)
    game.advertise()
    with pytest.raises(SecureSumError, match="two of the advertised keys are the same"):
        game.rounds["Aachen"].share_keys(game.keys)


def test_a_site_with_the_wrong_identity_file_is_told_before_it_starts():
    with pytest.raises(SecureSumError, match="site Basel: its identity key is not the one pinned"):
        SiteRound("Basel", plan_of(), IDENTITIES["Cork"], PINNED)
    with pytest.raises(SecureSumError, match="site site 00 is not invited"):
        SiteRound("site 00", plan_of(), IDENTITIES["site 00"], PINNED)


PAIR = SharePair(Share(3, 17), Share(3, 2**500))


def envelope(plan, mine, yours, sender="Basel", receiver="Cork"):
    keys = {"private": mine, "public": public_of(yours)}
    return seal(plan, PAIR, sender=sender, receiver=receiver, **keys)


def opened(plan, sealed, mine, yours, sender="Basel", receiver="Cork"):
    keys = {"private": yours, "public": public_of(mine)}
    return unseal(plan, sealed, sender=sender, receiver=receiver, **keys)


def test_an_envelope_opens_at_its_receiver_and_hides_the_shares():
    mine, yours = fresh_secret(), fresh_secret()
    sealed = envelope(plan_of(), mine, yours)
    assert opened(plan_of(), sealed, mine, yours) == PAIR
    assert PAIR.self_mask.to_bytes()[2:12] not in sealed
    assert sealed != envelope(plan_of(), mine, yours)


@pytest.mark.parametrize("place", [0, 11, 12, 100, -1])
def test_an_altered_envelope_is_refused_and_names_the_sender(place):
    mine, yours = fresh_secret(), fresh_secret()
    sealed = envelope(plan_of(), mine, yours)
    with pytest.raises(FedclError, match="site Basel: its share for Cork was altered"):
        opened(plan_of(), altered(sealed, place % len(sealed)), mine, yours)
    with pytest.raises(SecureSumError, match="site Basel: its share for Cork was altered"):
        opened(plan_of(), sealed[:5], mine, yours)


def test_an_envelope_of_another_round_or_direction_does_not_open():
    mine, yours = fresh_secret(), fresh_secret()
    for sealed in (
        envelope(plan_of(round_number=3), mine, yours),
        envelope(plan_of(run="another"), mine, yours),
        envelope(plan_of(), yours, mine, sender="Cork", receiver="Basel"),
    ):
        with pytest.raises(SecureSumError, match="belongs to another round"):
            opened(plan_of(), sealed, mine, yours)


def test_a_share_meant_for_another_site_is_refused():
    mine, yours = fresh_secret(), fresh_secret()
    sealed = envelope(plan_of(), mine, yours, receiver="Delft")
    with pytest.raises(SecureSumError, match="site Basel: its share for Delft is another site's"):
        opened(plan_of(), sealed, mine, yours, receiver="Delft")
