"""Masks: a fixed function of the secret, uniform, and gone from the sum of a pair."""

import os

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from scipy.stats import chisquare

from fedcl.secure_sum.keys import commitment, fresh_secret, public_of
from fedcl.secure_sum.masks import add_mask, add_pair_mask, add_self_mask
from tests.secure_sum.game import Game, plan_of

LENGTH = 40_000
# A false alarm once in 10^9 runs; a vector that is not masked gives 0.
UNLIKELY = 1e-9


def byte_frequencies_p(words):
    """How likely bytes as uneven as these are, were they uniform."""
    return chisquare(np.bincount(words.view(np.uint8), minlength=256)).pvalue


@pytest.mark.parametrize("dtype", ["<u4", "<u8"])
def test_a_mask_is_the_key_stream_added_word_by_word(dtype, rng):
    secret, before = os.urandom(32), rng.integers(0, 2**32, 70_001).astype(dtype)
    stream = Cipher(ChaCha20(secret, bytes(16)), mode=None).encryptor().update(bytes(before.nbytes))
    after = before.copy()
    add_mask(after, secret, subtract=False)
    modulus = 2 ** (8 * before.itemsize)
    places = [0, 1, 32_767, 32_768, 65_536, 70_000]
    size = before.itemsize
    for place in places:
        grown = int.from_bytes(stream[place * size : (place + 1) * size], "little")
        assert int(after[place]) == (int(before[place]) + grown) % modulus
    add_mask(after, secret, subtract=True)
    assert (after == before).all()


@pytest.mark.parametrize("dtype", ["<u4", "<u8"])
def test_a_pair_adds_nothing_to_the_sum_and_each_half_is_the_pairs_secret(dtype):
    plan = plan_of()
    mine, yours, foreign = (fresh_secret() for _ in range(3))
    total, first = np.zeros(9, dtype), np.zeros(9, dtype)
    pair = {"private": mine, "public": public_of(yours)}
    add_pair_mask(first, plan, site="Basel", other="Delft", **pair)
    add_pair_mask(total, plan, site="Basel", other="Delft", **pair)
    add_pair_mask(total, plan, site="Delft", other="Basel", private=yours, public=public_of(mine))
    assert first.all()
    assert not total.any()
    add_pair_mask(
        first,
        plan,
        site="Basel",
        other="Delft",
        private=yours,
        public=public_of(mine),
        subtract=True,
    )
    assert not first.any()
    add_pair_mask(first, plan, site="Basel", other="Delft", private=foreign, public=pair["public"])
    add_pair_mask(first, plan, site="Basel", other="Delft", subtract=True, **pair)
    assert first.all()


def test_masks_of_one_key_differ_by_round_run_and_pair():
    mine, yours = fresh_secret(), public_of(fresh_secret())
    grown = []
    for plan in (plan_of(), plan_of(round_number=5), plan_of(run="another"), plan_of(threshold=4)):
        for other in ("Cork", "Delft"):
            words = np.zeros(7, "<u8")
            add_pair_mask(words, plan, site="Basel", other=other, private=mine, public=yours)
            grown.append(words.tobytes())
    assert len(set(grown)) == len(grown)


def test_a_self_mask_differs_by_plan_and_site_and_from_what_is_shown_of_it():
    seed, grown = fresh_secret(), set()
    for plan in (plan_of(length=4), plan_of(length=4, round_number=5)):
        for site in ("Basel", "Cork"):
            words = np.zeros(4, "<u8")
            add_self_mask(words, plan, site=site, seed=seed, subtract=False)
            from_shown = np.zeros(4, "<u8")
            add_mask(from_shown, commitment(plan, site, seed), subtract=False)
            grown |= {words.tobytes(), from_shown.tobytes()}
    assert len(grown) == 8


@pytest.mark.parametrize("word_bits", [32, 64])
def test_one_masked_input_looks_uniform_whatever_it_hides(word_bits):
    plan = plan_of(length=LENGTH, word_bits=word_bits)
    constant = {site: {"w": np.full(LENGTH, 3.25)} for site in plan.sites}
    game = Game(plan, constant)
    assert byte_frequencies_p(game.words["Basel"]) < UNLIKELY
    game.play(until=3)
    for message in game.inputs:
        assert byte_frequencies_p(message.words) > UNLIKELY
    pair_apart = game.inputs[0].words - game.inputs[1].words
    assert byte_frequencies_p(pair_apart) > UNLIKELY


def test_the_same_and_other_inputs_look_alike_under_fresh_keys(rng):
    plan = plan_of(length=LENGTH)
    same = {site: {"w": np.linspace(-90, 90, LENGTH)} for site in plan.sites}
    other = {site: {"w": rng.uniform(-1, 1, LENGTH)} for site in plan.sites}
    seen = []
    for inputs in (same, same, other):
        game = Game(plan, inputs)
        game.play(until=3)
        seen.append(game.inputs[2].words)
    for first, second in ((0, 1), (0, 2)):
        assert not (seen[first] == seen[second]).any()
        assert byte_frequencies_p(seen[first] - seen[second]) > UNLIKELY
    # Six standard deviations of a correlation of independent vectors.
    masked = seen[0].astype(np.float64)
    assert abs(np.corrcoef(masked, same["Cork"]["w"])[0, 1]) < 6 / np.sqrt(LENGTH)
