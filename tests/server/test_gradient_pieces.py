"""A gradient travels in arrays of neighbouring parameters, the same at the sites and the server."""

import math

import fedcl.messages.gradient_pieces as module
from fedcl.messages.gradient_pieces import pieces_of


def test_every_parameter_is_in_one_piece_and_no_piece_is_too_long(monkeypatch):
    monkeypatch.setattr(module, "LONGEST", 10)
    shapes = {"c": (3, 2), "a": (2, 2), "b": (11,), "d": (), "f": (2,), "e": (4,)}
    pieces = pieces_of(shapes)
    assert pieces == {"0": ("a",), "1": ("b",), "2": ("c", "d"), "3": ("e", "f")}
    assert [name for piece in pieces.values() for name in piece] == sorted(shapes)
    for piece in pieces.values():
        assert len(piece) == 1 or sum(math.prod(shapes[name]) for name in piece) <= 10


def test_a_small_network_travels_in_one_piece():
    assert pieces_of({"w": (8, 8), "b": (8,)}) == {"0": ("b", "w")}
