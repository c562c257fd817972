"""Losses that must coincide, and invariances that must hold."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.losses.conditional import conditional_alignment_uniformity
from fedcl.losses.eps_sup_con import eps_sup_con, eps_sup_info_nce
from fedcl.losses.info_nce import eps_info_nce, info_nce
from fedcl.losses.l_exp import l_exp
from fedcl.losses.l_thr import l_thr
from fedcl.losses.pairs import Pairs
from fedcl.losses.soft_targets import euclidean, soft_sup_con, x_clr
from fedcl.losses.sup_con import sup_con
from fedcl.losses.uniformity import decoupled_uniformity
from fedcl.losses.yaware import y_aware
from tests.losses.made import CLASSES, ages, build, classes, embeddings, gaussian

seeds = st.integers(0, 2**31)
CONTINUOUS = {
    "l_exp": l_exp,
    "l_thr": l_thr,
    "y_aware": y_aware,
    "info_nce": info_nce,
    "eps_info_nce": lambda p: eps_info_nce(p, epsilon=0.5),
    "x_clr": lambda p: x_clr(p, label_temperature=0.3),
    "soft_sup_con": lambda p: soft_sup_con(p, label_temperature=0.3),
    "euclidean": lambda p: euclidean(p, label_temperature=0.7),
}
OF_CLASSES = {
    "sup_con": sup_con,
    "eps_sup_info_nce": lambda p: eps_sup_info_nce(p, epsilon=0.5),
    "eps_sup_con": lambda p: eps_sup_con(p, epsilon=0.5),
}
ALL = {**CONTINUOUS, **OF_CLASSES}


def far_apart(participants):
    return 1e4 * torch.arange(participants, dtype=torch.float64)


@given(seed=seeds, participants=st.integers(2, 6))
def test_identity_weights_make_y_aware_simclr(seed, participants):
    z = embeddings(torch.Generator().manual_seed(seed), participants)
    pairs = build(z, far_apart(participants))
    torch.testing.assert_close(y_aware(pairs).value, info_nce(pairs).value)


@given(seed=seeds, participants=st.integers(2, 6))
def test_info_nce_is_the_cross_entropy_of_the_other_view(seed, participants):
    z = embeddings(torch.Generator().manual_seed(seed), participants)
    pairs = build(z, far_apart(participants))
    logits = pairs.similarity.masked_fill(~pairs.allowed, -torch.inf)
    target = torch.arange(2 * participants) ^ 1
    expected = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(info_nce(pairs).value, expected)


@given(seed=seeds)
def test_without_a_margin_the_eps_losses_are_the_plain_ones(seed):
    generator = torch.Generator().manual_seed(seed)
    pairs = build(embeddings(generator), classes(generator), kernel=CLASSES)
    torch.testing.assert_close(eps_info_nce(pairs, epsilon=0.0).value, info_nce(pairs).value)
    torch.testing.assert_close(eps_sup_con(pairs, epsilon=0.0).value, sup_con(pairs).value)


@given(seed=seeds)
def test_an_infinite_margin_decouples(seed):
    pairs = build(embeddings(torch.Generator().manual_seed(seed)), far_apart(7))
    decoupled = eps_info_nce(pairs, epsilon=math.inf).value
    torch.testing.assert_close(decoupled, eps_info_nce(pairs, epsilon=60.0).value)
    for i in (0, 9):
        rest = [t for t in range(14) if t not in (i, i ^ 1)]
        expected = pairs.similarity[i, rest].logsumexp(0) - pairs.similarity[i, i ^ 1]
        torch.testing.assert_close(decoupled[i], expected)
    supervised = eps_sup_info_nce(pairs, epsilon=math.inf).value
    torch.testing.assert_close(supervised, decoupled)


@given(seed=seeds)
def test_with_classes_of_one_l_thr_and_eps_sup_info_nce_and_l_exp_agree_where_they_must(seed):
    # One-hot positiveness: a pair's only further candidates are the negatives, so L_thr is SupCon
    # without positives in the denominator: the decoupled eps-SupInfoNCE, averaged over positives.
    generator = torch.Generator().manual_seed(seed)
    pairs = build(embeddings(generator), torch.tensor([0.0, 1, 0, 2, 1, 1, 0]), kernel=CLASSES)
    positives = pairs.positives().sum(dim=1)
    decoupled = eps_sup_info_nce(pairs, epsilon=math.inf).value / positives
    torch.testing.assert_close(l_thr(pairs).value, decoupled)


@given(seed=seeds)
def test_l_exp_with_weights_zero_and_one_counts_other_positives_as_one_each(seed):
    # w in {0, 1}: a positive contributes e^0 to the denominators of the others, a negative e^s.
    generator = torch.Generator().manual_seed(seed)
    y = torch.tensor([0.0, 1, 0, 2, 1, 1, 0])
    pairs = build(embeddings(generator), y, kernel=CLASSES)
    positives, s = pairs.positives(), pairs.similarity
    found = l_exp(pairs).value
    for i in range(14):
        own = positives[i].nonzero().flatten()
        negatives = s[i, (pairs.allowed & ~positives)[i]].exp().sum()
        expected = ((negatives + len(own) - 1).log() - s[i, own]).mean()
        torch.testing.assert_close(found[i], expected)


@given(seed=seeds)
def test_soft_sup_con_with_classes_is_sup_con_and_so_is_a_cold_x_clr(seed):
    generator = torch.Generator().manual_seed(seed)
    pairs = build(embeddings(generator), classes(generator), kernel=CLASSES)
    expected = sup_con(pairs).value
    for temperature in (0.05, 1.0, 10.0):
        found = soft_sup_con(pairs, label_temperature=temperature)
        torch.testing.assert_close(found.value, expected)
    torch.testing.assert_close(x_clr(pairs, label_temperature=0.01).value, expected)


@given(seed=seeds, temperature=st.sampled_from([0.1, 0.5]))
def test_euclidean_weighting_of_unit_vectors_is_y_aware_at_half_the_temperature(seed, temperature):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator), ages(generator)
    pairs = build(z, y, temperature, gaussian(30.0), metric="euclidean")
    expected = y_aware(build(z, y, temperature / 2, gaussian(30.0))).value
    torch.testing.assert_close(euclidean(pairs, label_temperature=1.0).value, expected)


@given(seed=seeds, views=st.integers(1, 3))
def test_a_prior_that_knows_nothing_changes_nothing(seed, views):
    z = embeddings(torch.Generator().manual_seed(seed), 6, views)
    without = decoupled_uniformity(z).value
    identity = torch.eye(6, dtype=z.dtype)
    torch.testing.assert_close(decoupled_uniformity(z, identity, ridge=1e-12).value, without)


@given(seed=seeds)
def test_a_prior_that_knows_two_participants_to_be_one_pulls_their_centroids_together(seed):
    z = embeddings(torch.Generator().manual_seed(seed), 4, 1)
    merged = z.clone()
    merged[:2] = z[:2].mean(dim=0)
    kernel = torch.eye(4, dtype=z.dtype)
    kernel[0, 1] = kernel[1, 0] = 1
    found = decoupled_uniformity(z, kernel, ridge=1e-9).value
    torch.testing.assert_close(found, decoupled_uniformity(merged).value, rtol=1e-5, atol=1e-6)


# --- invariances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@given(seed=seeds)
def test_the_order_of_participants_and_views_does_not_matter(name, seed):
    generator = torch.Generator().manual_seed(seed)
    kernel = CLASSES if name in OF_CLASSES else gaussian(5.0)
    z = embeddings(generator)
    y = classes(generator) if name in OF_CLASSES else ages(generator)
    order = torch.randperm(7, generator=generator)
    value = ALL[name](build(z, y, kernel=kernel)).value.reshape(7, 2)
    shuffled = ALL[name](build(z[order].flip(1), y[order], kernel=kernel)).value
    torch.testing.assert_close(shuffled.reshape(7, 2).flip(1), value[order])


@given(seed=seeds)
def test_batch_statistics_do_not_depend_on_the_order_either(seed):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator), ages(generator)
    order = torch.randperm(7, generator=generator)
    kernel = build(z, y).positiveness[::2, ::2]
    shuffled = decoupled_uniformity(z[order].flip(1), kernel[order][:, order]).value
    torch.testing.assert_close(shuffled, decoupled_uniformity(z, kernel).value)
    before = conditional_alignment_uniformity(build(z, y, 1.0, metric="euclidean"))
    after = conditional_alignment_uniformity(build(z[order], y[order], 1.0, metric="euclidean"))
    for name, term in before.items():
        torch.testing.assert_close(after[name].value, term.value)


@pytest.mark.parametrize("name", ["l_exp", "l_thr", "y_aware", "x_clr", "soft_sup_con"])
@given(seed=seeds)
def test_a_candidate_that_stands_for_two_equals_two_identical_ones(name, seed):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator, 5, 1), ages(generator, 5)
    twice = build(torch.cat([z, z[4:]]), torch.cat([y, y[4:]]))
    pairs = build(z, y)
    multiplicity = torch.tensor([1.0, 1, 1, 1, 2], dtype=z.dtype).log()
    counted = Pairs(
        pairs.similarity, pairs.positiveness, pairs.allowed, pairs.participants, multiplicity
    )
    expected = ALL[name](twice).value[:4]
    torch.testing.assert_close(ALL[name](counted).value[:4], expected)


@pytest.mark.parametrize("name", ["sup_con", "eps_sup_info_nce", "eps_sup_con"])
@given(seed=seeds)
def test_so_does_a_node_of_a_class(name, seed):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator, 5, 1), torch.tensor([0.0, 1, 0, 1, 0])
    twice = build(torch.cat([z, z[4:]]), torch.cat([y, y[4:]]), kernel=CLASSES)
    pairs = build(z, y, kernel=CLASSES)
    multiplicity = torch.tensor([1.0, 1, 1, 1, 2], dtype=z.dtype).log()
    counted = Pairs(
        pairs.similarity, pairs.positiveness, pairs.allowed, pairs.participants, multiplicity
    )
    torch.testing.assert_close(ALL[name](counted).value[:4], ALL[name](twice).value[:4])


@given(seed=seeds)
def test_a_batch_seen_twice_keeps_the_gradients_direction_of_attraction(seed):
    # Duplicating every participant leaves the attraction of y-aware: only log 2 joins the sums.
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator, 5, 1), ages(generator, 5)
    pairs = build(z, y)
    everywhere = Pairs(
        pairs.similarity,
        pairs.positiveness,
        pairs.allowed,
        pairs.participants,
        torch.full((5,), math.log(2), dtype=z.dtype),
    )
    torch.testing.assert_close(y_aware(everywhere).value, y_aware(pairs).value + math.log(2))
