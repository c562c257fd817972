"""What a loss does where it has nothing to say, and at extreme values."""

import math

import pytest
import torch

from fedcl.debiasing.bias_pairs import bias_pairs
from fedcl.debiasing.coral import coral
from fedcl.debiasing.end import end
from fedcl.debiasing.fairkl import fairkl, fairkl_regression
from fedcl.debiasing.feature_moments import feature_moments
from fedcl.kernels.positiveness import within_batch
from fedcl.losses.conditional import conditional_alignment_uniformity
from fedcl.losses.info_nce import info_nce
from fedcl.losses.l_exp import l_exp
from fedcl.losses.l_thr import l_thr, l_thr_authors_variant
from fedcl.losses.log_sums import log_sum, log_sum_without_each
from fedcl.losses.pairs import pairs_of_views
from fedcl.losses.uniformity import decoupled_uniformity, decoupled_uniformity_authors_variant
from tests.losses.made import CLASSES, ages, build, embeddings, gaussian, gradient
from tests.losses.per_anchor import PER_ANCHOR

ALLOWED = torch.ones(8, 8, dtype=torch.bool)
LABELS = {
    "ages": torch.tensor([31.0, 55, 31, 70, 22, 30.5, 56]),
    "all equal": torch.full((7,), 33.0),
    "all far apart": 1e4 * torch.arange(7.0),
    "a class of one": torch.tensor([0.0, 0, 0, 0, 0, 0, 1]),
}


def finite(loss, z, y, temperature, kernel):
    leaf = z.clone().requires_grad_()
    found = loss(build(leaf, y.to(torch.float32), temperature, kernel))
    assert found.value.isfinite().all()
    assert (found.value[~found.counted] == 0).all()
    assert gradient(found.value, leaf).isfinite().all()
    return found


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", PER_ANCHOR)
@pytest.mark.parametrize("temperature", [0.01, 0.05, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_temperatures_labels_and_low_precision_stay_finite(
    generator, name, labels, temperature, dtype
):
    z = embeddings(generator).to(dtype)
    for kernel in (gaussian(5.0), CLASSES):
        found = finite(PER_ANCHOR[name], z, LABELS[labels], temperature, kernel)
        assert found.value.dtype == torch.float32


@pytest.mark.parametrize("name", PER_ANCHOR)
@pytest.mark.parametrize("temperature", [0.01, 1.0])
def test_identical_and_opposite_embeddings_stay_finite(name, temperature):
    same = torch.ones(4, 2, 3) / 3**0.5
    opposite = same * torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None]
    for z in (same, opposite):
        finite(PER_ANCHOR[name], z, LABELS["ages"][:4], temperature, gaussian(5.0))


@pytest.mark.parametrize("name", PER_ANCHOR)
@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("participants", [1, 2])
def test_the_smallest_batches_are_defined(generator, name, views, participants):
    z = embeddings(generator, participants, views).float()
    for y in (torch.tensor([30.0, 33.0]), torch.tensor([30.0, 30.0]), torch.tensor([0.0, 9e3])):
        finite(PER_ANCHOR[name], z, y[:participants], 0.1, gaussian(5.0))


@pytest.mark.parametrize("name", ["y_aware", "l_exp", "l_thr", "sup_con", "eps_sup_con"])
def test_an_anchor_without_positives_is_not_counted(generator, name):
    z = embeddings(generator, 3, 1)
    pairs = build(z, torch.tensor([1.0, 1.0, 5.0], dtype=z.dtype), kernel=CLASSES)
    found = PER_ANCHOR[name](pairs)
    assert found.counted.tolist() == [True, True, False]
    assert not info_nce(pairs).counted.any()


def test_all_ages_equal_leaves_l_thr_nothing_to_repel_and_l_exp_only_numbers(generator):
    z = embeddings(generator)
    y = torch.full((7,), 33.0, dtype=z.dtype)
    assert not l_thr(build(z, y)).counted.any()
    assert not l_thr_authors_variant(build(z, y), temperature=0.1).counted.any()
    # Every exponent s (1 - w) is 0: the denominators are log(12), whatever the embeddings are.
    found = l_exp(build(z, y)).value
    s = build(z, y).similarity
    mean = (s.sum(dim=1) - s.diagonal()) / 13
    torch.testing.assert_close(found, math.log(12) - mean)


def test_two_participants_with_one_view_have_an_empty_denominator_that_is_skipped(generator):
    pairs = build(embeddings(generator, 2, 1), ages(generator, 2))
    found = l_exp(pairs)
    assert not found.counted.any()
    assert found.value.tolist() == [0, 0]


def test_float32_follows_float64_where_one_candidate_dominates():
    # Subtracting the dominating exponential from the sum would lose every digit of the rest.
    similarity = torch.tensor([[0.0, 60.0, -40.0, -41.0], [1.0, 2.0, 3.0, 4.0], [0, 200, 1, 2]])
    for k in range(4):
        only = torch.eye(4)[k].expand(3, 4)
        found = log_sum_without_each(similarity, ALLOWED[:3, :4], only).double()
        rest = [t for t in range(4) if t != k]
        exact = similarity.double()[:, rest].logsumexp(1)
        torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("lost", [1.0, 0.3, 0.0])
@pytest.mark.parametrize("multiplicity", [None, [1.0, 2.0, 1.0, 7.5]])
@pytest.mark.parametrize("damped", [False, True])
def test_gradients_of_the_log_sums_are_those_of_finite_differences(
    generator, lost, multiplicity, damped
):
    x = torch.randn(3, 4, generator=generator, dtype=torch.float64) * 3
    w = torch.rand(3, 4, generator=generator, dtype=torch.float64)
    w[1] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    m = torch.ones(4) if multiplicity is None else torch.tensor(multiplicity)
    x.requires_grad_()

    def ours(leaf):
        return log_sum_without_each(
            leaf,
            ALLOWED[:3, :4],
            w,
            lost=lost,
            damped=damped,
            log_multiplicity=None if multiplicity is None else m.double().log(),
        )

    exponential = (x * (1 - w) if damped else x).exp()
    left = (m * exponential).sum(dim=1, keepdim=True) - lost * exponential
    torch.testing.assert_close(ours(x), (m * w * left.log()).sum(dim=1))
    assert torch.autograd.gradcheck(ours, (x,))
    assert torch.autograd.gradcheck(lambda leaf: log_sum(leaf, w > 0.3), (x,))


def test_an_empty_row_has_a_sum_of_minus_infinity_and_no_gradient():
    x = torch.tensor([[3.0, 4.0], [0.0, 1.0]], requires_grad=True)
    allowed = torch.tensor([[False, False], [True, False]])
    assert log_sum(x, allowed).tolist() == [-torch.inf, 0]
    single = log_sum_without_each(x, allowed, allowed.float())
    assert single.tolist() == [0, -torch.inf]  # nothing to weigh; one that leaves nothing
    for values in (log_sum(x, allowed), single):
        finite_ones = torch.where(values.isfinite(), values, 0.0)
        gradients = torch.autograd.grad(finite_ones.sum(), x)[0]
        assert gradients[0].tolist() == [0, 0]
        assert gradients.isfinite().all()


@pytest.mark.parametrize("name", PER_ANCHOR)
def test_under_autocast_the_sums_are_float32(generator, name):
    z, y = embeddings(generator).float(), ages(generator).float()
    plain = PER_ANCHOR[name](build(z, y, 0.05)).value
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = PER_ANCHOR[name](build(z, y, 0.05)).value
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain)


# --- batch statistics and debiasing ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("participants", [1, 2, 7])
def test_uniformity_of_any_batch_is_finite(generator, participants, dtype):
    z = embeddings(generator, participants).to(dtype).requires_grad_()
    kernel = torch.ones(participants, participants)
    for found in (
        decoupled_uniformity(z),
        decoupled_uniformity(z, kernel),
        decoupled_uniformity_authors_variant(z, kernel),
    ):
        assert found.counted.item() == (participants > 1)
        assert found.value.isfinite()
        assert torch.autograd.grad(found.value, z)[0].isfinite().all()


def test_with_equal_ages_the_conditional_loss_has_no_uniformity(generator):
    z = embeddings(generator).requires_grad_()
    pairs = build(z, torch.full((7,), 33.0, dtype=z.dtype), 1.0, metric="euclidean")
    terms = conditional_alignment_uniformity(pairs)
    assert [t.counted.item() for t in terms.values()] == [1, 0]
    assert terms["uniformity"].value == 0
    value = terms["alignment"].value + terms["uniformity"].value
    assert torch.autograd.grad(value, z)[0].isfinite().all()


@pytest.mark.parametrize(
    ("sites", "classes_of", "counted"),
    [
        ([0, 0, 0, 0], [0, 0, 1, 1], {"positive": 0, "negative": 0}),
        ([0, 1, 2, 3], [0, 0, 1, 1], {"positive": 0, "negative": 0}),
        ([0, 0, 1, 1], [0, 1, 2, 3], {"positive": 0, "negative": 1}),
        ([0, 0, 1, 1], [0, 0, 0, 0], {"positive": 1, "negative": 0}),
        ([0, 0, math.nan, math.nan], [0, 0, 0, 0], {"positive": 0, "negative": 0}),
    ],
)
def test_fairkl_counts_the_sides_it_can_compare(generator, sites, classes_of, counted):
    z = embeddings(generator, 4).requires_grad_()
    y = torch.tensor(classes_of, dtype=z.dtype)
    pairs = bias_pairs(z, within_batch({"age": y}, CLASSES), torch.tensor(sites, dtype=z.dtype))
    for form in ("kl", "squared"):
        terms = fairkl(pairs.groups, side="both", form=form)
        assert {name: int(term.counted) for name, term in terms.items()} == counted
        value = sum(term.value for term in terms.values())
        assert value.isfinite()
        assert torch.autograd.grad(value, z, retain_graph=True)[0].isfinite().all()
        per_anchor = fairkl_regression(pairs.groups, side="both", form=form)
        for name, term in per_anchor.items():
            assert bool(term.counted.any()) == bool(counted[name])
            assert term.value.isfinite().all()
            gradients = torch.autograd.grad(term.value.sum(), z, retain_graph=True)
            assert gradients[0].isfinite().all()


def test_one_site_only_leaves_nothing_to_debias(generator):
    z = embeddings(generator, 5)
    bias = torch.zeros(5, dtype=z.dtype)
    pairs = bias_pairs(z, within_batch({"age": ages(generator, 5)}, gaussian(5.0)), bias)
    assert end(pairs, side="both")["entangle"].counted == 0
    assert end(pairs, side="both")["decorrelate"].counted == 1
    assert coral(z[:, 0], bias)["covariance"].counted == 0
    assert not any(t.counted.any() for t in feature_moments(z[:, 0], bias).values())


def test_similarities_without_spread_are_floored_not_infinite():
    z = torch.ones(6, 1, 3, requires_grad=True)
    bias = torch.tensor([0.0, 1, 0, 1, 0, 1])
    pairs = bias_pairs(z, torch.ones(6, 6), bias)
    term = fairkl(pairs.groups, side="positive", form="kl")["positive"]
    assert term.counted == 1
    assert term.value.item() == pytest.approx(0, abs=1e-6)
    assert torch.autograd.grad(term.value, z)[0].isfinite().all()


def test_a_temperature_of_zero_is_refused(generator):
    with pytest.raises(ValueError, match="temperature"):
        build(embeddings(generator), ages(generator), temperature=0.0)


def test_positiveness_of_another_batch_is_refused(generator):
    z, y = embeddings(generator), ages(generator, 6)
    with pytest.raises(ValueError, match="positiveness must be"):
        pairs_of_views(z, within_batch({"age": y}, gaussian(5.0)), temperature=0.1)
