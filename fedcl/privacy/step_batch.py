"""Compute each participant's loss in one private step, the mean over the participant's scans."""

from collections.abc import Sequence

import numpy as np
import torch

from fedcl.config.experiment import Config
from fedcl.data.cohort import Cohort, Rows
from fedcl.data.views import two_views
from fedcl.models.network import Network
from fedcl.moments.frozen import FrozenMoments
from fedcl.objective import participant_losses
from fedcl.seeds import derive
from fedcl.shapes import PerParticipant


class StepBatch:
    """Hold the scans and labels of the participants of a step, who may be none.

    Attributes:
        owners: Number of the participant of each scan, counted from 0.
    """

    def __init__(
        self,
        network: Network,
        cohort: Cohort,
        drawn: Rows,
        config: Config,
        round_number: int,
        step: int,
        frozen: FrozenMoments | None = None,
    ) -> None:
        self._network, self._config = network, config
        self._frozen, self._round = frozen, round_number
        self.owners: list[int] = cohort.owners(drawn).tolist()
        if not len(drawn):
            return
        device = next(network.parameters()).device
        scans = cohort.table["scan"].to_numpy()[drawn]
        seeds = [derive(config.seed, "view", i, round_number, step) for i in scans]
        arrays = torch.from_numpy(cohort.load(drawn)).to(device)
        scale = network.feature_scale()
        self._views = two_views(arrays, config.views, seeds=seeds, scale=scale)
        self._known = {
            name: torch.as_tensor(values, device=device)
            for name, values in cohort.known_of(drawn, config.objective.names).items()
        }

    def losses(self, positions: Sequence[int]) -> PerParticipant:
        """Return the losses of the participants at `positions`, which must be ascending."""
        owners = np.asarray(self.owners)
        scans = np.flatnonzero(np.isin(owners, positions))
        _, owner, sizes = np.unique(owners[scans], return_inverse=True, return_counts=True)
        rows = torch.as_tensor(scans)
        first, second = self._views
        first_view = first[rows]
        views = (first_view, first_view if second is first else second[rows])
        known = {name: values[rows.to(values.device)] for name, values in self._known.items()}
        values = participant_losses(
            self._network,
            views,
            known,
            self._config.objective,
            self._frozen,
            round_number=self._round,
        )
        shared = values / torch.as_tensor(sizes[owner], device=values.device)
        means = values.new_zeros(len(sizes))
        return means.index_add(0, torch.as_tensor(owner, device=values.device), shared)
