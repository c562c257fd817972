"""The terms of the objective on a batch: encoded once, then each by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fedcl.config.moments import Prototypes
from fedcl.config.objective import (
    REGRESSION,
    ConditionalMeans,
    Coral,
    Debias,
    EnD,
    FairKL,
    FairKLRegression,
    FeatureMoments,
    Objective,
    Term,
)
from fedcl.debiasing.bias_pairs import bias_pairs
from fedcl.debiasing.conditional_means import conditional_means, conditional_means_of_others
from fedcl.debiasing.coral import coral
from fedcl.debiasing.end import end
from fedcl.debiasing.fairkl import fairkl, fairkl_regression, fairkl_released
from fedcl.debiasing.feature_moments import feature_moments, feature_moments_of_others
from fedcl.losses.conditional import conditional_alignment_uniformity
from fedcl.losses.eps_sup_con import (
    eps_sup_con,
    eps_sup_con_released,
    eps_sup_info_nce,
    eps_sup_info_nce_released,
)
from fedcl.losses.info_nce import eps_info_nce, info_nce
from fedcl.losses.kernels import Known, within_batch
from fedcl.losses.l_exp import l_exp, l_exp_released
from fedcl.losses.l_thr import l_thr, l_thr_released
from fedcl.losses.pairs import Pairs, pairs_of_views
from fedcl.losses.prototypes import pairs_with_prototypes
from fedcl.losses.regression import l1, l2
from fedcl.losses.soft_targets import euclidean, soft_sup_con, x_clr
from fedcl.losses.sup_con import sup_con
from fedcl.losses.terms import AnchorLoss, BatchTerm
from fedcl.losses.uniformity import (
    decoupled_uniformity,
    decoupled_uniformity_across,
    decoupled_uniformity_released,
)
from fedcl.losses.yaware import y_aware, y_aware_released
from fedcl.models.network import Network
from fedcl.moments.cross_site import CrossSite, bias_groups, own_before, remote_of, with_others
from fedcl.moments.frozen import FrozenMoments, frozen_groups, pairs_with_moments
from fedcl.shapes import Inputs, ViewAges, ViewEmbeddings, ViewRepresentations

Terms = Mapping[str, AnchorLoss | BatchTerm]
"""What a loss returns, by name."""


@dataclass(frozen=True)
class EncodedViews:
    """Every view of every participant, encoded."""

    representation: ViewRepresentations
    embedding: ViewEmbeddings | None
    predicted: ViewAges | None


def encode_views(network: Network, views: tuple[Inputs, Inputs]) -> EncodedViews:
    first, second = views

    def both(rows: Tensor) -> Tensor:
        halves = (rows, rows) if second is first else rows.chunk(2)
        return torch.stack(halves, dim=1)

    representation = network.represent(first if second is first else torch.cat([first, second]))
    return EncodedViews(
        both(representation),
        both(network.project(representation)) if network.projector is not None else None,
        both(network.predict_age(representation)) if network.age_head is not None else None,
    )


def term_values(
    encoded: EncodedViews,
    known: Known,
    term: Term,
    cross_site: CrossSite | None,
    prototypes: Prototypes | None,
    frozen: FrozenMoments | None = None,
) -> Terms:
    if term.loss in REGRESSION:
        assert encoded.predicted is not None
        predicted = encoded.predicted.flatten().float()
        ages = known["age"].float().repeat_interleave(encoded.predicted.shape[1])
        return {term.loss: l1(predicted, ages) if term.loss == "l1" else l2(predicted, ages)}
    assert encoded.embedding is not None
    embedding = encoded.embedding
    if prototypes is not None:
        pairs = pairs_with_prototypes(
            embedding, known, prototypes, term.kernel, temperature=term.temperature
        )
        return {term.loss: _contrastive(pairs, term)}
    if frozen is not None:
        pairs = pairs_with_moments(
            embedding, known, frozen, term.kernel, temperature=term.temperature
        )
        return {term.loss: _contrastive(pairs, term)}
    weights = within_batch(known, term.kernel)
    if term.loss == "decoupled_uniformity":
        prior = None if term.ridge is None else weights
        if term.variant == "released":
            return {term.loss: decoupled_uniformity_released(embedding, prior)}
        ridge = term.ridge or 1.0
        if cross_site is not None and cross_site.contrasts:
            remote = remote_of(known, cross_site, None if prior is None else term.kernel)
            return {term.loss: decoupled_uniformity_across(embedding, remote, ridge=ridge)}
        return {term.loss: decoupled_uniformity(embedding, prior, ridge=ridge)}
    if term.loss == "conditional_alignment_uniformity":
        pairs = pairs_of_views(embedding, weights, temperature=1.0, metric="euclidean")
        return {f"{term.loss}.{k}": v for k, v in conditional_alignment_uniformity(pairs).items()}
    metric: Literal["cosine", "euclidean"] = "euclidean" if term.loss == "euclidean" else "cosine"
    pairs = pairs_of_views(embedding, weights, temperature=term.temperature, metric=metric)
    if cross_site is not None:
        pairs = with_others(
            pairs, embedding, known, cross_site, term.kernel, temperature=term.temperature
        )
    return {term.loss: _contrastive(pairs, term)}


def _contrastive(pairs: Pairs, term: Term) -> AnchorLoss:
    released = term.variant == "released"
    temperature = term.temperature
    epsilon, label_temperature = term.epsilon or 0.0, term.label_temperature or 1.0
    match term.loss:
        case "l_exp":
            return l_exp_released(pairs, temperature=temperature) if released else l_exp(pairs)
        case "l_thr":
            return l_thr_released(pairs, temperature=temperature) if released else l_thr(pairs)
        case "y_aware":
            return y_aware_released(pairs) if released else y_aware(pairs)
        case "info_nce":
            return info_nce(pairs)
        case "eps_info_nce":
            return eps_info_nce(pairs, epsilon=epsilon)
        case "sup_con":
            return sup_con(pairs)
        case "eps_sup_info_nce" if released:
            return eps_sup_info_nce_released(pairs, epsilon=epsilon, temperature=temperature)
        case "eps_sup_info_nce":
            return eps_sup_info_nce(pairs, epsilon=epsilon)
        case "eps_sup_con" if released:
            return eps_sup_con_released(pairs, epsilon=epsilon, temperature=temperature)
        case "eps_sup_con":
            return eps_sup_con(pairs, epsilon=epsilon)
        case "x_clr":
            return x_clr(pairs, label_temperature=label_temperature)
        case "soft_sup_con":
            return soft_sup_con(pairs, label_temperature=label_temperature)
        case "euclidean":
            return euclidean(pairs, label_temperature=label_temperature)
        case other:
            raise AssertionError(other)


def debias_values(
    encoded: EncodedViews,
    known: Known,
    debias: Debias,
    task: Objective,
    cross_site: CrossSite | None,
) -> Terms:
    vectors = encoded.representation if debias.vectors == "representation" else encoded.embedding
    assert vectors is not None
    if cross_site is not None and debias.against == "site":
        return _debias_across(vectors, known, debias, task, cross_site)
    bias = known[debias.against]
    rows, codes = vectors.flatten(0, 1), bias.repeat_interleave(vectors.shape[1])
    weights = within_batch(known, task.kernel)
    match debias:
        case ConditionalMeans():
            return conditional_means(vectors, weights, bias)
        case FeatureMoments():
            return feature_moments(rows, codes)
        case Coral():
            return {"covariance": coral(rows, codes)}
        case FairKL(form="released"):
            first = F.normalize(vectors[:, 0].float(), dim=1)
            return fairkl_released(first, weights == 1, bias)
        case FairKL(side=side, form="kl" | "squared" as form):
            return fairkl(bias_pairs(vectors, weights, bias).groups, side=side, form=form)
        case FairKLRegression(side=side, form=form):
            return fairkl_regression(
                bias_pairs(vectors, weights, bias).groups, side=side, form=form
            )
        case EnD(side=side):
            return end(bias_pairs(vectors, weights, bias), side=side)
        case _:
            raise AssertionError(debias)


def debias_alone(
    encoded: EncodedViews, known: Known, debias: Debias, task: Objective, frozen: FrozenMoments
) -> Terms:
    """Return a debiasing term whose anchors are each compared with released moments alone."""
    assert encoded.embedding is not None
    assert isinstance(debias, FairKLRegression)
    groups = frozen_groups(encoded.embedding, known, frozen, task.kernel)
    return fairkl_regression(groups, side=debias.side, form=debias.form)


def _debias_across(
    vectors: ViewEmbeddings, known: Known, debias: Debias, task: Objective, cross_site: CrossSite
) -> Terms:
    """What compares this site with the others, of whom only the moments are known."""
    match debias:
        case FairKL(side=side, form="kl" | "squared" as form):
            groups = bias_groups(vectors, known, cross_site, task.kernel)
            return fairkl(groups, side=side, form=form)
        case FairKLRegression(side=side, form=form):
            groups = bias_groups(vectors, known, cross_site, task.kernel)
            return fairkl_regression(groups, side=side, form=form)
        case ConditionalMeans():
            before = own_before(cross_site)
            return conditional_means_of_others(vectors, cross_site.snapshot.shift, before)
        case FeatureMoments():
            return feature_moments_of_others(
                vectors.flatten(0, 1), cross_site.snapshot.others.nodes
            )
        case _:
            raise AssertionError(debias)
