"""The messages of a secure sum arrive as they left; anything else is refused by name."""

import numpy as np
import pytest

from fedcl.errors import WireError
from fedcl.messages.orders import Instruction, SumInvitation
from fedcl.messages.releases import SumOffer
from fedcl.messages.sum_questions import SumQuestion
from fedcl.receipts.describe import describe
from fedcl.secure_sum.protocol import (
    AdvertisedKeys,
    AllKeys,
    MaskedInput,
    RelayedShares,
    RevealedShares,
    SealedShares,
    Survivors,
    SurvivorSignature,
    UnmaskRequest,
)
from fedcl.wire.orders import (
    decode_instruction,
    decode_question,
    encode_instruction,
    encode_question,
)
from fedcl.wire.records import fresh_copy, payload_bytes
from fedcl.wire.releases import decode_release, encode_release


def keys_of(site):
    return AdvertisedKeys(site, 4, b"m" * 32, site.encode(), b"c" * 32, b"s" * 64)


OFFER = SumOffer(
    "zürich/3", 4, 13, {"w": (3, 4), "scalar": (), "empty": (0, 2)}, keys_of("zürich/3"), 6, 0.25
)
ANSWERS = [
    OFFER,
    SealedShares("12", 4, {"b": b"x" * 90, "c": b"y"}),
    SurvivorSignature("12", 4, b"s" * 64),
    RevealedShares("12", 4, {}, {"a": b"1", "b": b"2"}),
    RevealedShares("12", 4, {"c": b"\0"}, {"a": b"", "b": b"2"}),
]
RELAYED = [
    AllKeys(4, (keys_of("a"), keys_of("b"))),
    RelayedShares(4, {"b": b"x", "c": b""}),
    Survivors(4, ("a", "c")),
    UnmaskRequest(4, ("a", "c"), {"a": b"s"}),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: type(answer).__name__)
def test_answers_arrive_as_they_left(answer):
    assert decode_release(encode_release(answer)) == answer


@pytest.mark.parametrize("kind", [np.uint32, np.uint64])
def test_words_arrive_as_they_left(kind, rng):
    words = rng.integers(np.iinfo(kind).max, size=50, dtype=kind)
    record = encode_release(MaskedInput("12", 4, words))
    received = decode_release(record)
    np.testing.assert_array_equal(received.words, words)
    assert received.words.dtype == words.dtype
    assert payload_bytes(record) - words.nbytes < 100


@pytest.mark.parametrize("relayed", RELAYED, ids=lambda relayed: type(relayed).__name__)
def test_questions_arrive_as_they_left(relayed):
    sent = SumQuestion(4, "seed: 1\n", "abc", relayed)
    record = encode_question(sent)
    assert decode_question(fresh_copy(record)) == sent
    assert not record.array_records
    record.config_records["fedcl"]["config"] = "seed: 2\n"
    with pytest.raises(WireError, match="does not match its hash"):
        decode_question(record)


def test_an_invitation_arrives_with_its_order():
    sent = Instruction(7, "seed: 1\n", {}, invitation=SumInvitation("abc", ("a", "zürich/3")))
    assert decode_instruction(encode_instruction(sent)) == sent


@pytest.mark.parametrize(
    ("answer", "changes", "message"),
    [
        (OFFER, {"names": ["w", "w", "empty"]}, "one shape for each name, once"),
        (OFFER, {"dims": [2, 0, 3]}, "one shape for each name, once"),
        (OFFER, {"sizes": [3, 4, 0, -2]}, "one shape for each name, once"),
        (OFFER, {"mask_key": "text"}, "mask_key: expected bytes, found str"),
        (ANSWERS[1], {"sites": ["b", "b"]}, "one value for each name, once"),
        (ANSWERS[1], {"sealed": [b"x"]}, "one value for each name, once"),
        (ANSWERS[1], {"sealed": [1, 2]}, "sealed: expected a list of bytes"),
        (ANSWERS[1], {"kind": "masked input"}, "the masked input carries no words"),
    ],
)
def test_a_malformed_answer_is_refused_by_name(answer, changes, message):
    record = encode_release(answer)
    record.config_records["fedcl"].update(changes)
    with pytest.raises(WireError, match=message):
        decode_release(record)


@pytest.mark.parametrize(
    ("relayed", "changes", "message"),
    [
        (RELAYED[0], {"signatures": [b"s"]}, "keys: expected four values for each site"),
        (RELAYED[1], {"sites": ["b"]}, "one value for each name, once"),
        (RELAYED[2], {"says": "hello"}, "unknown message of a secure sum: 'hello'"),
    ],
)
def test_a_malformed_question_is_refused_by_name(relayed, changes, message):
    record = encode_question(SumQuestion(4, "seed: 1\n", "abc", relayed))
    record.config_records["fedcl"].update(changes)
    with pytest.raises(WireError, match=message):
        decode_question(record)


def test_a_vector_that_is_not_masked_words_may_not_leave():
    with pytest.raises(ValueError, match="words: float64 may not leave"):
        describe(MaskedInput("12", 4, np.zeros(3)), round_number=4)
