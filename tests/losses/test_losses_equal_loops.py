"""Every loss equals its formula written as Python loops, in value and gradient."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.kernels.positiveness import within_batch
from fedcl.losses.conditional import conditional_alignment_uniformity
from fedcl.losses.eps_sup_con import (
    eps_sup_con,
    eps_sup_con_authors_variant,
    eps_sup_info_nce,
    eps_sup_info_nce_authors_variant,
)
from fedcl.losses.info_nce import eps_info_nce, info_nce
from fedcl.losses.l_exp import l_exp, l_exp_authors_variant
from fedcl.losses.l_thr import l_thr, l_thr_authors_variant
from fedcl.losses.soft_targets import euclidean, soft_sup_con, x_clr
from fedcl.losses.sup_con import sup_con
from fedcl.losses.uniformity import decoupled_uniformity, decoupled_uniformity_authors_variant
from fedcl.losses.yaware import y_aware, y_aware_authors_variant
from tests import reference
from tests.losses.made import CLASSES, ages, assert_equal, build, classes, embeddings, gaussian

T, EPSILON, TAU = 0.3, 0.7, 0.4


def owner(pairs):
    return [i // 2 for i in range(len(pairs.similarity))]


CONTINUOUS = {
    "l_exp": (l_exp, lambda p: reference.l_exp(p.similarity, p.positiveness)),
    "l_thr": (l_thr, lambda p: reference.l_thr(p.similarity, p.positiveness)),
    "y_aware": (y_aware, lambda p: reference.y_aware(p.similarity, p.positiveness)),
    "info_nce": (info_nce, lambda p: reference.info_nce(p.similarity, owner(p))),
    "eps_info_nce": (
        lambda p: eps_info_nce(p, epsilon=EPSILON),
        lambda p: reference.eps_info_nce(p.similarity, owner(p), EPSILON),
    ),
    "x_clr": (
        lambda p: x_clr(p, label_temperature=TAU),
        lambda p: reference.soft_targets(p.similarity, p.positiveness / TAU),
    ),
    "soft_sup_con": (
        lambda p: soft_sup_con(p, label_temperature=TAU),
        lambda p: reference.soft_targets(
            p.similarity, (p.positiveness / TAU).masked_fill(p.positiveness == 0, -math.inf)
        ),
    ),
    "l_exp_authors_variant": (
        lambda p: l_exp_authors_variant(p, temperature=T),
        lambda p: reference.l_exp_authors_variant(p.similarity, p.positiveness, T),
    ),
    "l_thr_authors_variant": (
        lambda p: l_thr_authors_variant(p, temperature=T),
        # The authors' matrix has everybody's positiveness 1 with themselves.
        lambda p: reference.l_thr_authors_variant(
            p.similarity, p.positiveness + torch.eye(len(p.similarity)), T
        ),
    ),
    "y_aware_authors_variant": (
        y_aware_authors_variant,
        lambda p: reference.y_aware_authors_variant(p.similarity, p.positiveness),
    ),
}
OF_CLASSES = {
    "sup_con": (sup_con, lambda p: reference.sup_con(p.similarity, p.positiveness)),
    "eps_sup_info_nce": (
        lambda p: eps_sup_info_nce(p, epsilon=EPSILON),
        lambda p: reference.eps_sup_info_nce(p.similarity, p.positiveness, EPSILON),
    ),
    "eps_sup_con": (
        lambda p: eps_sup_con(p, epsilon=EPSILON),
        lambda p: reference.eps_sup_con(p.similarity, p.positiveness, EPSILON),
    ),
    "eps_sup_info_nce_authors_variant": (
        lambda p: eps_sup_info_nce_authors_variant(p, epsilon=EPSILON, temperature=T),
        lambda p: reference.eps_authors_variant(
            p.similarity, p.positiveness, EPSILON, T, together=False
        ),
    ),
    "eps_sup_con_authors_variant": (
        lambda p: eps_sup_con_authors_variant(p, epsilon=EPSILON, temperature=T),
        lambda p: reference.eps_authors_variant(
            p.similarity, p.positiveness, EPSILON, T, together=True
        ),
    ),
}

batches = {
    "seed": st.integers(0, 2**31),
    "participants": st.integers(2, 6),
    "temperature": st.sampled_from([0.05, 0.1, 0.5, 1.0]),
}


@pytest.mark.parametrize("name", CONTINUOUS)
@given(**batches, sigma=st.sampled_from([0.5, 2.0, 5.0, 30.0]))
def test_a_loss_of_continuous_labels(name, seed, participants, temperature, sigma):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator, participants), ages(generator, participants)
    ours, slow = CONTINUOUS[name]
    made = lambda leaf: build(leaf, y, temperature, gaussian(sigma))  # noqa: E731
    assert_equal(lambda leaf: ours(made(leaf)).value, lambda leaf: slow(made(leaf)), z)


@pytest.mark.parametrize("name", OF_CLASSES)
@given(**batches)
def test_a_loss_of_classes(name, seed, participants, temperature):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator, participants), classes(generator, participants)
    ours, slow = OF_CLASSES[name]
    made = lambda leaf: build(leaf, y, temperature, CLASSES)  # noqa: E731
    assert_equal(lambda leaf: ours(made(leaf)).value, lambda leaf: slow(made(leaf)), z)


@given(**batches, tau=st.sampled_from([0.5, 1.0, 3.0]))
def test_euclidean_weighting_is_written_with_distances_on_both_sides(
    seed, participants, temperature, tau
):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator, participants), ages(generator, participants)
    label = -((y[:, None] - y[None, :]) ** 2) / (2 * 30.0**2) / tau
    label = label.repeat_interleave(2, 0).repeat_interleave(2, 1)

    def ours(leaf):
        pairs = build(leaf, y, temperature, gaussian(30.0), metric="euclidean")
        return euclidean(pairs, label_temperature=tau).value

    def slow(leaf):
        flat = leaf.reshape(-1, leaf.shape[-1])
        distance = ((flat[:, None] - flat[None, :]) ** 2).sum(-1)
        return reference.soft_targets(-distance / temperature, label)

    assert_equal(ours, slow, z)


@given(**batches, views=st.integers(1, 3))
def test_decoupled_uniformity(seed, participants, temperature, views):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator, participants, views), ages(generator, participants)
    kernel = within_batch({"age": y}, gaussian(5.0)).double()
    assert_equal(lambda leaf: decoupled_uniformity(leaf).value, reference.decoupled_uniformity, z)
    assert_equal(
        lambda leaf: decoupled_uniformity(leaf, kernel, ridge=temperature).value,
        lambda leaf: reference.decoupled_uniformity_with_prior(
            leaf, kernel, temperature * participants**0.5
        ),
        z,
    )


@given(**batches)
def test_decoupled_uniformity_as_the_authors_compute_it(seed, participants, temperature):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator, participants), ages(generator, participants)
    kernel = within_batch({"age": y}, gaussian(5.0)).double()
    assert_equal(
        lambda leaf: decoupled_uniformity_authors_variant(leaf, kernel).value,
        lambda leaf: reference.decoupled_uniformity_with_prior(leaf, kernel, 0.01, scale=2.0),
        z,
    )
    assert_equal(
        lambda leaf: decoupled_uniformity_authors_variant(leaf).value,
        lambda leaf: reference.decoupled_uniformity(leaf, scale=2.0),
        z,
    )


@given(**batches)
def test_conditional_alignment_and_uniformity(seed, participants, temperature):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator, participants), ages(generator, participants)

    def ours(leaf):
        pairs = build(leaf, y, 1.0, metric="euclidean")
        terms = conditional_alignment_uniformity(pairs)
        return torch.stack([terms["alignment"].value, terms["uniformity"].value])

    def slow(leaf):
        weights = build(leaf, y, 1.0).positiveness
        return torch.stack(reference.conditional(leaf.reshape(-1, leaf.shape[-1]), weights))

    assert_equal(ours, slow, z)
