"""Go once over a site's scans in shuffled batches, read ahead of the computation."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from fedcl.data.cohort import Cohort, Rows

_SMALL = 2**22
"""Largest batch in bytes that is read by the calling thread; handing it over would take longer."""


def shuffled_batches(rows: Rows, *, batch_size: int, generator: np.random.Generator) -> list[Rows]:
    """Return `rows` in random order, cut into batches of at least two scans.

    A last batch of one joins the batch before it: a contrastive loss needs at least two scans.
    """
    order = generator.permutation(rows)
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches


def read_ahead(
    cohort: Cohort, batches: Sequence[Rows], *, device: torch.device
) -> Iterator[tuple[Rows, torch.Tensor]]:
    """Yield (rows, arrays on `device`, float32), reading the next large batch while one is in use.

    For a GPU the arrays are copied from pinned memory without blocking, in their stored type:
    float16 halves the bytes.
    """

    def read(rows: Rows) -> torch.Tensor:
        arrays = torch.from_numpy(cohort.kept(rows))
        return arrays.pin_memory() if device.type == "cuda" else arrays.float()

    if not batches:
        return
    if 4 * max(map(len, batches)) * math.prod(cohort.shape) <= _SMALL:
        for rows in batches:
            yield rows, read(rows).to(device, non_blocking=True).float()
        return
    with ThreadPoolExecutor(max_workers=1) as reader:
        pending = reader.submit(read, batches[0])
        for position, rows in enumerate(batches):
            arrays = pending.result()
            if position + 1 < len(batches):
                pending = reader.submit(read, batches[position + 1])
            yield rows, arrays.to(device, non_blocking=True).float()
