"""A cohort with fewer to train on; whom a test holds does not change with their number."""

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

    Every draw is named by the site or the participant, so that more of them hold the fewer.

    Args:
        cohort: Everybody.
        sample: Who stays.
        seed: Names the draws.
        min_participants: Of a training site; smaller ones are not drawn.
        one_site: The cohort is of one site, which cannot draw among sites.

    Raises:
        DataError: more sites are asked for than there are, or an unknown one.
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
            kept = set(order[: math.ceil(round(sample.participants * len(order), 9))])
            # A site never seen in training has nobody, whose list would be of no type.
            stays[rows] = stays[rows] & np.array([who in kept for who in people], dtype=bool)
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
