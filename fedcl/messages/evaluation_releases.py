"""What leaves a site for an evaluation from sums: sums of its training, then errors of its test."""

from dataclasses import dataclass

import numpy as np

from fedcl.config.counts import Participants
from fedcl.config.experiment import Config
from fedcl.errors import WireError
from fedcl.evaluation.error_sums import CELL_OF, ErrorSums, RecognisedCount
from fedcl.evaluation.ridge_sums import RidgeSums
from fedcl.evaluation.summed_probes import SiteErrors
from fedcl.messages.fields import PARTICIPANTS, ROUND, SECONDS, SITE
from fedcl.messages.headers import get, get_list
from fedcl.messages.kinds import KIND, ReleaseKind, SiteLimit, in_the_clear
from fedcl.messages.packet import ARRAYS, Packet, float64_array


@dataclass(frozen=True)
class EvaluationSums:
    """What leaves a site for the probes to be fitted.

    Attributes:
        site: Label of the site.
        round: Number of the round whose encoder is evaluated.
        participants: Number of training participants of the site.
        sums: Sums over them, by kind of features; none where they are few.
        seconds: Wall-clock time of the pass over them.
    """

    site: str
    round: int
    participants: Participants
    sums: dict[str, RidgeSums]
    seconds: float


@dataclass(frozen=True)
class EvaluationErrors:
    """What leaves a site of its test participants, under probes of all sites' sums.

    Attributes:
        site: Label of the site.
        round: Number of the round whose encoder is evaluated.
        participants: Number of training participants of the site; 0 for one that only evaluates.
        errors: Errors by kind of features; the groups are the same for each.
        seconds: Wall-clock time of the pass over the test participants.
    """

    site: str
    round: int
    participants: Participants
    errors: dict[str, SiteErrors]
    seconds: float


EvaluationRelease = EvaluationSums | EvaluationErrors


@dataclass(frozen=True)
class _SumArrays:
    """Sums by kind of features; how many participants they are over, the header says."""

    name: str

    def write(self, value: dict[str, RidgeSums], packet: Packet) -> None:
        packet.header["features"] = list(value)
        packet.groups[ARRAYS] = {
            f"{feature}/{name}": array
            for feature, sums in value.items()
            for name, array in sums.arrays().items()
        }

    def read(self, packet: Packet) -> dict[str, RidgeSums]:
        features = _features(packet)
        sums = {feature: _sums(packet, feature) for feature in features}
        _require_only(packet, {f"{f}/{name}" for f in features for name in ("totals", "products")})
        return sums


@dataclass(frozen=True)
class _ErrorArrays:
    """Errors by kind of features: counts of each group in the header, sums as arrays."""

    name: str

    def write(self, value: dict[str, SiteErrors], packet: Packet) -> None:
        errors = list(value.values())
        recognised = [one.recognised for one in errors if one.recognised is not None]
        groups = errors[0].cells if errors else {}
        packet.header.update(
            {
                "features": list(value),
                "cells": [group.name for group in groups],
                "counts": [sums.count for sums in groups.values()],
                "tested": recognised[0].count if recognised else 0,
                "recognised": [one.correct for one in recognised],
            }
        )
        packet.groups[ARRAYS] = {
            f"{feature}/errors": one.error_array() for feature, one in value.items() if one.cells
        }

    def read(self, packet: Packet) -> dict[str, SiteErrors]:
        features = _features(packet)
        errors = {feature: _errors(packet, feature) for feature in features}
        _require_only(packet, {f"{feature}/errors" for feature, one in errors.items() if one.cells})
        return errors


def _features(packet: Packet) -> list[str]:
    features = get_list(packet.header, "features", str)
    if len(set(features)) < len(features):
        raise WireError("features: named twice")
    return features


def _sums(packet: Packet, feature: str) -> RidgeSums:
    arrays = packet.arrays(ARRAYS)
    totals = float64_array(arrays, f"{feature}/totals", 1)
    products = float64_array(arrays, f"{feature}/products", 1)
    if len(totals) < 2 or len(products) != len(totals) * (len(totals) + 1) // 2:
        raise WireError(f"{feature}: {len(products)} products do not fit {len(totals)} totals")
    participants = get(packet.header, "participants", int)
    return RidgeSums.from_arrays(participants, totals, products)


def _errors(packet: Packet, feature: str) -> SiteErrors:
    header, features = packet.header, _features(packet)
    names, counts = get_list(header, "cells", str), get_list(header, "counts", int)
    unknown = [name for name in names if name not in CELL_OF]
    if unknown or len(set(names)) < len(names) or len(counts) != len(names):
        raise WireError("cells: expected one count for each group, once, and no unknown group")
    cells = {}
    if names:
        rows = float64_array(packet.arrays(ARRAYS), f"{feature}/errors", 2)
        if rows.shape != (len(names), 3):
            raise WireError(f"{feature}/errors: shape {rows.shape} for {len(names)} groups")
        for name, count, row in zip(names, counts, rows.tolist(), strict=True):
            cells[CELL_OF[name]] = ErrorSums(count, *row)
    tested, correct = get(header, "tested", int), get_list(header, "recognised", int)
    if not tested:
        return SiteErrors(cells, None)
    if len(correct) != len(features):
        raise WireError("recognised: expected one number for each kind of features")
    return SiteErrors(cells, RecognisedCount(tested, correct[features.index(feature)]))


def _require_only(packet: Packet, names: set[str]) -> None:
    if set(packet.arrays(ARRAYS)) != names:
        raise WireError(f"expected the arrays {sorted(names)}")


def _asks_for_sums(config: Config) -> bool:
    return config.evaluation.from_sums is not None


EVALUATION_SUMS_KIND = ReleaseKind(
    name="evaluation sums",
    release=EvaluationSums,
    fields=(KIND, SITE, ROUND, PARTICIPANTS, _SumArrays("sums"), SECONDS),
    phrase="sums for an evaluation",
    words=(
        "Sums over the site's training participants, from which all sites together fit one "
        "prediction of age and one of the site: the sums of what the trained network computes "
        "from their scans and of their ages, and the sums of the products of these about their "
        "means. No noise is added to them; of few participants the site says none."
    ),
    limit=SiteLimit("evaluation", asked_by=in_the_clear(_asks_for_sums)),
    array_types=(np.float64,),
)

EVALUATION_ERRORS_KIND = ReleaseKind(
    name="evaluation errors",
    release=EvaluationErrors,
    fields=(KIND, SITE, ROUND, PARTICIPANTS, _ErrorArrays("errors"), SECONDS),
    phrase="errors of an evaluation",
    words=(
        "How well those predictions do on the site's test participants: of all of them, of each "
        "sex and of each decade of age how many they are, the sums of their errors of age, of the "
        "errors' sizes and of their squares; and how many of them are recognised as this site's. "
        "Small groups are left out."
    ),
    limit=SiteLimit("evaluation", asked_by=in_the_clear(_asks_for_sums)),
    array_types=(np.float64,),
)

EVALUATION_KINDS = (EVALUATION_SUMS_KIND, EVALUATION_ERRORS_KIND)
