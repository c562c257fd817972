"""The weights that a site received: with the message, or held from one before it."""

from fedcl.compression.state import decode_state
from fedcl.config.experiment import Config
from fedcl.release import State
from fedcl.wire.orders import Instruction
from sites.held import HeldWeights
from sites.site import Site, network_of


def held(config: Config) -> HeldWeights:
    """Return where weights are held from one message of a round to the next, as they travelled."""
    return HeldWeights(config.output.path / "held")


def weights_received(site: Site, order: Instruction) -> State:
    """Return the travelling tensors that an instruction is about.

    Raises:
        RunError: they are not held here.
        CodecError: they are not the encoded tensors of this network.
    """
    weights = order.weights or held(site.config).take(order.held)
    if order.codec == "none":
        return weights
    network, _ = network_of(site.config, site.cohort.shape)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return decode_state(weights, order.codec, shapes)
