"""Derive the seed of every random draw from the experiment's seed and the name of the draw.

A draw depends on its name alone (seed, purpose, round, site, participant, ...), never on how many
draws were made before it, so that results are the same for any number of workers and after a
resume. The noise that protects privacy never comes from these generators.
"""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

DrawName = int | str


def derive(seed: int, *names: DrawName) -> int:
    """Return a 63-bit seed for the draw called `names` in the experiment `seed`."""
    # repr keeps 1 and "1" apart; the separator keeps ("ab", "c") and ("a", "bc") apart.
    text = "\x1f".join(repr(name) for name in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def numpy_generator(seed: int, *names: DrawName) -> np.random.Generator:
    """Return a NumPy generator for the draw called `names`."""
    return np.random.default_rng(derive(seed, *names))


def torch_generator(seed: int, *names: DrawName) -> "torch.Generator":
    """Return a torch generator on the CPU for the draw called `names`."""
    import torch  # the import takes two seconds, and many commands do not need it

    return torch.Generator().manual_seed(derive(seed, *names))
