"""Score representations as the OpenBHB challenge does: age on seen and unseen sites, and the site.

Dufumier et al., NeuroImage 2022, https://doi.org/10.1016/j.neuroimage.2022.119637. The score is
MAE_ext x BAcc^0.3 (age error on unseen sites, accuracy of the site probe); lower is better.
"""

from dataclasses import dataclass

import numpy as np

from fedcl.evaluation.challenge_rules import EXPONENT as EXPONENT
from fedcl.evaluation.challenge_rules import score as score
from fedcl.evaluation.chance import median_error, site_chance, site_from_age
from fedcl.evaluation.intervals import Interval as Interval
from fedcl.evaluation.intervals import ResampledRows, measure_with_interval, resamples
from fedcl.evaluation.probes import balanced_accuracy, can_fit_site, fit_age, fit_site
from fedcl.evaluation.split import Split as Split
from fedcl.seeds import numpy_generator


@dataclass(frozen=True)
class SiteError:
    """Age error at one test site.

    Attributes:
        split: "internal" or "external".
        participants: The number of participants behind the errors.
        mae: Mean absolute error, years.
        mean_error: Predicted minus true age, years.
    """

    site: str
    split: str
    participants: int
    mae: float
    mean_error: float


@dataclass(frozen=True)
class Challenge:
    """Hold what the probes measure; None where a split has no participants.

    Attributes:
        mae_internal: Mean absolute error of age on the internal test, in years.
        mae_external: Mean absolute error of age on sites not seen in training, in years.
        site_balanced_accuracy: Balanced accuracy of the site probe on the internal test, in [0, 1].
        site_chance: Balanced accuracy of guessing a training site at random, or of always
            predicting the largest: one over the number of training sites.
        site_from_age: Balanced accuracy of the same probe given age and age^2 only.
        challenge_score: Score mae_external * site_balanced_accuracy ** 0.3, in years.
        median_internal: MAE on the internal test of always predicting the median training age, in
            years.
        median_external: MAE on the external test of always predicting the median training age, in
            years.
        per_site: Age error at each test site.
        predictions: Arrays of true and of predicted ages in years, by split.
    """

    mae_internal: Interval | None
    mae_external: Interval | None
    site_balanced_accuracy: Interval | None
    site_chance: float | None
    site_from_age: float | None
    challenge_score: Interval | None
    median_internal: float | None
    median_external: float | None
    per_site: tuple[SiteError, ...]
    predictions: dict[str, tuple[np.ndarray, np.ndarray]]


def challenge(
    train: Split, internal: Split, external: Split, *, bootstrap: int = 0, seed: int, jobs: int = 1
) -> Challenge:
    """Fit the probes on `train` and measure them on the two tests.

    A ridge regression predicts age and a logistic regression the site, from frozen features; their
    penalties are chosen by cross-validation on `train`.

    Args:
        train: Participants on whom the encoder was trained.
        internal: Test participants of the same sites; may be empty.
        external: Test participants of sites not seen in training; may be empty.
        bootstrap: Number of resamples for the intervals; 0 for no intervals.
        seed: Seed of the resamples and of the order in which the saga solver visits participants.
        jobs: Number of threads; the result does not depend on it.

    Returns:
        The errors, the accuracies and the challenge's score.

    Example:
        >>> import numpy as np
        >>> from fedcl.evaluation import Split, challenge
        >>> rng = np.random.default_rng(0)
        >>> def split(sites, n):  # 12 features, of which the first follows age
        ...     ages = rng.uniform(20, 80, n)
        ...     features = rng.normal(size=(n, 12)) + np.eye(12)[0] * ages[:, None] / 10
        ...     return Split(features, ages, rng.choice(sites, n))
        >>> tests = split(["a", "b"], 40), split(["c"], 40)
        >>> found = challenge(split(["a", "b"], 80), *tests, seed=0)
        >>> found.mae_external.value < found.median_external
        True
        >>> 0 < found.site_balanced_accuracy.value < 0.8  # 0.5 is chance
        True
    """
    age_probe = fit_age(train.features, train.ages, jobs=jobs)
    tests = {"internal": internal, "external": external}
    tests = {name: split for name, split in tests.items() if len(split)}
    predictions = {name: (s.ages, age_probe.predict(s.features)) for name, s in tests.items()}
    errors = {name: np.abs(true - predicted) for name, (true, predicted) in predictions.items()}

    correct = chance = from_age = None
    if len(internal) and can_fit_site(train.sites):
        probe = fit_site(train.features, train.sites, jobs=jobs, seed=seed)
        correct = probe.predict(internal.features) == internal.sites
        chance = site_chance(train.sites)
        from_age = site_from_age(
            train.ages, train.sites, internal.ages, internal.sites, jobs=jobs, seed=seed
        )

    sizes = {name: len(split) for name, split in tests.items()}
    draws = resamples(sizes, bootstrap=bootstrap, generator=numpy_generator(seed, "bootstrap"))

    def mae(rows: ResampledRows, name: str) -> float:
        return float(errors[name][rows[name]].mean())

    def accuracy(rows: ResampledRows) -> float:
        assert correct is not None
        return balanced_accuracy(correct[rows["internal"]], internal.sites[rows["internal"]])

    def score_of(rows: ResampledRows) -> float:
        return score(mae(rows, "external"), accuracy(rows))

    def mae_of(name: str) -> Interval | None:
        return (
            measure_with_interval(lambda rows: mae(rows, name), sizes, draws)
            if name in tests
            else None
        )

    scored = correct is not None and "external" in tests
    return Challenge(
        mae_internal=mae_of("internal"),
        mae_external=mae_of("external"),
        site_balanced_accuracy=None
        if correct is None
        else measure_with_interval(accuracy, sizes, draws),
        site_chance=chance,
        site_from_age=from_age,
        challenge_score=measure_with_interval(score_of, sizes, draws) if scored else None,
        median_internal=median_error(train.ages, internal.ages),
        median_external=median_error(train.ages, external.ages),
        per_site=_per_site(tests, predictions),
        predictions=predictions,
    )


def age_errors(train: Split, internal: Split, external: Split) -> tuple[float | None, float | None]:
    """Return the internal and external MAE of the age probe in years, a fast measure for curves."""
    probe = fit_age(train.features, train.ages)

    def error(split: Split) -> float | None:
        if not len(split):
            return None
        return float(np.abs(probe.predict(split.features) - split.ages).mean())

    return error(internal), error(external)


def _per_site(
    tests: dict[str, Split], predictions: dict[str, tuple[np.ndarray, np.ndarray]]
) -> tuple[SiteError, ...]:
    rows = []
    for name, split in tests.items():
        true, predicted = predictions[name]
        for site in np.unique(split.sites):
            error = (predicted - true)[split.sites == site]
            mae = float(np.abs(error).mean())
            rows.append(SiteError(str(site), name, len(error), mae, float(error.mean())))
    return tuple(rows)
