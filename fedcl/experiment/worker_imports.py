"""The imports of every worker process; each worker is a copy of a process that has them.

`fedcl.compute.workers` alone names this module. Importing it freezes the garbage collector's
objects (`fedcl.compute.fast_imports`), which is meant for a process of fedcl's own.
"""

from fedcl.compute.fast_imports import without_garbage_collection

with without_garbage_collection():
    import fedcl.experiment.local
    import fedcl.experiment.simulation  # noqa: F401
