"""Features of participants whose sites shift them, along age and elsewhere."""

from dataclasses import dataclass

import numpy as np

from fedcl.erasure.sums import AgeNodes, ErasureSums

NODES = AgeNodes(first=10.0, spacing=10.0, count=9)
SIZES = {"north": 5, "south": 8, "12": 13, "east": 40, "3": 90}


@dataclass(frozen=True)
class Scanned:
    """Participants of several sites: features (participant, dim), ages in years, site labels."""

    features: np.ndarray
    ages: np.ndarray
    sites: np.ndarray

    def sums(self, nodes=NODES):
        """Each site's sums."""
        return {str(site): self.only(site)._sums(nodes) for site in np.unique(self.sites)}

    def only(self, site):
        own = self.sites == site
        return Scanned(self.features[own], self.ages[own], self.sites[own])

    def _sums(self, nodes):
        return ErasureSums.of(self.features, self.ages, nodes)


def scanned(rng, *, sizes=None, dim=7, shift=3.0, mean=50.0):
    """Sites recruit at different ages; each shifts all features, the first follows age."""
    sizes = sizes or SIZES
    features, ages, sites = [], [], []
    for number, (site, size) in enumerate(sizes.items()):
        own = np.clip(rng.normal(25 + 12 * number, 14, size), 5, 95)
        values = rng.normal(size=(size, dim)) @ np.diag(1 + np.arange(dim))
        values[:, 0] += own
        values[:, 1] += own**2 / 100
        features.append(values + mean + rng.normal(scale=shift, size=dim))
        ages.append(own)
        sites += [site] * size
    return Scanned(np.concatenate(features), np.concatenate(ages), np.array(sites))


def age_told_covariance(people, values, nodes=NODES):
    """The covariance of values with what age does not tell of each site, in Python loops."""
    shares = nodes.shares(people.ages)
    columns = []
    for site in np.unique(people.sites):
        own = (people.sites == site).astype(float)
        told = np.zeros(len(own))
        for node in range(shares.shape[1]):
            at_node = shares[:, node].sum()
            if at_node:
                told += shares[:, node] * (own @ shares[:, node]) / at_node
        columns.append((values - values.mean(axis=0)).T @ (own - told) / len(own))
    return np.stack(columns, axis=1)
