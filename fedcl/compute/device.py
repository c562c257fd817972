"""Choose where computations run: the device, the number of threads and the memory layout."""

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
        ConfigError: `cuda` is configured and this machine has no GPU.
    """
    available = torch.cuda.is_available()
    if compute.device == "cuda" and not available:
        raise ConfigError(
            "compute.device: cuda, but torch sees no GPU here; use auto or cpu "
            "(--set compute.device=auto)"
        )
    return torch.device("cuda" if available and compute.device != "cpu" else "cpu")


def choose_workers(compute: Compute) -> int:
    """Return the number of processes that train sites in parallel, at least 1."""
    if compute.workers != "auto":
        return compute.workers
    if choose_device(compute).type == "cuda":
        return 1
    return max(1, (os.cpu_count() or 1) // compute.threads)


def use_threads(compute: Compute) -> None:
    """Set the number of torch's threads; results are bit-identical for the same number."""
    torch.set_num_threads(compute.threads)


def keep_memory() -> None:
    """Make glibc keep the memory that this process frees, to reuse it for the next site.

    Otherwise the memory of every update is returned to the system, and page faults for the next
    update take 30 ms for 133 MB, as long as the computation of an aggregation. Without glibc
    nothing changes.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_THRESHOLD, 2**25)


def to_device(network: Network, device: torch.device) -> Network:
    """Move a network to a device; on a GPU convolution weights become channels-last."""
    if all(tensor.device.type == device.type for tensor in network.parameters()):
        return network  # its memory layout was set when it was moved there
    network.to(device)
    if device.type == "cuda":
        # On a CPU this layout is not faster, and oneDNN has known bugs with it.
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def autocast(compute: Compute, device: torch.device) -> torch.autocast:
    """Return a context of bfloat16 computation, active where configured for this device type."""
    precision = compute.precision if device.type == "cuda" else compute.cpu_precision
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
