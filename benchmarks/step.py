"""Measures a training step of the encoder: seconds, share of the machine's speed, and memory.

The published ResNet-18 with group normalisation, two views of each participant, L_exp, Adam. The
arithmetic of a step is counted; the machine's best is a large matrix product in the same
precision, measured in the same run. Memory is what the forward pass keeps for the backward pass,
per volume, and the most that the row's own process, or on a GPU its tensors, held at once. Sizes
follow the device: full volumes on a GPU.

    python benchmarks/step.py [--device cpu] [--seconds 20] [--threads 1] [--compile]
"""

import argparse
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from fedcl.compute.device import autocast, to_device
from fedcl.config.loading import load
from fedcl.models.network import Network, build_network
from fedcl.objective import objective
from fedcl.optimizer import build_optimizer

DEMO = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"
SIZES = {
    "cpu": (((24, 29, 24), 8), ((48, 58, 48), 4), ((64, 64, 64), 8)),
    "cuda": (((121, 145, 121), 8), ((128, 128, 128), 8)),
}


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        grid: Size of the volumes in voxels per axis.
        participants: Number of participants in a batch, with two views each.
        precision: Precision of the convolutions, as in `compute.precision`.
        activations: How activations are stored, one of `ACTIVATIONS`.
        compiled: Whether the encoder goes through `torch.compile`.
    """

    grid: tuple[int, int, int]
    participants: int
    precision: str
    activations: str
    compiled: bool = False


ACTIVATIONS = {
    "kept": [],
    "computed again": ["compute.recompute=true"],
    "in micro-batches of 2": ["compute.micro_batch=2"],
}


def main() -> None:
    """Print one row for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=20, help="for each row, at least one step")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="rows for torch.compile, too")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(options.threads)
    best = {name: fastest_product(device, getattr(torch, name)) for name in ("float32", "bfloat16")}
    told = ", ".join(f"{name} {1e-12 * flops:.3g}" for name, flops in best.items())
    print(f"Matrix product on {options.device}, TFLOP/s: {told}.\n")
    print(
        "| grid | batch, two views each | precision | activations | s a step | volumes/s ", end=""
    )
    print("| TFLOP a step | TFLOP/s, share of the product's | kept, MB a volume | peak, GB |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for grid, participants in SIZES[device.type]:
        for precision in best:
            cases = [Case(grid, participants, precision, how) for how in ACTIVATIONS]
            if options.compile:
                cases.append(Case(grid, participants, precision, "kept", compiled=True))
            for case in cases:
                asked = (case, device, options.seconds, best[precision], options.threads)
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
                    print(fresh.submit(row, *asked).result(), flush=True)


def row(case: Case, device: torch.device, seconds: float, best: float, threads: int) -> str:
    """Measure one case, in a process of its own."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    network, step = prepared(case, device)
    how = case.activations
    if case.compiled:
        how += f", compiled in {time.perf_counter() - started:.0f} s"
    times: list[float] = []
    while sum(times) < seconds or not times:
        times.append(timed(step, device))
    median = sorted(times)[len(times) // 2]
    volumes = 2 * case.participants
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e9
    else:
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9
    # The counter takes memory itself and cannot see into a compiled network.
    network, step = prepared(replace(case, compiled=False), device)
    kept = kept_bytes(network, step)
    with FlopCounterMode(display=False) as counter:
        step()
    flops = counter.get_total_flops()
    grid = " x ".join(map(str, case.grid))
    return (
        f"| {grid} | {case.participants} | {case.precision} | {how} | {median:.3f} "
        f"| {volumes / median:.1f} | {1e-12 * flops:.3g} "
        f"| {1e-12 * flops / median:.3g}, {100 * flops / median / best:.0f} % "
        f"| {kept / volumes / 1e6:.1f} | {peak:.2f} |"
    )


def prepared(case: Case, device: torch.device) -> tuple[Network, Callable[[], None]]:
    """Return the network and its training step on one batch."""
    keys = ("precision", "cpu_precision")
    changes = [f"compute.{key}={case.precision}" for key in keys]
    changes += ["encoder.width=64", "projector.hidden=512", "projector.dim=128"]
    config = load(DEMO, [*changes, *ACTIVATIONS[case.activations]])
    network = to_device(build_network(config, (1, *case.grid), seed=1), device)
    if case.compiled:
        network.encoder.compile()
    optimizer = build_optimizer(network, config.local, round_number=1)
    views = tuple(torch.randn(case.participants, 1, *case.grid, device=device) for _ in range(2))
    known = {"age": torch.linspace(10, 80, case.participants, device=device)}

    def step() -> None:
        with autocast(config.compute, device):
            loss = objective(network, (views[0], views[1]), known, config.objective)
        optimizer.zero_grad(set_to_none=True)
        loss.value.backward()
        optimizer.step()

    step()  # kernels are chosen, and the optimiser's memory is made
    return network, step


def kept_bytes(network: Network, step: Callable[[], None]) -> int:
    """Return the bytes that a forward pass keeps for its backward pass, parameters aside."""
    own = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(kept.values())


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that some work takes on its device."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def fastest_product(device: torch.device, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a large matrix product."""
    size = 8192 if device.type == "cuda" else 1536
    one, other = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    one @ other
    return 2 * size**3 / min(timed(lambda: one @ other, device) for _ in range(10))


if __name__ == "__main__":
    main()
