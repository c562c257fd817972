"""Measures time and peak memory of each loss, forward and backward, against a plain InfoNCE.

n anchors (two views of n / 2 participants), embeddings of 128 dimensions, float32. The plain
InfoNCE is what one writes by hand: cross_entropy(first @ second.T / T). The naive L_thr compares
all triplets. Times are medians of interleaved repetitions in one process; memory is what a fresh
process grows by.

    python benchmarks/losses.py            # about 3 minutes on two cores
"""

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from fedcl.debiasing.bias_pairs import bias_pairs
from fedcl.debiasing.end import end
from fedcl.debiasing.fairkl import fairkl_regression
from fedcl.losses.info_nce import info_nce
from fedcl.losses.l_exp import l_exp
from fedcl.losses.l_thr import l_thr
from fedcl.losses.pairs import pairs_of_views
from fedcl.losses.soft_targets import x_clr
from fedcl.losses.uniformity import decoupled_uniformity
from fedcl.losses.yaware import y_aware

SIZES = (128, 512, 2048, 4096)
NAIVE_UP_TO = 512
DIM, T = 128, 0.1

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A function of embeddings (n / 2, 2, dim), positiveness (n / 2, n / 2) and sites (n / 2)."""


def plain_info_nce(z: Tensor, w: Tensor, site: Tensor) -> Tensor:
    first = z.flatten(0, 1)
    second = z.flip(1).flatten(0, 1)
    return F.cross_entropy(first @ second.T / T, torch.arange(len(first), device=z.device))


def naive_l_thr(z: Tensor, w: Tensor, site: Tensor) -> Tensor:
    """Return L_thr by its formula, with a comparison of all n x n x n triplets."""
    pairs = pairs_of_views(z, w, temperature=T)
    w = pairs.positiveness
    further = (w[:, None, :] < w[:, :, None]) & pairs.allowed[:, None, :]
    exponent = pairs.similarity[:, None, :].expand_as(further).masked_fill(~further, -torch.inf)
    some = further.any(dim=2)
    log_repulsion = exponent.masked_fill(~some[:, :, None], 0.0).logsumexp(dim=2)
    weights = pairs.weights(w)
    log_ratio = torch.where(some, pairs.similarity - log_repulsion, 0.0)
    return -((weights * log_ratio).sum(dim=1) / weights.sum(dim=1)).mean()


def contrastive(loss: Callable, z: Tensor, w: Tensor, site: Tensor) -> Tensor:
    return loss(pairs_of_views(z, w, temperature=T)).value.mean()


def fairkl_both(z: Tensor, w: Tensor, site: Tensor) -> Tensor:
    terms = fairkl_regression(bias_pairs(z, w, site).groups, side="both", form="kl")
    return sum(term.value.mean() for term in terms.values())


def end_both(z: Tensor, w: Tensor, site: Tensor) -> Tensor:
    return sum(term.value for term in end(bias_pairs(z, w, site), side="both").values())


LOSSES: dict[str, Loss] = {
    "plain InfoNCE": plain_info_nce,
    "info_nce": partial(contrastive, info_nce),
    "y_aware": partial(contrastive, y_aware),
    "l_exp": partial(contrastive, l_exp),
    "x_clr": partial(contrastive, partial(x_clr, label_temperature=0.1)),
    "l_thr": partial(contrastive, l_thr),
    "l_thr, naive": naive_l_thr,
    "decoupled_uniformity, prior": lambda z, w, site: decoupled_uniformity(z, w).value,
    "fairkl_regression": fairkl_both,
    "end": end_both,
}


def batch(n: int, device: str) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    z = F.normalize(torch.randn(n // 2, 2, DIM, generator=generator), dim=-1).to(device)
    age = 20 + 50 * torch.rand(n // 2, generator=generator)
    w = torch.exp(-((age[:, None] - age[None, :]) ** 2) / 50).to(device)
    site = torch.randint(0, 8, (n // 2,), generator=generator).float().to(device)
    return z.requires_grad_(), w, site


def once(loss: Loss, inputs: tuple[Tensor, Tensor, Tensor]) -> float:
    """Return the seconds of one forward and backward pass."""
    cuda = inputs[0].is_cuda
    started = time.perf_counter()
    torch.autograd.grad(loss(*inputs), inputs[0])
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def names(n: int) -> list[str]:
    return [name for name in LOSSES if "naive" not in name or n <= NAIVE_UP_TO]


def times(n: int, device: str) -> dict[str, float]:
    """Return the median seconds of each loss, with all losses taking turns."""
    inputs = batch(n, device)
    repetitions = 40 if n <= 512 else 9
    seconds: dict[str, list[float]] = {name: [] for name in names(n)}
    for repetition in range(repetitions + 1):
        for name in seconds:
            if "naive" in name and repetition > 2:
                continue
            spent = once(LOSSES[name], inputs)
            if repetition:  # the first warms up
                seconds[name].append(spent)
    return {name: statistics.median(values) for name, values in seconds.items()}


def memory(name: str, n: int, device: str) -> float:
    """Return the peak growth of this process in MB, or on a GPU that of torch's allocations."""
    once(LOSSES[name], batch(16, device))
    inputs = batch(n, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        once(LOSSES[name], inputs)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    before = peak_mb()
    once(LOSSES[name], inputs)
    return peak_mb() - before


def peak_mb() -> float:
    """Return this process's peak memory in MB (Linux); getrusage would include the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / 1e6


def in_fresh_process(name: str, n: int, device: str) -> float:
    command = [sys.executable, __file__, "--memory", name, str(n), "--device", device]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", nargs=2, metavar=("LOSS", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        print(memory(options.memory[0], int(options.memory[1]), options.device))
        return
    print("milliseconds, forward and backward (ratio to plain InfoNCE) | peak memory, MB\n")
    print("| loss | " + " | ".join(f"n = {n}" for n in SIZES) + " |")
    print("|---|" + "---|" * len(SIZES))
    measured = {n: times(n, options.device) for n in SIZES}
    for name in LOSSES:
        cells = []
        for n in SIZES:
            if name not in measured[n]:
                cells.append(f"not run: {4 * n**3 / 1e9:.0f} GB for one n³ array")
                continue
            seconds, ratio = measured[n][name], measured[n][name] / measured[n]["plain InfoNCE"]
            grown = in_fresh_process(name, n, options.device)
            cells.append(f"{1000 * seconds:.1f} ({ratio:.1f}x), {grown:.0f} MB")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print(f"\ntorch {torch.__version__}, {options.device}, {options.threads} threads")


if __name__ == "__main__":
    main()
