"""A bad reply costs its site the round only: each defect is named."""

import numpy as np
import pytest

from fedcl.arrays.feature_sums import FeatureSums
from fedcl.messages.orders import Instruction
from fedcl.messages.releases import Introduction, MomentShare, Refusal, SumOffer, TermSum, Update
from fedcl.secure_sum.protocol import AdvertisedKeys
from fedcl.server.reply_checks import (
    DecodedReply,
    introduction_problem,
    offer_problem,
    update_problem,
)

SENT = {"w": np.zeros((2, 3), np.float32), "b": np.zeros((), np.float32)}
ORDER = Instruction(4, "", SENT)
KNOWN = Introduction("a", 13, (6,), None)


def answer(**changes):
    fields = {
        "site": "a",
        "round": 4,
        "participants": 13,
        "weights": {"w": np.ones((2, 3), np.float32), "b": np.ones((), np.float32)},
        "terms": {"loss": TermSum(1.0, 13, 0)},
        "steps": 4,
        "seconds": 0.1,
    }
    return DecodedReply(Update(**{**fields, **changes}), 100, None)


def weights(**changes):
    return {"w": np.ones((2, 3), np.float32), "b": np.ones((), np.float32), **changes}


def test_a_good_update_has_no_problem():
    assert update_problem(answer(), KNOWN, ORDER, private=False) is None
    assert update_problem(answer(terms={}), KNOWN, ORDER, private=True) is None


def test_a_private_update_may_not_say_its_loss():
    found = update_problem(answer(), KNOWN, ORDER, private=True)
    assert found == "it says its losses, which are not private"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": weights(w=np.full((2, 3), np.nan, np.float32))}, "w: values that are not"),
        ({"weights": weights(b=np.asarray(np.inf, np.float32))}, "b: values that are not finite"),
        ({"weights": weights(w=np.ones((1, 3), np.float32))}, "w: shape (1, 3), expected (2, 3)"),
        ({"weights": weights(w=np.ones((2, 3), np.float64))}, "w: float64, expected float32"),
        ({"weights": {"w": SENT["w"]}}, "tensors missing: b; unknown: "),
        ({"weights": weights(x=SENT["w"])}, "unknown: x"),
        ({"participants": 40_000}, "claims 40000 participants, introduced 13"),
        ({"participants": -1}, "claims -1 participants"),
        ({"round": 3}, "answers round 3"),
        ({"site": "b"}, "answers as site b"),
        ({"terms": {"loss": TermSum(float("nan"), 13, 0)}}, "its loss is not finite"),
        ({"terms": {"loss": TermSum(1.0, -5, 0)}}, "its loss is not finite"),
        ({"terms": {}}, "does not say its loss"),
    ],
)
def test_a_bad_update_is_named(changes, message):
    assert message in update_problem(answer(**changes), KNOWN, ORDER, private=False)


@pytest.mark.parametrize("large", [np.finfo(np.float32).max, -np.finfo(np.float32).max])
def test_values_whose_sum_overflows_are_still_finite(large):
    extreme = answer(weights=weights(w=np.full((2, 3), large, np.float32)))
    assert update_problem(extreme, KNOWN, ORDER, private=False) is None


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_found_among_any(wrong):
    values = np.full((2, 3), np.finfo(np.float32).max, np.float32)
    values[1] = [-np.finfo(np.float32).max, wrong, -wrong]
    found = update_problem(answer(weights=weights(w=values)), KNOWN, ORDER, private=False)
    assert found == "w: values that are not finite"


def test_a_refusal_keeps_its_reason():
    refused = DecodedReply(Refusal("a", "the training failed"), 10, "the training failed")
    assert update_problem(refused, KNOWN, ORDER, private=False) == "the training failed"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (Introduction("a", 0, (6,), None), "too few training participants"),
        (Introduction("a", -3, (6,), None), "claims -3"),
        (Introduction("a", 10**9, (6,), None), "claims 1000000000"),
        (Introduction("a", 5, (6,), FeatureSums(4, np.ones(6), np.ones(6))), "do not fit"),
        (Introduction("a", 5, (6,), FeatureSums(5, np.ones(7), np.ones(7))), "do not fit"),
        (
            Introduction("a", 5, (6,), FeatureSums(5, np.full(6, np.nan), np.ones(6))),
            "not finite",
        ),
        (Refusal("a", "the training failed"), "expected an introduction"),
    ],
)
def test_a_bad_introduction_is_named(said, message):
    assert message in introduction_problem(DecodedReply(said, 10, None))


def offer(**changes):
    keys = AdvertisedKeys("a", 4, b"m", b"k", b"c", b"s")
    fields = {"site": "a", "round": 4, "participants": 13, "shapes": {"w": (2, 3)}}
    fields |= {"keys": keys, "steps": 4, "seconds": 0.1}
    return DecodedReply(SumOffer(**{**fields, **changes}), 100, None)


def test_a_good_offer_has_no_problem():
    assert offer_problem(offer(), KNOWN, ORDER, {"w": (2, 3)}) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"participants": 14}, "claims 14 participants, introduced 13"),
        ({"participants": 0}, "claims 0 participants, introduced 13"),
        ({"participants": -13}, "claims -13 participants, introduced 13"),
        ({"site": "b"}, "answers as site b"),
        ({"round": 5}, "answers round 5"),
        ({"shapes": {"w": (3, 2)}}, "w: shape (3, 2), expected (2, 3)"),
        ({"shapes": {}}, "w: shape None, expected (2, 3)"),
        ({"seconds": float("nan")}, "its steps or seconds are not finite"),
        ({"steps": -1}, "its steps or seconds are not finite"),
    ],
)
def test_a_bad_offer_is_named(changes, message):
    assert offer_problem(offer(**changes), KNOWN, ORDER, {"w": (2, 3)}) == message


def test_a_release_of_another_kind_is_named():
    share = DecodedReply(MomentShare("a", 4, 13, None, 0.1), 100, None)
    found = update_problem(share, KNOWN, ORDER, private=False)
    assert found == "expected an update, found moments"
    assert introduction_problem(offer()) == (
        "expected an introduction, found an offer for the secure sum"
    )
