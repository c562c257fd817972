"""Build the network of an experiment: an encoder, and the heads that its objective trains."""

import numpy as np
import torch
from torch import Tensor, nn

from fedcl.config.code_paths import call
from fedcl.config.experiment import Config
from fedcl.config.network import EncoderSettings, MLPEncoder
from fedcl.errors import ConfigError
from fedcl.models.encoder import Encoder
from fedcl.models.mlp import MLP
from fedcl.models.projector import Projector
from fedcl.models.recompute import in_micro_batches, recompute
from fedcl.shapes import Embedding, Inputs, Representation

# The age head predicts on this scale: starting from 0 years at usual learning rates, the l1
# baseline would spend its first rounds on reaching adult ages. The values are fixed, so that no
# site's ages are used.
AGE_CENTRE_YEARS = 40.0
AGE_SPREAD_YEARS = 20.0


class Network(nn.Module):
    """Combine an encoder with a projector (contrastive terms), an age head (regression), or both.

    Args:
        encoder: Encoder from volumes or features to representations of length `encoder.width`.
        projector: Head that gives embeddings; None where no term of the objective uses them.
        age_head: Linear layer that predicts age; None where no term is a regression.
    """

    def __init__(
        self, encoder: Encoder, projector: Projector | None, age_head: nn.Linear | None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.age_head = age_head

    def represent(self, inputs: Inputs) -> Representation:
        """Return the representations of a batch, in float32 even under autocast."""
        return _at_least_float32(self.encoder(inputs))

    def project(self, representation: Representation) -> Embedding:
        """Return embeddings of Euclidean norm 1."""
        assert self.projector is not None
        return self.projector(representation)

    def predict_age(self, representation: Representation) -> Embedding:
        """Return the predicted age in years, shape (batch, 1)."""
        assert self.age_head is not None
        standardised = _at_least_float32(self.age_head(representation))
        return AGE_CENTRE_YEARS + AGE_SPREAD_YEARS * standardised

    def feature_scale(self) -> tuple[Tensor, Tensor] | None:
        """Return the mean and SD by which a table encoder standardises; None for volumes."""
        if isinstance(self.encoder, MLP):
            return self.encoder.feature_mean, self.encoder.feature_sd
        return None

    def set_feature_scale(self, mean: np.ndarray, sd: np.ndarray) -> None:
        """Set the mean and SD by which a table encoder standardises, each of shape (feature,)."""
        assert isinstance(self.encoder, MLP)
        self.encoder.set_scale(torch.from_numpy(mean), torch.from_numpy(sd))

    def forward(self, inputs: Inputs) -> tuple[Representation, Embedding]:
        """Return representations and embeddings, or ages in years if there is no projector."""
        representation = self.represent(inputs)
        if self.projector is not None:
            return representation, self.project(representation)
        return representation, self.predict_age(representation)


def build_network(config: Config, shape: tuple[int, ...], *, seed: int) -> Network:
    """Return the experiment's network on the CPU; its weights depend on the seed alone.

    The process-wide random state is neither read nor changed.

    Args:
        config: Configuration, of which encoder, projector, objective and compute are used.
        shape: Shape of one scan's array: (channel, x, y, z) for volumes, (feature,) for a table.
        seed: Seed of the initial weights, in [0, 2^63).

    Raises:
        ConfigError: the encoder cannot read arrays of this shape.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # torch.manual_seed would also reseed the GPUs, which fork_rng does not restore here.
        torch.default_generator.manual_seed(seed)
        encoder = _encoder(config.encoder, shape)
        if not isinstance(encoder, MLP):
            if config.compute.recompute:
                recompute(encoder)
            if config.compute.micro_batch is not None:
                in_micro_batches(encoder, config.compute.micro_batch)
        task, head = config.objective, config.projector
        projector, age_head = None, None
        if task.uses_embedding:
            projector = Projector(encoder.width, hidden=head.hidden, dim=head.dim)
        if task.predicts_age:
            age_head = nn.Linear(encoder.width, 1)
        return Network(encoder, projector, age_head)


def _encoder(section: EncoderSettings, shape: tuple[int, ...]) -> Encoder:
    """Return the encoder of a section, built with those of its settings that the builder takes."""
    kind, reads = section.kind, section.record.reads
    if reads == "table" and len(shape) != 1:
        raise ConfigError(
            f"encoder.kind: {kind} reads tables, arrays of shape (feature,); this data has {shape}"
        )
    if reads == "volumes" and len(shape) != 4:
        raise ConfigError(
            f"encoder.kind: {kind} reads volumes, arrays of shape (channel, x, y, z); "
            f"this data has {shape}"
        )
    if isinstance(section, MLPEncoder) and not section.hidden:
        raise ConfigError("encoder.hidden: expected at least one layer; found none")
    own = {name: getattr(section, name) for name in type(section).model_fields}
    size = {"features" if reads == "table" else "channels": shape[0]}
    encoder: Encoder = call(section.record.builder, settings={**own, **size})
    return encoder


def _at_least_float32(rows: Tensor) -> Tensor:
    return rows.to(torch.promote_types(rows.dtype, torch.float32))
