"""What a receipt says is what the release holds: sizes to the byte, norms, and no value."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fedcl.messages.releases import Refusal, Update
from fedcl.receipts.describe import describe
from fedcl.receipts.line import Receipt
from fedcl.secure_sum.protocol import MaskedInput
from fedcl.wire.records import payload_bytes
from fedcl.wire.releases import encode_release
from tests.receipts.made import NOISE, REFUSAL, RELEASES, SPENT, masked, moments, update


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: type(release).__name__)
def test_the_bytes_are_those_that_travel(release):
    line = describe(release, round_number=4)
    assert line.bytes == payload_bytes(encode_release(release))
    assert line.bytes == line.header_bytes + sum(array.bytes for array in line.arrays)


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: type(release).__name__)
def test_a_receipt_comes_back_from_its_line(release):
    line = describe(
        release, round_number=4, step=2, noise=NOISE, epsilon=SPENT, objects=("0a", "ff")
    )
    text = json.dumps(line.model_dump(mode="json"), allow_nan=False)
    assert Receipt.model_validate(json.loads(text)) == line


def test_a_receipt_tells_arrays_and_header():
    line = describe(update(), round_number=4)
    assert [(a.name, a.shape, a.dtype, a.bytes, a.norm) for a in line.arrays] == [
        ("a.weight", (3, 4), "float32", 48, pytest.approx(math.sqrt(12 * 9), rel=1e-5)),
        ("scalar", (), "float32", 4, 4.0),
        ("empty", (0, 2), "float32", 0, 0.0),
    ]
    assert line.norm == pytest.approx(math.sqrt(12 * 9 + 16), rel=1e-5)
    assert (line.kind, line.participants, line.masked) == ("update", 13, False)
    assert line.header == {
        "kind": "update",
        "site": "zürich/3",
        "round": 4,
        "participants": 13,
        "terms": ["loss", "l_exp"],
        "totals": [12.5, 50.0],
        "counts": [13, 51],
        "skipped": [0, 1],
        "steps": 6,
        "seconds": 0.25,
    }


def test_moments_of_an_update_are_told_beside_its_weights():
    names = [array.name for array in describe(moments(), round_number=4).arrays]
    assert names == ["moments count", "moments total", "moments squares"]


def test_masked_words_have_no_norm():
    line = describe(masked(), round_number=4, attempt="a1")
    assert line.masked
    assert [array.norm for array in line.arrays] == [None]
    assert line.norm is None
    assert line.participants is None


def test_keys_shares_and_signatures_are_told_by_their_size():
    offer, shares = (describe(RELEASES[n], round_number=4) for n in (6, 7))
    assert offer.header["signature"] == "64 bytes"
    assert shares.header["sealed"] == ["90 bytes", "1 bytes"]
    text = offer.model_dump_json() + shares.model_dump_json()
    assert "xxxx" not in text
    assert "mmmm" not in text


@given(
    value=st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False),
    size=st.integers(1, 9),
)
def test_a_norm_is_finite_wherever_the_array_is(value, size):
    line = describe(update(value=np.float32(value)), round_number=4)
    assert line.arrays[0].norm == pytest.approx(math.sqrt(12) * abs(float(value)), rel=1e-5)


@pytest.mark.parametrize(
    ("value", "norm"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "inf")], ids=str
)
def test_a_training_that_diverged_still_has_a_receipt(value, norm):
    line = describe(update(value=value), round_number=4)
    assert line.arrays[0].norm == norm
    again = Receipt.model_validate(json.loads(line.model_dump_json()))
    assert str(again.norm) == norm


def test_terms_that_are_not_finite_are_told():
    release = update()
    release.terms["loss"] = type(release.terms["loss"])(float("nan"), 13, 0)
    assert describe(release, round_number=4).header["totals"] == ["nan", 50.0]


def test_the_time_is_utc_in_whole_seconds():
    time = datetime(2031, 5, 17, 1, 2, 3, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert describe(REFUSAL, round_number=0, time=time).time == "2031-05-16T23:02:03Z"
    before = datetime.now(UTC).replace(microsecond=0)
    said = datetime.fromisoformat(describe(REFUSAL, round_number=0).time)
    assert before <= said <= datetime.now(UTC)


def test_objects_are_hexadecimal():
    with pytest.raises(ValidationError, match="expected hexadecimal digits"):
        describe(REFUSAL, round_number=0, objects=("sub-012",))


def test_only_a_release_has_a_receipt():
    with pytest.raises(TypeError, match="not a release"):
        describe({"participant_id": "x"}, round_number=1)


@pytest.mark.parametrize(
    "release",
    [
        Update("a", 1, 3, {"x": np.zeros(2)}, {}, 0, 0.0),
        Update("a", 1, 3, {"x": np.zeros(2, np.uint32)}, {}, 0, 0.0),
        MaskedInput("a", 1, np.zeros(2, np.float32)),
    ],
    ids=["double", "words", "plain"],
)
def test_another_type_of_array_may_not_leave(release):
    with pytest.raises(ValueError, match="may not leave the site"):
        describe(release, round_number=1)


def test_a_refusals_own_words_may_not_leave():
    with pytest.raises(ValueError, match="details stay at the site"):
        describe(Refusal("a", "sub-012 is 3 years old"), round_number=1)
    assert describe(REFUSAL, round_number=1).reason == "the training failed"
