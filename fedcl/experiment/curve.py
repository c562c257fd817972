"""How the age error fell over the rounds: the representation probed at the checkpoints kept."""

import numpy as np

from fedcl.config.experiment import Config
from fedcl.data.cohort import SPLITS, Cohort
from fedcl.evaluation.openbhb_challenge import age_errors
from fedcl.experiment.representations import features, split_of
from fedcl.models.network import Network
from fedcl.run_folder.folder import RunFolder
from fedcl.run_folder.results_file import CurvePoint


def error_curve(
    network: Network, config: Config, cohort: Cohort, folder: RunFolder, *, last: np.ndarray
) -> tuple[CurvePoint, ...]:
    """Return a point for each round of the log.

    Args:
        network: The experiment's network; its weights are replaced.
        cohort: Everybody, training and test participants.
        last: Everybody's representations after the last round.
    """
    every = config.evaluation.every_rounds
    points = []
    kept = set(folder.checkpoints())
    for line in folder.read_log():
        number = line.round
        internal = external = None
        wanted = every is not None and (number % every == 0 or number == max(kept))
        norms_stay = config.federation.rule.kind == "fedbn" and number != max(kept)
        if wanted and number in kept and not norms_stay:
            found = last
            if number != max(kept):
                found, _ = features(network, config, cohort, folder, number)
            internal, external = age_errors(
                *(split_of(cohort, found, split, config.local) for split in SPLITS)
            )
        points.append(
            CurvePoint(round=number, loss=line.loss, mae_internal=internal, mae_external=external)
        )
    return tuple(points)
