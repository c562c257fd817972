"""Holds a round's weights from the question for a site's moments until the site trains.

Otherwise they would travel twice. Sites that share a disk, as in a simulation, share the file.
"""

from functools import lru_cache
from pathlib import Path

from fedcl.arrays.tensors import State
from fedcl.compression.state import decode_state
from fedcl.config.experiment import Output
from fedcl.errors import RunError
from fedcl.files.atomic import read_tensors, write_tensors
from fedcl.messages.orders import Instruction
from fedcl.sites.site import Site, network_of


class HeldWeights:
    """A folder that holds the weights of one round."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, name: str, weights: State) -> None:
        """Store weights under a name given by the server, and delete those stored before."""
        path = self._path(name)
        if path.exists():
            return
        write_tensors(path, weights)
        for other in self.folder.glob("*.safetensors"):
            if other != path:
                other.unlink(missing_ok=True)

    def take(self, name: str) -> State:
        """Return the weights stored under a name, which remain stored.

        Raises:
            RunError: the weights are not stored here, or are damaged.
        """
        path = self._path(name)
        if not name or not path.exists():
            raise RunError("the site no longer holds the weights of this round")
        try:
            return _read(path)
        except Exception as error:  # safetensors raises its own types for a damaged file
            raise RunError(f"{path}: cannot read the weights held: {error}") from None

    def _path(self, name: str) -> Path:
        if not name.isalnum():
            raise RunError("the server names no weights to hold")
        return self.folder / f"{name}.safetensors"


# In a simulation every site of the round takes the same weights, so they are read once.
@lru_cache(maxsize=1)
def _read(path: Path) -> State:
    return read_tensors(path)


def held_weights(output: Output) -> HeldWeights:
    """Return the store of weights in the run's folder, in the encoding in which they travelled."""
    return HeldWeights(output.path / "held")


def weights_received(site: Site, order: Instruction) -> State:
    """Return the weights of an instruction, from its message or from the store.

    Raises:
        RunError: the instruction refers to weights that are not stored here.
        CodecError: the weights are not the encoded tensors of this network.
    """
    weights = order.weights or held_weights(site.config.output).take(order.held)
    if order.codec == "none":
        return weights
    network, _ = network_of(site.config, site.cohort.shape)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return decode_state(weights, order.codec, shapes)
