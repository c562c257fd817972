"""Where the arithmetic runs: the device, the threads, the memory layout."""

import ctypes
import os
from contextlib import suppress

import torch

from fedcl.config.experiment import Compute
from fedcl.errors import ConfigError
from fedcl.models.network import Network

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h."""


def choose_device(compute: Compute) -> torch.device:
    """Return the configured device; `auto` takes a GPU where there is one.

    Raises:
        ConfigError: `cuda` is asked for and this machine has none.
    """
    available = torch.cuda.is_available()
    if compute.device == "cuda" and not available:
        raise ConfigError(
            "compute.device: cuda, but torch sees no GPU here; use auto or cpu "
            "(--set compute.device=auto)"
        )
    return torch.device("cuda" if available and compute.device != "cpu" else "cpu")


def choose_workers(compute: Compute) -> int:
    """Return how many processes train sites side by side."""
    if compute.workers != "auto":
        return compute.workers
    if choose_device(compute).type == "cuda":
        return 1
    return max(1, (os.cpu_count() or 1) // compute.threads)


def use_threads(compute: Compute) -> None:
    """Set torch's threads for this process; results are bit-identical at equal threads."""
    torch.set_num_threads(compute.threads)


def keep_memory() -> None:
    """Let this process keep what it frees, for the next site, where glibc serves its memory.

    It would give the system back every update, and for the next one fault in as many new pages:
    30 ms for 133 MB, of which the arithmetic of an aggregation takes as long.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_THRESHOLD, 2**25)


def to_device(network: Network, device: torch.device) -> Network:
    """Move a network to its device, channels last for 3D convolutions on a GPU."""
    if all(tensor.device.type == device.type for tensor in network.parameters()):
        return network  # and in the layout that it was given when it came here
    network.to(device)
    if device.type == "cuda":
        # On a CPU this layout is no faster, and oneDNN has open bugs in it.
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def autocast(compute: Compute, device: torch.device) -> torch.autocast:
    """bfloat16 where it is configured for this kind of device."""
    precision = compute.precision if device.type == "cuda" else compute.cpu_precision
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
