"""The participants drawn for one private step, and the loss of each."""

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


class Drawn:
    """Scans and labels of the participants of a step, read once; nobody at all is a step too."""

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
        if not len(drawn):
            return
        device = next(network.parameters()).device
        identifiers = cohort.table["participant_id"].to_numpy()[drawn]
        seeds = [derive(config.seed, "view", i, round_number, step) for i in identifiers]
        arrays = torch.from_numpy(cohort.load(drawn)).to(device)
        scale = network.feature_scale()
        self._views = two_views(arrays, config.views, seeds=seeds, scale=scale)
        self._known = {
            name: torch.as_tensor(values, device=device)
            for name, values in cohort.known_of(drawn, config.objective.names).items()
        }

    def losses(self, positions: Sequence[int]) -> PerParticipant:
        """Return the losses of the participants at these positions."""
        at = torch.as_tensor(np.asarray(positions))
        first, second = self._views
        one = first[at]
        views = (one, one if second is first else second[at])
        known = {name: values[at.to(values.device)] for name, values in self._known.items()}
        return participant_losses(
            self._network,
            views,
            known,
            self._config.objective,
            self._frozen,
            round_number=self._round,
        )
