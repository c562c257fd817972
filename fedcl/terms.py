"""The terms of the objective on a batch: encoded once, then each by name."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fedcl.config.code_paths import call
from fedcl.config.debiasing import Debias
from fedcl.config.moments import Prototypes
from fedcl.config.objective import Objective, Term
from fedcl.debiasing.dispatch import debias_of_groups, debias_of_views, own_settings
from fedcl.kernels.positiveness import Known, within_batch
from fedcl.losses.dispatch import (
    Terms,
    batch_pairs,
    loss_across_sites,
    loss_of_ages,
    loss_of_pairs,
    loss_of_views,
)
from fedcl.losses.prototypes import beside_prototypes, pairs_with_prototypes
from fedcl.models.network import Network
from fedcl.moments.cross_site import CrossSite, bias_groups, own_before, remote_of, with_others
from fedcl.moments.frozen import FrozenMoments, frozen_groups, pairs_with_moments
from fedcl.shapes import Inputs, ViewAges, ViewEmbeddings, ViewRepresentations


@dataclass(frozen=True)
class EncodedViews:
    """Every view of every participant, encoded."""

    representation: ViewRepresentations
    embedding: ViewEmbeddings | None
    predicted: ViewAges | None


def encode_views(network: Network, views: tuple[Inputs, Inputs]) -> EncodedViews:
    """Encode both views of every participant in one pass; the same object twice is encoded once."""
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
    """Return a term of the objective on a batch, by name.

    Args:
        encoded: Representations and embeddings of the batch, both views.
        known: Covariates of its participants, by name; age in years.
        term: Which loss, with which parameters.
        cross_site: What the batch sees of other sites; None: nothing.
        prototypes: Fixed points to compare participants with, instead of each other or beside
            each other; None: each other alone.
        frozen: Noisy moments to compare participants with instead of each other.
    """
    record = term.record
    if record.sees == "ages":
        assert encoded.predicted is not None
        predicted = encoded.predicted.flatten().float()
        ages = known["age"].float().repeat_interleave(encoded.predicted.shape[1])
        return loss_of_ages(predicted, ages, term)
    assert encoded.embedding is not None
    embedding = encoded.embedding
    temperature = term.temperature
    if prototypes is not None and not prototypes.own_pairs:
        pairs = pairs_with_prototypes(
            embedding, known, prototypes, term.kernel, temperature=temperature
        )
        return loss_of_pairs(pairs, term)
    if frozen is not None:
        pairs = pairs_with_moments(embedding, known, frozen, term.kernel, temperature=temperature)
        return loss_of_pairs(pairs, term)
    within = within_batch(known, term.kernel)
    if term.authors_variant or not record.other_sites:
        return loss_of_views(embedding, within, term)
    if record.sees == "views":
        if cross_site is None or not cross_site.contrasts:
            return loss_of_views(embedding, within, term)
        remote = remote_of(known, cross_site, None if term.ridge is None else term.kernel)
        return loss_across_sites(embedding, remote, term)
    pairs = batch_pairs(embedding, within, term)
    if prototypes is not None:
        pairs = beside_prototypes(
            pairs, embedding, known, prototypes, term.kernel, temperature=temperature
        )
    if cross_site is not None:
        pairs = with_others(
            pairs, embedding, known, cross_site, term.kernel, temperature=temperature
        )
    return loss_of_pairs(pairs, term)


def debias_values(
    encoded: EncodedViews,
    known: Known,
    debias: Debias,
    task: Objective,
    cross_site: CrossSite | None,
) -> Terms:
    """Return a debiasing term on a batch, by name.

    Args:
        encoded: Representations and embeddings of the batch, both views.
        known: Covariates of its participants, by name.
        debias: Which term, with which settings.
        task: The objective, whose kernel says who is alike.
        cross_site: What the batch sees of other sites; None: nothing.
    """
    vectors = encoded.representation if debias.vectors == "representation" else encoded.embedding
    assert vectors is not None
    if cross_site is not None and debias.against == "site":
        return _debias_across(vectors, known, debias, task, cross_site)
    return debias_of_views(vectors, within_batch(known, task.kernel), known[debias.against], debias)


def debias_alone(
    encoded: EncodedViews, known: Known, debias: Debias, task: Objective, frozen: FrozenMoments
) -> Terms:
    """Return a debiasing term whose anchors are each compared with noisy moments alone."""
    assert encoded.embedding is not None
    assert debias.record.fixed_points
    return debias_of_groups(frozen_groups(encoded.embedding, known, frozen, task.kernel), debias)


def _debias_across(
    vectors: ViewEmbeddings, known: Known, debias: Debias, task: Objective, cross_site: CrossSite
) -> Terms:
    """Compare this site with the others, of whom only the moments are known."""
    record, settings = debias.record, own_settings(debias)
    assert record.across is not None
    assert not debias.as_the_authors
    match record.across_sees:
        case "groups":
            groups = bias_groups(vectors, known, cross_site, task.kernel)
            return call(record.across, groups, settings=settings)
        case "shift":
            shift, before = cross_site.snapshot.shift, own_before(cross_site)
            return call(record.across, vectors, shift, before, settings=settings)
        case "nodes":
            nodes = cross_site.snapshot.others.nodes
            return call(record.across, vectors.flatten(0, 1), nodes, settings=settings)
