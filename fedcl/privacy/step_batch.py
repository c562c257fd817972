"""The participants drawn for one private step, and the loss of each: the mean over their scans."""

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
    """Scans and labels of the participants of a step, read once; nobody at all is a step too.

    Attributes:
        owners: Whose scan each of the scans drawn is; participants count from 0.
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
        """Return the losses of the participants at these positions, ascending."""
        owners = np.asarray(self.owners)
        scans = np.flatnonzero(np.isin(owners, positions))
        _, owner, sizes = np.unique(owners[scans], return_inverse=True, return_counts=True)
        at = torch.as_tensor(scans)
        first, second = self._views
        one = first[at]
        views = (one, one if second is first else second[at])
        known = {name: values[at.to(values.device)] for name, values in self._known.items()}
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
