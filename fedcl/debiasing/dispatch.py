"""Calls the function of a debiasing term, with the arguments and settings that its record says."""

from collections.abc import Mapping

import torch.nn.functional as F

from fedcl.config.code_paths import call
from fedcl.config.debiasing import DebiasSettings
from fedcl.debiasing.bias_pairs import bias_pairs
from fedcl.debiasing.groups import BiasGroups
from fedcl.losses.terms import AnchorLoss, BatchTerm
from fedcl.shapes import BetweenParticipants, PerParticipant, ViewEmbeddings

DebiasTerms = Mapping[str, AnchorLoss | BatchTerm]
"""What a debiasing term returns, by name."""


def debias_of_views(
    vectors: ViewEmbeddings,
    positiveness: BetweenParticipants,
    bias: PerParticipant,
    settings: DebiasSettings,
) -> DebiasTerms:
    """Return a debiasing term of a batch that holds participants of several biases.

    Args:
        vectors: Embeddings or representations of every view.
        positiveness: Between participants, ones on the diagonal.
        bias: A code per participant; NaN where it is not known.
        settings: Which term.
    """
    record, own = settings.record, own_settings(settings)
    if settings.as_the_authors and record.authors_variant is not None:
        first = F.normalize(vectors[:, 0].float(), dim=1)
        return call(record.authors_variant, first, positiveness == 1, bias, settings=own)
    match record.sees:
        case "participants":
            return call(record.function, vectors, positiveness, bias, settings=own)
        case "rows":
            codes = bias.repeat_interleave(vectors.shape[1])
            return call(record.function, vectors.flatten(0, 1), codes, settings=own)
        case "pairs":
            pairs = bias_pairs(vectors, positiveness, bias)
            return call(record.function, pairs, settings=own)
        case "groups":
            pairs = bias_pairs(vectors, positiveness, bias)
            return debias_of_groups(pairs.groups, settings)


def debias_of_groups(groups: BiasGroups, settings: DebiasSettings) -> DebiasTerms:
    """Return a debiasing term that compares two groups of pairs."""
    return call(settings.record.function, groups, settings=own_settings(settings))


def own_settings(settings: DebiasSettings) -> dict[str, object]:
    """Return the settings that belong to this term and not to every one, by name."""
    shared = {*DebiasSettings.model_fields, "name"}
    names = (name for name in type(settings).model_fields if name not in shared)
    return {name: getattr(settings, name) for name in names}
