"""encoder.safetensors: the trained weights of a run, to hand over."""

import fedcl
from fedcl.config.experiment import Config
from fedcl.config.loading import config_digest
from fedcl.files.atomic import write_tensors
from fedcl.run_folder.folder import RunFolder


def write_encoder(folder: RunFolder, config: Config, *, privacy: str) -> None:
    """Write the weights of the last checkpoint, and in the header what they are.

    Args:
        folder: A run with at least one checkpoint.
        config: The experiment, whose name and digest go into the header.
        privacy: What is promised about the participants, one sentence for the header.
    """
    checkpoint = folder.load()
    assert checkpoint is not None
    metadata = {
        "name": config.name,
        "round": str(checkpoint.round),
        "fedcl_version": fedcl.__version__,
        "config_digest": config_digest(config),
        "privacy": privacy,
    }
    write_tensors(folder.model, checkpoint.weights, metadata=metadata)
