"""What every worker process is a copy of (`fedcl.workers`)."""

from fedcl.imports import uncollected

with uncollected():
    import fedcl.alone
    import fedcl.simulation  # noqa: F401
