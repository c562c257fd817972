"""Send weights in fewer bytes: rounding, entropy coding, and feedback of the rounding error."""
