"""Shared by the tests of the secure sum."""

import pytest

from tests.secure_sum.game import Game, inputs_of, plan_of


@pytest.fixture
def played(rng):
    """A round played to the given exchange."""

    def play(until, gone=None, plan=None):
        plan = plan or plan_of()
        game = Game(plan, inputs_of(plan, rng), gone)
        game.play(until=until)
        return game

    return play
