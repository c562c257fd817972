"""Weights on the wire in fewer bytes: rounding, entropy coding, and what rounding lost."""
