"""Draw training, internal test and external test for a cohort that comes without a split.

Every draw is seeded by the participant's id or the site's label, so that adding a participant or a
site does not change the split of any other.
"""

from dataclasses import replace

import pandas as pd

from fedcl.config.data import Splits
from fedcl.data.cohort import EXTERNAL_TEST, INTERNAL_TEST, TRAIN, Cohort, manifest_digest
from fedcl.errors import DataError
from fedcl.seeds import derive
from fedcl.site_labels import site_order


def resplit(cohort: Cohort, splits: Splits | None, *, seed: int, one_site: bool) -> Cohort:
    """Return the cohort with splits drawn anew, or unchanged where `splits` is None.

    Raises:
        DataError: an external site is not in the table, or no site is left to train on.
    """
    if splits is None:
        return cohort
    table = cohort.table.copy()
    table["split"] = draw_splits(table, splits, seed=seed, one_site=one_site)
    return replace(cohort, table=table, digest=manifest_digest(table, [cohort.digest]))


def draw_splits(
    table: pd.DataFrame, splits: Splits, *, seed: int, one_site: bool = False
) -> pd.Series:
    """Return a split for each row: whole external sites, and a share of every other site.

    All scans of a participant are in the same split. A site draws the same split for its own
    participants whether the table holds the other sites or not.

    Args:
        table: Participants table, one row per scan.
        splits: External sites, and the share of participants in the internal test.
        seed: Seed of the experiment, from which every draw is derived.
        one_site: Whether the table holds one site only; labels not in it are then other sites'.

    Raises:
        DataError: an external site is not in the table, or no site is left to train on.
    """
    sites = sorted(table["site"].unique(), key=site_order)
    wanted = splits.external_sites
    if isinstance(wanted, int) and wanted and one_site:
        raise DataError(
            f"data.splits.external_sites: {wanted} sites cannot be drawn where a site sees itself "
            "only; name the labels of the external sites, the same at every site, or write 0"
        )
    if isinstance(wanted, int):
        if wanted >= len(sites):
            raise DataError(
                f"data.splits.external_sites: {wanted} of {len(sites)} sites would leave none to "
                "train on; choose fewer"
            )
        external = set(sorted(sites, key=lambda site: derive(seed, "external site", site))[:wanted])
    else:
        unknown = [site for site in wanted if site not in sites]
        if unknown and not one_site:
            raise DataError(
                f"data.splits.external_sites: no site {', '.join(unknown)}; there are "
                f"{', '.join(sites)}"
            )
        external = set(wanted)

    split = pd.Series(TRAIN, index=table.index)
    split[table["site"].isin(external)] = EXTERNAL_TEST
    for site in sites:
        if site not in external:
            people = table.loc[table["site"] == site, "participant_id"].unique()
            order = sorted(people, key=lambda person: derive(seed, "split", str(person)))
            chosen = order[: round(splits.internal_fraction * len(people))]
            split[table["participant_id"].isin(chosen)] = INTERNAL_TEST
    return split
