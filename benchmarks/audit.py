"""Audits claimed epsilons, of fedcl's mechanisms and of a contrast within the batch, and attacks.

Two worlds: 7 invented participants and a canary found by gradient ascent; the sums of both worlds
go through the shipped clipping once, the noise is drawn `--runs` times. One run: 1000 batches, each
with its own canary behind a coin, 400 guesses. Attacks: on a small MLP over a made table. All
bounds at 95 % confidence; all draws are seeded.

    python benchmarks/audit.py                 # some minutes on one core
    python benchmarks/audit.py --out FILE      # writes the tables too
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from torch import Tensor

from fedcl.audit.batch import Batch, BatchLosses, alike, clipped_sum, losses_of
from fedcl.audit.bounds import most_certified
from fedcl.audit.canary import find_canary
from fedcl.audit.game import SumOf, always, certify, certify_one_run, distance, sampled_game
from fedcl.audit.inference import of_updates
from fedcl.audit.inversion import invert
from fedcl.audit.membership import Membership, likelihood_ratios, membership
from fedcl.audit.scores import trained_on
from fedcl.config.experiment import Config
from fedcl.config.loading import parse
from fedcl.config.local_settings import LocalSettings
from fedcl.config.moments import PrivateMoments
from fedcl.config.objective import Objective
from fedcl.data.cohort import Cohort
from fedcl.local_round import local_round
from fedcl.models.network import Network, build_network
from fedcl.models.travelling import read_state, travelling, write_state
from fedcl.moments.frozen import FrozenMoments, NoisyMoments, frozen_moments
from fedcl.moments.grid import node_shares
from fedcl.moments.private import SENSITIVITY, private_sums
from fedcl.objective import objective
from fedcl.optimizer import build_optimizer
from fedcl.privacy.accounting import calibrate
from fedcl.privacy.entropy import Entropy
from fedcl.privacy.private_round import private_round
from fedcl.privacy.site_level import noisy_mean
from fedcl.secure_sum.fixed_point import FixedPoint
from fedcl.seeds import numpy_generator

CLAIMS, DELTA = (1.0, 2.0, 4.0), 1e-5
OTHERS, FEATURES = 7, 6
RATE, STEPS = 0.5, 4
CANARIES, GUESSES = 1000, 400
PEOPLE, SITES, MODELS, ROUNDS = 320, 8, 16, 40
TRAINING_EPSILON = 8.0

PROTOTYPES = {"first": 20, "last": 80, "spacing": 10, "bandwidth": 15, "multiplicity": 2}


def experiment(features: int, hidden: list[int], privacy: dict, **objective_) -> Config:
    """Return the configuration of an experiment on a table, whose paths need not exist."""
    tree = {
        "name": "audit",
        "seed": 1,
        "data": {
            "kind": "table",
            "path": "none",
            "participants": "participants.tsv",
            "features": "features.tsv",
            "columns": {},
            "splits": None,
        },
        "views": {
            "kind": "table",
            "noise": {"probability": 1.0, "sd": 0.1},
            "dropout": None,
        },
        "encoder": {"kind": "mlp", "hidden": hidden, "public_scale": "none.tsv"},
        "projector": {"hidden": 16, "dim": 8},
        "objective": {
            "loss": "l_exp",
            "variant": "published",
            "temperature": 0.1,
            "kernel": {"kind": "gaussian", "covariates": ["age"], "bandwidths": [5]},
            "also": [],
            "debias": [],
            "moments": None,
            "prototypes": PROTOTYPES,
            **objective_,
        },
        "local": {
            "epochs": 1,
            "batch_size": 32,
            "optimizer": {"kind": "adam", "learning_rate": 0.003, "weight_decay": 0},
            "decay": {"factor": 1.0, "every_rounds": 1000},
            "keep_optimizer": False,
            "min_participants": 2,
        },
        "federation": {
            "rounds": ROUNDS,
            "rule": {"kind": "fedavg"},
            "weighting": "uniform",
            "sites_per_round": None,
            "min_sites": 2,
            "quorum": 0.5,
            "answer_timeout_s": 5,
        },
        "compute": {"device": "cpu", "precision": "float32", "workers": 1, "threads": 1},
        "privacy": privacy,
        "evaluation": {"every_rounds": None, "bootstrap": 0},
        "output": {"path": "none"},
    }
    return parse(yaml.safe_dump(tree), source="benchmark")


OPEN = {"mode": "none"}


def promise(mode: str, **settings: object) -> dict:
    return {
        "mode": mode,
        "clip_norm": 1.0,
        "noise_multiplier": None,
        "target_epsilon": TRAINING_EPSILON,
        "delta": DELTA,
        "budget": 100.0,
        "ledger": "none",
        "test_seed": None,
        **settings,
    }


# --- mechanisms under audit -----------------------------------------------------------------------


@dataclass(frozen=True)
class Mechanism:
    """The parts of a game; a new mechanism is one more function that returns this.

    Attributes:
        sum_of: Returns the sum over the participants at given positions before noise; the canary is
            the last position.
        others: Number of participants before the canary.
        clip_norm: Norm that the standard deviation of its noise is a multiple of.
    """

    sum_of: SumOf
    others: int
    clip_norm: float


def of_participants(losses: BatchLosses, network: Network) -> Mechanism:
    """Return the clipped sum of a private step, with the canary that gradient ascent finds."""
    generator = torch.Generator().manual_seed(0)
    crowd = alike(OTHERS, (FEATURES,), generator)
    canary = find_canary(
        losses, network, crowd, clip_norm=1.0, restarts=4, steps=60, generator=generator
    )
    everybody: Batch = crowd.followed_by(canary.batch.to(torch.float32))

    def sum_of(positions: Sequence[int]) -> Tensor:
        batch = everybody.at(positions)
        return clipped_sum(network, losses, batch, clip_norm=1.0, gradients="hooks")

    return Mechanism(sum_of, OTHERS, 1.0)


def naive() -> Mechanism:
    """Return L_exp within the batch with clipped gradients per participant, which fedcl refuses."""
    task = experiment(FEATURES, [8], OPEN, prototypes=None).objective

    def losses(network: Network, batch: Batch) -> Tensor:
        views, known = (batch.first, batch.second), {"age": batch.ages}
        return objective(network, views, known, task).value[None] * len(batch)

    return of_participants(losses, tiny_network())


def prototypes() -> Mechanism:
    """Return fedcl's mechanism of `privacy.mode: participant`."""
    config = experiment(FEATURES, [8], promise("participant", gradients="hooks"))
    return of_participants(losses_of(config.objective), tiny_network())


def site() -> Mechanism:
    """Return fedcl's mechanism of `privacy.mode: site`, with a site that sends enormous weights."""
    config = experiment(FEATURES, [8], promise("site", sites=OTHERS + 1))
    received = {"weight": np.zeros(50, np.float32)}
    sent = [{"weight": np.full(50, 0.01, np.float32)} for _ in range(OTHERS)]
    sent.append({"weight": np.full(50, 1e30, np.float32)})

    def sum_of(positions: Sequence[int]) -> Tensor:
        updates = [(sent[position], 1.0) for position in positions]
        mean = noisy_mean(
            updates, received, config.privacy, config.federation, {"weight"}, Silence(bytes(32))
        )
        return (OTHERS + 1) * torch.from_numpy(mean["weight"])

    return Mechanism(sum_of, OTHERS, 1.0)


MOMENTS = {
    "grid": [{"kind": "spaced", "covariate": "age", "first": 20, "last": 80, "spacing": 20}],
    "residual_norm": 0.5,
    "noise_multiplier": 4.0,
    "every_rounds": 1,
    "momentum": 0.5,
    "min_count": 1,
    "min_participants": 1,
    "participants": None,
}
FAIRKL = {
    "name": "fairkl_regression",
    "weight": 10.0,
    "against": "site",
    "vectors": "embedding",
    "side": "both",
    "form": "squared",
}


def invented_moments(task: Objective, people: int = 200, dim: int = 8) -> FrozenMoments:
    """Return a release of two sites that differ, as the losses of the first site use it."""
    settings = task.private_moments
    assert settings is not None
    generator = torch.Generator().manual_seed(5)
    total = None
    for slot in (1, 2):
        ages = 20 + 60 * torch.rand(people, generator=generator)
        z = torch.randn(people, dim, generator=generator) + 2 * slot * torch.eye(dim)[slot]
        shares = node_shares({"age": ages}, settings)
        means = torch.zeros(shares.shape[1], dim)
        part = private_sums(
            torch.nn.functional.normalize(z), shares, means, settings, slot=slot, slots=2
        )
        total = part if total is None else total + part
    assert total is not None
    released = NoisyMoments(1, ("first", "second"), (0, people, people), total)
    return frozen_moments(released, "first", settings, device=torch.device("cpu"))


def fairkl() -> Mechanism:
    """Return fedcl's clipped sum of L_exp and FairKL against released moments."""
    objective_ = {"prototypes": None, "private_moments": MOMENTS, "debias": [FAIRKL]}
    privacy = promise("participant", gradients="hooks", target_epsilon=None, noise_multiplier=1.0)
    task = experiment(FEATURES, [8], privacy, **objective_).objective
    return of_participants(losses_of(task, invented_moments(task)), tiny_network())


def moments(dim: int = 8) -> Mechanism:
    """Return a release of moments, scaled so that its noise has the same size everywhere.

    Nobody adds more than SENSITIVITY; the canary, the largest of many tried, adds as much.
    """
    settings = PrivateMoments.model_validate(MOMENTS)
    rho = settings.residual_norm
    units = {"count": 1.0, "total": 1.0, "residuals": rho, "squares": rho**2}
    generator = torch.Generator().manual_seed(6)
    z = torch.randn(OTHERS, dim, generator=generator)
    ages = 20 + 60 * torch.rand(OTHERS, generator=generator)
    means = torch.randn(4, dim, generator=generator) / dim

    def released(z: Tensor, ages: Tensor) -> Tensor:
        shares = node_shares({"age": ages}, settings)
        sums = private_sums(z, shares, means, settings, slot=1, slots=1)
        arrays = sums.arrays().items()
        return torch.cat([torch.from_numpy(a / units[name]).flatten() for name, a in arrays])

    tried = [
        (size * torch.randn(1, dim, generator=generator), torch.tensor([float(age)]))
        for size in (0.3, 1.0, 3.0, 1e30)
        for age in range(10, 95, 5)
    ]
    canary = max(tried, key=lambda one: float(released(*one).norm()))
    everybody = torch.cat([z, canary[0]]), torch.cat([ages, canary[1]])

    def sum_of(positions: Sequence[int]) -> Tensor:
        at = list(positions)
        return released(everybody[0][at], everybody[1][at])

    return Mechanism(sum_of, OTHERS, SENSITIVITY)


def central() -> Mechanism:
    """Return fedcl's `participant_central`: two sites' clipped sums, opened by a secure sum."""
    grid = FixedPoint(word_bits=64, fraction_bits=24, largest=1e4)
    alone = prototypes()

    def sum_of(positions: Sequence[int]) -> Tensor:
        sites = [[p for p in positions if p % 2 == odd] for odd in (0, 1)]
        words = [grid.encode({"sum": alone.sum_of(site).double().numpy()}) for site in sites]
        shape = {"sum": tuple(alone.sum_of([]).shape)}
        return torch.from_numpy(grid.decode(words[0] + words[1], shape, sites=2)["sum"])

    return Mechanism(sum_of, OTHERS, 1.0)


MECHANISMS: dict[str, Callable[[], Mechanism]] = {
    "naive (refused)": naive,
    "prototypes": prototypes,
    "DP moments": moments,
    "FairKL with DP moments": fairkl,
    "participant_central": central,
    "site": site,
}
SAMPLED = ("naive (refused)", "prototypes", "FairKL with DP moments", "participant_central")


class Silence(Entropy):
    """A source of zeros in place of noise, to see the sum that noise would hide."""

    def normal(self, count: int) -> Tensor:
        return torch.zeros(count, dtype=torch.float64)


def tiny_network() -> Network:
    return build_network(experiment(FEATURES, [8], OPEN), (FEATURES,), seed=0)


def audits(runs: int) -> list[str]:
    """Return the lines of the table of the audits."""
    lines = [
        "| mechanism | sums | claim | canary moves the sum by | two worlds: epsilon >= "
        "| one run: epsilon >= | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    players = {name: make() for name, make in MECHANISMS.items()}
    for name, one in players.items():
        for claim in CLAIMS:
            noise = calibrate(target_epsilon=claim, delta=DELTA, sampling_rate=1.0, steps=1)
            game = always(one.sum_of, one.others, noise_sd=noise * one.clip_norm)
            source = Entropy.not_private(1, name, int(claim))
            two = certify(game, runs=runs, delta=DELTA, entropy=source)
            single = certify_one_run(
                game, canaries=CANARIES, guesses=GUESSES, delta=DELTA, entropy=source
            )
            moved = distance(game) / one.clip_norm
            lines.append(
                f"| {name} | 1, everybody | {claim:g} | {moved:.2f} C | {two:.2f} | {single:.2f} "
                f"| {verdict(max(two, single), claim)} |"
            )
    for name in SAMPLED:
        one = players[name]
        for claim in CLAIMS:
            noise = calibrate(target_epsilon=claim, delta=DELTA, sampling_rate=RATE, steps=STEPS)
            sd = noise * one.clip_norm
            game = sampled_game(one.sum_of, one.others, rate=RATE, noise_sd=sd, steps=STEPS)
            source = Entropy.not_private(2, name, int(claim))
            two = certify(game, runs=runs, delta=DELTA, entropy=source)
            lines.append(
                f"| {name} | {STEPS}, each drawn with {RATE:g} | {claim:g} "
                f"| {distance(game) / one.clip_norm:.2f} C | {two:.2f} | "
                f"| {verdict(two, claim)} |"
            )
    most = most_certified(runs, delta=DELTA)
    lines += [
        "",
        f"{runs} runs of each world, half to choose the threshold; they certify {most:.1f} at "
        f"most. One run: {CANARIES} canaries, {GUESSES} guesses. 95 % confidence, delta {DELTA:g}.",
    ]
    return lines


def verdict(certified: float, claim: float) -> str:
    return "**rejected**" if certified > claim else "not rejected"


# --- attacks --------------------------------------------------------------------------------------


def made_cohort(people: int, features: int) -> Cohort:
    """Return a synthetic cohort; half of its features follow age and site, all vary by person."""
    random = numpy_generator(3, "cohort")
    ages, sites = random.uniform(18, 80, people), np.arange(people) % SITES
    towards = random.normal(size=(1 + SITES, features)) * (np.arange(features) < features // 2)
    arrays = (ages[:, None] - 49) / 18 * towards[0] + 0.7 * towards[1 + sites]
    arrays = (arrays + random.normal(size=arrays.shape)).astype(np.float32)
    table = pd.DataFrame(
        {
            "participant_id": [f"{i:04d}" for i in range(people)],
            "scan": [f"{i:04d}" for i in range(people)],
            "site": sites.astype(str),
            "age": ages,
            "sex": "",
            "split": "train",
        }
    )
    known = {"age": ages.astype(np.float32)}
    return Cohort("made", table, (features,), lambda row: arrays[row], "none", known)


def train(
    config: Config, cohort: Cohort, network: Network, rows: np.ndarray, number: int, who: str
) -> None:
    """Train one round in place, private or not."""
    optimizer = build_optimizer(network, config.local, round_number=number)
    if config.privacy.mode == "participant":
        source = Entropy.not_private(3, who, number)
        private_round(network, optimizer, cohort, rows, config, source, round_number=number)
    else:
        local_round(
            network,
            optimizer,
            cohort,
            rows,
            LocalSettings.of(config),
            round_number=number,
            site=who,
        )


def shadow_scores(config: Config, cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
    """Return everybody's scores under models trained on random halves, and these halves."""
    included = np.zeros((MODELS, len(cohort)), dtype=bool)
    scores = np.zeros(included.shape)
    for number in range(MODELS):
        # Pairs of models take complementary halves, so everybody is in and out of equally many.
        order = numpy_generator(4, "half", number // 2).permutation(len(cohort))
        included[number, np.array_split(order, 2)[number % 2]] = True
        network = build_network(config, cohort.shape, seed=number)
        for round_number in range(1, ROUNDS + 1):
            rows = np.flatnonzero(included[number])
            train(config, cohort, network, rows, round_number, f"shadow {number}")
        scores[number] = trained_on(network, cohort, np.arange(len(cohort)), config)
    return scores, included


def memberships(config: Config, cohort: Cohort) -> tuple[Membership, Membership]:
    """Return the attack by one threshold and by LiRA, with every model as the target once."""
    scores, included = shadow_scores(config, cohort)
    ratios = np.zeros_like(scores)
    for target in range(MODELS):
        shadows = np.delete(np.arange(MODELS), target)
        ratios[target] = likelihood_ratios(scores[target], scores[shadows], included[shadows])
    return (
        membership(scores[included], scores[~included]),
        membership(ratios[included], ratios[~included]),
    )


def traced(config: Config, cohort: Cohort, rounds: int = 12) -> str:
    """Return how well updates of later rounds are traced to their sites."""
    network = build_network(config, cohort.shape, seed=0)
    names = travelling(network, keep_norm=False)
    held = read_state(network, names)
    updates, senders, numbers = [], [], []
    for number in range(1, rounds + 1):
        sent = []
        for one in cohort.sites:
            write_state(network, held)
            train(config, cohort, network, cohort.rows(site=one), number, one)
            sent.append(read_state(network, names))
            moved = [(sent[-1][name] - held[name]).ravel() for name in names]
            updates.append(np.concatenate(moved).astype(np.float64))
            senders.append(one)
            numbers.append(number)
        held = {name: np.mean([s[name] for s in sent], axis=0) for name in names}
    found = of_updates(np.stack(updates), np.array(senders), np.array(numbers), seed=0)
    return (
        f"{found.balanced_accuracy:.1%} (guessing {found.chance:.1%}, {found.tested} updates of "
        f"{SITES} sites)"
    )


def guessed(config: Config, cohort: Cohort, border: float = 50.0) -> str:
    """Return how well a one-participant site's update tells if they are older than `border`."""
    network = build_network(config, cohort.shape, seed=0)
    names = travelling(network, keep_norm=False)
    held = read_state(network, names)
    updates = []
    for row in range(len(cohort)):
        write_state(network, held)
        train(config, cohort, network, np.array([row]), 1, f"only {row}")
        sent = read_state(network, names)
        updates.append(np.concatenate([(sent[n] - held[n]).ravel() for n in names]))
    older = np.where(cohort.ages(np.arange(len(cohort))) > border, "over", "under")
    rows = np.stack(updates).astype(np.float64)
    found = of_updates(rows, older, np.arange(len(cohort)), seed=0)
    return f"{found.balanced_accuracy:.1%} (guessing {found.chance:.0%}, {found.tested} updates)"


def inverted(config: Config, cohort: Cohort, people: int = 20) -> str:
    """Return the median correlation of a scan with its reconstruction from the site's update."""
    sgd = {"kind": "sgd", "learning_rate": 0.01, "weight_decay": 0, "momentum": 0}
    tree = config.model_dump(mode="json")
    tree["views"], tree["local"]["optimizer"] = {"kind": "none"}, sgd
    config = parse(yaml.safe_dump(tree), source="benchmark")
    found = []
    for row in range(people):
        network = build_network(config, cohort.shape, seed=row)
        names = travelling(network, keep_norm=False)
        received = read_state(network, names)
        train(config, cohort, network, np.array([row]), 1, f"alone {row}")
        seen = invert(network, received, read_state(network, names))
        found.append(np.corrcoef(seen, cohort.read(row))[0, 1])
    return f"correlation {np.median(found):.3f} (median of {people})"


def attacks() -> list[str]:
    """Return the lines of the table of the attacks."""
    features = 40
    cohort = made_cohort(PEOPLE, features)
    columns = {}
    private = f"participant, epsilon {TRAINING_EPSILON:g}"
    for name, privacy in (
        ("no privacy", OPEN),
        (private, promise("participant", gradients="hooks")),
    ):
        config = experiment(features, [64, 32], privacy)
        threshold, lira = memberships(config, cohort)
        columns[name] = [
            *(shown(one) for one in (threshold, lira)),
            traced(config, cohort),
            guessed(config, cohort),
            inverted(config, cohort),
        ]
    rows = (
        "membership, one threshold on the loss",
        f"membership, LiRA with {MODELS - 1} shadow models",
        "site from an update",
        "over 50 years or not, from the update of a one-participant site",
        "a scan from the update of its one-participant site",
    )
    lines = [f"| attack | {' | '.join(columns)} |", "|---|---|---|"]
    for number, row in enumerate(rows):
        lines.append(f"| {row} | {' | '.join(column[number] for column in columns.values())} |")
    return [
        *lines,
        "",
        f"Each of {MODELS} models is attacked once: {MODELS * PEOPLE // 2} members and as many "
        f"others in all. {PEOPLE // 2} participants trained on, {features} features, {ROUNDS} "
        "rounds of one epoch, the same objective in both columns.",
    ]


def shown(found: Membership) -> str:
    one, tenth = (f"{share:.1%}" if share is not None else "-" for share in found.found)
    return f"AUC {found.auc:.3f}; {one} found at 1 % accused, {tenth} at 0.1 %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=50_000, help="of each world")
    parser.add_argument("--out", type=Path, help="also write the tables there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    texts = []
    for table in (partial(audits, options.runs), attacks):
        texts.append("\n".join(table()) + "\n")
        print(texts[-1], flush=True)
    if options.out is not None:
        options.out.write_text("\n".join(texts), encoding="utf-8")


if __name__ == "__main__":
    main()
