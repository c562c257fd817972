"""Fixed public points along age that participants are compared with instead of each other."""

from fedcl.config.section import Positive
from fedcl.config.spaced import Spaced


class Prototypes(Spaced):
    """Unit vectors on a smooth curve, at ages in years; nobody's data is in them."""

    bandwidth: Positive
    """Years over which the curve forgets: prototypes a years apart have similarity
    exp(-a^2 / (2 bandwidth^2)), up to the dimension's resolution."""
    multiplicity: Positive
    """How many participants each prototype stands for in a denominator."""
