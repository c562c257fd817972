"""Receipts of releases that never were."""

from datetime import UTC, datetime, timedelta

import numpy as np

from fedcl.arrays.feature_sums import FeatureSums
from fedcl.erasure.sums import AgeNodes, ErasureSums
from fedcl.evaluation.error_sums import ErrorSums, ParticipantGroup, RecognisedCount
from fedcl.evaluation.ridge_sums import RidgeSums
from fedcl.evaluation.summed_probes import SiteErrors
from fedcl.messages.releases import (
    ErasureShare,
    EvaluationErrors,
    EvaluationSums,
    GradientShare,
    Introduction,
    MomentShare,
    PrivateMomentShare,
    Refusal,
    StepGradient,
    StepMoments,
    StepSlopes,
    SumOffer,
    TermSum,
    Update,
)
from fedcl.moments.live import NodeSlopes
from fedcl.moments.private import PrivateSums, private_shapes
from fedcl.moments.sums import NodeSums, node_shapes
from fedcl.receipts.describe import describe
from fedcl.receipts.line import AddedNoise, EpsilonSpent
from fedcl.receipts.log import Receipts
from fedcl.secure_sum.protocol import (
    AdvertisedKeys,
    MaskedInput,
    RevealedShares,
    SealedShares,
    SurvivorSignature,
)

SHA256 = "ab" * 32
START = datetime(2031, 5, 17, 9, 30, tzinfo=UTC)
NOISE = AddedNoise(mechanism="gaussian", multiplier=2.0, sensitivity=1.5, share=0.5, private=True)
SPENT = EpsilonSpent(epsilon=3.25, delta=1e-5, accountant="renyi")


def introduction():
    sums = FeatureSums(5, np.arange(3.0), np.arange(3.0) ** 2)
    return Introduction("zürich/3", 5, (3,), sums)


def update(number=4, value=3.0):
    weights = {
        "a.weight": np.full((3, 4), value, np.float32),
        "scalar": np.asarray(4.0, np.float32),
        "empty": np.zeros((0, 2), np.float32),
    }
    terms = {"loss": TermSum(12.5, 13, 0), "l_exp": TermSum(50.0, 51, 1)}
    return Update("zürich/3", number, 13, weights, terms, 6, 0.25)


def moments(number=4):
    sums = NodeSums(*(np.ones(shape, np.float32) for shape in ((2,), (2, 3), (2, 6))))
    return MomentShare("zürich/3", number, 13, sums, 0.5)


def masked(number=4):
    return MaskedInput("zürich/3", number, np.arange(5, dtype=np.uint64))


def private_moments(number=4):
    shapes = private_shapes(2, 3, 1).values()
    sums = PrivateSums(*(np.full(shape, 0.5, np.float32) for shape in shapes))
    return PrivateMomentShare("zürich/3", number, 13, sums, 0.5)


def gradient(number=4):
    return GradientShare("zürich/3", number, 2, 13, {"w": np.full(4, 3.0, np.float32)}, 0.1)


def step_gradient(number=4):
    gradients, terms = {"0": np.full(4, 3.0, np.float32)}, {"loss": TermSum(2.5, 5, 0)}
    return StepGradient("zürich/3", number, 2, 13, 5, gradients, terms, 0.1)


def step_moments(number=4):
    sums = NodeSums(*(np.full(shape, 0.5) for shape in node_shapes(2, 3).values()))
    return StepMoments("zürich/3", number, 2, 13, 5, sums, 0.1)


def step_slopes(number=4):
    shapes = node_shapes(2, 3)
    slopes = NodeSlopes(*(np.full(shapes[name], 0.5) for name in ("total", "squares")))
    return StepSlopes("zürich/3", number, 2, 13, 5, slopes, 0.1)


def evaluation_sums(number=4):
    features, ages = np.arange(39.0).reshape(13, 3), np.linspace(18, 80, 13)
    sums = RidgeSums.of(features, ages)
    return EvaluationSums("zürich/3", number, 13, {"representation": sums}, 0.25)


def evaluation_errors(number=4):
    cells = {ParticipantGroup("internal", "all", ""): ErrorSums(9, 7.0, -7.0, 9.5)}
    errors = {"representation": SiteErrors(cells, RecognisedCount(9, 7))}
    return EvaluationErrors("zürich/3", number, 13, errors, 0.5)


def erasure_sums(number=4):
    features, ages = np.arange(39.0).reshape(13, 3), np.linspace(18, 80, 13)
    sums = ErasureSums.of(features, ages, AgeNodes(first=20.0, spacing=30.0, count=3))
    return ErasureShare("zürich/3", number, 13, {"embedding": sums}, 0.25)


REFUSAL = Refusal("zürich/3", "the training failed")

KEYS = AdvertisedKeys("zürich/3", 4, b"m" * 32, b"k" * 8, b"c" * 32, b"s" * 64)
RELEASES = [
    introduction(),
    Introduction("far", 0, (1, 7, 8, 9), None),
    update(),
    moments(),
    masked(),
    REFUSAL,
    SumOffer("zürich/3", 4, 13, {"w": (3, 4), "scalar": ()}, KEYS, 6, 0.25),
    SealedShares("12", 4, {"b": b"x" * 90, "c": b"y"}),
    SurvivorSignature("12", 4, b"s" * 64),
    RevealedShares("12", 4, {"c": b"\0"}, {"a": b"", "b": b"2"}),
    private_moments(),
    gradient(),
    step_gradient(),
    step_moments(),
    step_slopes(),
    evaluation_sums(),
    evaluation_errors(),
    erasure_sums(),
]
"""Releases of every kind."""


def record(path, *, rounds=3, durable=False):
    """Receipts of an introduction and some rounds, a minute apart."""
    kept = Receipts(path, durable=durable)
    named = {"run": "study", "config_sha256": SHA256}
    kept.keep(describe(introduction(), round_number=0, time=START, **named))
    for number in range(1, rounds + 1):
        time = START + timedelta(minutes=number)
        spent = SPENT.model_copy(update={"epsilon": 1.5 * number})
        line = describe(
            update(number), round_number=number, time=time, noise=NOISE, epsilon=spent, **named
        )
        kept.keep(line)
    return kept
