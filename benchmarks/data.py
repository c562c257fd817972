"""Times the way from scans to batches: preparing them once, reading an epoch, training on it.

Prepared: compressed NIfTI of 1.5 mm, decoded, resampled to 3 mm and written to the cache. Read: an
epoch of cache entries, as fedcl reads them and memory-mapped, both into float32. Trained: an epoch
of the ResNet-18 on the device, from memory, from the cache with the next batch read ahead, and from
the cache without; ratios are to memory, medians of epochs that take turns.

    python benchmarks/data.py [--device cpu] [--scans 24] [--repetitions 5]
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter

from fedcl.compute.device import choose_device, to_device
from fedcl.config.data import Columns, NiftiData, Splits
from fedcl.config.loading import load
from fedcl.config.local_settings import LocalSettings
from fedcl.data import sampling
from fedcl.data.cache import VolumeCache
from fedcl.data.cohort import Cohort
from fedcl.data.open import open_cohort, prepare
from fedcl.local_round import local_round
from fedcl.models.network import build_network
from fedcl.optimizer import build_optimizer

DEMO = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"
OPENBHB = (121, 145, 121)
"""Grid of OpenBHB's volumes, in voxels of 1.5 mm per axis."""
READ = ((24, 29, 24), (48, 58, 48), OPENBHB)
TRAINED = {"cpu": ((48, 58, 48), 8, 8), "cuda": (OPENBHB, 64, 16)}
"""Grid, width of the network and participants of a batch, for each kind of device."""


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--scans", type=int, default=24)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        prepared(Path(folder) / "prepared", options.scans)
        read(Path(folder) / "read", options.scans, options.repetitions)
        trained(Path(folder) / "trained", options.device, options.repetitions)


def prepared(folder: Path, scans: int) -> None:
    """Print how long preparing takes, by one thread and by as many as fedcl takes."""
    write_scans(folder, scans)
    opened(folder, folder.with_name("first")).read(0)  # imports what reading needs
    seconds = {}
    for name, threads in (("one thread", 1), ("fedcl's threads", None)):
        cohort = opened(folder, folder.with_name(f"cache-{threads}"))
        seconds[name] = timed(lambda: prepare(cohort, threads=threads))  # noqa: B023
    seconds["there already"] = timed(lambda: prepare(cohort))
    first = seconds["one thread"]
    print(f"| {scans} scans of {told(OPENBHB)} | s | scans/s | ratio |\n|---|---|---|---|")
    for name, spent in seconds.items():
        print(f"| {name} | {spent:.2f} | {scans / spent:.1f} | {spent / first:.2f}x |", flush=True)


def read(folder: Path, scans: int, repetitions: int) -> None:
    """Print how long an epoch of cache entries takes, in the system's memory and not."""
    print("\n| entries | MB each | read whole, ms each | mapped | not in memory: read | mapped |")
    print("|---|---|---|---|---|---|")
    for grid in READ:
        cache, sources = filled(folder / told(grid), grid, scans)
        paths = [cache.path(source) for source in sources]
        ways: dict[str, Callable[[], object]] = {
            "read": lambda: [cache.read(s, never).astype(np.float32) for s in sources],  # noqa: B023
            "mapped": lambda: [np.load(p, mmap_mode="r").astype(np.float32) for p in paths],  # noqa: B023
        }
        found = []
        for cold in (False, True):
            spent: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(repetitions):
                for name, way in ways.items():
                    forget(paths) if cold else way()
                    spent[name].append(timed(way))
            found += [1000 * statistics.median(seconds) / scans for seconds in spent.values()]
        cells = " | ".join(f"{ms:.2f}" for ms in found)
        print(f"| {told(grid)} | {2e-6 * np.prod(grid):.2f} | {cells} |", flush=True)


def trained(folder: Path, device_name: str, repetitions: int) -> None:
    """Print how long an epoch of training takes, by where its scans come from."""
    config = load(DEMO, [f"compute.device={device_name}", "local.epochs=1"])
    device = choose_device(config.compute)
    grid, width, batch = TRAINED[device.type]
    changes = [f"compute.device={device.type}", "local.epochs=1", "views={kind: none}"]
    config = load(DEMO, [*changes, f"encoder.width={width}", f"local.batch_size={batch}"])
    scans = 8 * batch
    cache, sources = filled(folder, grid, scans)
    held = np.stack([cache.read(source, never) for source in sources])
    read_one = {
        "memory": held.__getitem__,
        "the cache, read ahead": lambda row: cache.read(sources[row], never),
        "the cache, read when used": lambda row: cache.read(sources[row], never),
    }
    network = to_device(build_network(config, (1, *grid), seed=1), device)
    optimizer = build_optimizer(network, config.local, round_number=1)
    spent: dict[str, list[float]] = {name: [] for name in read_one}
    for repetition in range(repetitions + 1):
        for name, one in read_one.items():
            cohort = in_memory(grid, scans, one)

            def epoch(cohort: Cohort = cohort) -> None:
                rows = np.arange(scans)
                local_round(
                    network,
                    optimizer,
                    cohort,
                    rows,
                    LocalSettings.of(config),
                    round_number=1,
                    site="one",
                )
                if device.type == "cuda":
                    torch.cuda.synchronize()

            with reading_ahead(name == "the cache, read ahead"):
                seconds = timed(epoch)
            if repetition:  # the first chooses kernels
                spent[name].append(seconds)
    title = f"{told(grid)}, width {width}, batches of {batch}, on {device.type}"
    print(f"\n| {title}, from | volumes/s | time |\n|---|---|---|")
    memory = statistics.median(spent["memory"])
    for name, seconds in spent.items():
        middle = statistics.median(seconds)
        print(f"| {name} | {2 * scans / middle:.1f} | {middle / memory:.2f}x |", flush=True)


def write_scans(folder: Path, scans: int) -> None:
    """Write smooth volumes, compressed as scans are, and the table of whose they are."""
    folder.mkdir(parents=True)
    affine = np.diag([1.5, 1.5, 1.5, 1.0])
    rng = np.random.default_rng(0)
    smooth = gaussian_filter(rng.standard_normal(OPENBHB), 3).astype(np.float32)
    smooth = np.clip(10 * smooth, 0, 1)  # half of it background, as around a head
    for number in range(scans):
        image = nibabel.Nifti1Image(np.roll(smooth, number, axis=0), affine)
        nibabel.save(image, folder / f"sub-{number:03d}.nii.gz")
    ids = [f"{number:03d}" for number in range(scans)]
    table = pd.DataFrame({"participant_id": ids, "site": ["a", "b"] * (scans // 2)})
    table["age"], table["sex"], table["split"] = 40, "F", "train"
    table.to_csv(folder / "participants.tsv", sep="\t", index=False)


def opened(folder: Path, cache: Path) -> Cohort:
    """Open the scans, without reading them."""
    data = NiftiData(
        kind="nifti",
        path=folder,
        participants="participants.tsv",
        pattern="{participant}.nii.gz",
        columns=Columns(),
        splits=Splits(external_sites=0, internal_fraction=0),
        grid=(61, 73, 61),
        spacing_mm=(3.0, 3.0, 3.0),
        intensity="vbm",
        simulated_scanners=None,
    )
    return open_cohort(data, seed=0, cache=cache)


def filled(folder: Path, grid: tuple[int, ...], scans: int) -> tuple[VolumeCache, list[Path]]:
    """Return a cache and the files whose entries it holds."""
    folder.mkdir(parents=True)
    cache, rng = VolumeCache(folder / "cache", told(grid)), np.random.default_rng(0)
    sources = [folder / f"{number}.source" for number in range(scans)]
    for number, source in enumerate(sources):
        source.write_text(str(number))
        cache.read(source, lambda _: rng.random((1, *grid), dtype=np.float32))
    return cache, sources


def never(path: Path) -> np.ndarray:
    """Fail, since every entry of the cache exists already."""
    raise AssertionError(path)


def in_memory(grid: tuple[int, ...], scans: int, one: Callable[[int], np.ndarray]) -> Cohort:
    """Return a cohort of one site whose scans are in memory."""
    ids = [f"{number:03d}" for number in range(scans)]
    table = pd.DataFrame({"participant_id": ids, "scan": ids})
    known = {"age": np.linspace(20, 80, scans).astype(np.float32)}
    return Cohort("random", table, (1, *grid), one, "", known)


@contextmanager
def reading_ahead(ahead: bool) -> Iterator[None]:
    """Read the next batch while one is used, or only when it is needed."""
    before = sampling._SMALL
    sampling._SMALL = 0 if ahead else 2**62
    try:
        yield
    finally:
        sampling._SMALL = before


def forget(paths: list[Path]) -> None:
    """Make the system drop its cached pages of the files."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds some work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def told(grid: tuple[int, ...]) -> str:
    """Return a grid in words."""
    return " x ".join(map(str, grid))


if __name__ == "__main__":
    main()
