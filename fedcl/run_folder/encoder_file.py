"""encoder.safetensors: the trained weights of a run, to hand over.

Where the site was erased, erasure.representation.matrix and .offset (and those of the embedding)
stand beside the weights: a representation x becomes matrix @ x + offset.
"""

import fedcl
from fedcl.config.experiment import Config
from fedcl.config.loading import config_digest
from fedcl.files.atomic import write_tensors
from fedcl.run_folder.erasure_file import projection_arrays, read_projections
from fedcl.run_folder.folder import RunFolder

ERASURE = "erasure."
"""What the names of the arrays begin with that take the site out of features."""


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
    projections = read_projections(folder.erasure, checkpoint.round)
    erasure = {f"{ERASURE}{name}": a for name, a in projection_arrays(projections).items()}
    write_tensors(folder.model, {**checkpoint.weights, **erasure}, metadata=metadata)
