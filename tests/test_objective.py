"""The objective reduces its terms; identical views are encoded once, at no difference."""

import pytest
import torch

from fedcl.config.objective import require_comparable
from fedcl.debiasing.bias_pairs import bias_pairs
from fedcl.debiasing.fairkl import fairkl_regression
from fedcl.errors import ConfigError
from fedcl.kernels.positiveness import within_batch
from fedcl.losses.l_exp import l_exp
from fedcl.losses.pairs import pairs_of_views
from fedcl.losses.yaware import y_aware
from fedcl.models.network import build_network
from fedcl.objective import objective
from tests.builders import config_of, table_tree, with_values

AGE = {"kind": "gaussian", "covariates": ["age"], "bandwidths": [5]}
SEX = {"kind": "discrete", "covariates": ["sex"]}
TERM = {"weight": 0.5, "loss": "y_aware", "variant": "published", "temperature": 0.2, "kernel": AGE}
FAIRKL = {
    "name": "fairkl_regression",
    "weight": 0.3,
    "against": "site",
    "vectors": "embedding",
    "side": "both",
    "form": "kl",
}
LOSSES = {
    "l_exp": {},
    "l_thr": {},
    "y_aware": {},
    "info_nce": {},
    "eps_info_nce": {"epsilon": 0.2},
    "sup_con": {"kernel": SEX},
    "eps_sup_info_nce": {"kernel": SEX, "epsilon": 0.2},
    "eps_sup_con": {"kernel": SEX, "epsilon": 0.2},
    "decoupled_uniformity": {"ridge": 0.5},
    "conditional_alignment_uniformity": {},
    "x_clr": {"label_temperature": 0.1},
    "soft_sup_con": {"label_temperature": 0.1},
    "euclidean": {"label_temperature": 1.0},
    "l1": {},
    "l2": {},
}
DEBIAS = [
    FAIRKL,
    {**FAIRKL, "name": "fairkl"},
    {**FAIRKL, "name": "fairkl", "form": "released"},
    {k: v for k, v in {**FAIRKL, "name": "end"}.items() if k != "form"},
    {"name": "feature_moments", "weight": 1, "against": "site", "vectors": "representation"},
    {"name": "conditional_means", "weight": 1, "against": "site", "vectors": "embedding"},
    {"name": "coral", "weight": 1, "against": "site", "vectors": "representation"},
]


@pytest.fixture
def batch(generator):
    features = torch.randn(6, 6, generator=generator)
    known = {
        "age": 20 + 40 * torch.rand(6, generator=generator),
        "sex": torch.tensor([0.0, 1, 1, 0, 1, 0]),
        "site": torch.tensor([0.0, 0, 1, 1, 0, 1]),
    }
    return features, known


def network_for(tmp_path, loss="l_exp", **keys):
    changes = {f"objective__{key}": value for key, value in {"loss": loss, **keys}.items()}
    config = config_of(with_values(table_tree(tmp_path), **changes))
    return build_network(config, (6,), seed=config.seed), config.objective


@pytest.mark.parametrize("loss", ["l_exp", "y_aware", "l1"])
def test_identical_views_encoded_once_equal_two_copies(tmp_path, batch, loss):
    network, task = network_for(tmp_path, loss)
    features, known = batch
    once = objective(network, (features, features), known, task)
    twice = objective(network, (features, features.clone()), known, task)
    torch.testing.assert_close(once.value, twice.value)
    calls = []
    network.encoder.register_forward_hook(lambda *_: calls.append(1))
    objective(network, (features, features), known, task)
    assert len(calls) == 1


def test_l1_is_the_mean_absolute_error_of_the_age_head(tmp_path, batch):
    network, task = network_for(tmp_path, "l1")
    features, known = batch
    predicted = network(features)[1].squeeze(1)
    loss = objective(network, (features, features), known, task)
    torch.testing.assert_close(loss.value, (predicted - known["age"]).abs().mean())
    assert network.projector is None


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_reaches_every_trained_parameter(tmp_path, batch, loss):
    network, task = network_for(tmp_path, loss, **LOSSES[loss])
    features, known = batch
    found = objective(network, (features, features + 0.1), known, task)
    found.value.backward()
    assert any(name.startswith(loss) for name in found.terms)
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0 or "bias" in name, name


@pytest.mark.parametrize("loss", ["l_exp", "l_thr", "y_aware", "decoupled_uniformity"])
def test_the_authors_variant_is_another_value(tmp_path, batch, loss):
    features, known = batch
    values = []
    for variant in ("published", "released"):
        network, task = network_for(tmp_path, loss, variant=variant, **LOSSES[loss])
        values.append(objective(network, (features, features + 0.1), known, task).value.item())
    assert abs(values[0] - values[1]) > 1e-3


@pytest.mark.parametrize("debias", DEBIAS, ids=lambda d: f"{d['name']} {d.get('form', '')}")
def test_every_debiasing_term_reaches_the_encoder(tmp_path, batch, debias):
    # Six participants need a wide kernel to have two others of their age.
    wide = {**AGE, "bandwidths": [30]}
    kernel = {"fairkl": SEX, "conditional_means": wide}.get(debias["name"], AGE)
    network, task = network_for(tmp_path, kernel=kernel, debias=[debias])
    plain, simple = network_for(tmp_path, kernel=kernel)
    features, known = batch
    views = (features, features + 0.1)
    found, without = objective(network, views, known, task), objective(plain, views, known, simple)
    term = sum(t[0] / t[1] for name, t in found.terms.items() if name.startswith(debias["name"]))
    difference = (found.value - without.value).item()
    assert difference == pytest.approx(debias["weight"] * float(term), rel=1e-4)
    assert difference != 0
    gradients = torch.autograd.grad(found.value - without.value, network.encoder.parameters())
    assert any(g.abs().sum() > 0 for g in gradients)


def test_a_debiasing_weight_grows_over_its_warmup(tmp_path, batch):
    features, known = batch
    views = (features, features + 0.1)
    network, task = network_for(tmp_path, debias=[{**FAIRKL, "warmup_rounds": 3}])
    found = [objective(network, views, known, task, round_number=n) for n in (1, 2, 4, 9)]
    term = sum(float(t[0] / t[1]) for n, t in found[0].terms.items() if n.startswith("fairkl"))
    contrast = float(found[0].terms["l_exp"][0] / found[0].terms["l_exp"][1])
    for share, loss in zip((0.25, 0.5, 1, 1), found, strict=True):
        assert loss.value.item() == pytest.approx(contrast + 0.3 * share * term, rel=1e-4)
    assert task.debias[0].weight_in(1) == pytest.approx(0.3 / 4)


def test_terms_add_up_by_weight_and_are_logged_by_name(tmp_path, batch):
    features, known = batch
    views = (features, features + 0.1)
    l1_term = {**TERM, "loss": "l1", "weight": 0.01}
    network, task = network_for(tmp_path, also=[TERM, TERM, l1_term], debias=[FAIRKL])
    found = objective(network, views, known, task)
    z = torch.stack([network(v)[1] for v in views], dim=1)
    weights = within_batch(known, task.kernel)
    ages = torch.cat([network.predict_age(network.represent(v)) for v in views]).squeeze(1)
    pairs = bias_pairs(z, weights, known["site"])
    debiased = fairkl_regression(pairs.groups, side="both", form="kl").values()
    softer = y_aware(pairs_of_views(z, weights, temperature=0.2)).value.mean()
    expected = (
        l_exp(pairs_of_views(z, weights, temperature=0.1)).value.mean()
        + 0.5 * 2 * softer
        + 0.01 * (ages - known["age"].repeat(2)).abs().mean()
        + 0.3 * sum(t.value.sum() / t.counted.sum().clamp(min=1) for t in debiased)
    )
    torch.testing.assert_close(found.value, expected)
    assert list(found.terms) == [
        "loss",
        "spread",
        "l_exp",
        "y_aware",
        "y_aware#2",
        "l1",
        "fairkl_regression.positive",
        "fairkl_regression.negative",
    ]
    for name, (_, counted, skipped) in found.terms.items():
        assert counted + skipped == (6 if name in ("loss", "spread") else 12), name


def test_a_batch_of_one_site_counts_what_fairkl_skips(tmp_path, batch):
    network, task = network_for(tmp_path, debias=[FAIRKL])
    features, known = batch
    known = {**known, "site": torch.zeros(6)}
    found = objective(network, (features, features + 0.1), known, task)
    assert found.terms["fairkl_regression.positive"].tolist() == [0, 0, 12]
    assert found.value.isfinite()


def test_debiasing_against_the_site_is_refused_where_batches_come_from_one_site(tmp_path):
    _, task = network_for(tmp_path, debias=[FAIRKL])
    with pytest.raises(ConfigError, match="fairkl_regression against the site compares"):
        require_comparable(task, federated=True)
    _, within = network_for(tmp_path, debias=[{**FAIRKL, "against": "sex"}])
    require_comparable(within, federated=False)
