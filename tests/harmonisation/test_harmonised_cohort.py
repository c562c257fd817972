"""A harmonised cohort: fitted on training participants, lazily applied, honest about ages."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.linear_model import RidgeCV

from fedcl.cli.deploy import approve
from fedcl.cli.run import run_between_institutions
from fedcl.config.harmonise import CombatSettings
from fedcl.config.loading import resolved_text
from fedcl.data.cohort import TRAIN, Cohort
from fedcl.data.harmonised import harmonise_cohort
from fedcl.data.open import open_experiment
from fedcl.deployment.approval import Approvals
from fedcl.errors import ConfigError, DataError
from fedcl.experiment.run import run_experiment
from tests.builders import add_scans, config_of, private_tree, table_tree, volume_tree, write_table
from tests.deployment.homes import home_at
from tests.harmonisation.scanned import Scanned, fitted
from tests.progress import Told

AS_PUBLISHED = CombatSettings(
    kind="combat",
    covariates=("age", "sex"),
    age={"kind": "linear"},
    adjust="participant",
    unseen="unchanged",
)
AT_MEAN = AS_PUBLISHED.model_copy(update={"adjust": "site_mean"})
SECTION = AT_MEAN.model_dump(mode="json")


def made(rng: np.random.Generator, features: int = 8) -> Cohort:
    """Sites of 7, 9 and 14 participants, of whom two each are tested; one of 1, one never seen."""
    sizes = {"12": 14, "north": 7, "south": 9, "tiny": 3, "unseen": 6}
    rows, arrays = [], []
    for number, (site, size) in enumerate(sizes.items()):
        for index in range(size):
            split = "internal_test" if index in (1, 4) else "train"
            split = {"unseen": "external_test"}.get(site, split)
            split = "internal_test" if site == "tiny" and index else split
            age, sex = rng.uniform(18, 80), ["female", "male", ""][rng.integers(3)]
            name = f"{site}{index}"
            rows.append((name, name, site, age, sex, split))
            noise = rng.normal(size=features) * (1 + 0.5 * number)
            arrays.append(3 + 0.05 * age + number + noise)
    columns = ["participant_id", "scan", "site", "age", "sex", "split"]
    return of(pd.DataFrame(rows, columns=columns), np.asarray(arrays, dtype=np.float32))


def of(table: pd.DataFrame, arrays: np.ndarray, files: tuple[Path, ...] = ()) -> Cohort:
    return Cohort("made", table, arrays.shape[1:], arrays.__getitem__, "d", files=files)


def training(cohort: Cohort) -> np.ndarray:
    """Rows of training participants of the three sites that have three."""
    return np.concatenate([cohort.rows(split=TRAIN, site=s) for s in ("12", "north", "south")])


def everything(
    cohort: Cohort, tmp_path: Path, settings: CombatSettings = AT_MEAN, **also
) -> np.ndarray:
    also = {"min_participants": 3, "cache": tmp_path / "cache", "origin": "made", **also}
    return harmonise_cohort(cohort, settings, **also).load(range(len(cohort)))


def as_scanned(cohort: Cohort, rows: np.ndarray) -> Scanned:
    table = cohort.table.iloc[rows]
    sex = table["sex"].map({"female": -0.5, "male": 0.5, "": 0}).to_numpy(dtype=float)
    x = np.stack([table["age"].to_numpy(), sex], axis=1)
    y = cohort.load(rows).reshape(len(rows), -1)
    return Scanned(y, x, table["site"].to_numpy(), cohort.shares(rows))


def test_everybody_of_a_site_is_adjusted_by_what_was_fitted_on_its_training_part(tmp_path, rng):
    cohort = made(rng)
    known = cohort.table["site"].isin(["12", "north", "south"]).to_numpy()
    fit = fitted(as_scanned(cohort, training(cohort)))
    rows = np.flatnonzero(known)
    for settings, how in ((AS_PUBLISHED, "published"), (AT_MEAN, "site_mean")):
        expected = fit.adjusted(as_scanned(cohort, rows), how)
        found = everything(cohort, tmp_path, settings)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[rows], expected, rtol=1e-6)
        np.testing.assert_array_equal(found[~known], cohort.load(np.flatnonzero(~known)))


def test_test_participants_change_nothing_of_what_is_done_to_others(tmp_path, rng):
    cohort = made(rng)
    tested = (cohort.table["split"] != TRAIN).to_numpy()
    arrays = cohort.load(range(len(cohort)))
    arrays[tested] += 100
    table = cohort.table.copy()
    table.loc[tested, "age"] = 18.0
    table.loc[tested, "sex"] = "male"
    before = everything(cohort, tmp_path)
    after = everything(of(table, arrays), tmp_path)
    np.testing.assert_array_equal(after[~tested], before[~tested])
    assert np.abs(after - before)[tested].min() > 10


def test_at_the_site_mean_nobodys_covariates_matter_to_what_is_done_to_their_scan(tmp_path, rng):
    cohort = made(rng)
    tested = (cohort.table["split"] != TRAIN).to_numpy()
    table = cohort.table.assign(age=cohort.table["age"].where(~tested, 90.0))
    older = of(table, cohort.load(range(len(cohort))))
    for adjust, unseen in product(("site_mean", "location"), ("unchanged", "own")):
        settings = AT_MEAN.model_copy(update={"unseen": unseen, "adjust": adjust})
        np.testing.assert_array_equal(
            everything(older, tmp_path, settings), everything(cohort, tmp_path, settings)
        )
    told = everything(older, tmp_path, AS_PUBLISHED) - everything(cohort, tmp_path, AS_PUBLISHED)
    assert np.abs(told).max() > 0.3


def test_the_location_alone_keeps_every_difference_within_a_site(tmp_path, rng):
    cohort = made(rng)
    location = AT_MEAN.model_copy(update={"adjust": "location"})
    removed = cohort.load(range(len(cohort))) - everything(cohort, tmp_path, location)
    for site in ("12", "north", "south"):
        rows = cohort.rows(site=site)
        effect = fitted(as_scanned(cohort, training(cohort))).effects[site]
        np.testing.assert_allclose(removed[rows], np.tile(effect.shift, (len(rows), 1)), atol=1e-5)


def noisy_site(seed: int) -> Cohort:
    """Three sites of 120; what the third measures is drowned in six times the first's noise."""
    rng = np.random.default_rng(seed)
    rows, arrays = [], []
    for site, noise in (("a", 0.5), ("b", 1.0), ("c", 3.0)):
        shift = rng.normal(size=50)
        for index in range(120):
            age, name = rng.uniform(18, 80), f"{site}{index:03d}"
            split = "internal_test" if index % 2 else "train"
            rows.append((name, name, site, age, "male", split))
            course = 0.02 * age * np.linspace(-1, 1, 50)
            arrays.append(course + shift + noise * rng.normal(size=50))
    columns = ["participant_id", "scan", "site", "age", "sex", "split"]
    return of(pd.DataFrame(rows, columns=columns), np.asarray(arrays, dtype=np.float32))


def test_the_published_adjustment_tells_the_age_that_is_to_be_predicted(tmp_path):
    """Mean over five worlds, at the noisy site: the error of age, and how well it predicts an age
    that was drawn at random and given to ComBat with the same scans. These numbers are in
    docs/explanation/harmonisation.md."""
    settings = {
        name: one.model_copy(update={"covariates": ("age",)})
        for name, one in (("site_mean", AT_MEAN), ("participant", AS_PUBLISHED))
    }
    error: dict[str, list[float]] = {name: [] for name in settings}
    drawn: dict[str, list[float]] = {name: [] for name in settings}
    for seed in range(5):
        cohort = noisy_site(seed)
        train, tested = cohort.rows(split=TRAIN), cohort.rows(split="internal_test", site="c")
        table = cohort.table.copy()
        another = np.random.default_rng(seed).permutation(cohort.ages(tested))
        table.loc[tested, "age"] = another
        for name, one in settings.items():
            arrays = everything(cohort, tmp_path, one)
            probe = RidgeCV(np.logspace(-2, 4, 13)).fit(arrays[train], cohort.ages(train))
            error[name].append(
                float(np.abs(probe.predict(arrays[tested]) - cohort.ages(tested)).mean())
            )
            given = everything(of(table, cohort.load(range(len(cohort)))), tmp_path, one)
            drawn[name].append(np.corrcoef(probe.predict(given[tested]), another)[0, 1])
    assert np.mean(error["site_mean"]) == pytest.approx(13.5, abs=0.1)
    assert np.mean(error["participant"]) == pytest.approx(11.5, abs=0.1)
    assert np.mean(drawn["site_mean"]) == pytest.approx(0.0, abs=0.05)
    assert np.mean(drawn["participant"]) == pytest.approx(0.26, abs=0.03)


def test_a_site_never_seen_is_left_alone_or_brought_to_the_others_by_its_own_scans(tmp_path, rng):
    cohort = made(rng, features=40)
    own = AT_MEAN.model_copy(update={"unseen": "own"})
    left, brought = everything(cohort, tmp_path), everything(cohort, tmp_path, own)
    unseen = cohort.rows(site="unseen")
    np.testing.assert_array_equal(left[unseen], cohort.load(unseen))
    others = brought[np.flatnonzero(cohort.table["site"].isin(["12", "north", "south"]))]
    assert abs(left[unseen].mean() - others.mean()) > 2
    assert abs(brought[unseen].mean() - others.mean()) < 0.5
    assert left[unseen].std(axis=0).mean() > 1.5 * others.std(axis=0).mean()
    assert brought[unseen].std(axis=0).mean() == pytest.approx(others.std(axis=0).mean(), rel=0.3)
    known = np.flatnonzero(cohort.table["split"] == TRAIN)[:-1]  # the last is of "tiny"
    np.testing.assert_array_equal(brought[known], left[known])


def test_a_site_with_one_participant_has_no_scale_of_its_own(tmp_path, rng):
    cohort = made(rng)
    table = cohort.table.copy()
    table.loc[table.index[-1], "site"] = "single"
    cohort = of(table, cohort.load(range(len(cohort))))
    for settings in (AT_MEAN, AS_PUBLISHED):
        found = everything(cohort, tmp_path, settings.model_copy(update={"unseen": "own"}))
        np.testing.assert_array_equal(found[-1], cohort.read(len(cohort) - 1))
        assert (found[-2] != cohort.read(len(cohort) - 2)).all()


def as_volumes(cohort: Cohort, folder: Path) -> Cohort:
    """The same numbers as volumes of (1, 2, 2, 2), one file each."""
    folder.mkdir(exist_ok=True)
    files = []
    for row, name in enumerate(cohort.table["scan"]):
        files.append(folder / f"{name}.npy")
        np.save(files[-1], cohort.read(row))
    arrays = cohort.load(range(len(cohort))).reshape(-1, 1, 2, 2, 2)
    return of(cohort.table, arrays, tuple(files))


@pytest.mark.parametrize("adjust", ["site_mean", "location", "participant"])
def test_volumes_are_adjusted_as_tables_are(tmp_path, rng, adjust):
    cohort = made(rng)
    settings = AT_MEAN.model_copy(update={"unseen": "own", "adjust": adjust})
    told = Told()
    found = everything(as_volumes(cohort, tmp_path / "v"), tmp_path, settings, progress=told)
    expected = everything(cohort, tmp_path, settings)
    assert found.shape == (len(cohort), 1, 2, 2, 2)
    np.testing.assert_allclose(found.reshape(len(cohort), -1), expected, rtol=2e-6, atol=2e-6)
    seen = told.counts("Harmonising scans")
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))


def test_a_fit_of_volumes_is_kept_under_what_it_was_made_of(tmp_path, rng):
    cohort = as_volumes(made(rng), tmp_path / "v")

    def again(one: Cohort = cohort, **also) -> int:
        told = Told()
        everything(one, tmp_path, progress=told, **also)
        return len(told.steps)

    assert again() > 0
    assert again() == 0
    assert again(origin="another grid") > 0
    np.save(cohort.files[0], cohort.read(0) + 1)  # a training scan is replaced
    assert again() > 0
    np.save(cohort.files[1], cohort.read(1) + 1)  # a test participant's
    assert again() == 0
    listing = next((tmp_path / "cache" / "harmonised").glob("*/sites.json"))
    assert sorted(json.loads(listing.read_text())) == ["12", "north", "south"]
    for one in (tmp_path / "cache" / "harmonised").glob("*/sites.json"):
        one.unlink()  # killed before the end
    assert again() > 0


def test_the_digest_tells_a_harmonised_cohort_from_another(tmp_path, rng):
    cohort = made(rng)
    digests = {cohort.digest}
    for settings, least in ((AT_MEAN, 3), (AS_PUBLISHED, 3), (AT_MEAN, 4)):
        one = harmonise_cohort(cohort, settings, min_participants=least, cache=tmp_path, origin="")
        digests.add(one.digest)
    assert len(digests) == 4


def test_too_few_sites_are_one_message(tmp_path, rng):
    with pytest.raises(DataError, match="0 of 5 have 50 training participants; lower local"):
        everything(made(rng), tmp_path, min_participants=50)


def experiment(tmp_path: Path, **changes):
    return config_of({**table_tree(tmp_path), "harmonise": {**SECTION, **changes}})


def test_an_experiment_is_opened_harmonised(tmp_path):
    add_scans(write_table(tmp_path / "data"), {"north02": 2})
    plain = open_experiment(config_of(table_tree(tmp_path)))
    cohort = open_experiment(experiment(tmp_path, adjust="location"))
    assert cohort.digest != plain.digest
    train = cohort.rows(split=TRAIN)

    def spread(one: Cohort) -> float:
        """Of the sites' means of the feature that is 6 higher at one than at the other."""
        means = [one.load(one.rows(split=TRAIN, site=s))[:, 2].mean() for s in ("12", "north")]
        return float(np.abs(np.diff(means))[0])

    assert spread(plain) > 5
    assert spread(cohort) < 1
    before, after = plain.load(train), cohort.load(train)
    assert np.corrcoef(cohort.ages(train), after[:, 1])[0, 1] < -0.99
    assert np.isfinite(after).all()
    assert (before != after).any(axis=0).all()


@pytest.mark.slow
def test_volumes_of_an_experiment_are_opened_harmonised_from_the_cache(tmp_path):
    tree = {**volume_tree(tmp_path), "harmonise": {**SECTION, "covariates": ["age"]}}
    tree["harmonise"]["age"] = {"kind": "natural_spline", "knots": [20, 40, 60]}
    plain = open_experiment(config_of(volume_tree(tmp_path)))
    first = open_experiment(config_of(tree))
    kept = sorted((tmp_path / "runs" / ".cache" / "harmonised").rglob("*"))
    second = open_experiment(config_of(tree))
    assert sorted((tmp_path / "runs" / ".cache" / "harmonised").rglob("*")) == kept
    train = first.rows(split=TRAIN)[:5]
    np.testing.assert_array_equal(first.load(train), second.load(train))
    assert (first.load(train) != plain.load(train)).mean() > 0.9


@pytest.mark.slow
def test_a_run_says_that_ages_enter_and_trains(tmp_path):
    """Slow (about 5 s): a whole run with its report."""
    write_table(tmp_path / "data")
    told = Told()
    config = experiment(tmp_path, adjust="participant", unseen="own")
    results, _ = run_experiment("pooled", config, resume=False, restart=False, progress=told)
    assert results.run.data_digest == open_experiment(config).digest
    assert "adjust: participant lets the age that is to be predicted enter" in told.lines[0]
    assert "unseen: own has looked at" in told.lines[1]


def test_a_site_that_sees_itself_only_is_told_what_to_do(tmp_path):
    write_table(tmp_path / "data")
    with pytest.raises(ConfigError, match=r"sees itself only; .* Write harmonise: null"):
        open_experiment(experiment(tmp_path), own_site="south")


def test_a_hospital_by_itself_has_nobody_to_be_compared_with(tmp_path):
    write_table(tmp_path / "data")
    with pytest.raises(ConfigError, match="`fedcl local` is what each has by itself"):
        run_experiment(
            "local",
            experiment(tmp_path),
            resume=False,
            restart=False,
        )


def test_privacy_does_not_go_with_harmonised_scans(tmp_path):
    with pytest.raises(ConfigError, match=r"no ledger counts; with privacy\.mode: participant"):
        config_of({**private_tree(tmp_path), "harmonise": SECTION})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"age": None}, "age: say how features depend on it"),
        ({"covariates": ["sex"]}, "null where it is not"),
        ({"covariates": ["sex", "sex"], "age": None}, "covariates: name each once"),
        ({"covariates": ["height"]}, "Input should be 'age' or 'sex'"),
        ({"age": {"kind": "natural_spline", "knots": [20, 60, 40]}}, "in ascending order"),
        ({"age": {"kind": "natural_spline", "knots": [20, 60]}}, "at least 3 items"),
        ({"adjusted": "site_mean"}, "harmonise.adjusted: unknown key; did you mean 'adjust'?"),
        ({"unseen": "mean"}, "harmonise.unseen: Input should be 'unchanged' or 'own'"),
    ],
)
def test_a_wrong_section_is_one_message(tmp_path, changes, message):
    with pytest.raises(ConfigError) as caught:
        experiment(tmp_path, **changes)
    assert message in str(caught.value)


def test_a_site_of_one_sex_only_does_not_stop_the_fit(tmp_path, rng):
    cohort = made(rng)
    same = cohort.table["site"] == "12"
    arrays = cohort.load(range(len(cohort)))
    mixed = of(cohort.table.assign(sex=cohort.table["sex"].where(~same, "male")), arrays)
    assert np.isfinite(everything(mixed, tmp_path)).all()
    alike = of(cohort.table.assign(sex="female"), arrays)
    with pytest.raises(DataError, match="covariates: sex does not vary"):
        everything(replace(alike, name="alike"), tmp_path)


def test_a_federation_between_institutions_is_refused_before_anybody_is_asked(tmp_path):
    home = home_at(tmp_path)
    text = tmp_path / "harmonised.yaml"
    text.write_text(resolved_text(experiment(tmp_path)))
    with pytest.raises(ConfigError, match="a site between institutions sees itself"):
        approve(home.files.path / "site.yaml", text, Console(), overrides=[], sure=True)
    assert Approvals(home.files.approved).experiments() == ()
    with pytest.raises(ConfigError, match="a site between institutions sees itself"):
        run_between_institutions(experiment(tmp_path), tmp_path / "no server", Console())
