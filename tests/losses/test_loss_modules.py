"""A loss in a plain training loop is the number that the same term of a configuration gives."""

import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from fedcl.config.loss_records import LOSSES
from fedcl.config.objective import Term
from fedcl.kernels import Discrete, Gaussian, Product
from fedcl.losses import (
    ConditionalAlignmentUniformity,
    DecoupledUniformity,
    EpsInfoNCE,
    EpsSupCon,
    EpsSupInfoNCE,
    Euclidean,
    InfoNCE,
    LExp,
    LThr,
    SoftSupCon,
    SupCon,
    XClr,
    YAware,
)
from fedcl.losses.terms import mean_over_counted
from fedcl.terms import EncodedViews, term_values
from tests import reference

AGE = {"kind": "gaussian", "covariates": ("age",), "bandwidths": (5.0,)}
SEX = {"kind": "discrete", "covariates": ("sex",)}
AGES, CLASSES = Gaussian(5.0, covariates="age"), Discrete("sex")
MODULES = {
    "l_exp": (LExp, AGES, {"temperature": 0.2}),
    "l_thr": (LThr, AGES, {"temperature": 0.2}),
    "y_aware": (YAware, AGES, {"temperature": 0.2}),
    "info_nce": (InfoNCE, None, {"temperature": 0.2}),
    "eps_info_nce": (EpsInfoNCE, None, {"temperature": 0.2, "epsilon": 0.25}),
    "sup_con": (SupCon, CLASSES, {"temperature": 0.2}),
    "eps_sup_info_nce": (EpsSupInfoNCE, CLASSES, {"temperature": 0.2, "epsilon": 0.25}),
    "eps_sup_con": (EpsSupCon, CLASSES, {"temperature": 0.2, "epsilon": 0.25}),
    "decoupled_uniformity": (DecoupledUniformity, AGES, {"ridge": 0.5}),
    "conditional_alignment_uniformity": (ConditionalAlignmentUniformity, AGES, {}),
    "x_clr": (XClr, AGES, {"temperature": 0.2, "label_temperature": 0.1}),
    "soft_sup_con": (SoftSupCon, AGES, {"temperature": 0.2, "label_temperature": 0.1}),
    "euclidean": (Euclidean, AGES, {"temperature": 0.5, "label_temperature": 2.0}),
}
CASES = [(name, False) for name in MODULES] + [
    (name, True) for name in MODULES if LOSSES[name].authors_variant
]


def module_of(name, authors_variant=False, **changes):
    cls, kernel, parameters = MODULES[name]
    given = {**parameters, **changes}
    if authors_variant:
        given["authors_variant"] = True
    return cls(**given) if kernel is None else cls(kernel, **given)


@pytest.fixture
def batch(generator):
    """Embeddings of no particular length, and what is known of the participants."""
    views = 3 * torch.randn(2, 8, 5, generator=generator)
    labels = {
        "age": 20 + 30 * torch.rand(8, generator=generator),
        "sex": torch.tensor([0.0, 1, 1, 0, 1, 0, 0, 1]),
    }
    return views[0], views[1], labels


def similarities(first, second, temperature):
    """Cosines over the temperature, row 2 i + v the view v of participant i."""
    rows = torch.stack([first, second], dim=1).flatten(0, 1).double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    return rows @ rows.T / temperature


@pytest.mark.parametrize(("name", "authors_variant"), CASES)
def test_a_module_is_the_term_of_a_configuration_to_the_last_bit(batch, name, authors_variant):
    first, second, labels = batch
    classes = LOSSES[name].needs_classes
    term = Term.model_validate(
        {
            "loss": name,
            "variant": "released" if authors_variant else "published",
            "kernel": SEX if classes else AGE,
            "temperature": 1.0,
            **MODULES[name][2],
        }
    )
    unit = F.normalize(torch.stack([first, second], dim=1), dim=2)
    values = term_values(EncodedViews(unit, unit, None), labels, term, None, None)
    expected = sum(mean_over_counted(one)[0] for one in values.values())
    assert torch.equal(module_of(name, authors_variant)(first, second, labels), expected)


@pytest.mark.parametrize("name", MODULES)
def test_the_length_of_an_embedding_does_not_matter_and_both_views_are_trained(batch, name):
    first, second, labels = batch
    loss = module_of(name)
    longer = torch.rand(8, 1) * 9 + 1
    torch.testing.assert_close(loss(first * longer, second, labels), loss(first, second, labels))
    leaves = first.clone().requires_grad_(), second.clone().requires_grad_()
    loss(*leaves, labels).backward()
    assert all(leaf.grad.isfinite().all() and leaf.grad.abs().sum() > 0 for leaf in leaves)


def weights_by_loops(values, kernel):
    """w between all views, ones between those of one participant."""
    rows = [value for value in values for _ in range(2)]
    return torch.tensor(
        [[kernel(float(a), float(b)) for b in rows] for a in rows], dtype=torch.float64
    )


def test_l_exp_and_y_aware_are_their_formulas_written_as_loops(batch):
    first, second, labels = batch
    s = similarities(first, second, 0.2)
    w = weights_by_loops(labels["age"], lambda a, b: reference.gaussian(a, b, 5.0))
    kernel = Gaussian(bandwidth=5.0)
    for cls, slow in ((LExp, reference.l_exp), (YAware, reference.y_aware)):
        found = cls(kernel, temperature=0.2, reduction="none")(first, second, labels["age"])
        assert found.shape == (8, 2)
        torch.testing.assert_close(found.flatten().double(), slow(s, w), rtol=1e-4, atol=1e-4)


def test_sup_con_is_its_formula_written_as_loops(batch):
    first, second, labels = batch
    s = similarities(first, second, 0.2)
    w = weights_by_loops(labels["sex"], lambda a, b: float(a == b))
    found = SupCon(Discrete(), temperature=0.2)(first, second, labels["sex"].long())
    expected = reference.sup_con(s, w).mean()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


def test_reductions_agree_and_an_anchor_that_is_not_counted_is_zero(batch):
    first, second, _ = batch
    alone = torch.tensor([20.0, 20, 20, 20, 20, 20, 20, 20])  # nobody is further than anybody
    values = LThr(Gaussian(5.0), reduction="none")(first, second, alone)
    assert torch.equal(values, torch.zeros(8, 2))
    labels = torch.tensor([20.0, 30, 40, 50, 60, 25, 35, 45])
    each, total, mean = (
        LExp(Gaussian(5.0), reduction=reduction)(first, second, labels)
        for reduction in ("none", "sum", "mean")
    )
    torch.testing.assert_close(each.sum(), total)
    torch.testing.assert_close(each.mean(), mean)


def test_labels_may_be_columns_or_covariates_by_name(batch):
    first, second, labels = batch
    by_name = LExp(Product(Gaussian(5.0, covariates="age"), Discrete("sex")))
    columns = torch.stack([labels["age"], labels["age"] / 2], dim=1)
    two = LExp(Gaussian(bandwidth=(5.0, 2.5)))(first, second, columns)
    twice = {"age": labels["age"], "half": labels["age"] / 2}
    named = LExp(Gaussian((5.0, 2.5), covariates=("age", "half")))(first, second, twice)
    assert torch.equal(two, named)
    assert by_name(first, second, labels).isfinite()


def test_decoupled_uniformity_without_a_kernel_knows_no_labels(batch):
    first, second, labels = batch
    alone = DecoupledUniformity()
    assert torch.equal(alone(first, second), alone(first, second, labels))
    assert not torch.equal(alone(first, second), module_of("decoupled_uniformity")(*batch))


def test_a_module_shows_its_parameters():
    shown = repr(EpsSupCon(Discrete(), epsilon=0.5, authors_variant=True))
    assert "EpsSupCon(kernel=Discrete(covariates=None), temperature=0.1, epsilon=0.5" in shown
    assert "authors_variant=True" in shown


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SupCon(Gaussian(5.0)), "sup_con needs classes"),
        (lambda: LExp(Gaussian(-1.0)), "bandwidths.0: Input should be greater than 0; got -1"),
        (
            lambda: LExp(Gaussian(5.0), temperature=0.0),
            "temperature: Input should be greater than 0",
        ),
        (lambda: EpsSupCon(Discrete(), epsilon=math.inf), "epsilon of eps_sup_con must be finite"),
    ],
)
def test_a_wrong_parameter_is_one_message(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("shapes", "labels", "message"),
    [
        (((4, 3), (5, 3)), torch.zeros(4), r"shape \(n, d\); got \(4, 3\) and \(5, 3\)"),
        (((4, 2, 3), (4, 2, 3)), torch.zeros(4), r"got \(4, 2, 3\)"),
        (((4, 3), (4, 3)), torch.zeros(5), "each of the 4 participants; got 5 rows"),
        (((4, 3), (4, 3)), None, "LExp compares labels"),
        (((4, 3), (4, 3)), torch.zeros(4, 2), "2 covariates and 1 bandwidths"),
        (((4, 3), (4, 3)), torch.tensor(3.0), r"\(n,\) or \(n, k\)"),
        (((4, 3), (4, 3)), {"a": torch.zeros(4), "b": torch.zeros(3)}, "lengths"),
    ],
)
def test_wrong_shapes_say_what_was_expected_and_what_was_given(shapes, labels, message):
    first, second = (torch.ones(shape) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        LExp(Gaussian(bandwidth=5.0))(first, second, labels)


def test_a_covariate_that_labels_do_not_hold_is_named(batch):
    first, second, _ = batch
    with pytest.raises(ValueError, match="compares 'age', which the labels do not hold; they hold"):
        LExp(AGES)(first, second, {"years": torch.zeros(8)})


def test_what_is_of_another_type_is_a_message_too():
    """In a process of its own: here the annotations are enforced before a message is made."""
    program = """
import torch
from fedcl.kernels import Gaussian
from fedcl.losses import LExp
views, kernel = torch.ones(4, 3), Gaussian(bandwidth=5)
for call in (
    lambda: LExp(5.0),
    lambda: LExp(None),
    lambda: LExp(kernel, reduction="max"),
    lambda: LExp(kernel)(views, views, [1, 2, 3, 4]),
    lambda: LExp("age"),
):
    try:
        call()
    except ValueError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    messages = done.stdout.splitlines()
    assert len(messages) == 5, done.stderr
    for message, part in zip(
        messages,
        ("fedcl.kernels", "got None", "mean, sum or none; got 'max'", "got list", "got 'age'"),
        strict=True,
    ):
        assert part in message


def test_an_empty_batch_is_refused(generator):
    z = torch.randn(4, 3, generator=generator)
    ages = torch.tensor([20.0, 30.0, 40.0, 50.0])
    with pytest.raises(ValueError, match="at least one participant; got none"):
        LExp(AGES)(z[:0], z[:0], {"age": ages[:0]})


def test_kernels_of_equal_parts_are_equal():
    one, other = (Product(Gaussian(5.0, covariates="age"), Discrete("sex")) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Product(Gaussian(6.0, covariates="age"), Discrete("sex"))
