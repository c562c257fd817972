"""A site's part of one step that all sites take together: a clipped sum and a share of the noise.

The sum over the sites has at least the noise of the plan as long as federation.min_sites of them
are in it. Nobody is told a sum without noise: a site adds its share before the sum leaves.
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
        network: Holds the weights received; they stay as they are.
        cohort: The participants.
        rows: Those to train on; each participant is drawn by a coin of their own.
        config: The experiment, its objective one that decomposes.
        entropy: Of the draws and the noise.
        round_number: Names the augmentations, which need no secret.
        step: Likewise, within the round.
        frozen: Released moments, where the objective compares with them.
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
    for name, one in zip(trainable_names(network), gradients, strict=True):
        noise = noise_sd * entropy.normal(one.numel()).view_as(one)
        share[name] = (one + noise.to(one)).float().cpu().numpy()
    return share
