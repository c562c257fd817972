"""Aggregation rules against the written-out formula and against Flower's own strategies."""

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.app.metadata import Metadata
from flwr.serverapp import strategy as flower
from hypothesis import given
from hypothesis import strategies as st

from fedcl.config.federation import FedAdam, FedAvgM, site_weight
from fedcl.server import rules

SIZES = (5, 8, 13)


def states(rng, count=3):
    return [
        {
            "a.weight": rng.normal(size=(3, 4)).astype(np.float32),
            "b": rng.normal(size=()).astype(np.float32),
        }
        for _ in range(count)
    ]


def through_flower(chosen, current, updates, sizes):
    """What Flower's strategy makes of the same replies."""
    chosen.current_arrays = (
        dict(current)
        if isinstance(chosen, flower.FedAdam)
        else ArrayRecord({k: _array(v) for k, v in current.items()})
    )
    replies = []
    for state, size in zip(updates, sizes, strict=True):
        content = RecordDict(
            {
                "arrays": ArrayRecord({k: _array(v) for k, v in state.items()}),
                "metrics": MetricRecord({"num-examples": size}),
            }
        )
        replies.append(_reply(content))
    arrays, _ = chosen.aggregate_train(1, replies)
    return {name: array.numpy() for name, array in arrays.items()}


def _array(value):
    return Array(np.asarray(value))


def _reply(content):
    metadata = Metadata(1, "m", 2, 1, "q", "1", 0.0, 3600.0, "train")
    return Message(content=content, metadata=metadata)


def assert_same(ours, theirs, rtol=1e-5):
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=rtol, atol=1e-6)


def test_fedavg_equals_flowers_on_unequal_sites(rng):
    current, *updates = states(rng, 4)
    ours = rules.weighted_mean(zip(updates, SIZES, strict=True))
    assert_same(ours, through_flower(flower.FedAvg(), current, updates, SIZES))


def test_fedavgm_equals_flowers_over_two_rounds(rng):
    current, *updates = states(rng, 4)
    rule = FedAvgM(kind="fedavgm", learning_rate=0.7, momentum=0.9)
    theirs = flower.FedAvgM(server_learning_rate=0.7, server_momentum=0.9)
    memory, now = {}, current
    theirs_now = current
    for _ in range(2):
        mean = rules.weighted_mean(zip(updates, SIZES, strict=True))
        now, memory = rules.momentum_step(now, mean, memory, rule)
        theirs_now = through_flower(theirs, theirs_now, updates, SIZES)
    assert_same(now, theirs_now)


def test_fedadam_equals_flowers_up_to_the_bias_correction_flower_adds(rng):
    current, *updates = states(rng, 4)
    correction = np.sqrt(1 - 0.99**2) / (1 - 0.9**2)  # Flower 1.41: powers of round + 1
    rule = FedAdam(
        kind="fedadam", learning_rate=0.1 * correction, beta_1=0.9, beta_2=0.99, tau=1e-3
    )
    theirs = flower.FedAdam(eta=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3)
    mean = rules.weighted_mean(zip(updates, SIZES, strict=True))
    ours, _ = rules.adam_step(current, mean, {}, rule)
    assert_same(ours, through_flower(theirs, current, updates, SIZES), rtol=1e-4)


def test_fedadam_follows_the_papers_recursion_over_rounds(rng):
    rule = FedAdam(kind="fedadam", learning_rate=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3)
    (current,) = states(rng, 1)
    x = {name: value.astype(np.float64) for name, value in current.items()}
    m = {name: np.zeros_like(value) for name, value in x.items()}
    v = {name: np.zeros_like(value) for name, value in x.items()}
    memory = {}
    for _ in range(3):
        (mean,) = states(rng, 1)
        current, memory = rules.adam_step(current, mean, memory, rule)
        for name in x:
            d = mean[name] - x[name]
            m[name] = 0.9 * m[name] + 0.1 * d
            v[name] = 0.99 * v[name] + 0.01 * d**2
            x[name] = x[name] + 0.1 * m[name] / (np.sqrt(v[name]) + 1e-3)
    assert_same(current, x)


def test_median_and_trimmed_mean_equal_flowers(rng):
    current, *updates = states(rng, 6)
    pairs = [(state, 1.0) for state in updates]
    sizes = [1] * 5
    assert_same(rules.median(pairs), through_flower(flower.FedMedian(), current, updates, sizes))
    assert_same(
        rules.trimmed_mean(pairs, 0.2),
        through_flower(flower.FedTrimmedAvg(beta=0.2), current, updates, sizes),
    )


def test_median_of_an_even_number_is_the_mean_of_the_two_middle_values():
    pairs = [({"x": np.float32([value])}, 1.0) for value in (1, 100, 2, 4)]
    assert rules.median(pairs)["x"] == 3


def test_trimmed_mean_ignores_one_absurd_site():
    pairs = [({"x": np.float32([value])}, 1.0) for value in (1, 2, 3, 4, 1e30)]
    assert rules.trimmed_mean(pairs, 0.2)["x"] == 3


@given(seed=st.integers(0, 1000), count=st.integers(1, 6))
def test_the_mean_lies_between_the_sites_and_equal_sites_change_nothing(seed, count):
    rng = np.random.default_rng(seed)
    updates = states(rng, count)
    weights = rng.uniform(0.1, 900, count)
    mean = rules.weighted_mean(zip(updates, weights, strict=True))
    stacked = np.stack([u["a.weight"] for u in updates])
    assert (mean["a.weight"] <= stacked.max(0) + 1e-6).all()
    assert (mean["a.weight"] >= stacked.min(0) - 1e-6).all()
    same = rules.weighted_mean((updates[0], w) for w in weights)
    np.testing.assert_array_equal(same["a.weight"], updates[0]["a.weight"])


def test_the_mean_streams_one_update_at_a_time():
    alive = []

    def stream():
        for value in range(4):
            alive.append(value)
            yield {"x": np.full(3, value, np.float32)}, 1.0
            alive.pop()
            assert not alive

    assert rules.weighted_mean(stream())["x"].tolist() == [1.5, 1.5, 1.5]


def test_inputs_are_read_only_and_stay_unchanged(rng):
    updates = states(rng, 2)
    for state in updates:
        state["a.weight"].flags.writeable = False
    before = updates[0]["a.weight"].copy()
    rules.weighted_mean((state, 2.0) for state in updates)
    np.testing.assert_array_equal(updates[0]["a.weight"], before)


@pytest.mark.parametrize(
    ("weighting", "expected"), [("participants", 866), ("uniform", 1), ("sqrt", 866**0.5)]
)
def test_site_weights(weighting, expected):
    assert site_weight(866, weighting) == pytest.approx(expected)


def test_torch_threads_do_not_change_the_mean(rng):
    updates = states(rng, 5)
    before = torch.get_num_threads()
    try:
        means = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            means.append(rules.weighted_mean((state, 3.0) for state in updates)["a.weight"])
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*means)
