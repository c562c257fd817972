"""Each loss against its formula written as loops, its special cases, and extreme inputs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.config.objective import Kernel
from fedcl.losses.info_nce import info_nce
from fedcl.losses.kernels import positiveness
from fedcl.losses.l_exp import l_exp, logsumexp_without_each
from fedcl.losses.pairs import Pairs, pairs_of_views
from fedcl.losses.yaware import y_aware
from tests import reference

SIGMA = Kernel(kind="gaussian", bandwidth_years=5.0)


def embeddings(generator, participants=7, views=2, dim=5, dtype=torch.float64):
    z = torch.randn(participants, views, dim, generator=generator, dtype=dtype)
    return torch.nn.functional.normalize(z, dim=-1)


def ages(generator, participants=7):
    return 20 + 40 * torch.rand(participants, generator=generator, dtype=torch.float64)


def build(z, y, temperature=0.1, kernel=SIGMA):
    return pairs_of_views(z, positiveness(y, y, kernel), temperature=temperature)


def same_participant(pairs, views=2):
    n = len(pairs.similarity) // views
    eye = torch.eye(n, dtype=pairs.similarity.dtype)
    return eye.repeat_interleave(views, 0).repeat_interleave(views, 1)


def values_and_gradients(loss, z):
    leaf = z.clone().requires_grad_()
    per_anchor = loss(leaf)
    # An uneven weighting of the anchors, so that a permuted gradient cannot pass.
    weights = torch.arange(1.0, len(per_anchor) + 1, dtype=z.dtype)
    (gradient,) = torch.autograd.grad((per_anchor * weights).sum(), leaf)
    return per_anchor.detach(), gradient


CASES = {
    "l_exp": (l_exp, lambda p: reference.l_exp(p.similarity, p.positiveness)),
    "y_aware": (y_aware, lambda p: reference.y_aware(p.similarity, p.positiveness)),
    "info_nce": (
        lambda p: info_nce(p, same_participant(p)),
        lambda p: reference.info_nce(p.similarity, [i // 2 for i in range(len(p.similarity))]),
    ),
}


@pytest.mark.parametrize("name", CASES)
@given(
    seed=st.integers(0, 2**31),
    participants=st.integers(2, 6),
    temperature=st.sampled_from([0.05, 0.1, 0.5, 1.0]),
    sigma=st.sampled_from([0.5, 2.0, 5.0, 30.0]),
)
def test_value_and_gradient_equal_the_written_out_formula(
    name, seed, participants, temperature, sigma
):
    generator = torch.Generator().manual_seed(seed)
    z, y = embeddings(generator, participants), ages(generator, participants)
    kernel = Kernel(kind="gaussian", bandwidth_years=sigma)
    ours, slow = CASES[name]
    value, gradient = values_and_gradients(
        lambda leaf: ours(build(leaf, y, temperature, kernel)), z
    )
    expected, expected_gradient = values_and_gradients(
        lambda leaf: slow(build(leaf, y, temperature, kernel)), z
    )
    torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-6, atol=1e-8)


def test_identity_weights_give_simclr(generator):
    pairs = build(embeddings(generator), torch.arange(7.0, dtype=torch.float64) * 1000)
    torch.testing.assert_close(y_aware(pairs), info_nce(pairs, same_participant(pairs)))


def test_info_nce_is_the_cross_entropy_of_the_other_view(generator):
    z = embeddings(generator)
    pairs = build(z, ages(generator))
    logits = pairs.similarity.masked_fill(~pairs.allowed, -torch.inf)
    target = torch.arange(14) ^ 1
    expected = torch.nn.functional.cross_entropy(logits, target, reduction="none")
    torch.testing.assert_close(info_nce(pairs, same_participant(pairs)), expected)


def test_l_exp_with_one_positive_and_zero_weights_is_a_decoupled_info_nce(generator):
    # w in {0, 1}: the positive's own similarity leaves the denominator and counts there as e^0.
    z = embeddings(generator, participants=3)
    pairs = build(z, torch.tensor([0.0, 1e3, 2e3], dtype=torch.float64))
    for i in range(6):
        k = i ^ 1
        rest = [t for t in range(6) if t not in (i, k)]
        expected = -(pairs.similarity[i, k] - pairs.similarity[i, rest].logsumexp(0))
        torch.testing.assert_close(l_exp(pairs)[i], expected)


@pytest.mark.parametrize("loss", [l_exp, y_aware])
def test_order_of_participants_and_views_does_not_matter(generator, loss):
    z, y = embeddings(generator), ages(generator)
    order = torch.randperm(7, generator=generator)
    shuffled = loss(build(z[order].flip(1), y[order])).reshape(7, 2).flip(1)
    torch.testing.assert_close(shuffled, loss(build(z, y)).reshape(7, 2)[order])


@pytest.mark.parametrize("loss", [l_exp, y_aware])
def test_all_ages_equal_is_finite(generator, loss):
    value, gradient = values_and_gradients(
        lambda leaf: loss(build(leaf, torch.full((7,), 33.0, dtype=torch.float64))),
        embeddings(generator),
    )
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", [l_exp, y_aware])
@pytest.mark.parametrize("temperature", [0.01, 0.05, 100.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_temperatures_and_low_precision_stay_finite(generator, loss, temperature, dtype):
    z = embeddings(generator).to(dtype)
    value, gradient = values_and_gradients(
        lambda leaf: loss(build(leaf, ages(generator).float(), temperature)), z
    )
    assert value.dtype == torch.float32
    assert value.isfinite().all()
    assert gradient.isfinite().all()


def test_float32_follows_float64_where_one_candidate_dominates(generator):
    # Subtracting the dominating exponential from the sum would lose every digit of the rest.
    similarity = torch.tensor([[0.0, 60.0, -40.0, -41.0], [1.0, 2.0, 3.0, 4.0]])
    exact = logsumexp_without_each(similarity.double())
    torch.testing.assert_close(
        logsumexp_without_each(similarity).double(), exact, rtol=1e-6, atol=0
    )
    for k in range(4):
        rest = [t for t in range(4) if t != k]
        torch.testing.assert_close(exact[:, k], similarity.double()[:, rest].logsumexp(1))


def test_two_participants_with_one_view_have_an_empty_denominator_that_is_skipped(generator):
    pairs = build(embeddings(generator, participants=2, views=1), ages(generator, 2))
    assert torch.equal(l_exp(pairs), torch.zeros(2, dtype=torch.float64))


def test_an_anchor_without_positives_gives_zero_and_is_counted(generator):
    pairs = build(
        embeddings(generator, participants=3, views=1),
        torch.tensor([1.0, 1.0, 5.0], dtype=torch.float64),
        kernel=Kernel(kind="discrete", bandwidth_years=None),
    )
    assert pairs.has_positive().tolist() == [1, 1, 0]
    for loss in (l_exp, y_aware):
        assert loss(pairs)[2] == 0
        assert loss(pairs).isfinite().all()


def test_a_candidate_counted_twice_equals_two_identical_candidates(generator):
    z, y = embeddings(generator, participants=4, views=1), ages(generator, 4)
    twice, ages_twice = torch.cat([z, z[3:]]), torch.cat([y, y[3:]])
    pairs, expanded = build(z, y), build(twice, ages_twice)
    counted = Pairs(
        pairs.similarity,
        pairs.positiveness,
        pairs.allowed,
        torch.tensor([1.0, 1.0, 1.0, 2.0], dtype=torch.float64).log(),
    )
    torch.testing.assert_close(y_aware(counted)[:3], y_aware(expanded)[:3])


def test_a_temperature_of_zero_is_refused(generator):
    with pytest.raises(ValueError, match="temperature"):
        build(embeddings(generator), ages(generator), temperature=0.0)


def test_positiveness_of_another_batch_is_refused(generator):
    z, y = embeddings(generator), ages(generator, 6)
    with pytest.raises(ValueError, match="positiveness must be"):
        pairs_of_views(z, positiveness(y, y, SIGMA), temperature=0.1)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (SIGMA, reference.gaussian(30, 37, 5)),
        (Kernel(kind="cauchy", bandwidth_years=5.0), 1 / (1 + 49 / 25)),
        (Kernel(kind="discrete", bandwidth_years=None), 0.0),
    ],
)
def test_kernels_follow_their_formula_and_are_one_at_equal_age(kernel, expected):
    y = torch.tensor([30.0, 37.0], dtype=torch.float64)
    w = positiveness(y, y, kernel)
    assert w[0, 1].item() == pytest.approx(expected)
    assert w.diagonal().tolist() == [1, 1]
