"""Evaluate sites that each train their own encoder and age probe: what a site reaches by itself.

Every site has a feature space of its own, so a site probe across them has no meaning: the site's
accuracy and the challenge score are left out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fedcl.evaluation.intervals import Interval, measure_with_interval, resamples
from fedcl.evaluation.openbhb_challenge import Challenge, SiteError, Split
from fedcl.evaluation.probes import FOLDS, fit_age
from fedcl.seeds import numpy_generator


@dataclass(frozen=True)
class SiteFeatures:
    """Hold one site's participants and the unseen sites', represented by that site's encoder."""

    site: str
    train: Split
    internal: Split
    external: Split


def own_site(sites: Sequence[SiteFeatures], *, bootstrap: int, seed: int) -> Challenge:
    """Return the age errors of the sites' own probes.

    The internal error is that of all internal test participants under their own site's probe. The
    external error is the mean over sites of the error of a site's probe on the unseen sites. Sites
    with fewer training participants than folds predict their median age. Intervals resample
    participants (internal) and sites (external).
    """
    internal: list[tuple[np.ndarray, np.ndarray, str]] = []
    external: list[float] = []
    rows: list[SiteError] = []
    medians_internal: list[np.ndarray] = []
    medians_external: list[float] = []
    predicted_external = np.zeros(len(sites[0].external))
    for own in sites:
        predict = _probe(own.train)
        median = float(np.median(own.train.ages))
        if len(own.internal):
            predicted = predict(own.internal.features)
            internal.append((own.internal.ages, predicted, own.site))
            medians_internal.append(np.abs(own.internal.ages - median))
            error = predicted - own.internal.ages
            mae = float(np.abs(error).mean())
            rows.append(SiteError(own.site, "internal", len(error), mae, float(error.mean())))
        if len(own.external):
            predicted = predict(own.external.features)
            predicted_external += predicted / len(sites)
            external.append(float(np.abs(predicted - own.external.ages).mean()))
            medians_external.append(float(np.abs(own.external.ages - median).mean()))
    generator = numpy_generator(seed, "bootstrap", "own site")
    errors = np.concatenate([np.abs(p - t) for t, p, _ in internal]) if internal else np.zeros(0)
    predictions = {}
    if internal:
        predictions["internal"] = (
            np.concatenate([t for t, _, _ in internal]),
            np.concatenate([p for _, p, _ in internal]),
        )
    if external:
        predictions["external"] = (sites[0].external.ages, predicted_external)
    return Challenge(
        mae_internal=_mean(errors, bootstrap, generator),
        mae_external=_mean(np.asarray(external), bootstrap, generator),
        site_balanced_accuracy=None,
        site_chance=None,
        site_from_age=None,
        challenge_score=None,
        median_internal=float(np.concatenate(medians_internal).mean()) if internal else None,
        median_external=float(np.mean(medians_external)) if external else None,
        per_site=tuple(rows),
        predictions=predictions,
    )


def _probe(train: Split) -> Callable[[np.ndarray], np.ndarray]:
    if len(train) >= FOLDS:
        return fit_age(train.features, train.ages).predict
    median = float(np.median(train.ages))
    return lambda features: np.full(len(features), median)


def _mean(values: np.ndarray, bootstrap: int, generator: np.random.Generator) -> Interval | None:
    if not len(values):
        return None
    sizes = {"all": len(values)}
    draws = resamples(sizes, bootstrap=bootstrap, generator=generator)
    return measure_with_interval(lambda rows: float(values[rows["all"]].mean()), sizes, draws)
