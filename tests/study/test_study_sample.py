"""Fewer to train on: more hold the fewer, tests stay, and nobody's scans are torn apart."""

import numpy as np
import pandas as pd
import pytest

from fedcl.config.data import Sample
from fedcl.data.cohort import EXTERNAL_TEST, INTERNAL_TEST, SPLITS, TRAIN, Cohort
from fedcl.data.open import open_experiment
from fedcl.data.sample import sample_cohort
from fedcl.errors import ConfigError, DataError
from tests.builders import add_scans, config_of, table_tree, with_values, write_table

SIZES = {"north": 9, "south": 12, "12": 17, "3": 5, "east": 2}


def made(sizes=None, scans=None):
    """A cohort by hand; `scans` says who has more than one."""
    rows = []
    for site, size in (sizes or SIZES).items():
        for person in range(size):
            who = f"{site}-{person}"
            split = INTERNAL_TEST if person % 4 == 1 else TRAIN
            for scan in range((scans or {}).get(who, 1)):
                rows.append((who, f"{who}.{scan}", site, 20.0 + person, "male", split))
    for person in range(6):
        rows.append((f"far-{person}", f"far-{person}", "far", 30.0, "female", EXTERNAL_TEST))
    columns = ["participant_id", "scan", "site", "age", "sex", "split"]
    table = pd.DataFrame(rows, columns=columns)
    values = np.arange(len(table), dtype=np.float32)
    return Cohort("made", table, (1,), lambda row: values[row : row + 1], digest="d")


def scans(cohort, split=None, site=None):
    return set(cohort.table["scan"].to_numpy()[cohort.rows(split=split, site=site)])


def draw(cohort, seed=3, least=3, one_site=False, **asked):
    return sample_cohort(
        cohort, Sample(**asked), seed=seed, min_participants=least, one_site=one_site
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_larger_share_of_participants_holds_the_smaller_one(seed):
    whole, before = made(), set()
    for share in (0.01, 0.1, 0.34, 0.5, 0.75, 0.999, 1.0):
        cohort = draw(whole, seed=seed, participants=share)
        now = scans(cohort, TRAIN)
        assert before <= now
        for site in SIZES:
            people = len(whole.rows(split=TRAIN, site=site))
            wanted = next(n for n in range(people + 1) if n >= share * people - 1e-9)
            assert len(cohort.rows(split=TRAIN, site=site)) == wanted
        for split in (INTERNAL_TEST, EXTERNAL_TEST):
            assert scans(cohort, split) == scans(whole, split)
        before = now
    assert before == scans(whole, TRAIN)


@pytest.mark.parametrize("seed", range(5))
def test_more_sites_hold_the_fewer_and_the_external_test_is_everybodys(seed):
    whole, before = made(), set()
    for count in (1, 2, 3, 4):
        cohort = draw(whole, seed=seed, sites=count)
        trained = {site for site in SIZES if len(cohort.rows(split=TRAIN, site=site))}
        assert len(trained) == count
        assert before < trained
        assert scans(cohort, EXTERNAL_TEST) == scans(whole, EXTERNAL_TEST)
        tested = set().union(*(scans(whole, INTERNAL_TEST, site) for site in trained))
        assert scans(cohort, INTERNAL_TEST) == tested, "of the drawn sites only, and all of theirs"
        assert scans(cohort, TRAIN) == set().union(*(scans(whole, TRAIN, s) for s in trained))
        assert "east" not in trained, "too few participants to take part"
        before = trained


def test_seeds_draw_others():
    whole = made()
    people = {frozenset(scans(draw(whole, seed=seed, participants=0.5))) for seed in range(8)}
    sites = {frozenset(draw(whole, seed=seed, sites=2).sites) for seed in range(30)}
    assert len(people) == 8
    assert len(sites) == 6, "each pair of the four sites comes up"


def test_a_participant_more_elsewhere_changes_nobodys_draw():
    before = draw(made(), participants=0.5)
    after = draw(made({**SIZES, "north": 30}), participants=0.5)
    for site in SIZES:
        if site != "north":
            assert scans(after, TRAIN, site) == scans(before, TRAIN, site)


def test_a_participant_more_at_the_site_moves_the_border_alone():
    """Whoever is drawn among fewer is drawn before the same others among more."""
    before = draw(made(), participants=0.5)
    after = draw(made({**SIZES, "north": 10}), participants=0.5)
    own, more = scans(before, TRAIN, "north"), scans(after, TRAIN, "north")
    assert len(own - more) <= 1
    assert len(more - own) <= 1


def test_a_site_more_takes_its_place_among_the_drawn_or_changes_nothing():
    for seed in range(12):
        before = set(draw(made(), seed=seed, sites=2).sites)
        after = set(draw(made({**SIZES, "new": 8}), seed=seed, sites=2).sites)
        assert after == before or ("new" in after and len(before - after) == 1)


def test_the_order_of_the_table_draws_nothing():
    whole = made()
    order = np.random.default_rng(1).permutation(len(whole))
    for asked in ({"participants": 0.4}, {"sites": 2}):
        assert scans(draw(whole.only(order), **asked)) == scans(draw(whole, **asked))


def test_no_participants_scans_are_separated():
    several = {"north-0": 3, "north-2": 2, "12-4": 5, "12-5": 2, "south-8": 4}
    whole = made(scans=several)
    sizes = whole.table.groupby("participant_id")["scan"].nunique()
    for seed in range(6):
        for share in (0.2, 0.5, 0.8):
            cohort = draw(whole, seed=seed, participants=share)
            kept = cohort.table.groupby("participant_id")["scan"].nunique()
            assert (kept == sizes[kept.index]).all()
            once = draw(made(), seed=seed, participants=share)
            assert set(cohort.table["participant_id"]) == set(once.table["participant_id"])


def test_labels_name_the_sites():
    whole = made()
    cohort = draw(whole, sites=("12", "south"))
    assert set(cohort.sites) == {"12", "south", "far"}
    assert scans(cohort, TRAIN) == scans(whole, TRAIN, "12") | scans(whole, TRAIN, "south")


def test_both_at_once_are_one_after_the_other():
    whole = made()
    both = draw(whole, sites=2, participants=0.5)
    assert scans(both) == scans(draw(draw(whole, sites=2), participants=0.5))
    trained = tuple(site for site in both.sites if site != "far")
    assert scans(both) == scans(draw(draw(whole, participants=0.5), sites=trained))


def test_arrays_stay_with_their_scans():
    whole = made()
    cohort = draw(whole, participants=0.3, sites=3)
    place = {scan: row for row, scan in enumerate(whole.table["scan"])}
    for row, scan in enumerate(cohort.table["scan"]):
        assert cohort.read(row)[0] == place[scan]
    assert cohort.digest != whole.digest


def test_everybody_asked_for_is_everybody():
    whole = made()
    assert scans(draw(whole)) == scans(draw(whole, participants=1.0)) == scans(whole)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"sites": 5}, "sample.sites: 5, and made has 4 sites to train on"),
        ({"sites": ("nort",)}, "sample.sites: no training site 'nort'; did you mean 'north'?"),
        ({"sites": ("far",)}, "no training site 'far'"),
        ({"sites": ("east",)}, "no training site 'east'"),
    ],
)
def test_sites_that_cannot_be_drawn_are_told(asked, told):
    with pytest.raises(DataError) as refused:
        draw(made(), **asked)
    assert told in str(refused.value)


@pytest.mark.parametrize("share", [0, -0.1, 1.01, "half"])
def test_a_share_is_more_than_none_and_at_most_all(tmp_path, share):
    with pytest.raises(ConfigError, match=r"sample\.participants"):
        config_of(with_values(table_tree(tmp_path), sample={"participants": share}))


def opened(tmp_path, sample, own_site=None):
    tree = with_values(table_tree(tmp_path), sample=sample)
    return open_experiment(config_of(tree), own_site=own_site)


@pytest.fixture
def table(tmp_path):
    write_table(tmp_path / "data", {"north": 9, "south": 12, "12": 17})
    return add_scans(tmp_path / "data", {"north00": 2, "1205": 1})


@pytest.mark.usefixtures("table")
def test_a_site_that_sees_itself_draws_what_a_simulation_draws_for_it(tmp_path):
    sample = {"participants": 0.5, "sites": ["north", "12"]}
    whole = opened(tmp_path, sample)
    for site in ("north", "12"):
        assert scans(opened(tmp_path, sample, site)) == scans(whole, site=site)
    assert not len(opened(tmp_path, sample, "south")), "left out as among the others"
    assert len(opened(tmp_path, sample, "far")) == 4


@pytest.mark.usefixtures("table")
def test_a_site_that_sees_itself_cannot_draw_among_sites(tmp_path):
    with pytest.raises(DataError, match=r"sample\.sites: 2 sites cannot be drawn where a site see"):
        opened(tmp_path, {"sites": 2}, "north")


@pytest.mark.usefixtures("table")
def test_an_experiments_sample_is_drawn_when_it_is_opened(tmp_path):
    everybody, half = opened(tmp_path, None), opened(tmp_path, {"participants": 0.5})
    assert len(half.rows(split=TRAIN)) < len(everybody.rows(split=TRAIN))
    assert {split: len(half.rows(split=split)) for split in SPLITS[1:]} == {
        split: len(everybody.rows(split=split)) for split in SPLITS[1:]
    }
