"""Made features of three sites with known shifts and scales, and ComBat as its papers write it."""

from dataclasses import dataclass

import numpy as np

from fedcl.harmonisation.adjustment import (
    Adjustment,
    SiteEffect,
    at_participant,
    at_site_mean,
    site_effect,
)
from fedcl.harmonisation.shared_estimates import SharedEstimates, coefficients, estimate_shared
from fedcl.harmonisation.sums import covariate_sums, site_residuals

SIZES = {"north": 5, "south": 8, "12": 13}
SHIFTS = {"north": 0.5, "south": -1.0, "12": 2.0}
SCALES = {"north": 1.0, "south": 2.0, "12": 0.6}


@dataclass(frozen=True)
class Scanned:
    """Rows in no order of sites.

    Attributes:
        y: Shape (row, feature).
        x: Covariates, shape (row, covariate).
        sites: Of each row.
        shares: Of each row.
    """

    y: np.ndarray
    x: np.ndarray
    sites: np.ndarray
    shares: np.ndarray


def scanned(rng: np.random.Generator, features: int = 7, larger: int = 1) -> Scanned:
    """Features that rise by 0.05 per year at every site, in the sites' own units."""
    sites = rng.permutation(np.repeat(list(SIZES), [larger * n for n in SIZES.values()]))
    age, sex = rng.uniform(18, 80, len(sites)), rng.choice([-0.5, 0.5], len(sites))
    noise = rng.normal(size=(len(sites), features))
    shift = np.array([SHIFTS[s] for s in sites])[:, None] * (1 + 0.1 * np.arange(features))
    scale = np.array([SCALES[s] for s in sites])[:, None]
    y = 3 + 0.05 * age[:, None] + 0.4 * sex[:, None] + shift + scale * noise
    return Scanned(y, np.stack([age, sex], axis=1), sites, np.ones(len(sites)))


@dataclass(frozen=True)
class Fitted:
    shared: SharedEstimates
    effects: dict[str, SiteEffect]
    published: dict[str, Adjustment]
    site_mean: dict[str, Adjustment]

    def adjusted(self, data: Scanned, how: str = "published") -> np.ndarray:
        by_site = getattr(self, how)
        rows = zip(data.y, data.x, data.sites, strict=True)
        return np.array([by_site[site](y, x) for y, x, site in rows])


def fitted(data: Scanned, order: tuple[str, ...] = ("north", "south", "12")) -> Fitted:
    """Fit as the sites of a federation would, who speak in some order."""

    def of(site: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        own = data.sites == site
        return data.y[own], data.x[own], data.shares[own]

    first = [covariate_sums(*of(site)) for site in order]
    total = first[0]
    for one in first[1:]:
        total = total + one
    found = coefficients(total, [f"covariate {n}" for n in range(data.x.shape[1])])
    residuals = {site: site_residuals(*of(site), found.slopes) for site in order}
    second = [residuals[site].said for site in order]
    squares = second[0]
    for one in second[1:]:
        squares = squares + one
    shared = estimate_shared(found, squares)
    effects = {site: site_effect(residuals[site], shared) for site in order}
    return Fitted(
        shared,
        effects,
        {site: at_participant(effects[site], shared) for site in order},
        {site: at_site_mean(effects[site], shared, residuals[site].covariates) for site in order},
    )


def combat_by_loops(data: Scanned) -> np.ndarray:
    """ComBat of Johnson et al. 2007 on everybody's data in one place, a number at a time."""
    labels = list(SIZES)
    weight = np.sqrt(data.shares)
    indicator = np.array([[float(s == label) for label in labels] for s in data.sites])
    design = np.concatenate([indicator, data.x], axis=1)
    n = {label: data.shares[data.sites == label].sum() for label in labels}
    standard = np.zeros_like(data.y)
    stays = np.zeros_like(data.y)
    sd = np.zeros(data.y.shape[1])
    for f in range(data.y.shape[1]):
        beta = np.linalg.lstsq(weight[:, None] * design, weight * data.y[:, f], rcond=None)[0]
        alpha = sum(n[label] * beta[i] for i, label in enumerate(labels)) / sum(n.values())
        residual = data.y[:, f] - design @ beta
        sd[f] = np.sqrt((data.shares * residual**2).sum() / sum(n.values()))
        stays[:, f] = alpha + data.x @ beta[len(labels) :]
        standard[:, f] = (data.y[:, f] - stays[:, f]) / sd[f]
    result = np.zeros_like(data.y)
    for label in labels:
        own = data.sites == label
        z, w = standard[own], data.shares[own][:, None]
        gamma_hat = (w * z).sum(axis=0) / n[label]
        delta_hat = (w * (z - gamma_hat) ** 2).sum(axis=0) / (n[label] - 1)
        gamma_bar, tau2 = gamma_hat.mean(), gamma_hat.var(ddof=1)
        m, s2 = delta_hat.mean(), delta_hat.var(ddof=1)
        a, b = (2 * s2 + m**2) / s2, (m * s2 + m**3) / s2
        for f in range(z.shape[1]):
            gamma, delta = gamma_hat[f], delta_hat[f]
            for _ in range(500):
                gamma = (n[label] * tau2 * gamma_hat[f] + delta * gamma_bar) / (
                    n[label] * tau2 + delta
                )
                about = (w[:, 0] * (z[:, f] - gamma) ** 2).sum()
                delta = (b + about / 2) / (n[label] / 2 + a - 1)
            result[own, f] = sd[f] * (z[:, f] - gamma) / np.sqrt(delta) + stays[own, f]
    return result
