"""Kernels follow their formulas, are 1 for a participant and themselves, and combine."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedcl.config.kernels import (
    AnatomicalKernel,
    CauchyKernel,
    DiscreteKernel,
    GaussianKernel,
    MeanKernel,
    PrecomputedKernel,
    ProductKernel,
    RepresentationKernel,
    compared_by,
    is_binary,
)
from fedcl.kernels.anatomical import anatomical
from fedcl.kernels.positiveness import positiveness, within_batch
from tests import reference

AGE = GaussianKernel(kind="gaussian", covariates=("age",), bandwidths=(5.0,))
SEX = DiscreteKernel(kind="discrete", covariates=("sex",))
KNOWN = {
    "age": torch.tensor([30.0, 37.0, 30.0], dtype=torch.float64),
    "sex": torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64),
    "tiv": torch.tensor([1500.0, 1400.0, 1650.0], dtype=torch.float64),
}


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (AGE, reference.gaussian(30, 37, 5)),
        (CauchyKernel(kind="cauchy", covariates=("age",), bandwidths=(5.0,)), 1 / (1 + 49 / 25)),
        (DiscreteKernel(kind="discrete", covariates=("age",)), 0.0),
        (SEX, 1.0),
        (
            GaussianKernel(kind="gaussian", covariates=("age", "tiv"), bandwidths=(5.0, 150.0)),
            reference.gaussian(30, 37, 5) * reference.gaussian(1500, 1400, 150),
        ),
        (ProductKernel(kind="product", kernels=(AGE, SEX)), reference.gaussian(30, 37, 5)),
        (MeanKernel(kind="mean", kernels=(AGE, SEX)), (reference.gaussian(30, 37, 5) + 1) / 2),
    ],
)
def test_a_kernel_follows_its_formula(kernel, expected):
    w = positiveness(KNOWN, KNOWN, kernel)
    assert w[0, 1].item() == pytest.approx(expected)
    assert w.diagonal().tolist() == [1, 1, 1]
    torch.testing.assert_close(w, w.T)
    assert positiveness(KNOWN, {k: v[:2] for k, v in KNOWN.items()}, kernel).shape == (3, 2)


@given(seed=st.integers(0, 2**31), mode=st.sampled_from(["local", "global"]))
def test_the_anatomical_kernel_is_a_mean_of_cosines(seed, mode):
    generator = torch.Generator().manual_seed(seed)
    anatomy = torch.rand(4, 3, 5, generator=generator, dtype=torch.float64) + 0.1
    w = anatomical(anatomy, anatomy[:2], mode)
    for i in range(4):
        for k in range(2):
            expected = reference.anatomical(anatomy[i], anatomy[k], mode)
            assert w[i, k].item() == pytest.approx(expected)
    assert w[0, 0].item() == pytest.approx(1)


def test_local_anatomy_sees_proportions_within_regions_and_global_the_pattern_over_them():
    small = torch.tensor([[[1.0, 2.0], [3.0, 1.0]]])
    doubled_region = small * torch.tensor([2.0, 1.0])  # every measure of region 0
    assert anatomical(small, doubled_region, "local").item() == pytest.approx(1)
    assert anatomical(small, doubled_region, "global").item() < 0.98
    doubled_measure = small * torch.tensor([[2.0], [1.0]])
    assert anatomical(small, doubled_measure, "global").item() == pytest.approx(1)
    assert anatomical(small, doubled_measure, "local").item() < 0.99


def test_anatomy_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="anatomy must be"):
        anatomical(torch.ones(2, 3, 4), torch.ones(2, 3, 5), "local")


def test_given_representations_are_compared_by_cosine_or_by_distance():
    z = {"prior.tsv": torch.tensor([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])}
    cosine = RepresentationKernel(kind="representation", table="prior.tsv", bandwidth=None)
    assert positiveness(z, z, cosine)[0].tolist() == pytest.approx([1, 0.6, 0])
    distance = cosine.model_copy(update={"bandwidth": 2.0})
    found = positiveness(z, z, distance)[0].tolist()
    assert found == pytest.approx([1, math.exp(-0.8 / 8), math.exp(-4 / 8)], rel=1e-5)


def test_a_precomputed_kernel_is_taken_as_it_is_and_knows_its_own_pairs_only():
    kernel = PrecomputedKernel(kind="precomputed", table="k.tsv")
    given = {"k.tsv": torch.tensor([[1.0, 0.25], [0.25, 1.0]])}
    assert torch.equal(positiveness(given, given, kernel), given["k.tsv"])
    with pytest.raises(ValueError, match="its own pairs only"):
        positiveness(given, {"k.tsv": torch.ones(3, 3)}, kernel)


def test_what_is_not_known_matches_nobody_but_oneself():
    known = {"sex": torch.tensor([0.0, math.nan, math.nan]), "age": torch.full((3,), 40.0)}
    assert within_batch(known, SEX).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    both = ProductKernel(kind="product", kernels=(AGE, SEX))
    assert within_batch(known, both)[1].tolist() == [0, 1, 0]


def test_a_kernel_says_what_it_compares_and_whether_it_makes_classes():
    both = ProductKernel(kind="product", kernels=(AGE, SEX))
    assert compared_by(both) == {"age", "sex"}
    assert compared_by(RepresentationKernel(kind="representation", table="t", bandwidth=1)) == {"t"}
    anatomy = AnatomicalKernel(
        kind="anatomical", table="a.tsv", mode="local", measures=("area",), scales=(1.0,)
    )
    assert compared_by(anatomy) == {"a.tsv"}
    assert is_binary(SEX)
    assert is_binary(ProductKernel(kind="product", kernels=(SEX, SEX)))
    assert not is_binary(both)
    assert not is_binary(MeanKernel(kind="mean", kernels=(SEX, SEX)))
