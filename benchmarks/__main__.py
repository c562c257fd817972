"""Run the benchmarks and write their tables into docs/measurements/benchmarks.md.

A table stands between `<!-- NAME -->` and `<!-- end -->`; the words stay as they are, so read them
again after a run. Ratios are of one run of one script; seconds of two runs are not to be compared.

    python benchmarks [--only NAME ...] [--before CHECKOUT] [--pfl PYTHON] [--nvflare PYTHON]
"""

import argparse
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from fedcl.files.atomic import write_text

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "measurements" / "benchmarks.md"
TABLES = ("simulate", "scale", "data", "step", "gpu", "wire", "deployed", "losses", "peers")


def main() -> None:
    """Fill the page table by table, so that finished tables stay if the rest is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=TABLES, nargs="+", default=list(TABLES))
    parser.add_argument("--before", help="a checkout of a former version, to compare")
    parser.add_argument("--pfl", help="an interpreter that has pfl")
    parser.add_argument("--nvflare", help="an interpreter that has NVIDIA FLARE")
    options = parser.parse_args()
    more = {name: [] for name in TABLES} | {"wire": ["--out", "runs/benchmarks/wire"]}
    if options.before:
        for name in ("simulate", "scale", "deployed"):
            more[name] = ["--before", options.before]
    for peer in ("pfl", "nvflare"):
        if (interpreter := getattr(options, peer)) is not None:
            more["peers"] += [f"--{peer}", interpreter]
    fill("machine", machine())
    for name in options.only:
        print(f"{name} ...", flush=True)
        command = [sys.executable, str(HERE / f"{name}.py"), *more[name]]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        fill(name, done.stdout)


def fill(name: str, text: str) -> None:
    """Replace the table called `name` on the page by `text`."""
    page = PAGE.read_text(encoding="utf-8")
    block = re.compile(rf"(<!-- {name} -->\n)(?:.*?\n)??(<!-- end -->)", flags=re.DOTALL)
    if not block.search(page):
        sys.exit(f"{PAGE}: no place for the table {name!r}: <!-- {name} --> ... <!-- end -->")
    write_text(PAGE, block.sub(lambda found: f"{found[1]}{text.strip()}\n{found[2]}", page))


def machine() -> str:
    """Return a description of the machine that measures."""
    import torch

    processor = platform.processor() or platform.machine()
    cores = re.findall(r"model name\s*: (.*)", _read("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s*(\d+) kB", _read("/proc/meminfo"))
    gigabytes = f", {int(memory[1]) / 1e6:.0f} GB" if memory else ""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "flwr", "numpy"))
    return (
        f"{os.cpu_count()} cores ({cores[0] if cores else processor}){gigabytes}, {gpu}; "
        f"Python {platform.python_version()}, {libraries}."
    )


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text(encoding="utf-8") if file.exists() else ""


if __name__ == "__main__":
    main()
