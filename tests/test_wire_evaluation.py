"""Sums, errors and probes of an evaluation arrive as they left; what is malformed is refused."""

from dataclasses import replace

import numpy as np
import pytest

from fedcl.errors import WireError
from fedcl.evaluation.error_sums import ErrorSums, ParticipantGroup, RecognisedCount
from fedcl.evaluation.ridge_sums import RidgeSums
from fedcl.evaluation.summed_probes import SiteErrors, fit_probes
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import EvaluationErrors, EvaluationSums
from fedcl.receipts.describe import describe
from fedcl.wire.orders import decode_instruction, encode_instruction
from fedcl.wire.records import encode_arrays
from fedcl.wire.releases import decode_release, encode_release

ALL, FEMALE = ParticipantGroup("internal", "all", ""), ParticipantGroup("internal", "sex", "female")


def sums(rng, participants=13, dim=3):
    return RidgeSums.of(rng.normal(size=(participants, dim)), rng.uniform(18, 80, participants))


@pytest.fixture
def some_sums(rng):
    both = {"representation": sums(rng, dim=5), "embedding": sums(rng)}
    return EvaluationSums("zürich/3", 4, 13, both, 0.25)


@pytest.fixture
def some_errors():
    def errors(years):
        cells = {ALL: ErrorSums(9, years, -years, 9.5), FEMALE: ErrorSums(4, 1.5, 1.0, 2.5)}
        return SiteErrors(cells, RecognisedCount(9, int(years)))

    return EvaluationErrors(
        "a", 4, 13, {"representation": errors(7.0), "embedding": errors(3.0)}, 0.5
    )


@pytest.fixture
def probes(rng):
    own = {site: sums(rng, size) for site, size in {"north": 5, "south": 8, "12": 13}.items()}
    return fit_probes(own, seed=1)


def test_sums_arrive_bit_for_bit(some_sums):
    received = decode_release(encode_release(some_sums))
    assert (received.site, received.round, received.participants) == ("zürich/3", 4, 13)
    for kind, sent in some_sums.sums.items():
        for name in ("count", "total_x", "total_y", "xx", "xy", "yy"):
            there, here = getattr(received.sums[kind], name), getattr(sent, name)
            np.testing.assert_array_equal(there, here, err_msg=f"{kind} {name}")


def test_errors_arrive_bit_for_bit(some_errors):
    assert decode_release(encode_release(some_errors)) == some_errors


def test_nothing_to_say_arrives_too(some_sums, some_errors):
    silent = replace(some_sums, sums={})
    assert decode_release(encode_release(silent)) == silent
    nobody = {kind: SiteErrors({}, None) for kind in some_errors.errors}
    silent = replace(some_errors, errors=nobody)
    assert decode_release(encode_release(silent)) == silent


def test_probes_arrive_bit_for_bit(probes, rng):
    sent = Instruction(4, "seed: 1\n", {}, held="abc", probes={"embedding": probes})
    received = decode_instruction(encode_instruction(sent)).probes["embedding"]
    features = rng.normal(size=(7, 3))
    np.testing.assert_array_equal(received.age.predict(features), probes.age.predict(features))
    np.testing.assert_array_equal(received.site.decide(features), probes.site.decide(features))
    assert received.site.labels == ("12", "north", "south")
    assert received.age.alpha == probes.age.alpha


def test_probes_that_do_not_fit_their_sites_are_refused(probes):
    sent = encode_instruction(Instruction(4, "seed: 1\n", {}, probes={"embedding": probes}))
    sent.config_records["fedcl"]["probe_sites"] = ["north", "south"]
    with pytest.raises(WireError, match="are not those of probes"):
        decode_instruction(sent)


def test_a_receipt_names_every_array_and_group(some_sums, some_errors):
    receipt = describe(some_sums, round_number=4)
    assert receipt.kind == "evaluation sums"
    assert [(one.name, one.shape) for one in receipt.arrays] == [
        ("representation/totals", (6,)),
        ("representation/products", (21,)),
        ("embedding/totals", (4,)),
        ("embedding/products", (10,)),
    ]
    receipt = describe(some_errors, round_number=4)
    assert receipt.header["cells"] == ["internal/all", "internal/sex/female"]
    assert receipt.header["counts"] == [9, 4]
    assert [one.shape for one in receipt.arrays] == [(2, 3), (2, 3)]


def without(record, name):
    arrays = {n: a for n, a in record.array_records["arrays"].items() if n != name}
    record["arrays"] = type(record.array_records["arrays"])(arrays)


def another(record, name, array):
    record["arrays"][name] = encode_arrays({name: array})[name]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda r: without(r, "embedding/totals"), "embedding/totals: expected float64 of 1"),
        (lambda r: another(r, "embedding/totals", np.ones(7)), "10 products do not fit 7 totals"),
        (lambda r: another(r, "embedding/totals", np.ones(4, np.float32)), "expected float64"),
        (lambda r: another(r, "ages", np.ones(13)), "expected the arrays"),
        (lambda r: r["fedcl"].update(features=["embedding"] * 2), "features: named twice"),
    ],
)
def test_malformed_sums_are_refused(some_sums, spoil, reason):
    record = encode_release(some_sums)
    spoil(record)
    with pytest.raises(WireError, match=reason):
        decode_release(record)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda r: r["fedcl"].update(cells=["internal/all", "ward/7"]), "no unknown group"),
        (lambda r: r["fedcl"].update(cells=["internal/all"] * 2), "once"),
        (lambda r: r["fedcl"].update(counts=[9]), "one count for each group"),
        (lambda r: another(r, "embedding/errors", np.ones((9, 3))), "shape .* for 2 groups"),
        (lambda r: r["fedcl"].update(recognised=[3]), "one number for each kind"),
        (lambda r: without(r, "embedding/errors"), "embedding/errors: expected float64"),
        (lambda r: another(r, "errors", np.ones(9)), "expected the arrays"),
    ],
)
def test_malformed_errors_are_refused(some_errors, spoil, reason):
    record = encode_release(some_errors)
    spoil(record)
    with pytest.raises(WireError, match=reason):
        decode_release(record)
