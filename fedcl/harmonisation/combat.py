"""ComBat as a scikit-learn estimator: fit on arrays and site labels, then adjust others alike.

Johnson, Li and Rabinovic, "Adjusting batch effects in microarray expression data using empirical
Bayes methods", Biostatistics 2007, https://doi.org/10.1093/biostatistics/kxj037; on brains Fortin
et al., NeuroImage 2018, https://doi.org/10.1016/j.neuroimage.2017.11.024
"""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from fedcl.errors import DataError
from fedcl.harmonisation.adjustment import (
    Adjustment,
    at_participant,
    at_site_mean,
    location_only,
    site_effect,
)
from fedcl.harmonisation.shared_estimates import SharedEstimates, coefficients, estimate_shared
from fedcl.harmonisation.sums import covariate_sums, site_residuals
from fedcl.site_labels import site_order

FEWEST_PARTICIPANTS = 2
"""Participants of a site that a scale can be estimated from."""

Adjust = Literal["site_mean", "location", "participant"]
Unseen = Literal["unchanged", "own"]

_SITES_MISSING = (
    "sites: ComBat needs the label of each scan's site, and none are given; pass them by name, "
    "fit(X, sites=sites) and transform(X, sites=sites). In a scikit-learn Pipeline: "
    "sklearn.set_config(enable_metadata_routing=True), then "
    "Combat().set_fit_request(sites=True).set_transform_request(sites=True) as the step, then "
    "pipeline.fit(X, y, sites=sites) and pipeline.predict(X, sites=sites)"
)


class Combat(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Take each site's own shift and scale of every feature out of its scans.

    What the covariates explain is kept. The estimator is fitted on training scans alone and then
    adjusts others of the same sites, test scans included, as in Pomponio et al., NeuroImage 2020,
    https://doi.org/10.1016/j.neuroimage.2019.116450

    Args:
        adjust: "site_mean" takes out shift and scale about the site's mean and "location" the
            shift alone, so that what is done to a scan depends on its site alone. "participant" is
            the published adjustment, which depends on the participant's covariates too: where one
            of them is to be predicted from the result, errors come out too small.
        unseen: "unchanged" leaves scans of sites that were not fitted as they are; "own" adjusts
            them by what the scans of their site that are transformed together have in common.
        min_participants: A site with fewer participants is treated as one that was not fitted;
            at least 2.

    Attributes:
        sites_: Labels of the fitted sites, as text, numbers in numeric order.
        n_features_in_: The number of features.

    Example:
        >>> import numpy as np
        >>> from fedcl.harmonisation import Combat
        >>> rng = np.random.default_rng(0)
        >>> sites = np.repeat(["north", "south"], 50)
        >>> ages = rng.uniform(20, 80, 100)  # years
        >>> X = 0.1 * ages[:, None] + rng.normal(size=(100, 3)) + 5 * (sites == "south")[:, None]
        >>> combat = Combat().fit(X, sites=sites, covariates=ages)
        >>> adjusted = combat.transform(X, sites=sites, covariates=ages)
        >>> def difference(Y):
        ...     residual = Y - 0.1 * ages[:, None]
        ...     return abs(residual[:50].mean() - residual[50:].mean())
        >>> bool(difference(X) > 4.8), bool(difference(adjusted) < 0.1)
        (True, True)

        In a scikit-learn Pipeline, metadata routing brings the sites to the step. Fit and transform
        must request the same columns:

        >>> import sklearn
        >>> from sklearn.linear_model import Ridge
        >>> from sklearn.model_selection import cross_val_score
        >>> from sklearn.pipeline import make_pipeline
        >>> with sklearn.config_context(enable_metadata_routing=True):
        ...     combat = Combat().set_fit_request(sites=True).set_transform_request(sites=True)
        ...     pipeline = make_pipeline(combat, Ridge()).fit(X, ages, sites=sites)
        ...     predicted = pipeline.predict(X, sites=sites)
        ...     scores = cross_val_score(pipeline, X, ages, params={"sites": sites})
        >>> predicted.shape, scores.shape
        ((100,), (5,))
    """

    def __init__(
        self,
        *,
        adjust: Adjust = "site_mean",
        unseen: Unseen = "unchanged",
        min_participants: int = FEWEST_PARTICIPANTS,
    ) -> None:
        self.adjust = adjust
        self.unseen = unseen
        self.min_participants = min_participants

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sites: Any = None,
        covariates: Any = None,
        participants: Any = None,
    ) -> "Combat":
        """Estimate the sites' shifts and scales, and what all sites have in common.

        Args:
            X: Features of each scan, shape (scan, feature).
            y: A target, which is ignored; scikit-learn's pipelines pass one.
            sites: Label of each scan's site; it is always needed.
            covariates: Numbers that features may differ by and keep, shape (scan, covariate) or
                (scan,); `fedcl.harmonisation.covariate_columns` makes them of age and sex. None:
                there are none.
            participants: Label of each scan's participant, who weighs one however many scans;
                None: each scan is somebody else's.

        Returns:
            The estimator itself.

        Raises:
            DataError: Sites are missing, fewer than two have enough participants, or the
                covariates' effects cannot be told from the sites' or from each other's.
            ValueError: X is no matrix of finite numbers.
        """
        self._require_settings()
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        labels, x, owners = _columns(len(X), sites, covariates, participants)
        fewest = max(self.min_participants, FEWEST_PARTICIPANTS)
        rows = {
            site: found
            for site in sorted(set(labels.tolist()), key=site_order)
            if len(np.unique(owners[found := np.flatnonzero(labels == site)])) >= fewest
        }
        if len(rows) < 2:
            raise DataError(
                f"sites: ComBat compares sites, and {len(rows)} of {len(set(labels.tolist()))} "
                f"have {fewest} participants; give it more sites, or lower min_participants"
            )
        shares = {site: _shares(owners[found]) for site, found in rows.items()}
        names = [f"column {number}" for number in range(x.shape[1])]
        sums = (covariate_sums(X[r], x[r], shares[site]) for site, r in rows.items())
        try:
            found_coefficients = coefficients(reduce(add, sums), names)
        except DataError as error:
            raise DataError(str(error).removeprefix("harmonise.")) from None
        slopes = found_coefficients.slopes
        squares = (site_residuals(X[r], x[r], shares[s], slopes).said for s, r in rows.items())
        self._common = estimate_shared(found_coefficients, reduce(add, squares))
        self._adjustments = {
            site: self._of_site(X[found], x[found], shares[site], self._common)
            for site, found in rows.items()
        }
        self.sites_ = tuple(rows)
        return self

    def transform(
        self,
        X: Any,
        *,
        sites: Any = None,
        covariates: Any = None,
        participants: Any = None,
    ) -> np.ndarray:
        """Return the scans, adjusted for their sites, in the precision of X.

        Args:
            X: Features of each scan, shape (scan, feature).
            sites: Label of each scan's site; it is always needed.
            covariates: The same columns as in `fit`; they are needed where adjust is "participant"
                and are not looked at otherwise.
            participants: Label of each scan's participant; it matters only where unseen is "own".

        Returns:
            Adjusted features, shape (scan, feature).

        Raises:
            DataError: Labels or covariates do not fit X, or sites or covariates are missing.
            NotFittedError: `fit` was not called.
            ValueError: X is no matrix of finite numbers, or has other features than in `fit`.
        """
        check_is_fitted(self, "sites_")
        self._require_settings()
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        asked = self.adjust == "participant"
        labels, x, owners = _columns(len(X), sites, covariates if asked else None, participants)
        columns = len(self._common.coefficients.slopes) if asked else 0
        if x.shape[1] != columns:
            raise DataError(f"covariates: {columns} columns were fitted, {x.shape[1]} are given")
        adjustments = {**self._adjustments, **self._unseen(X, labels, x, owners)}
        adjusted = X.copy()
        for row, label in enumerate(labels.tolist()):
            if label in adjustments:
                adjusted[row] = adjustments[label](X[row], x[row])
        return adjusted

    def fit_transform(
        self,
        X: Any,
        y: Any = None,
        *,
        sites: Any = None,
        covariates: Any = None,
        participants: Any = None,
    ) -> np.ndarray:
        """Fit on scans and return the same scans adjusted; see `fit` and `transform`."""
        self.fit(X, sites=sites, covariates=covariates, participants=participants)
        return self.transform(X, sites=sites, covariates=covariates, participants=participants)

    def _unseen(
        self, X: np.ndarray, labels: np.ndarray, x: np.ndarray, owners: np.ndarray
    ) -> dict[str, Adjustment]:
        if self.unseen == "unchanged":
            return {}
        found: dict[str, Adjustment] = {}
        shared = self._common
        if self.adjust != "participant":  # nothing is known of a site never seen but its scans
            shared = shared.without_covariates()
        for site in sorted(set(labels.tolist()) - set(self.sites_), key=site_order):
            rows = np.flatnonzero(labels == site)
            if len(np.unique(owners[rows])) >= FEWEST_PARTICIPANTS:
                found[site] = self._of_site(X[rows], x[rows], _shares(owners[rows]), shared)
        return found

    def _of_site(
        self, scans: np.ndarray, x: np.ndarray, shares: np.ndarray, shared: SharedEstimates
    ) -> Adjustment:
        residuals = site_residuals(scans, x, shares, shared.coefficients.slopes)
        effect = site_effect(residuals, shared)
        match self.adjust:
            case "location":
                return location_only(effect)
            case "participant":
                return at_participant(effect, shared)
            case _:
                return at_site_mean(effect, shared, residuals.covariates)

    def _require_settings(self) -> None:
        for name, known in (("adjust", Adjust), ("unseen", Unseen)):
            value, values = getattr(self, name), known.__args__  # type: ignore[attr-defined] # Literal's
            if value not in values:
                raise DataError(f"{name}: expected one of {', '.join(values)}; found {value!r}")


def _columns(
    scans: int, sites: Any, covariates: Any, participants: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, covariates (scan, covariate) and numbers of participants, checked."""
    if sites is None:
        raise DataError(_SITES_MISSING)
    labels = _labels("sites", sites, scans)
    who = np.arange(scans) if participants is None else _labels("participants", participants, scans)
    if covariates is None:
        return labels, np.zeros((scans, 0)), np.unique(who, return_inverse=True)[1]
    try:
        x = np.asarray(covariates, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError("covariates: expected numbers; code categories as numbers first") from None
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or len(x) != scans:
        raise DataError(f"covariates: expected shape ({scans}, covariate), found {x.shape}")
    if not np.isfinite(x).all():
        raise DataError("covariates: expected finite numbers; fill in or leave out what is missing")
    return labels, x, np.unique(who, return_inverse=True)[1]


def _labels(name: str, values: Any, scans: int) -> np.ndarray:
    labels: np.ndarray | Sequence[Any] = np.asarray(values)
    if np.shape(labels) != (scans,):
        raise DataError(
            f"{name}: expected a label per scan, shape ({scans},); found {np.shape(labels)}"
        )
    return np.asarray(labels).astype(str)


def _shares(owners: np.ndarray) -> np.ndarray:
    """Return one over the number of the participant's scans, for each scan."""
    _, numbers, counts = np.unique(owners, return_inverse=True, return_counts=True)
    return np.asarray(1 / counts[numbers])
