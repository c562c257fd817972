"""Shares: any t give the secret back exactly, fewer do not, and wrong ones are noticed."""

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcl.errors import SecureSumError
from fedcl.secure_sum.shamir import PRIME, SHARE_BYTES, Share, recover, split


@given(secret=st.binary(min_size=32, max_size=32), threshold=st.integers(1, 5))
def test_any_threshold_of_the_shares_gives_the_secret(secret, threshold):
    shares = split(secret, [1, 2, 5, 7, 40], threshold=threshold)
    for some in itertools.permutations(shares, threshold):
        assert recover(some, threshold=threshold, what="it") == secret
    assert recover(shares, threshold=threshold, what="it") == secret


@pytest.mark.parametrize("threshold", [2, 3, 5])
def test_one_share_too_few_is_an_error(threshold):
    shares = split(os.urandom(32), range(1, 6), threshold=threshold)
    for some in itertools.combinations(shares, threshold - 1):
        with pytest.raises(SecureSumError, match=f"mask key of b: {threshold - 1} shares"):
            recover(some, threshold=threshold, what="mask key of b")


@pytest.mark.parametrize("threshold", [2, 3, 5])
def test_one_share_too_few_under_a_false_threshold_gives_no_secret_either(threshold):
    shares = split(os.urandom(32), range(1, 6), threshold=threshold)
    with pytest.raises(SecureSumError, match="do not belong together"):
        recover(shares[: threshold - 1], threshold=threshold - 1, what="it")


def test_too_few_shares_fit_every_secret_alike():
    shares = split(os.urandom(32), [1, 2, 3], threshold=3)[:2]
    for guess in (bytes(32), os.urandom(32)):
        # The parabola through both shares and the guess exists: the shares exclude no secret.
        points = [(0, int.from_bytes(guess, "big")), *((s.x, s.y) for s in shares)]
        third = (
            sum(
                y
                * product(3 - x0 for x0, _ in points if x0 != x)
                * pow(product(x - x0 for x0, _ in points if x0 != x), -1, PRIME)
                for x, y in points
            )
            % PRIME
        )
        assert recover([*shares, Share(3, third)], threshold=3, what="it") == guess


def product(factors):
    total = 1
    for factor in factors:
        total = total * factor % PRIME
    return total


def test_a_share_of_another_secret_is_noticed():
    first, second = (split(os.urandom(32), range(1, 5), threshold=3) for _ in range(2))
    with pytest.raises(SecureSumError, match="do not belong together"):
        recover([*first[:2], second[2]], threshold=3, what="it")


def test_a_share_under_anothers_coordinate_is_noticed():
    shares = split(os.urandom(32), range(1, 5), threshold=3)
    with pytest.raises(SecureSumError, match="do not belong together"):
        recover([*shares[:2], Share(4, shares[2].y)], threshold=3, what="it")


def test_the_same_share_twice_is_refused():
    shares = split(os.urandom(32), range(1, 5), threshold=3)
    with pytest.raises(SecureSumError, match="same x-coordinate"):
        recover([*shares[:2], shares[1]], threshold=3, what="it")


@pytest.mark.parametrize(
    ("secret", "xs", "threshold"),
    [
        (bytes(31), [1, 2], 2),
        (bytes(32), [1, 1, 2], 2),
        (bytes(32), [0, 1], 2),
        (bytes(32), [1, 65536], 2),
        (bytes(32), [1, 2], 3),
        (bytes(32), [1, 2], 0),
    ],
)
def test_shares_that_could_not_give_the_secret_back_are_refused(secret, xs, threshold):
    with pytest.raises(SecureSumError):
        split(secret, xs, threshold=threshold)


def test_the_same_secret_is_never_cut_the_same_way_twice():
    first, second = (split(bytes(32), [1, 2, 3], threshold=2) for _ in range(2))
    assert not {share.y for share in first} & {share.y for share in second}


@given(x=st.integers(1, 65535), y=st.integers(0, PRIME - 1))
def test_a_share_travels_as_bytes(x, y):
    data = Share(x, y).to_bytes()
    assert len(data) == SHARE_BYTES
    assert Share.from_bytes(data, sender="b") == Share(x, y)


@pytest.mark.parametrize("data", [b"", bytes(SHARE_BYTES), b"\xff" * SHARE_BYTES, bytes(69)])
def test_malformed_bytes_are_no_share(data):
    with pytest.raises(SecureSumError, match="site Basel: a share is malformed"):
        Share.from_bytes(data, sender="Basel")
