"""NumPy arrays as tensors: their norms, their sums over participants, their names."""
