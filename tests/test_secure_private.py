"""Privacy under a secure sum: the server opens noisy sums, and those of nobody alone."""

import numpy as np
import pytest

from fedcl.config.moments import PrivateMoments
from fedcl.errors import RoundError
from fedcl.experiment.simulation import simulate_federation
from fedcl.messages.releases import GradientShare, PrivateMomentShare, Refusal, Update
from fedcl.run_folder.folder import RunFolder
from fedcl.secure_sum.protocol import MaskedInput
from tests.builders import (
    FAIRKL,
    PRIVATE_MOMENTS,
    central_private_tree,
    config_of,
    private_tree,
    secure_tree,
    with_values,
    write_table,
)
from tests.test_federation import SITES, another_folder, final_weights
from tests.test_private_federation import TRAINING, evaluated, ledger_of
from tests.test_secure_federation import federation

MODES = {"participant": private_tree, "participant_central": central_private_tree}
CLOSE = 1e-5
"""Of weights of the order of 1: float32 steps on sums that differ by 2^-36."""


@pytest.fixture(params=MODES)
def tree(request, tmp_path):
    write_table(tmp_path / "data")
    return secure(MODES[request.param](tmp_path), tmp_path)


def secure(tree, folder):
    return with_values(
        tree,
        secure_sum=secure_tree(folder)["secure_sum"],
        objective__prototypes=None,
        objective__private_moments=PRIVATE_MOMENTS,
        objective__debias=[FAIRKL],
        privacy__test_seed=5,
        local__epochs=1,
    )


@pytest.mark.slow
def test_the_opened_sums_are_those_in_the_clear(tree):
    masked = config_of(tree)
    clear = config_of(another_folder(with_values(tree, secure_sum=None), "-clear"))
    for config in (masked, clear):
        simulate_federation(config, sites=SITES, resume=False)
    found, expected = final_weights(masked), final_weights(clear)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=CLOSE, err_msg=name)
    logs = [RunFolder(config.output.path).read_log() for config in (masked, clear)]
    for record, other in zip(*logs, strict=True):
        # Released: a word has 8 bytes, a float 4; told to the sites before every step: floats.
        more = record.moments_bytes - other.moments_bytes
        assert 0 <= more < record.moments_bytes
        assert (more > 0) == PrivateMoments.model_validate(PRIVATE_MOMENTS).released_in(
            record.round
        )
    sums = [RunFolder(config.output.path).load().released for config in (masked, clear)]
    assert sums[0].slots == sums[1].slots
    for name, array in sums[1].sums.arrays().items():
        np.testing.assert_allclose(sums[0].sums.arrays()[name], array, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_nothing_is_said_in_the_clear(tree):
    left = []
    federation(
        config_of(with_values(tree, federation__rounds=1)),
        lambda release, _: left.append(release) or release,
    )
    assert not any(isinstance(one, Update | GradientShare | PrivateMomentShare) for one in left)
    assert {type(one).__name__ for one in left} >= {"SumOffer", "MaskedInput"}


@pytest.mark.slow
def test_every_site_still_pays(tree):
    config = config_of(with_values(tree, federation__rounds=1))
    simulate_federation(config, sites=SITES, resume=False)
    for site in TRAINING:
        assert [c.what == "moments" for c in ledger_of(config, site).charges()] == [True, False]


def test_a_sum_of_fewer_than_carry_the_noise_stays_closed(tmp_path):
    write_table(tmp_path / "data")
    tree = secure(central_private_tree(tmp_path), tmp_path)
    config = config_of(with_values(tree, federation__min_sites=3, federation__rounds=1))

    def south_leaves(release, _):
        leaves = release.site == "south" and isinstance(release, MaskedInput)
        return Refusal("south", "the training failed") if leaves else release

    with pytest.raises(RoundError, match="the threshold is 3"):
        federation(config, south_leaves)
    assert RunFolder(config.output.path).load().round == 0


@pytest.mark.slow
def test_the_result_says_what_the_server_saw(tree):
    results, _ = evaluated(config_of(with_values(tree, federation__rounds=1)))
    assert "The server saw sums over sites only" in results.run.privacy
    if "central" in tree["privacy"]["mode"]:
        assert "a server that follows the protocol" in results.run.privacy
