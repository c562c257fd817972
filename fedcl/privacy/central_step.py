"""Compute a site's part of one step of all sites: a clipped sum with a share of the noise.

The sum over the sites has at least the planned noise as long as federation.min_sites of them are in
it. No sum leaves a site without noise: the site adds its share of the noise before.
"""

from fedcl.arrays.tensors import State
from fedcl.config.experiment import Config
from fedcl.config.privacy import CentralPrivacy
from fedcl.data.cohort import Cohort, Rows
from fedcl.models.network import Network
from fedcl.moments.frozen import FrozenMoments
from fedcl.privacy.clipping import clipped_sums, trainable_names
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.plan import central_plan, noise_of_share
from fedcl.privacy.step_batch import StepBatch


def gradient_share(
    network: Network,
    cohort: Cohort,
    rows: Rows,
    config: Config,
    entropy: Entropy,
    *,
    round_number: int,
    step: int,
    frozen: FrozenMoments | None = None,
) -> State:
    """Return this site's part of the noisy sum of gradients, by parameter, float32.

    Args:
        network: Network with the weights received, which are not changed.
        cohort: Cohort that the scans belong to.
        rows: Rows of the scans to train on; each participant is drawn independently.
        config: Configuration, whose objective must be a sum of losses of single participants.
        entropy: Stream of random numbers for the draws and the noise.
        round_number: Number of the round, from 1, which seeds the augmentations; these need no
            secret randomness.
        step: Number of the step within the round, which also seeds the augmentations.
        frozen: Released moments; None where the objective does not compare with them.
    """
    privacy = config.privacy
    assert isinstance(privacy, CentralPrivacy)
    noise_sd = noise_of_share(config)
    chosen = entropy.uniform(cohort.participants(rows)) < central_plan(config).cost.sampling_rate
    drawn = rows[chosen[cohort.owners(rows)]]
    batch = StepBatch(network, cohort, drawn, config, round_number, step, frozen)
    network.train()
    with clipped_sums(network, gradients=privacy.gradients, clip_norm=privacy.clip_norm) as total:
        gradients = total(batch.losses, batch.owners)
    share = {}
    for name, gradient in zip(trainable_names(network), gradients, strict=True):
        noise = noise_sd * entropy.normal(gradient.numel()).view_as(gradient)
        share[name] = (gradient + noise.to(gradient)).float().cpu().numpy()
    return share
