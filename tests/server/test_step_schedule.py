"""Who is in which common step: everybody once a pass, in parts that are not too small."""

import numpy as np
import pytest

from fedcl.messages.step_schedule import parts_of_site, shuffled_participants, steps_of_pass
from tests.builders import config_of, table_tree, with_values


def config(tmp_path, **rule):
    tree = table_tree(tmp_path)
    return config_of(with_values(tree, federation__rule={"kind": "common_steps", **rule}))


@pytest.mark.parametrize("least", [2, 3, 7])
@pytest.mark.parametrize("steps", [1, 2, 5, 16])
def test_everybody_is_in_one_step_of_a_pass(tmp_path, least, steps):
    rule = config(tmp_path, least=least)
    for participants in range(2, 60):
        for epoch in range(2):
            place = {"round_number": 3, "epoch": epoch}
            parts = parts_of_site(rule, "12", participants, **place, steps=steps)
            order = shuffled_participants(rule, "12", participants, **place)
            inside = [set(order[part.first : part.end].tolist()) for part in parts]
            assert sum(map(len, inside)) == participants
            assert set().union(*inside) == set(range(participants))
            sizes = [part.participants for part in parts]
            assert max(sizes) - min(sizes) <= 1
            assert min(sizes) >= min(least, participants)
            assert len(parts) == min(steps, max(1, participants // least))
            taken = sorted(part.step for part in parts)
            assert len(set(taken)) == len(taken)
            assert 0 <= taken[0] <= taken[-1] < steps
            gaps = np.diff([*taken, taken[0] + steps])
            assert gaps.max() - gaps.min() <= 1, "the parts are not spread over the pass"


def test_the_draws_depend_on_seed_site_round_and_pass(tmp_path):
    rule = config(tmp_path)
    seen = {
        tuple(shuffled_participants(other, site, 9, round_number=number, epoch=epoch))
        for other in (rule, rule.model_copy(update={"seed": 12}))
        for site in ("north", "12")
        for number in (1, 2)
        for epoch in (0, 1)
    }
    assert len(seen) == 16
    begins = {
        parts_of_site(rule, "12", 2, round_number=n, epoch=0, steps=50)[0].step for n in range(9)
    }
    assert len(begins) > 5


def test_a_pass_has_as_many_steps_as_batches_of_everybody(tmp_path):
    assert steps_of_pass(config(tmp_path), 20) == 5
    assert steps_of_pass(config(tmp_path), 21) == 6
    assert steps_of_pass(config(tmp_path, batch_size=9), 20) == 3
