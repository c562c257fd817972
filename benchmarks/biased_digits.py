"""Measures debiasing on images whose background colour predicts the class, as in Biased-MNIST.

scikit-learn's handwritten digits (8x8) on a coloured background. In training the colour is the
class's own with probability `correlation`, else one of the nine others; in the test every colour is
equally likely. A method that follows the colour falls to chance, 10 %. After Barbano et al.,
"Unbiased supervised contrastive learning", ICLR 2023, https://arxiv.org/abs/2211.05568.

    python benchmarks/biased_digits.py            # about 20 minutes on two cores
"""

import argparse
import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from fedcl.debiasing.bias_pairs import bias_pairs
from fedcl.debiasing.end import end
from fedcl.debiasing.fairkl import fairkl, fairkl_authors_variant
from fedcl.losses.eps_sup_con import eps_sup_info_nce
from fedcl.losses.pairs import pairs_of_views
from fedcl.losses.sup_con import sup_con

CORRELATIONS = (0.999, 0.997, 0.995, 0.99)
LOSSES = ("cross-entropy", "SupCon", "eps-SupInfoNCE")
DEBIASING = ("none", "EnD", "FairKL", "FairKL, released")
WEIGHTS = {"none": 0.0, "EnD": 1.0, "FairKL": 0.1, "FairKL, released": 1.0}
FIRST_SEED = 1  # weights and training were settled on seed 0

COPIES = 24  # shifted copies of each training digit, each with a colour of its own
EPOCHS, BATCH, LEARNING_RATE = 12, 256, 3e-3
TEMPERATURE, EPSILON = 0.1, 0.25
COLOUR_SD = 0.2
COLOURS = torch.tensor(
    [
        [0.86, 0.08, 0.24], [0.00, 0.50, 0.50], [0.99, 0.91, 0.06], [0.00, 0.71, 0.93],
        [0.93, 0.57, 0.13], [0.57, 0.12, 0.71], [0.27, 0.94, 0.94], [0.98, 0.75, 0.83],
        [0.82, 0.96, 0.24], [0.50, 0.50, 0.50],
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Images:
    """Coloured digits: images of shape (n, 3, 8, 8), and the class and colour of each, 0 to 9."""

    images: Tensor
    classes: Tensor
    colours: Tensor


def coloured(digits: Tensor, classes: Tensor, colours: Tensor, noise: torch.Generator) -> Images:
    """Return white digits on backgrounds of the given colours, with noise of SD COLOUR_SD."""
    background = COLOURS[colours] + COLOUR_SD * torch.randn(len(digits), 3, generator=noise)
    background = background.clamp(0, 1)[:, :, None, None]
    ink = digits[:, None]
    return Images(ink + (1 - ink) * background, classes, colours)


def data(correlation: float, seed: int) -> tuple[Images, Images]:
    """Return biased training images and unbiased test images of other digits."""
    source = load_digits()
    digits = torch.tensor(source.images / 16.0, dtype=torch.float32)
    classes = torch.tensor(source.target)
    train, test = train_test_split(
        np.arange(len(digits)), test_size=500, stratify=source.target, random_state=seed
    )
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.tensor(train).repeat(COPIES)
    shifts = torch.randint(-1, 2, (len(chosen), 2), generator=generator).tolist()
    moved = torch.stack(
        [digits[i].roll(tuple(s), (0, 1)) for i, s in zip(chosen, shifts, strict=True)]
    )
    other = (classes[chosen] + torch.randint(1, 10, (len(chosen),), generator=generator)) % 10
    keep = torch.rand(len(chosen), generator=generator) < correlation
    colours = torch.where(keep, classes[chosen], other)
    everywhere = torch.tensor(test).repeat_interleave(10)
    every_colour = torch.arange(10).repeat(len(test))
    return (
        coloured(moved, classes[chosen], colours, generator),
        coloured(digits[everywhere], classes[everywhere], every_colour, generator),
    )


class Encoder(nn.Sequential):
    """A multilayer perceptron with 128 outputs; images of 8 x 8 pixels need no convolution."""

    def __init__(self) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(192, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU()
        )


def debias(name: str, representation: Tensor, classes: Tensor, colours: Tensor) -> Tensor:
    """Return the debiasing term on unit representations, one view each."""
    same = (classes[:, None] == classes[None, :]).float()
    colour = colours.float()
    if name == "FairKL, released":
        unit = F.normalize(representation, dim=1)
        return sum(term.value for term in fairkl_authors_variant(unit, same == 1, colour).values())
    pairs = bias_pairs(representation[:, None], same, colour)
    if name == "EnD":
        return sum(term.value for term in end(pairs, side="both").values())
    return sum(term.value for term in fairkl(pairs.groups, side="both", form="kl").values())


def accuracy(loss: str, debiasing: str, correlation: float, seed: int) -> float:
    """Train, and return the accuracy on unbiased test images."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    train, test = data(correlation, seed)
    encoder = Encoder()
    head = nn.Linear(128, 10)
    projector = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64))
    network = nn.ModuleList([encoder, head if loss == "cross-entropy" else projector])
    steps = EPOCHS * (len(train.images) // BATCH)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(train.images))
        for batch in order[: len(order) // BATCH * BATCH].split(BATCH):
            classes = train.classes[batch]
            representation = encoder(train.images[batch])
            if loss == "cross-entropy":
                value = F.cross_entropy(head(representation), classes)
            else:
                embedding = F.normalize(projector(representation), dim=1)[:, None]
                same = (classes[:, None] == classes[None, :]).float()
                pairs = pairs_of_views(embedding, same, temperature=TEMPERATURE)
                if loss == "SupCon":
                    value = sup_con(pairs).value.mean()
                else:
                    # A mean over positives, so that one learning rate fits all losses.
                    found = eps_sup_info_nce(pairs, epsilon=EPSILON / TEMPERATURE).value
                    value = (found / pairs.positives().sum(dim=1).clamp(min=1)).mean()
            if debiasing != "none":
                term = debias(debiasing, representation, classes, train.colours[batch])
                value = value + WEIGHTS[debiasing] * term
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        found = [torch.cat([encoder(b) for b in part.images.split(1024)]) for part in (train, test)]
        if loss == "cross-entropy":
            predicted = head(found[1]).argmax(dim=1).numpy()
        else:
            fitted = LogisticRegression(C=1.0, max_iter=300)
            unit = [F.normalize(rows, dim=1).numpy() for rows in found]
            fitted.fit(unit[0], train.classes.numpy())
            predicted = fitted.predict(unit[1])
    return float((predicted == test.classes.numpy()).mean())


def run(job: tuple[str, str, float, int]) -> float:
    return accuracy(*job)


def table(results: dict[tuple[str, str, float], Sequence[float]]) -> str:
    """Return the Markdown table of accuracies in per cent, mean and SD over seeds."""
    lines = [
        "| loss | debiasing | " + " | ".join(map(str, CORRELATIONS)) + " |",
        "|---|---|" + "---|" * len(CORRELATIONS),
    ]
    for loss, debiasing in itertools.product(LOSSES, DEBIASING):
        cells = []
        for correlation in CORRELATIONS:
            values = 100 * np.asarray(results[loss, debiasing, correlation])
            cells.append(f"{values.mean():.1f} ± {values.std(ddof=1):.1f}")
        lines.append(f"| {loss} | {debiasing} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    started = time.perf_counter()
    groups = list(itertools.product(LOSSES, DEBIASING, CORRELATIONS))
    jobs = [
        (*group, seed) for group in groups for seed in range(FIRST_SEED, FIRST_SEED + options.seeds)
    ]
    with ProcessPoolExecutor(options.workers) as pool:
        values = list(pool.map(run, jobs))
    results = {
        group: values[i * options.seeds : (i + 1) * options.seeds] for i, group in enumerate(groups)
    }
    print(table(results))
    print(f"\n{options.seeds} seeds, {len(jobs)} runs, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
