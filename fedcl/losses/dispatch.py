"""Calls the function of a term's loss, with the arguments and settings that its record says."""

from collections.abc import Mapping

from torch import Tensor

from fedcl.config.code_paths import call
from fedcl.config.objective import Term
from fedcl.losses.nodes import RemoteParticipants
from fedcl.losses.pairs import Pairs, pairs_of_views
from fedcl.losses.terms import AnchorLoss, BatchTerm
from fedcl.shapes import BetweenParticipants, PerAnchor, ViewEmbeddings

Terms = Mapping[str, AnchorLoss | BatchTerm]
"""What a loss returns, by name."""

_SETTINGS = ("temperature", "epsilon", "label_temperature", "ridge")


def loss_of_views(
    embeddings: ViewEmbeddings, positiveness: BetweenParticipants, term: Term
) -> Terms:
    """Return the loss of a batch whose participants are compared with each other alone.

    Args:
        embeddings: Unit vectors.
        positiveness: Between participants, ones on the diagonal.
        term: A term whose loss sees pairs or views.
    """
    if term.record.sees == "views":
        prior = None if term.ridge is None else positiveness
        return _called(term, _path(term), embeddings, prior)
    return loss_of_pairs(batch_pairs(embeddings, positiveness, term), term)


def batch_pairs(embeddings: ViewEmbeddings, positiveness: BetweenParticipants, term: Term) -> Pairs:
    """Return every view against all the other views, as the term's loss compares them."""
    record = term.record
    temperature = term.temperature if record.has_temperature else 1.0
    return pairs_of_views(embeddings, positiveness, temperature=temperature, metric=record.metric)


def loss_of_pairs(pairs: Pairs, term: Term) -> Terms:
    """Return the loss of given pairs."""
    return _called(term, _path(term), pairs)


def loss_across_sites(embeddings: ViewEmbeddings, remote: RemoteParticipants, term: Term) -> Terms:
    """Return the loss of a batch beside participants of other sites, of a loss that sees views."""
    assert term.record.across is not None
    return _called(term, term.record.across, embeddings, remote)


def loss_of_ages(predicted: PerAnchor, ages: PerAnchor, term: Term) -> Terms:
    """Return the loss of a regression; ages in years."""
    return _called(term, _path(term), predicted, ages)


def _path(term: Term) -> str:
    if term.authors_variant and term.record.authors_variant is not None:
        return term.record.authors_variant
    return term.record.function


def _called(term: Term, path: str, *arguments: Pairs | RemoteParticipants | Tensor | None) -> Terms:
    given = {key: getattr(term, key) for key in _SETTINGS}
    settings = {key: value for key, value in given.items() if value is not None}
    value: AnchorLoss | BatchTerm | dict[str, BatchTerm]
    value = call(path, *arguments, settings=settings)
    if isinstance(value, dict):
        return {f"{term.loss}.{name}": one for name, one in value.items()}
    return {term.loss: value}
