"""What every worker process is a copy of (`fedcl.compute.workers`)."""

from fedcl.compute.fast_imports import uncollected

with uncollected():
    import fedcl.experiment.local
    import fedcl.experiment.simulation  # noqa: F401
