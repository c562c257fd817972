"""Messages that were altered, replayed, doubled or left incomplete are refused by name."""

from dataclasses import replace

import numpy as np
import pytest

from fedcl.errors import SecureSumError
from fedcl.secure_sum.server import add_masked, open_sum, relay_keys, relay_shares, relay_signatures
from tests.secure_sum.game import altered, plan_of, swapped


def opened_with(game, revealed):
    return open_sum(game.plan, game.keys, game.masked, revealed)


def test_an_altered_share_stops_its_receiver_and_names_the_sender(played):
    game = played(2)
    relayed = game.relayed["Aachen"]
    sealed = relayed.sealed | {"Cork": altered(relayed.sealed["Cork"])}
    with pytest.raises(SecureSumError, match="site Cork: its share for Aachen was altered"):
        game.rounds["Aachen"].mask_input(replace(relayed, sealed=sealed), game.words["Aachen"])


def test_shares_of_too_few_or_unknown_sites_are_refused(played):
    for change, words in [
        (lambda sealed: {"Basel": sealed["Basel"]}, "2 of 5 sites shared their keys"),
        (lambda sealed: sealed | {"Zagreb": b""}, "whose keys it did not relay"),
        (lambda sealed: sealed | {"Aachen": b""}, "whose keys it did not relay"),
    ]:
        game = played(2)
        relayed = replace(game.relayed["Aachen"], sealed=change(game.relayed["Aachen"].sealed))
        with pytest.raises(SecureSumError, match=words):
            game.rounds["Aachen"].mask_input(relayed, game.words["Aachen"])


def test_a_message_of_another_round_is_refused_by_sites(played):
    for until, ask in [
        (1, lambda g, r: r.share_keys(replace(g.keys, round=3))),
        (2, lambda g, r: r.mask_input(replace(g.relayed["Basel"], round=3), g.words["Basel"])),
        (3, lambda g, r: r.sign_survivors(replace(g.masked.survivors, round=3))),
        (4, lambda g, r: r.reveal_shares(replace(g.request, round=3))),
    ]:
        game = played(until)
        with pytest.raises(SecureSumError, match="the server sent a message of round 3 in round 4"):
            ask(game, game.rounds["Basel"])


def test_a_message_of_another_round_is_refused_by_the_server(played):
    game = played(5)
    words = "site Basel sent a message of round 3 in round 4"
    with pytest.raises(SecureSumError, match=words):
        relay_keys(game.plan, swapped(game.keys.keys, "Basel", round=3))
    with pytest.raises(SecureSumError, match=words):
        relay_shares(game.plan, game.keys, swapped(game.sealed, "Basel", round=3))
    with pytest.raises(SecureSumError, match=words):
        add_masked(game.plan, game.relayed, swapped(game.inputs, "Basel", round=3))
    signed, survivors = swapped(game.signed, "Basel", round=3), game.masked.survivors
    with pytest.raises(SecureSumError, match=words):
        relay_signatures(game.plan, survivors, signed)
    with pytest.raises(SecureSumError, match=words):
        opened_with(game, swapped(game.revealed, "Basel", round=3))


def test_a_masked_input_replayed_under_a_new_round_number_does_not_decode(played):
    game, old = played(3), played(3, plan=plan_of(round_number=3))
    replayed = swapped(game.inputs, "Basel", words=old.inputs[1].words)
    game.masked = add_masked(game.plan, game.relayed, replayed)
    game.sign()
    game.reveal()
    game.open()
    with pytest.raises(SecureSumError, match="a site sent a wrong masked input"):
        game.decoded()


def test_the_server_adds_no_sum_below_the_threshold(played):
    game = played(3)
    with pytest.raises(SecureSumError, match="2 of 5 sites sent a masked input"):
        add_masked(game.plan, game.relayed, game.inputs[:2])


def test_a_site_cannot_answer_twice_or_unasked(played):
    game = played(5, gone={"Ghent": 3})
    with pytest.raises(SecureSumError, match="site Aachen answers twice"):
        add_masked(game.plan, game.relayed, [game.inputs[0], game.inputs[0]])
    late = replace(game.inputs[0], site="Zagreb")
    with pytest.raises(SecureSumError, match="site Zagreb answers, but it was not asked"):
        add_masked(game.plan, game.relayed, [late])
    with pytest.raises(SecureSumError, match="site Ghent answers, but it was not asked"):
        opened_with(game, [*game.revealed, replace(game.revealed[0], site="Ghent")])


def test_incomplete_answers_name_their_site(played):
    game = played(5)
    with pytest.raises(SecureSumError, match="site Cork: it did not seal one share"):
        relay_shares(game.plan, game.keys, swapped(game.sealed, "Cork", sealed={}))
    short = swapped(game.inputs, "Cork", words=np.zeros(3, "<u8"))
    with pytest.raises(SecureSumError, match=r"site Cork gave uint64\[3\]"):
        add_masked(game.plan, game.relayed, short)
    with pytest.raises(SecureSumError, match="site Cork: it did not reveal one share per site"):
        opened_with(game, swapped(game.revealed, "Cork", self_masks={}))


def test_a_wrong_revealed_share_never_opens_a_wrong_sum(played):
    game = played(5, gone={"Delft": 3})
    first, second = game.revealed[:2]
    slightly, grossly = (
        {owner: altered(share, place) for owner, share in first.self_masks.items()}
        for place in (60, 10)
    )
    others = {"Delft": second.mask_keys["Delft"]}
    for changes, words in [
        ({"self_masks": slightly}, "self mask of Aachen: not the one it advertised"),
        ({"self_masks": grossly}, "self mask of Aachen: the shares do not belong together"),
        ({"mask_keys": others}, "mask key of Delft: site Aachen revealed another site's share"),
        ({"mask_keys": {"Delft": b"?"}}, "site Aachen: a share is malformed"),
    ]:
        messages = swapped(game.revealed, "Aachen", **changes)
        with pytest.raises(SecureSumError, match=words):
            opened_with(game, messages)


def test_shares_of_a_mask_key_that_was_not_advertised_are_noticed(played):
    game = played(5, gone={"Delft": 3})
    game.keys = replace(
        game.keys,
        keys=tuple(swapped(game.keys.keys, "Delft", mask_key=game.keys.keys[0].mask_key)),
    )
    with pytest.raises(SecureSumError, match="mask key of Delft: not the one it advertised"):
        game.open()
