"""One experiment on each simulation engine: `python benchmarks/peers.py`.

Everything here but `prepare` and `fedcl_simulate` imports torch, numpy and one peer only, since it
runs in the peer's own environment.
"""
