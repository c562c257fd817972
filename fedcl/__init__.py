"""fedcl: train a brain-MRI encoder across hospitals without moving a scan."""

__version__ = "0.1.0"
