"""Kernels of a training loop are those of the configuration, on labels of any shape."""

import pytest
import torch

from fedcl.kernels import (
    Anatomical,
    Average,
    Cauchy,
    Discrete,
    Gaussian,
    Precomputed,
    Product,
    RepresentationSimilarity,
)
from tests import reference

AGES = torch.tensor([21.0, 35.5, 28.0, 60.25])


def test_a_gaussian_of_ages_is_its_formula():
    found = Gaussian(bandwidth=4.0)(AGES, AGES[:2])
    expected = [[reference.gaussian(float(a), float(b), 4.0) for b in AGES[:2]] for a in AGES]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_a_tensor_of_columns_is_compared_in_all_of_them():
    columns = torch.stack([AGES, AGES * 2], dim=1)
    both = Gaussian(bandwidth=(4.0, 8.0))(columns)
    torch.testing.assert_close(both, Gaussian(4.0)(AGES) ** 2)
    assert torch.equal(Discrete()(torch.tensor([[0, 1], [0, 2]])), torch.eye(2))


def test_products_and_averages_combine_what_they_are_given():
    labels = {"age": AGES, "sex": torch.tensor([0, 1, 0, 1])}
    age, sex = Gaussian(4.0, covariates="age"), Discrete("sex")
    torch.testing.assert_close(Product(age, sex)(labels), age(labels) * sex(labels))
    torch.testing.assert_close(Average(age, sex)(labels), (age(labels) + sex(labels)) / 2)


def test_what_is_not_known_matches_nobody_else():
    ages = torch.tensor([20.0, float("nan"), 20.0])
    found = Cauchy(bandwidth=5.0)(ages)
    assert torch.equal(found, torch.tensor([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]]))


def test_tables_are_found_by_name_or_where_there_is_one():
    generator = torch.Generator().manual_seed(1)
    rows = torch.rand(3, 4, generator=generator)
    labels = {"age": AGES[:3], "features": rows, "matrix": torch.eye(3)}
    plain = RepresentationSimilarity(bandwidth=0.5)(rows)
    named = RepresentationSimilarity(bandwidth=0.5, table="features")(labels)
    assert torch.equal(plain, named)
    assert torch.equal(Precomputed(table="matrix")(labels), torch.eye(3))
    assert Anatomical(mode="global")(torch.rand(3, 2, 4, generator=generator)).shape == (3, 3)
    with pytest.raises(ValueError, match="the labels hold features, matrix; name it with table"):
        RepresentationSimilarity()(labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Gaussian(5.0)({"a": AGES, "b": AGES}), "2 covariates and 1 bandwidths"),
        (lambda: Gaussian(5.0, covariates="c")({"a": AGES}), "compares 'c', which the labels do"),
        (lambda: Gaussian(5.0)(torch.ones(2, 3, 4)), r"one number per participant.*\(2, 3, 4\)"),
        (lambda: RepresentationSimilarity()(AGES), "compares a table"),
        (lambda: Product(), "Product needs at least one kernel"),
        (lambda: Discrete()({}), "at least one covariate"),
    ],
)
def test_a_kernel_without_what_it_compares_says_so(call, message):
    with pytest.raises(ValueError, match=message):
        call()
