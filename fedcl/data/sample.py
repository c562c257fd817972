"""Reduce the training sites or participants of a cohort; its test sets stay the same."""

import math

import numpy as np

from fedcl.config.data import Sample
from fedcl.data.cohort import EXTERNAL_TEST, TRAIN, Cohort
from fedcl.errors import DataError
from fedcl.seeds import derive
from fedcl.site_labels import nearest_label


def sample_cohort(
    cohort: Cohort, sample: Sample, *, seed: int, min_participants: int, one_site: bool = False
) -> Cohort:
    """Return the cohort without the training sites and participants that `sample` leaves out.

    Every draw is seeded by the label of the site or the id of the participant, so that a larger
    sample contains a smaller one.

    Args:
        cohort: Cohort with all sites and participants.
        sample: Sites to train on, and the share of their training participants.
        seed: Seed of the experiment, from which every draw is derived.
        min_participants: Least number of training participants of a site that can be drawn.
        one_site: Whether the cohort holds one site only, which cannot draw among sites.

    Raises:
        DataError: more sites are asked for than there are, or a site is unknown.
    """
    table = cohort.table
    stays = np.ones(len(table), dtype=bool)
    if sample.sites is not None:
        chosen = _chosen(cohort, sample.sites, seed, min_participants, one_site)
        wanted = table["site"].isin(chosen) | (table["split"] == EXTERNAL_TEST)
        stays &= wanted.to_numpy()
    if sample.participants is not None:
        for site in cohort.sites:
            rows = cohort.rows(split=TRAIN, site=site)
            people = table["participant_id"].to_numpy()[rows]
            order = sorted(set(people), key=lambda who: derive(seed, "sample", str(who)))
            chosen = set(order[: math.ceil(round(sample.participants * len(order), 9))])
            # The type is given for sites without training participants, whose list is empty.
            stays[rows] = stays[rows] & np.array([who in chosen for who in people], dtype=bool)
    return cohort.only(np.flatnonzero(stays))


def _chosen(
    cohort: Cohort, wanted: int | tuple[str, ...], seed: int, least: int, one_site: bool
) -> set[str]:
    known = cohort.training_sites(min_participants=least)
    if not isinstance(wanted, int):
        unknown = [site for site in wanted if site not in known]
        if unknown and not one_site:
            raise DataError(
                f"sample.sites: no training site {unknown[0]!r}{nearest_label(unknown[0], known)}"
            )
        return set(wanted)
    if one_site:
        raise DataError(
            f"sample.sites: {wanted} sites cannot be drawn where a site sees itself only; name "
            "their labels, the same at every site, or write null"
        )
    if wanted > len(known):
        raise DataError(
            f"sample.sites: {wanted}, and {cohort.name} has {len(known)} sites to train on"
        )
    return set(sorted(known, key=lambda site: derive(seed, "sampled site", site))[:wanted])
