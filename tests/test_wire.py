"""What crosses the wire arrives as it left; anything else is refused by name."""

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ConfigRecord, RecordDict

from fedcl.arrays.feature_sums import FeatureSums
from fedcl.errors import WireError
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import Introduction, MomentShare, Refusal, TermSum, Update
from fedcl.moments.shared import SharedMoments
from fedcl.moments.sums import NodeSums, node_shapes
from fedcl.receipts.describe import describe
from fedcl.wire.orders import decode_instruction, encode_instruction
from fedcl.wire.records import fresh_copy, moments_bytes, payload_bytes
from fedcl.wire.releases import decode_release, encode_release


def update(rng):
    return Update(
        site="zürich/3",
        round=4,
        participants=13,
        weights={
            "a.weight": rng.normal(size=(3, 4)).astype(np.float32),
            "scalar": np.asarray(1.5, np.float32),
            "empty": np.zeros((0, 2), np.float32),
        },
        terms={"loss": TermSum(12.5, 13, 0), "l_exp": TermSum(50.0, 51, 1)},
        steps=6,
        seconds=0.25,
    )


def test_an_update_arrives_bit_for_bit(rng):
    sent = update(rng)
    received = decode_release(encode_release(sent))
    for name, array in sent.weights.items():
        np.testing.assert_array_equal(received.weights[name], array)
        assert received.weights[name].dtype == array.dtype
        assert received.weights[name].shape == array.shape
    assert received.site == sent.site
    assert received.terms == sent.terms
    assert received.steps == 6


def test_introductions_and_refusals_arrive():
    sums = FeatureSums(5, np.arange(3.0), np.arange(3.0) ** 2)
    received = decode_release(encode_release(Introduction("a", 5, (3,), sums)))
    assert (received.site, received.participants, received.shape) == ("a", 5, (3,))
    np.testing.assert_array_equal(received.feature_sums.squares, sums.squares)
    plain = Introduction("a", 5, (1, 7, 8, 9), None)
    assert decode_release(encode_release(plain)) == plain
    refusal = Refusal("a", "the training failed")
    assert decode_release(encode_release(refusal)) == refusal


def sums(rng, nodes=3, dim=4):
    shapes = node_shapes(nodes, dim).values()
    return NodeSums(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


def assert_same_sums(received, sent):
    for name, array in sent.arrays().items():
        np.testing.assert_array_equal(received.arrays()[name], array)


def test_moments_arrive_alone_and_with_an_update(rng):
    share = MomentShare("a", 3, 13, sums(rng), 0.5)
    received = decode_release(encode_release(share))
    assert isinstance(received, MomentShare)
    assert (received.site, received.round, received.participants) == ("a", 3, 13)
    assert_same_sums(received.moments, share.moments)
    both = replace(update(rng), moments=sums(rng))
    received = decode_release(encode_release(both))
    assert_same_sums(received.moments, both.moments)
    assert received.weights.keys() == both.weights.keys()
    assert decode_release(encode_release(update(rng))).moments is None


@pytest.mark.parametrize("parts", [1, 2])
def test_shared_moments_arrive_with_whose_they_are(rng, parts):
    shared = SharedMoments(6, ("a", "zürich/3"), tuple(sums(rng) for _ in range(parts)))
    sent = Instruction(7, "seed: 1\n", {}, held="abc", shared=shared)
    received = decode_instruction(fresh_copy(encode_instruction(sent)))
    assert (received.held, received.shared.round, received.shared.sites) == ("abc", 6, shared.sites)
    assert len(received.shared.parts) == parts
    for ours, theirs in zip(received.shared.parts, shared.parts, strict=True):
        assert_same_sums(ours, theirs)
    assert moments_bytes(encode_instruction(sent)) == sum(part.nbytes for part in shared.parts)
    assert decode_instruction(encode_instruction(Instruction(7, "x", {}))).shared is None


def test_moments_that_are_not_whole_are_refused(rng):
    record = encode_release(MomentShare("a", 3, 13, sums(rng), 0.5))
    del record.array_records["moments"]["total"]
    with pytest.raises(WireError, match="moments lack 'total'"):
        decode_release(record)
    record.pop("moments")
    with pytest.raises(WireError, match="no moments"):
        decode_release(record)


def test_double_precision_moments_may_not_leave(rng):
    share = MomentShare("a", 3, 13, sums(rng).astype(np.float64), 0.5)
    with pytest.raises(ValueError, match="moments count: float64 may not leave"):
        describe(share, round_number=3)


def test_an_altered_configuration_is_noticed():
    record = encode_instruction(Instruction(1, "seed: 1\n", {}))
    record.config_records["fedcl"]["config"] = "seed: 2\n"
    with pytest.raises(WireError, match="does not match its hash"):
        decode_instruction(record)


def test_a_copy_can_be_altered_without_touching_the_original(rng):
    record = encode_instruction(Instruction(1, "x", update(rng).weights))
    copy = fresh_copy(record)
    copy.config_records["fedcl"]["round"] = 9
    assert decode_instruction(record).round == 1
    assert copy.array_records["arrays"] is record.array_records["arrays"]


def test_the_bytes_that_leave_a_site_are_the_tensors_and_a_short_header(rng):
    sent = update(rng)
    tensors = sum(array.nbytes for array in sent.weights.values())
    assert 0 < payload_bytes(encode_release(sent)) - tensors < 200


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: r.pop("fedcl"), "no fedcl header"),
        (lambda r: r.pop("arrays"), "no arrays"),
        (lambda r: r["fedcl"].update(kind="gift"), "unknown kind of release"),
        (lambda r: r["fedcl"].update(participants="many"), "participants: expected int"),
        (lambda r: r["fedcl"].pop("site"), "site: expected str, found NoneType"),
        (lambda r: r["arrays"].update(a=Array("object", (1,), "pickle", b"x")), "not accepted"),
        (
            lambda r: r["arrays"].update(a=Array("float32", (9,), "fedcl.raw", b"1234")),
            "4 bytes for shape",
        ),
    ],
)
def test_a_malformed_update_is_refused_by_name(rng, spoil, message):
    record = encode_release(update(rng))
    spoil(record)
    with pytest.raises(WireError, match=message):
        decode_release(record)


def test_a_foreign_record_is_refused():
    with pytest.raises(WireError):
        decode_release(RecordDict({"other": ConfigRecord({"x": 1})}))


def test_only_a_release_may_leave():
    with pytest.raises(TypeError, match="not a release"):
        describe({"participant_id": "x"}, round_number=1)


def test_the_reason_of_a_refusal_is_a_category():
    with pytest.raises(ValueError, match="details stay at the site"):
        describe(Refusal("a", "sub-012 is 3 years old"), round_number=1)


def test_double_precision_weights_may_not_leave():
    spoiled = Update("a", 1, 3, {"x": np.zeros(2)}, {}, 0, 0.0)
    with pytest.raises(ValueError, match="x: float64 may not leave"):
        describe(spoiled, round_number=1)


def test_nothing_adds_up_to_nothing():
    assert FeatureSums.add_all([]) is None
