"""Splits drawn anew for data that come with their own: OpenBHB and its phantom."""

import pytest

from fedcl.config.data import OpenBHBData, PhantomData, Splits
from fedcl.data.cohort import EXTERNAL_TEST, INTERNAL_TEST, SPLITS, TRAIN
from fedcl.data.open import open_cohort
from fedcl.data.phantom.cohort import write_phantom
from fedcl.errors import DataError

SITES = ("1", "4", "10", "17", "59")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A phantom of five of OpenBHB's sites."""
    path = tmp_path_factory.mktemp("resplit") / "phantom"
    write_phantom(path, scale=0.03, grid=(8, 9, 8), scanner_strength=1.0, seed=5, sites=SITES)
    return path


def data(folder, kind, splits):
    if kind == "openbhb":
        return OpenBHBData(
            kind="openbhb",
            path=folder,
            modality="cat12vbm_roi",
            grid=None,
            intensity=None,
            splits=splits,
        )
    return PhantomData(
        kind="phantom",
        path=folder,
        modality="cat12vbm_roi",
        scale=0.03,
        grid=(8, 9, 8),
        scanner_strength=1.0,
        sites=SITES,
        splits=splits,
    )


def opened(folder, tmp_path, splits, kind="openbhb", seed=5, own_site=None):
    return open_cohort(
        data(folder, kind, splits), seed=seed, cache=tmp_path / "c", own_site=own_site
    )


BOTH = pytest.mark.parametrize("kind", ["openbhb", "phantom"])
SPLIT = Splits(external_sites=("10", "59"), internal_fraction=0.25)


@pytest.mark.slow
@BOTH
def test_named_sites_are_unseen_and_a_share_of_every_other_is_tested(folder, tmp_path, kind):
    cohort = opened(folder, tmp_path, SPLIT, kind)
    assert cohort.sites == SITES
    for site in SITES:
        size = len(cohort.rows(site=site))
        sizes = [len(cohort.rows(site=site, split=split)) for split in SPLITS]
        tested = round(0.25 * size)
        unseen = site in SPLIT.external_sites
        assert sizes == ([0, 0, size] if unseen else [size - tested, tested, 0])


@BOTH
def test_null_keeps_the_splits_that_are_there(folder, tmp_path, kind):
    cohort = opened(folder, tmp_path, None, kind)
    assert set(cohort.table["split"]) == set(SPLITS)
    drawn = opened(folder, tmp_path, SPLIT, kind)
    assert not cohort.table["split"].equals(drawn.table["split"])
    same = [name for name in cohort.table if name != "split"]
    assert cohort.table[same].equals(drawn.table[same]), "nothing else is another"
    for row in (0, len(cohort) - 1):
        assert (cohort.read(row) == drawn.read(row)).all()


def test_a_phantom_is_split_like_the_openbhb_it_looks_like(folder, tmp_path):
    one, other = (opened(folder, tmp_path, SPLIT, kind) for kind in ("openbhb", "phantom"))
    assert one.table.equals(other.table)
    assert one.digest == other.digest


def test_another_split_is_other_data(folder, tmp_path):
    official, drawn = opened(folder, tmp_path, None), opened(folder, tmp_path, SPLIT)
    again = opened(folder, tmp_path, SPLIT)
    fewer = opened(folder, tmp_path, Splits(external_sites=("10",), internal_fraction=0.25))
    assert drawn.digest == again.digest
    assert len({official.digest, drawn.digest, fewer.digest}) == 3


def test_seeds_draw_other_sites_and_other_participants(folder, tmp_path):
    splits = Splits(external_sites=2, internal_fraction=0.25)
    found = [opened(folder, tmp_path, splits, seed=seed).table for seed in range(8)]
    unseen = [frozenset(t["site"][t["split"] == EXTERNAL_TEST]) for t in found]
    assert {len(sites) for sites in unseen} == {2}
    assert len(set(unseen)) > 3
    named = [opened(folder, tmp_path, SPLIT, seed=seed).table for seed in range(4)]
    tested = [frozenset(t["scan"][t["split"] == INTERNAL_TEST]) for t in named]
    assert len(set(tested)) == 4


def test_one_more_unseen_site_changes_no_other_sites_split(folder, tmp_path):
    fewer = opened(folder, tmp_path, Splits(external_sites=("10",), internal_fraction=0.25))
    more = opened(folder, tmp_path, SPLIT)
    for site in set(SITES) - set(SPLIT.external_sites):
        rows = fewer.rows(site=site)
        assert (fewer.table["split"].iloc[rows] == more.table["split"].iloc[rows]).all()


@pytest.mark.parametrize("site", SITES)
def test_a_site_that_sees_itself_draws_what_is_drawn_for_it(folder, tmp_path, site):
    whole = opened(folder, tmp_path, SPLIT)
    own = opened(folder, tmp_path, SPLIT, own_site=site)
    split = whole.table["split"].iloc[whole.rows(site=site)]
    assert own.table["split"].tolist() == split.tolist()
    assert (TRAIN in own.table["split"].tolist()) == (site not in SPLIT.external_sites)


def test_splits_that_cannot_be_are_told(folder, tmp_path):
    def told(external, own_site=None):
        splits = Splits(external_sites=external, internal_fraction=0.2)
        with pytest.raises(DataError) as refused:
            opened(folder, tmp_path, splits, own_site=own_site)
        return str(refused.value)

    assert "no site 99; there are 1, 4, 10, 17, 59" in told(("10", "99"))
    assert "5 of 5 sites would leave none to train on" in told(5)
    assert "2 sites cannot be drawn where a site sees itself only" in told(2, own_site="4")
