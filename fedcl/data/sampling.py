"""One pass over a site: shuffled batches of scans, read ahead of the arithmetic."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from fedcl.data.cohort import Cohort, Rows

_SMALL = 2**22
"""Bytes of a batch that is read where it is used: to hand it to a thread would take longer."""


def shuffled_batches(rows: Rows, *, batch_size: int, generator: np.random.Generator) -> list[Rows]:
    """Return `rows` in random order, cut into batches of at least two scans.

    A last batch of one joins the batch before it: one scan alone has nothing to meet.
    """
    order = generator.permutation(rows)
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches


def read_ahead(
    cohort: Cohort, batches: Sequence[Rows], *, device: torch.device
) -> Iterator[tuple[Rows, torch.Tensor]]:
    """Yield (rows, arrays on `device`, float32); the next batch is read while this one is used, if
    large.

    On a GPU the arrays come from pinned memory and are copied without blocking, as they are kept:
    float16 is half of the bytes.
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
