"""Why a volume encoder collapses in a federation, and that candidates which move prevent it.

One loop over the phantom's volumes, all sites in one process: at each step every site brings a few
participants and compares them with its own and with the others' sums of the same step, under the
same weights. The only difference is whether the gradient reaches those sums.
"""

import numpy as np
import pytest
import torch

from fedcl.config.local_settings import LocalSettings
from fedcl.data.cohort import TRAIN
from fedcl.data.open import open_experiment
from fedcl.local_round import views_of_batch
from fedcl.losses.spread import spread
from fedcl.models.network import build_network
from fedcl.moments.cross_site import CrossSite
from fedcl.moments.live import LiveSums, candidates_in_step, live_sums
from fedcl.moments.of_a_site import resident_shares
from fedcl.moments.snapshot import with_candidates
from fedcl.objective import objective_of
from fedcl.optimizer import build_optimizer
from fedcl.terms import encode_views
from tests.builders import MOMENTS, config_of, volume_tree, with_values

pytestmark = pytest.mark.slow

STEPS = 20
TOGETHER = 12
"""Sites in a step, of those that have three participants or more; most have narrow ages."""


def trained(config, *, reached):
    """Return the spread of all training embeddings after a few steps that all sites take."""
    cohort, settings, task = open_experiment(config), LocalSettings.of(config), config.objective
    network = build_network(config, cohort.shape, seed=config.seed).train()
    optimizer = build_optimizer(network, config.local, round_number=1)
    sites = cohort.training_sites(min_participants=3)
    own = {site: cohort.rows(split=TRAIN, site=site) for site in sites}
    draw = np.random.default_rng(5)
    for step in range(STEPS):
        parts = {
            site: np.sort(draw.choice(own[site], min(len(own[site]), 4), replace=False))
            for site in draw.choice(sites, TOGETHER, replace=False)
        }
        encoded, known, sums = {}, {}, {}
        for site, rows in parts.items():
            arrays = torch.from_numpy(cohort.load(rows))
            views, known[site] = views_of_batch(
                network, cohort, rows, arrays, settings, round_number=step + 1, epoch=0
            )
            encoded[site] = encode_views(network, views)
            found = live_sums(encoded[site].embedding, resident_shares(cohort, rows, task))
            if not reached:
                found = LiveSums(found.count, found.total.detach(), found.squares.detach())
            sums[site] = found
        total = 0.0
        for site, rows in parts.items():
            others = [one for other, one in sums.items() if other != site]
            added = LiveSums(
                sum(one.count for one in others),
                sum(one.total for one in others),
                sum(one.squares for one in others),
            )
            snapshot = with_candidates(None, task.moments, candidates_in_step(added))
            at = CrossSite(snapshot, torch.arange(len(rows)))
            loss = objective_of(encoded[site], known[site], task, at)
            total = total + loss.value * len(rows)
        optimizer.zero_grad()
        (total / sum(map(len, parts.values()))).backward()
        optimizer.step()
    rows = np.concatenate(list(own.values()))
    with torch.no_grad():
        _, embedding = network.eval()(torch.from_numpy(cohort.load(rows)))
    return float(spread(embedding[:, None, :]))


def test_frozen_candidates_collapse_a_volume_encoder_and_moving_ones_do_not(tmp_path):
    tree = volume_tree(tmp_path)
    tree["data"].update(scale=0.1, grid=[20, 24, 20])
    tree["encoder"]["width"] = 8
    tree["projector"] = {"hidden": 64, "dim": 32}
    tree["local"]["optimizer"]["learning_rate"] = 1e-3
    grid = [{"kind": "spaced", "covariate": "age", "first": 5, "last": 90, "spacing": 5}]
    moments = {**MOMENTS, "grid": grid, "candidates": "step"}
    rule = {"kind": "common_steps"}
    config = config_of(with_values(tree, objective__moments=moments, federation__rule=rule))
    assert trained(config, reached=False) < 0.01
    assert trained(config, reached=False) < 0.001
    assert trained(config, reached=True) > 0.1
