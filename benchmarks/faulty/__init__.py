"""The faults of a deployment, each brought about for real: `python benchmarks/faults.py`."""
