"""The trained encoder of a run, as a module to use on other data."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from fedcl.config.experiment import Config
from fedcl.errors import RunError
from fedcl.files.atomic import read_tensors
from fedcl.models.erased import ErasedEncoder
from fedcl.models.network import build_network
from fedcl.models.travelling import write_state
from fedcl.run_folder.encoder_file import ERASURE
from fedcl.run_folder.folder import RunFolder

_FEATURES = "encoder.feature_mean"
"""A tensor with one value per column of the table that an MLP reads."""


def load_encoder(path: str | Path) -> nn.Module:
    """Return the trained encoder of a finished run, on the CPU and in evaluation mode.

    Args:
        path: Folder of the run, which holds `encoder.safetensors` and `config.yaml`, or that file.

    Returns:
        A module whose input is what the run was trained on, float32: volumes of shape
        (participant, channel, x, y, z), or tables of shape (participant, feature) in the columns'
        own units; preprocess them as `data` in the run's `config.yaml` says. Its output is one row
        of numbers per participant, the representation, of length `encoder.width`; without the site
        where the run has erased it (`erasure`), and else non-negative.

    Raises:
        RunError: There is no run in this folder, or its encoder is missing, damaged, or not one
            for all sites.

    Example:
        >>> import fedcl, torch
        >>> config = fedcl.load_config("configs/tiny.yaml")
        >>> run = fedcl.simulate(config)
        >>> encoder = fedcl.load_encoder(run.path)
        >>> encoder(torch.zeros(2, 284)).shape
        torch.Size([2, 8])
    """
    place = Path(path)
    folder = RunFolder(place.parent if place.name == "encoder.safetensors" else place)
    config = folder.config()
    if not folder.model.exists():
        raise RunError(
            f"{folder.model}: missing; a run writes it when it has ended, and a run of each site "
            "alone has an encoder per site instead. Go on with the run, or choose another"
        )
    try:
        weights = read_tensors(folder.model)
    except Exception as error:  # safetensors raises its own types for a damaged file
        raise RunError(
            f"{folder.model}: damaged ({error}); fedcl.evaluate(run) writes it again from the "
            "last checkpoint"
        ) from None
    return _encoder(config, weights, folder)


def _encoder(config: Config, weights: Mapping[str, np.ndarray], folder: RunFolder) -> nn.Module:
    network = build_network(config, _shape(config, weights, folder), seed=config.seed)
    if config.federation.rule.kind == "fedbn" and any(
        name not in weights for name in network.state_dict() if "num_batches" not in name
    ):
        raise RunError(
            f"{folder.path}: federation.rule: fedbn leaves the normalisation layers at the sites, "
            "so that no encoder is everybody's; train with another rule to load one"
        )
    trained = {name: array for name, array in weights.items() if not name.startswith(ERASURE)}
    write_state(network, trained)
    matrix = weights.get(f"{ERASURE}representation.matrix")
    if matrix is None:
        return network.encoder.eval()
    offset = weights[f"{ERASURE}representation.offset"]
    return ErasedEncoder(network.encoder, matrix, offset).eval()


def _shape(config: Config, weights: Mapping[str, np.ndarray], folder: RunFolder) -> tuple[int, ...]:
    """Return the shape of one participant's array, whose grid the weights do not depend on."""
    if _FEATURES in weights:
        return weights[_FEATURES].shape
    first = next((array for array in weights.values() if array.ndim == 5), None)
    if first is None or config.is_table:
        raise RunError(f"{folder.model}: the weights are not those of config.yaml beside it")
    return (first.shape[1], 1, 1, 1)
