"""Give whole sites differential privacy: clip changes of the weights, and add noise to their sum.

McMahan et al., "Learning differentially private recurrent language models", ICLR 2018,
https://arxiv.org/abs/1710.06963. Unlike the paper, all sites take part in every round without
sampling, and the sum is divided by a number fixed in the configuration.
"""

from collections.abc import Iterable, Set

import torch

from fedcl.arrays.tensors import State, as_tensor
from fedcl.config.federation import Federation
from fedcl.config.privacy import Privacy, SitePrivacy
from fedcl.privacy.accounting import calibrate
from fedcl.privacy.entropy import Entropy


def noise_multiplier(privacy: Privacy, federation: Federation) -> float:
    """Return the SD of the noise of each round in multiples of the clipping norm."""
    assert isinstance(privacy, SitePrivacy)
    if privacy.noise_multiplier is not None:
        return privacy.noise_multiplier
    assert privacy.target_epsilon is not None
    return calibrate(
        target_epsilon=privacy.target_epsilon,
        delta=privacy.delta,
        sampling_rate=1.0,
        steps=federation.rounds,
    )


def noisy_mean(
    updates: Iterable[tuple[State, float]],
    current: State,
    privacy: Privacy,
    federation: Federation,
    trainable: Set[str],
    entropy: Entropy,
) -> State:
    """Return current + (sum of clipped changes + noise) / privacy.sites.

    Tensors that are not trained stay unchanged. A site that changed nothing adds nothing; without
    any update the noise alone is added.

    Args:
        updates: Weights and aggregation weight of each site; the aggregation weight must be 1.
        current: Weights that the sites received.
        privacy: Privacy section of mode `site`: clipping norm and the fixed number of sites.
        federation: Federation section, whose number of rounds sets the noise of each.
        trainable: Names of the trained parameters.
        entropy: Stream of random numbers for the noise of this round.
    """
    assert isinstance(privacy, SitePrivacy)
    names = [name for name in current if name in trainable]
    start = {name: as_tensor(current[name]).double() for name in names}
    total = {name: torch.zeros_like(start[name]) for name in names}
    for state, weight in updates:
        if weight != 1.0:
            raise ValueError(f"a site's weight must be 1 under privacy.mode: site, got {weight:g}")
        change = {name: as_tensor(state[name]).double() - start[name] for name in names}
        norm = torch.stack([c.square().sum() for c in change.values()]).sum().sqrt()
        factor = (privacy.clip_norm / norm.clamp(min=1e-300)).clamp(max=1.0)
        for name in names:
            total[name] += factor * change[name]
    noise_sd = noise_multiplier(privacy, federation) * privacy.clip_norm
    result = dict(current)
    for name in names:
        noise = noise_sd * entropy.normal(total[name].numel()).view_as(total[name])
        mean = start[name] + (total[name] + noise) / privacy.sites
        result[name] = mean.float().numpy()
    return result
