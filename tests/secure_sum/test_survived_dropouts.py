"""The opened sum is the plain sum over the survivors, or nothing opens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcl.errors import RoundError, SecureSumError
from fedcl.secure_sum.plan import SumPlan
from tests.secure_sum.game import SITES, Game, assert_sum, inputs_of, plan_of

TEN = tuple(f"site {number:02d}" for number in range(10))


@pytest.mark.parametrize("word_bits", [32, 64])
@pytest.mark.parametrize("step", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("missing", [0, 1, 3])
def test_up_to_three_of_ten_may_drop_out_at_any_exchange(missing, step, word_bits, rng):
    plan = plan_of(TEN, threshold=7, word_bits=word_bits)
    inputs = inputs_of(plan, rng)
    gone = {str(site): step for site in rng.choice(TEN, missing, replace=False)}
    game = Game(plan, inputs, gone)
    opened = game.play()
    lost = set(gone) if step <= 3 else set()
    assert set(opened.sites) == set(TEN) - lost
    assert_sum(game, inputs)


@pytest.mark.slow
@pytest.mark.parametrize("missing", [0, 10, 19])
def test_sixty_four_sites_of_which_up_to_thirty_percent_drop_out(missing, rng):
    """Slow (about 2 s each): every two sites agree on keys."""
    sites = tuple(f"site {number:02d}" for number in range(64))
    plan = plan_of(sites, threshold=43)
    inputs = inputs_of(plan, rng)
    gone = {
        str(site): int(rng.integers(1, 6)) for site in rng.choice(sites, missing, replace=False)
    }
    game = Game(plan, inputs, gone)
    opened = game.play()
    assert set(opened.sites) == {site for site in sites if gone.get(site, 6) > 3}
    assert_sum(game, inputs)


@given(
    gone=st.dictionaries(st.sampled_from(SITES), st.integers(1, 5), max_size=4),
    seed=st.integers(0, 2**31),
    forgetful=st.booleans(),
)
def test_whoever_drops_out_when_the_sum_is_right_or_stays_closed(gone, seed, forgetful):
    plan = plan_of()
    inputs = inputs_of(plan, np.random.default_rng(seed))
    game = Game(plan, inputs, gone, forgetful)
    if len(SITES) - len(gone) >= plan.threshold:
        game.play()
        assert set(game.opened.sites) == {s for s in SITES if gone.get(s, 6) > 3}
        assert_sum(game, inputs)
    else:
        with pytest.raises(SecureSumError, match="the threshold is 3: the sum stays closed"):
            game.play()
        assert not hasattr(game, "opened")


@pytest.mark.parametrize(
    ("step", "did"),
    [
        (1, "advertised keys"),
        (2, "shared their keys"),
        (3, "sent a masked input"),
        (4, "signed the survivors"),
        (5, "revealed their shares"),
    ],
)
def test_below_the_threshold_the_round_ends_with_what_was_missing(step, did, rng):
    plan = plan_of()
    gone = dict.fromkeys(SITES[:3], step)
    game = Game(plan, inputs_of(plan, rng), gone)
    with pytest.raises(RoundError, match=f"round 4: 2 of 5 sites {did}, the threshold is 3"):
        game.play()


@pytest.mark.slow
def test_sixty_four_sites_of_which_three_in_ten_drop_out(rng):
    """Slow (2 to 4 s): 64 x 63 key agreements, three times over."""
    sites = tuple(f"site {number:02d}" for number in range(64))
    plan = plan_of(sites, threshold=43, length=11)
    inputs = inputs_of(plan, rng)
    leaving = rng.permutation(sites)
    gone = {str(site): 1 + number % 5 for number, site in enumerate(leaving[:19])}
    game = Game(plan, inputs, gone)
    assert len(game.play().sites) == 64 - 12
    assert_sum(game, inputs)


def test_the_dropped_sites_values_do_not_matter(rng):
    plan = plan_of()
    inputs = inputs_of(plan, rng)
    sums = []
    for value in (-100.0, 100.0):
        inputs["Cork"] = {"w": np.full(plan.length, value)}
        game = Game(plan, inputs, {"Cork": 3})
        game.play()
        sums.append(game.opened.words)
    assert (sums[0] == sums[1]).all()


def test_a_round_changes_neither_the_inputs_nor_the_masked_sum(rng):
    plan = plan_of()
    inputs = inputs_of(plan, rng)
    game = Game(plan, inputs, {"Basel": 4})
    first = game.play().words.copy()
    for site in SITES:
        assert (game.words[site] == plan.encoding.encode(inputs[site])).all()
    assert (game.open().words == first).all()


def test_an_empty_vector_has_an_empty_sum(rng):
    plan = plan_of(length=0)
    game = Game(plan, inputs_of(plan, rng))
    assert game.play().words.shape == (0,)


@pytest.mark.parametrize(
    ("sites", "threshold", "words"),
    [
        (SITES[::-1], 3, "alphabetical order"),
        (("Aachen", "Aachen", "Basel"), 2, "alphabetical order"),
        (SITES, 2, "with 5 sites use 3 to 5"),
        (SITES, 6, "with 5 sites use 3 to 5"),
        (SITES[:4], 2, "with 4 sites use 3 to 4"),
        (SITES[:1], 1, "use 2 to 1"),
    ],
)
def test_a_plan_that_could_open_one_site_or_two_sets_is_refused(sites, threshold, words):
    with pytest.raises(SecureSumError, match=words):
        plan_of(sites, threshold)


def test_a_plan_whose_sum_could_wrap_around_is_refused():
    fits = plan_of(word_bits=32)
    many = tuple(f"site {number:03d}" for number in range(400))
    with pytest.raises(SecureSumError, match=r"400 sites with values up to 100 .* use at most 15"):
        SumPlan(run="a", round=1, sites=many, threshold=300, length=1, encoding=fits.encoding)
