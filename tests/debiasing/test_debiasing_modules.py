"""A debiasing term in a plain training loop is the number that a configuration's term gives."""

import pytest
import torch

from fedcl.config.debiasing import DEBIASING
from fedcl.config.objective import Objective
from fedcl.debiasing import (
    ConditionalMeans,
    Coral,
    EnD,
    FairKL,
    FairKLRegression,
    FeatureMoments,
)
from fedcl.kernels import Discrete, Gaussian
from fedcl.losses.terms import mean_over_counted
from fedcl.terms import EncodedViews, debias_values
from tests import reference

AGE = {"kind": "gaussian", "covariates": ("age",), "bandwidths": (20.0,)}
SEX = {"kind": "discrete", "covariates": ("sex",)}
AGES, CLASSES = Gaussian(20.0, covariates="age"), Discrete("sex")
MODULES = [
    (FairKL(CLASSES, form="kl"), {"side": "both", "form": "kl"}),
    (FairKL(CLASSES, side="negative", form="squared"), {"side": "negative", "form": "squared"}),
    (FairKL(CLASSES, authors_variant=True), {"side": "both", "form": "released"}),
    (FairKLRegression(AGES, form="squared"), {"side": "both", "form": "squared"}),
    (EnD(CLASSES), {"side": "both"}),
    (ConditionalMeans(AGES), {}),
    (FeatureMoments(), {}),
    (Coral(), {}),
]


@pytest.fixture
def batch(generator):
    """Vectors of two views, and what is known of the participants."""
    vectors = torch.randn(10, 2, 4, generator=generator)
    labels = {
        "age": 20 + 40 * torch.rand(10, generator=generator),
        "sex": torch.tensor([0.0, 1, 1, 0, 1, 0, 0, 1, 0, 1]),
    }
    return vectors, labels, torch.tensor([0, 0, 1, 1, 0, 1, 0, 1, 1, 0])


def test_every_term_has_a_case():
    assert {module.name for module, _ in MODULES} == set(DEBIASING)


@pytest.mark.parametrize(("module", "settings"), MODULES, ids=lambda m: getattr(m, "name", ""))
def test_a_module_is_the_term_of_a_configuration_to_the_last_bit(batch, module, settings):
    vectors, labels, site = batch
    debias = {
        "name": module.name,
        "weight": 1.0,
        "against": "site",
        "vectors": "embedding",
        **settings,
    }
    task = Objective.model_validate(
        {
            "loss": "l1",
            "variant": "published",
            "temperature": 1.0,
            "kernel": SEX if module.kernel is CLASSES else AGE,
            "also": (),
            "debias": (debias,),
            "moments": None,
        }
    )
    known = {**labels, "site": site.float()}
    encoded = EncodedViews(vectors, vectors, None)
    terms = debias_values(encoded, known, task.debias[0], task, None).values()
    expected = sum(mean_over_counted(term)[0] for term in terms)
    assert expected != 0
    torch.testing.assert_close(module(vectors, labels, site), expected, rtol=0, atol=1e-7)


def test_fairkl_is_its_formula_written_as_loops(batch):
    vectors, labels, site = batch
    z = vectors[:, 0].double() / vectors[:, 0].double().norm(dim=1, keepdim=True)
    w = (labels["sex"][:, None] == labels["sex"][None, :]).double()
    owner = list(range(10))
    expected = sum(
        reference.fairkl(z, w, site.tolist(), owner, reference.kl, positive=positive)
        for positive in (True, False)
    )
    found = FairKL(Discrete())(vectors[:, 0], labels["sex"], site)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


def test_a_batch_of_one_bias_has_nothing_to_compare_and_still_a_gradient(batch):
    vectors, labels, site = batch
    leaf = vectors.clone().requires_grad_()
    value = FairKLRegression(AGES)(leaf, labels, torch.zeros_like(site))
    value.backward()
    assert value == 0
    assert torch.equal(leaf.grad, torch.zeros_like(leaf))


@pytest.mark.parametrize(
    ("vectors", "labels", "bias", "message"),
    [
        (torch.ones(4), torch.ones(4), torch.ones(4), r"vectors must be \(n, d\)"),
        (torch.ones(4, 2), torch.ones(4), torch.ones(3), r"each of the 4 participants, .*got \(3,"),
        (torch.ones(4, 2), torch.ones(3), torch.ones(4), "4 participants; got 3 rows"),
        (torch.ones(4, 2), None, torch.ones(4), "EnD compares labels"),
    ],
)
def test_wrong_shapes_say_what_was_expected_and_what_was_given(vectors, labels, bias, message):
    with pytest.raises(ValueError, match=message):
        EnD(Discrete())(vectors, labels, bias)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FairKL(Gaussian(5.0)), "FairKL needs classes"),
        (lambda: FairKL(Discrete(), side="left"), "side: Input should be 'positive'"),
        (lambda: EnD(None), "kernel must be one of fedcl.kernels"),
        (lambda: FairKL(5.0), r"such as Discrete\(\); got 5.0"),
        (lambda: FairKL(Discrete(), side="positive", authors_variant=True), "on both sides only"),
    ],
)
def test_a_wrong_parameter_is_one_message(make, message):
    with pytest.raises(ValueError, match=message):
        make()(torch.ones(4, 2), None, torch.ones(4))


@pytest.mark.parametrize("module", [m for m, _ in MODULES], ids=lambda m: m.name)
def test_wide_float16_vectors_give_what_float32_gives(generator, module):
    """Their sum overflows float16, though each of them is small."""
    vectors = (3 * torch.rand(64, 2048, generator=generator)).half()
    labels = {"age": torch.linspace(20, 80, 64), "sex": (torch.arange(64) % 2).float()}
    site = (torch.arange(64) // 2 % 2).long()
    half, whole = vectors.clone().requires_grad_(), vectors.float()
    value = module(half, labels, site)
    torch.testing.assert_close(value, module(whole, labels, site), check_dtype=False)
    value.backward()
    assert half.grad.isfinite().all()


def test_vectors_that_are_none_or_no_tensor_are_refused(batch):
    vectors, _, site = batch
    with pytest.raises(ValueError, match="at least one participant; got none"):
        Coral()(vectors[:0], None, site[:0])
    with pytest.raises(ValueError, match="must be tensors; got ndarray and Tensor"):
        Coral()(vectors.numpy(), None, site)
